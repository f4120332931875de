//! A chapter: a finished stretch of rows with its indexes, or an index over many of those, read in place.
//!
//! ```text
//! rows               128 bytes each, as in `event_row`        tier 0 only
//! balances           `balance_stream`: numbers, starts        tier 0 only
//! ids                `hash_index` of the ids of transfers and spent ids
//! fields             `hash_index` of what rows are found by
//! footer             256 bytes
//! ```
//!
//! Tier 0 holds rows. Each 32 chapters of one tier are followed by one of the next, which indexes all their rows, so
//! that a search asks few indexes; two such tiers. `docs/formats-ledger.md` draws it.
//!
//! - A chapter is a function of the log alone: the same bytes on every replica.
//! - Its footer names the one before it by checksum, so the last footer stands for all of history.
//! - Reading never leads outside of the bytes.

use std::sync::Arc;

use core::ops::Range;

use raft::state_machine::{RestoreError, Shelved};
use xxhash_rust::xxh3::xxh3_128;
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::balance_stream;
use crate::balances::Both;
use crate::event_row::EventRow;
use crate::find_blocks::{Field, Key};
use crate::hash_index::{HashIndex, Shape};
use crate::limits::{CHAPTER_ROW_BITS, FANOUT_BITS, TIERS};

/// The first bytes of a footer.
pub(crate) const MAGIC: [u8; 8] = *b"QLCHAPTR";

/// The version that is written, and the only one that is read.
pub const CHAPTER_VERSION: u32 = 1;

/// Bytes of a footer.
pub(crate) const FOOTER_BYTES: usize = 256;

/// A stretch of a file.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub(crate) struct Section {
    pub(crate) offset: U64,
    pub(crate) bytes: U64,
}

impl Section {
    /// The stretch between two offsets.
    pub(crate) fn between(start: u64, end: u64) -> Self {
        Self {
            offset: start.into(),
            bytes: (end - start).into(),
        }
    }

    fn range(&self) -> Option<Range<usize>> {
        let start = usize::try_from(self.offset.get()).ok()?;
        let bytes = usize::try_from(self.bytes.get()).ok()?;
        Some(start..start.checked_add(bytes)?)
    }
}

/// The last bytes of a chapter.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct Footer {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) tier: U32,
    /// Its place among the chapters of its tier.
    pub(crate) ordinal: U64,
    /// Rows of a chapter of tier 0, as a power of two.
    pub(crate) row_bits: U32,
    pub(crate) reserved: U32,
    /// Least and largest id; the least is above the largest if there are none.
    pub(crate) id_min: U128,
    pub(crate) id_max: U128,
    /// Of the first row and of the last.
    pub(crate) timestamp_first: U64,
    pub(crate) timestamp_last: U64,
    /// Rows, numbers and starts of balances, ids, fields.
    pub(crate) sections: [Section; 5],
    /// XXH3-128 of all bytes before the footer.
    pub(crate) content: U128,
    /// `checksum` of the chapter before this one; 0 in the first.
    pub(crate) previous: U128,
    pub(crate) padding: [u8; 48],
    /// XXH3-128 of the 240 bytes before.
    pub(crate) checksum: U128,
}

const _: () = assert!(size_of::<Footer>() == FOOTER_BYTES);

impl Footer {
    /// The checksum that the footer should have.
    pub(crate) fn sum(&self) -> u128 {
        xxh3_128(&self.as_bytes()[..FOOTER_BYTES - size_of::<U128>()])
    }
}

/// Which chapter: its tier, and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) tier: usize,
    pub(crate) ordinal: u64,
}

/// A chapter that was checked.
pub(crate) struct Chapter {
    bytes: Arc<dyn Shelved>,
    footer: Footer,
    sections: [Range<usize>; 5],
}

impl Chapter {
    /// Reads the footer, and checks that it is sound and fits the bytes. Not the content: [`Self::check_content`].
    pub(crate) fn open(bytes: Arc<dyn Shelved>) -> Result<Self, RestoreError> {
        let all = bytes.bytes();
        let (content, footer) =
            Footer::read_from_suffix(all).map_err(|_| RestoreError::Malformed(all.len() as u64))?;
        let malformed = RestoreError::Malformed(content.len() as u64);
        if footer.magic != MAGIC {
            return Err(malformed);
        }
        if footer.version.get() != CHAPTER_VERSION {
            return Err(RestoreError::Version(footer.version.get()));
        }
        let row_bits = footer.row_bits.get();
        let sound = footer.checksum.get() == footer.sum()
            && (footer.tier.get() as usize) < TIERS
            && CHAPTER_ROW_BITS.contains(&row_bits)
            && footer.ordinal.get() < 1 << (32 - place_bits(row_bits, footer.tier.get() as usize));
        if !sound {
            return Err(malformed);
        }
        let mut sections: [Range<usize>; 5] = Default::default();
        let mut end = 0;
        for (range, section) in sections.iter_mut().zip(&footer.sections) {
            *range = section.range().ok_or(malformed)?;
            if range.start != end {
                return Err(malformed);
            }
            end = range.end;
        }
        let rows = if footer.tier.get() == 0 {
            size_of::<EventRow>() << row_bits
        } else {
            0
        };
        if end != content.len() || sections[0].len() != rows {
            return Err(malformed);
        }
        Ok(Self {
            bytes,
            footer,
            sections,
        })
    }

    /// Checks every byte, and that all balances can be read.
    pub(crate) fn check_content(&self) -> Result<(), RestoreError> {
        let all = self.bytes.bytes();
        let content = &all[..all.len() - FOOTER_BYTES];
        if xxh3_128(content) != self.footer.content.get() {
            return Err(RestoreError::Malformed(0));
        }
        let rows = self.sections[0].len() / size_of::<EventRow>();
        if balance_stream::is_sound(rows, self.section(1), self.section(2)) {
            Ok(())
        } else {
            Err(RestoreError::Malformed(self.sections[1].start as u64))
        }
    }

    pub(crate) fn name(&self) -> Name {
        Name {
            tier: self.footer.tier.get() as usize,
            ordinal: self.footer.ordinal.get(),
        }
    }

    pub(crate) const fn footer(&self) -> &Footer {
        &self.footer
    }

    /// How many rows it is about, as a power of two.
    pub(crate) fn place_bits(&self) -> u32 {
        place_bits(self.footer.row_bits.get(), self.footer.tier.get() as usize)
    }

    /// The rows that it is about.
    pub(crate) fn rows(&self) -> Range<usize> {
        let count = 1_usize << self.place_bits();
        let ordinal = self.footer.ordinal.get() as usize;
        ordinal * count..(ordinal + 1) * count
    }

    fn section(&self, section: usize) -> &[u8] {
        self.bytes
            .bytes()
            .get(self.sections[section].clone())
            .unwrap_or(&[])
    }

    /// A row of tier 0.
    #[inline]
    pub(crate) fn row(&self, place: usize) -> &EventRow {
        let start = place * size_of::<EventRow>();
        let bytes = &self.section(0)[start..start + size_of::<EventRow>()];
        EventRow::ref_from_bytes(bytes).expect("a row is 128 bytes at any address")
    }

    /// The balances after a row of tier 0.
    pub(crate) fn balances(&self, place: usize) -> Both {
        balance_stream::read(place, self.section(1), self.section(2))
            .expect("a chapter's content was checked before it was shelved")
    }

    /// Could it have this id?
    #[inline]
    pub(crate) fn spans(&self, id: u128) -> bool {
        id >= self.footer.id_min.get() && id <= self.footer.id_max.get()
    }

    fn shape(&self) -> Shape {
        Shape {
            place_bits: self.place_bits(),
        }
    }

    /// Where ids are.
    pub(crate) fn ids(&self) -> HashIndex<'_> {
        HashIndex {
            shape: self.shape(),
            bytes: self.section(3),
        }
    }

    /// Where what rows are found by is.
    pub(crate) fn fields(&self) -> HashIndex<'_> {
        HashIndex {
            shape: self.shape(),
            bytes: self.section(4),
        }
    }

    /// The row of an id, given a way to read the id of any row.
    pub(crate) fn find_id(&self, id: u128, id_of: impl Fn(usize) -> u128) -> Option<usize> {
        let index = self.ids();
        let first = self.rows().start;
        let row = |entry: &U32| first + index.place(entry.get()) as usize;
        let same_hash = index.find(Key::new(Field::Id, id), 0..u32::MAX);
        let place = same_hash.partition_point(|entry| id_of(row(entry)) < id);
        let found = row(same_hash.get(place)?);
        (id_of(found) == id).then_some(found)
    }
}

/// Rows that a chapter is about, as a power of two.
pub(crate) const fn place_bits(row_bits: u32, tier: usize) -> u32 {
    row_bits + FANOUT_BITS * tier as u32
}

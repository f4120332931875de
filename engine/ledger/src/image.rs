//! The image of a ledger: all of its state that is in no chapter, at one moment, in frames.
//!
//! ```text
//! head            160 bytes: the clock, the digest, how many rows of everything
//! accounts        128 bytes each, as they travel
//! fates           64 bytes for each 256 rows
//! reservations    144 bytes for each slot, taken or free
//! rows            256 bytes each: those that no shelved chapter holds, with their balances
//! end             48 bytes: the state hash that the restored machine answers, and the last chapter's checksum
//! ```
//!
//! A frame is 16 bytes of head and up to 16 KiB of elements of one section; `docs/formats-ledger.md` draws it.
//!
//! - An image is a function of the state and of how many chapters were shelved when it was begun: the same bytes on every
//!   replica that had shelved as many, no matter how it is cut into pieces.
//! - It stays that of the moment when it was begun, while commands go on being applied (`freezing`).

use xxhash_rust::xxh3::xxh3_64_with_seed;
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::books::Books;
use crate::digest::Digest;
use crate::transfer_table::TransferRow;

/// The first bytes of a head.
pub(crate) const MAGIC: [u8; 8] = *b"QLEDGIMG";

/// The version that is written, and the only one that is read.
pub const IMAGE_VERSION: u32 = 1;

/// Elements of a frame take at most so many bytes.
pub(crate) const FRAME_BYTES_MAX: usize = 16 << 10;

/// What moves on with every command, beside the books.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    /// The last timestamp that was assigned.
    pub(crate) timestamp: u64,
    pub(crate) digest: Digest,
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(crate) enum Section {
    Head = 1,
    Accounts = 2,
    Fates = 3,
    Reservations = 4,
    Rows = 5,
    End = 6,
}

impl Section {
    /// Sections in their order.
    pub(crate) const ALL: [Self; 6] = [
        Self::Head,
        Self::Accounts,
        Self::Fates,
        Self::Reservations,
        Self::Rows,
        Self::End,
    ];

    /// Bytes of an element.
    pub(crate) const fn element(self) -> usize {
        match self {
            Self::Head => size_of::<Head>(),
            Self::Accounts => 128,
            Self::Fates => 64,
            Self::Reservations => 144,
            Self::Rows => 256,
            Self::End => size_of::<End>(),
        }
    }

    /// Elements of a full frame.
    pub(crate) const fn in_frame(self) -> usize {
        FRAME_BYTES_MAX / self.element()
    }
}

/// Before the elements of a frame.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct FrameHead {
    /// Of the elements.
    pub(crate) bytes: U32,
    /// [`Section`], as a number.
    pub(crate) section: U32,
    pub(crate) checksum: U64,
}

/// The checksum of frame `frame`: also of its place and of its head, so that none can be left out, repeated or moved.
#[must_use]
pub fn frame_checksum(frame: u64, section: u32, elements: &[u8]) -> u64 {
    let place = frame << 8 | u64::from(section);
    xxh3_64_with_seed(elements, place ^ (elements.len() as u64) << 48)
}

/// The first frame.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct Head {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    /// Rows of a chapter as a power of two, 2^32 - 1 if there are none.
    pub(crate) row_bits: U32,
    /// The last timestamp that was assigned.
    pub(crate) timestamp: U64,
    /// The newest row's.
    pub(crate) last_timestamp: U64,
    /// The running state hash.
    pub(crate) digest: U128,
    pub(crate) accounts: U64,
    /// Of all kinds, in chapters or not.
    pub(crate) rows: U64,
    pub(crate) transfers: U64,
    pub(crate) spent: U64,
    pub(crate) expiries: U64,
    pub(crate) fate_lines: U64,
    pub(crate) id_sum: U128,
    pub(crate) id_max: U128,
    pub(crate) slots: U64,
    pub(crate) open: U64,
    /// The first free slot.
    pub(crate) free: U32,
    pub(crate) reserved: U32,
    /// How many it counts on.
    pub(crate) chapters: U64,
}

const _: () = assert!(size_of::<Head>() == 160);

/// The last frame.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct End {
    /// What the restored machine answers.
    pub(crate) digest: U128,
    /// The checksum of the last chapter that it counts on; 0 if there is none.
    pub(crate) chain: U128,
    /// Frames before this one.
    pub(crate) frames: U64,
    pub(crate) reserved: U64,
}

const _: () = assert!(size_of::<End>() == 48);

/// An image that is being taken.
pub(crate) struct Image {
    head: Head,
    /// What the machine answered when it began.
    digest: u128,
    /// The checksum of the last chapter that was shelved then.
    chain: u128,
    section: Option<Section>,
    frames: u64,
    /// The next row to take.
    row: usize,
    /// Made and not handed on yet.
    out: Vec<u8>,
    handed: usize,
}

impl Image {
    /// Begins an image of the books as they stand.
    pub(crate) fn begin(books: &mut Books, clock: &Clock, digest: u128) -> Self {
        books.freeze();
        let shelf = books.transfers.rows().shelf();
        let (row_bits, chain) = (shelf.row_bits(), shelf.chain());
        let (row, chapters) = (shelf.rows(), shelf.shape().count());
        let counts = books.transfers.counts();
        let pendings = &books.pendings;
        let head = Head {
            magic: MAGIC,
            version: IMAGE_VERSION.into(),
            row_bits: row_bits.unwrap_or(u32::MAX).into(),
            timestamp: clock.timestamp.into(),
            last_timestamp: books.transfers.last_timestamp().into(),
            digest: clock.digest.state().into(),
            accounts: (books.accounts.len() as u64).into(),
            rows: (books.transfers.len() as u64).into(),
            transfers: counts.transfers.into(),
            spent: counts.spent.into(),
            expiries: counts.expiries.into(),
            fate_lines: (pendings.fates().len() as u64).into(),
            id_sum: counts.id_sum.into(),
            id_max: books.transfers.id_max().into(),
            slots: (pendings.slots() as u64).into(),
            open: (pendings.open_count() as u64).into(),
            free: pendings.first_free().into(),
            reserved: 0.into(),
            chapters: chapters.into(),
        };
        Self {
            head,
            digest,
            chain,
            section: Some(Section::Head),
            frames: 0,
            row,
            out: Vec::with_capacity(size_of::<FrameHead>() + FRAME_BYTES_MAX),
            handed: 0,
        }
    }

    /// Appends the next bytes, at most `budget`; true when there are no more.
    pub(crate) fn next(&mut self, books: &mut Books, budget: usize, piece: &mut Vec<u8>) -> bool {
        let mut left = budget.max(1);
        loop {
            let ready = &self.out[self.handed..];
            let take = ready.len().min(left);
            piece.extend_from_slice(&ready[..take]);
            self.handed += take;
            left -= take;
            if self.handed < self.out.len() {
                return false;
            }
            let Some(section) = self.section else {
                return true;
            };
            if left == 0 {
                return false;
            }
            self.make_frame(books, section);
        }
    }

    /// Makes the next frame of a section, or goes on to the next section if there is none.
    fn make_frame(&mut self, books: &mut Books, section: Section) {
        self.out.clear();
        self.handed = 0;
        self.out.extend_from_slice(&[0; size_of::<FrameHead>()]);
        let count = section.in_frame();
        let out = &mut self.out;
        let any = match section {
            Section::Head => {
                out.extend_from_slice(self.head.as_bytes());
                false
            }
            Section::Accounts => books.accounts.take_frozen(count, |account| {
                out.extend_from_slice(account.as_bytes());
            }),
            Section::Fates => books.pendings.fates_mut().take_frozen(count, |line| {
                out.extend_from_slice(line);
            }),
            Section::Reservations => books.pendings.take_frozen(count, out),
            Section::Rows => {
                let end = (self.head.rows.get() as usize).min(self.row + count);
                let rows = self.row..end;
                self.row = end;
                take_rows(books, rows, out)
            }
            Section::End => {
                let end = End {
                    digest: self.digest.into(),
                    chain: self.chain.into(),
                    frames: self.frames.into(),
                    reserved: 0.into(),
                };
                out.extend_from_slice(end.as_bytes());
                false
            }
        };
        if self.out.len() > size_of::<FrameHead>() {
            self.seal(section);
        } else {
            self.out.clear();
        }
        if !any {
            let next = Section::ALL.into_iter().find(|other| *other > section);
            self.section = next;
        }
    }

    /// Fills in the head of the frame.
    fn seal(&mut self, section: Section) {
        let (head, elements) = self.out.split_at_mut(size_of::<FrameHead>());
        let filled = FrameHead {
            bytes: (elements.len() as u32).into(),
            section: (section as u32).into(),
            checksum: frame_checksum(self.frames, section as u32, elements).into(),
        };
        head.copy_from_slice(filled.as_bytes());
        self.frames += 1;
    }
}

fn take_rows(books: &Books, rows: core::ops::Range<usize>, out: &mut Vec<u8>) -> bool {
    let any = !rows.is_empty();
    for row in rows {
        let row = TransferRow::new(row);
        out.extend_from_slice(books.transfers.event(row).as_bytes());
        for sum in books.transfers.balances(row).0 {
            out.extend_from_slice(&sum.to_le_bytes());
        }
    }
    any
}

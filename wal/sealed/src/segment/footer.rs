//! The footer of a segment, an archive that is read in place.
//!
//! - The archive is a copy in memory of its own, which was validated once and never changes: what rots later on
//!   the disk cannot reach it.

#![expect(
    unsafe_code,
    reason = "an archive that was validated once is read in place"
)]

use rkyv::rancor::Failure;
use rkyv::{Archive, Serialize};

use crate::merkle::Hash;

/// The entries of a segment from `first` on are of this term, until the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct TermRun {
    /// First index of the run.
    pub first: u64,
    /// Its term.
    pub term: u64,
}

/// Where a block is and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub(crate) struct BlockRow {
    /// Where its header begins in the file.
    pub offset: u64,
    /// The entry to which its first byte belongs.
    pub first: u64,
    /// Entries that begin in it.
    pub begins: u32,
    /// Whether its first byte continues an entry.
    pub continues: u8,
    /// Bytes of its header and its stored bytes.
    pub bytes: u32,
    /// Bytes before compression.
    pub decoded_bytes: u32,
    /// CRC-32 of the stored bytes.
    pub stored_crc: u32,
    /// Earliest time of an entry that begins in it; the greatest number when none does.
    pub time_least: u64,
    /// Latest time of an entry that begins in it; 0 when none does.
    pub time_most: u64,
    /// The block's leaf in the Merkle tree.
    pub leaf: Hash,
}

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize)]
pub(crate) struct Footer {
    /// The group.
    pub group: u64,
    /// First index.
    pub first: u64,
    /// Last index.
    pub last: u64,
    /// Earliest time of an entry.
    pub time_least: u64,
    /// Latest time of an entry.
    pub time_most: u64,
    /// Bytes of all payloads.
    pub payload_bytes: u64,
    /// Bytes of all blocks before compression.
    pub decoded_bytes: u64,
    /// Root of the Merkle tree over the blocks.
    pub root: Hash,
    /// Where terms begin.
    pub terms: Vec<TermRun>,
    /// The blocks.
    pub blocks: Vec<BlockRow>,
    /// The keys with which payloads are encrypted, as the caller names them.
    pub key_ids: Vec<u128>,
}

// The workspace's features of rkyv are the format: little-endian, unaligned, pointers of 32 bits.
const _: () = assert!(size_of::<ArchivedTermRun>() == 16, "the archive's layout");
const _: () = assert!(size_of::<ArchivedBlockRow>() == 81, "the archive's layout");
const _: () = assert!(size_of::<ArchivedFooter>() == 112, "the archive's layout");
const _: () = assert!(align_of::<ArchivedFooter>() == 1, "the archive's layout");

impl ArchivedBlockRow {
    /// The first entry that begins in the block, or in a later one if none does.
    pub(crate) fn first_begin(&self) -> u64 {
        let first = self.first.to_native();
        first.saturating_add(u64::from(self.continues))
    }

    /// The entry behind the last one that has a byte in the block.
    pub(crate) fn end(&self) -> u64 {
        let begins = u64::from(self.begins.to_native());
        self.first_begin().saturating_add(begins)
    }

    /// The last entry that has a byte in the block.
    pub(crate) fn last(&self) -> u64 {
        self.end().saturating_sub(1)
    }
}

/// The archive's bytes.
pub(crate) fn archive(footer: &Footer) -> Vec<u8> {
    let bytes = rkyv::to_bytes::<Failure>(footer);
    bytes.expect("numbers in memory can be archived").into_vec()
}

/// Puts the checksums that stand in the headers of blocks into the rows of an archive, for fuzzing; nothing if the
/// bytes are no archive.
pub(crate) fn copy_stored_crcs(blocks: &[u8], archive: &mut [u8]) {
    const STORED_CRC: usize = 40;
    let Ok(footer) = rkyv::access::<ArchivedFooter, Failure>(archive) else {
        return;
    };
    let crcs = footer.blocks.iter().map(|row| {
        let at = usize::try_from(row.offset.to_native()).unwrap_or(usize::MAX);
        let crc = blocks
            .get(at.saturating_add(STORED_CRC)..)?
            .first_chunk::<4>()?;
        Some((row.stored_crc.to_native().to_le_bytes(), *crc))
    });
    // A row is found again by the four bytes that it held: good enough to fuzz with.
    let crcs: Vec<_> = crcs.flatten().collect();
    for (old, new) in crcs {
        let place = archive.windows(4).position(|window| window == old);
        if let Some(place) = place {
            archive[place..place + 4].copy_from_slice(&new);
        }
    }
}

/// An archive that was validated.
pub(crate) struct FooterArchive(Box<[u8]>);

impl FooterArchive {
    /// Copies and validates the archive; `None` if it is none.
    pub(crate) fn open(bytes: &[u8]) -> Option<Self> {
        let bytes: Box<[u8]> = bytes.into();
        rkyv::access::<ArchivedFooter, Failure>(&bytes).ok()?;
        Some(Self(bytes))
    }

    #[inline]
    pub(crate) fn get(&self) -> &ArchivedFooter {
        // SAFETY: `open` validated these very bytes as an archive of this type; they are private, owned and never
        // changed afterwards, and the type's alignment is 1.
        unsafe { rkyv::access_unchecked::<ArchivedFooter>(&self.0) }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }
}

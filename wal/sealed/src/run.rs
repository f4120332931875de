//! An index run: sorted keys of one width with a 64-bit value each, in one immutable file.
//!
//! ```text
//! block 0 | block 1 | ...      4,096 bytes each; block 0 begins with the file's header of 64 bytes
//! filter of partition 0 | ...  fingerprints; a partition is a stretch of whole blocks
//! index                        first key and checksum of every block
//! partitions                   32 bytes each
//! footer                       128 bytes
//! ```
//!
//! - A lookup of a key that is not there ends at the run's first and last key, or at one filter; no block is read.
//! - Every byte of the file is under a checksum, started from the header's, so that a part of another run fails.
//! - A block's checksum stands in the block and in the index: an older block at its place fails.
//! - The same entries give the same bytes.

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::damage::{Damage, DamageKind, Part};
use crate::key::Key;
use crate::limits::RUN_BLOCK_BYTES;

pub(crate) mod block;
pub(crate) mod build;
pub(crate) mod cursor;
pub(crate) mod filter;
pub(crate) mod merge;
pub(crate) mod open;
pub(crate) mod read;
pub(crate) mod write;

/// The version of the format that this program writes, and the newest that it reads.
pub const RUN_VERSION: u32 = 1;

/// Bytes of the file's header.
pub const RUN_HEADER_BYTES: usize = 64;

/// Bytes of the file's footer.
pub const RUN_FOOTER_BYTES: usize = 128;

pub(crate) const HEADER_MAGIC: [u8; 8] = *b"QUORRUN\0";
pub(crate) const FOOTER_MAGIC: [u8; 8] = *b"QRUNFOOT";

/// Whether a key may stand in a run more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// Each key once. Of several values of one key the least stays.
    Once,
    /// A key with all its distinct values, in ascending order.
    Many,
}

/// What a run is: part of its bytes, and under all its checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSpec {
    /// The cluster.
    pub cluster: u128,
    /// The group whose keys these are.
    pub group: u64,
    /// Which index of the group: a number of the caller's.
    pub table: u64,
    /// Whether a key may stand in it more than once.
    pub duplicates: Duplicates,
}

/// The first 64 bytes of a run.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    magic: [u8; 8],
    version: U32,
    /// CRC-32 of the magic and the version.
    prefix_crc: U32,
    cluster: U128,
    group: U64,
    table: U64,
    key_bytes: u8,
    duplicates: u8,
    reserved: U16,
    block_bytes: U32,
    reserved_too: U32,
    /// CRC-32 of the 60 bytes before; the seed of all checksums behind it.
    header_crc: U32,
}

/// The last 128 bytes of a run.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Footer {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) blocks: U32,
    pub(crate) entries: U64,
    pub(crate) keys: U64,
    pub(crate) first_key: U128,
    pub(crate) last_key: U128,
    pub(crate) value_least: U64,
    pub(crate) value_most: U64,
    pub(crate) filter_bytes: U64,
    pub(crate) file_bytes: U64,
    pub(crate) partitions: U32,
    /// CRC-32 of the index and the partitions.
    pub(crate) index_crc: U32,
    pub(crate) reserved: [u8; 20],
    /// CRC-32 of the 124 bytes before.
    pub(crate) footer_crc: U32,
}

/// Where the blocks and the filter of a partition are.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct PartitionRow {
    pub(crate) first_block: U32,
    /// Bytes of the filter; 0 when there is none, and every key may be there.
    pub(crate) filter_bytes: U32,
    pub(crate) seed: U64,
    pub(crate) segment_length: U32,
    pub(crate) segment_count_length: U32,
    /// CRC-32 of the filter's bytes.
    pub(crate) filter_crc: U32,
    pub(crate) reserved: U32,
}

const _: () = assert!(size_of::<Header>() == RUN_HEADER_BYTES, "as drawn");
const _: () = assert!(size_of::<Footer>() == RUN_FOOTER_BYTES, "as drawn");
const _: () = assert!(size_of::<PartitionRow>() == 32, "as drawn");

/// Bytes of a block's row in the index.
pub(crate) const fn index_row_bytes<K: Key>() -> usize {
    K::BYTES + 4
}

/// CRC-32 of `bytes`, started from `seed`.
pub(crate) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Where the checksums of one file start: from the header's, so that bytes of another file fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) const fn new(header_crc: u32) -> Self {
        Self(header_crc)
    }

    pub(crate) const fn block(self, block: u32) -> u32 {
        self.0 ^ block
    }

    pub(crate) const fn filter(self, partition: u32) -> u32 {
        !self.0 ^ partition
    }

    pub(crate) const fn index(self) -> u32 {
        self.0.rotate_left(8)
    }

    pub(crate) const fn footer(self) -> u32 {
        self.0.rotate_left(16)
    }
}

impl Header {
    pub(crate) fn new<K: Key>(spec: &RunSpec) -> Self {
        let mut header = Self {
            magic: HEADER_MAGIC,
            version: RUN_VERSION.into(),
            prefix_crc: 0.into(),
            cluster: spec.cluster.into(),
            group: spec.group.into(),
            table: spec.table.into(),
            key_bytes: K::BYTES as u8,
            duplicates: match spec.duplicates {
                Duplicates::Once => 0,
                Duplicates::Many => 1,
            },
            reserved: 0.into(),
            block_bytes: (RUN_BLOCK_BYTES as u32).into(),
            reserved_too: 0.into(),
            header_crc: 0.into(),
        };
        header.prefix_crc = checksum(0, &header.as_bytes()[..12]).into();
        header.header_crc = checksum(0, &header.as_bytes()[..RUN_HEADER_BYTES - 4]).into();
        header
    }

    pub(crate) fn seed(&self) -> Seed {
        Seed(self.header_crc.get())
    }

    /// Checks the header of a file; answers the width of its keys and what the run is.
    pub(crate) fn check(bytes: &[u8]) -> Result<(Self, usize, RunSpec), Damage> {
        let damage = |kind| Damage {
            part: Part::Header,
            offset: 0,
            bytes: RUN_HEADER_BYTES as u64,
            kind,
            group: None,
            first: None,
            last: None,
        };
        let (header, _) = Self::read_from_prefix(bytes).map_err(|_| {
            let expected = (RUN_BLOCK_BYTES + RUN_FOOTER_BYTES) as u64;
            damage(DamageKind::Length {
                found: bytes.len() as u64,
                expected,
            })
        })?;
        let whole = checksum(0, &bytes[..RUN_HEADER_BYTES - 4]) == header.header_crc.get();
        // A run whose first bytes are damaged still ends as a run does.
        let end = bytes.len().saturating_sub(RUN_FOOTER_BYTES);
        if header.magic != HEADER_MAGIC && !bytes[end..].starts_with(&FOOTER_MAGIC) {
            return Err(damage(DamageKind::Foreign));
        }
        if checksum(0, &bytes[..12]) != header.prefix_crc.get() {
            return Err(damage(DamageKind::Checksum));
        }
        if header.version.get() > RUN_VERSION {
            return Err(damage(DamageKind::Newer {
                found: header.version.get(),
                supported: RUN_VERSION,
            }));
        }
        if !whole {
            return Err(damage(DamageKind::Checksum));
        }
        let duplicates = match header.duplicates {
            0 => Duplicates::Once,
            1 => Duplicates::Many,
            _ => return Err(damage(DamageKind::Contradiction)),
        };
        let key_bytes = usize::from(header.key_bytes);
        let sound = header.version.get() == RUN_VERSION
            && header.block_bytes.get() as usize == RUN_BLOCK_BYTES
            && (key_bytes == 8 || key_bytes == 16);
        if !sound {
            return Err(damage(DamageKind::Contradiction));
        }
        let spec = RunSpec {
            cluster: header.cluster.get(),
            group: header.group.get(),
            table: header.table.get(),
            duplicates,
        };
        Ok((header, key_bytes, spec))
    }
}

impl Footer {
    pub(crate) fn crc(&self, seed: Seed) -> u32 {
        checksum(seed.footer(), &self.as_bytes()[..RUN_FOOTER_BYTES - 4])
    }

    pub(crate) const fn magic() -> [u8; 8] {
        FOOTER_MAGIC
    }
}

//! A segment: a file of fixed size whose first 4 KiB say which stretch of the log it holds.
//!
//! ```text
//!   0  "QUORLOG\0"          56  u64 segment          104  u64 durable
//!   8  u32 version          64  u64 segment_bytes    112  u64 live
//!  12  u32 prefix_crc       72  u32 incarnation      120  u32 previous_end
//!  16  u128 cluster         76  u32 slots            124  u32 previous_crc
//!  32  u64 node             80  u64 origin           128  u64 created_ns
//!  40  u32 log              88  u64 first_block      136  zeros
//!  44  u32 slot             96  u64 first_lsn       4092  u32 header_crc (bytes 0..4092)
//!  48  u64 birth
//! ```
//!
//! - The first 16 bytes keep their meaning in every version, so that a newer format is recognised as such.
//! - `slot` is the number of the file: a file under another's name is told apart.
//! - The header travels in the same write as the segment's first block, at offset 4,096.
//! - `previous_end` is where the segment before it ended; what lies behind that is void.

use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::identity::{Identity, Life};

/// Bytes of a segment's header; the first block follows.
pub const SEGMENT_HEADER_BYTES: usize = 4096;

/// First eight bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"QUORLOG\0";

/// The segment format this program writes, and the newest it reads.
pub const SEGMENT_VERSION: u32 = 1;

const PREFIX_BYTES: usize = 12;
const CRC_AT: usize = SEGMENT_HEADER_BYTES - 4;

/// The used part of a segment's header on disk.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct SegmentHeader {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) prefix_crc: U32,
    pub(crate) cluster: U128,
    pub(crate) node: U64,
    pub(crate) log: U32,
    pub(crate) slot: U32,
    pub(crate) birth: U64,
    pub(crate) segment: U64,
    pub(crate) segment_bytes: U64,
    pub(crate) incarnation: U32,
    pub(crate) slots: U32,
    pub(crate) origin: U64,
    pub(crate) first_block: U64,
    pub(crate) first_lsn: U64,
    pub(crate) durable: U64,
    pub(crate) live: U64,
    pub(crate) previous_end: U32,
    pub(crate) previous_crc: U32,
    pub(crate) created_ns: U64,
}

const _: () = assert!(size_of::<SegmentHeader>() == 136, "the format is 136 bytes");

/// What the first 4 KiB of a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// A header that passes its checksums.
    Header(SegmentHeader),
    /// A format that a newer program wrote.
    Newer(u32),
    /// Zeros: made, never used.
    Blank,
    /// Neither: torn or damaged.
    Damaged,
}

impl SegmentHeader {
    /// The log this segment belongs to.
    pub(crate) fn life(&self) -> Life {
        let identity = Identity {
            cluster: self.cluster.get(),
            node: self.node.get(),
            log: self.log.get(),
        };
        Life {
            identity,
            birth: self.birth.get(),
        }
    }

    /// Writes the header with its checksums over the first 4 KiB of `page`.
    pub(crate) fn encode(mut self, page: &mut [u8]) {
        let page = &mut page[..SEGMENT_HEADER_BYTES];
        self.magic = SEGMENT_MAGIC;
        self.version = SEGMENT_VERSION.into();
        self.prefix_crc = crc32fast::hash(&self.as_bytes()[..PREFIX_BYTES]).into();
        page.fill(0);
        page[..size_of::<Self>()].copy_from_slice(self.as_bytes());
        let crc = crc32fast::hash(&page[..CRC_AT]);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Reads the first 4 KiB of a file.
pub(crate) fn decode_header(page: &[u8]) -> Read {
    let Some(page) = page.get(..SEGMENT_HEADER_BYTES) else {
        return Read::Damaged;
    };
    let Ok((header, _)) = SegmentHeader::ref_from_prefix(page) else {
        return Read::Damaged;
    };
    if header.magic != SEGMENT_MAGIC {
        return if page.iter().all(|&byte| byte == 0) {
            Read::Blank
        } else {
            Read::Damaged
        };
    }
    if header.prefix_crc.get() != crc32fast::hash(&page[..PREFIX_BYTES]) {
        return Read::Damaged;
    }
    if header.version.get() > SEGMENT_VERSION {
        return Read::Newer(header.version.get());
    }
    let crc = U32::from_bytes([
        page[CRC_AT],
        page[CRC_AT + 1],
        page[CRC_AT + 2],
        page[CRC_AT + 3],
    ]);
    if header.version.get() != SEGMENT_VERSION || crc.get() != crc32fast::hash(&page[..CRC_AT]) {
        return Read::Damaged;
    }
    Read::Header(*header)
}

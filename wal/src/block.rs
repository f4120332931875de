//! A block: the records of one durable write behind a header that says where it belongs.
//!
//! ```text
//!  0  u32 magic "QBLK"     32  u64 sequence       72  u32 body_bytes
//!  4  u32 header_crc       40  u64 first_lsn      76  u32 records
//!  8  u64 birth            48  u64 durable        80  u32 records_crc
//! 16  u64 segment          56  u64 live           84  u32 previous_crc
//! 24  u32 incarnation      64  u64 origin         88  u16 version   90  u16 flags (zero)
//! 28  u32 offset                                  92  u32 zero
//! 96  records, each 8-byte aligned; then zeros up to a multiple of 4,096
//! ```
//!
//! - `header_crc` covers bytes 8..96 and starts from a seed of identity, birth, segment, incarnation, offset.
//! - `records_crc` is the CRC-32 over the records' `header_crc` words in order: none can be missing.
//! - `previous_crc` is the `header_crc` of the block before: the blocks form a chain.
//! - `durable` is a fact: the block of that sequence and all before it were durable when this one was built.
//! - `live` is a fact: no segment below it holds anything needed.
//! - `origin` is the sequence at which this incarnation took over: older incarnations end before it.

pub mod buffer;

use crc32fast::Hasher;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::device::ALIGNMENT;
use crate::identity::{Life, Seeds};
use crate::record::{self, Found};
use crate::segment;

/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 96;

/// First four bytes of a block.
pub const BLOCK_MAGIC: [u8; 4] = *b"QBLK";

/// The block format this program writes.
pub const BLOCK_VERSION: u16 = 1;

/// Start of the bytes that `header_crc` covers.
const COVERED_FROM: usize = 8;

/// The header of a block on disk.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct BlockHeader {
    pub(crate) magic: [u8; 4],
    pub(crate) header_crc: U32,
    pub(crate) birth: U64,
    pub(crate) segment: U64,
    pub(crate) incarnation: U32,
    pub(crate) offset: U32,
    pub(crate) sequence: U64,
    pub(crate) first_lsn: U64,
    pub(crate) durable: U64,
    pub(crate) live: U64,
    pub(crate) origin: U64,
    pub(crate) body_bytes: U32,
    pub(crate) records: U32,
    pub(crate) records_crc: U32,
    pub(crate) previous_crc: U32,
    pub(crate) version: U16,
    pub(crate) flags: U16,
    pub(crate) reserved: U32,
}

const _: () = assert!(
    size_of::<BlockHeader>() == BLOCK_HEADER_BYTES,
    "the format is 96 bytes"
);

impl BlockHeader {
    /// Bytes of the block on disk, padding included.
    pub(crate) fn block_bytes(&self) -> usize {
        (BLOCK_HEADER_BYTES + self.body_bytes.get() as usize).next_multiple_of(ALIGNMENT)
    }

    /// The sequence number behind this block.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.get().saturating_add(1)
    }

    /// The log sequence number behind this block's records.
    pub(crate) fn next_lsn(&self) -> u64 {
        self.first_lsn
            .get()
            .saturating_add(u64::from(self.records.get()))
    }

    /// Computes `header_crc` over everything else.
    pub(crate) fn sign(&mut self, seeds: Seeds) {
        self.header_crc = self.crc(seeds).into();
    }

    fn crc(&self, seeds: Seeds) -> u32 {
        let mut hasher = Hasher::new_with_initial(seeds.block(self.offset.get()));
        hasher.update(&self.as_bytes()[COVERED_FROM..]);
        hasher.finalize()
    }

    /// The seeds of the segment and incarnation this header names.
    pub(crate) fn seeds(&self, life: &Life) -> Seeds {
        life.seeds(self.segment.get(), self.incarnation.get())
    }
}

/// Reads the block header at the start of `from`, which lies at `offset` of a segment. `None` when it is no
/// block of this log at this place; `room` is how many bytes are left in the segment.
pub(crate) fn decode_header(
    from: &[u8],
    life: &Life,
    offset: u32,
    room: usize,
) -> Option<BlockHeader> {
    let (header, _) = BlockHeader::ref_from_prefix(from).ok()?;
    if header.magic != BLOCK_MAGIC
        || header.offset.get() != offset
        || header.birth.get() != life.birth
    {
        return None;
    }
    if header.version.get() != BLOCK_VERSION
        || header.crc(header.seeds(life)) != header.header_crc.get()
    {
        return None;
    }
    let fits = BLOCK_HEADER_BYTES as u64 + u64::from(header.body_bytes.get()) <= room as u64;
    fits.then_some(*header)
}

/// Like [`decode_header`] for a log whose birth is not known: trusts the birth that the header names.
pub(crate) fn decode_header_unborn(
    from: &[u8],
    life: &Life,
    offset: u32,
    room: usize,
) -> Option<BlockHeader> {
    let (header, _) = BlockHeader::ref_from_prefix(from).ok()?;
    let life = Life {
        birth: header.birth.get(),
        ..*life
    };
    decode_header(from, &life, offset, room)
}

/// The records of a block, one by one; ends at the first whose header fails.
pub(crate) struct Records<'a> {
    body: &'a [u8],
    seeds: Seeds,
    offset: u32,
    left: u32,
    chain: Hasher,
}

/// How the walk over a block's records ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Records whose header could not be read.
    pub(crate) lost: u32,
    /// Whether every record header is there and is the one the block was built with.
    pub(crate) whole: bool,
    /// Offset in the segment behind the last readable record.
    pub(crate) offset: u32,
}

impl<'a> Records<'a> {
    /// The records of `block`, which starts with `header` and holds at least its whole body.
    pub(crate) fn new(header: &BlockHeader, seeds: Seeds, block: &'a [u8]) -> Self {
        let end = (BLOCK_HEADER_BYTES + header.body_bytes.get() as usize).min(block.len());
        Self {
            body: &block[BLOCK_HEADER_BYTES..end],
            seeds,
            offset: header.offset.get() + BLOCK_HEADER_BYTES as u32,
            left: header.records.get(),
            chain: Hasher::new(),
        }
    }

    /// Judges the walk once the iteration has ended.
    pub(crate) fn walked(self, header: &BlockHeader) -> Walked {
        let lost = self.left;
        let whole =
            lost == 0 && self.body.is_empty() && self.chain.finalize() == header.records_crc.get();
        Walked {
            lost,
            whole,
            offset: self.offset,
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.left == 0 {
            return None;
        }
        let found = record::decode(self.body, self.seeds, self.offset)?;
        self.chain.update(&found.header_crc.to_le_bytes());
        self.body = &self.body[found.bytes as usize..];
        self.offset += found.bytes;
        self.left -= 1;
        Some(found)
    }
}

/// Whether every record of the block is there and intact, header and payload.
pub(crate) fn is_intact(header: &BlockHeader, seeds: Seeds, block: &[u8]) -> bool {
    let mut records = Records::new(header, seeds, block);
    records.by_ref().all(|found| found.intact) && records.walked(header).whole
}

/// Judges arbitrary bytes as every structure of the log: the entry for fuzzing. Returns how many records of a
/// block at their start are intact.
///
/// # Panics
/// Never, whatever the bytes: that is what it is for. It panics when a structure that passes its checksums does
/// not come out as the bytes it was read from.
pub fn check(bytes: &[u8]) -> usize {
    let life = Life {
        identity: crate::identity::Identity {
            cluster: 0,
            node: 0,
            log: 0,
        },
        birth: 0,
    };
    if let segment::Read::Header(header) = segment::decode_header(bytes) {
        let mut page = vec![0; segment::SEGMENT_HEADER_BYTES];
        header.encode(&mut page);
        assert_eq!(
            page[..],
            bytes[..page.len()],
            "a header that passes is canonical"
        );
    }
    let loose = Seeds::of(0);
    let _ = record::decode(bytes, loose, 0);
    let Ok((header, _)) = BlockHeader::ref_from_prefix(bytes) else {
        return 0;
    };
    // Past the checksum, so that fuzzing reaches the walk; lengths are trusted only as far as bytes go.
    let mut header = *header;
    header.body_bytes = header.body_bytes.get().min(bytes.len() as u32).into();
    let mut records = Records::new(&header, header.seeds(&life), bytes);
    let intact = records.by_ref().filter(|found| found.intact).count();
    let walked = records.walked(&header);
    assert!(
        walked.offset >= header.offset.get(),
        "the walk goes forward"
    );
    let _ = decode_header_unborn(bytes, &life, 0, bytes.len());
    intact
}

//! A block: the records of one durable write behind a header that says where it belongs.
//!
//! ```text
//!  0  u32 magic "QBLK"     32  u64 sequence       72  u32 body_bytes
//!  4  u32 header_crc       40  u64 first_lsn      76  u32 records
//!  8  u64 birth            48  u64 durable        80  u32 records_crc
//! 16  u64 segment          56  u64 live           84  u32 previous_crc
//! 24  u32 incarnation      64  u64 origin         88  u16 version        90  u16 metas_before
//! 28  u32 offset                                  92  u16 turns_before   94  u8 metas   95  u8 turns
//! 96  records, each 8-byte aligned; then zeros up to a multiple of 4,096
//! ```
//!
//! - `header_crc` covers bytes 8..96 and starts from a seed of identity, birth, segment, incarnation, offset.
//! - `records_crc` is the CRC-32 over the records' `header_crc` words in order: none can be missing.
//! - `previous_crc` is the `header_crc` of the block before: the blocks form a chain.
//! - `durable` is a fact: the block of that sequence and all before it were durable when this one was built.
//! - `live` is a fact: no segment below it holds anything needed.
//! - `origin` is the sequence at which this incarnation took over: older incarnations end before it.
//! - `metas` and `turns` count this block's metadata and its entries that do more than follow on, 255 for more;
//!   `_before` count those of all blocks before it, modulo 65,536: when a block is lost they tell what kind of
//!   records were lost with it. Version 1 has zeros there and counts nothing.

pub mod buffer;
pub(crate) mod chain;
pub(crate) mod tally;

use crc32fast::Hasher;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{chain::Chain, tally::Tally};
use crate::device::ALIGNMENT;
use crate::identity::{Life, Seeds};
use crate::record::{self, Found};
use crate::segment;

/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 96;

/// First four bytes of a block.
pub const BLOCK_MAGIC: [u8; 4] = *b"QBLK";

/// The block format this program writes, and the newest it reads.
pub const BLOCK_VERSION: u16 = 2;

/// The first format, which does not count its records by kind.
const BLOCK_VERSION_UNCOUNTED: u16 = 1;

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
    pub(crate) metas_before: U16,
    pub(crate) turns_before: U16,
    pub(crate) metas: u8,
    pub(crate) turns: u8,
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

    /// What all blocks before this one hold; unknown in the first format.
    pub(crate) fn before(&self) -> Option<Tally> {
        (self.version.get() != BLOCK_VERSION_UNCOUNTED).then_some(Tally {
            metas: self.metas_before.get(),
            turns: self.turns_before.get(),
        })
    }

    /// What this block holds, if its counts say so.
    pub(crate) fn own(&self) -> Option<Tally> {
        let counts = self.version.get() != BLOCK_VERSION_UNCOUNTED
            && self.metas < u8::MAX
            && self.turns < u8::MAX;
        counts.then_some(Tally {
            metas: u16::from(self.metas),
            turns: u16::from(self.turns),
        })
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
    let is_known = (BLOCK_VERSION_UNCOUNTED..=BLOCK_VERSION).contains(&header.version.get());
    if !is_known || header.crc(header.seeds(life)) != header.header_crc.get() {
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
    chain: Chain,
    /// All of them passed their checksums a moment ago.
    trusted: bool,
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
            chain: Chain::new(),
            trusted: false,
        }
    }

    /// The same, of a block that is intact: nothing is checked again.
    pub(crate) fn trusting(header: &BlockHeader, seeds: Seeds, block: &'a [u8]) -> Self {
        Self {
            trusted: true,
            ..Self::new(header, seeds, block)
        }
    }

    /// Goes on behind damaged record headers, once the iteration has ended at one: at the records that lead to the
    /// block's end without a break. Returns how many records lie between, lost; `None` when nothing follows.
    pub(crate) fn resume(&mut self) -> Option<u32> {
        if self.left == 0 {
            return None;
        }
        for skipped in (8..self.body.len()).step_by(8) {
            let behind = Self {
                body: &self.body[skipped..],
                seeds: self.seeds,
                offset: self.offset + skipped as u32,
                left: self.left,
                chain: self.chain.clone(),
                trusted: false,
            };
            if let Some(lost) = behind.lost_if_whole() {
                self.body = &self.body[skipped..];
                self.offset += skipped as u32;
                self.left -= lost;
                return Some(lost);
            }
        }
        None
    }

    /// How many fewer records than are left there are from here to the end, if they lead there without a break.
    fn lost_if_whole(mut self) -> Option<u32> {
        let left = self.left;
        let found = self.by_ref().count() as u32;
        let is_end = self.body.len() < ALIGNMENT && self.body.iter().all(|&byte| byte == 0);
        (found > 0 && is_end).then(|| left - found)
    }

    /// Goes on behind a record of this many bytes.
    fn pass(&mut self, bytes: u32) {
        self.body = &self.body[bytes as usize..];
        self.offset += bytes;
        self.left -= 1;
    }

    /// Records not yet seen.
    pub(crate) const fn left(&self) -> u32 {
        self.left
    }

    /// Offset in the segment of the next record.
    pub(crate) const fn offset(&self) -> u32 {
        self.offset
    }

    /// Judges the walk once the iteration has ended.
    pub(crate) fn walked(self, header: &BlockHeader) -> Walked {
        let is_end = self.left == 0 && self.body.is_empty();
        let whole = is_end && self.chain.finalize() == header.records_crc.get();
        Walked {
            lost: self.left,
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
        let found = if self.trusted {
            record::decode_trusting(self.body, self.offset)?
        } else {
            let found = record::decode(self.body, self.seeds, self.offset)?;
            self.chain.add(found.header_crc);
            found
        };
        self.pass(found.bytes);
        Some(found)
    }
}

/// Whether every record of the block is there and intact, header and payload.
pub(crate) fn is_intact(header: &BlockHeader, seeds: Seeds, block: &[u8]) -> bool {
    let mut records = Records::new(header, seeds, block);
    while records.left > 0 {
        match record::prove(records.body, seeds, records.offset) {
            Some(proof) if proof.intact => {
                records.chain.add(proof.header_crc);
                records.pass(proof.bytes);
            }
            _ => return false,
        }
    }
    records.walked(header).whole
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn life() -> Life {
        let identity = Identity {
            cluster: 1,
            node: 2,
            log: 3,
        };
        Life { identity, birth: 4 }
    }

    fn header(version: u16, metas: u8) -> BlockHeader {
        let mut header = BlockHeader::read_from_bytes(&[0; BLOCK_HEADER_BYTES])
            .expect("a header is made of numbers");
        header.magic = BLOCK_MAGIC;
        header.birth = life().birth.into();
        header.offset = 8192.into();
        header.version = version.into();
        (header.metas, header.turns) = (metas, 1);
        header.sign(header.seeds(&life()));
        header
    }

    #[test]
    fn the_first_format_is_read_and_counts_nothing() {
        let read = |version, metas| {
            let header = header(version, metas);
            decode_header(header.as_bytes(), &life(), 8192, ALIGNMENT)
        };
        let old = read(BLOCK_VERSION_UNCOUNTED, 0).expect("the first format is known");
        assert_eq!((old.before(), old.own()), (None, None));
        let own = Some(Tally { metas: 7, turns: 1 });
        assert_eq!(read(BLOCK_VERSION, 7).and_then(|new| new.own()), own);
        let full = read(BLOCK_VERSION, u8::MAX).expect("the format is known");
        assert_eq!((full.before(), full.own()), (Some(Tally::default()), None));
        assert_eq!(read(BLOCK_VERSION + 1, 0), None);
    }
}

//! The block being filled: records are copied into it once, then it is closed and written as it is.
//!
//! Hot: no allocation, no branch that depends on anything but sizes.

use zerocopy::IntoBytes;

use crate::block::buffer::Buffer;
use crate::block::chain::Chain;
use crate::block::tally::Tally;
use crate::block::{BLOCK_HEADER_BYTES, BLOCK_MAGIC, BLOCK_VERSION, BlockHeader};
use crate::device::ALIGNMENT;
use crate::identity::Seeds;
use crate::index::Position;
use crate::limits::BLOCK_FILL_BYTES;
use crate::record::{self, Record};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};

/// Where the next block goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) slot: u32,
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    pub(crate) seeds: Seeds,
}

/// What a block says about the log at the moment it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) birth: u64,
    pub(crate) incarnation: u32,
    pub(crate) origin: u64,
    pub(crate) sequence: u64,
    pub(crate) durable: u64,
    pub(crate) live: u64,
    pub(crate) previous_crc: u32,
}

/// A block with room for records.
pub(crate) struct Filling {
    buffer: Buffer,
    /// The header of the segment that this block begins.
    prefix: Option<SegmentHeader>,
    pub(crate) place: Place,
    /// Bytes in front of the block in the buffer: the segment's header, or none.
    base: usize,
    cursor: usize,
    limit: usize,
    /// Up to where it is filled; a record that is alone in it may go on to the limit.
    goal: usize,
    first_lsn: u64,
    pub(crate) records: u32,
    /// What all blocks before this one hold.
    before: Tally,
    chain: Chain,
}

/// A block as it will be written.
#[derive(Debug)]
pub(crate) struct Closed {
    buffer: Option<Buffer>,
    pub(crate) slot: u32,
    /// Offset of the write in the file.
    pub(crate) offset: u64,
    /// Length of the write.
    pub(crate) bytes: usize,
    pub(crate) records: u32,
    pub(crate) first_lsn: u64,
    prefix: Option<SegmentHeader>,
    header: BlockHeader,
    seeds: Seeds,
}

impl Filling {
    /// A block at `place`, at most `room` bytes long; with the segment's header in front when it is the first.
    pub(crate) fn new(
        buffer: Buffer,
        place: Place,
        prefix: Option<SegmentHeader>,
        room: usize,
        first_lsn: u64,
        before: Tally,
    ) -> Self {
        let base = if prefix.is_some() {
            SEGMENT_HEADER_BYTES
        } else {
            0
        };
        let limit = buffer.len().min(base + room);
        let cursor = base + BLOCK_HEADER_BYTES;
        Self {
            buffer,
            prefix,
            place,
            base,
            cursor,
            limit,
            goal: limit.min(base + BLOCK_FILL_BYTES),
            first_lsn,
            records: 0,
            before,
            chain: Chain::new(),
        }
    }

    /// Whether a record of this many bytes still fits.
    pub(crate) const fn fits(&self, bytes: usize) -> bool {
        let limit = if self.records == 0 {
            self.limit
        } else {
            self.goal
        };
        self.cursor + bytes <= limit
    }

    /// From here on everything that there is room for is one block.
    pub(crate) const fn keep_together(&mut self) {
        self.goal = self.limit;
    }

    /// Whether the next record is the first of its segment.
    pub(crate) const fn begins_segment(&self) -> bool {
        self.prefix.is_some() && self.records == 0
    }

    /// Copies a record into the block. Inlined: a place that comes back through memory is stored in three parts and loaded
    /// in two, which waits until all that was copied has left the processor's store buffer.
    #[inline(always)]
    pub(crate) fn push(&mut self, record: &Record<'_>, flags: u8) -> Position {
        let bytes = record::record_bytes(record.head.len(), record.payload.len());
        assert!(self.fits(bytes), "the caller asked before");
        let offset = self.place.offset + (self.cursor - self.base) as u32;
        let into = &mut self.buffer[self.cursor..self.cursor + bytes];
        let crc = record::encode(record, flags, self.place.seeds, offset, into);
        self.chain.add(crc);
        self.cursor += bytes;
        self.records += 1;
        Position {
            segment: self.place.segment as u32,
            offset,
            bytes: bytes as u32,
        }
    }

    /// Ends the block; returns it and the place behind it. `upto` counts everything up to its last record.
    pub(crate) fn close(mut self, upto: Tally) -> (Closed, Place) {
        let end = self.cursor.next_multiple_of(ALIGNMENT);
        self.buffer[self.cursor..end].fill(0);
        let own = upto.since(self.before);
        let header = BlockHeader {
            magic: BLOCK_MAGIC,
            header_crc: 0.into(),
            birth: 0.into(),
            segment: self.place.segment.into(),
            incarnation: 0.into(),
            offset: self.place.offset.into(),
            sequence: 0.into(),
            first_lsn: self.first_lsn.into(),
            durable: 0.into(),
            live: 0.into(),
            origin: 0.into(),
            body_bytes: ((self.cursor - self.base - BLOCK_HEADER_BYTES) as u32).into(),
            records: self.records.into(),
            records_crc: self.chain.finalize().into(),
            previous_crc: 0.into(),
            version: BLOCK_VERSION.into(),
            metas_before: self.before.metas.into(),
            turns_before: self.before.turns.into(),
            metas: u8::try_from(own.metas).unwrap_or(u8::MAX),
            turns: u8::try_from(own.turns).unwrap_or(u8::MAX),
        };
        let block_bytes = (end - self.base) as u32;
        let closed = Closed {
            buffer: Some(self.buffer),
            slot: self.place.slot,
            offset: u64::from(self.place.offset) - self.base as u64,
            bytes: end,
            records: self.records,
            first_lsn: self.first_lsn,
            prefix: self.prefix,
            header,
            seeds: self.place.seeds,
        };
        (
            closed,
            Place {
                offset: self.place.offset + block_bytes,
                ..self.place
            },
        )
    }
}

impl Closed {
    /// Writes the headers with the newest facts, right before the block leaves; returns its `header_crc`.
    pub(crate) fn sign(&mut self, facts: &Facts) -> u32 {
        let mut base = 0;
        if let Some(mut prefix) = self.prefix {
            prefix.first_block = facts.sequence.into();
            prefix.durable = facts.durable.into();
            prefix.live = facts.live.into();
            prefix.previous_crc = facts.previous_crc.into();
            prefix.encode(self.buffer.as_mut().expect("signed before it leaves"));
            base = SEGMENT_HEADER_BYTES;
        }
        let header = &mut self.header;
        header.birth = facts.birth.into();
        header.incarnation = facts.incarnation.into();
        header.origin = facts.origin.into();
        header.sequence = facts.sequence.into();
        header.durable = facts.durable.into();
        header.live = facts.live.into();
        header.previous_crc = facts.previous_crc.into();
        header.sign(self.seeds);
        let buffer = self.buffer.as_mut().expect("signed before it leaves");
        buffer[base..base + BLOCK_HEADER_BYTES].copy_from_slice(header.as_bytes());
        header.header_crc.get()
    }

    /// The memory, to be lent to the device.
    pub(crate) fn take_buffer(&mut self) -> Buffer {
        self.buffer.take().expect("a block is written once")
    }

    /// The memory back, when the device took no more.
    pub(crate) fn put_buffer(&mut self, buffer: Buffer) {
        self.buffer = Some(buffer);
    }

    /// Segment and offset behind the block.
    pub(crate) fn end(&self) -> (u64, u32) {
        (
            self.header.segment.get(),
            (self.offset + self.bytes as u64) as u32,
        )
    }

    /// The log sequence number of the last record; that of the one before when it holds none.
    pub(crate) fn last_lsn(&self) -> u64 {
        self.first_lsn + u64::from(self.records) - 1
    }
}

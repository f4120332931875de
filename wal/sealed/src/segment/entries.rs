//! Walks over a segment's entries in order, one unpacked block at a time.
//!
//! - An entry is put together from all the blocks in which it lies, and its payload's checksum is checked.

use crate::damage::{Damage, DamageKind};
use crate::limits::ENTRY_PAYLOAD_MAX;
use crate::segment::block::Unpacker;
use crate::segment::read::SegmentReader;
use crate::segment::record::{OwnedEntry, RecordHeader};

/// A segment's entries in order.
pub struct SegmentEntries<R, B> {
    segment: R,
    unpacker: Unpacker,
    /// The block that is unpacked, if one is, and where in it the next record begins.
    block: Option<u32>,
    at: usize,
    next: u64,
    over: bool,
    reads: core::marker::PhantomData<B>,
}

impl<R: core::ops::Deref<Target = SegmentReader<B>>, B: AsRef<[u8]>> SegmentEntries<R, B> {
    pub(crate) fn new(segment: R, from: u64) -> Self {
        Self {
            next: from.max(segment.first()),
            segment,
            unpacker: Unpacker::new(),
            block: None,
            at: 0,
            over: false,
            reads: core::marker::PhantomData,
        }
    }

    /// Unpacks the block in which the next entry begins, and goes to its record.
    fn seek(&mut self) -> Result<u32, Damage> {
        let number = self.segment.block_of(self.next).unwrap_or_default();
        let header = self.segment.unpack(number, &mut self.unpacker)?;
        self.block = Some(number);
        self.at = header.begins_at.get() as usize;
        let decoded = self.unpacker.decoded();
        loop {
            let record = decoded.get(self.at..).and_then(RecordHeader::read);
            match record {
                Some((record, _)) if record.index.get() < self.next => {
                    self.at += record.before_payload() + record.payload();
                }
                Some((record, _)) if record.index.get() == self.next => return Ok(number),
                _ => return Err(self.segment.block_damage(number, DamageKind::Contradiction)),
            }
        }
    }

    fn read(&mut self) -> Result<OwnedEntry, Damage> {
        let mut number = match self.block {
            Some(number) if self.at < self.unpacker.decoded().len() => number,
            _ => self.seek()?,
        };
        let segment = &self.segment;
        let contradiction = |number| segment.block_damage(number, DamageKind::Contradiction);
        let decoded = self.unpacker.decoded();
        let (record, head) = RecordHeader::read(&decoded[self.at..])
            .filter(|(record, _)| record.index.get() == self.next)
            .ok_or_else(|| contradiction(number))?;
        let payload_bytes = record.payload().min(ENTRY_PAYLOAD_MAX);
        let mut entry = OwnedEntry {
            index: record.index.get(),
            term: record.term.get(),
            time: record.time.get(),
            head: head.to_vec(),
            payload: Vec::with_capacity(payload_bytes),
            payload_crc: record.payload_crc.get(),
        };
        self.at += record.before_payload();
        let piece = payload_bytes.min(decoded.len() - self.at);
        entry
            .payload
            .extend_from_slice(&decoded[self.at..self.at + piece]);
        self.at += piece;
        while entry.payload.len() < payload_bytes {
            number += 1;
            self.block = Some(number);
            let header = segment.unpack(number, &mut self.unpacker)?;
            let lead = header.begins_at.get() as usize;
            let left = payload_bytes - entry.payload.len();
            let decoded = self.unpacker.decoded();
            let goes_on = lead > 0 && (lead == left || lead < left && lead == decoded.len());
            if header.first.get() != entry.index || !goes_on {
                return Err(contradiction(number));
            }
            entry.payload.extend_from_slice(&decoded[..lead]);
            self.at = lead;
        }
        if crc32fast::hash(&entry.payload) != entry.payload_crc {
            return Err(contradiction(number));
        }
        self.next += 1;
        Ok(entry)
    }
}

impl<R: core::ops::Deref<Target = SegmentReader<B>>, B: AsRef<[u8]>> Iterator
    for SegmentEntries<R, B>
{
    type Item = Result<OwnedEntry, Damage>;

    /// The next entry; after damage nothing.
    fn next(&mut self) -> Option<Self::Item> {
        if self.over || self.next > self.segment.last() {
            return None;
        }
        let entry = self.read();
        self.over = entry.is_err();
        Some(entry)
    }
}

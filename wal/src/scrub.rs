//! The scrubber: reads durable blocks again at a bounded rate, so that rot is found while peers can repair it.
//!
//! - It walks from the oldest segment to the newest and begins again; never beyond what is durable.
//! - Bytes read are paid from an allowance that grows with time.
//! - What it finds is told once per pass, by group and index where a record's header can be read.
//! - What a reader stumbles over is looked at next, once a pass.

use std::collections::VecDeque;

use crate::block::buffer::Buffer;
use crate::block::{self, BlockHeader, Records};
use crate::damage::{Damage, DamageKind};
use crate::device::{ALIGNMENT, Device, Operation};
use crate::identity::Life;
use crate::record::{Found, Kind};
use crate::repair::{Repair, Seen};
use crate::segment::{self, Read, SEGMENT_HEADER_BYTES};
use crate::space::{NO_SLOT, Segment, Space};

/// Token of the scrubber's reads; no block and no other read has it.
pub(crate) const SCRUB_TOKEN: u64 = u64::MAX;

/// Damage kept until someone takes it; more is counted.
const FOUND_MAX: usize = 1024;

/// The scrubber of a log.
#[derive(Debug)]
pub(crate) struct Scrub {
    buffer: Option<Buffer>,
    bytes_per_second: u64,
    allowance: u64,
    refilled_ns: Option<u64>,
    /// Where it is: a segment and the offset of a block in it.
    segment: u64,
    offset: u64,
    /// The last segment that was looked at out of turn in this pass.
    hurried: u64,
    found: VecDeque<Damage>,
    /// Bytes read.
    pub(crate) bytes: u64,
    /// Times it came to the end of the log.
    pub(crate) passes: u64,
    /// Damage that found no room.
    pub(crate) dropped: u64,
}

impl Scrub {
    pub(crate) fn new(buffer: Option<Buffer>, bytes_per_second: u64) -> Self {
        Self {
            buffer,
            bytes_per_second,
            allowance: 0,
            refilled_ns: None,
            segment: 0,
            offset: 0,
            hurried: 0,
            found: VecDeque::new(),
            bytes: 0,
            passes: 0,
            dropped: 0,
        }
    }

    /// Whether it ever looks at anything.
    pub(crate) const fn is_on(&self) -> bool {
        self.bytes_per_second > 0
    }

    /// Something is wrong in this segment: it goes on there.
    pub(crate) fn hurry(&mut self, segment: u64) {
        if self.hurried != segment && self.segment != segment {
            (self.segment, self.offset, self.hurried) = (segment, 0, segment);
        }
    }

    /// The next thing found wrong.
    pub(crate) fn next_found(&mut self) -> Option<Damage> {
        self.found.pop_front()
    }

    fn refill(&mut self, now_ns: u64, most: u64) {
        let since = now_ns.saturating_sub(self.refilled_ns.unwrap_or(now_ns));
        let earned = u128::from(self.bytes_per_second) * u128::from(since) / 1_000_000_000;
        if earned > 0 || self.refilled_ns.is_none() {
            self.refilled_ns = Some(now_ns);
            let earned = u64::try_from(earned).unwrap_or(u64::MAX);
            self.allowance = self.allowance.saturating_add(earned).min(most);
        }
    }

    /// Begins the next piece if the allowance pays for it.
    pub(crate) fn begin(
        &mut self,
        space: &Space,
        durable_end: (u64, u32),
        device: &mut impl Device,
        now_ns: u64,
    ) {
        let Some(buffer) = self.buffer.take() else {
            return;
        };
        let piece = buffer.len() as u64;
        self.refill(now_ns, 2 * piece);
        let place = self.place(space, durable_end);
        let bytes = place.map_or(0, |(_, end)| (end - self.offset).min(piece));
        let Some((slot, _)) = place.filter(|_| bytes <= self.allowance) else {
            self.buffer = Some(buffer);
            return;
        };
        let (token, offset, bytes) = (SCRUB_TOKEN, self.offset, bytes as usize);
        match device.read(
            now_ns,
            Operation {
                token,
                slot,
                offset,
                bytes,
                buffer,
            },
        ) {
            Ok(()) => self.allowance -= bytes as u64,
            Err(operation) => self.buffer = Some(operation.buffer),
        }
    }

    /// The file to read and where its durable blocks end; goes to the next segment when this one is done.
    fn place(&mut self, space: &Space, durable_end: (u64, u32)) -> Option<(u32, u64)> {
        let is_there =
            |segment: &&Segment| segment.slot != NO_SLOT && segment.sequence <= durable_end.0;
        for segment in space.used.iter().filter(is_there) {
            if segment.sequence < self.segment {
                continue;
            }
            if segment.sequence > self.segment {
                (self.segment, self.offset) = (segment.sequence, 0);
            }
            let is_last = segment.sequence == durable_end.0;
            let end = u64::from(if is_last { durable_end.1 } else { segment.end });
            if self.offset < end {
                return Some((segment.slot, end));
            }
        }
        self.passes += u64::from(self.segment > 0);
        (self.segment, self.offset, self.hurried) = (0, 0, 0);
        None
    }

    /// A piece was read, or could not be.
    pub(crate) fn have_read(
        &mut self,
        space: &Space,
        life: &Life,
        operation: Operation,
        is_read: bool,
        repair: &mut Repair,
    ) {
        let holder = space
            .used
            .iter()
            .find(|segment| segment.sequence == self.segment);
        let bytes = &operation.buffer[..operation.bytes];
        // A file that was retired meanwhile tells nothing; the next step goes on behind it.
        if holder.is_some_and(|segment| segment.slot == operation.slot) {
            self.bytes += bytes.len() as u64;
            if is_read {
                self.offset += self.judge(life, operation.slot, bytes, repair);
            } else {
                self.report(
                    DamageKind::Block,
                    operation.slot,
                    self.offset,
                    bytes.len() as u64,
                    None,
                );
                self.offset += bytes.len() as u64;
            }
        }
        self.buffer = Some(operation.buffer);
    }

    /// Checks the blocks in a piece; returns how many bytes are done with.
    fn judge(&mut self, life: &Life, slot: u32, bytes: &[u8], repair: &mut Repair) -> u64 {
        let mut at = 0;
        if self.offset == 0 {
            at = SEGMENT_HEADER_BYTES;
            let sequence = self.segment;
            if !matches!(segment::decode_header(bytes), Read::Header(header) if header.segment == sequence)
            {
                self.report(DamageKind::SegmentHeader, slot, 0, at as u64, None);
            }
        }
        while at + ALIGNMENT <= bytes.len() {
            let offset = self.offset + at as u64;
            let header = block::decode_header(&bytes[at..], life, offset as u32, usize::MAX);
            let Some(header) = header.filter(|header| header.segment == self.segment) else {
                self.report(DamageKind::Block, slot, offset, ALIGNMENT as u64, None);
                at += ALIGNMENT;
                continue;
            };
            if header.block_bytes() > bytes.len() - at {
                // The rest of this block comes with the next piece, unless no piece can hold it.
                return if at == 0 {
                    header.block_bytes() as u64
                } else {
                    at as u64
                };
            }
            if let Some(seen) = self.judge_block(life, slot, &header, &bytes[at..]) {
                repair.see(seen);
            }
            at += header.block_bytes();
        }
        at as u64
    }

    /// Reports what is wrong in a block; what of it may be repaired is handed back.
    fn judge_block(
        &mut self,
        life: &Life,
        slot: u32,
        header: &BlockHeader,
        block: &[u8],
    ) -> Option<Seen> {
        let mut seen = Seen {
            segment: self.segment,
            slot,
            offset: u64::from(header.offset.get()),
            bytes: header.block_bytes() as u64,
            named: Vec::new(),
            gaps: Vec::new(),
        };
        let mut records = Records::new(header, header.seeds(life), block);
        loop {
            for found in records.by_ref().filter(|found| !found.intact) {
                let record = found.record;
                let kind = if record.kind == Kind::Meta {
                    DamageKind::Metadata
                } else {
                    DamageKind::Payload
                };
                let (offset, bytes) = (u64::from(found.offset), u64::from(found.bytes));
                self.report(kind, slot, offset, bytes, Some(&found));
                let name = (record.kind, record.group, record.index, found.offset);
                seen.named.push(name);
            }
            let from = records.offset();
            let Some(lost) = records.resume() else {
                break;
            };
            let bytes = u64::from(records.offset() - from);
            self.report(DamageKind::Records, slot, u64::from(from), bytes, None);
            seen.gaps.push((from, records.offset(), lost));
        }
        let left = records.left();
        let walked = records.walked(header);
        if left > 0 || seen.gaps.is_empty() && !walked.whole {
            let end = header.offset.get() + header.block_bytes() as u32;
            let bytes = end.saturating_sub(walked.offset);
            let from = walked.offset;
            self.report(
                DamageKind::Records,
                slot,
                u64::from(from),
                u64::from(bytes),
                None,
            );
            seen.gaps.push((from, end, left));
        }
        let is_wrong = !seen.named.is_empty() || !seen.gaps.is_empty();
        is_wrong.then_some(seen)
    }

    fn report(
        &mut self,
        kind: DamageKind,
        slot: u32,
        offset: u64,
        bytes: u64,
        found: Option<&Found<'_>>,
    ) {
        if self.found.len() >= FOUND_MAX {
            self.dropped += 1;
            return;
        }
        let (segment, slot) = (self.segment, Some(slot));
        let group = found.map(|found| found.record.group);
        let index = found.map(|found| found.record.index);
        self.found.push_back(Damage {
            segment,
            slot,
            offset,
            bytes,
            kind,
            group,
            first: index,
            last: index,
        });
    }
}

//! Repair: a block in which records rotted is made whole where it lies, out of the same records had from elsewhere.
//!
//! - Nothing is believed: the block is written only when every checksum in it is right with what was given: those of its
//!   records' headers, which hang on place, group and index, of their payloads, and of their order.
//! - What is written is what was written the first time. After a crash in the middle each byte is old or new, and only
//!   rotten ones differ: no promise hangs on it.
//! - One block at a time, in memory lent by the reads. Its segment stays in use until that is done.
//! - A block that lost its own header, or records that nobody can name, is left as it is.

use std::collections::VecDeque;

use crate::block::{self, BLOCK_HEADER_BYTES, BlockHeader};
use crate::device::{Device, DeviceError, Operation};
use crate::identity::Life;
use crate::index::{Index, Position};
use crate::record::{self, FLAG_RESTART, FLAG_SUPERSEDES, Kind, OwnedRecord};
use crate::space::Space;

/// Token of a repair's reads and writes; no block and no other read has it.
pub(crate) const REPAIR_TOKEN: u64 = u64::MAX - 1;

/// Rotten blocks kept until someone takes them; the next pass finds the others.
const ROTTEN_MAX: usize = 16;

/// A block that can be made whole, by the entries that it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotten {
    /// Sequence number of its segment.
    pub segment: u64,
    /// Its file.
    pub(crate) slot: u32,
    /// Its offset in the file in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Entries that rotted in it: group and index.
    pub entries: Vec<(u64, u64)>,
}

impl Rotten {
    /// This place lies in it.
    #[must_use]
    pub fn holds(&self, segment: u64, offset: u64) -> bool {
        segment == self.segment && (self.offset..self.offset + self.bytes).contains(&offset)
    }
}

/// What the scrubber saw of a block whose header is sound and whose records are not.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) segment: u64,
    pub(crate) slot: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Records whose headers are sound: kind, group, index, offset.
    pub(crate) named: Vec<(Kind, u64, u64, u32)>,
    /// Stretches without headers, and how many records lie in each.
    pub(crate) gaps: Vec<(u32, u32, u32)>,
}

/// A block on its way to be whole.
#[derive(Debug)]
struct Job {
    rotten: Rotten,
    records: Vec<OwnedRecord>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Wanted,
    Reading,
    /// It is whole in memory, and the device had no room for the write.
    Patched(Operation),
    Writing,
}

/// Repairs of a log.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    pub(crate) seen: VecDeque<Seen>,
    job: Option<Job>,
    done: Option<(Rotten, bool)>,
    /// Blocks made whole.
    pub(crate) repaired: u64,
}

impl Repair {
    pub(crate) fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    /// What was worked on, and whether it is whole.
    pub(crate) fn next_done(&mut self) -> Option<(Rotten, bool)> {
        self.done.take()
    }

    pub(crate) fn see(&mut self, seen: Seen) {
        if self.seen.len() < ROTTEN_MAX {
            self.seen.push_back(seen);
        }
    }

    /// Takes a block and the records that it lacks; false while another one is worked on, or when its segment is gone.
    pub(crate) fn accept(
        &mut self,
        rotten: Rotten,
        records: Vec<OwnedRecord>,
        space: &mut Space,
    ) -> bool {
        if self.job.is_some() || self.done.is_some() {
            return false;
        }
        if space.hold(rotten.segment, rotten.slot) {
            self.job = Some(Job {
                rotten,
                records,
                stage: Stage::Wanted,
            });
        } else {
            self.done = Some((rotten, false));
        }
        true
    }

    /// Begins what is to be begun; `buffer` lends memory.
    pub(crate) fn begin(
        &mut self,
        buffers: &mut Vec<crate::block::buffer::Buffer>,
        device: &mut impl Device,
        now_ns: u64,
    ) {
        let Some(job) = &mut self.job else {
            return;
        };
        match std::mem::replace(&mut job.stage, Stage::Writing) {
            Stage::Wanted => {
                job.stage = Stage::Wanted;
                let Some(buffer) = buffers.pop() else {
                    return;
                };
                let operation = Operation {
                    token: REPAIR_TOKEN,
                    slot: job.rotten.slot,
                    offset: job.rotten.offset,
                    bytes: job.rotten.bytes as usize,
                    buffer,
                };
                match device.read(now_ns, operation) {
                    Ok(()) => job.stage = Stage::Reading,
                    Err(operation) => buffers.push(operation.buffer),
                }
            }
            Stage::Patched(operation) => {
                if let Err(operation) = device.write(now_ns, operation) {
                    job.stage = Stage::Patched(operation);
                }
            }
            other => job.stage = other,
        }
    }

    /// The block was read, or could not be.
    pub(crate) fn have_read(
        &mut self,
        mut operation: Operation,
        is_read: bool,
        sight: &mut Sight<'_>,
    ) {
        let job = self.job.as_mut().expect("only what is worked on completes");
        let bytes = &mut operation.buffer[..operation.bytes];
        match is_read.then(|| patch(job, bytes, sight)).flatten() {
            Some(Patched::WasWhole) => self.end(operation, true, sight),
            Some(Patched::IsWhole) => job.stage = Stage::Patched(operation),
            None => self.end(operation, false, sight),
        }
    }

    /// The write has ended; an error after which nothing is known of the file is handed back.
    pub(crate) fn written(
        &mut self,
        operation: Operation,
        result: Result<(), DeviceError>,
        sight: &mut Sight<'_>,
    ) -> Result<(), DeviceError> {
        self.repaired += u64::from(result.is_ok());
        self.end(operation, result.is_ok(), sight);
        match result {
            Err(DeviceError::Full | DeviceError::Short { .. }) => Ok(()),
            other => other,
        }
    }

    fn end(&mut self, operation: Operation, is_whole: bool, sight: &mut Sight<'_>) {
        sight.buffers.push(operation.buffer);
        let job = self.job.take().expect("one is worked on");
        sight.space.let_go(job.rotten.segment);
        self.done = Some((job.rotten, is_whole));
    }
}

/// What a repair needs of the log.
pub(crate) struct Sight<'a> {
    pub(crate) index: &'a Index,
    pub(crate) space: &'a mut Space,
    pub(crate) life: &'a Life,
    pub(crate) buffers: &'a mut Vec<crate::block::buffer::Buffer>,
}

enum Patched {
    WasWhole,
    IsWhole,
}

/// Puts the records into the block; `None` when that does not make it whole.
fn patch(job: &Job, bytes: &mut [u8], sight: &Sight<'_>) -> Option<Patched> {
    let rotten = &job.rotten;
    let header = block::decode_header(bytes, sight.life, rotten.offset as u32, usize::MAX)?;
    if header.segment.get() != rotten.segment || header.block_bytes() as u64 != rotten.bytes {
        return None;
    }
    let seeds = header.seeds(sight.life);
    if block::is_intact(&header, seeds, bytes) {
        return Some(Patched::WasWhole);
    }
    let mut places = Vec::with_capacity(job.records.len());
    for record in &job.records {
        let offset = place(record, &header, bytes.len(), sight.index)?;
        let from = (offset - header.offset.get()) as usize;
        let known = record::decode(&bytes[from..], seeds, offset).map(|found| found.flags());
        places.push((record, offset, from, known));
    }
    // Whether a record whose header is lost did more than follow on is not known: at most the first of them did.
    let nameless = places.iter().position(|(.., known)| known.is_none());
    for first in [0, FLAG_SUPERSEDES, FLAG_RESTART] {
        for (nth, &(record, offset, from, known)) in places.iter().enumerate() {
            let guess = if nameless == Some(nth) { first } else { 0 };
            let flags = known.unwrap_or(guess);
            record::encode(&record.lent(), flags, seeds, offset, &mut bytes[from..]);
        }
        if block::is_intact(&header, seeds, bytes) {
            return Some(Patched::IsWhole);
        }
        if nameless.is_none() {
            break;
        }
    }
    None
}

/// The offset of a record that lies in this block and is as long as this one.
fn place(
    record: &OwnedRecord,
    header: &BlockHeader,
    block_bytes: usize,
    index: &Index,
) -> Option<u32> {
    let group = index.group(record.group)?;
    let position = match record.kind {
        Kind::Entry => group.position(record.index)?,
        Kind::Meta => group.meta.as_ref()?.position,
    };
    let needed = record::record_bytes(record.head.len(), record.payload.len());
    let from = position.offset.checked_sub(header.offset.get())? as usize;
    let is_inside = from >= BLOCK_HEADER_BYTES && from + needed <= block_bytes;
    let is_there = position.segment == header.segment.get() as u32;
    (is_there && is_inside && position.bytes as usize == needed).then_some(position.offset)
}

/// Names what a block lacks: entries that are held and lie there, and newest metadata, which is in memory. `None` when
/// something in it cannot be named.
pub(crate) fn name(seen: &Seen, index: &Index) -> Option<(Rotten, Vec<OwnedRecord>)> {
    let mut rotten = Rotten {
        segment: seen.segment,
        slot: seen.slot,
        offset: seen.offset,
        bytes: seen.bytes,
        entries: Vec::new(),
    };
    let mut metas = Vec::new();
    let is_there = |position: Position, offset: u32| {
        position.segment == seen.segment as u32 && position.offset == offset
    };
    for &(kind, group, number, offset) in &seen.named {
        let group = index.group(group)?;
        match kind {
            Kind::Entry => {
                group.position(number).filter(|at| is_there(*at, offset))?;
                rotten.entries.push((group.id, number));
            }
            Kind::Meta => {
                group
                    .meta
                    .as_ref()
                    .filter(|meta| is_there(meta.position, offset))?;
                metas.push(group);
            }
        }
    }
    for &(from, to, count) in &seen.gaps {
        let is_inside = |position: &Position| {
            position.segment == seen.segment as u32 && (from..to).contains(&position.offset)
        };
        let mut found = 0;
        for group in index.groups() {
            let positions = group.positions.iter().enumerate();
            let lost = positions.filter(|(_, position)| is_inside(position));
            for (nth, _) in lost {
                rotten.entries.push((group.id, group.first + nth as u64));
                found += 1;
            }
            if group
                .meta
                .as_ref()
                .is_some_and(|meta| is_inside(&meta.position))
            {
                metas.push(group);
                found += 1;
            }
        }
        if found != count {
            return None;
        }
    }
    let metas = metas.into_iter().filter_map(|group| {
        let meta = group.meta.as_ref()?;
        Some(OwnedRecord {
            group: group.id,
            index: meta.index,
            term: meta.term,
            kind: Kind::Meta,
            head: meta.head.clone().into(),
            payload: meta.payload.clone().into(),
            payload_crc: meta.payload_crc,
        })
    });
    let metas = metas.collect();
    Some((rotten, metas))
}

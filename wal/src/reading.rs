//! The way back: entries read from the disk for a follower that lags, a few at a time.
//!
//! - Bounded: so many requests wait, so many are in flight; more are refused as busy.
//! - Only durable entries are read; each is checked against its place, its group and index, and its payload.
//! - An answer may end early; it never skips an entry.

use std::collections::VecDeque;

use crate::block::buffer::Buffer;
use crate::device::{ALIGNMENT, Device, DeviceError, Operation};
use crate::error::ReadError;
use crate::identity::Life;
use crate::index::{Index, Position};
use crate::record::{self, OwnedRecord};
use crate::space::Space;

/// Entries nearer to each other than this are read together with what lies between.
const GAP_BYTES_MAX: u32 = 64 << 10;

/// Tokens of reads have this bit; tokens of writes are block numbers and never reach it.
const READ_BIT: u64 = 1 << 63;

/// What a read needs to see of the log.
pub(crate) struct Sight<'a> {
    pub(crate) index: &'a Index,
    pub(crate) space: &'a Space,
    pub(crate) life: &'a Life,
    pub(crate) durable_end: (u64, u32),
}

#[derive(Debug)]
struct Request {
    token: u64,
    group: u64,
    next: u64,
    last: u64,
    bytes_left: u64,
    records: Vec<OwnedRecord>,
}

#[derive(Debug)]
struct Active {
    key: u64,
    request: Request,
    /// Last entry of the span being read.
    upto: u64,
}

type Answer = (u64, Result<Vec<OwnedRecord>, ReadError>);

/// Requests, waiting, in flight and answered.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) buffers: Vec<Buffer>,
    waiting: VecDeque<Request>,
    active: Vec<Active>,
    answers: VecDeque<Answer>,
    queued_max: usize,
    next_key: u64,
}

/// What to do next for a request.
enum Step {
    /// Read from this place so many bytes, up to this entry.
    Read {
        slot: u32,
        offset: u64,
        bytes: usize,
        upto: u64,
    },
    End(Option<ReadError>),
}

impl Reading {
    pub(crate) fn new(buffers: Vec<Buffer>, queued_max: usize) -> Self {
        Self {
            buffers,
            waiting: VecDeque::new(),
            active: Vec::new(),
            answers: VecDeque::new(),
            queued_max,
            next_key: 0,
        }
    }

    /// Requests not yet taken by their asker.
    pub(crate) fn count(&self) -> usize {
        self.waiting.len() + self.active.len() + self.answers.len()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }

    pub(crate) fn accept(
        &mut self,
        group: u64,
        first: u64,
        last: u64,
        bytes: u64,
        token: u64,
    ) -> Result<(), ReadError> {
        if self.count() >= self.queued_max {
            return Err(ReadError::Busy);
        }
        self.waiting.push_back(Request {
            token,
            group,
            next: first,
            last,
            bytes_left: bytes,
            records: Vec::new(),
        });
        Ok(())
    }

    pub(crate) fn next_answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    /// Begins as many reads as there is memory for.
    pub(crate) fn begin(&mut self, sight: &Sight<'_>, device: &mut impl Device, now_ns: u64) {
        while !self.buffers.is_empty() {
            let Some(request) = self.waiting.pop_front() else {
                return;
            };
            let buffer = self.buffers.pop().expect("there is memory");
            match step(sight, &request, buffer.len()) {
                Step::End(error) => {
                    self.buffers.push(buffer);
                    self.answer(request, error);
                }
                Step::Read {
                    slot,
                    offset,
                    bytes,
                    upto,
                } => {
                    let key = READ_BIT | self.next_key;
                    self.next_key += 1;
                    if let Err(operation) = device.read(
                        now_ns,
                        Operation {
                            token: key,
                            slot,
                            offset,
                            bytes,
                            buffer,
                        },
                    ) {
                        self.buffers.push(operation.buffer);
                        self.waiting.push_front(request);
                        return;
                    }
                    self.active.push(Active { key, request, upto });
                }
            }
        }
    }

    /// Answers with what was gathered; an error counts only when nothing was.
    fn answer(&mut self, request: Request, error: Option<ReadError>) {
        let answer = match error {
            Some(error) if request.records.is_empty() => Err(error),
            _ => Ok(request.records),
        };
        self.answers.push_back((request.token, answer));
    }

    /// A read has ended: takes the entries out of the memory. Returns the segment in which one was found damaged.
    pub(crate) fn have_read(
        &mut self,
        sight: &Sight<'_>,
        operation: Operation,
        result: Result<(), DeviceError>,
    ) -> Option<u64> {
        let at = self
            .active
            .iter()
            .position(|active| active.key == operation.token);
        let Active {
            mut request, upto, ..
        } = self
            .active
            .swap_remove(at.expect("only reads in flight complete"));
        let outcome = result
            .map_err(ReadError::Device)
            .and_then(|()| gather(sight, &mut request, upto, &operation));
        self.buffers.push(operation.buffer);
        let stumbled = outcome.is_err().then(|| {
            let place = sight.index.group(request.group)?.position(request.next)?;
            Some(sight.space.segment(place.segment)?.sequence)
        });
        match outcome {
            Ok(()) if request.next <= request.last && request.bytes_left > 0 => {
                self.waiting.push_front(request)
            }
            Ok(()) => self.answer(request, None),
            Err(error) => self.answer(request, Some(error)),
        }
        stumbled.flatten()
    }
}

/// Whether a record at this place is durable.
fn is_durable(sight: &Sight<'_>, position: Position) -> bool {
    let Some(segment) = sight.space.segment(position.segment) else {
        return false;
    };
    (segment.sequence, position.offset) < sight.durable_end
}

/// Finds the next stretch of the disk that serves the request.
fn step(sight: &Sight<'_>, request: &Request, room: usize) -> Step {
    let damaged = ReadError::Damaged {
        group: request.group,
        index: request.next,
    };
    let Some(group) = sight.index.group(request.group) else {
        return Step::End(Some(damaged));
    };
    let out_of_range = ReadError::OutOfRange {
        first: group.first,
        end: group.end(),
    };
    let Some(first) = group.position(request.next) else {
        return Step::End(Some(out_of_range));
    };
    if first == Position::LOST {
        return Step::End(Some(damaged));
    }
    if !is_durable(sight, first) {
        return Step::End(Some(ReadError::NotDurable));
    }
    let segment = sight
        .space
        .segment(first.segment)
        .expect("a live record lies in a used segment");
    let from = first.offset - first.offset % ALIGNMENT as u32;
    let (mut end, mut upto, mut bytes) = (
        first.offset + first.bytes,
        request.next,
        u64::from(first.bytes),
    );
    while upto < request.last && bytes < request.bytes_left {
        let Some(next) = group.position(upto + 1) else {
            break;
        };
        let near = next.segment == first.segment
            && next.offset >= end
            && next.offset - end <= GAP_BYTES_MAX;
        let next_end = next.offset.saturating_add(next.bytes);
        let fits = (next_end.saturating_sub(from) as usize).next_multiple_of(ALIGNMENT) <= room;
        if next == Position::LOST || !near || !fits || !is_durable(sight, next) {
            break;
        }
        (end, upto, bytes) = (next_end, upto + 1, bytes + u64::from(next.bytes));
    }
    let bytes = ((end - from) as usize).next_multiple_of(ALIGNMENT);
    Step::Read {
        slot: segment.slot,
        offset: u64::from(from),
        bytes,
        upto,
    }
}

/// Takes the entries up to `upto` out of what was read.
fn gather(
    sight: &Sight<'_>,
    request: &mut Request,
    upto: u64,
    operation: &Operation,
) -> Result<(), ReadError> {
    while request.next <= upto && (request.records.is_empty() || request.bytes_left > 0) {
        let damaged = ReadError::Damaged {
            group: request.group,
            index: request.next,
        };
        let group = sight.index.group(request.group).ok_or(damaged)?;
        let out_of_range = ReadError::OutOfRange {
            first: group.first,
            end: group.end(),
        };
        let position = group.position(request.next).ok_or(out_of_range)?;
        let segment = sight.space.segment(position.segment).ok_or(damaged)?;
        let start = u64::from(position.offset).checked_sub(operation.offset);
        let moved = segment.slot != operation.slot || position == Position::LOST;
        let Some(start) = start.filter(|&start| !moved && start < operation.bytes as u64) else {
            // Superseded while it was read: the next step looks at its new place.
            return Ok(());
        };
        let incarnation = segment.incarnation(position.offset).ok_or(damaged)?;
        let seeds = sight.life.seeds(segment.sequence, incarnation);
        let bytes = &operation.buffer[start as usize..operation.bytes];
        let found = record::decode(bytes, seeds, position.offset)
            .filter(|found| found.intact)
            .ok_or(damaged)?;
        if found.record.group != request.group || found.record.index != request.next {
            return Err(damaged);
        }
        let payload_bytes = found.record.payload.len() as u64;
        if !request.records.is_empty() && payload_bytes > request.bytes_left {
            request.bytes_left = 0;
            return Ok(());
        }
        request.bytes_left = request.bytes_left.saturating_sub(payload_bytes);
        request.records.push(found.record.to_owned_record());
        request.next += 1;
    }
    Ok(())
}

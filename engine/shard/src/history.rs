//! History: entries of a group from any index on, for whoever asks: from the log, from sealed files, from the object store.
//!
//! - Any sound replica answers, with what it has applied. Entries that are kept nowhere are said to be missing, with the next
//!   index that is kept: a gap is told, never skipped.
//! - A turn is not held up: the log and the store are asked and polled, files are unpacked within upkeep's slice.
//! - So many reads at a time, each for so long; beyond it the answer is "busy" or "unavailable", and the client asks again.
//!
//! A request has the operation [`ENTRIES`] and a body of 16 bytes, its answer is a head of 24 and pieces of entries:
//!
//! ```text
//! asked     0  u64 index        8  u64 offset    in that entry's payload, 0 to begin with
//! answered  0  u64 next         8  u64 offset    what to ask for next         16  u64 applied   the last entry there is
//! entry     0  u64 index       16  u32 bytes     of the whole payload         24  u32 from      where this piece begins
//!           8  u64 term        20  u32 crc       CRC-32 of the whole payload  28  u32 here      bytes of this piece
//!          32  48 B the entry's head   80  the piece
//! ```
//!
//! Without an entry in it an answer means: nothing up to `next` is kept, or `next` is not there yet. Whoever asks for the rest
//! of an entry that is not there yet is told "unavailable": another replica had its beginning.

use std::collections::VecDeque;
use std::sync::Arc;

use net::request::RequestHead;
use net::transport::{ConnectionId, Frame, Transport};
use raft::ids::Time;
use raft::state_machine::StateMachine;
use sealed::{OwnedEntry, SegmentEntries, SegmentReader};
use wal::archive::Contents;
use wal::{Device, OwnedRecord, ReadError};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::entry::HEAD_BYTES;
use crate::limits;
use crate::mutants::{Mutant, is_planted};
use crate::offload::{Arrival, Found};
use crate::past::Past;
use crate::replica::Stamps;
use crate::shard::Shard;
use crate::shelf::Lent;
use crate::stages::reply::{Position, Status};
use crate::upkeep::{Slice, Wants};

/// The operation that reads a group's history. No state machine has it.
pub const ENTRIES: u8 = 255;

/// Tokens of our reads of the log have this bit.
const READ_BIT: u64 = 1 << 61;

/// Where to read on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Cursor {
    /// The entry.
    pub index: U64,
    /// Where in its payload.
    pub offset: U64,
}

/// What an answer begins with.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct AnswerHead {
    /// What to ask for next.
    pub next: Cursor,
    /// The last entry that could have been asked for.
    pub applied: U64,
}

/// What a piece of an entry begins with.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct PieceHead {
    /// The entry.
    pub index: U64,
    /// Its term.
    pub term: U64,
    /// Bytes of its payload.
    pub bytes: U32,
    /// CRC-32 of its payload.
    pub crc: U32,
    /// Where in the payload this piece begins.
    pub from: U32,
    /// Bytes of this piece.
    pub here: U32,
    /// The entry's head.
    pub head: [u8; HEAD_BYTES],
}

const _: () = assert!(size_of::<Cursor>() == 16 && size_of::<AnswerHead>() == 24);
const _: () = assert!(size_of::<PieceHead>() == 80, "as drawn");

/// What was read of histories since the start.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct HistoryCounts {
    /// Reads answered.
    pub history_reads: u64,
    /// Reads that were refused: too many at once, damage, or a store that did not answer in time.
    pub history_refused: u64,
    /// Entries given from the log.
    pub history_from_log: u64,
    /// Entries given from sealed files of this node.
    pub history_from_files: u64,
    /// Entries given from the object store.
    pub history_from_store: u64,
    /// Answers that told of a gap.
    pub history_gaps: u64,
}

type Walk = SegmentEntries<Arc<SegmentReader<Lent>>, Lent>;

enum Source {
    /// It is looked for.
    Look,
    /// The log was asked under this token.
    Log(u64),
    /// In a file, of this node or of the store.
    File { walk: Box<Walk>, is_stored: bool },
    /// The store was asked under this token.
    Store(u64),
}

struct Reading {
    connection: ConnectionId,
    head: RequestHead,
    slot: u32,
    began: Time,
    next: u64,
    offset: usize,
    /// The last entry that may be given.
    last: u64,
    out: Vec<u8>,
    source: Source,
    /// A file of this node is damaged there: the store may have it.
    is_damaged: bool,
    /// Nobody who was asked could answer.
    has_failed: bool,
}

/// One per shard.
#[derive(Default)]
pub(crate) struct Histories {
    reading: VecDeque<Reading>,
    next_token: u64,
    arrivals: Vec<Arrival>,
    pub(crate) counts: HistoryCounts,
}

/// What a reading comes to in a turn.
enum Step {
    /// It goes on at once.
    Goes,
    /// It waits for the log or the store.
    Waits,
    /// It waits for room.
    Later,
    Answer,
    Refuse,
}

impl Histories {
    pub(crate) fn is_empty(&self) -> bool {
        self.reading.is_empty()
    }

    /// Nobody waits on this connection any more.
    pub(crate) fn closed(&mut self, connection: ConnectionId) {
        self.reading
            .retain(|reading| reading.connection != connection);
    }

    /// Takes the answer of a read of ours; gives it back when it is somebody else's.
    pub(crate) fn have_read(
        &mut self,
        token: u64,
        read: Result<Vec<OwnedRecord>, ReadError>,
    ) -> Option<(u64, Result<Vec<OwnedRecord>, ReadError>)> {
        if token & READ_BIT == 0 {
            return Some((token, read));
        }
        let waits =
            |reading: &&mut Reading| matches!(reading.source, Source::Log(of) if of == token);
        let reading = self.reading.iter_mut().find(waits)?;
        reading.source = Source::Look;
        match read {
            Ok(records) => {
                for record in records {
                    let is_next = record.index == reading.next && !reading.is_full();
                    if !is_next || reading.next > reading.last {
                        break;
                    }
                    self.counts.history_from_log += 1;
                    let (index, term) = (record.index, record.term);
                    reading.give(
                        (index, term),
                        &record.head,
                        record.payload_crc,
                        &record.payload,
                    );
                }
            }
            Err(ReadError::Damaged { .. }) => reading.is_damaged = true,
            // Given up meanwhile: it is elsewhere.
            Err(_) => {}
        }
        None
    }
}

impl Reading {
    fn is_full(&self) -> bool {
        let is_cut = self.offset > 0 && !self.is_fresh();
        is_cut || self.out.len() + size_of::<PieceHead>() >= limits::HISTORY_REPLY_BYTES
    }

    /// Nothing was given yet.
    fn is_fresh(&self) -> bool {
        self.out.len() == size_of::<AnswerHead>()
    }

    /// Appends what fits of an entry.
    fn give(&mut self, (index, term): (u64, u64), head: &[u8], crc: u32, payload: &[u8]) {
        self.offset = self.offset.min(payload.len());
        let rest = &payload[self.offset..];
        let room = limits::HISTORY_REPLY_BYTES - self.out.len() - size_of::<PieceHead>();
        let piece = &rest[..rest.len().min(room)];
        let mut entry_head = [0; HEAD_BYTES];
        let known = head.len().min(HEAD_BYTES);
        entry_head[..known].copy_from_slice(&head[..known]);
        let bounded = |bytes: usize| U32::new(u32::try_from(bytes).unwrap_or(u32::MAX));
        let piece_head = PieceHead {
            index: index.into(),
            term: term.into(),
            bytes: bounded(payload.len()),
            crc: crc.into(),
            from: bounded(self.offset),
            here: bounded(piece.len()),
            head: entry_head,
        };
        self.out.extend_from_slice(piece_head.as_bytes());
        self.out.extend_from_slice(piece);
        if is_planted(Mutant::HistoryToldOtherwise) && index.is_multiple_of(4) && !piece.is_empty()
        {
            let last = self.out.len() - 1;
            self.out[last] ^= 1;
        }
        if piece.len() < rest.len() {
            self.offset += piece.len();
        } else {
            self.offset = 0;
            self.next = index + 1;
        }
    }

    fn give_owned(&mut self, entry: &OwnedEntry) {
        let of = (entry.index, entry.term);
        self.give(of, &entry.head, entry.payload_crc, &entry.payload);
    }

    /// Goes into a file, if it is one that holds the next entry.
    fn open(&mut self, group: u64, contents: Contents, is_stored: bool) -> bool {
        let Ok(segment) = SegmentReader::open(Lent(contents)) else {
            return false;
        };
        let holds = (segment.first()..=segment.last()).contains(&self.next);
        if !holds || segment.spec().group != group {
            return false;
        }
        let walk = Box::new(SegmentReader::walk(Arc::new(segment), self.next));
        self.source = Source::File { walk, is_stored };
        true
    }
}

/// The next entry behind `index` that is kept here.
fn kept_after(past: &Past, log: Option<(u64, u64)>, index: u64) -> Option<u64> {
    let files = past.files().iter().map(|file| file.first);
    files
        .chain(log.map(|(first, _)| first))
        .filter(|first| *first > index)
        .min()
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// A client asks for a group's entries.
    pub(crate) fn asked_for_entries(
        &mut self,
        connection: ConnectionId,
        head: &RequestHead,
        frame: &Frame,
        slot: u32,
        now: Time,
    ) {
        let replica = &self.replicas[slot as usize];
        let leader = replica.raft.leader();
        let from = Cursor::read_from_bytes(&frame.bulk).ok();
        let from = from.filter(|from| from.index.get() > 0);
        let refused = match from {
            None => Some(Status::Malformed),
            Some(_) if !replica.is_sound() => Some(Status::Unavailable),
            // Whoever asks for the rest of an entry has its beginning from a replica that is ahead of this one.
            Some(from) if from.offset.get() > 0 && from.index.get() > replica.applied.0 => {
                Some(Status::Unavailable)
            }
            Some(_) if self.histories.reading.len() >= limits::HISTORY_READS_MAX => {
                Some(Status::Busy)
            }
            Some(_) => None,
        };
        if let Some(status) = refused {
            self.histories.counts.history_refused += 1;
            self.replies.refuse(connection, head, status, leader);
            return;
        }
        let from = from.expect("refused otherwise");
        self.histories.reading.push_back(Reading {
            connection,
            head: *head,
            slot,
            began: now,
            next: from.index.get(),
            offset: usize::try_from(from.offset.get()).unwrap_or(usize::MAX),
            last: replica.applied.0,
            out: vec![0; size_of::<AnswerHead>()],
            source: Source::Look,
            is_damaged: false,
            has_failed: false,
        });
    }

    /// Goes on with all reads within the slice.
    pub(crate) fn remember(&mut self, slice: &mut Slice, now: &dyn Fn() -> Time) -> Wants {
        if self.histories.reading.is_empty() {
            return Wants::Wait(None);
        }
        self.arrived();
        let mut wants = Wants::Wait(None);
        for _ in 0..self.histories.reading.len() {
            let Some(mut reading) = self.histories.reading.pop_front() else {
                break;
            };
            let deadline = reading.began.plus(limits::HISTORY_WAIT_NS);
            loop {
                if slice.bytes == 0 || now() >= slice.until {
                    wants = Wants::Again;
                    self.histories.reading.push_back(reading);
                    break;
                }
                match self.read_on(&mut reading, slice) {
                    Step::Goes => {}
                    Step::Answer => {
                        self.answer_history(&mut reading, now());
                        break;
                    }
                    Step::Waits | Step::Later if now() >= deadline => {
                        self.refuse_history(&reading);
                        break;
                    }
                    Step::Refuse => {
                        self.refuse_history(&reading);
                        break;
                    }
                    step @ (Step::Waits | Step::Later) => {
                        let later = now().plus(limits::SEAL_BUSY_NS);
                        let at = if matches!(step, Step::Later) {
                            later.min(deadline)
                        } else {
                            deadline
                        };
                        wants = wants.and(Wants::Wait(Some(at)));
                        self.histories.reading.push_back(reading);
                        break;
                    }
                }
            }
        }
        wants
    }

    /// What the store has found meanwhile.
    fn arrived(&mut self) {
        let mut arrivals = std::mem::take(&mut self.histories.arrivals);
        if let Some(coffer) = self.offloading.coffer() {
            coffer.poll_found(&mut arrivals);
        }
        for Arrival { token, found } in arrivals.drain(..) {
            let waits = |one: &&mut Reading| matches!(one.source, Source::Store(of) if of == token);
            let Some(reading) = self.histories.reading.iter_mut().find(waits) else {
                continue;
            };
            reading.source = Source::Look;
            let group = self.replicas[reading.slot as usize].group.0;
            match found {
                Found::File(contents) => {
                    // A file that is none is no answer: the question is asked again until its time is over.
                    reading.open(group, contents, true);
                }
                // What is damaged here may be sound elsewhere: that is no gap.
                Found::Nowhere(_) if reading.is_damaged => reading.has_failed = true,
                Found::Nowhere(next) => {
                    self.histories.counts.history_gaps += 1;
                    let log = self.wal.entries(group);
                    let past = &self.replicas[reading.slot as usize].shelf.past;
                    let kept = kept_after(past, log, reading.next).into_iter();
                    let next = kept.chain(next).min();
                    // Behind everything that is kept and applied there is nothing to skip to.
                    reading.next = next.unwrap_or(reading.last + 1).min(reading.last + 1);
                    (reading.offset, reading.last) = (0, 0);
                }
                Found::Failed => reading.has_failed = true,
            }
        }
        self.histories.arrivals = arrivals;
    }

    fn read_on(&mut self, reading: &mut Reading, slice: &mut Slice) -> Step {
        if reading.has_failed {
            return Step::Refuse;
        }
        if reading.is_full() || reading.next > reading.last {
            return Step::Answer;
        }
        let group = self.replicas[reading.slot as usize].group.0;
        match &mut reading.source {
            Source::Log(_) | Source::Store(_) => Step::Waits,
            Source::File { walk, is_stored } => {
                let is_stored = *is_stored;
                match walk.next() {
                    Some(Ok(entry)) => {
                        let bytes = entry.payload.len().max(1);
                        slice.bytes = slice.bytes.saturating_sub(bytes);
                        let counts = &mut self.histories.counts;
                        if is_stored {
                            counts.history_from_store += 1;
                        } else {
                            counts.history_from_files += 1;
                        }
                        reading.give_owned(&entry);
                    }
                    None => reading.source = Source::Look,
                    Some(Err(_)) if is_stored => return Step::Refuse,
                    Some(Err(_)) => {
                        reading.is_damaged = true;
                        reading.source = Source::Look;
                    }
                }
                Step::Goes
            }
            Source::Look => self.look_for(reading, group),
        }
    }

    /// Finds the next entry: in the log, in a file, in the store, or nowhere.
    fn look_for(&mut self, reading: &mut Reading, group: u64) -> Step {
        let next = reading.next;
        let log = self.wal.entries(group);
        let in_log = log.is_some_and(|(first, count)| (first..first + count).contains(&next));
        if in_log && !reading.is_damaged {
            self.histories.next_token += 1;
            let token = READ_BIT | self.histories.next_token;
            let bytes = limits::CATCH_UP_BYTES;
            return match self.wal.read(group, next, reading.last, bytes, token) {
                Ok(()) => {
                    reading.source = Source::Log(token);
                    self.wal.submit(reading.began.0);
                    Step::Waits
                }
                Err(ReadError::Busy) => Step::Later,
                Err(_) => Step::Refuse,
            };
        }
        let past = &self.replicas[reading.slot as usize].shelf.past;
        let file = past.files().iter().find(|file| file.holds(next));
        if let Some(file) = file.filter(|_| !reading.is_damaged) {
            let contents = file.contents.clone();
            reading.is_damaged = !reading.open(group, contents, false);
            return Step::Goes;
        }
        if !reading.is_fresh() {
            return Step::Answer;
        }
        self.histories.next_token += 1;
        let token = self.histories.next_token;
        let coffer = self.offloading.coffer();
        match coffer.map(|coffer| coffer.find(token, group, next)) {
            Some(true) => {
                reading.source = Source::Store(token);
                Step::Waits
            }
            Some(false) => Step::Later,
            None if reading.is_damaged => Step::Refuse,
            None => {
                self.histories.counts.history_gaps += 1;
                let kept = kept_after(past, log, next).unwrap_or(reading.last + 1);
                reading.next = kept.min(reading.last + 1);
                reading.offset = 0;
                Step::Answer
            }
        }
    }

    fn answer_history(&mut self, reading: &mut Reading, now: Time) {
        let replica = &self.replicas[reading.slot as usize];
        let answer = AnswerHead {
            next: Cursor {
                index: reading.next.into(),
                offset: (reading.offset as u64).into(),
            },
            applied: replica.applied.0.into(),
        };
        let mut body = std::mem::take(&mut reading.out);
        body[..size_of::<AnswerHead>()].copy_from_slice(answer.as_bytes());
        let position = Position {
            index: replica.applied,
            term: replica.raft.term(),
            leader: replica.raft.leader(),
        };
        let stamps = Stamps {
            began: reading.began,
            arrived: reading.began,
            received: reading.began,
            applied: now,
            ..Stamps::default()
        };
        self.histories.counts.history_reads += 1;
        self.replies
            .answer(reading.connection, &reading.head, position, body, stamps);
        self.replies.send(&mut self.transport);
    }

    fn refuse_history(&mut self, reading: &Reading) {
        let leader = self.replicas[reading.slot as usize].raft.leader();
        self.histories.counts.history_refused += 1;
        let (connection, head) = (reading.connection, &reading.head);
        self.replies
            .refuse(connection, head, Status::Unavailable, leader);
        self.replies.send(&mut self.transport);
    }
}

/// A piece of an entry, in an answer.
pub type Piece<'a> = (PieceHead, &'a [u8]);

/// The pieces of an answer; `None` when it is no answer.
#[must_use]
pub fn parse(body: &[u8]) -> Option<(AnswerHead, Vec<Piece<'_>>)> {
    let (head, mut rest) = AnswerHead::read_from_prefix(body).ok()?;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (piece, behind) = PieceHead::read_from_prefix(rest).ok()?;
        let here = piece.here.get() as usize;
        let end = u64::from(piece.from.get()) + here as u64;
        if end > u64::from(piece.bytes.get()) {
            return None;
        }
        pieces.push((piece, behind.get(..here)?));
        rest = &behind[here..];
    }
    Some((head, pieces))
}

//! A stretch of a group's log while it becomes a sealed file: entries in, pieces of the file out, a slice at a time.
//!
//! - Entries come from the log, from sealed files of this node that are cut anew or joined, or from peers.
//! - A slice is about 64 KiB of entries: what compressing them takes bounds how long a turn is held up.
//! - What cannot be read ends the stretch before it; a stretch that would begin with it is not made.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use raft::ids::Time;
use sealed::{
    Entry, SegmentEntries, SegmentError, SegmentReader, SegmentSpec, SegmentWriter, Taken,
};
use wal::OwnedRecord;
use wal::archive::{Archive, Name, Place};

use crate::entry::EntryHead;
use crate::limits;
use crate::mutants::{Mutant, is_planted};
use crate::past::{History, SealedFile, sealed_name};
use crate::shelf::Lent;

/// Where the leader's clock stands in an entry's head.
const TIME_AT: std::ops::Range<usize> = 8..16;

/// An entry on its way into the file.
struct Held {
    index: u64,
    term: u64,
    head: Bytes,
    payload: Bytes,
    payload_crc: u32,
}

impl Held {
    /// The leader's wall clock when it proposed the entry; 0 for those that the group itself made.
    fn time(&self) -> u64 {
        let time = self.head.get(TIME_AT).and_then(|time| time.first_chunk());
        time.map_or(0, |time| u64::from_le_bytes(*time))
    }

    fn borrow(&self, time: u64) -> Entry<'_> {
        Entry {
            index: self.index,
            term: self.term,
            time,
            head: &self.head,
            payload: &self.payload,
            payload_crc: self.payload_crc,
        }
    }
}

type Walk = SegmentEntries<Arc<SegmentReader<Lent>>, Lent>;

/// Where the entries come from.
enum Source {
    Log,
    Peers,
    Files {
        next: VecDeque<SealedFile>,
        walk: Option<Walk>,
    },
}

/// What a stretch does next.
pub(crate) enum Step {
    /// It went on by about so many bytes.
    Goes(usize),
    /// It wants these entries of the log, from the first one on.
    Reads(u64, u64),
    /// It wants these entries of peers, from the first one on.
    Recalls(u64, u64),
    /// It waits for the archive.
    Waits,
    /// Its first entry cannot be read.
    Unreadable(u64),
    /// It cannot be made of these entries.
    Fails,
}

/// A stretch in the making.
pub(crate) struct Stretch {
    pub(crate) slot: u32,
    pub(crate) name: Name,
    pub(crate) first: u64,
    /// The last entry wanted; the file may end earlier.
    last: u64,
    file_bytes: u64,
    writer: SegmentWriter,
    source: Source,
    entries: VecDeque<Held>,
    /// The newest time of an entry so far, which those without one are given.
    time: u64,
    /// The next entry to read.
    next: u64,
    out: Vec<u8>,
    /// A piece that the archive had no room for, and whether it is the last.
    refused: Option<(Vec<u8>, bool)>,
    has_begun: bool,
    has_ended: bool,
    /// Every piece was handed over.
    is_whole: bool,
}

impl Stretch {
    /// Of entries `first..=last` of a group, from the log or from these files.
    pub(crate) fn new(
        slot: u32,
        group: u64,
        (first, last): (u64, u64),
        files: Vec<SealedFile>,
        history: &History,
    ) -> Result<Self, SegmentError> {
        let mut spec = SegmentSpec::new(history.cluster, group);
        spec.codec = history.codec;
        let source = if files.is_empty() {
            Source::Log
        } else {
            let next = files.into();
            Source::Files { next, walk: None }
        };
        Ok(Self {
            slot,
            name: sealed_name(group, first),
            first,
            last,
            file_bytes: history.file_bytes,
            writer: SegmentWriter::new(spec, first)?,
            source,
            entries: VecDeque::new(),
            time: 0,
            next: first,
            out: Vec::new(),
            refused: None,
            has_begun: false,
            has_ended: false,
            is_whole: false,
        })
    }

    /// Of entries `first..=last` of a group that are not here, from peers.
    pub(crate) fn recalled(
        slot: u32,
        group: u64,
        stretch: (u64, u64),
        history: &History,
    ) -> Result<Self, SegmentError> {
        let mut recalled = Self::new(slot, group, stretch, Vec::new(), history)?;
        recalled.source = Source::Peers;
        Ok(recalled)
    }

    /// It is made of what peers tell.
    pub(crate) const fn is_recalled(&self) -> bool {
        matches!(self.source, Source::Peers)
    }

    /// It is made of other files.
    pub(crate) const fn is_anew(&self) -> bool {
        matches!(self.source, Source::Files { .. })
    }

    /// The log, or a peer, gave entries back.
    pub(crate) fn take(&mut self, records: Vec<OwnedRecord>) {
        for record in records {
            if record.index != self.next || self.has_ended {
                return;
            }
            self.next += 1;
            let mut head = record.head;
            if is_planted(Mutant::SealedOtherwise) && record.index.is_multiple_of(16) {
                let mut other = head.to_vec();
                other[std::mem::offset_of!(EntryHead, operation)] ^= 1;
                head = other.into();
            }
            self.entries.push_back(Held {
                index: record.index,
                term: record.term,
                head,
                payload: record.payload,
                payload_crc: record.payload_crc,
            });
        }
    }

    /// An entry cannot be read: the file ends before it. False when nothing stands before it.
    pub(crate) fn end_before(&mut self, index: u64) -> bool {
        self.last = self.last.min(index.saturating_sub(1));
        self.last >= self.first
    }

    /// Goes on by a slice.
    pub(crate) fn step(&mut self, archive: &mut dyn Archive, now: Time) -> Step {
        if let Some((piece, is_last)) = self.refused.take() {
            return self.hand_over(piece, is_last, archive, now);
        }
        if self.is_whole {
            return Step::Waits;
        }
        if self.out.len() >= limits::SEALED_PIECE_BYTES {
            let piece = std::mem::take(&mut self.out);
            return self.hand_over(piece, false, archive, now);
        }
        if self.has_ended || self.writer.next_index() > self.last {
            self.has_ended = true;
            return match self
                .writer
                .finish(limits::SEALED_PIECE_BYTES, &mut self.out)
            {
                Ok(true) => {
                    let piece = std::mem::take(&mut self.out);
                    self.hand_over(piece, true, archive, now)
                }
                Ok(false) => Step::Goes(limits::SEAL_SLICE_BYTES),
                Err(_) => Step::Fails,
            };
        }
        if !self.entries.is_empty() {
            return self.append();
        }
        self.read_on()
    }

    fn append(&mut self) -> Step {
        let Some(entry) = self.entries.front() else {
            return Step::Waits;
        };
        let index = entry.index;
        self.time = self.time.max(entry.time());
        let bytes = entry.payload.len().min(limits::SEAL_SLICE_BYTES) + entry.head.len();
        let appended = self.writer.append(
            &entry.borrow(self.time),
            limits::SEAL_SLICE_BYTES,
            &mut self.out,
        );
        match appended {
            Ok(Taken::Part) => {}
            Ok(Taken::Whole) => {
                self.entries.pop_front();
                self.has_ended = index >= self.last || self.writer.bytes() >= self.file_bytes;
            }
            Err(SegmentError::Full | SegmentError::Payload { .. }) if index > self.first => {
                self.has_ended = true;
            }
            Err(SegmentError::Payload { .. }) => return Step::Unreadable(index),
            Err(_) => return Step::Fails,
        }
        Step::Goes(bytes)
    }

    fn read_on(&mut self) -> Step {
        let (next, walk) = match &mut self.source {
            Source::Log => return Step::Reads(self.next, self.last),
            Source::Peers => return Step::Recalls(self.next, self.last),
            Source::Files { next, walk } => (next, walk),
        };
        match walk.as_mut().and_then(Iterator::next) {
            Some(Ok(entry)) if entry.index == self.next => {
                self.next += 1;
                let bytes = entry.payload.len();
                self.entries.push_back(Held {
                    index: entry.index,
                    term: entry.term,
                    head: entry.head.into(),
                    payload: entry.payload.into(),
                    payload_crc: entry.payload_crc,
                });
                Step::Goes(bytes)
            }
            // A rotten block: the files stay as they are.
            Some(_) => Step::Fails,
            None => {
                let opened = next.pop_front().map(|file| file.segment());
                let Some(Ok(segment)) = opened else {
                    return Step::Fails;
                };
                *walk = Some(SegmentReader::walk(Arc::new(segment), self.next));
                Step::Goes(0)
            }
        }
    }

    fn hand_over(
        &mut self,
        piece: Vec<u8>,
        is_last: bool,
        archive: &mut dyn Archive,
        now: Time,
    ) -> Step {
        let place = Place {
            is_first: !self.has_begun,
            is_last,
        };
        let bytes = piece.len();
        match archive.write(now.0, self.name, piece, place) {
            Ok(()) => {
                self.has_begun = true;
                self.is_whole = is_last;
                Step::Goes(bytes / 8)
            }
            Err(piece) => {
                self.refused = Some((piece, is_last));
                Step::Waits
            }
        }
    }
}

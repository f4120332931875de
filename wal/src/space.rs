//! Which segment files are in use, retired, free or being made.
//!
//! - Used segments are contiguous in sequence, oldest first; only the oldest is ever retired, so a record that
//!   supersedes another never leaves before it.
//! - A retired file is written again only when a durable block says that nothing below its successor is needed.
//! - Two free files are kept back, for moving metadata and for opening: a full log opens, and is relieved by
//!   releasing entries. While one of the two is missing, entries are refused.

use std::collections::VecDeque;

use crate::device::{Device, DeviceError};
use crate::index::Position;
use crate::limits::FULL_CREATE_RETRY_NS;
use crate::mutants::{Mutant, is_planted};

/// Files kept back: one for moving metadata out of the oldest segment, one for opening after a crash.
const RESERVED: usize = 2;
/// Files kept ready for the segment after the current one.
const READY: usize = 1;

/// Stands for the file of a segment that is missing.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// A segment in use.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) sequence: u64,
    pub(crate) slot: u32,
    /// Where its blocks end; of the last one, where they ended when the log was opened.
    pub(crate) end: u32,
    /// Live entries and newest metadata records in it.
    pub(crate) entries: u64,
    pub(crate) metas: u64,
    /// Bytes of both.
    pub(crate) bytes: u64,
    /// The newest record appended when something in it died: its death counts once that is durable.
    pub(crate) last_death: u64,
    /// From which offset on which incarnation of the log wrote it.
    pub(crate) incarnations: Vec<(u32, u32)>,
}

impl Segment {
    pub(crate) fn new(sequence: u64, slot: u32) -> Self {
        Self {
            sequence,
            slot,
            end: 0,
            entries: 0,
            metas: 0,
            bytes: 0,
            last_death: 0,
            incarnations: Vec::new(),
        }
    }

    /// The incarnation that wrote at this offset.
    pub(crate) fn incarnation(&self, offset: u32) -> Option<u32> {
        self.incarnations
            .iter()
            .rev()
            .find(|&&(from, _)| from <= offset)
            .map(|&(_, incarnation)| incarnation)
    }
}

/// The segments of a log.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) used: VecDeque<Segment>,
    retired: VecDeque<(u64, u32)>,
    free: VecDeque<u32>,
    /// Files that exist.
    files: u32,
    /// Number of the next file to make.
    next_slot: u32,
    segments_max: u32,
    creating: bool,
    refused_ns: Option<u64>,
    /// Segments made since opening, for the statistics.
    pub(crate) created: u64,
    /// Segments retired since opening.
    pub(crate) retirements: u64,
}

impl Space {
    pub(crate) fn new(
        used: VecDeque<Segment>,
        free: VecDeque<u32>,
        next_slot: u32,
        segments_max: u32,
    ) -> Self {
        let files = (used
            .iter()
            .filter(|segment| segment.slot != NO_SLOT)
            .count()
            + free.len()) as u32;
        Self {
            used,
            retired: VecDeque::new(),
            free,
            files,
            next_slot,
            segments_max,
            creating: false,
            refused_ns: None,
            created: 0,
            retirements: 0,
        }
    }

    /// The oldest segment in use: nothing below it is needed.
    pub(crate) fn oldest(&self) -> u64 {
        self.used.front().map_or(0, |segment| segment.sequence)
    }

    /// Files that exist.
    pub(crate) const fn files(&self) -> u32 {
        self.files
    }

    /// Files free to be begun, and files on their way to it.
    pub(crate) fn free_and_retired(&self) -> (usize, usize) {
        (self.free.len(), self.retired.len())
    }

    /// The used segment with this number.
    pub(crate) fn segment(&self, low: u32) -> Option<&Segment> {
        self.used
            .get(low.wrapping_sub(self.oldest() as u32) as usize)
    }

    fn segment_mut(&mut self, low: u32) -> &mut Segment {
        let nth = low.wrapping_sub(self.oldest() as u32) as usize;
        self.used
            .get_mut(nth)
            .expect("a live record lies in a used segment")
    }

    #[inline(always)]
    pub(crate) fn born(&mut self, position: Position, is_meta: bool) {
        let segment = self.segment_mut(position.segment);
        segment.bytes += u64::from(position.bytes);
        if is_meta {
            segment.metas += 1
        } else {
            segment.entries += 1
        }
    }

    pub(crate) fn died(&mut self, position: Position, is_meta: bool, lsn: u64) {
        if position == Position::LOST {
            return;
        }
        let segment = self.segment_mut(position.segment);
        segment.bytes -= u64::from(position.bytes);
        segment.last_death = segment.last_death.max(lsn);
        if is_meta {
            segment.metas -= 1
        } else {
            segment.entries -= 1
        }
    }

    /// Keeps a segment in use although nothing in it may be live; false when it is not in use, or in another file.
    pub(crate) fn hold(&mut self, sequence: u64, slot: u32) -> bool {
        let segment = self.used.iter_mut();
        let mut segment = segment.filter(|one| one.sequence == sequence && one.slot == slot);
        segment.next().map(|one| one.entries += 1).is_some()
    }

    /// A segment that was kept in use need not be any more.
    pub(crate) fn let_go(&mut self, sequence: u64) {
        let mut segment = self.used.iter_mut().filter(|one| one.sequence == sequence);
        segment.next().expect("what is held stays").entries -= 1;
    }

    /// Whether the oldest segment is held only by metadata, which the log can move by itself.
    pub(crate) fn oldest_holds_only_metadata(&self) -> bool {
        self.used.len() > 1
            && self
                .used
                .front()
                .is_some_and(|oldest| oldest.entries == 0 && oldest.metas > 0)
    }

    /// Whether the oldest segment will be retired without anyone releasing anything more.
    fn oldest_is_leaving(&self) -> bool {
        self.used.len() > 1 && self.used.front().is_some_and(|oldest| oldest.entries == 0)
    }

    /// Takes a file for the next segment; one of those kept back only to relieve or to open the log.
    pub(crate) fn take_free(&mut self, may_use_reserve: bool) -> Option<u32> {
        let kept = if may_use_reserve { 0 } else { RESERVED };
        if self.free.len() > kept {
            self.free.pop_front()
        } else {
            None
        }
    }

    /// Whether a file will be free without anyone releasing anything.
    pub(crate) fn has_some_soon(&self) -> bool {
        let may_grow = self.files < self.segments_max && self.refused_ns.is_none();
        self.creating || may_grow || !self.retired.is_empty() || self.oldest_is_leaving()
    }

    /// The disk gives no more files, and at most the one that was made ahead is free.
    pub(crate) fn is_tight(&self) -> bool {
        self.is_refused() && self.free.len() <= RESERVED + READY
    }

    /// Whether the files kept back are all there; asked before every append.
    pub(crate) fn has_reserve(&self) -> bool {
        self.free.len() >= RESERVED
    }

    /// Retires what nobody needs, oldest first, as far as its deaths are durable.
    pub(crate) fn retire(&mut self, durable: u64) {
        while self.used.len() > 1 {
            let oldest = &self.used[0];
            if oldest.entries + oldest.metas > 0 || oldest.last_death > durable {
                return;
            }
            if oldest.slot != NO_SLOT {
                self.retired.push_back((oldest.sequence, oldest.slot));
            }
            self.retirements += 1;
            self.used.pop_front();
        }
    }

    /// A durable block says that nothing below `live` is needed.
    pub(crate) fn confirmed(&mut self, live: u64) {
        let early = is_planted(Mutant::RetiredTooEarly);
        while self
            .retired
            .front()
            .is_some_and(|&(sequence, _)| sequence < live || early)
        {
            let (_, slot) = self.retired.pop_front().expect("there is a front");
            if early {
                // The next segment begins in it.
                self.free.push_front(slot);
            } else {
                self.free.push_back(slot);
            }
        }
    }

    /// Begins to make a file ahead of need.
    pub(crate) fn grow(&mut self, device: &mut impl Device, now_ns: u64) {
        let ready = self.free.len() + self.retired.len();
        if self.creating || ready >= READY + RESERVED || self.files >= self.segments_max {
            return;
        }
        if self
            .refused_ns
            .is_some_and(|refused| now_ns < refused.saturating_add(FULL_CREATE_RETRY_NS))
        {
            return;
        }
        self.creating = true;
        device.create(now_ns, self.next_slot);
    }

    /// A file was made, or not.
    pub(crate) fn made(&mut self, slot: u32, result: Result<(), DeviceError>, now_ns: u64) {
        self.creating = false;
        match result {
            Ok(()) => self.add_file(slot),
            Err(_) => self.refused_ns = Some(now_ns),
        }
    }

    /// A file exists and is free.
    pub(crate) fn add_file(&mut self, slot: u32) {
        self.free.push_back(slot);
        self.files += 1;
        self.created += 1;
        self.next_slot = self.next_slot.max(slot + 1);
        self.refused_ns = None;
    }

    /// Number of the next file to make.
    pub(crate) const fn next_slot(&self) -> u32 {
        self.next_slot
    }

    /// Whether the last try to make a file was refused.
    pub(crate) const fn is_refused(&self) -> bool {
        self.refused_ns.is_some()
    }
}

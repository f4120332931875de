//! The walk over the blocks of a log, from the oldest segment to the last block that counts.

use crate::block::tally::Tally;
use crate::block::{self, BLOCK_HEADER_BYTES, BlockHeader, Records};
use crate::damage::{Damage, DamageKind};
use crate::device::{ALIGNMENT, Source};
use crate::filling::Place;
use crate::identity::{Life, Seeds};
use crate::index::Index;
use crate::mutants::{Mutant, is_planted};
use crate::recovery::survey::{Candidate, Origins, header_at};
use crate::recovery::taker::{Seen, Taker};
use crate::recovery::window::Window;
use crate::recovery::{Cut, Lost, Opening, Visit};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::space::{NO_SLOT, Segment, Space};

const PAGE: u64 = ALIGNMENT as u64;
const FIRST_BLOCK_AT: u64 = SEGMENT_HEADER_BYTES as u64;

/// Numbers left free for records of which not even their count is known.
const LOST_LSNS: u64 = 1 << 20;

/// More records than this may wrap the counts by kind.
const COUNTED_RECORDS_MAX: u64 = u16::MAX as u64;

/// The walk, and what it has gathered.
pub(crate) struct Walk<'a, D: Source> {
    pub(crate) window: Window<'a, D>,
    pub(crate) life: Life,
    pub(crate) segments: Vec<Candidate>,
    pub(crate) origins: Origins,
    pub(crate) index: Index,
    pub(crate) space: Space,
    pub(crate) opening: Opening,
    /// Sequence of the next block.
    pub(crate) expected: u64,
    pub(crate) next_lsn: u64,
    /// Everything before `next_lsn`, by kind, when that is known.
    pub(crate) tally: Option<Tally>,
    /// Checksum of the block before, when that one could be read.
    pub(crate) previous_crc: Option<u32>,
    pub(crate) incarnation: u32,
    /// The highest segment below which something says that nothing is needed.
    pub(crate) live: u64,
    /// Files of segments found not to count.
    pub(crate) dropped: Vec<u32>,
    pub(crate) visit: &'a mut dyn Visit,
}

/// A place in the walk: the nth segment, the offset in it.
type At = (usize, u64);

enum Next {
    Go(At),
    /// The log ends here; whether writing may go on at this place.
    End(At, bool),
}

/// What lies behind a hole.
struct Ahead {
    /// Up to which block the log was durable, as far as anything says.
    durable: u64,
    /// The first block that counts.
    next: Option<(At, BlockHeader)>,
    bytes: u64,
    records: u64,
}

impl<D: Source> Walk<'_, D> {
    /// Walks to the end; returns the place behind the last block and whether writing may go on there.
    pub(crate) fn run(&mut self) -> (Place, bool) {
        let nowhere = Place {
            slot: 0,
            segment: 0,
            offset: 0,
            seeds: self.life.seeds(0, 0),
        };
        let Some(first) = self.segments.first().copied() else {
            return (nowhere, true);
        };
        self.expected = first.first_block;
        self.next_lsn = first.first_lsn;
        if first.header.is_none()
            && self.look_ahead((0, FIRST_BLOCK_AT)).durable < first.begins_at_least()
        {
            // The very first write of a log, torn: nothing was ever promised.
            return (self.end((0, FIRST_BLOCK_AT)), true);
        }
        self.enter(0);
        if first.first_offset > FIRST_BLOCK_AT {
            self.damage(
                DamageKind::Block,
                first.segment,
                Some(first.slot),
                FIRST_BLOCK_AT,
                first.first_offset - FIRST_BLOCK_AT,
            );
        }
        let is_front_lost =
            first.first_offset > FIRST_BLOCK_AT || self.live < first.segment && self.live > 0;
        if is_front_lost {
            self.lose_unknown();
        }
        let mut at = (0, first.first_offset);
        loop {
            match self.step(at) {
                Next::Go(next) => at = next,
                Next::End(at, is_sound) => return (self.end(at), is_sound),
            }
        }
    }

    /// The place to go on from. A segment without a single block is begun anew.
    fn end(&mut self, (nth, offset): At) -> Place {
        let candidate = self.segments[nth];
        let seeds = self.life.seeds(candidate.segment, self.incarnation);
        let (slot, segment, offset) = (candidate.slot, candidate.segment, offset as u32);
        let tail = self.space.used.back();
        if segment < self.live {
            // A block that was cut says that nothing below it is needed, and will say so again if it is found
            // again: the log goes on where that stays true.
            self.space.used.clear();
            self.index = Index::default();
            return Place {
                slot,
                segment: self.live - 1,
                offset: 0,
                seeds,
            };
        }
        if tail.is_some_and(|tail| !tail.incarnations.is_empty()) {
            let early = is_planted(Mutant::TailOverwritten) && u64::from(offset) > FIRST_BLOCK_AT;
            let offset = offset - if early { PAGE as u32 } else { 0 };
            return Place {
                slot,
                segment,
                offset,
                seeds,
            };
        }
        self.space.used.pop_back();
        let slot = self.space.used.back().map_or(NO_SLOT, |before| before.slot);
        let offset = candidate
            .header
            .map_or(0, |header| header.previous_end.get());
        Place {
            slot,
            segment: segment - 1,
            offset,
            seeds,
        }
    }

    fn step(&mut self, (nth, offset): At) -> Next {
        let candidate = self.segments[nth];
        if offset + PAGE > self.end_of(nth) {
            let Some(next) = self.following(nth) else {
                return Next::End((nth, offset), true);
            };
            if self.joins(&candidate, &next) {
                self.enter(nth + 1);
                return Next::Go((nth + 1, FIRST_BLOCK_AT));
            }
            return self.hole((nth, offset), None);
        }
        let header = header_at(&mut self.window, &self.life, &candidate, offset);
        let Some(header) = header.filter(|header| self.follows(header)) else {
            return self.hole((nth, offset), None);
        };
        let block = self
            .window
            .view(candidate.slot, offset, header.block_bytes());
        let is_intact = block::is_intact(&header, header.seeds(&self.life), block);
        if !is_intact && !is_planted(Mutant::TornTailAccepted) {
            return self.hole((nth, offset), Some(header));
        }
        self.accept((nth, offset), &header, true);
        Next::Go((nth, offset + header.block_bytes() as u64))
    }

    /// The segment after the nth, if it counts.
    fn following(&self, nth: usize) -> Option<Candidate> {
        let next = self.segments.get(nth + 1)?;
        (!self.origins.is_void(next.incarnation, next.first_block)).then_some(*next)
    }

    /// Where the nth segment ended, as far as the one after it says.
    fn end_of(&self, nth: usize) -> u64 {
        let whole = self.window.segment_bytes();
        let Some(next) = self.following(nth) else {
            return whole;
        };
        let is_adjacent = next.segment == self.segments[nth].segment + 1;
        let header = next
            .header
            .filter(|_| is_adjacent && next.incarnation >= self.incarnation);
        header.map_or(whole, |header| {
            u64::from(header.previous_end.get()).clamp(FIRST_BLOCK_AT, whole)
        })
    }

    fn joins(&self, candidate: &Candidate, next: &Candidate) -> bool {
        let is_adjacent =
            next.segment == candidate.segment + 1 && next.first_block == self.expected;
        // Header and first block are one write: without the one, the other is a hole.
        let chains = |header: SegmentHeader| self.chains(header.previous_crc.get());
        is_adjacent && next.incarnation >= self.incarnation && next.header.is_some_and(chains)
    }

    /// Whether a block that names this checksum may come after the last one read; zero names none.
    fn chains(&self, previous_crc: u32) -> bool {
        previous_crc == 0 || self.previous_crc.is_none_or(|crc| crc == previous_crc)
    }

    fn counts(&self, header: &BlockHeader) -> bool {
        let (incarnation, sequence) = (header.incarnation.get(), header.sequence.get());
        incarnation >= self.incarnation
            && sequence >= self.expected
            && !self.origins.is_void(incarnation, sequence)
    }

    fn follows(&self, header: &BlockHeader) -> bool {
        self.counts(header)
            && header.sequence.get() == self.expected
            && self.chains(header.previous_crc.get())
    }

    /// Decides what a hole is; `torn` is its header if that can be read.
    fn hole(&mut self, (nth, offset): At, torn: Option<BlockHeader>) -> Next {
        let behind = offset + torn.map_or(PAGE, |header| header.block_bytes() as u64);
        let ahead = self.look_ahead((nth, behind));
        let candidate = self.segments[nth];
        if ahead.durable < self.expected || is_planted(Mutant::CutsAtDamage) {
            let torn_bytes = torn.map_or(0, |header| header.block_bytes() as u64);
            let torn_records = torn.map_or(0, |header| u64::from(header.records.get()));
            let (bytes, records) = (ahead.bytes + torn_bytes, ahead.records + torn_records);
            let cut = Cut {
                segment: candidate.segment,
                slot: candidate.slot,
                offset,
                bytes,
                records,
            };
            self.opening.cut = (bytes > 0).then_some(cut);
            return Next::End((nth, offset), true);
        }
        if let Some(header) = torn {
            self.accept((nth, offset), &header, false);
            return Next::Go((nth, offset + header.block_bytes() as u64));
        }
        let end = self.end_of(nth);
        let slot = Some(candidate.slot);
        match ahead.next {
            // Every block between was durable: damage, and the walk goes on behind it.
            Some((next, header)) if header.sequence.get() <= ahead.durable + 1 => {
                if !self.salvage((nth, offset), next, &header) {
                    self.skip((nth, offset), next);
                }
                self.expected = header.sequence.get();
                self.previous_crc = None;
                Next::Go(next)
            }
            // Durable blocks are lost, and so is where they ended: the log goes on in a new segment.
            _ => {
                self.damage(
                    DamageKind::Block,
                    candidate.segment,
                    slot,
                    offset,
                    end.saturating_sub(offset),
                );
                self.expected = ahead.durable + 1;
                self.previous_crc = None;
                // Numbers that nobody will have: the next opening sees that something is lost here, too.
                self.next_lsn += LOST_LSNS;
                self.lose_unknown();
                Next::End((nth, offset), false)
            }
        }
    }

    /// Names everything between two places as damaged, and enters the segments on the way.
    fn skip(&mut self, (nth, offset): At, next: At) {
        for skipped in nth..=next.0 {
            let candidate = self.segments[skipped];
            if skipped > nth {
                if self
                    .origins
                    .is_void(candidate.incarnation, candidate.first_block)
                {
                    continue;
                }
                self.enter(skipped);
            }
            let from = if skipped == nth {
                offset
            } else {
                FIRST_BLOCK_AT
            };
            let until = if skipped == next.0 {
                next.1
            } else {
                self.end_of(skipped)
            };
            if until > from {
                let slot = Some(candidate.slot);
                self.damage(
                    DamageKind::Block,
                    candidate.segment,
                    slot,
                    from,
                    until - from,
                );
            }
        }
    }

    /// Looks at everything behind a hole, until what it is has been decided.
    fn look_ahead(&mut self, (nth, offset): At) -> Ahead {
        let mut ahead = Ahead {
            durable: 0,
            next: None,
            bytes: 0,
            records: 0,
        };
        for nth_ahead in nth..self.segments.len() {
            let candidate = self.segments[nth_ahead];
            if nth_ahead > nth {
                if self
                    .origins
                    .is_void(candidate.incarnation, candidate.first_block)
                {
                    continue;
                }
                let said = candidate.header.map_or(0, |header| header.durable.get());
                ahead.durable = ahead.durable.max(said);
            }
            let from = if nth_ahead == nth {
                offset
            } else {
                FIRST_BLOCK_AT
            };
            let end = if nth_ahead == nth {
                self.end_of(nth)
            } else {
                self.window.segment_bytes()
            };
            let mut headers = Vec::new();
            for offset in (from..end).step_by(ALIGNMENT) {
                if let Some(header) = header_at(&mut self.window, &self.life, &candidate, offset) {
                    self.origins
                        .learn(header.incarnation.get(), header.origin.get());
                    ahead.durable = ahead.durable.max(header.durable.get());
                    self.live = self.live.max(header.live.get());
                    headers.push((offset, header));
                }
            }
            for (offset, header) in headers
                .into_iter()
                .filter(|(_, header)| self.counts(header))
            {
                ahead.bytes += header.block_bytes() as u64;
                ahead.records += u64::from(header.records.get());
                ahead.next.get_or_insert(((nth_ahead, offset), header));
            }
            let is_decided = |header: &BlockHeader| header.sequence.get() <= ahead.durable + 1;
            if ahead.durable >= self.expected
                && ahead
                    .next
                    .as_ref()
                    .is_some_and(|(_, header)| is_decided(header))
            {
                break;
            }
        }
        ahead
    }

    /// Begins a segment, and stands in for those that are missing before it.
    fn enter(&mut self, nth: usize) {
        let candidate = self.segments[nth];
        let from = self
            .space
            .used
            .back()
            .map_or(candidate.segment, |segment| segment.sequence + 1);
        for missing in from..candidate.segment {
            self.damage(
                DamageKind::SegmentMissing,
                missing,
                None,
                0,
                self.window.segment_bytes(),
            );
            self.space.used.push_back(Segment::new(missing, NO_SLOT));
        }
        if candidate.header.is_none() {
            self.damage(
                DamageKind::SegmentHeader,
                candidate.segment,
                Some(candidate.slot),
                0,
                FIRST_BLOCK_AT,
            );
        }
        self.space
            .used
            .push_back(Segment::new(candidate.segment, candidate.slot));
    }

    /// Finds the first segment that counts, and names those that must be there before it and are not. A file
    /// about to be used again may look like a segment still: every block is asked what is needed then.
    pub(crate) fn find_front(&mut self) {
        let Some(first) = self.segments.first().copied() else {
            return;
        };
        if first.header.is_some() && first.segment <= self.live {
            return;
        }
        for candidate in self.segments.clone() {
            for offset in (FIRST_BLOCK_AT..self.window.segment_bytes()).step_by(ALIGNMENT) {
                let header = header_at(&mut self.window, &self.life, &candidate, offset);
                self.live = self.live.max(header.map_or(0, |header| header.live.get()));
            }
        }
        self.dropped.extend(
            self.segments
                .iter()
                .filter(|one| one.segment < self.live)
                .map(|one| one.slot),
        );
        self.segments.retain(|one| one.segment >= self.live);
        let Some(first) = self.segments.first().copied() else {
            return;
        };
        for missing in self.live..first.segment {
            let bytes = self.window.segment_bytes();
            self.damage(DamageKind::SegmentMissing, missing, None, 0, bytes);
        }
    }

    /// Takes a block into the log: shows its records, names those that are damaged.
    fn accept(&mut self, (nth, offset): At, header: &BlockHeader, is_intact: bool) {
        let candidate = self.segments[nth];
        self.origins
            .learn(header.incarnation.get(), header.origin.get());
        let segment = self.space.used.back_mut().expect("the walk has entered it");
        if segment.incarnations.is_empty() || header.incarnation.get() != self.incarnation {
            segment
                .incarnations
                .push((offset as u32, header.incarnation.get()));
        }
        segment.end = offset as u32 + header.block_bytes() as u32;
        self.incarnation = header.incarnation.get();
        self.lose_between(header);
        self.previous_crc = Some(header.header_crc.get());
        self.expected = header.next_sequence();
        self.live = self.live.max(header.live.get());
        self.opening.blocks += 1;
        self.opening.bytes += header.block_bytes() as u64;
        let (own, before) = (header.own(), header.before());
        let bytes = header.block_bytes();
        let seeds = header.seeds(&self.life);
        let seen = if is_intact {
            self.take_intact(candidate, offset, bytes, header, seeds)
        } else {
            self.take_records(candidate, offset, bytes, header, seeds, own)
        };
        if seen.lost == 0 && !seen.whole {
            // Every header passes, and yet they are not those that the block was built with.
            let slot = Some(candidate.slot);
            self.damage(
                DamageKind::Records,
                candidate.segment,
                slot,
                offset,
                bytes as u64,
            );
            self.lose_unknown();
        }
        self.next_lsn = header.next_lsn();
        let own = if seen.lost == 0 {
            Some(seen.tally)
        } else {
            own
        };
        self.tally = before.zip(own).map(|(before, own)| before.plus(own));
    }

    /// Shows the records of a block of which every checksum has just passed.
    fn take_intact(
        &mut self,
        candidate: Candidate,
        offset: u64,
        bytes: usize,
        header: &BlockHeader,
        seeds: Seeds,
    ) -> Seen {
        let block = self.window.view(candidate.slot, offset, bytes);
        let mut taker = Taker {
            candidate,
            index: &mut self.index,
            space: &mut self.space,
            opening: &mut self.opening,
            visit: &mut *self.visit,
        };
        let mut tally = Tally::default();
        for (found, lsn) in Records::trusting(header, seeds, block).zip(header.first_lsn.get()..) {
            tally.count(found.record.kind, found.turn);
            taker.take(&found, lsn);
        }
        Seen {
            tally,
            lost: 0,
            whole: true,
        }
    }

    /// Shows the records of a block; tells what is lost between them. `own` is what the block holds, if known.
    fn take_records(
        &mut self,
        candidate: Candidate,
        offset: u64,
        bytes: usize,
        header: &BlockHeader,
        seeds: Seeds,
        own: Option<Tally>,
    ) -> Seen {
        let block = self.window.view(candidate.slot, offset, bytes);
        let seen = Seen::of(header, Records::new(header, seeds, block));
        let mut taker = Taker {
            candidate,
            index: &mut self.index,
            space: &mut self.space,
            opening: &mut self.opening,
            visit: &mut *self.visit,
        };
        let mut records = Records::new(header, seeds, block);
        let mut lsn = header.first_lsn.get();
        loop {
            for found in records.by_ref() {
                taker.take(&found, lsn);
                lsn += 1;
            }
            let from = records.offset();
            let Some(lost) = records.resume() else { break };
            lsn += u64::from(lost);
            taker.lose(from, records.offset(), lost, seen.missing(own));
        }
        let end = offset + bytes as u64;
        let (lost, from) = (records.left(), records.offset());
        if lost > 0 {
            taker.lose(from, end as u32, lost, seen.missing(own));
        }
        seen
    }

    /// The header of one block is lost, its neighbours are not: its records say themselves where they belong. It was
    /// written by the incarnation of the block before, or holds no records: an incarnation begins with an empty one.
    fn salvage(&mut self, (nth, offset): At, next: At, header: &BlockHeader) -> bool {
        let candidate = self.segments[nth];
        let is_alone = header.sequence.get() == self.expected + 1 && self.incarnation > 0;
        let end = if next.0 == nth {
            next.1
        } else if next == (nth + 1, FIRST_BLOCK_AT)
            && self.segments[nth + 1].segment == candidate.segment + 1
        {
            self.end_of(nth)
        } else {
            return false;
        };
        let records = header.first_lsn.get().checked_sub(self.next_lsn);
        let Some(records) = records.filter(|&records| is_alone && records < COUNTED_RECORDS_MAX)
        else {
            return false;
        };
        let bytes = (end - offset) as usize;
        let seeds = self.life.seeds(candidate.segment, self.incarnation);
        let mut stand_in = *header;
        stand_in.offset = (offset as u32).into();
        stand_in.first_lsn = self.next_lsn.into();
        stand_in.records = (records as u32).into();
        stand_in.body_bytes = ((bytes - BLOCK_HEADER_BYTES) as u32).into();
        let (slot, segment) = (Some(candidate.slot), candidate.segment);
        self.damage(DamageKind::Block, segment, slot, offset, PAGE);
        let own = header
            .before()
            .zip(self.tally)
            .map(|(before, tally)| before.since(tally));
        let held = self.space.used.back_mut().expect("the walk has entered it");
        if held.incarnations.is_empty() {
            held.incarnations.push((offset as u32, self.incarnation));
        }
        let seen = self.take_records(candidate, offset, bytes, &stand_in, seeds, own);
        self.next_lsn = header.first_lsn.get();
        let own = if seen.lost == 0 {
            Some(seen.tally)
        } else {
            own
        };
        self.tally = self.tally.zip(own).map(|(tally, own)| tally.plus(own));
        if next.0 > nth {
            self.enter(next.0);
        }
        true
    }

    /// Tells what is lost between the last block read and this one.
    fn lose_between(&mut self, header: &BlockHeader) {
        let records = header.first_lsn.get().saturating_sub(self.next_lsn);
        if records == 0 {
            return;
        }
        let lost = header
            .before()
            .zip(self.tally)
            .filter(|_| records < COUNTED_RECORDS_MAX)
            .map(|(before, tally)| before.since(tally));
        self.visit.lost(Lost::Unnamed {
            records: (records < LOST_LSNS).then_some(records),
            metadata: lost.is_none_or(|lost| lost.metas > 0),
            turns: lost.is_none_or(|lost| lost.turns > 0),
        });
    }

    fn lose_unknown(&mut self) {
        self.tally = None;
        self.visit.lost(Lost::Unnamed {
            records: None,
            metadata: true,
            turns: true,
        });
    }

    /// A file is missing and no segment is: it may have held the end of the log, or nothing.
    pub(crate) fn judge_missing_files(&mut self, files: usize) {
        let is_segment = |damage: &&Damage| damage.kind == DamageKind::SegmentMissing;
        if files > self.opening.damage.iter().filter(is_segment).count() {
            self.lose_unknown();
        }
    }

    /// Notes something wrong of which no group is known.
    pub(crate) fn damage(
        &mut self,
        kind: DamageKind,
        segment: u64,
        slot: Option<u32>,
        offset: u64,
        bytes: u64,
    ) {
        let damage = Damage {
            segment,
            slot,
            offset,
            bytes,
            kind,
            group: None,
            first: None,
            last: None,
        };
        self.opening.damage.push(damage);
    }
}

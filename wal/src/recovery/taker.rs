//! What becomes of a block's records when a log is opened: each is put into its place and shown, or named as lost.
//!
//! - An entry whose payload fails keeps its place in the order: what it superseded stays superseded.
//! - Entries between two readable ones of a group are named by their neighbours.

use crate::block::tally::Tally;
use crate::block::{BlockHeader, Records};
use crate::damage::{Damage, DamageKind};
use crate::index::{Fit, Index, Position};
use crate::limits::GAP_ENTRIES_MAX;
use crate::record::{Found, Kind};
use crate::recovery::survey::Candidate;
use crate::recovery::{Lost, Opening, Recovered, Visit};
use crate::space::Space;
use crate::wal::Lsn;

/// The records of a block at a first glance.
pub(crate) struct Seen {
    pub(crate) tally: Tally,
    pub(crate) lost: u32,
    /// Every record is there, and is the one the block was built with.
    pub(crate) whole: bool,
}

impl Seen {
    pub(crate) fn of(header: &BlockHeader, mut records: Records<'_>) -> Self {
        let mut tally = Tally::default();
        let mut lost = 0;
        loop {
            for found in records.by_ref() {
                tally.count(found.record.kind, found.turn);
            }
            match records.resume() {
                Some(between) => lost += between,
                None => break,
            }
        }
        lost += records.left();
        let whole = lost == 0 && records.walked(header).whole;
        Self { tally, lost, whole }
    }

    /// What the lost records were, when the block says what it held.
    pub(crate) fn missing(&self, own: Option<Tally>) -> Option<Tally> {
        own.map(|own| own.since(self.tally))
    }
}

/// Puts the records of one block where they belong.
pub(crate) struct Taker<'a> {
    pub(crate) candidate: Candidate,
    pub(crate) index: &'a mut Index,
    pub(crate) space: &'a mut Space,
    pub(crate) opening: &'a mut Opening,
    pub(crate) visit: &'a mut dyn Visit,
}

impl Taker<'_> {
    #[inline]
    pub(crate) fn take(&mut self, found: &Found<'_>, lsn: u64) {
        let record = found.record;
        let segment = self.candidate.segment as u32;
        let position = Position {
            segment,
            offset: found.offset,
            bytes: found.bytes,
        };
        let space = &mut *self.space;
        if record.kind == Kind::Meta {
            if !found.intact {
                let group = record.group;
                self.visit.lost(Lost::Metadata { group });
                return self.damaged(found, DamageKind::Metadata);
            }
            self.index.put_meta(&record, position, &mut |position| {
                space.died(position, true, lsn)
            });
            self.space.born(position, true);
        } else {
            let mut restarts = found.restart;
            let mut group = self.index.group_mut(record.group);
            if let (false, Fit::Skips(first)) = (restarts, group.fit(record.index)) {
                self.gap(found, first);
                group = self.index.group_mut(record.group);
                restarts = record.index - first > GAP_ENTRIES_MAX;
                if !restarts {
                    group.put_gap(record.index);
                }
            }
            let space = &mut *self.space;
            let position = if found.intact {
                position
            } else {
                Position::LOST
            };
            let killed = &mut |position| space.died(position, false, lsn);
            group.put_entry(record.index, position, restarts, killed);
            if !found.intact {
                let (group, index) = (record.group, record.index);
                self.visit.lost(Lost::Entry { group, index });
                return self.damaged(found, DamageKind::Payload);
            }
            self.space.born(position, false);
        }
        self.opening.records += 1;
        self.visit.shown(&Recovered {
            lsn: Lsn(lsn),
            record,
            segment: self.candidate.segment,
            slot: self.candidate.slot,
            offset: u64::from(found.offset),
            restart: found.restart,
        });
    }

    /// Records between two places are lost.
    pub(crate) fn lose(&mut self, from: u32, until: u32, records: u32, kinds: Option<Tally>) {
        self.opening.damage.push(Damage {
            segment: self.candidate.segment,
            slot: Some(self.candidate.slot),
            offset: u64::from(from),
            bytes: u64::from(until.saturating_sub(from)),
            kind: DamageKind::Records,
            group: None,
            first: None,
            last: None,
        });
        self.visit.lost(Lost::Unnamed {
            records: kinds.map(|_| u64::from(records)),
            metadata: kinds.is_none_or(|kinds| kinds.metas > 0),
            turns: kinds.is_none_or(|kinds| kinds.turns > 0),
        });
    }

    fn gap(&mut self, found: &Found<'_>, first: u64) {
        self.push(DamageKind::Gap, found, first, found.record.index - 1, 0);
    }

    fn damaged(&mut self, found: &Found<'_>, kind: DamageKind) {
        let index = found.record.index;
        self.push(kind, found, index, index, u64::from(found.bytes));
    }

    fn push(&mut self, kind: DamageKind, found: &Found<'_>, first: u64, last: u64, bytes: u64) {
        self.opening.damage.push(Damage {
            segment: self.candidate.segment,
            slot: Some(self.candidate.slot),
            offset: u64::from(found.offset),
            bytes,
            kind,
            group: Some(found.record.group),
            first: Some(first),
            last: Some(last),
        });
    }
}

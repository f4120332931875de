//! The configurations that a replica's log holds: the newest rules, committed or not.
//!
//! - A configuration takes effect when it enters the log (thesis, 4.1) and goes when it is overwritten.
//! - Indexes rise strictly and lie after the snapshot; generations rise by one.
//! - At most the newest is uncommitted: a leader proposes one at a time.

use crate::ids::Index;
use crate::membership::Membership;
use crate::rare::Rare;

/// The configuration as of the snapshot, and those in the log after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct Configurations {
    /// Where the newest stands, at hand without following a pointer.
    latest_index: Index,
    base: Membership,
    base_index: Index,
    newer: Vec<(Index, Membership)>,
}

impl Configurations {
    pub(crate) fn new(
        base: Membership,
        base_index: Index,
        newer: Vec<(Index, Membership)>,
    ) -> Option<Self> {
        let mut expected = base_index;
        for (index, _) in &newer {
            if *index <= expected {
                return None;
            }
            expected = *index;
        }
        Some(Self {
            base,
            base_index,
            newer,
            latest_index: expected,
        })
    }

    /// The configuration in effect.
    pub(crate) fn latest(&self) -> &Membership {
        self.newer
            .last()
            .map_or(&self.base, |(_, membership)| membership)
    }

    /// Where the configuration in effect stands in the log (or the snapshot's index).
    pub(crate) fn latest_index(&self) -> Index {
        self.latest_index
    }

    fn note_latest(&mut self) {
        self.latest_index = self
            .newer
            .last()
            .map_or(self.base_index, |(index, _)| *index);
    }

    /// The configuration that was in effect at `index`.
    pub(crate) fn at(&self, index: Index) -> &Membership {
        let upto = self.newer.partition_point(|(at, _)| *at <= index);
        if upto == 0 {
            &self.base
        } else {
            &self.newer[upto - 1].1
        }
    }

    pub(crate) fn push(&mut self, index: Index, membership: Membership) {
        assert!(
            index > self.latest_index(),
            "configurations enter in the order of the log"
        );
        self.newer.push((index, membership));
        self.latest_index = index;
    }

    /// Forgets those at and after `from`. True when one was forgotten.
    pub(crate) fn truncate(&mut self, from: Index) -> bool {
        let keep = self.newer.partition_point(|(at, _)| *at < from);
        let cut = keep < self.newer.len();
        self.newer.truncate(keep);
        self.note_latest();
        cut
    }

    /// The log starts after `upto`.
    pub(crate) fn compact(&mut self, upto: Index) {
        let covered = self.newer.partition_point(|(at, _)| *at <= upto);
        if let Some((_, membership)) = self.newer.drain(..covered).next_back() {
            self.base = membership;
        }
        self.base_index = upto;
        self.note_latest();
    }

    /// The log was replaced by a snapshot.
    pub(crate) fn reset(&mut self, base: Membership, index: Index) {
        self.base = base;
        self.base_index = index;
        self.newer.clear();
        self.note_latest();
    }

    /// Those among the entries `first..=last`.
    #[inline]
    pub(crate) fn within(&self, first: Index, last: Index) -> Rare<(Index, Membership)> {
        if self.latest_index() < first {
            return Rare::new();
        }
        self.some_within(first, last)
    }

    #[cold]
    fn some_within(&self, first: Index, last: Index) -> Rare<(Index, Membership)> {
        let from = self.newer.partition_point(|(at, _)| *at < first);
        let upto = self.newer.partition_point(|(at, _)| *at <= last);
        self.newer[from..upto.max(from)].to_vec().into()
    }
}

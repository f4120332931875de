//! What a follower knows about its leader's log, and which answer it owes.
//!
//! - `verified` is the end of the prefix known to equal the leader's log; it belongs to one term.
//! - An acknowledgement never exceeds what is both verified and durable.
//! - The leader's commit index is remembered even while the entries are still missing.

use crate::ids::{Index, Time};

/// One term's dealings with one leader.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(crate) struct Following {
    pub(crate) verified: Index,
    pub(crate) leader_commit: Index,
    acknowledged: Index,
    pub(crate) round: u64,
    /// When the leader itself spoke last.
    pub(crate) heard: Time,
    /// An answer is owed even without news.
    pub(crate) owes: bool,
    /// The connection to the leader was re-made and it has not spoken since: it may have restarted, so
    /// its node's signs of life say nothing about it.
    pub(crate) unconfirmed: bool,
}

impl Following {
    /// A new leader: its log surely holds what is committed (leader completeness, Raft paper 5.4).
    pub(crate) fn begin(&mut self, commit: Index, now: Time) {
        *self = Self {
            verified: commit,
            acknowledged: commit,
            heard: now,
            ..Self::default()
        };
    }

    /// The leader spoke.
    pub(crate) fn hear(&mut self, now: Time) {
        self.heard = now;
        self.unconfirmed = false;
    }

    /// What to acknowledge, if an answer is due.
    pub(crate) fn due(&self, durable: Index) -> Option<Index> {
        let matched = self.verified.min(durable);
        (self.owes || matched > self.acknowledged).then_some(matched)
    }

    pub(crate) fn answered(&mut self, matched: Index) {
        self.owes = false;
        self.acknowledged = self.acknowledged.max(matched);
    }
}

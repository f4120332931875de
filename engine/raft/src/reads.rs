//! Linearizable reads: confirmed by a round of messages, or covered by a lease (thesis, 6.4).
//!
//! - A read's index is the commit index when the read began, once an entry of the leader's own term is
//!   committed; before that the leader does not know the commit index.
//! - A round confirms the reads that began before it was sent, when a commit quorum has answered it: every
//!   later leader's election shares a voter with that quorum. The leader numbers its rounds itself.
//! - A lease is measured from the moment its round was sent, ends before any voter may stop standing by the
//!   leader, and is dropped for good when leadership is being handed over.

use core::hash::{Hash, Hasher};
use std::collections::VecDeque;

use crate::effects::ReadAborted;
use crate::freshness::Closed;
use crate::ids::{Index, NodeId, ReadId, Time};
use crate::ring::Ring;

/// A read that waits for its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Waiting {
    /// Who asked: a follower, or `None` for this replica's own clients.
    pub(crate) from: Option<NodeId>,
    pub(crate) id: ReadId,
    index: Index,
    /// The round that confirms it; 0 while the commit index is not known.
    round: u64,
}

/// A leader's reads.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(crate) struct Reads {
    round: u64,
    wanted: bool,
    /// No lease: leadership is being handed over.
    revoked: bool,
    /// A round was confirmed since the quorums changed last.
    earned: bool,
    waiting: VecDeque<Waiting>,
    /// The rounds that are not confirmed yet: when they were sent, and the commit index then.
    sent: Ring<(u64, Closed), 2>,
    /// What the latest confirmed round says about the past; true whatever happens to leases.
    closed: Option<Closed>,
}

impl Hash for Reads {
    /// Without the leases' clocks.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.wanted, self.revoked, self.waiting.len()).hash(state);
        for waiting in &self.waiting {
            (waiting.from, waiting.index, self.round + 1 - waiting.round).hash(state);
        }
    }
}

impl Reads {
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A read begins. `commit`: the commit index, when it is known.
    pub(crate) fn begin(&mut self, from: Option<NodeId>, id: ReadId, commit: Option<Index>) {
        let round = commit.map_or(0, |_| self.round + 1);
        self.wanted |= commit.is_some();
        self.waiting.push_back(Waiting {
            from,
            id,
            index: commit.unwrap_or_default(),
            round,
        });
    }

    /// The first entry of the leader's own term is committed.
    pub(crate) fn commit_known(&mut self, commit: Index) {
        let round = self.round + 1;
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.round == 0) {
            waiting.index = commit;
            waiting.round = round;
            self.wanted = true;
        }
    }

    /// A round is wanted although no read waits for it. The commit index is known.
    pub(crate) fn renew(&mut self) {
        self.wanted = true;
    }

    /// What the latest confirmed round says about the past.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.closed
    }

    /// Reads wait for the next round.
    #[inline]
    pub(crate) fn wants_round(&self) -> bool {
        self.wanted
    }

    /// Opens the next round, which is to be sent.
    pub(crate) fn open_round(&mut self, now: Time, commit: Index) {
        self.wanted = false;
        self.round += 1;
        self.sent.push((
            self.round,
            Closed {
                at: now,
                index: commit,
            },
        ));
    }

    /// A commit quorum has answered `round`.
    pub(crate) fn confirmed(
        &mut self,
        round: u64,
        mut answer: impl FnMut(Option<NodeId>, ReadId, Index),
    ) {
        while let Some((_, closed)) = self
            .sent
            .front()
            .copied()
            .filter(|(sent, _)| *sent <= round)
        {
            self.closed = Some(closed);
            self.earned = true;
            self.sent.pop();
        }
        while let Some(waiting) = self.waiting.front().copied() {
            if waiting.round == 0 || waiting.round > round {
                return;
            }
            self.waiting.pop_front();
            answer(waiting.from, waiting.id, waiting.index);
        }
    }

    /// Leadership ends: nothing that waits will be confirmed.
    pub(crate) fn abort(&mut self) -> impl Iterator<Item = Waiting> + '_ {
        self.waiting.drain(..)
    }

    /// When the latest confirmed round was sent, unless leases are revoked.
    pub(crate) fn lease_from(&self) -> Option<Time> {
        let leases = self.earned && !self.revoked;
        self.closed.filter(|_| leases).map(|closed| closed.at)
    }

    /// No lease from here on in this leadership.
    pub(crate) fn revoke(&mut self) {
        self.revoked = true;
    }

    /// Quorums changed: the lease must be earned again.
    pub(crate) fn forget_lease(&mut self) {
        self.earned = false;
        self.sent.clear();
    }
}

/// A follower's reads, on their way to the leader.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Forwarded {
    waiting: VecDeque<(ReadId, Time)>,
}

impl Forwarded {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn push(&mut self, id: ReadId, deadline: Time) {
        self.waiting.push_back((id, deadline));
    }

    /// The read was answered. False when nobody waits for it.
    pub(crate) fn take(&mut self, id: ReadId) -> bool {
        let found = self.waiting.iter().position(|(waiting, _)| *waiting == id);
        found.and_then(|at| self.waiting.remove(at)).is_some()
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.waiting.front().map(|(_, deadline)| *deadline)
    }

    /// Gives up the reads whose deadline is not after `now`.
    pub(crate) fn expire(
        &mut self,
        now: Time,
        answers: &mut Vec<(ReadId, Result<Index, ReadAborted>)>,
    ) {
        while let Some((id, _)) = self
            .waiting
            .front()
            .copied()
            .filter(|(_, deadline)| *deadline <= now)
        {
            self.waiting.pop_front();
            answers.push((id, Err(ReadAborted)));
        }
    }
}

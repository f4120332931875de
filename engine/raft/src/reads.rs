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
    waiting: VecDeque<Waiting>,
    /// When the rounds were sent that are not confirmed yet.
    sent: Ring<(u64, Time), 2>,
    /// The send time of the latest confirmed round.
    confirmed_at: Option<Time>,
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

    /// Opens the next round if reads wait for it. True when it is to be sent.
    pub(crate) fn open_round(&mut self, now: Time) -> bool {
        if !self.wanted {
            return false;
        }
        self.wanted = false;
        self.round += 1;
        self.sent.push((self.round, now));
        true
    }

    /// A commit quorum has answered `round`.
    pub(crate) fn confirmed(
        &mut self,
        round: u64,
        mut answer: impl FnMut(Option<NodeId>, ReadId, Index),
    ) {
        while let Some((_, at)) = self
            .sent
            .front()
            .copied()
            .filter(|(sent, _)| *sent <= round)
        {
            self.confirmed_at = self.confirmed_at.max(Some(at));
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
        if self.revoked {
            None
        } else {
            self.confirmed_at
        }
    }

    /// No lease from here on in this leadership.
    pub(crate) fn revoke(&mut self) {
        self.revoked = true;
    }

    /// Quorums changed: the lease must be earned again.
    pub(crate) fn forget_lease(&mut self) {
        self.confirmed_at = None;
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

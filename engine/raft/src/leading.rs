//! A leader's state: the members' progress, the uncommitted tail, reads, and a transfer under way.
//!
//! - It exists exactly while the replica leads.
//! - There is a `Progress` for every member of the newest configuration, this node included. After them come
//!   members that were removed and have not heard of it yet.
//! - Only entries of the leader's own term are committed by counting (Raft paper, 5.4.2).

use crate::alarm::Alarm;
use crate::ids::{Index, NodeId, Time};
use crate::membership::Membership;
use crate::progress::Progress;
use crate::quorum::{VOTERS_MAX, committed};
use crate::reads::Reads;
use crate::tail::Tail;

/// A transfer of leadership under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    /// Proposals resume then.
    pub(crate) deadline: Time,
    /// The target was told to campaign.
    pub(crate) told: bool,
}

/// One leadership. The fields stand in the order of their heat: an entry touches the first three cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Leading {
    /// Something may have to be sent.
    pub(crate) dirty: bool,
    /// The node may not lead in the committed configuration: leadership ends when the log is committed.
    pub(crate) leaving: bool,
    /// The retry clock was started by a call that brought no time.
    pub(crate) retry_fresh: bool,
    /// Where this node stands among the members; past the end when it is none.
    pub(crate) me: u8,
    pub(crate) commit_incoming: u8,
    /// 0 when the configuration is not joint.
    commit_outgoing: u8,
    /// The empty entry at the beginning of this leadership.
    pub(crate) first_own: Index,
    pub(crate) retry_at: Alarm,
    pub(crate) check_at: Alarm,
    pub(crate) transfer: Option<Box<Transfer>>,
    pub(crate) peers: Vec<Progress>,
    pub(crate) tail: Tail,
    pub(crate) reads: Reads,
    pub(crate) since: Time,
}

impl Leading {
    /// A leadership that begins after a log which ends at `last`.
    pub(crate) fn new(me: NodeId, membership: &Membership, last: Index, now: Time) -> Self {
        let mut leading = Self {
            peers: Vec::new(),
            me: u8::MAX,
            commit_incoming: 0,
            commit_outgoing: 0,
            first_own: last.next(),
            since: now,
            dirty: true,
            leaving: false,
            retry_at: Alarm::NEVER,
            retry_fresh: false,
            check_at: Alarm::NEVER,
            transfer: None,
            tail: Tail::after(last),
            reads: Reads::default(),
        };
        leading.reconfigure(me, membership, last);
        leading
    }

    /// Follows a new configuration: newcomers are probed, the others keep their progress.
    pub(crate) fn reconfigure(&mut self, me: NodeId, membership: &Membership, last: Index) {
        let mut old = core::mem::take(&mut self.peers);
        self.peers = membership
            .members()
            .iter()
            .map(
                |member| match old.iter().position(|progress| progress.node == member.node) {
                    Some(at) => {
                        let mut progress = old.swap_remove(at);
                        progress.incoming = member.votes_incoming();
                        progress.outgoing = member.outgoing.is_some();
                        progress
                    }
                    None => Progress::new(member, last),
                },
            )
            .collect();
        for mut progress in old {
            if progress.node != me && !progress.departing {
                progress.incoming = false;
                progress.outgoing = false;
                progress.departing = true;
                self.peers.push(progress);
            }
        }
        let me = self.peers.iter().position(|progress| progress.node == me);
        let small = |size: usize| u8::try_from(size).expect("bounded by MEMBERS_MAX");
        self.me = me.map_or(u8::MAX, small);
        self.commit_incoming = small(membership.quorum().commit());
        let outgoing = membership.outgoing_quorum();
        self.commit_outgoing = outgoing.map_or(0, |quorum| small(quorum.commit()));
        self.reads.forget_lease();
        self.dirty = true;
    }

    pub(crate) fn peer(&mut self, node: NodeId) -> Option<&mut Progress> {
        self.peers.iter_mut().find(|progress| progress.node == node)
    }

    /// This node's own progress, when it is a member.
    #[inline]
    pub(crate) fn own(&mut self) -> Option<&mut Progress> {
        self.peers.get_mut(usize::from(self.me))
    }

    /// The highest index that a commit quorum holds, when it is above `commit`; otherwise something not above
    /// `commit`. Some member's `matched` rose to `matched`; nobody else's changed since the last call.
    #[inline]
    pub(crate) fn committed(&self, matched: Index, commit: Index) -> Index {
        if self.commit_outgoing == 0 {
            let mut above = 0;
            let mut there = 0;
            for progress in self.peers.iter().filter(|progress| progress.incoming) {
                let held = progress.held();
                above += u8::from(held > commit);
                there += u8::from(held >= matched);
            }
            if above < self.commit_incoming {
                return commit;
            }
            if there == self.commit_incoming && matched >= self.first_own {
                return matched;
            }
        }
        self.quorum_of(|_, progress| progress.held())
    }

    /// The value that a commit quorum (of each half) has reached.
    pub(crate) fn quorum_of(&self, value: impl Fn(usize, &Progress) -> Index) -> Index {
        let mut held = [Index(0); VOTERS_MAX];
        let mut count = 0;
        for (at, progress) in self.peers.iter().enumerate() {
            if progress.incoming {
                held[count] = value(at, progress);
                count += 1;
            }
        }
        let incoming = committed(&mut held[..count], usize::from(self.commit_incoming));
        if self.commit_outgoing == 0 {
            return incoming;
        }
        count = 0;
        for (at, progress) in self.peers.iter().enumerate() {
            if progress.outgoing {
                held[count] = value(at, progress);
                count += 1;
            }
        }
        incoming.min(committed(
            &mut held[..count],
            usize::from(self.commit_outgoing),
        ))
    }

    /// The highest round of read confirmations that a commit quorum has answered.
    pub(crate) fn confirmed_round(&self) -> u64 {
        let round = self.reads.round();
        self.quorum_of(|at, progress| {
            Index(if at == usize::from(self.me) {
                round
            } else {
                progress.confirmed()
            })
        })
        .0
    }
}

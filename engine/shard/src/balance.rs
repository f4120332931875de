//! Leadership goes back to where the layout wants it, and away from a node whose log has no room.
//!
//! - Only a graceful transfer is ever asked for, to a node that lacks little of the group's log; whether it succeeds
//!   is the group's own matter.
//! - The node that is to lead must have been alive for a while, so that one that comes and goes gets nothing, and
//!   must have room.
//! - At most a share of the core's groups moves at once: a node that returns is given its leaderships soon, and
//!   without a storm. A group that moved rests, and so does, shorter, one that did not.

use raft::effects::Role;
use raft::ids::{NodeId, Time};

use crate::peers::Peers;
use crate::replica::Replica;
use crate::setup::Setup;

/// How long the node that is to lead must have been alive.
const STEADY_NS: u64 = 1_000_000_000;
/// Between two looks while nothing is to be moved; otherwise every beat brings one.
const PAUSE_NS: u64 = 1_000_000_000;
/// Entries that the next leader may lack when it is asked.
const LAG_MAX: u64 = 64;
/// One in so many of a core's groups moves at once, and a few in any case.
const SHARE: usize = 100;
/// The same where this node cannot serve them at all.
const SHARE_FULL: usize = 10;
const MOVES_MIN: usize = 4;
/// How long a group stays where it was moved.
const REST_NS: u64 = 300_000_000_000;
/// When a group that did not move, or was only got rid of, may be asked again.
const RETRY_NS: u64 = 10_000_000_000;

/// One per shard.
#[derive(Debug, Default)]
pub struct Balance {
    /// Groups that were asked to move and are not known to have moved or stayed.
    moving: Vec<(u32, Time)>,
    /// By group: not to be moved before.
    resting: Vec<Time>,
    next: Time,
    cursor: usize,
}

impl Balance {
    /// Which groups should be handed to whom. To be called at every beat; `is_full` when this node's log has no room.
    pub fn wanted<M>(
        &mut self,
        replicas: &[Replica<M>],
        peers: &Peers,
        setup: &Setup,
        is_full: bool,
        now: Time,
    ) -> Vec<(u32, NodeId)> {
        self.resting.resize(replicas.len(), Time(0));
        self.settle(replicas, setup, is_full, now);
        if now < self.next && !is_full {
            return Vec::new();
        }
        let share = replicas.len() / if is_full { SHARE_FULL } else { SHARE };
        let most = share.max(MOVES_MIN).saturating_sub(self.moving.len());
        let mut wanted = Vec::new();
        let first = self.cursor;
        for step in 0..replicas.len() {
            if wanted.len() == most {
                break;
            }
            let slot = (first + step) % replicas.len();
            let replica = &replicas[slot];
            if replica.raft.role() != Role::Leader || now < self.resting[slot] {
                continue;
            }
            let is_fit = |node: NodeId| {
                peers.is_steady(node, now, STEADY_NS) && lag(replica, node) <= LAG_MAX
            };
            let preferred = setup.preferred(replica.group);
            let target = if is_full {
                setup
                    .by_rank(replica.group)
                    .find(|node| *node != setup.node && is_fit(*node))
            } else {
                Some(preferred).filter(|node| *node != setup.node && is_fit(*node))
            };
            if let Some(target) = target {
                let slot_number = slot as u32;
                wanted.push((slot_number, target));
                self.moving.push((slot_number, now));
                // Asked once; if nothing comes of it, not again at once.
                self.resting[slot] = now.plus(RETRY_NS);
                self.cursor = slot + 1;
            }
        }
        if self.moving.is_empty() {
            self.next = now.plus(PAUSE_NS);
        }
        wanted
    }

    /// What became of those that were asked.
    fn settle<M>(&mut self, replicas: &[Replica<M>], setup: &Setup, is_full: bool, now: Time) {
        let resting = &mut self.resting;
        self.moving.retain(|&(slot, asked_at)| {
            let has_moved = replicas[slot as usize].raft.role() != Role::Leader;
            if has_moved && !is_full {
                resting[slot as usize] = now.plus(REST_NS);
            }
            // A transfer ends by itself after an election timeout.
            !has_moved && now.since(asked_at) <= 2 * setup.election_timeout
        });
    }
}

/// Entries that a node lacks, as its leader knows.
fn lag<M>(replica: &Replica<M>, node: NodeId) -> u64 {
    let last = replica.raft.last_index().0;
    let peer = replica.raft.peers().find(|peer| peer.node == node);
    peer.map_or(u64::MAX, |peer| last.saturating_sub(peer.matched.0))
}

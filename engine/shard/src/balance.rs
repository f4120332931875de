//! Leadership goes back to where the layout wants it, a few groups at a time.
//!
//! - Only a graceful transfer is ever asked for; whether it succeeds is the group's own matter.
//! - The preferred node must have been alive for a while, so that a node that comes and goes gets nothing.
//! - A group is not asked again before a pause has passed.

use raft::effects::Role;
use raft::ids::{NodeId, Time};

use crate::peers::Peers;
use crate::replica::Replica;
use crate::setup::Setup;

/// How long the preferred node must have been alive.
const STEADY_NS: u64 = 2_000_000_000;
/// Between two looks at the groups.
const PAUSE_NS: u64 = 1_000_000_000;
/// Transfers asked for at one look.
const TRANSFERS_MAX: usize = 16;

/// One per shard.
#[derive(Debug, Default)]
pub struct Balance {
    next: Time,
    cursor: usize,
}

impl Balance {
    /// Which groups should be handed to whom; at most a few, at most once per pause.
    pub fn wanted<M>(
        &mut self,
        replicas: &[Replica<M>],
        peers: &Peers,
        setup: &Setup,
        now: Time,
    ) -> Vec<(u32, NodeId)> {
        if now < self.next {
            return Vec::new();
        }
        self.next = now.plus(PAUSE_NS);
        let mut wanted = Vec::new();
        for step in 0..replicas.len() {
            let slot = (self.cursor + step) % replicas.len();
            let replica = &replicas[slot];
            let preferred = setup.preferred(replica.group);
            let leads = replica.raft.role() == Role::Leader && preferred != setup.node;
            if leads && peers.is_steady(preferred, now, STEADY_NS) {
                wanted.push((slot as u32, preferred));
            }
            if wanted.len() == TRANSFERS_MAX {
                self.cursor = slot + 1;
                break;
            }
        }
        wanted
    }
}

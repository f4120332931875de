//! Bytes that a core holds in memory for others, by what they are held for.
//!
//! - Counted where they are held, not by the allocator: what a holder costs besides its bytes is not in it, nor are the state
//!   machines, which count themselves, and what the doors keep (receive buffers, blocks of the log).
//! - Each of them has a bound in `limits`.

use net::transport::Transport;
use raft::state_machine::StateMachine;
use wal::Device;

use crate::shard::Shard;

/// Of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Entries of all groups, from being proposed until they are applied, durable, and not wanted by a follower.
    pub windows: usize,
    /// Bodies of requests that wait to be proposed or confirmed.
    pub waiting: usize,
    /// Entries of the past that peers sent and that wait for others before them.
    pub recalled: usize,
    /// Envelopes that wait because a peer's connection is full.
    pub outboxes: usize,
}

impl Memory {
    /// All of it.
    #[must_use]
    pub const fn total(self) -> usize {
        self.windows + self.waiting + self.recalled + self.outboxes
    }
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// What this core holds in memory.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let replicas = self.replicas.iter();
        let requests = replicas.flat_map(|one| one.waiting.iter().chain(&one.waiting_reads));
        Memory {
            windows: self.replicas.iter().map(|one| one.window.bytes()).sum(),
            waiting: requests.map(|request| request.payload.len()).sum(),
            recalled: self.recalls.bytes(),
            outboxes: self.peers.iter().map(|peer| peer.outbox_bytes()).sum(),
        }
    }
}

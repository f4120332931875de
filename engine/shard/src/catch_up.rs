//! Entries that left memory, read back from the log for a follower that lags.
//!
//! - A bounded number of reads is in flight; a message that finds no room is given back to the core,
//!   which asks again later.
//! - A message leaves only when every byte of it is in hand.

use raft::ids::NodeId;
use raft::message::Message;
use rustc_hash::FxHashMap;

use crate::limits;

/// Reads in flight; one per shard.
#[derive(Debug, Default)]
pub struct CatchUp {
    next_token: u64,
    waiting: FxHashMap<u64, Waiting>,
    /// Peers and groups whose message was given back to the core.
    given_back: Vec<(NodeId, u32)>,
}

/// A message that waits for its bytes.
#[derive(Debug)]
pub struct Waiting {
    /// To whom.
    pub to: NodeId,
    /// Of which group.
    pub slot: u32,
    /// The message.
    pub message: Message,
}

impl CatchUp {
    /// Nothing waits for its bytes, and nobody for room to ask.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.given_back.is_empty()
    }

    /// May another read be started?
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.waiting.len() < limits::CATCH_UP_READS_MAX
    }

    /// Remembers a message; its bytes will be asked for under the returned token.
    pub fn wait(&mut self, waiting: Waiting) -> u64 {
        self.next_token += 1;
        self.waiting.insert(self.next_token, waiting);
        self.next_token
    }

    /// Remembers that a message was given back, so that the core is told when it may ask again.
    pub fn gave_back(&mut self, to: NodeId, slot: u32) {
        if !self.given_back.contains(&(to, slot)) {
            self.given_back.push((to, slot));
        }
    }

    /// Whose turn it is to ask again: as many as there is room for.
    pub fn may_ask_again(&mut self) -> Vec<(NodeId, u32)> {
        let room = limits::CATCH_UP_READS_MAX.saturating_sub(self.waiting.len());
        let count = room.min(self.given_back.len());
        self.given_back.drain(..count).collect()
    }

    /// Takes the message whose read is done.
    pub fn done(&mut self, token: u64) -> Option<Waiting> {
        self.waiting.remove(&token)
    }
}

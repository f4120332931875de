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

    /// Takes the message whose read is done.
    pub fn done(&mut self, token: u64) -> Option<Waiting> {
        self.waiting.remove(&token)
    }
}

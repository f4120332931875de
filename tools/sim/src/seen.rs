//! What the judges saw of a replica: the numbers of its agreement, as they were when it was last touched.
//!
//! - Two looks at one replica are the same look if all numbers are equal.

use raft::effects::Role;
use raft::ids::NodeId;
use shard::replica::Replica;

/// One per replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its term.
    pub(crate) term: u64,
    /// Its role.
    pub(crate) role: Role,
    /// Whom it voted for in it.
    pub(crate) vote: Option<NodeId>,
    /// What it takes for committed.
    pub(crate) commit: u64,
    /// What it applied.
    pub(crate) applied: u64,
    /// Its last entry.
    pub(crate) last: u64,
    /// The last that its agreement knows to be durable.
    pub(crate) durable: u64,
    /// What the turn takes for durable.
    pub(crate) held: u64,
    /// Term and vote are durable.
    pub(crate) keeps_vote: bool,
    /// Where its configuration stands.
    pub(crate) configuration: u64,
}

impl Seen {
    /// As it stands.
    pub(crate) fn of<M>(replica: &Replica<M>) -> Self {
        let raft = &replica.raft;
        Self {
            term: raft.term().0,
            role: raft.role(),
            vote: raft.vote(),
            commit: replica.commit.0,
            applied: replica.applied.0,
            last: raft.last_index().0,
            durable: raft.durable().0,
            held: replica.durable.0,
            configuration: raft.membership_index().0,
            keeps_vote: raft.keeps_term_and_vote(),
        }
    }

    /// The name of the first number that differs.
    pub(crate) fn first_other(&self, other: &Self) -> Option<&'static str> {
        let numbers = [
            ("term", self.term == other.term),
            ("role", self.role == other.role),
            ("vote", self.vote == other.vote),
            ("commit index", self.commit == other.commit),
            ("applied index", self.applied == other.applied),
            ("last index", self.last == other.last),
            ("durable index", self.durable == other.durable),
            ("durable index of the core", self.held == other.held),
            ("configuration", self.configuration == other.configuration),
            ("promise", self.keeps_vote == other.keeps_vote),
        ];
        numbers
            .iter()
            .find(|(_, is_equal)| !is_equal)
            .map(|(what, _)| *what)
    }
}

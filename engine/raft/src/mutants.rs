//! Faults that tests plant into the core to show that they would be noticed.
//!
//! - Compiled in under the feature `mutants` alone; a production build has no such branch.
//! - Every fault here is caught by a test of this crate: by an exhaustive search of `tests/model.rs`, except for
//!   `StaleAcknowledgement` and `CommitUnverified`, whose schedules are longer than a search goes and are written
//!   down there, and the two faults of bounded staleness, which need clocks: `tests/freshness.rs`.

use crate::quorum_read::QuorumRead;
use crate::raft::Raft;

impl Raft {
    /// From here on the replica goes wrong in this way.
    pub fn plant(&mut self, mutant: Mutant) {
        self.config.mutant = Some(mutant);
    }
}

impl QuorumRead {
    /// From here on the read goes wrong in this way.
    pub fn plant(&mut self, mutant: Mutant) {
        self.mutant = Some(mutant);
    }
}

impl Raft {
    pub(crate) fn is_mutant(&self, mutant: Mutant) -> bool {
        self.config.mutant == Some(mutant)
    }
}

/// A known way of getting Raft wrong: what the replica does, and what that breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// The leader lowers the commit quorum to one by itself: what it alone holds is lost with it.
    CommitQuorumLowered,
    /// Votes, and the candidate's own, leave before they are durable: after a crash a term has two leaders.
    VoteBeforeDurable,
    /// Followers acknowledge entries before they are durable: after a crash a committed entry is nowhere.
    AcknowledgeBeforeDurable,
    /// A late completion for an overwritten entry acknowledges what replaced it, which may never be written.
    StaleAcknowledgement,
    /// Entries of earlier terms are committed by counting: a later leader overwrites them (Raft paper, figure 8).
    CommitOldTerms,
    /// Votes are given without comparing logs: a leader lacks what is committed.
    VoteForAnyLog,
    /// Quorum sizes are changed in one step whether or not they meet the old ones, and in any order: a majority
    /// of the old configuration elects a leader without the commits of the new one.
    IncompatibleQuorumStep,
    /// A configuration is proposed while the one before is not committed, or before an own entry is: two
    /// configurations that need not meet are both in use.
    OverlappingChanges,
    /// Reads are answered from the commit index without a round: a deposed leader answers with the past.
    ReadWithoutRound,
    /// A quorum read asks `voters - commit + 1` voters, not as many as an election: it misses writes while the
    /// commit size is being lowered. Planted into `QuorumRead`.
    ReadQuorumTooSmall,
    /// Replicas that lost acknowledged entries vote: they help a leader that lacks them.
    DamagedVotes,
    /// A voter gives its vote of a term to whoever asks.
    SecondVote,
    /// One vote less than an election quorum wins.
    ElectedByTooFew,
    /// A follower takes its leader's commit index for its own, whether or not its log is the leader's so far.
    CommitUnverified,
    /// Entries are taken behind an entry of another term.
    LogUnchecked,
    /// A new leader answers reads from the commit index that it came with.
    ReadBeforeOwnEntry,
    /// A leader states how far it has committed without a round or lease: a deposed one states the past.
    ClosedWithoutRound,
    /// Statements of the leader's clock are read as if clocks did not drift.
    DriftForgotten,
}

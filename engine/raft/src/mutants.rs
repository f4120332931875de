//! Faults that tests plant into the core to show that they would be noticed.
//!
//! - Compiled in under the feature `mutants` alone; a production build has no such branch.

use crate::raft::Raft;

impl Raft {
    /// From here on the replica goes wrong in this way.
    pub fn plant(&mut self, mutant: Mutant) {
        self.config.mutant = Some(mutant);
    }
}

impl Raft {
    pub(crate) fn is_mutant(&self, mutant: Mutant) -> bool {
        self.config.mutant == Some(mutant)
    }
}

/// A known way of getting Raft wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// The leader lowers the commit quorum to one by itself.
    CommitQuorumLowered,
    /// Votes, and the candidate's own, leave before they are durable.
    VoteBeforeDurable,
    /// Followers acknowledge entries before they are durable.
    AcknowledgeBeforeDurable,
    /// A late completion for an overwritten entry acknowledges what replaced it.
    StaleAcknowledgement,
    /// Entries of earlier terms are committed by counting.
    CommitOldTerms,
    /// Votes are given without comparing logs.
    VoteForAnyLog,
    /// Quorum sizes are changed in one step whether or not they meet the old ones.
    IncompatibleQuorumStep,
    /// A configuration is proposed while the one before is not committed, or before an own entry is.
    OverlappingChanges,
    /// Reads are answered from the commit index without a round.
    ReadWithoutRound,
    /// Damaged replicas vote.
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
}

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
}

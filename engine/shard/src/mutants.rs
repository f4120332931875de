//! Faults that tests plant into the turn to show that they would be noticed.
//!
//! - Without the feature `mutants` the question is a constant: a production build has no such branch.

#![cfg_attr(
    not(feature = "mutants"),
    expect(unreachable_pub, reason = "whoever plants a fault names it")
)]

use raft::ids::NodeId;
use sealed::Codec;

use crate::past::History;

/// A known way of getting a turn wrong; the core has its own in `raft::mutants`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// Groups are told that their promises are kept when the log has only taken them.
    PersistedBeforeDurable,
    /// A log that failed is not asked how it is: a core with nothing to write goes on.
    FailureUnnoticed,
    /// A promise vouches for the commit index, whether or not the entries stand before it.
    PromiseVouchesForAll,
    /// Term and vote are not written.
    PromiseUnwritten,
    /// Recovery finds the term and not the vote.
    VoteForgotten,
    /// A leader applies, and answers, what is only in its log.
    AppliesUncommitted,
    /// Recovery takes all that is in the log for committed.
    RecoversUncommitted,
    /// Recovery applies the newest committed entry twice.
    AppliedTwiceAfterRestart,
    /// A write that was superseded meanwhile counts all the same.
    CutForgotten,
    /// Now and then a request goes to the neighbouring group.
    WrongGroup,
    /// A confirmed read is answered before its index is applied.
    ReadsTooEarly,
    /// A deposed leader says that nothing was done of what is in its log.
    DeposedRefuses,
    /// A long append leaves out an entry in the middle.
    EntrySkipped,
    /// The log is given up before its entries are sealed.
    GivenUpUnsealed,
    /// What is applied and durable stays in memory.
    NothingTrimmed,
    /// Every other node seals with a codec of its own.
    SealedByTaste,
    /// Now and then an entry is sealed under another operation.
    SealedOtherwise,
    /// Of a group's history now and then an entry is told with a byte that it does not have.
    HistoryToldOtherwise,
}

#[cfg(feature = "mutants")]
mod planted {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// From here on the shards of this thread go wrong in this way; `None`: in no way.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
    }

    pub(crate) fn is_planted(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub(crate) use planted::is_planted;
#[cfg(feature = "mutants")]
pub use planted::plant;

/// Nothing is planted where nothing can be.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn is_planted(_mutant: Mutant) -> bool {
    false
}

/// How a node seals: as it is told.
pub(crate) fn taste(history: &History, node: NodeId) -> History {
    let mut history = *history;
    if is_planted(Mutant::SealedByTaste) && node.0.is_multiple_of(2) {
        history.codec = match history.codec {
            Codec::Plain => Codec::Lz4,
            _ => Codec::Plain,
        };
    }
    history
}

//! Faults that tests plant into the log to show that they would be noticed.
//!
//! - Without the feature `mutants` the question is a constant: a production build has no such branch.

#![cfg_attr(
    not(feature = "mutants"),
    expect(unreachable_pub, reason = "whoever plants a fault names it")
)]

/// A known way of getting a log wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A record is called durable as soon as it is appended.
    DurableWhenAppended,
    /// A write that the disk refused for good counts as done.
    FailedWriteTakenAsDone,
    /// What a crash left of a block is taken for the block.
    TornTailAccepted,
    /// Payloads are shown without looking at their checksum.
    ChecksumNotVerified,
    /// The record that begins a segment is forgotten.
    LostOnRotation,
    /// A log that is opened again goes on one page too early.
    TailOverwritten,
    /// Damage in the middle of the log is taken for its end.
    CutsAtDamage,
    /// A file is used again at once, before a durable block says that nobody needs it.
    RetiredTooEarly,
}

#[cfg(feature = "mutants")]
mod planted {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// From here on the logs of this thread go wrong in this way; `None`: in no way.
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

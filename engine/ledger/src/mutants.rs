//! Faults that tests plant into the books to show that they would be noticed.
//!
//! - Without the feature `mutants` the question is a constant: a production build has no such branch.

#![cfg_attr(
    not(feature = "mutants"),
    expect(unreachable_pub, reason = "whoever plants a fault names it")
)]

/// A known way of getting books wrong, the same way at every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A transfer whose id is known is done again.
    DuplicateAccepted,
    /// An id that failed may be used again.
    FailedIdForgotten,
    /// The limit of an account is not asked for.
    OverdraftAllowed,
    /// A large transfer is credited nowhere.
    CreditForgotten,
    /// A resolved reservation is not given back.
    ReservationKept,
    /// What a broken chain did stays done.
    ChainNotRolledBack,
    /// Time is what the leader says, even when it goes back.
    TimestampFromClock,
    /// Reservations never expire.
    ExpiryForgotten,
    /// Ids that come with an image are not known afterwards.
    IdsNotRestored,
}

#[cfg(feature = "mutants")]
mod planted {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// From here on the ledgers of this thread go wrong in this way; `None`: in no way.
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

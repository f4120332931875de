//! The list of faults in the code under test that the exam plants, each with seeds that catch it.
//!
//! - Empty without the feature `mutants`.

use crate::exam::Candidate;

/// All of them that a cluster of fixed members can reach.
#[cfg(not(feature = "mutants"))]
pub(crate) fn candidates() -> Vec<Candidate> {
    Vec::new()
}

#[cfg(feature = "mutants")]
pub(crate) use list::candidates;

#[cfg(feature = "mutants")]
mod list {
    use ledger::mutants::Mutant as B;
    use raft::mutants::Mutant as C;
    use shard::mutants::Mutant as T;
    use wal::mutants::Mutant as L;

    use super::Candidate;
    use crate::plan::Mutant::{self, Books, Consensus, Log, Turn};
    use crate::plan::Planted;

    /// Name, fault, seeds that catch it.
    type Row = (&'static str, Mutant, &'static [u64]);

    const ROWS: &[Row] = &[
        (
            "consensus-votes-before-durable",
            Consensus(C::VoteBeforeDurable),
            &[],
        ),
        (
            "consensus-acknowledges-before-durable",
            Consensus(C::AcknowledgeBeforeDurable),
            &[],
        ),
        (
            "consensus-takes-a-stale-completion",
            Consensus(C::StaleAcknowledgement),
            &[],
        ),
        (
            "consensus-commits-old-terms-by-counting",
            Consensus(C::CommitOldTerms),
            &[],
        ),
        (
            "consensus-votes-for-any-log",
            Consensus(C::VoteForAnyLog),
            &[],
        ),
        (
            "consensus-reads-without-a-round",
            Consensus(C::ReadWithoutRound),
            &[],
        ),
        (
            "consensus-lowers-its-commit-quorum",
            Consensus(C::CommitQuorumLowered),
            &[],
        ),
        ("consensus-votes-twice", Consensus(C::SecondVote), &[]),
        (
            "consensus-counts-members-wrong",
            Consensus(C::ElectedByTooFew),
            &[],
        ),
        (
            "consensus-commits-what-it-did-not-compare",
            Consensus(C::CommitUnverified),
            &[],
        ),
        (
            "consensus-takes-entries-unchecked",
            Consensus(C::LogUnchecked),
            &[],
        ),
        (
            "consensus-reads-before-an-own-entry",
            Consensus(C::ReadBeforeOwnEntry),
            &[],
        ),
        (
            "turn-promises-before-durable",
            Turn(T::PersistedBeforeDurable),
            &[],
        ),
        (
            "turn-does-not-notice-a-failed-log",
            Turn(T::FailureUnnoticed),
            &[],
        ),
        (
            "turn-vouches-for-what-is-not-written",
            Turn(T::PromiseVouchesForAll),
            &[],
        ),
        ("turn-does-not-write-votes", Turn(T::PromiseUnwritten), &[]),
        (
            "turn-forgets-votes-at-a-restart",
            Turn(T::VoteForgotten),
            &[],
        ),
        (
            "turn-replies-before-commit",
            Turn(T::AppliesUncommitted),
            &[],
        ),
        (
            "turn-recovers-what-is-not-committed",
            Turn(T::RecoversUncommitted),
            &[],
        ),
        (
            "turn-applies-twice-after-a-restart",
            Turn(T::AppliedTwiceAfterRestart),
            &[],
        ),
        ("turn-does-not-honour-cuts", Turn(T::CutForgotten), &[]),
        ("turn-takes-the-wrong-group", Turn(T::WrongGroup), &[]),
        ("turn-reads-too-early", Turn(T::ReadsTooEarly), &[]),
        (
            "turn-refuses-what-may-have-happened",
            Turn(T::DeposedRefuses),
            &[],
        ),
        (
            "turn-skips-an-entry-of-an-append",
            Turn(T::EntrySkipped),
            &[],
        ),
        (
            "log-is-durable-when-appended",
            Log(L::DurableWhenAppended),
            &[],
        ),
        (
            "log-takes-failed-writes-for-done",
            Log(L::FailedWriteTakenAsDone),
            &[],
        ),
        ("log-accepts-a-torn-tail", Log(L::TornTailAccepted), &[]),
        (
            "log-does-not-verify-checksums",
            Log(L::ChecksumNotVerified),
            &[],
        ),
        (
            "log-loses-a-record-at-rotation",
            Log(L::LostOnRotation),
            &[],
        ),
        ("log-overwrites-its-tail", Log(L::TailOverwritten), &[]),
        ("log-cuts-at-damage", Log(L::CutsAtDamage), &[]),
        ("books-accept-a-duplicate", Books(B::DuplicateAccepted), &[]),
        ("books-forget-failed-ids", Books(B::FailedIdForgotten), &[]),
        ("books-allow-overdrafts", Books(B::OverdraftAllowed), &[]),
        ("books-forget-a-credit", Books(B::CreditForgotten), &[]),
        ("books-keep-a-reservation", Books(B::ReservationKept), &[]),
        ("books-keep-half-a-chain", Books(B::ChainNotRolledBack), &[]),
        (
            "books-take-time-from-the-clock",
            Books(B::TimestampFromClock),
            &[],
        ),
        ("books-never-expire", Books(B::ExpiryForgotten), &[]),
    ];

    pub(crate) fn candidates() -> Vec<Candidate> {
        let rows = ROWS.iter().map(|(name, mutant, seeds)| Candidate {
            name,
            planted: Planted {
                mutant: Some(*mutant),
                ..Planted::default()
            },
            seeds,
            is_harmless: false,
        });
        rows.collect()
    }
}

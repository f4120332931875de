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
    use cold::mutants::Mutant as S;
    use ledger::mutants::Mutant as B;
    use raft::mutants::Mutant as C;
    use shard::mutants::Mutant as T;
    use wal::mutants::Mutant as L;

    use super::Candidate;
    use crate::plan::Mutant::{self, Books, Consensus, Log, Stored, Turn};
    use crate::plan::Planted;

    /// Name, fault, seeds that catch it.
    type Row = (&'static str, Mutant, &'static [u64]);

    const ROWS: &[Row] = &[
        (
            "consensus-votes-before-durable",
            Consensus(C::VoteBeforeDurable),
            &[0],
        ),
        (
            "consensus-acknowledges-before-durable",
            Consensus(C::AcknowledgeBeforeDurable),
            &[1],
        ),
        (
            "consensus-takes-a-stale-completion",
            Consensus(C::StaleAcknowledgement),
            &[2],
        ),
        (
            "consensus-commits-old-terms-by-counting",
            Consensus(C::CommitOldTerms),
            &[0],
        ),
        (
            "consensus-votes-for-any-log",
            Consensus(C::VoteForAnyLog),
            &[2],
        ),
        (
            "consensus-reads-without-a-round",
            Consensus(C::ReadWithoutRound),
            &[2],
        ),
        (
            "consensus-lowers-its-commit-quorum",
            Consensus(C::CommitQuorumLowered),
            &[2],
        ),
        ("consensus-votes-twice", Consensus(C::SecondVote), &[7]),
        (
            "consensus-counts-members-wrong",
            Consensus(C::ElectedByTooFew),
            &[0],
        ),
        (
            "consensus-commits-what-it-did-not-compare",
            Consensus(C::CommitUnverified),
            &[10],
        ),
        (
            "consensus-takes-entries-unchecked",
            Consensus(C::LogUnchecked),
            &[4],
        ),
        (
            "consensus-reads-before-an-own-entry",
            Consensus(C::ReadBeforeOwnEntry),
            &[4],
        ),
        (
            "consensus-overlaps-configurations",
            Consensus(C::OverlappingChanges),
            &[1_000_093],
        ),
        ("turn-seals-by-taste", Turn(T::SealedByTaste), &[5]),
        ("turn-seals-otherwise", Turn(T::SealedOtherwise), &[1]),
        (
            "turn-tells-a-history-otherwise",
            Turn(T::HistoryToldOtherwise),
            &[0],
        ),
        (
            "turn-promises-before-durable",
            Turn(T::PersistedBeforeDurable),
            &[7],
        ),
        (
            "turn-does-not-notice-a-failed-log",
            Turn(T::FailureUnnoticed),
            &[3],
        ),
        (
            "turn-vouches-for-what-is-not-written",
            Turn(T::PromiseVouchesForAll),
            &[16],
        ),
        ("turn-does-not-write-votes", Turn(T::PromiseUnwritten), &[0]),
        (
            "turn-forgets-votes-at-a-restart",
            Turn(T::VoteForgotten),
            &[0],
        ),
        (
            "turn-replies-before-commit",
            Turn(T::AppliesUncommitted),
            &[0],
        ),
        (
            "turn-recovers-what-is-not-committed",
            Turn(T::RecoversUncommitted),
            &[0],
        ),
        (
            "turn-applies-twice-after-a-restart",
            Turn(T::AppliedTwiceAfterRestart),
            &[0],
        ),
        (
            "turn-does-not-honour-cuts",
            Turn(T::CutForgotten),
            &[1_000_095],
        ),
        ("turn-takes-the-wrong-group", Turn(T::WrongGroup), &[0]),
        ("turn-reads-too-early", Turn(T::ReadsTooEarly), &[1]),
        (
            "turn-refuses-what-may-have-happened",
            Turn(T::DeposedRefuses),
            &[8],
        ),
        (
            "turn-skips-an-entry-of-an-append",
            Turn(T::EntrySkipped),
            &[0],
        ),
        (
            "turn-gives-up-what-is-not-sealed",
            Turn(T::GivenUpUnsealed),
            &[1],
        ),
        (
            "turn-keeps-what-nobody-waits-for",
            Turn(T::NothingTrimmed),
            &[2],
        ),
        (
            "log-is-durable-when-appended",
            Log(L::DurableWhenAppended),
            &[7],
        ),
        (
            "log-takes-failed-writes-for-done",
            Log(L::FailedWriteTakenAsDone),
            &[3],
        ),
        ("log-accepts-a-torn-tail", Log(L::TornTailAccepted), &[4]),
        (
            "log-does-not-verify-checksums",
            Log(L::ChecksumNotVerified),
            &[24],
        ),
        (
            "log-loses-a-record-at-rotation",
            Log(L::LostOnRotation),
            &[1],
        ),
        ("log-overwrites-its-tail", Log(L::TailOverwritten), &[0]),
        ("log-ends-at-damage", Log(L::CutsAtDamage), &[0]),
        (
            "books-accept-a-duplicate",
            Books(B::DuplicateAccepted),
            &[0],
        ),
        ("books-forget-failed-ids", Books(B::FailedIdForgotten), &[0]),
        ("books-allow-overdrafts", Books(B::OverdraftAllowed), &[0]),
        ("books-forget-a-credit", Books(B::CreditForgotten), &[0]),
        ("books-keep-a-reservation", Books(B::ReservationKept), &[0]),
        (
            "books-keep-half-a-chain",
            Books(B::ChainNotRolledBack),
            &[0],
        ),
        (
            "books-take-time-from-the-clock",
            Books(B::TimestampFromClock),
            &[1],
        ),
        ("books-never-expire", Books(B::ExpiryForgotten), &[0]),
        (
            "books-forget-ids-with-an-image",
            Books(B::IdsNotRestored),
            &[1],
        ),
        (
            "store-makes-nonces-of-the-index-alone",
            Stored(S::NonceOfIndexAlone),
            &[1],
        ),
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

//! Faults in the code under test, planted for one run.
//!
//! - Faults of the log, the turn, the books and the store belong to the thread that runs the seed; those of the consensus core to
//!   each of its replicas.

use crate::plan::Planted;

/// From here on the code under test goes wrong in this way, and in no other.
#[cfg(feature = "mutants")]
pub(crate) fn plant(planted: &Planted) {
    use crate::plan::Mutant;

    wal::mutants::plant(match planted.mutant {
        Some(Mutant::Log(mutant)) => Some(mutant),
        _ => None,
    });
    shard::mutants::plant(match planted.mutant {
        Some(Mutant::Turn(mutant)) => Some(mutant),
        _ => None,
    });
    ledger::mutants::plant(match planted.mutant {
        Some(Mutant::Books(mutant)) => Some(mutant),
        _ => None,
    });
    cold::mutants::plant(match planted.mutant {
        Some(Mutant::Stored(mutant)) => Some(mutant),
        _ => None,
    });
}

/// Nothing can be planted.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn plant(_planted: &Planted) {}

//! The exam: known-bad variants, each of which some seed must catch; what is harmless must not be taken for bad.

use sim::exam::{candidates, sit};

/// Seeds within which a planted fault must be caught.
const SEEDS: u64 = 40;

#[test]
fn what_is_planted_from_outside_is_caught() {
    let outside = candidates()
        .into_iter()
        .filter(|candidate| !candidate.name.starts_with("consensus-"));
    for candidate in outside {
        let mark = sit(candidate, SEEDS);
        assert!(
            mark.is_passed(),
            "{} after {} seeds: {:?}",
            mark.candidate.name,
            mark.seeds,
            mark.verdict
        );
    }
}

//! The exam: known-bad variants, each of which a seed that is known for it must catch, or one of a few others; what is
//! harmless must not be taken for bad.

use sim::exam::{candidates, sit};

/// Seeds that are tried behind the known ones.
const OTHERS: u64 = 40;
/// Variants that the exam has at least.
const CANDIDATES_MIN: usize = 36;

#[test]
fn everything_bad_that_is_planted_is_caught() {
    let candidates = candidates();
    assert!(candidates.len() >= CANDIDATES_MIN, "{}", candidates.len());
    // Planted faults fail assertions too: that is a way of being caught, and no news.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let marks: Vec<_> = candidates
        .into_iter()
        .map(|candidate| sit(candidate, OTHERS))
        .collect();
    std::panic::set_hook(usual);
    let failed: Vec<_> = marks
        .iter()
        .filter(|mark| !mark.is_passed())
        .map(|mark| (mark.candidate.name, mark.seeds, &mark.verdict))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

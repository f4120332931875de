//! The exam: known-bad variants, each of which a seed that is known for it must catch, or one of a few others; what is
//! harmless must not be taken for bad.

use sim::exam::{candidates, sit};
use sim::faults::Kind;
use sim::plan::{Asked, Mutant, Planted};
use sim::run;
use sim::topology::Topology;
use sim::verdict::Broken;

use crate::seeds::asked;

/// Seeds that are tried behind the known ones.
const OTHERS: u64 = 40;
/// Seeds of which one shows the false alarm; which one changes with the worlds that are drawn.
const FALSE_ALARMS: std::ops::Range<u64> = 0..80;
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

/// The power must go while the block that frees a file and the first block in that file are both in flight: that takes
/// disks that stand still, which the exam's worlds seldom have.
#[test]
fn a_file_of_the_log_that_is_used_again_too_early_is_a_false_alarm() {
    let mut asked = asked(3, 12);
    asked.topology = Topology::one_site("three", 3, 2);
    asked.faults = vec![Kind::Power, Kind::Blackout, Kind::StallDisk, Kind::SlowDisk];
    (asked.cores, asked.rate) = (Some(1), Some(400));
    (asked.all_on, asked.is_storm) = (true, true);
    let planted = Asked {
        planted: Planted {
            mutant: Some(Mutant::Log(wal::mutants::Mutant::RetiredTooEarly)),
            ..Planted::default()
        },
        ..asked.clone()
    };
    let alarms = |seed: &u64| {
        let broken = run::run(*seed, &planted).broken;
        matches!(broken, Some(Broken::FalseAlarm { .. }))
    };
    let caught = FALSE_ALARMS
        .clone()
        .find(alarms)
        .expect("some seed shows it");
    assert_eq!(run::run(caught, &asked).broken, None, "seed {caught}");
}

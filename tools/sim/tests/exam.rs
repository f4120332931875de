//! The exam: known-bad variants, planted from outside, each of which some seed must catch.

use sim::chronicle::Flaw;
use sim::plan::Planted;
use sim::run;
use sim::verdict::Broken;

use crate::seeds::asked;

/// Seeds within which a planted fault must be caught.
const SEEDS: u64 = 20;

/// Plants a fault and answers the first verdict, with the number of seeds it took.
fn first_verdict(planted: Planted, seconds: u64) -> Option<(Broken, u64)> {
    let mut asked = asked(3, seconds);
    asked.planted = planted;
    (0..SEEDS).find_map(|seed| Some((run::run(seed, &asked).broken?, seed + 1)))
}

fn caught(flaw: Flaw) -> Broken {
    let planted = Planted {
        flaw,
        ..Planted::default()
    };
    first_verdict(planted, 4)
        .unwrap_or_else(|| panic!("{flaw:?} was not caught in {SEEDS} seeds"))
        .0
}

#[test]
fn a_machine_that_applies_twice_is_caught() {
    assert!(matches!(caught(Flaw::Twice(7)), Broken::OtherDigest { .. }));
}

#[test]
fn a_machine_that_skips_an_entry_is_caught() {
    assert!(matches!(caught(Flaw::Skips(7)), Broken::OtherDigest { .. }));
}

#[test]
fn a_machine_that_asks_its_own_clock_is_caught() {
    assert!(matches!(
        caught(Flaw::OwnClock(7)),
        Broken::OtherDigest { .. }
    ));
}

#[test]
fn a_machine_that_reads_from_elsewhere_is_caught() {
    assert!(matches!(
        caught(Flaw::EmptyReads(5)),
        Broken::ReadWrong { .. }
    ));
}

#[test]
fn a_disk_that_lies_is_caught() {
    let planted = Planted {
        lost_write_one_in: Some(20),
        ..Planted::default()
    };
    let verdict = first_verdict(planted, 10);
    assert!(
        verdict.is_some(),
        "lost writes were not noticed in {SEEDS} seeds"
    );
}

#[test]
fn clients_that_say_everything_twice_break_nothing() {
    let planted = Planted {
        stutter: true,
        ..Planted::default()
    };
    assert_eq!(first_verdict(planted, 4), None);
}

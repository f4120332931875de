//! Shrinking: a failing run becomes smaller and fails in the same way; a run that keeps all promises is not shrunk.

use sim::chronicle::Flaw;
use sim::run;
use sim::shrink::shrink;

use crate::seeds::asked;

#[test]
fn a_failing_run_loses_what_it_does_not_need() {
    let mut asked = asked(5, 8);
    asked.planted.flaw = Flaw::Twice(7);
    let shrunk = shrink(3, &asked).expect("the planted fault shows");
    assert_eq!(shrunk.asked.only_faults, Some(vec![]), "it needs no fault");
    assert_eq!(shrunk.asked.topology.nodes(), 3);
    assert_eq!(shrunk.asked.topology.clusters[0].groups, 1);
    assert!(shrunk.asked.faulty_ns < asked.faulty_ns);
    let again = run::run(3, &shrunk.asked);
    assert_eq!(again.broken, shrunk.outcome.broken, "it replays");
}

#[test]
fn a_run_that_keeps_all_promises_is_not_shrunk() {
    assert!(shrink(3, &asked(3, 2)).is_none());
}

#[test]
fn a_fault_that_is_left_out_changes_no_other() {
    let mut asked = asked(3, 8);
    let drawn = run::run(5, &asked).numbers.drawn;
    assert!(drawn > 1);
    for number in 0..drawn {
        asked.only_faults = Some(vec![number]);
        let alone = run::run(5, &asked).numbers;
        assert_eq!(alone.drawn, drawn, "the others are drawn as before");
        assert!(alone.faults.values().sum::<u64>() <= 1);
    }
}

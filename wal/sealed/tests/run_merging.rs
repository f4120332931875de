//! A merge of runs is the run of all their entries, byte by byte, and sets answer over all their runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use sealed::{Direction, Duplicates, Merge, MergeError, RunReader, RunSet};

use crate::support::{Dice, file, run};

fn merged(runs: &[Arc<RunReader<u128, Vec<u8>>>], budget: usize) -> Vec<u8> {
    let mut merge = Merge::new(runs).expect("runs of one index");
    let mut out = Vec::new();
    let mut before = 0;
    while !merge.step(budget, &mut out).expect("sound runs") {
        assert!(out.len() - before <= budget + 8_192, "a slice is bounded");
        before = out.len();
    }
    assert_eq!(merge.summary().bytes, out.len() as u64);
    out
}

#[test]
fn a_merge_is_the_run_of_all_entries() {
    for duplicates in [Duplicates::Once, Duplicates::Many] {
        let mut dice = Dice::new(11);
        let mut all: Vec<(u128, u64)> = Vec::new();
        let mut runs = Vec::new();
        for part in 0..5_u64 {
            let entries: Vec<(u128, u64)> = (0..3_000 * (part + 1))
                .map(|_| (u128::from(dice.below(20_000)) << 70, dice.below(50)))
                .collect();
            all.extend(&entries);
            runs.push(Arc::new(run(duplicates, &entries)));
        }
        let expected = file(duplicates, &all, 1 << 20);
        assert!(merged(&runs, 1 << 20) == expected);
        assert!(merged(&runs, 100) == expected);
        runs.reverse();
        assert!(merged(&runs, 7_777) == expected);
    }
}

#[test]
fn runs_of_different_indexes_are_not_merged() {
    let entries = [(1_u128, 1)];
    let once = Arc::new(run(Duplicates::Once, &entries));
    let many = Arc::new(run(Duplicates::Many, &entries));
    let merge = |runs: &[_]| Merge::new(runs).err();
    assert_eq!(
        merge(&[Arc::clone(&once), many]),
        Some(MergeError::Strangers)
    );
    assert_eq!(merge(&[]), Some(MergeError::Nothing));
    let many_runs: Vec<_> = (0..257).map(|_| Arc::clone(&once)).collect();
    assert_eq!(merge(&many_runs), Some(MergeError::TooMany { given: 257 }));
}

#[test]
fn a_damaged_run_ends_the_merge_with_its_name() {
    let mut dice = Dice::new(12);
    let entries: Vec<(u128, u64)> = (0..2_000).map(|n| (dice.wide(), n)).collect();
    let sound = Arc::new(run(Duplicates::Once, &entries));
    for block in [0, 3] {
        let mut bytes = file(Duplicates::Once, &entries, 1 << 20);
        bytes[block * 4_096 + 1_000] ^= 1;
        let damaged = Arc::new(RunReader::open(bytes).expect("blocks are checked when read"));
        match Merge::new(&[Arc::clone(&sound), damaged]) {
            Err(error) => {
                assert!(matches!(error, MergeError::Damaged { run: 1, .. }) && block == 0)
            }
            Ok(mut merge) => {
                let mut out = Vec::new();
                let damage = loop {
                    match merge.step(1_000, &mut out) {
                        Ok(done) => assert!(!done, "the damage is found"),
                        Err(damage) => break damage,
                    }
                };
                assert_eq!(damage.offset, block as u64 * 4_096);
            }
        }
    }
}

#[test]
fn a_set_answers_over_all_its_runs() {
    let mut dice = Dice::new(13);
    let mut set = RunSet::new();
    let mut model: BTreeSet<(u128, u64)> = BTreeSet::new();
    assert!(!set.may_contain(0));
    for part in 0..6_u64 {
        let entries: Vec<(u128, u64)> = (0..2_000)
            .map(|n| (u128::from(dice.below(300) * 2), part * 1_500 + n))
            .collect();
        model.extend(&entries);
        set.push(Arc::new(run(Duplicates::Many, &entries)));
        compare(&set, &model);
    }
    let file = merged(&set.runs()[1..4], 50_000);
    set.replace(
        1..4,
        Some(Arc::new(RunReader::open(file).expect("a merged run"))),
    );
    assert_eq!(set.runs().len(), 4);
    compare(&set, &model);
}

fn compare(set: &RunSet<u128, Vec<u8>>, model: &BTreeSet<(u128, u64)>) {
    let keys: Vec<u128> = (0..620).collect();
    let mut maybe = Vec::new();
    set.sift(&keys, &mut maybe);
    let each: Vec<usize> = (0..keys.len())
        .filter(|n| set.may_contain(keys[*n]))
        .collect();
    assert_eq!(maybe, each, "in a batch as one by one");
    for (nth, key) in keys.iter().enumerate() {
        let mut values = model.range((*key, 0)..=(*key, u64::MAX)).map(|e| e.1);
        assert!(maybe.binary_search(&nth).is_ok() || values.clone().next().is_none());
        assert_eq!(set.get(*key), Ok(values.next()), "{key}");
    }
    for (key, from) in [(0, 0), (10, 1_400), (10, 3_000), (11, 0), (598, 9_000)] {
        let mut found = vec![1];
        set.range(key, from, Direction::Ascending, 9, &mut found)
            .expect("sound");
        let expected = model.range((key, from)..=(key, u64::MAX)).map(|e| e.1);
        assert_eq!(found[1..], expected.take(9).collect::<Vec<_>>());
        let mut found = Vec::new();
        set.range(key, from, Direction::Descending, 9, &mut found)
            .expect("sound");
        let expected = model.range((key, 0)..=(key, from)).rev().map(|e| e.1);
        assert_eq!(found, expected.take(9).collect::<Vec<_>>());
    }
}

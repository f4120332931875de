//! Runs answer what a sorted list would, whatever their keys look like and however they were built.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sealed::{Direction, Duplicates, Key, RunBuilder, RunReader};

use crate::support::{Dice, file, run, spec};

/// Compares a run of one value a key with a map.
fn check_once<K: Key>(entries: &[(K, u64)], absent: &[K]) {
    let mut model: BTreeMap<K, u64> = BTreeMap::new();
    for (key, value) in entries {
        let least = model.entry(*key).or_insert(*value);
        *least = (*least).min(*value);
    }
    let run = run(Duplicates::Once, entries);
    assert_eq!(run.entries(), model.len() as u64);
    assert_eq!(run.keys(), model.len() as u64);
    let all: Result<Vec<_>, _> = run.iter().collect();
    let expected: Vec<_> = model.iter().map(|(key, value)| (*key, *value)).collect();
    assert_eq!(all.as_deref(), Ok(&expected[..]));
    for key in entries
        .iter()
        .map(|entry| entry.0)
        .chain(absent.iter().copied())
    {
        assert_eq!(run.get(key), Ok(model.get(&key).copied()), "{key:?}");
        assert!(run.may_contain(key) || !model.contains_key(&key));
    }
}

#[test]
fn keys_of_all_shapes_are_found() {
    let mut dice = Dice::new(1);
    let random: Vec<(u128, u64)> = (0..30_000).map(|n| (dice.wide(), n)).collect();
    let absent: Vec<u128> = (0..30_000).map(|_| dice.wide()).collect();
    check_once(&random, &absent);
    let rising: Vec<(u128, u64)> = (0..50_000_u64)
        .map(|n| (u128::from(n / 10) << 80 | u128::from(n) << 20, n))
        .collect();
    check_once(&rising, &[0, 1, u128::MAX]);
    let narrow: Vec<(u64, u64)> = (0..20_000).map(|n| (dice.roll(), n)).collect();
    check_once(&narrow, &[0, 7, u64::MAX]);
    let dense: Vec<(u64, u64)> = (0..20_000).rev().map(|n| (n, n)).collect();
    check_once(&dense, &[20_000, u64::MAX]);
    check_once(&[(u128::MAX, u64::MAX), (0, 0)], &[1, u128::MAX - 1]);
    check_once(&[(5_u64, 1)], &[4, 6]);
}

/// Compares the values of keys in both directions with a sorted set.
fn check_many(entries: &[(u128, u64)], keys: &[u128], froms: &[u64], limits: &[usize]) {
    let model: BTreeSet<(u128, u64)> = entries.iter().copied().collect();
    let run = run(Duplicates::Many, entries);
    assert_eq!(run.entries(), model.len() as u64);
    for key in keys {
        for from in froms {
            for limit in limits {
                let mut found = Vec::new();
                run.range(*key, *from, Direction::Ascending, *limit, &mut found)
                    .expect("a sound run");
                let expected = model.range((*key, *from)..=(*key, u64::MAX));
                let expected: Vec<u64> = expected.map(|e| e.1).take(*limit).collect();
                assert_eq!(found, expected, "{key} from {from} up, at most {limit}");
                found.clear();
                run.range(*key, *from, Direction::Descending, *limit, &mut found)
                    .expect("a sound run");
                let expected = model.range((*key, 0)..=(*key, *from)).rev();
                let expected: Vec<u64> = expected.map(|e| e.1).take(*limit).collect();
                assert_eq!(found, expected, "{key} from {from} down, at most {limit}");
            }
        }
        let least = model.range((*key, 0)..=(*key, u64::MAX)).next();
        assert_eq!(run.get(*key), Ok(least.map(|entry| entry.1)));
        let rest: Vec<_> = run
            .iter_from(*key)
            .expect("sound")
            .map(|e| e.expect("sound"))
            .collect();
        let expected: Vec<_> = model.range((*key, 0)..).copied().collect();
        assert!(rest == expected, "entries from {key} on");
    }
}

#[test]
fn the_values_of_a_key_come_in_both_directions() {
    let mut dice = Dice::new(2);
    // One busy key that fills many blocks and more than one partition's worth, many quiet ones around it.
    let busy = (0..40_000_u64).map(|n| (500_u128, n * 3));
    let quiet = (0..20_000_u64).map(|n| (u128::from(dice.below(1_000)), n * 7));
    let entries: Vec<_> = busy.chain(quiet).collect();
    let froms = [0, 1, 3, 59_997, 60_000, 119_997, 119_998, 139_993, u64::MAX];
    check_many(
        &entries,
        &[0, 1, 499, 500, 501, 999, 1_000],
        &froms,
        &[0, 1, 5, 1_000_000],
    );
}

#[test]
fn a_key_of_two_partitions_is_found_from_both() {
    // 8,000 keys, then one key over the end of the partition, then more.
    let mut entries: Vec<(u128, u64)> = (0..8_100).map(|n| (n, n as u64)).collect();
    entries.extend((0..30_000).map(|n| (8_100, n)));
    entries.extend((8_101..20_000).map(|n| (n, n as u64)));
    check_many(
        &entries,
        &[0, 8_099, 8_100, 8_101, 19_999, 20_000],
        &[0, 15_000, 29_999, u64::MAX],
        &[1, 40_000],
    );
}

#[test]
fn the_same_entries_give_the_same_bytes_in_any_order_and_slices() {
    let mut dice = Dice::new(3);
    let mut entries: Vec<(u128, u64)> = (0..60_000).map(|n| (dice.wide() >> 40, n)).collect();
    let expected = file(Duplicates::Many, &entries, 1 << 30);
    entries.sort_unstable();
    assert!(
        file(Duplicates::Many, &entries, 1) == expected,
        "sorted, small slices"
    );
    entries.reverse();
    assert!(
        file(Duplicates::Many, &entries, 5_000) == expected,
        "reversed"
    );
    for n in 0..entries.len() {
        let other = dice.below(entries.len() as u64) as usize;
        entries.swap(n, other);
    }
    assert!(
        file(Duplicates::Many, &entries, 1 << 16) == expected,
        "shuffled"
    );
}

#[test]
fn a_slice_is_bounded() {
    let mut dice = Dice::new(4);
    let mut builder = RunBuilder::<u128>::new(spec(Duplicates::Once), 100_000);
    for n in 0..100_000 {
        builder.push(dice.wide(), n).expect("there is room");
    }
    assert!(builder.push(1, 1).is_err(), "the bound of memory holds");
    let mut writing = builder.finish().expect("there are entries");
    let mut file = Vec::new();
    let mut largest = 0;
    loop {
        let before = file.len();
        let done = writing.step(10_000, &mut file);
        if done {
            break;
        }
        largest = largest.max(file.len() - before);
    }
    assert!(largest <= 10_000 + 4_096, "{largest} bytes in one slice");
    assert!(
        RunBuilder::<u64>::new(spec(Duplicates::Once), 1)
            .finish()
            .is_none()
    );
}

#[test]
fn filters_let_few_absent_keys_through() {
    let mut dice = Dice::new(5);
    let entries: Vec<(u128, u64)> = (0..100_000).map(|n| (dice.wide(), n)).collect();
    let run = run(Duplicates::Once, &entries);
    let through = (0..100_000)
        .filter(|_| run.may_contain(dice.wide()))
        .count();
    assert!(through < 600, "{through} of 100,000, 391 are expected");
    let bits = run.memory_bytes() * 8 / entries.len();
    assert!(bits < 13, "{bits} bits of memory for each key");
}

#[test]
fn a_run_of_another_width_is_refused() {
    let file = file(Duplicates::Once, &[(1_u64, 1)], 100);
    let refused = RunReader::<u128, _>::open(&file).err();
    assert_eq!(
        refused.map(|damage| damage.kind),
        Some(sealed::DamageKind::OtherKind)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn runs_agree_with_a_sorted_set(
        entries in prop::collection::vec((0_u128..40, 0_u64..2_000), 1..3_000),
        shift in 0_u32..120,
        from in 0_u64..2_000,
    ) {
        let entries: Vec<_> = entries.iter().map(|(key, value)| (key << shift, *value)).collect();
        let keys: Vec<u128> = (0..41).step_by(5).map(|key| key << shift).collect();
        check_many(&entries, &keys, &[from], &[3, 10_000]);
        check_once(&entries, &keys);
    }
}

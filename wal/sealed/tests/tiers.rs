//! Tiered merging keeps runs few and writes each entry few times.

use sealed::Tiers;

use crate::support::Dice;

const TIERS: Tiers = Tiers {
    fan: 4,
    first_entries: 100,
    entries_max: u64::MAX,
};

/// Adds runs one by one and merges until all is in order; answers runs at most, and entries written by merges.
fn drive(tiers: &Tiers, sizes: impl Iterator<Item = u64>) -> (usize, u64) {
    let (mut runs, mut runs_max, mut written) = (Vec::new(), 0, 0);
    for size in sizes {
        runs.push(size);
        while let Some(chosen) = tiers.plan(&runs) {
            assert!(chosen.len() == tiers.fan && chosen.end <= runs.len());
            let sum: u64 = runs[chosen.clone()].iter().sum();
            assert!(sum <= tiers.entries_max);
            written += sum;
            runs.splice(chosen, [sum]);
        }
        runs_max = runs_max.max(runs.len());
    }
    (runs_max, written)
}

#[test]
fn runs_of_one_size_become_few_and_are_written_once_a_tier() {
    let (runs, written) = drive(&TIERS, (0..4_096).map(|_| 90));
    // 4,096 is six tiers of four: three of each and the one to come.
    assert!(runs <= 3 * 6 + 1, "{runs} runs");
    assert_eq!(written, 6 * 4_096 * 90);
}

#[test]
fn runs_of_any_sizes_become_few() {
    for seed in 0..50 {
        let mut dice = Dice::new(seed);
        let sizes: Vec<u64> = (0..2_000).map(|_| 1 << dice.below(14)).collect();
        let total: u64 = sizes.iter().sum();
        let (runs, written) = drive(&TIERS, sizes.into_iter());
        assert!(runs <= 3 * 11, "{runs} runs, seed {seed}");
        assert!(written < total * 12, "{written} of {total}, seed {seed}");
    }
}

#[test]
fn a_merge_beyond_the_bound_is_not_made() {
    let tiers = Tiers {
        entries_max: 1_000,
        ..TIERS
    };
    drive(&tiers, (0..100).map(|_| 90));
    assert_eq!(tiers.plan(&[300; 4]), None);
    assert_eq!(
        tiers.plan(&[300, 300, 300, 300, 50, 50, 50, 50]),
        Some(4..8)
    );
    assert_eq!(tiers.plan(&[]), None);
    assert_eq!(
        TIERS.plan(&[u64::MAX; 4]),
        Some(0..4),
        "sums do not overflow"
    );
}

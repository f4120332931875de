//! Bytes of any kind, and sound files changed anywhere behind right checksums: no reader panics.

use std::sync::Arc;

use proptest::prelude::*;
use sealed::{Codec, DamageKind, Duplicates, Merge, Part, RunReader, check};

use crate::support::{Dice, entries, file, segment_file, segment_spec};

/// Changes some bytes, more often small fields than long stretches.
fn change(bytes: &mut [u8], changes: &[(u32, u8)]) {
    for (at, byte) in changes {
        // Half of the changes go to the last bytes, where lengths and numbers of parts are.
        let span = if at % 2 == 0 {
            bytes.len()
        } else {
            bytes.len().min(600)
        };
        let at = bytes.len() - 1 - (*at as usize / 2) % span;
        bytes[at] = *byte;
    }
}

fn changes() -> impl Strategy<Value = Vec<(u32, u8)>> {
    let byte = prop_oneof![any::<u8>(), Just(0), Just(1), Just(0x7F), Just(0xFF)];
    prop::collection::vec((any::<u32>(), byte), 1..6)
}

fn small_run(seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let entries: Vec<(u128, u64)> = (0..900)
        .map(|_| {
            (
                u128::from(dice.below(300)) << (seed % 100),
                dice.below(5_000),
            )
        })
        .collect();
    if seed.is_multiple_of(2) {
        return file(Duplicates::Many, &entries, 1 << 20);
    }
    let entries: Vec<_> = entries
        .iter()
        .map(|(key, value)| (*key as u64, *value))
        .collect();
    file(Duplicates::Once, &entries, 1 << 20)
}

fn small_segment(seed: u64) -> Vec<u8> {
    let codec = [Codec::Plain, Codec::Lz4, Codec::Zstd(1)][(seed % 3) as usize];
    let spec = segment_spec(codec, seed.is_multiple_of(2), 4 << 10);
    segment_file(&spec, &entries(seed, 1 + seed, 6), 1 << 20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bytes_of_any_kind_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..9_000)) {
        check::run(&bytes);
        check::segment(&bytes);
        check::reseal_run(&mut bytes);
        check::run(&bytes);
        check::reseal_segment(&mut bytes);
        check::segment(&bytes);
    }

    #[test]
    fn a_changed_run_behind_right_checksums_is_no_trap(seed in 0_u64..40, changes in changes()) {
        let mut bytes = small_run(seed);
        change(&mut bytes, &changes);
        check::reseal_run(&mut bytes);
        check::run(&bytes);
    }

    #[test]
    fn a_changed_segment_behind_right_checksums_is_no_trap(seed in 0_u64..40, changes in changes()) {
        let mut bytes = small_segment(seed);
        change(&mut bytes, &changes);
        check::reseal_segment(&mut bytes);
        check::segment(&bytes);
    }
}

#[test]
fn resealing_a_sound_file_changes_nothing() {
    for seed in 0..6 {
        let (run, segment) = (small_run(seed), small_segment(seed));
        let (mut resealed_run, mut resealed_segment) = (run.clone(), segment.clone());
        check::reseal_run(&mut resealed_run);
        check::reseal_segment(&mut resealed_segment);
        assert!(
            resealed_run == run && resealed_segment == segment,
            "seed {seed}"
        );
    }
}

#[test]
fn values_that_fall_over_the_end_of_a_block_are_named() {
    // One key over three blocks; the second block's least value is put back to 0, behind right checksums.
    let entries: Vec<(u128, u64)> = (0..4_000).map(|value| (1, 1_000 + value)).collect();
    let mut bytes = file(Duplicates::Many, &entries, 1 << 20);
    bytes[4_096 + 4_072..4_096 + 4_080].fill(0);
    check::reseal_run(&mut bytes);
    check::run(&bytes);
    let run = Arc::new(RunReader::<u128, _>::open(bytes).expect("the index does not tell"));
    let found = run
        .iter()
        .find_map(Result::err)
        .expect("the order is broken");
    assert_eq!(
        (found.part, found.kind),
        (Part::Block(1), DamageKind::Contradiction)
    );
    let mut merge = Merge::new(&[run]).expect("the first block is sound");
    let mut out = Vec::new();
    let ended = (0..100).find_map(|_| merge.step(10_000, &mut out).err());
    assert_eq!(ended, Some(found));
}

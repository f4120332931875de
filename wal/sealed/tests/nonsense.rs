//! Bytes of any kind, and sound files changed anywhere behind right checksums: no reader panics.

use proptest::prelude::*;
use sealed::{Codec, check};

use crate::support::{entries, segment_file, segment_spec};

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

fn small_segment(seed: u64) -> Vec<u8> {
    let codec = [Codec::Plain, Codec::Lz4, Codec::Zstd(1)][(seed % 3) as usize];
    let spec = segment_spec(codec, seed.is_multiple_of(2), 4 << 10);
    segment_file(&spec, &entries(seed, 1 + seed, 6), 1 << 20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bytes_of_any_kind_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..9_000)) {
        check::segment(&bytes);
        check::reseal_segment(&mut bytes);
        check::segment(&bytes);
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
        let segment = small_segment(seed);
        let mut resealed = segment.clone();
        check::reseal_segment(&mut resealed);
        assert!(resealed == segment, "seed {seed}");
    }
}

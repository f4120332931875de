//! The checks of hostile bytes, driven by dice; the fuzz targets in `engine/ledger/fuzz` drive the same ones.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::hostile::{check_chapter, check_image, check_instruction, sample};

/// Runs a check on random bytes of random length, of which the first is below `first`.
fn drive(seed: u64, times: usize, length_max: u64, check: fn(&[u8])) {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..times {
        let length = 1 + dice.next_u64() % length_max;
        let mut input = vec![0; length as usize];
        dice.fill_bytes(&mut input);
        check(&input);
    }
}

#[test]
fn no_image_with_sound_checksums_panics() {
    drive(1, 1_500, 40, check_image);
}

#[test]
fn no_chapter_with_sound_checksums_panics() {
    drive(2, 1_500, 40, check_chapter);
}

#[test]
fn no_request_panics() {
    let mut dice = ChaCha8Rng::seed_from_u64(3);
    for operation in 0..=255_u8 {
        for bytes in [0, 16, 32, 64, 128, 256, 384, 100] {
            let mut input = vec![operation; 1 + bytes];
            for byte in &mut input[1..] {
                // Mostly zeros, or nothing would get past the first rule.
                *byte = if dice.next_u32() % 8 == 0 {
                    dice.next_u32() as u8 % 4
                } else {
                    0
                };
            }
            check_instruction(&input);
        }
    }
}

#[test]
fn the_sample_has_a_bit_of_everything() {
    let (ledger, chapters, image) = sample();
    let audit = ledger.audit();
    assert!(chapters.len() == 2 && image.len() > 1_000);
    assert!(audit.pendings_open.get() > 0 && audit.ids_spent.get() == 1);
}

//! The readers of this crate under random bytes; the fuzz targets in `engine/shard/fuzz` call the same checks.

use shard::hostile::{check_record, check_sessions};

/// Bytes that are mostly zero or small, as accepted ones are; else nothing would get past the first rule.
fn bytes(dice: &mut u64, length: usize) -> Vec<u8> {
    let byte = |dice: &mut u64| {
        *dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        match *dice >> 60 {
            0..11 => 0,
            11..15 => (*dice >> 40) as u8 % 4,
            _ => (*dice >> 48) as u8,
        }
    };
    (0..length).map(|_| byte(dice)).collect()
}

#[test]
fn no_record_panics() {
    let mut dice = 1;
    for length in 0..200 {
        for _ in 0..30 {
            let record = bytes(&mut dice, length);
            let bulk = bytes(&mut dice, length % 17);
            check_record(&record, &bulk);
        }
    }
}

#[test]
fn no_sessions_of_an_image_panic() {
    let mut dice = 2;
    for length in 0..300 {
        for cut in [1, 7, 40, 300] {
            check_sessions(&bytes(&mut dice, length), cut);
        }
    }
    // Two sessions with replies of three bytes, as an image has them.
    let row = |client: u8, session: u8, used_at: u8| {
        let mut row = [0; 40];
        (row[0], row[16], row[20], row[24], row[32]) = (client, session, 1, used_at, 3);
        [&row[..], b"abc"].concat()
    };
    let mut sound = vec![2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    sound.extend(row(1, 1, 5));
    sound.extend(row(2, 2, 6));
    for at in 0..sound.len() {
        for bit in 0..8 {
            let mut damaged = sound.clone();
            damaged[at] ^= 1 << bit;
            check_sessions(&damaged, 1 + at % 50);
            check_sessions(&damaged[..at], 13);
        }
    }
    check_sessions(&sound, 9);
}

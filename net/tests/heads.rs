//! Heads of frames: arbitrary bytes never panic, and whatever is accepted encodes to the same bytes again.

use std::cell::Cell;

use net::hostile::{check_envelope, check_head, check_stream};
use proptest::prelude::*;

/// Bytes that are mostly zero or small, as accepted heads are; else nothing would ever be accepted.
fn bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => Just(0u8), 2 => 0..4u8, 1 => any::<u8>()];
    proptest::collection::vec(byte, len)
}

fn any_length() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..200)
}

#[test]
fn accepted_heads_are_canonical() {
    let accepted = Cell::new(0);
    let config = ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let lengths = prop_oneof![
        bytes(16),
        bytes(32),
        bytes(40),
        bytes(48),
        bytes(64),
        any_length()
    ];
    proptest::test_runner::TestRunner::new(config)
        .run(&lengths, |head| {
            accepted.set(accepted.get() + check_head(&head));
            Ok(())
        })
        .expect("no case fails");
    let accepted = accepted.get();
    assert!(
        accepted > 100,
        "{accepted} heads were accepted: the test reaches what it tests"
    );
}

#[test]
fn accepted_envelopes_are_canonical() {
    let accepted = Cell::new(0);
    let config = ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // A count, then entries with lengths that sometimes fit.
    let length = || prop_oneof![4 => Just(0u32), 2 => 1..20u32, 1 => any::<u32>()];
    let entry = (any::<u64>(), length(), length(), 0..3usize);
    let parts = (
        0..4u32,
        proptest::collection::vec(entry, 0..4),
        0..30usize,
        any::<[u8; 32]>(),
    );
    proptest::test_runner::TestRunner::new(config)
        .run(&parts, |(count, entries, bulk_len, beat)| {
            let honest = count == 0;
            let mut head = beat.to_vec();
            let count = if honest { entries.len() as u32 } else { count };
            head.extend(count.to_le_bytes());
            head.extend([0; 12]);
            let mut bulk_sum = 0;
            for (group, message_len, entry_bulk_len, blocks) in entries {
                head.extend(group.to_le_bytes());
                head.extend(message_len.to_le_bytes());
                head.extend(entry_bulk_len.to_le_bytes());
                let message_len = if honest {
                    message_len as usize % 1000
                } else {
                    blocks * 16
                };
                head.extend(vec![7; message_len]);
                head.resize(head.len().next_multiple_of(16), 0);
                bulk_sum += entry_bulk_len as usize % 1000;
            }
            let bulk_len = if honest { bulk_sum } else { bulk_len };
            accepted.set(
                accepted.get() + usize::from(check_envelope(head.into(), vec![9; bulk_len].into())),
            );
            Ok(())
        })
        .expect("no case fails");
    let accepted = accepted.get();
    assert!(
        accepted > 100,
        "{accepted} envelopes were accepted: the test reaches what it tests"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_stream_of_frames_panics(
        header in proptest::array::uniform32(prop_oneof![4 => Just(0u8), 1 => any::<u8>()]),
        rest in any_length(),
        cut in 1..80_usize,
    ) {
        // A header with the right beginning and the right sum: its fields are what is wrong.
        let mut bytes = [0; net::limits::HEADER_BYTES];
        bytes[..32].copy_from_slice(&header);
        bytes[..4].copy_from_slice(&net::frame::MAGIC);
        let sum_at = net::frame::HEADER_CRC_AT;
        let sum = net::checksum::crc(&bytes[..sum_at]);
        bytes[sum_at..].copy_from_slice(&sum.to_le_bytes());
        check_stream(&[&bytes[..], &rest].concat(), cut);
        check_stream(&rest, cut);
    }
}

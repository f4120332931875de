//! Heads of frames: arbitrary bytes never panic, and whatever is accepted encodes to the same bytes again.

use std::cell::Cell;

use bytes::Bytes;
use net::checksum::crc;
use net::envelope::{Envelope, EnvelopeBuilder};
use net::frame::Kind;
use net::handshake::{Hello, Welcome};
use net::inspect::{InspectHead, ReportHead};
use net::refusal::Refusal;
use net::request::{ReplyHead, RequestHead};
use net::transport::Frame;
use proptest::prelude::*;

/// Bytes that are mostly zero or small, as accepted heads are; else nothing would ever be accepted.
fn bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => Just(0u8), 2 => 0..4u8, 1 => any::<u8>()];
    proptest::collection::vec(byte, len)
}

fn any_length() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..200)
}

/// Decodes, and checks that what was accepted is canonical.
fn check(head: &[u8]) -> usize {
    let again = [
        Hello::decode(head).ok().map(|hello| hello.encode().head),
        Welcome::decode(head)
            .ok()
            .map(|welcome| welcome.encode().head),
        Refusal::decode(head)
            .ok()
            .map(|refusal| refusal.encode().head),
        RequestHead::decode(head)
            .ok()
            .map(|request| request.encode().to_vec()),
        ReplyHead::decode(head)
            .ok()
            .map(|reply| reply.encode().to_vec()),
        InspectHead::decode(head)
            .ok()
            .map(|inspect| inspect.encode().to_vec()),
        ReportHead::decode(head)
            .ok()
            .map(|report| report.encode().to_vec()),
    ];
    let accepted = again.iter().flatten();
    accepted.clone().for_each(|again| assert_eq!(again, head));
    accepted.count()
}

fn check_envelope(head: Vec<u8>, bulk: Vec<u8>) -> bool {
    let bulk_crc = crc(&bulk);
    let frame = Frame {
        kind: Kind::ENVELOPE,
        head: head.into(),
        bulk: bulk.into(),
        bulk_crc,
        began_at: 0,
        arrived_at: 0,
    };
    let Ok(envelope) = Envelope::parse(&frame) else {
        return false;
    };
    let mut builder = EnvelopeBuilder::new();
    builder.begin(envelope.beat);
    for letter in envelope.letters() {
        let sum = crc(&letter.bulk);
        assert!(builder.push(letter.group, &letter.message, [(letter.bulk, sum)]));
    }
    let again = builder.finish();
    assert_eq!(
        (Bytes::from(again.head), Bytes::from(again.bulk.concat())),
        (frame.head, frame.bulk)
    );
    assert_eq!(again.bulk_crc, bulk_crc);
    true
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
            accepted.set(accepted.get() + check(&head));
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
            accepted.set(accepted.get() + usize::from(check_envelope(head, vec![9; bulk_len])));
            Ok(())
        })
        .expect("no case fails");
    let accepted = accepted.get();
    assert!(
        accepted > 100,
        "{accepted} envelopes were accepted: the test reaches what it tests"
    );
}

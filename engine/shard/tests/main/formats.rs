//! The worked examples of docs/formats-shard.md, written and read back byte for byte.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::effects::HardState;
use raft::ids::{EntryId, Index, NodeId, Term};
use raft::membership::Membership;
use raft::message::{Append, Body, Message, Runs};
use shard::entry::{Entry, EntryHead};
use shard::manifest::{FileId, Manifest};
use shard::packet;
use shard::promise::{Base, Promise};
use shard::receipt::Receipt;
use zerocopy::IntoBytes;

const FOLDER: &str = include_str!("../../../../docs/formats-folder.md");
const DOCUMENT: &str = include_str!("../../../../docs/formats-shard.md");

/// The bytes of the block of hex that follows the heading.
fn example(heading: &str) -> Vec<u8> {
    example_of(DOCUMENT, heading)
}

fn example_of(document: &str, heading: &str) -> Vec<u8> {
    let after = document
        .split(heading)
        .nth(1)
        .expect("the heading is there");
    let block = after
        .split("```hex\n")
        .nth(1)
        .expect("an example follows it");
    let text = block.split("```").next().expect("the block ends");
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex"))
        .collect()
}

#[test]
fn the_receipt_of_the_example() {
    let bytes = example("## Receipt");
    let receipt = Receipt::new(1, (10, 12), 3, 2, [7; 32]);
    assert_eq!(receipt.as_bytes(), bytes);
    assert_eq!(Receipt::parse(&bytes), Some(receipt));
    assert_eq!(receipt.stretch(), (1, 12));
    let wrong = [(0, 0), (0, 11), (8, 13), (16, 9), (40, 1)];
    for (at, value) in wrong {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        assert_eq!(Receipt::parse(&bytes), None, "byte {at} is {value}");
    }
    assert_eq!(Receipt::parse(&bytes[1..]), None);
}

fn head() -> EntryHead {
    EntryHead::command(Index(6), 0x1234, 0x77, 9, 147)
}

fn message() -> (Message, Entry) {
    let mut runs = Runs::default();
    runs.push(EntryId {
        term: Term(2),
        index: Index(7),
    });
    let append = Append {
        prev: EntryId {
            term: Term(2),
            index: Index(6),
        },
        last: Index(7),
        runs,
        commit: Index(6),
        round: 0,
        reply: true,
        repaired: false,
        configurations: raft::rare::Rare::new(),
    };
    let payload = Bytes::from_static(b"abc");
    let entry = Entry {
        index: Index(7),
        term: Term(2),
        head: head(),
        payload_crc: crc32fast::hash(&payload),
        payload,
    };
    (
        Message {
            term: Term(2),
            body: Body::Append(append),
        },
        entry,
    )
}

#[test]
fn the_entry_head_is_as_drawn() {
    let bytes = example("## Entry head");
    assert_eq!(head().as_bytes(), bytes, "{:02x?}", head().as_bytes());
    assert_eq!(
        EntryHead::parse(&bytes).expect("readable").as_bytes(),
        bytes
    );
}

#[test]
fn the_promise_is_as_drawn() {
    let bytes = example("## Promise");
    let state = HardState {
        term: Term(3),
        vote: Some(NodeId(2)),
    };
    let promise = Promise {
        state,
        commit: Index(6),
        ..Promise::default()
    };
    let mut written = Vec::new();
    promise.encode(&mut written);
    assert_eq!(written, bytes, "{written:02x?}");
    assert_eq!(Promise::parse(&bytes), Ok(promise));
}

#[test]
fn the_promise_with_a_base_is_as_drawn() {
    let promise = Promise {
        state: HardState {
            term: Term(3),
            vote: Some(NodeId(2)),
        },
        commit: Index(6),
        base: Some(Base {
            last: EntryId {
                term: Term(2),
                index: Index(5),
            },
            digest: 0xab,
            is_fetched: true,
        }),
        ..Promise::default()
    };
    let mut written = Vec::new();
    promise.encode(&mut written);
    let bytes = example("and the log begins behind entry 5");
    assert_eq!(written, bytes, "{written:02x?}");
    assert_eq!(Promise::parse(&bytes), Ok(promise));
}

#[test]
fn the_manifest_is_as_drawn() {
    let voters = [NodeId(1), NodeId(2), NodeId(3)];
    let manifest = Manifest {
        group: 3,
        last: EntryId {
            term: Term(4),
            index: Index(90),
        },
        digest: 0x1234,
        membership: Membership::of_voters(&voters).expect("three voters"),
        image: FileId {
            length: 99,
            hash: 0x11,
        },
        chapters: vec![FileId {
            length: 7,
            hash: 0x22,
        }],
        sealed: Vec::new(),
    };
    let (written, digest) = manifest.encode();
    let bytes = example_of(FOLDER, "Group 3 at entry 90");
    assert_eq!(written, bytes, "{written:02x?}");
    assert_eq!(Manifest::parse(&bytes), Ok((manifest, digest)));
}

#[test]
fn the_packet_is_as_drawn() {
    let bytes = example("## Packet");
    let (message, entry) = message();
    let mut written = Vec::new();
    packet::encode(&message, [&entry].into_iter(), &mut written);
    assert_eq!(written, bytes, "{written:02x?}");
    let mut entries = VecDeque::new();
    assert_eq!(
        packet::decode(&bytes, &entry.payload, &mut entries),
        Ok(message)
    );
    assert_eq!(entries[0].payload, entry.payload);
}

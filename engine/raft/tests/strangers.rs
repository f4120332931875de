//! Well-formed messages that no faithful peer would send: random ones, with numbers close to each other.

use proptest::prelude::*;
use raft::ids::{EntryId, Index, NodeId, Term};
use raft::message::{Append, AppendOutcome, Body, Message, Runs};
use raft::wire::encode;

use crate::bytes::body;
use crate::chaos::cases;
use crate::stranger::{self, Stranded};

/// Small numbers: they meet what the replica holds.
fn near() -> impl Strategy<Value = EntryId> {
    (0..6_u64, 0..12_u64).prop_map(|(term, index)| EntryId {
        term: Term(term),
        index: Index(index),
    })
}

fn near_append() -> impl Strategy<Value = Body> {
    let runs = proptest::collection::vec((1..4_u64, 1..3_u64), 0..=2);
    (near(), runs, 0..20_u64, any::<[bool; 2]>()).prop_map(
        |(prev, runs, commit, [reply, repaired])| {
            let mut list = Runs::default();
            let mut last = prev;
            for (entries, terms) in runs {
                let term = Term(last.term.0 + terms);
                list.push(EntryId {
                    term,
                    index: last.index.next(),
                });
                last = EntryId {
                    term,
                    index: Index(last.index.0 + entries),
                };
            }
            Body::Append(Append {
                prev,
                last: last.index,
                runs: list,
                commit: Index(commit),
                round: commit,
                reply,
                repaired,
                configurations: Default::default(),
            })
        },
    )
}

fn near_reply() -> impl Strategy<Value = Body> {
    (near(), near(), any::<[bool; 2]>()).prop_map(|(one, hint, [accepted, damaged])| {
        let outcome = if accepted {
            AppendOutcome::Accepted { matched: one.index }
        } else {
            AppendOutcome::Rejected {
                prev: one.index,
                hint,
            }
        };
        Body::AppendReply(raft::message::AppendReply {
            outcome,
            commit: hint.index,
            round: one.term.0,
            damaged,
        })
    })
}

fn message() -> impl Strategy<Value = Message> {
    let bodies = prop_oneof![
        4 => near_append(),
        2 => near_reply(),
        1 => any::<bool>().prop_map(|granted| Body::VoteReply { granted }),
        1 => near().prop_map(|last| Body::Vote { last, transfer: true }),
        1 => body(),
    ];
    (0..8_u64, bodies).prop_map(|(term, body)| Message {
        term: Term(term),
        body,
    })
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn no_message_makes_a_replica_panic(
        frames in proptest::collection::vec((0..7_u32, any::<u8>(), message()), 1..40),
    ) {
        let mut stranded = Stranded::new();
        for (from, mood, message) in &frames {
            stranded.take(NodeId(*from), message, *mood);
        }
    }

    #[test]
    fn no_bytes_make_a_replica_panic(
        frames in proptest::collection::vec((any::<u8>(), any::<u8>(), message()), 1..40),
    ) {
        let mut bytes = Vec::new();
        for (from, mood, message) in &frames {
            let mut frame = Vec::new();
            encode(message, &mut frame);
            let length = frame.len().min(255);
            bytes.extend([*from, *mood, length as u8]);
            bytes.extend(&frame[..length]);
        }
        stranger::check(&bytes);
    }
}

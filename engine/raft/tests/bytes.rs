//! Messages and configurations as bytes: what goes in comes out, and nothing else comes in.

use proptest::prelude::*;
use raft::change::Change;
use raft::durability::Class;
use raft::ids::{EntryId, Index, NodeId, ReadId, Term};
use raft::membership::{Kind, Membership, Place};
use raft::message::{Append, AppendOutcome, AppendReply, Body, Message, Runs, Successors};
use raft::rare::Rare;
use raft::wire::{WireError, decode, encode};

use crate::chaos::cases;
use crate::codec::check;

fn id() -> impl Strategy<Value = EntryId> {
    (0..1000_u64, 0..1_000_000_u64).prop_map(|(term, index)| EntryId {
        term: Term(term),
        index: Index(index),
    })
}

fn membership() -> impl Strategy<Value = Membership> {
    let member = (1..20_u32, 0..3_u8, any::<u16>(), any::<u16>());
    let members = proptest::collection::btree_map(1..30_u32, member, 0..8);
    (members, any::<bool>(), any::<bool>(), any::<[u8; 4]>()).prop_map(
        |(members, joint, auto, [count, sites, regions, witnesses])| {
            let kind = |kind| [Kind::Voter, Kind::Witness, Kind::Learner][usize::from(kind)];
            let mut list: Vec<_> = members
                .iter()
                .map(|(id, (_, of, site, region))| {
                    (
                        NodeId(*id + 1),
                        kind(*of),
                        Place {
                            site: *site,
                            region: *region,
                        },
                    )
                })
                .collect();
            list.push((NodeId(1), Kind::Voter, Place::default()));
            let first = Membership::new(list, None).expect("a voter");
            let class = Class {
                count: count % 32,
                sites,
                regions,
                witnesses,
            };
            let first = first.with_classes(vec![class]).expect("a class");
            if !joint {
                return first;
            }
            let changes = [
                Change::voter(NodeId(40)),
                Change::Remove { node: NodeId(1) },
            ];
            let next = first.enter_joint(&changes, None, auto).expect("a voter");
            if count % 2 == 0 {
                next
            } else {
                next.leave_joint().expect("joint")
            }
        },
    )
}

fn append() -> impl Strategy<Value = Append> {
    let sizes = proptest::collection::vec((1..100_u64, 1..5_u64), 0..=2);
    (id(), sizes, any::<[bool; 2]>(), any::<u64>(), membership()).prop_map(
        |(prev, sizes, [reply, repaired], round, membership)| {
            let mut runs = Runs::default();
            let mut last = prev;
            for (entries, terms) in sizes {
                let term = Term(last.term.0 + terms);
                runs.push(EntryId {
                    term,
                    index: last.index.next(),
                });
                last = EntryId {
                    term,
                    index: Index(last.index.0 + entries),
                };
            }
            let mut configurations = Rare::new();
            if last != prev {
                configurations.push((last.index, membership));
            }
            let commit = Index(round / 2);
            Append {
                prev,
                last: last.index,
                runs,
                commit,
                round,
                reply,
                repaired,
                configurations,
            }
        },
    )
}

pub(crate) fn body() -> impl Strategy<Value = Body> {
    let nodes = proptest::collection::vec(any::<u32>().prop_map(NodeId), 0..=7);
    prop_oneof![
        id().prop_map(|last| Body::PreVote { last }),
        (any::<u64>(), any::<bool>(), any::<Option<u32>>()).prop_map(|(asked, granted, leader)| {
            Body::PreVoteReply {
                asked: Term(asked),
                granted,
                leader: leader.map(NodeId),
            }
        }),
        (id(), any::<bool>()).prop_map(|(last, transfer)| Body::Vote { last, transfer }),
        any::<bool>().prop_map(|granted| Body::VoteReply { granted }),
        append().prop_map(Body::Append),
        (id(), id(), any::<[bool; 2]>(), any::<u64>()).prop_map(|(one, hint, flags, round)| {
            let outcome = if flags[0] {
                AppendOutcome::Accepted { matched: one.index }
            } else {
                AppendOutcome::Rejected {
                    prev: one.index,
                    hint,
                }
            };
            let commit = Index(one.term.0);
            Body::AppendReply(AppendReply {
                outcome,
                commit,
                round,
                damaged: flags[1],
            })
        }),
        (id(), membership()).prop_map(|(last, members)| Body::Snapshot {
            last,
            membership: Box::new(members)
        }),
        id().prop_map(|last| Body::SnapshotRefused { last }),
        Just(Body::TimeoutNow),
        Just(Body::Resign),
        any::<u64>().prop_map(|id| Body::Read { id: ReadId(id) }),
        (any::<u64>(), any::<Option<u64>>()).prop_map(|(id, index)| Body::ReadReply {
            id: ReadId(id),
            index: index.map(Index)
        }),
        nodes.prop_map(|nodes| Body::Successors {
            ranked: Successors::new(&nodes)
        }),
    ]
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn every_message_survives(term in any::<u64>(), body in body()) {
        let message = Message { term: Term(term), body };
        let mut bytes = Vec::new();
        encode(&message, &mut bytes);
        prop_assert_eq!(decode(&bytes), Ok(message));
        for cut in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..cut]), Err(WireError::Truncated));
        }
        bytes.push(0);
        prop_assert_eq!(decode(&bytes), Err(WireError::TrailingBytes));
    }

    #[test]
    fn altered_messages_have_one_encoding_or_none(
        term in any::<u64>(),
        body in body(),
        changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = Vec::new();
        encode(&Message { term: Term(term), body }, &mut bytes);
        for (at, value) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = value;
        }
        check(&bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }
}

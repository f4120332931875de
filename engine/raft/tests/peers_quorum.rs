//! The quorum and configuration cases of etcd-raft and raft-rs, run against ours.

use std::collections::BTreeMap;

use raft::change::{Change, ChangeError};
use raft::durability::{Held, zoned_index};
use raft::ids::{Index, NodeId};
use raft::membership::{Kind, Membership, Place};
use raft::quorum::{Quorum, VoteResult, committed};

use crate::datadriven::{Directive, parse};

/// The voters of both halves, and each distinct voter's value in the order of appearance.
struct Case {
    halves: Vec<Vec<u64>>,
    values: BTreeMap<u64, Option<u64>>,
}

fn ids(directive: &Directive, key: &str) -> Vec<u64> {
    let listed = directive.list(key).unwrap_or_default();
    listed.into_iter().flatten().collect()
}

fn case(directive: &Directive, key: &str) -> Case {
    let mut halves = vec![ids(directive, "cfg")];
    if directive.get("cfgj").is_some() {
        halves.push(ids(directive, "cfgj"));
    }
    let mut order: Vec<u64> = Vec::new();
    for id in halves.iter().flatten() {
        if !order.contains(id) {
            order.push(*id);
        }
    }
    let values = directive.list(key).unwrap_or_default();
    Case {
        halves,
        values: order.into_iter().zip(values).collect(),
    }
}

fn majority(voters: usize) -> Option<Quorum> {
    Quorum::majority(voters).ok()
}

fn committed_of(case: &Case) -> Index {
    let of = |half: &Vec<u64>| {
        let value = |id: &u64| Index(case.values.get(id).copied().flatten().unwrap_or_default());
        let mut held: Vec<Index> = half.iter().map(value).collect();
        committed(&mut held, majority(half.len()).map_or(0, Quorum::commit))
    };
    case.halves.iter().map(of).min().expect("a half")
}

fn vote_of(directive: &Directive) -> VoteResult {
    let list = directive
        .get("votes")
        .unwrap_or("()")
        .trim_matches(['(', ')']);
    let votes: Vec<Option<bool>> = list
        .split([',', ' '])
        .filter(|vote| !vote.is_empty())
        .map(|vote| match vote {
            "y" => Some(true),
            "n" => Some(false),
            _ => None,
        })
        .collect();
    let case = case(directive, "votes");
    let answers: BTreeMap<u64, Option<bool>> =
        case.values.keys().copied().map(|id| (id, None)).collect();
    let mut answers = answers;
    let mut order: Vec<u64> = Vec::new();
    for id in case.halves.iter().flatten() {
        if !order.contains(id) {
            order.push(*id);
        }
    }
    for (id, vote) in order.into_iter().zip(votes) {
        answers.insert(id, vote);
    }
    let of = |half: &Vec<u64>| {
        let count = |wanted: bool| {
            half.iter()
                .filter(|id| answers.get(id).copied().flatten() == Some(wanted))
                .count()
        };
        let need = majority(half.len()).map_or(0, Quorum::election);
        VoteResult::of(half.len(), need, count(true), count(false))
    };
    case.halves
        .iter()
        .map(of)
        .reduce(VoteResult::and)
        .expect("a half")
}

/// raft-rs: an index that also reaches a second group.
fn group_committed_of(directive: &Directive) -> Index {
    let indexes = case(directive, "idx");
    let groups = case(directive, "gid");
    let of = |half: &Vec<u64>| {
        let value = |id: &u64| {
            Index(
                indexes
                    .values
                    .get(id)
                    .copied()
                    .flatten()
                    .unwrap_or_default(),
            )
        };
        let zone = |id: &u64| groups.values.get(id).copied().flatten().unwrap_or_default() as u16;
        let mut held: Vec<Index> = half.iter().map(value).collect();
        let quorum = committed(&mut held, majority(half.len()).map_or(0, Quorum::commit));
        if half.is_empty() {
            return quorum;
        }
        let held: Vec<Held> = half
            .iter()
            .map(|id| Held {
                index: value(id),
                zone: zone(id),
            })
            .collect();
        zoned_index(quorum, &held, 2)
    };
    indexes.halves.iter().map(of).min().expect("a half")
}

fn answer(directive: &Directive) -> String {
    let index = |index: Index| {
        if index.0 == u64::MAX {
            "∞".into()
        } else {
            index.0.to_string()
        }
    };
    match directive.command.as_str() {
        "committed" => index(committed_of(&case(directive, "idx"))),
        "group_committed" => index(group_committed_of(directive)),
        "vote" => format!("Vote{:?}", vote_of(directive)),
        other => panic!("unknown command {other}"),
    }
}

/// Runs a file of quorum cases; returns how many there are.
pub(crate) fn run_quorums(place: &str, text: &str) -> usize {
    let directives = parse(text);
    for directive in &directives {
        let expected = directive.expected.last().expect("an answer").trim();
        // The picture may stand on the same line: `<empty majority quorum>∞`.
        let expected = expected.rsplit('>').next().unwrap_or(expected);
        assert_eq!(answer(directive), expected, "{place}:{}", directive.line);
    }
    directives.len()
}

/// The configuration as etcd prints it.
pub(crate) fn print(membership: &Membership) -> String {
    let list = |filter: &dyn Fn(&raft::membership::Member) -> bool| {
        let ids: Vec<String> = membership
            .members()
            .iter()
            .filter(|member| filter(member))
            .map(|member| member.node.to_string())
            .collect();
        ids.join(" ")
    };
    let mut text = format!("voters=({})", list(&|member| member.votes_incoming()));
    if membership.is_joint() {
        text += &format!("&&({})", list(&|member| member.outgoing.is_some()));
    }
    let learner = Some(Kind::Learner);
    let learners = list(&|member| member.incoming == learner && member.outgoing.is_none());
    if !learners.is_empty() {
        text += &format!(" learners=({learners})");
    }
    let next = list(&|member| member.incoming == learner && member.outgoing.is_some());
    if !next.is_empty() {
        text += &format!(" learners_next=({next})");
    }
    if membership.auto_leave() {
        text += " autoleave";
    }
    text
}

/// `vN lN rN uN`; node 0 does not count.
pub(crate) fn changes(input: &str) -> Vec<Change> {
    let mut found = Vec::new();
    for token in input.split_whitespace() {
        let node = NodeId(token[1..].parse().expect("a number"));
        match token.chars().next() {
            _ if node == NodeId(0) => {}
            Some('v') => found.push(Change::voter(node)),
            Some('l') => found.push(Change::learner(node)),
            Some('r') => found.push(Change::Remove { node }),
            Some('u') => {}
            other => panic!("unknown operation {other:?}"),
        }
    }
    found
}

/// The first configuration of a file, which etcd makes out of an empty one and we do not have.
fn found(changes: &[Change], joint: bool) -> Result<Membership, &'static str> {
    let mut members: BTreeMap<NodeId, Kind> = BTreeMap::new();
    for change in changes {
        match *change {
            Change::Add { node, kind, .. } => members.insert(node, kind),
            Change::Remove { node } => members.remove(&node),
        };
    }
    if joint {
        return Err("can't make a zero-voter config joint");
    }
    let voters = members.values().filter(|kind| kind.votes()).count();
    match voters {
        0 => Err("removed all voters"),
        1 => {
            let members = members
                .into_iter()
                .map(|(node, kind)| (node, kind, Place::default()));
            Ok(Membership::new(members, None).expect("one voter"))
        }
        _ => Err("more than one voter changed without entering joint config"),
    }
}

fn error_text(error: ChangeError, entering: bool) -> &'static str {
    match error {
        ChangeError::Joint if entering => "config is already joint",
        ChangeError::Joint => "can't apply simple config change in joint config",
        ChangeError::NotJoint => "can't leave a non-joint config",
        ChangeError::NoVoters => "removed all voters",
        ChangeError::TooManyVoters => "more than one voter changed without entering joint config",
        ChangeError::Incompatible => "incompatible",
        ChangeError::Retired(_) => "retired",
        ChangeError::Membership(_) => "malformed",
    }
}

/// These files test that a removed id may come back; ours do not (rule: node ids are never reused). The
/// runner forgets who was removed, so that the rest of each file still counts.
fn forget_retired(membership: Membership) -> Membership {
    if membership.is_joint() || membership.retired().is_empty() {
        return membership;
    }
    let members = membership.members().iter();
    let members = members.map(|m| (m.node, m.incoming.expect("not joint"), m.place));
    Membership::new(members, Some(membership.quorum())).expect("the same members")
}

/// Runs a file of configuration changes; returns how many cases there are.
pub(crate) fn run_changes(file: &str, text: &str) -> usize {
    let mut current: Option<Membership> = None;
    let directives = parse(text);
    for directive in &directives {
        let changes = changes(&directive.input.join(" "));
        let entering = directive.command == "enter-joint";
        let auto_leave = directive.get("autoleave") == Some("true");
        let next = match (&current, directive.command.as_str()) {
            (None, "leave-joint") => Err("can't leave a non-joint config"),
            (None, command) => found(&changes, command == "enter-joint"),
            (Some(now), command) => match command {
                "simple" => now.simple(&changes, None),
                "enter-joint" => now.enter_joint(&changes, None, auto_leave),
                "leave-joint" => now.leave_joint(),
                other => panic!("unknown command {other}"),
            }
            .map_err(|error| error_text(error, entering)),
        };
        let expected = directive.expected.first().expect("an answer");
        let place = format!("{file}:{}", directive.line);
        match next {
            Ok(next) => {
                assert_eq!(&print(&next), expected, "{place}");
                check_learners(&next, &directive.expected[1..], &place);
                current = Some(forget_retired(next));
            }
            Err(error) => assert_eq!(error, expected, "{place}"),
        }
    }
    directives.len()
}

/// `3: StateProbe match=0 next=1 learner`: who is tracked, and as what.
fn check_learners(membership: &Membership, lines: &[String], place: &str) {
    let expected: Vec<(String, bool)> = lines
        .iter()
        .filter_map(|line| {
            let (id, rest) = line.split_once(':')?;
            Some((id.to_string(), rest.ends_with("learner")))
        })
        .collect();
    let ours: Vec<(String, bool)> = membership
        .members()
        .iter()
        .map(|member| (member.node.to_string(), !member.votes()))
        .collect();
    assert_eq!(ours, expected, "{place}");
}

//! Traces for etcd-raft's TLA+ trace specification: written, judged here, and kept for TLC when asked for.
//!
//! - `QUORATE_TRACE=FOLDER` keeps the traces as `FOLDER/*.ndjson`; docs/consensus.md says how TLC judges them.
//! - A judge that finds nothing wrong with wrong traces is none: spoilt lines and planted faults are found.

use std::collections::BTreeMap;

use raft::effects::Role;
use raft::ids::NodeId;
use raft::mutants::Mutant;

use crate::cluster::node;
use crate::etcd_spec::{Spec, judge};
use crate::etcd_trace::Traced;

/// Keeps the trace if asked to, and has it judged.
fn accept(name: &str, traced: &Traced) -> Spec {
    let text = traced.text();
    if let Some(folder) = std::env::var_os("QUORATE_TRACE") {
        let folder = std::path::PathBuf::from(folder);
        std::fs::create_dir_all(&folder).expect("a folder for traces");
        std::fs::write(folder.join(format!("{name}.ndjson")), &text).expect("room for a trace");
    }
    let spec = judge(&text).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
    println!("ok   {name}: {} events", traced.lines.len());
    spec
}

/// A few hundred events of a group of three or five, drawn from `seed`.
fn random(seed: u64, events: usize, mutant: Option<Mutant>) -> Traced {
    let count = if seed.is_multiple_of(3) { 5 } else { 3 };
    let mut traced = Traced::new(count, mutant);
    let mut number = seed;
    let mut draw = |bound: usize| {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) as usize % bound
    };
    for _ in 0..events {
        let id = NodeId(draw(count as usize) as u32 + 1);
        let other = NodeId(draw(count as usize) as u32 + 1);
        let alive = traced.cluster.nodes[&id].raft.is_some();
        let waiting = traced.cluster.network.len();
        match draw(40) {
            0 | 1 if alive => traced.campaign(id),
            2..8 => {
                if let Some(leader) = traced.cluster.leader() {
                    traced.propose(leader);
                }
            }
            8 if alive && 2 * traced.cluster.alive().len() > count as usize + 2 => traced.crash(id),
            9 | 10 if !alive => traced.start(id),
            11 if id != other => traced.sever(id, other),
            12 => traced.heal(),
            _ if waiting > 0 => traced.deliver(draw(waiting)),
            _ => {}
        }
    }
    traced
}

#[test]
fn an_election_and_some_entries_are_steps_of_the_specification() {
    let mut traced = Traced::new(3, None);
    traced.campaign(node(1));
    traced.settle();
    assert_eq!(traced.cluster.leader(), Some(node(1)));
    for _ in 0..3 {
        traced.propose(node(1));
    }
    traced.settle();
    accept("entries", &traced);
}

#[test]
fn overwritten_entries_and_restarts_are_steps_of_the_specification() {
    let mut traced = Traced::new(3, None);
    traced.campaign(node(1));
    traced.settle();
    traced.sever(node(1), node(2));
    traced.sever(node(1), node(3));
    traced.propose(node(1));
    traced.propose(node(1));
    traced.campaign(node(2));
    traced.settle();
    assert_eq!(traced.cluster.leader(), Some(node(2)));
    traced.propose(node(2));
    traced.settle();
    traced.heal();
    traced.settle();
    assert_eq!(traced.cluster.raft(1).role(), Role::Follower);
    traced.crash(node(2));
    traced.campaign(node(3));
    traced.settle();
    traced.start(node(2));
    traced.settle();
    traced.propose(node(3));
    traced.settle();
    let commits: Vec<_> = [1, 2, 3].map(|id| traced.cluster.raft(id).commit()).into();
    assert!(
        commits
            .iter()
            .all(|commit| *commit == commits[0] && commit.0 >= 5),
        "{commits:?}"
    );
    accept("overwritten", &traced);
}

#[test]
fn a_snapshot_is_a_step_of_the_specification() {
    let mut traced = Traced::new(3, None);
    traced.sever(node(1), node(3));
    traced.sever(node(2), node(3));
    traced.campaign(node(1));
    traced.settle();
    traced.propose(node(1));
    traced.propose(node(1));
    traced.settle();
    traced.cluster.compact(node(1));
    traced.heal();
    // The answer has no place in the trace specification: it gives it a kind that no line names.
    while traced.cluster.raft(3).commit().0 < 3 {
        traced.deliver(0);
    }
    assert!(traced.text().contains("MsgSnap"));
    accept("snapshot", &traced);
}

#[test]
fn random_schedules_are_steps_of_the_specification() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 1..=60 {
        let traced = random(seed, 600, None);
        for (name, count) in accept(&format!("random-{seed}"), &traced).seen {
            *seen.entry(name).or_default() += count;
        }
    }
    println!("{seen:?}");
    for name in [
        "InitState",
        "BecomeCandidate",
        "BecomeFollower",
        "BecomeLeader",
        "Commit",
        "Replicate",
        "Ready",
        "SendAppendEntriesRequest",
        "ReceiveAppendEntriesRequest",
        "SendAppendEntriesResponse",
        "ReceiveAppendEntriesResponse",
        "SendRequestVoteRequest",
        "ReceiveRequestVoteRequest",
        "SendRequestVoteResponse",
        "ReceiveRequestVoteResponse",
    ] {
        assert!(
            seen.get(name).is_some_and(|count| *count >= 100),
            "{name} is rare"
        );
    }
}

/// Each spoils a sound trace in one place.
#[test]
fn spoilt_traces_are_refused() {
    let mut traced = Traced::new(3, None);
    traced.campaign(node(1));
    traced.settle();
    traced.propose(node(1));
    traced.settle();
    let text = traced.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(judge(&text).is_ok());
    let at = |what: &str| {
        lines
            .iter()
            .position(|line| line.contains(what))
            .expect("it happens")
    };
    let spoil = |at: usize, from: &str, to: &str| {
        let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        assert!(lines[at].contains(from), "{}", lines[at]);
        lines[at] = lines[at].replacen(from, to, 1);
        lines.retain(|line| !line.is_empty());
        lines.join("\n")
    };
    let gone = |at: usize| spoil(at, lines[at], "");
    let (leads, commits) = (at("BecomeLeader"), at("\"Commit\""));
    let votes = at("\"ReceiveRequestVoteResponse\"");
    for (what, spoilt) in [
        (
            "an unknown event",
            spoil(leads, "BecomeLeader", "BecomeKing"),
        ),
        (
            "a field is missing",
            spoil(commits, "\"log\":", "\"length\":"),
        ),
        ("a Ready is missing", gone(at("\"Ready\""))),
        ("nobody voted", gone(at("\"ReceiveRequestVoteRequest\""))),
        ("a vote is missing", gone(votes)),
        ("an entry is missing", gone(at("\"Replicate\""))),
        (
            "a commit of its own",
            gone(at("\"ReceiveAppendEntriesResponse\"")),
        ),
        ("another term", spoil(commits, "\"term\":1", "\"term\":2")),
        (
            "another commit index",
            spoil(commits, "\"commit\":1", "\"commit\":0"),
        ),
        (
            "another configuration",
            spoil(commits, "[\"1\",\"2\",\"3\"]", "[\"1\",\"2\"]"),
        ),
        (
            "a message of nobody",
            spoil(votes, "\"from\":\"1\"", "\"from\":\"3\""),
        ),
    ] {
        let wrong = judge(&spoilt).expect_err(what);
        println!("{what}: {}", wrong.split(": {").next().unwrap_or_default());
    }
}

/// The specification is an oracle of its own: it finds faults of the core that the traces show.
#[test]
fn planted_faults_are_found_in_their_traces() {
    for mutant in [
        Mutant::VoteForAnyLog,
        Mutant::CommitOldTerms,
        Mutant::CommitQuorumLowered,
        Mutant::LogUnchecked,
        Mutant::ElectedByTooFew,
        Mutant::SecondVote,
    ] {
        let mut found = None;
        for seed in 1..=200 {
            let trace = std::panic::catch_unwind(|| random(seed, 600, Some(mutant)));
            if let Ok(traced) = trace
                && let Err(wrong) = judge(&traced.text())
            {
                found = Some((seed, wrong));
                break;
            }
        }
        let (seed, wrong) = found.unwrap_or_else(|| panic!("{mutant:?} is not found"));
        println!(
            "{mutant:?}: seed {seed}: {}",
            wrong.split(": {").next().unwrap_or_default()
        );
    }
}

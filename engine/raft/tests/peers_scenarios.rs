//! The interaction scenarios of etcd-raft, run by our own driver and compared by facts.
//!
//! - A scenario's commands are carried out on our cluster; the text that etcd prints is not compared.
//! - Compared at fixed points (a `stabilize` of all nodes, and observers after one): what each node applied
//!   and at which index and term, roles and terms, configurations, logs, matched indexes.
//! - All invariants are checked after every step.
//! - Where our rules differ by design, the differing facts are listed with the reason, not dropped.

use core::ops::RangeInclusive;
use std::collections::BTreeMap;

use raft::change::Transition;
use raft::config::Config;
use raft::effects::{HardState, Role};
use raft::ids::{EntryId, Index, NodeId, Term};
use raft::membership::{Kind, Membership, Place};
use raft::message::Body;
use raft::requests::MembershipChange;
use serde_json::Value;

use crate::cluster::{Cluster, Data, TIMEOUT};
use crate::datadriven::{Directive, parse};
use crate::peers_quorum::{changes, print};

/// Facts that do not apply to us: the file, at which lines, which kinds, why.
const DIFFERENT: &[(&str, RangeInclusive<usize>, &[&str], &str)] = &[
    (
        "confchange_v1_remove_leader",
        44..=usize::MAX,
        &["role", "more"],
        "a removed leader hands over as soon as its removal is committed: a new term follows",
    ),
    (
        "confchange_v2_add_single_explicit",
        102..=usize::MAX,
        &["apply"],
        "a change that is refused leaves no entry in our log, an empty one in etcd's",
    ),
    (
        "snapshot_succeed_via_app_resp",
        97..=97,
        &["match"],
        "our follower acknowledges an installed snapshot in the same step",
    ),
];

/// One fact of a directive, as extracted from etcd's output.
pub(crate) type Fact = Vec<Value>;

struct Scenario {
    name: String,
    cluster: Cluster,
    founders: Option<Membership>,
    words: Vec<String>,
    asynchronous: bool,
    /// What each node is expected to have applied: index to term, kind of entry, data.
    applied: BTreeMap<(u32, u64), (u64, String, String)>,
    roles: BTreeMap<u32, (String, u64)>,
    configs: BTreeMap<u32, String>,
    compared: usize,
    different: usize,
    unknown: Vec<String>,
}

impl Scenario {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_string(),
            cluster: Cluster::empty(),
            founders: None,
            words: vec![String::new()],
            asynchronous: false,
            applied: BTreeMap::new(),
            roles: BTreeMap::new(),
            configs: BTreeMap::new(),
            compared: 0,
            different: 0,
            unknown: Vec::new(),
        }
    }

    fn run(&mut self, directive: &Directive) {
        let ids: Vec<NodeId> = directive.numbers().into_iter().map(NodeId).collect();
        self.cluster.hear();
        match directive.command.as_str() {
            "add-nodes" => self.add_nodes(directive),
            "campaign" => self
                .cluster
                .mutate(ids[0], |raft, now, _| raft.campaign(now)),
            "propose" => self.propose(ids[0], directive),
            "propose-conf-change" => self.change(ids[0], directive),
            "process-ready" if !self.asynchronous => self.complete(&ids),
            "process-append-thread" => {
                for id in ids {
                    self.cluster.complete(id);
                }
            }
            "process-ready" | "process-apply-thread" => {}
            "deliver-msgs" => self.deliver(&ids, directive),
            "stabilize" => self.stabilize(&ids),
            "tick-heartbeat" => self.tick(ids[0], 2),
            "tick-election" => self.tick_election(ids[0]),
            "transfer-leadership" => {
                let id = |key| {
                    NodeId(
                        directive
                            .get(key)
                            .and_then(|id| id.parse().ok())
                            .expect("a node"),
                    )
                };
                let to = id("to");
                self.cluster.mutate(id("from"), |raft, now, _| {
                    let _ = raft.transfer(to, now);
                });
            }
            "compact" => {
                let index: u64 = directive.plain[1].parse().expect("an index");
                self.cluster.compact_to(ids[0], Index(index));
            }
            "report-unreachable" => {
                let node = ids[1];
                self.cluster
                    .mutate(ids[0], |raft, now, _| raft.peer_reset(node, now));
            }
            "raft-state" | "raft-log" | "status" | "log-level" => {}
            other => self.unknown.push(format!("{}:{other}", directive.line)),
        }
    }

    fn add_nodes(&mut self, directive: &Directive) {
        let count = directive.numbers()[0];
        let list = |key| {
            directive
                .list(key)
                .unwrap_or_default()
                .into_iter()
                .flatten()
        };
        let kinds = [("voters", Kind::Voter), ("learners", Kind::Learner)];
        let members: Vec<(NodeId, Kind, Place)> = kinds
            .iter()
            .flat_map(|(key, kind)| {
                list(key).map(|id| (NodeId(id as u32), *kind, Place::default()))
            })
            .collect();
        let is = |key| directive.get(key) == Some("true");
        let index = directive
            .get("index")
            .and_then(|index| index.parse().ok())
            .unwrap_or(0);
        self.asynchronous |= is("async-storage-writes");
        let inflight = directive
            .get("inflight")
            .and_then(|count| count.parse().ok());
        if self.founders.is_none() {
            self.founders = Some(Membership::new(members, None).expect("voters"));
        }
        let founders = self
            .founders
            .clone()
            .expect("the first nodes name the voters");
        for _ in 0..count {
            let id = NodeId(self.cluster.nodes.len() as u32 + 1);
            let config = Config {
                election_timeout: TIMEOUT,
                pre_vote: is("prevote"),
                check_quorum: is("checkquorum"),
                max_inflight_messages: inflight.unwrap_or(256),
                ..Config::of(id)
            };
            // Terms are counted from the founders' snapshot, which etcd puts into term 1 and term 0 at once.
            let snapshot = EntryId {
                term: Term(0),
                index: Index(index),
            };
            self.cluster
                .add_restored(config, &founders, snapshot, HardState::default(), vec![]);
        }
    }

    fn propose(&mut self, id: NodeId, directive: &Directive) {
        let word = directive.plain.get(1).cloned().unwrap_or_default();
        if let Ok(command) = self.cluster.try_propose(id) {
            self.words.resize(command as usize, String::new());
            self.words.push(word);
        }
    }

    fn change(&mut self, id: NodeId, directive: &Directive) {
        let changes = changes(&directive.input.join(" "));
        let transition = match directive.get("transition") {
            _ if directive.get("v1") == Some("true") => Transition::Simple,
            Some("explicit") => Transition::JointExplicit,
            Some("implicit") => Transition::JointImplicit,
            _ => Transition::Auto,
        };
        let leave = changes.is_empty();
        let change = MembershipChange {
            changes,
            quorum: None,
            transition,
        };
        self.cluster.mutate(id, |raft, _, _| {
            let _ = if leave {
                raft.leave_joint()
            } else {
                raft.change_membership(&change)
            };
        });
    }

    fn complete(&mut self, ids: &[NodeId]) {
        for &id in ids {
            while self.cluster.complete(id) {}
        }
    }

    fn deliver(&mut self, ids: &[NodeId], directive: &Directive) {
        let drop: Vec<u64> = directive
            .list("drop")
            .unwrap_or_default()
            .into_iter()
            .flatten()
            .collect();
        let kind = directive.get("type");
        let packets: Vec<_> = self.cluster.network.drain(..).collect();
        for packet in packets {
            if drop.contains(&u64::from(packet.to.0)) {
                continue;
            }
            let wanted = ids.contains(&packet.to)
                && kind.is_none_or(|kind| kind == etcd_name(&packet.message.body));
            if wanted {
                self.cluster.arrive(packet);
            } else {
                self.cluster.network.push_back(packet);
            }
        }
    }

    fn stabilize(&mut self, ids: &[NodeId]) {
        let all = self.cluster.alive();
        let ids = if ids.is_empty() { &all } else { ids };
        for _ in 0..1000 {
            self.complete(ids);
            let next = self
                .cluster
                .network
                .iter()
                .position(|packet| ids.contains(&packet.to));
            match next {
                Some(at) => self.cluster.deliver(at),
                None => return,
            }
        }
        panic!("{}: the group does not come to rest", self.name);
    }

    /// Our leaders send no heartbeats; what etcd's achieve is asked for by the retry clock.
    fn tick(&mut self, id: NodeId, times: usize) {
        for _ in 0..times {
            self.cluster.now = self.cluster.now.plus(TIMEOUT);
            self.cluster.hear();
            self.cluster
                .mutate(id, |raft, now, liveness| raft.tick(now, liveness));
        }
    }

    fn tick_election(&mut self, id: NodeId) {
        self.cluster.now = self.cluster.now.plus(3 * TIMEOUT);
        for _ in 0..2 {
            self.cluster
                .mutate(id, |raft, now, liveness| raft.tick(now, liveness));
            self.cluster.now = self.cluster.now.plus(3 * TIMEOUT);
        }
    }

    /// Takes in what etcd did; compares when both stand still.
    fn compare(&mut self, directive: &Directive, facts: &[Fact]) {
        for fact in facts {
            self.take(directive.line, fact);
        }
        let stable = directive.command == "stabilize";
        let fixed = stable && directive.plain.is_empty();
        if stable && !fixed {
            self.compare_roles(directive.line, Some(&directive.numbers()));
        }
        if fixed {
            let line = directive.line;
            self.compare_applied(line);
            self.compare_roles(line, None);
            self.compare_configs(line);
        }
    }

    fn excused(&mut self, line: usize, kind: &str) -> bool {
        let excused = DIFFERENT.iter().any(|(name, from, kinds, _)| {
            *name == self.name && from.contains(&line) && kinds.contains(&kind)
        });
        self.different += usize::from(excused);
        excused
    }

    fn take(&mut self, line: usize, fact: &Fact) {
        let text = |at: usize| fact[at].as_str().unwrap_or_default().to_string();
        let number = |at: usize| fact[at].as_u64().unwrap_or_default();
        let node = fact.get(1).and_then(Value::as_u64).unwrap_or_default() as u32;
        let kind = text(0);
        match kind.as_str() {
            "apply" => {
                let entry = (number(2), text(4), text(5).trim_matches('"').to_string());
                self.applied.insert((node, number(3)), entry);
            }
            "role" => {
                self.roles.insert(node, (text(2), number(3)));
            }
            "state" => {
                self.roles.insert(node, (text(2).to_lowercase(), number(4)));
            }
            "config" => {
                self.configs.insert(node, text(2));
            }
            "match" if !self.excused(line, "match") => {
                let peer = NodeId(number(2) as u32);
                let status = self
                    .cluster
                    .raft(node)
                    .peers()
                    .find(|status| status.node == peer);
                let status = status.expect("a member");
                assert_eq!(
                    status.matched.0,
                    number(4),
                    "{}:{line} match of {peer}",
                    self.name
                );
                self.compared += 1;
            }
            "log" => {
                let raft = self.cluster.raft(node);
                let term = raft.term_at(Index(number(3)));
                assert_eq!(
                    term,
                    Some(Term(number(2))),
                    "{}:{line} log of {node}",
                    self.name
                );
                self.compared += 1;
            }
            // Terms, votes and commit indexes of single steps; errors: our calls answer with types.
            _ => {}
        }
    }

    fn compare_applied(&mut self, line: usize) {
        if self.excused(line, "apply") {
            return;
        }
        let place = format!("{}:{line}", self.name);
        for ((id, index), (term, kind, data)) in &self.applied {
            let node = &self.cluster.nodes[&NodeId(*id)];
            let index = Index(*index);
            assert!(
                node.applied_upto >= index,
                "{place} node {id} has not applied {index}"
            );
            let Some(entry) = node.memory.get(index) else {
                continue;
            };
            assert_eq!(entry.term.0, *term, "{place} node {id} entry {index}");
            let ours = match &entry.data {
                Data::Empty => ("EntryNormal", ""),
                Data::Command(command) => ("EntryNormal", self.words[*command as usize].as_str()),
                Data::Configuration(_) => ("EntryConfChange", data.as_str()),
            };
            assert_eq!(
                ours,
                (kind.trim_end_matches("V2"), data.as_str()),
                "{place} node {id}"
            );
            self.compared += 1;
        }
        if self.excused(line, "more") {
            return;
        }
        for (id, node) in &self.cluster.nodes {
            let theirs = self.applied.range((id.0, 0)..=(id.0, u64::MAX)).next_back();
            if let Some(((_, last), _)) = theirs {
                assert_eq!(
                    node.applied_upto,
                    Index(*last),
                    "{place} node {id} applied more"
                );
            }
        }
    }

    fn compare_roles(&mut self, line: usize, among: Option<&[u32]>) {
        if self.excused(line, "role") {
            return;
        }
        let asked = |id: &u32| among.is_none_or(|among| among.contains(id));
        for (id, (role, term)) in self.roles.iter().filter(|(id, _)| asked(id)) {
            let raft = self.cluster.raft(*id);
            let ours = match raft.role() {
                Role::Follower => "follower",
                Role::PreCandidate => "pre-candidate",
                Role::Candidate => "candidate",
                Role::Leader => "leader",
            };
            assert_eq!(
                (ours, raft.term().0),
                (role.as_str(), *term),
                "{}:{line} node {id}",
                self.name
            );
            self.compared += 1;
        }
    }

    fn compare_configs(&mut self, line: usize) {
        if self.excused(line, "config") {
            return;
        }
        for (id, config) in &self.configs {
            // A node that etcd starts empty learns its first configuration with the log.
            if config != "voters=()" {
                let ours = print(self.cluster.raft(*id).membership());
                assert_eq!(&ours, config, "{}:{line} node {id}", self.name);
                self.compared += 1;
            }
        }
    }
}

fn etcd_name(body: &Body) -> &'static str {
    match body {
        Body::PreVote { .. } => "MsgPreVote",
        Body::PreVoteReply { .. } => "MsgPreVoteResp",
        Body::Vote { .. } => "MsgVote",
        Body::VoteReply { .. } => "MsgVoteResp",
        Body::Append(_) => "MsgApp",
        Body::AppendReply(_) | Body::SnapshotRefused { .. } => "MsgAppResp",
        Body::Snapshot { .. } => "MsgSnap",
        Body::TimeoutNow => "MsgTimeoutNow",
        Body::Read { .. } => "MsgReadIndex",
        Body::ReadReply { .. } => "MsgReadIndexResp",
        Body::Resign | Body::Successors { .. } => "",
    }
}

/// The facts of all files: by file name and line.
pub(crate) type Facts = BTreeMap<(String, usize), Vec<Fact>>;

pub(crate) fn facts(text: &str) -> Facts {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).expect("a line of JSON");
        let file = value["file"].as_str().expect("a file name");
        let name = file
            .rsplit('/')
            .next()
            .unwrap_or(file)
            .trim_end_matches(".txt");
        let facts = value["facts"].as_array().expect("a list").iter();
        let facts = facts
            .map(|fact| fact.as_array().expect("a list").clone())
            .collect();
        let line = value["line"].as_u64().expect("a line number") as usize;
        found.insert((name.to_string(), line), facts);
    }
    found
}

/// Runs a file of interactions. `facts` are those of all files. Returns how many were compared.
pub(crate) fn run_scenario(name: &str, text: &str, facts: &Facts) -> usize {
    let mut scenario = Scenario::new(name);
    for directive in parse(text) {
        scenario.run(&directive);
        let facts = facts.get(&(name.to_string(), directive.line));
        scenario.compare(&directive, facts.map_or(&[], Vec::as_slice));
    }
    assert!(
        scenario.unknown.is_empty(),
        "{name}: commands that nobody carries out: {:?}",
        scenario.unknown
    );
    for (_, line, kinds, reason) in DIFFERENT.iter().filter(|(file, ..)| *file == name) {
        println!("     {name}: at lines {line:?} {kinds:?} differ by design: {reason}");
    }
    let has_facts = facts.keys().any(|(file, _)| *file == name);
    assert!(
        scenario.compared > 0 || !has_facts,
        "{name}: nothing was compared"
    );
    scenario.compared
}

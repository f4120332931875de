//! Writes what a group does as a trace that etcd-raft's TLA+ trace specification reads: one event a line.
//!
//! - The events, their fields and their order are those of `state_trace.go` and `tla/Traceetcdraft.tla` in etcd-io/raft;
//!   `etcd_spec.rs` keeps them so. docs/consensus.md says how to have a trace judged by TLC.
//! - The specification knows no pre-votes, no disk that lags, and configurations that change when they are applied:
//!   the group is run without pre-votes and changes, and a node's disk keeps up before anything else happens.
//! - Connections are ordered and break as a whole, after the acknowledgements on them have arrived.
//! - An append without entries stands, for etcd, behind the last entry that was sent on the connection.

use std::collections::BTreeMap;

use raft::config::Damage;
use raft::effects::Role;
use raft::ids::{Index, NodeId};
use raft::message::{AppendOutcome, Body, Message};
use raft::mutants::Mutant;
use raft::raft::Raft;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Packet, Task};

/// A replica as an event shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    term: u64,
    vote: u32,
    commit: u64,
    role: Role,
    log: u64,
}

/// A group whose every step is written down.
pub(crate) struct Traced {
    pub(crate) cluster: Cluster,
    pub(crate) lines: Vec<Value>,
    /// The last index sent on a connection, by sender and receiver.
    sent: BTreeMap<(NodeId, NodeId), u64>,
    /// What was written down of the packets.
    told: BTreeMap<u64, Option<(&'static str, Value)>>,
    conf: Vec<String>,
}

impl Traced {
    pub(crate) fn new(count: u32, mutant: Option<Mutant>) -> Self {
        let mut cluster = Cluster::with(count, |config| {
            config.pre_vote = false;
            config.check_quorum = false;
            config.mutant = mutant;
        });
        // A planted fault is for the specification to find.
        cluster.watch = mutant.is_none();
        let mut traced = Self {
            cluster,
            lines: Vec::new(),
            sent: BTreeMap::new(),
            told: BTreeMap::new(),
            conf: (1..=count).map(|id| id.to_string()).collect(),
        };
        for id in traced.cluster.alive() {
            traced.event("InitState", id, traced.view(id), None);
        }
        traced
    }

    /// The trace, a line an event; it begins as loggers write it, and sorts by its time.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (at, event) in self.lines.iter().enumerate() {
            text += &format!(
                "{{\"level\":\"debug\",\"ts\":{}.{:06},\"msg\":\"trace\",\"tag\":\"trace\",\"event\":{event}}}\n",
                1_000_000_000 + at / 1_000_000,
                at % 1_000_000
            );
        }
        text
    }

    fn view(&self, id: NodeId) -> View {
        let raft = self.cluster.raft(id.0);
        View {
            term: raft.term().0,
            vote: raft.vote().map_or(0, |vote| vote.0),
            commit: raft.commit().0,
            role: raft.role(),
            log: raft.last_index().0,
        }
    }

    fn event(&mut self, name: &str, id: NodeId, view: View, message: Option<Value>) {
        let role = match view.role {
            Role::Follower | Role::PreCandidate => "StateFollower",
            Role::Candidate => "StateCandidate",
            Role::Leader => "StateLeader",
        };
        let mut event = json!({
            "name": name,
            "nid": id.to_string(),
            "state": {
                "term": view.term,
                "vote": view.vote.to_string(),
                "commit": view.commit,
            },
            "role": role,
            "log": view.log,
            "conf": [self.conf, []],
        });
        if let Some(message) = message {
            event["msg"] = message;
        }
        self.lines.push(event);
    }

    /// One call of a node, everything that follows, and its disk.
    pub(crate) fn call(&mut self, id: NodeId, call: impl FnOnce(&mut Cluster)) {
        let (before, waiting) = (self.view(id), self.cluster.network.len());
        let lines = self.lines.len();
        call(&mut self.cluster);
        self.follow(id, before, waiting);
        self.finish(id);
        if self.lines.len() > lines || self.view(id) != before {
            self.event("Ready", id, self.view(id), None);
        }
    }

    /// The disk keeps up: a leader and a candidate count what it holds, by a message to themselves.
    fn finish(&mut self, id: NodeId) {
        while let Some(task) = self.cluster.nodes[&id].tasks.front() {
            let (voted, upto) = match task {
                Task::Write { persist, .. } => (
                    persist.hard_state.is_some(),
                    persist.append.as_ref().map(|append| append.last),
                ),
                Task::Install { .. } => (false, None),
            };
            let (before, waiting) = (self.view(id), self.cluster.network.len());
            let own = match (before.role, upto) {
                (Role::Leader, Some(upto)) => Some(("AppendEntriesResponse", "MsgAppResp", upto.0)),
                (Role::Candidate, _) if voted => Some(("RequestVoteResponse", "MsgVoteResp", 0)),
                _ => None,
            };
            if let Some((name, kind, index)) = own {
                let message = plain(kind, before.term, id, id, index);
                self.event(&format!("Send{name}"), id, before, Some(message.clone()));
                self.event("Ready", id, before, None);
                self.event(&format!("Receive{name}"), id, before, Some(message));
            }
            self.cluster.complete(id);
            self.follow(id, before, waiting);
        }
    }

    /// Writes down what one step of a node did.
    fn follow(&mut self, id: NodeId, before: View, waiting: usize) {
        let after = self.view(id);
        let became = |role, log| View {
            role,
            log,
            commit: before.commit,
            ..after
        };
        match (before.role, after.role) {
            (_, Role::Candidate) if after.term > before.term => {
                self.event(
                    "BecomeCandidate",
                    id,
                    became(Role::Candidate, before.log),
                    None,
                );
            }
            (_, Role::Follower) if after.term > before.term => {
                let unvoted = View {
                    vote: 0,
                    ..became(Role::Follower, before.log)
                };
                self.event("BecomeFollower", id, unvoted, None);
            }
            (Role::Leader | Role::Candidate, Role::Follower) => {
                self.event(
                    "BecomeFollower",
                    id,
                    became(Role::Follower, before.log),
                    None,
                );
            }
            (Role::Candidate, Role::Leader) => {
                self.event("BecomeLeader", id, became(Role::Leader, before.log), None);
            }
            _ => {}
        }
        if after.role == Role::Leader {
            for log in before.log..after.log {
                self.event("Replicate", id, became(Role::Leader, log), None);
            }
            if after.commit > before.commit {
                self.event("Commit", id, after, None);
            }
        }
        self.sends(id, after, waiting);
    }

    fn sends(&mut self, id: NodeId, view: View, waiting: usize) {
        for at in waiting..self.cluster.network.len() {
            let packet = self.cluster.network[at].clone();
            if packet.from != id || self.told.contains_key(&packet.serial) {
                continue;
            }
            // What was said stays the same until it arrives.
            let told = self.translate(&packet);
            if let Some((name, message)) = &told {
                self.event(&format!("Send{name}"), id, view, Some(message.clone()));
            }
            self.told.insert(packet.serial, told);
        }
    }

    /// A message as etcd has it; what etcd has not is not written down.
    fn translate(&mut self, packet: &Packet) -> Option<(&'static str, Value)> {
        let Packet {
            from, to, message, ..
        } = packet;
        let raft = self.cluster.raft(from.0);
        let told = |kind, index| plain(kind, message.term.0, *from, *to, index);
        Some(match &message.body {
            Body::Vote { last, .. } => {
                let mut told = told("MsgVote", last.index.0);
                told["logTerm"] = last.term.0.into();
                ("RequestVoteRequest", told)
            }
            Body::VoteReply { granted } => {
                let mut told = told("MsgVoteResp", 0);
                told["reject"] = (!granted).into();
                ("RequestVoteResponse", told)
            }
            Body::Append(append) => {
                let last = self.sent.entry((*from, *to)).or_default();
                let mut prev = append.prev.index;
                if append.entries().is_some() {
                    *last = append.last.0;
                } else {
                    *last = (*last).max(prev.0);
                    prev = Index(*last);
                }
                let mut told = told("MsgApp", prev.0);
                told["entries"] = append.count().into();
                told["logTerm"] = raft.term_at(prev).map_or(0, |term| term.0).into();
                told["commit"] = append.commit.0.min(*last).into();
                ("AppendEntriesRequest", told)
            }
            Body::Snapshot { last, .. } => {
                self.sent.insert((*from, *to), last.index.0);
                let mut told = told("MsgSnap", 0);
                told["entries"] = last.index.0.into();
                ("AppendEntriesRequest", told)
            }
            Body::AppendReply(reply) => {
                let told = match reply.outcome {
                    AppendOutcome::Accepted { matched } => told("MsgAppResp", matched.0),
                    AppendOutcome::Rejected { prev, hint } => {
                        let mut told = told("MsgAppResp", prev.0);
                        told["reject"] = true.into();
                        told["rejectHint"] = hint.index.0.into();
                        told["logTerm"] = hint.term.0.into();
                        told
                    }
                };
                ("AppendEntriesResponse", told)
            }
            _ => return None,
        })
    }

    pub(crate) fn campaign(&mut self, id: NodeId) {
        self.call(id, |cluster| {
            cluster.mutate(id, |raft, now, _| raft.campaign(now));
        });
    }

    pub(crate) fn propose(&mut self, id: NodeId) {
        self.call(id, |cluster| {
            let _ = cluster.try_propose(id);
        });
    }

    /// The first packet on the connection of the packet at `at` arrives, unless the specification has no place for it.
    pub(crate) fn deliver(&mut self, at: usize) {
        let Some(packet) = self.cluster.network.get(at) else {
            return;
        };
        let connection = (packet.from, packet.to);
        let first = |packet: &Packet| (packet.from, packet.to) == connection;
        let at = self
            .cluster
            .network
            .iter()
            .position(first)
            .expect("it is there");
        let packet = self.cluster.network.remove(at).expect("it is there");
        let (from, to) = connection;
        if self.cluster.nodes[&to].raft.is_none() || self.cluster.cut.contains(&connection) {
            return;
        }
        if !self.is_told(to, &packet.message, from) || self.is_superseded(&packet) {
            return;
        }
        if let Some(Some((name, message))) = self.told.remove(&packet.serial) {
            self.event(&format!("Receive{name}"), to, self.view(to), Some(message));
        }
        if self.goes_back(to, &packet) {
            self.sent.remove(&(to, from));
        }
        self.call(to, |cluster| cluster.arrive(packet));
    }

    /// Has the specification a place for this arrival? It knows nothing of messages that etcd has not, which then must
    /// not tell of a new term; and its voters forget which leader of the term they follow, etcd's and ours do not.
    fn is_told(&self, to: NodeId, message: &Message, from: NodeId) -> bool {
        let raft = self.cluster.raft(to.0);
        match message.body {
            Body::Vote { .. } => {
                let follows = raft.leader().is_some_and(|leader| leader != from);
                !(follows && message.term == raft.term() && raft.vote().is_none())
            }
            Body::VoteReply { .. }
            | Body::Append(_)
            | Body::AppendReply(_)
            | Body::Snapshot { .. } => true,
            _ => message.term <= raft.term(),
        }
    }

    /// Does the leader send again what it has sent, since the packet says that it did not fit? It may be an old answer.
    fn goes_back(&self, leader: NodeId, packet: &Packet) -> bool {
        let node = &self.cluster.nodes[&leader];
        let next = |raft: &Raft| {
            let peer = raft.peers().find(|peer| peer.node == packet.from);
            peer.map(|peer| peer.next)
        };
        let mut told = self.cluster.raft(leader.0).clone();
        let before = next(&told);
        told.step(
            packet.from,
            &packet.message,
            self.cluster.now,
            &node.liveness,
        );
        next(&told).is_some_and(|after| Some(after) < before)
    }

    /// Another acknowledgement follows on the connection. The first may have been given before the disk was done: such a
    /// one etcd's followers do not send.
    fn is_superseded(&self, packet: &Packet) -> bool {
        let accepts = |packet: &Packet| match &packet.message.body {
            Body::AppendReply(reply) => matches!(reply.outcome, AppendOutcome::Accepted { .. }),
            _ => false,
        };
        let connection = (packet.from, packet.to);
        let mut later = self.cluster.network.iter();
        accepts(packet) && later.any(|later| (later.from, later.to) == connection && accepts(later))
    }

    /// What is on its way to `id` from its followers, and from it, arrives.
    fn flush(&mut self, id: NodeId) {
        let acknowledges = |packet: &Packet| {
            (packet.from == id || packet.to == id)
                && matches!(packet.message.body, Body::AppendReply(_))
        };
        while let Some(at) = self.cluster.network.iter().position(acknowledges) {
            self.deliver(at);
        }
    }

    pub(crate) fn crash(&mut self, id: NodeId) {
        self.flush(id);
        let commit = self.cluster.raft(id.0).commit();
        self.cluster.nodes.get_mut(&id).expect("known").disk.commit = commit;
        self.cluster.crash(id);
        self.sent.retain(|(from, to), _| *from != id && *to != id);
    }

    pub(crate) fn start(&mut self, id: NodeId) {
        // What was sent while nobody was there went nowhere.
        self.cluster.network.retain(|packet| packet.to != id);
        let waiting = self.cluster.network.len();
        self.sent.retain(|(from, to), _| *from != id && *to != id);
        self.cluster.start(id, Damage::None).expect("a sound disk");
        self.event("InitState", id, self.view(id), None);
        self.resume(waiting);
    }

    pub(crate) fn sever(&mut self, one: NodeId, other: NodeId) {
        for id in [one, other] {
            if self.cluster.nodes[&id].raft.is_some() {
                self.flush(id);
            }
        }
        self.cluster.sever(one, other);
    }

    pub(crate) fn heal(&mut self) {
        let cut = self.cluster.cut.clone();
        let open = |packet: &Packet| !cut.contains(&(packet.from, packet.to));
        self.cluster.network.retain(open);
        let waiting = self.cluster.network.len();
        self.sent.retain(|connection, _| !cut.contains(connection));
        self.cluster.heal();
        self.resume(waiting);
    }

    /// Connections were made anew: their ends have said something.
    fn resume(&mut self, waiting: usize) {
        // Acknowledgements that nobody asked for are lost: etcd's followers send none.
        let fresh = self.cluster.network.split_off(waiting);
        let asked = |packet: &Packet| !matches!(packet.message.body, Body::AppendReply(_));
        self.cluster.network.extend(fresh.into_iter().filter(asked));
        for id in self.cluster.alive() {
            let lines = self.lines.len();
            let view = self.view(id);
            self.sends(id, view, waiting);
            if self.lines.len() > lines {
                self.event("Ready", id, view, None);
            }
        }
    }

    /// Everything that is on its way arrives.
    pub(crate) fn settle(&mut self) {
        while !self.cluster.network.is_empty() {
            self.deliver(0);
        }
    }
}

/// A message with nothing in it but who says it to whom.
fn plain(kind: &str, term: u64, from: NodeId, to: NodeId, index: u64) -> Value {
    json!({
        "type": kind,
        "term": term,
        "from": from.to_string(),
        "to": to.to_string(),
        "entries": 0,
        "logTerm": 0,
        "index": index,
        "commit": 0,
        "vote": "0",
        "reject": false,
        "rejectHint": 0,
    })
}

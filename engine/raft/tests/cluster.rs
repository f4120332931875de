//! A small world for one group: nodes with disks whose writes complete when told, a network whose packets
//! arrive when told, a clock that moves when told.
//!
//! - Every message goes through its bytes and back.
//! - After every step all invariants are checked, and all replicas' applied sequences agree.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft::config::{Config, Damage, Restored};
use raft::effects::{Effects, HardState, Made, Persist, Role};
use raft::freshness::Closed;
use raft::ids::{EntryId, Index, NodeId, ReadId, Term, Time};
use raft::invariants::RaftInvariants;
use raft::liveness::Liveness;
use raft::membership::Membership;
use raft::message::{Body, Message};
use raft::raft::{ProposeError, Raft};
use raft::{config::ConfigError, effects::ReadAborted, wire};

pub(crate) const TIMEOUT: u64 = 1_000_000;

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    Empty,
    Command(u64),
    Configuration(Membership),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) term: Term,
    pub(crate) data: Data,
}

/// A log with contents; index 1 is at `entries[0]` when `snapshot` is zero.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    pub(crate) snapshot: EntryId,
    pub(crate) membership: Membership,
    /// What was applied up to the snapshot.
    pub(crate) state: Vec<u64>,
    pub(crate) entries: Vec<Entry>,
}

impl Contents {
    fn last(&self) -> Index {
        Index(self.snapshot.index.0 + self.entries.len() as u64)
    }

    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        let at = index.0.checked_sub(self.snapshot.index.0 + 1)?;
        self.entries.get(at as usize)
    }

    fn write(&mut self, first: Index, entries: &[Entry]) {
        let keep = first.0.saturating_sub(self.snapshot.index.0 + 1) as usize;
        let skip = (self.snapshot.index.0 + 1).saturating_sub(first.0) as usize;
        self.entries.truncate(keep);
        self.entries.extend(entries.iter().skip(skip).cloned());
    }

    fn compact(&mut self, upto: EntryId, membership: Membership, state: Vec<u64>) {
        if upto == self.snapshot {
            return;
        }
        let drop = (upto.index.0 - self.snapshot.index.0) as usize;
        let matches = self
            .get(upto.index)
            .is_some_and(|entry| entry.term == upto.term);
        if matches {
            self.entries.drain(..drop);
        } else {
            self.entries.clear();
        }
        self.snapshot = upto;
        self.membership = membership;
        self.state = state;
    }
}

/// Work for a disk.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    Write {
        persist: Persist,
        entries: Vec<Entry>,
    },
    Install {
        last: EntryId,
        membership: Membership,
        state: Vec<u64>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// A hint at what was committed; 0: none.
    pub(crate) commit: Index,
    /// What was lost and is not given back: remembered until the core says that all is well.
    pub(crate) damage: Damage,
    pub(crate) hard_state: HardState,
    pub(crate) contents: Contents,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) raft: Option<Raft>,
    pub(crate) config: Config,
    pub(crate) memory: Contents,
    pub(crate) disk: Disk,
    pub(crate) tasks: VecDeque<Task>,
    /// The bytes that came with the call under way: the first index and the entries.
    pub(crate) stash: Option<(Index, Vec<Entry>)>,
    pub(crate) applied: Vec<u64>,
    pub(crate) applied_upto: Index,
    pub(crate) wake: Option<Time>,
    pub(crate) liveness: Liveness,
    pub(crate) incarnation: u64,
    pub(crate) reads: BTreeMap<ReadId, Result<Index, ReadAborted>>,
    /// How fast its clock runs: thousandths more or less than the world's.
    pub(crate) rate: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Its number among all that were sent.
    pub(crate) serial: u64,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
    pub(crate) entries: Vec<Entry>,
}

/// A leader's statement on its way to a member: who said it, in which of its processes, to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement {
    pub(crate) from: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) to: NodeId,
    pub(crate) closed: Closed,
}

/// The world.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) network: VecDeque<Packet>,
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    pub(crate) now: Time,
    pub(crate) invariants: RaftInvariants,
    pub(crate) next_command: u64,
    pub(crate) sent: u64,
    pub(crate) watch: bool,
    /// Signs of life as they arrived last, by sender and receiver: what the sender's clock showed.
    beats: BTreeMap<(NodeId, NodeId), Time>,
    /// What leaders said about the past, the latest of each to each.
    pub(crate) statements: VecDeque<Statement>,
    /// When, by the world's clock, each index was first seen committed anywhere.
    committed_at: Vec<Time>,
}

pub(crate) fn node(id: u32) -> NodeId {
    NodeId(id)
}

pub(crate) fn config(id: u32) -> Config {
    Config {
        election_timeout: TIMEOUT,
        rank: id - 1,
        ..Config::of(NodeId(id))
    }
}

impl Cluster {
    pub(crate) fn empty() -> Self {
        Self {
            nodes: BTreeMap::new(),
            network: VecDeque::new(),
            cut: BTreeSet::new(),
            now: Time(10 * TIMEOUT),
            invariants: RaftInvariants::new(),
            next_command: 1,
            sent: 0,
            watch: true,
            beats: BTreeMap::new(),
            statements: VecDeque::new(),
            committed_at: Vec::new(),
        }
    }

    /// What the node's clock shows.
    pub(crate) fn local(&self, id: NodeId) -> Time {
        self.local_at(id, self.now)
    }

    fn local_at(&self, id: NodeId, world: Time) -> Time {
        let rate = self.nodes.get(&id).map_or(0, |node| node.rate);
        let fast = i128::from(world.0) * i128::from(1000 + rate) / 1000;
        Time(u64::try_from(fast).expect("clocks run forward"))
    }

    /// Voters 1..=count with an empty log.
    pub(crate) fn of(count: u32) -> Self {
        Self::with(count, |_| {})
    }

    pub(crate) fn with(count: u32, adjust: impl Fn(&mut Config)) -> Self {
        let voters: Vec<NodeId> = (1..=count).map(NodeId).collect();
        let membership = Membership::of_voters(&voters).expect("voters");
        let mut cluster = Self::empty();
        for id in 1..=count {
            let mut config = config(id);
            adjust(&mut config);
            cluster.add(config, &membership);
        }
        cluster
    }

    /// A node with an empty log that knows the group's first configuration.
    pub(crate) fn add(&mut self, config: Config, membership: &Membership) {
        self.add_restored(
            config,
            membership,
            EntryId::default(),
            HardState::default(),
            vec![],
        );
    }

    pub(crate) fn add_restored(
        &mut self,
        config: Config,
        membership: &Membership,
        snapshot: EntryId,
        hard_state: HardState,
        state: Vec<u64>,
    ) {
        let contents = Contents {
            snapshot,
            membership: membership.clone(),
            state,
            entries: Vec::new(),
        };
        let disk = Disk {
            commit: Index(0),
            damage: Damage::None,
            hard_state,
            contents: contents.clone(),
        };
        let node = Node {
            raft: None,
            config,
            memory: contents,
            disk,
            tasks: VecDeque::new(),
            stash: None,
            applied: Vec::new(),
            applied_upto: Index(0),
            wake: None,
            liveness: Liveness::new(),
            incarnation: 0,
            reads: BTreeMap::new(),
            rate: 0,
        };
        self.nodes.insert(config.id, node);
        self.start(config.id, Damage::None).expect("a sound disk");
    }

    /// Starts the node's process from its disk.
    pub(crate) fn start(&mut self, id: NodeId, damage: Damage) -> Result<(), ConfigError> {
        let now = self.local(id);
        self.beats.retain(|(from, to), _| *from != id && *to != id);
        let node = self.nodes.get_mut(&id).expect("known");
        if damage != Damage::None {
            node.disk.damage = damage;
        }
        let damage = node.disk.damage;
        let contents = node.disk.contents.clone();
        let mut runs: Vec<EntryId> = Vec::new();
        let mut configurations = Vec::new();
        for (at, entry) in contents.entries.iter().enumerate() {
            let index = Index(contents.snapshot.index.0 + 1 + at as u64);
            if runs.last().is_none_or(|run| run.term != entry.term) {
                runs.push(EntryId {
                    term: entry.term,
                    index,
                });
            }
            if let Data::Configuration(membership) = &entry.data {
                configurations.push((index, membership.clone()));
            }
        }
        let restored = Restored {
            hard_state: node.disk.hard_state,
            membership: contents.membership.clone(),
            snapshot: contents.snapshot,
            runs,
            last: contents.last(),
            configurations,
            commit: contents.snapshot.index.max(node.disk.commit),
            applied: contents.snapshot.index,
            damage,
        };
        node.incarnation += 1;
        let seed = u64::from(id.0) << 32 | node.incarnation;
        node.raft = Some(Raft::new(node.config, restored, seed, now)?);
        node.applied = contents.state.clone();
        node.applied_upto = contents.snapshot.index;
        node.memory = contents;
        self.invariants.restarted(id);
        self.hear();
        for peer in self.alive() {
            if peer != id {
                self.mutate(peer, |raft, now, _| raft.peer_reset(id, now));
            }
        }
        self.mutate(id, |_, _, _| ());
        Ok(())
    }

    /// Ends the node's process: memory and unfinished disk work are gone.
    pub(crate) fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("known");
        node.raft = None;
        node.tasks.clear();
        node.wake = None;
        node.reads.clear();
        self.network
            .retain(|packet| packet.from != id && packet.to != id);
    }

    pub(crate) fn restart(&mut self, id: NodeId) {
        self.crash(id);
        self.start(id, Damage::None).expect("a sound disk");
    }

    pub(crate) fn alive(&self) -> Vec<NodeId> {
        let alive = self.nodes.iter().filter(|(_, node)| node.raft.is_some());
        alive.map(|(id, _)| *id).collect()
    }

    pub(crate) fn raft(&self, id: u32) -> &Raft {
        self.nodes[&NodeId(id)].raft.as_ref().expect("alive")
    }

    /// The leader of the highest term.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leaders = self.nodes.values().filter_map(|node| node.raft.as_ref());
        let leaders = leaders.filter(|raft| raft.role() == Role::Leader);
        leaders.max_by_key(|raft| raft.term()).map(Raft::id)
    }

    /// One call, then everything that follows from it on this node.
    pub(crate) fn mutate<T>(
        &mut self,
        id: NodeId,
        call: impl FnOnce(&mut Raft, Time, &Liveness) -> T,
    ) -> T {
        let now = self.local(id);
        let node = self.nodes.get_mut(&id).expect("known");
        let raft = node.raft.as_mut().expect("alive");
        let result = call(raft, now, &node.liveness);
        let mut effects = Effects::default();
        raft.drain(&mut effects);
        node.disk.damage = raft.damage();
        self.carry_out(id, effects);
        self.check();
        result
    }

    fn carry_out(&mut self, id: NodeId, effects: Effects) {
        let node = self.nodes.get_mut(&id).expect("known");
        node.wake = effects.wake;
        if let Some(persist) = effects.persist {
            node.remember(&persist);
            let entries = persist.append.as_ref().map_or(vec![], |append| {
                (append.first.0..=append.last.0)
                    .map(|index| node.memory.get(Index(index)).expect("held").clone())
                    .collect()
            });
            node.tasks.push_back(Task::Write { persist, entries });
        }
        for (to, message) in effects.send {
            self.sent += 1;
            let packet = node.packet(self.sent, id, to, message);
            self.network.push_back(packet);
        }
        if let Some(commit) = effects.commit {
            node.apply(commit);
        }
        for (read, answer) in effects.reads {
            assert!(
                node.reads.insert(read, answer).is_none(),
                "a read is answered once"
            );
        }
        if let Some(install) = effects.install {
            // The state travelled with the packet and waits in `pending`.
            let offer = self.pending_state(install.from, install.last);
            if let Some((membership, state)) = offer {
                let node = self.nodes.get_mut(&id).expect("known");
                node.tasks.push_back(Task::Install {
                    last: install.last,
                    membership,
                    state,
                });
            }
        }
    }

    /// The state that `from` offers as of `last`, if it still has it.
    fn pending_state(&self, from: NodeId, last: EntryId) -> Option<(Membership, Vec<u64>)> {
        let contents = &self.nodes[&from].memory;
        (contents.snapshot == last).then(|| (contents.membership.clone(), contents.state.clone()))
    }

    pub(crate) fn check(&mut self) {
        if !self.watch {
            return;
        }
        let replicas = self.nodes.values().filter_map(|node| node.raft.as_ref());
        if let Err(violation) = self.invariants.check(replicas) {
            panic!("{violation}");
        }
        self.check_applied();
        self.check_freshness();
    }

    /// No replica claims that its state reflects more than it does.
    fn check_freshness(&mut self) {
        let committed = self.invariants.committed().0 as usize;
        self.committed_at
            .resize(committed.max(self.committed_at.len()), self.now);
        for (&id, node) in &self.nodes {
            let Some(raft) = &node.raft else { continue };
            let Some(reflects) = raft.reflects(self.local(id)) else {
                continue;
            };
            let missed = self.committed_at[raft.applied_index().0 as usize..]
                .iter()
                .find(|at| self.local_at(id, **at) < reflects);
            assert!(
                missed.is_none(),
                "node {id} has applied {} and claims to reflect {reflects:?}: {missed:?}",
                raft.applied_index()
            );
        }
    }

    pub(crate) fn check_applied(&self) {
        let longest = self.nodes.values().max_by_key(|node| node.applied.len());
        let longest = &longest.expect("a node").applied;
        for (id, node) in &self.nodes {
            assert!(
                longest.starts_with(&node.applied),
                "node {id} applied something else"
            );
        }
    }

    /// Delivers the packet at position `at`.
    pub(crate) fn deliver(&mut self, at: usize) {
        let Some(packet) = self.network.remove(at) else {
            return;
        };
        self.arrive(packet);
    }

    pub(crate) fn arrive(&mut self, packet: Packet) {
        let Packet {
            from,
            to,
            message,
            entries,
            ..
        } = packet;
        let gone = self.nodes.get(&to).is_none_or(|node| node.raft.is_none());
        if gone || self.cut.contains(&(from, to)) {
            return;
        }
        let incarnation = self.nodes[&from].incarnation;
        let now = self.local(to);
        let node = self.nodes.get_mut(&to).expect("known");
        node.liveness.heard(from, incarnation, now);
        if let Body::Append(append) = &message.body {
            node.stash = Some((append.first(), entries));
        }
        self.mutate(to, |raft, now, liveness| {
            raft.step(from, &message, now, liveness)
        });
        self.nodes.get_mut(&to).expect("known").stash = None;
    }

    /// Completes the oldest unfinished disk work of a node.
    pub(crate) fn complete(&mut self, id: NodeId) -> bool {
        let node = self.nodes.get_mut(&id).expect("known");
        let Some(task) = node.tasks.pop_front() else {
            return false;
        };
        match task {
            Task::Write { persist, entries } => {
                node.disk.write(&persist, &entries);
                self.mutate(id, |raft, now, _| raft.persisted(persist.seq, now));
            }
            Task::Install {
                last,
                membership,
                state,
            } => {
                let installed = self.mutate(id, |raft, now, _| raft.snapshot_installed(last, now));
                let node = self.nodes.get_mut(&id).expect("known");
                if installed {
                    node.disk
                        .contents
                        .compact(last, membership.clone(), state.clone());
                    node.memory.compact(last, membership, state.clone());
                    node.applied = state;
                    node.applied_upto = last.index;
                    let commit = node.raft.as_ref().expect("alive").commit();
                    node.apply(commit);
                }
                self.check();
            }
        }
        true
    }

    /// Delivers and completes everything until nothing is left to do. Returns the number of deliveries.
    pub(crate) fn settle(&mut self) -> usize {
        let mut deliveries = 0;
        loop {
            let mut idle = true;
            while !self.network.is_empty() {
                self.deliver(0);
                deliveries += 1;
                idle = false;
                assert!(
                    deliveries < 5_000,
                    "the group does not come to rest: {:?}\n{}",
                    self.network,
                    self.describe()
                );
            }
            for id in self.alive() {
                while self.complete(id) {
                    idle = false;
                }
            }
            if idle {
                return deliveries;
            }
        }
    }

    fn connected(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to)) && self.nodes[&from].raft.is_some()
    }

    /// Node-level signs of life: everybody hears everybody who is up and not cut off. Each says what its clock
    /// shows and which sign of the other arrived last; leaders say how far they know the past to be closed.
    pub(crate) fn hear(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        let mut arrived = Vec::new();
        for &from in &ids {
            let closed = self.nodes[&from].raft.as_ref();
            let closed = closed.and_then(|raft| raft.closed(self.local(from)));
            for &to in ids.iter().filter(|&&to| to != from) {
                if self.connected(from, to) {
                    let incarnation = self.nodes[&from].incarnation;
                    let (here, there) = (self.local(to), self.local(from));
                    let echo = self.beats.get(&(to, from)).copied();
                    let node = self.nodes.get_mut(&to).expect("known");
                    node.liveness.heard(from, incarnation, here);
                    if let Some(sent) = echo {
                        node.liveness.clock(from, sent, there);
                    }
                    arrived.push(((from, to), there));
                    if let Some(closed) = closed {
                        self.state(Statement {
                            from,
                            incarnation,
                            to,
                            closed,
                        });
                    }
                }
            }
        }
        self.beats.extend(arrived);
    }

    /// A statement sets out; some stay on their way for long.
    fn state(&mut self, statement: Statement) {
        if self.statements.len() == 32 {
            self.statements.pop_front();
        }
        self.statements.push_back(statement);
    }

    /// The statement at position `at` arrives.
    pub(crate) fn tell(&mut self, at: usize) {
        let Some(Statement {
            from,
            incarnation,
            to,
            closed,
        }) = self.statements.remove(at)
        else {
            return;
        };
        if self.nodes[&to].raft.is_some() {
            self.mutate(to, |raft, _, liveness| {
                raft.closed_at(from, incarnation, closed, liveness);
            });
        }
    }

    /// Moves the clock by `span`, in steps, with signs of life and ticks as a shard would give them.
    pub(crate) fn pass(&mut self, span: u64) {
        let until = self.now.plus(span);
        while self.now < until {
            let step = (until.0 - self.now.0).min(TIMEOUT / 10);
            self.step_clock(step);
            self.settle();
        }
    }

    pub(crate) fn step_clock(&mut self, step: u64) {
        let before: Vec<(NodeId, Vec<bool>)> = self.silences();
        self.now = self.now.plus(step);
        self.hear();
        let after = self.silences();
        for ((id, before), (_, after)) in before.into_iter().zip(after) {
            let node = &self.nodes[&id];
            let due = node.wake.is_some_and(|wake| wake <= self.local(id)) || before != after;
            if node.raft.is_some() && due {
                self.mutate(id, |raft, now, liveness| raft.tick(now, liveness));
            }
        }
    }

    /// For each node, who is silent to it.
    fn silences(&self) -> Vec<(NodeId, Vec<bool>)> {
        let silent = |id: &NodeId, node: &Node| {
            let (others, now) = (self.nodes.keys(), self.local(*id));
            others
                .map(|&other| node.liveness.is_silent(other, now, TIMEOUT))
                .collect()
        };
        self.nodes
            .iter()
            .map(|(id, node)| (*id, silent(id, node)))
            .collect()
    }

    /// Lets time pass until somebody leads whom a quorum follows.
    pub(crate) fn elect(&mut self) -> NodeId {
        self.settle();
        for _ in 0..400 {
            let severed = |id: &NodeId| self.cut.iter().filter(|(from, _)| from == id).count();
            let connected = |id: &NodeId| 2 * severed(id) < self.nodes.len();
            if let Some(leader) = self.leader().filter(connected) {
                let raft = self.nodes[&leader].raft.as_ref().expect("alive");
                if raft.term_at(raft.commit()) == Some(raft.term()) {
                    return leader;
                }
            }
            self.pass(TIMEOUT / 10);
        }
        panic!("nobody was elected\n{}", self.describe());
    }

    /// One line per node.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for (id, node) in &self.nodes {
            let Some(raft) = &node.raft else {
                text += &format!("{id}: down\n");
                continue;
            };
            let members = raft.membership().members().iter();
            let members: Vec<_> = members
                .map(|m| (m.node.0, m.incoming, m.outgoing))
                .collect();
            text += &format!(
                "{id}: {:?} term {} leader {:?} vote {:?} log {:?}+{:?}..{} commit {} wake {:?} {members:?}\n",
                raft.role(),
                raft.term(),
                raft.leader(),
                raft.vote(),
                raft.term_log().snapshot(),
                raft.term_log().runs(),
                raft.last_index(),
                raft.commit(),
                node.wake.map(|wake| wake.0 as i64 - self.now.0 as i64),
            );
            for peer in raft.peers() {
                text += &format!("    {peer:?}\n");
            }
        }
        text
    }

    /// Proposes one command on a node.
    pub(crate) fn try_propose(&mut self, id: NodeId) -> Result<u64, ProposeError> {
        let command = self.next_command;
        let node = self.nodes.get_mut(&id).expect("known");
        let raft = node.raft.as_mut().expect("alive");
        let range = raft.propose(1, 8)?;
        let entry = Entry {
            term: raft.term(),
            data: Data::Command(command),
        };
        node.stash = Some((*range.start(), vec![entry]));
        self.next_command += 1;
        self.mutate(id, |_, _, _| ());
        Ok(command)
    }

    pub(crate) fn propose(&mut self, id: NodeId) -> u64 {
        self.try_propose(id).expect("a leader")
    }

    /// No packets, in both directions; what is under way is lost.
    pub(crate) fn isolate(&mut self, id: NodeId) {
        for other in self
            .nodes
            .keys()
            .copied()
            .filter(|&other| other != id)
            .collect::<Vec<_>>()
        {
            self.sever(id, other);
        }
    }

    pub(crate) fn sever(&mut self, one: NodeId, other: NodeId) {
        self.cut.insert((one, other));
        self.cut.insert((other, one));
        let between = |packet: &Packet| {
            (packet.from == one && packet.to == other) || (packet.from == other && packet.to == one)
        };
        self.network.retain(|packet| !between(packet));
    }

    /// All links work again; both ends of a link that was cut notice.
    pub(crate) fn heal(&mut self) {
        let cut = std::mem::take(&mut self.cut);
        self.hear();
        for (from, to) in cut {
            if self.nodes.get(&to).is_some_and(|node| node.raft.is_some()) {
                self.mutate(to, |raft, now, _| raft.peer_reset(from, now));
            }
        }
    }

    /// Takes a snapshot at the node's applied index and gives up the log before it.
    pub(crate) fn compact(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        let upto = node
            .applied_upto
            .min(node.raft.as_ref().expect("alive").durable());
        self.compact_to(id, upto);
    }

    /// Takes a snapshot as of `index`, which is applied and durable, and gives up the log before it.
    pub(crate) fn compact_to(&mut self, id: NodeId, index: Index) {
        let node = self.nodes.get_mut(&id).expect("known");
        let raft = node.raft.as_mut().expect("alive");
        let from = raft.term_log().snapshot().index;
        if index <= from {
            return;
        }
        let term = raft.term_at(index).expect("applied entries are held");
        let upto = EntryId { term, index };
        let membership = raft.membership_at(index).clone();
        let later = (index.0 + 1..=node.applied_upto.0)
            .filter(|&at| {
                let entry = node.memory.get(Index(at)).expect("held");
                matches!(entry.data, Data::Command(_))
            })
            .count();
        let state = node.applied[..node.applied.len() - later].to_vec();
        assert!(raft.compacted(upto));
        node.memory.compact(upto, membership.clone(), state.clone());
        node.disk.contents.compact(upto, membership, state);
        self.mutate(id, |_, _, _| ());
    }

    /// All alive nodes have applied the same, and it contains `command`.
    pub(crate) fn assert_all_applied(&self, command: u64) {
        for id in self.alive() {
            let applied = &self.nodes[&id].applied;
            assert!(
                applied.contains(&command),
                "node {id} has applied {applied:?}, not {command}"
            );
        }
    }
}

impl Node {
    /// Keeps the bytes of the entries that the core took or made.
    fn remember(&mut self, persist: &Persist) {
        let Some(append) = &persist.append else {
            return;
        };
        let raft = self.raft.as_ref().expect("alive");
        let stash = self.stash.take();
        for index in (append.first.0..=append.last.0).map(Index) {
            let term = raft.term_at(index).expect("held");
            let made = append.made.iter().find(|(at, _)| *at == index);
            let data = match made {
                Some((_, Made::Empty)) => Data::Empty,
                Some((_, Made::Configuration(membership))) => {
                    let mut bytes = Vec::new();
                    membership.encode(&mut bytes);
                    Data::Configuration(Membership::decode(&bytes).expect("just encoded"))
                }
                None => {
                    let (first, entries) = stash.as_ref().expect("bytes came with the call");
                    let entry = &entries[(index.0 - first.0) as usize];
                    assert_eq!(entry.term, term);
                    entry.data.clone()
                }
            };
            self.memory.write(index, &[Entry { term, data }]);
        }
    }

    fn packet(&self, serial: u64, from: NodeId, to: NodeId, message: Message) -> Packet {
        let mut bytes = Vec::new();
        wire::encode(&message, &mut bytes);
        assert_eq!(wire::decode(&bytes).as_ref(), Ok(&message));
        let mut entries = Vec::new();
        if let Body::Append(append) = &message.body {
            for index in append.first().0..=append.last.0 {
                entries.push(self.memory.get(Index(index)).expect("held").clone());
            }
        }
        Packet {
            serial,
            from,
            to,
            message,
            entries,
        }
    }

    fn apply(&mut self, commit: Index) {
        while self.applied_upto < commit {
            let index = self.applied_upto.next();
            let entry = self.memory.get(index).expect("committed entries are held");
            if let Data::Command(command) = entry.data {
                self.applied.push(command);
            }
            self.applied_upto = index;
        }
        self.raft.as_mut().expect("alive").applied(commit);
    }
}

impl Disk {
    fn write(&mut self, persist: &Persist, entries: &[Entry]) {
        if let Some(hard_state) = persist.hard_state {
            assert!(hard_state.term >= self.hard_state.term);
            self.hard_state = hard_state;
        }
        if let Some(append) = &persist.append {
            self.contents.write(append.first, entries);
        }
    }
}

//! Schedules of faults, and what must hold whatever happens: shared by the property test and the fuzz target.
//!
//! - Every step is checked by all invariants; in the end, when faults stop, the group agrees and goes on.
//! - Any bytes are a schedule.

use raft::change::{Change, Transition};
use raft::config::{Config, Damage};
use raft::ids::NodeId;
use raft::quorum::Quorum;
use raft::quorum_read::QuorumRead;
use raft::requests::MembershipChange;

use crate::cluster::{Cluster, TIMEOUT, config, node};

/// The most events of a schedule read from bytes: longer ones say nothing new and take long.
const EVENTS_MAX: usize = 1_000;

/// One thing that happens; numbers are taken modulo what exists.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Deliver(u16),
    Duplicate(u16),
    Lose(u16),
    Complete(u8),
    Pass(u8),
    Propose(u8),
    Crash(u8),
    Restart(u8),
    Sever(u8, u8),
    Heal,
    Compact(u8),
    Transfer(u8, u8),
    Read(u8),
    Member(u8, u8),
    Sizes(u8, u8),
    Campaign(u8),
    QuorumRead(u16),
    LoseEntries(u8, u8),
    Renew,
    Tell(u16),
}

/// How fast the nodes' clocks run, in thousandths: any two differ by less than the bound on drift, a tenth.
const RATES: [i64; 6] = [0, 45, -45, 20, -30, 10];

struct Chaos {
    cluster: Cluster,
    /// Reads that began, with what had been acknowledged by then.
    reads: Vec<(NodeId, u64, raft::ids::ReadId, u64)>,
}

impl Chaos {
    fn new(count: u32, leases: bool) -> Self {
        let lease_drift = leases.then_some(TIMEOUT / 10);
        let mut cluster = Cluster::with(count, |config| config.lease_drift = lease_drift);
        // One more node that may be invited.
        let membership = cluster.raft(1).membership().clone();
        cluster.add(
            Config {
                lease_drift,
                ..config(count + 1)
            },
            &membership,
        );
        for (node, rate) in cluster.nodes.values_mut().zip(RATES) {
            node.rate = if leases { rate } else { 0 };
        }
        Self {
            cluster,
            reads: Vec::new(),
        }
    }

    fn pick(&self, number: u8) -> Option<NodeId> {
        let alive = self.cluster.alive();
        (!alive.is_empty()).then(|| alive[usize::from(number) % alive.len()])
    }

    fn any(&self, number: u8) -> NodeId {
        node(u32::from(number) % self.cluster.nodes.len() as u32 + 1)
    }

    fn happen(&mut self, event: Event) {
        let cluster = &mut self.cluster;
        match event {
            Event::Deliver(at) => {
                let waiting = cluster.network.len();
                if waiting > 0 {
                    // Mostly in order.
                    let at = usize::from(at);
                    let at = if at % 4 == 0 { at / 4 % waiting } else { 0 };
                    cluster.deliver(at);
                }
            }
            Event::Duplicate(at) if !cluster.network.is_empty() => {
                let packet = cluster.network[usize::from(at) % cluster.network.len()].clone();
                cluster.network.push_back(packet);
            }
            Event::Lose(at) if !cluster.network.is_empty() => {
                cluster
                    .network
                    .remove(usize::from(at) % cluster.network.len());
            }
            Event::Duplicate(_) | Event::Lose(_) => {}
            Event::Complete(number) => {
                if let Some(id) = self.pick(number) {
                    self.cluster.complete(id);
                }
            }
            Event::Pass(tenths) => cluster.step_clock(u64::from(tenths) * TIMEOUT / 10),
            Event::Propose(number) => {
                let id = cluster.leader().or_else(|| self.pick(number));
                if let Some(id) = id {
                    let _ = self.cluster.try_propose(id);
                }
            }
            Event::Crash(number) if number % 2 == 0 => {
                if let Some(id) = self.pick(number / 2) {
                    self.cluster.crash(id);
                }
            }
            Event::Crash(_) => {}
            Event::Restart(number) => {
                let id = self.any(number);
                if self.cluster.nodes[&id].raft.is_none() {
                    self.cluster.start(id, Damage::None).expect("a sound disk");
                }
            }
            Event::Sever(one, other) => {
                let (one, other) = (self.any(one), self.any(other));
                if one != other {
                    self.cluster.sever(one, other);
                }
            }
            Event::Heal => cluster.heal(),
            Event::Compact(number) => {
                if let Some(id) = self.pick(number) {
                    self.cluster.compact(id);
                }
            }
            Event::Transfer(from, to) => self.transfer(from, to),
            Event::Read(number) => self.read(number),
            Event::Member(who, what) => self.change(who, what),
            Event::Sizes(election, commit) => self.sizes(election, commit),
            Event::LoseEntries(who, keep) => {
                let id = self.any(who);
                let cluster = &mut self.cluster;
                cluster.crash(id);
                let node = cluster.nodes.get_mut(&id).expect("known");
                let entries = &mut node.disk.contents.entries;
                entries.truncate(usize::from(keep) % (entries.len() + 1));
                cluster.start(id, Damage::Entries).expect("a sound disk");
            }
            Event::Renew => {
                if let Some(id) = cluster.leader() {
                    cluster.mutate(id, |raft, now, _| raft.renew(now));
                }
            }
            Event::Tell(at) => {
                let waiting = cluster.statements.len();
                if waiting > 0 {
                    cluster.tell(usize::from(at) % waiting);
                }
            }
            Event::QuorumRead(order) => self.quorum_read(order),
            Event::Campaign(number) => {
                if let Some(id) = self.pick(number) {
                    self.cluster.mutate(id, |raft, now, _| raft.campaign(now));
                }
            }
        }
        self.check_reads();
    }

    /// Asks the living in some order, with luck enough of them: what they say covers every commit.
    fn quorum_read(&self, order: u16) {
        let mut alive = self.cluster.alive();
        let turn = usize::from(order) % alive.len().max(1);
        alive.rotate_left(turn);
        let mut read = QuorumRead::new();
        for id in alive {
            let raft = self.cluster.raft(id.0);
            let Some(answer) = raft.read_answer() else {
                continue;
            };
            if let Some(index) = read.answer(&answer) {
                let committed = self.cluster.invariants.committed();
                assert!(
                    index >= committed,
                    "a stale quorum read: {index} < {committed}"
                );
                return;
            }
        }
    }

    fn transfer(&mut self, from: u8, to: u8) {
        let to = self.any(to);
        if let Some(from) = self.cluster.leader().or_else(|| self.pick(from)) {
            self.cluster.mutate(from, |raft, now, _| {
                let _ = raft.transfer(to, now);
            });
        }
    }

    fn read(&mut self, number: u8) {
        let Some(id) = self.pick(number) else { return };
        let acknowledged = self.cluster.invariants.committed().0;
        let incarnation = self.cluster.nodes[&id].incarnation;
        if let Ok(read) = self.cluster.mutate(id, |raft, now, _| raft.read(now)) {
            self.reads.push((id, incarnation, read, acknowledged));
        }
    }

    /// A read never answers with less than what was committed anywhere before it began.
    fn check_reads(&mut self) {
        let nodes = &self.cluster.nodes;
        self.reads.retain(|(id, incarnation, read, acknowledged)| {
            let node = &nodes[id];
            if node.raft.is_none() || node.incarnation != *incarnation {
                return false;
            }
            match node.reads.get(read) {
                Some(Ok(index)) => {
                    assert!(
                        index.0 >= *acknowledged,
                        "a stale read: {index} < {acknowledged}"
                    );
                    false
                }
                Some(Err(_)) => false,
                None => true,
            }
        });
    }

    fn change(&mut self, who: u8, what: u8) {
        let who = self.any(who);
        let Some(leader) = self.cluster.leader() else {
            return;
        };
        let change = match what % 4 {
            0 => Change::learner(who),
            1 | 2 => Change::voter(who),
            _ => Change::Remove { node: who },
        };
        let transition = match what / 4 % 3 {
            0 => Transition::JointImplicit,
            1 => Transition::JointExplicit,
            _ => Transition::Auto,
        };
        let change = MembershipChange {
            changes: vec![change],
            quorum: None,
            transition,
        };
        self.cluster.mutate(leader, |raft, _, _| {
            if raft.leave_joint().is_err() {
                let _ = raft.change_membership(&change);
            }
        });
    }

    fn sizes(&mut self, election: u8, commit: u8) {
        let Some(leader) = self.cluster.leader() else {
            return;
        };
        self.cluster.mutate(leader, |raft, _, _| {
            let voters = raft.membership().quorum().voters();
            let of = |size: u8| usize::from(size) % voters + 1;
            if let Ok(quorum) = Quorum::new(voters, of(election), of(commit), voters) {
                let _ = raft.change_quorum(quorum);
            }
        });
    }

    /// Faults stop: whoever may take part agrees and goes on.
    fn recover(&mut self) {
        let cluster = &mut self.cluster;
        for id in cluster.nodes.keys().copied().collect::<Vec<_>>() {
            if cluster.nodes[&id].raft.is_none() {
                cluster.start(id, Damage::None).expect("a sound disk");
            }
        }
        cluster.heal();
        let damaged = |id: &NodeId| cluster.raft(id.0).damage() != Damage::None;
        if cluster.alive().iter().any(damaged) {
            // It may take an operator to go on: then it must only be safe.
            cluster.pass(10 * TIMEOUT);
            return;
        }
        let leader = cluster.elect();
        cluster.pass(30 * TIMEOUT);
        let leader = cluster.leader().unwrap_or(leader);
        let command = cluster.propose(leader);
        cluster.pass(4 * TIMEOUT);
        let members = cluster.raft(leader.0).membership().clone();
        for id in cluster.alive() {
            let applied = &cluster.nodes[&id].applied;
            let member = members.member(id).is_some();
            assert!(
                !member || applied.contains(&command),
                "member {id} does not follow {leader}"
            );
        }
    }
}

/// Runs a schedule on a group of `count` voters, then lets it recover. Shared by the property test and the
/// fuzz target.
pub(crate) fn check(count: u32, leases: bool, events: &[Event]) {
    let mut chaos = Chaos::new(count, leases);
    for event in events {
        chaos.happen(*event);
    }
    chaos.recover();
}

/// Runs the schedule that any bytes are.
pub(crate) fn check_bytes(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first() else {
        return;
    };
    let mut bytes = rest.iter().copied();
    let mut events = Vec::new();
    while events.len() < EVENTS_MAX {
        let Some(event) = read(&mut bytes) else { break };
        events.push(event);
    }
    check(u32::from(head % 5) + 1, head & 0x80 != 0, &events);
}

/// The next event: a byte for its kind, and its numbers. Frequent kinds have more bytes.
fn read(bytes: &mut impl Iterator<Item = u8>) -> Option<Event> {
    let kind = bytes.next()?;
    let mut byte = || bytes.next();
    let event = match kind % 94 {
        0..30 => Event::Deliver(u16::from(byte()?)),
        30..32 => Event::Duplicate(u16::from(byte()?)),
        32..34 => Event::Lose(u16::from(byte()?)),
        34..49 => Event::Complete(byte()?),
        49..57 => Event::Pass(byte()? % 11 + 1),
        57..67 => Event::Propose(byte()?),
        67..69 => Event::Crash(byte()?),
        69..72 => Event::Restart(byte()?),
        72 => Event::Sever(byte()?, byte()?),
        73 => Event::Heal,
        74..76 => Event::Compact(byte()?),
        76 => Event::Transfer(byte()?, byte()?),
        77..80 => Event::Read(byte()?),
        80..82 => Event::Member(byte()?, byte()?),
        82 => Event::Sizes(byte()?, byte()?),
        83 => Event::Campaign(byte()?),
        84..87 => Event::QuorumRead(u16::from(byte()?)),
        87 => Event::LoseEntries(byte()?, byte()?),
        88..90 => Event::Renew,
        _ => Event::Tell(u16::from(byte()?)),
    };
    Some(event)
}

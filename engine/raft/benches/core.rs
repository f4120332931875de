//! What agreement costs: CPU time of the core per committed entry, over all three members.
//!
//! - Each operation goes the whole way: proposed, sent, made durable everywhere, acknowledged, committed,
//!   and the commit index made known to the followers.
//! - No network, no disk, no bytes: messages are handed over, disks are done at once.

#![allow(clippy::print_stdout, reason = "a report")]

use std::collections::VecDeque;

use raft::config::{Config, Restored};
use raft::effects::Effects;
use raft::ids::{Index, NodeId, Time};
use raft::liveness::Liveness;
use raft::membership::Membership;
use raft::message::Message;
use raft::raft::Raft;

const MEMBERS: u32 = 3;

/// The members of one group side by side, and the queues between them, shared by all groups.
struct World {
    groups: Vec<[Raft; MEMBERS as usize]>,
    liveness: Liveness,
    effects: Effects,
    /// What is on its way: the sender and its messages.
    queue: VecDeque<(NodeId, Vec<(NodeId, Message)>)>,
    spare: Vec<Vec<(NodeId, Message)>>,
}

impl World {
    fn new(groups: usize) -> Self {
        let nodes: Vec<NodeId> = (1..=MEMBERS).map(NodeId).collect();
        let membership = Membership::of_voters(&nodes).expect("three voters");
        let member = |id: NodeId, group: usize| {
            let config = Config {
                rank: id.0 - 1,
                ..Config::of(id)
            };
            let restored = Restored::initial(membership.clone());
            Raft::new(
                config,
                restored,
                group as u64 * 16 + u64::from(id.0),
                Time(0),
            )
            .expect("a sound start")
        };
        let mut liveness = Liveness::new();
        for &node in &nodes {
            liveness.heard(node, 1, Time(0));
        }
        let members = |group| core::array::from_fn(|at| member(nodes[at], group));
        let mut world = Self {
            groups: (0..groups).map(members).collect(),
            liveness,
            effects: Effects::default(),
            queue: VecDeque::new(),
            spare: Vec::new(),
        };
        for group in 0..groups {
            world.groups[group][0].campaign(Time(1));
            world.run(group, 0);
            assert_eq!(world.groups[group][2].commit(), Index(1));
        }
        world
    }

    /// Carries out what one member asks for.
    fn drain(&mut self, group: usize, at: usize) {
        loop {
            let raft = &mut self.groups[group][at];
            raft.drain(&mut self.effects);
            let from = NodeId(at as u32 + 1);
            if !self.effects.send.is_empty() {
                let spare = self.spare.pop().unwrap_or_default();
                self.queue
                    .push_back((from, std::mem::replace(&mut self.effects.send, spare)));
            }
            if let Some(commit) = self.effects.commit.take() {
                raft.applied(commit);
            }
            match self.effects.persist.take() {
                Some(persist) => raft.persisted(persist.seq, Time(1)),
                None => return,
            }
        }
    }

    /// Everything that follows from a mutation of member `at`.
    fn run(&mut self, group: usize, at: usize) {
        self.drain(group, at);
        while let Some((from, mut messages)) = self.queue.pop_front() {
            for (to, message) in &messages {
                let at = to.0 as usize - 1;
                self.groups[group][at].step(from, message, Time(1), &self.liveness);
                self.drain(group, at);
            }
            messages.clear();
            self.spare.push(messages);
        }
    }

    fn commit(&mut self, group: usize, batch: u32) {
        self.groups[group][0]
            .propose(batch, u64::from(batch) * 128)
            .expect("a leader");
        self.run(group, 0);
    }
}

/// CPU time of this thread in nanoseconds: other work on the machine does not count.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    nanos.expect("the first field is the time on the CPU")
}

/// One cell of the table.
fn measure(world: &mut World, batch: u32, proposals: usize) {
    let groups = world.groups.len();
    for at in 0..groups * 2 {
        world.commit(at % groups, batch);
    }
    let start = cpu_nanos();
    for at in 0..proposals {
        world.commit(at % groups, batch);
    }
    let nanos = (cpu_nanos() - start) as f64 / proposals as f64;
    println!(
        "{groups:>8} {batch:>8} {:>12.2} {nanos:>12.1}",
        nanos / f64::from(batch)
    );
    for group in &world.groups {
        assert!(
            group
                .iter()
                .all(|raft| raft.commit() == group[0].last_index())
        );
    }
}

/// Without arguments the whole table; with `groups batch proposals` one cell of it.
fn main() {
    println!(
        "state of one replica: {} bytes, a message: {}",
        size_of::<Raft>(),
        size_of::<Message>()
    );
    println!(
        "{:>8} {:>8} {:>12} {:>12}",
        "groups", "batch", "ns/entry", "ns/proposal"
    );
    let asked: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    if let [groups, batch, proposals] = asked[..] {
        return measure(&mut World::new(groups), batch as u32, proposals);
    }
    for groups in [1, 64, 1_000, 10_000] {
        let mut world = World::new(groups);
        for batch in [1, 16, 256] {
            measure(&mut world, batch, 400_000.max(groups * 4));
        }
    }
}

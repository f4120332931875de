//! Our core's side: three replicas of each group, and the messages that wait for each.
//!
//! - The core carries no bytes: an entry is a number and a length.

use raft::config::{Config, Restored};
use raft::effects::Effects;
use raft::ids::{Index, NodeId, Time};
use raft::liveness::Liveness;
use raft::membership::Membership;
use raft::raft::Raft;

use crate::{ENTRY_BYTES, MEMBERS, Side};

/// How a batch enters the core.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propose {
    /// One call per entry, as raft-rs has it.
    EachEntry,
    /// One call for all that a turn brought, as our shard does it.
    WholeBatch,
}

/// The groups, each with its members side by side.
pub(crate) struct Groups {
    groups: Vec<[Raft; MEMBERS]>,
    propose: Propose,
    liveness: Liveness,
    /// What each member asks for in this round, and what it has sent in the last one.
    asked: [Effects; MEMBERS],
    taken: [Effects; MEMBERS],
}

impl Groups {
    pub(crate) fn new(groups: usize, propose: Propose) -> Self {
        let nodes: [NodeId; MEMBERS] = core::array::from_fn(|at| NodeId(at as u32 + 1));
        let membership = Membership::of_voters(&nodes).expect("three voters");
        let mut liveness = Liveness::new();
        for &node in &nodes {
            liveness.heard(node, 1, Time(0));
        }
        let member = |group: usize, id: NodeId| {
            let seed = (group * MEMBERS) as u64 + u64::from(id.0);
            let restored = Restored::initial(membership.clone());
            Raft::new(Config::of(id), restored, seed, Time(0)).expect("a sound start")
        };
        let mut world = Self {
            groups: (0..groups)
                .map(|group| nodes.map(|id| member(group, id)))
                .collect(),
            propose,
            liveness,
            asked: Default::default(),
            taken: Default::default(),
        };
        for group in 0..groups {
            world.groups[group][0].campaign(Time(1));
            world.run(group);
            assert_eq!(world.applied(group), 1, "the leader's first entry");
        }
        world
    }

    /// Everything that follows, in turns, from the leader's on. What a member sent in one round is taken by
    /// the others in the next.
    fn run(&mut self, group: usize) {
        let members = &mut self.groups[group];
        let (mut asked, mut taken) = (&mut self.asked, &mut self.taken);
        carry_out(&mut members[0], &mut asked[0]);
        while asked.iter().any(|asked| !asked.send.is_empty()) {
            core::mem::swap(&mut asked, &mut taken);
            let mut told = [false; MEMBERS];
            for (from, sent) in taken.iter_mut().enumerate() {
                let from = NodeId(from as u32 + 1);
                for (to, message) in &sent.send {
                    let at = to.0 as usize - 1;
                    told[at] = true;
                    members[at].step(from, message, Time(1), &self.liveness);
                }
                sent.send.clear();
            }
            for (at, told) in told.into_iter().enumerate() {
                if told {
                    carry_out(&mut members[at], &mut asked[at]);
                }
            }
        }
    }
}

/// Does what a member asks for until it asks for nothing but to send.
fn carry_out(raft: &mut Raft, asked: &mut Effects) {
    loop {
        raft.drain(asked);
        if let Some(commit) = asked.commit.take() {
            raft.applied(commit);
        }
        let Some(seq) = asked.persist.as_ref().map(|persist| persist.seq) else {
            return;
        };
        asked.persist = None;
        raft.persisted(seq, Time(1));
    }
}

impl Side for Groups {
    fn operation(&mut self, group: usize, coming: [usize; 3], batch: u32) {
        if coming[0] != group {
            self.groups[coming[2]].iter().for_each(Raft::prefetch);
            self.groups[coming[1]][0].prefetch_leading();
            self.groups[coming[0]][0].prefetch_peers();
        }
        let leader = &mut self.groups[group][0];
        match self.propose {
            Propose::EachEntry => {
                for _ in 0..batch {
                    leader.propose(1, ENTRY_BYTES).expect("a leader");
                }
            }
            Propose::WholeBatch => {
                let bytes = u64::from(batch) * ENTRY_BYTES;
                leader.propose(batch, bytes).expect("a leader");
            }
        }
        self.run(group);
    }

    fn applied(&self, group: usize) -> u64 {
        let applied = self.groups[group].iter().map(Raft::applied_index);
        applied.min().map_or(0, |Index(index)| index)
    }
}

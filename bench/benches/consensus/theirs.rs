//! The side of raft-rs: three `RawNode`s of each group over its own in-memory storage, driven as its guide says.
//!
//! - Entries carry their 128 bytes; the log is compacted after every operation, so that it stays short.
//! - Everything else is as it comes: `max_size_per_msg` and `max_inflight_msgs` are set as TiKV sets them.

use raft_rs::eraftpb::Message;
use raft_rs::storage::MemStorage;
use raft_rs::{Config, RawNode};
use slog::{Discard, Logger, o};

use crate::{ENTRY_BYTES, MEMBERS, Side};

struct Member {
    node: RawNode<MemStorage>,
    applied: u64,
}

/// The groups, each with its members side by side.
pub(crate) struct Groups {
    groups: Vec<[Member; MEMBERS]>,
    inboxes: [Vec<Message>; MEMBERS],
    taken: Vec<Message>,
}

fn member(id: u64, batch_append: bool, logger: &Logger) -> Member {
    let config = Config {
        id,
        election_tick: 10,
        heartbeat_tick: 2,
        max_size_per_msg: 1 << 20,
        max_inflight_msgs: 256,
        batch_append,
        ..Config::default()
    };
    let voters: Vec<u64> = (1..=MEMBERS as u64).collect();
    let storage = MemStorage::new_with_conf_state((voters, vec![]));
    let node = RawNode::new(&config, storage, logger).expect("a sound start");
    Member { node, applied: 0 }
}

impl Groups {
    pub(crate) fn new(groups: usize, batch_append: bool) -> Self {
        let logger = Logger::root(Discard, o!());
        let member = |at: usize| member(at as u64 + 1, batch_append, &logger);
        let mut world = Self {
            groups: (0..groups).map(|_| core::array::from_fn(member)).collect(),
            inboxes: Default::default(),
            taken: Vec::new(),
        };
        for group in 0..groups {
            world.groups[group][0].node.campaign().expect("a voter");
            world.run(group);
            assert_eq!(world.applied(group), 1, "the leader's first entry");
        }
        world
    }

    /// Everything that follows, in turns, from the leader's on.
    fn run(&mut self, group: usize) {
        self.carry_out(group, 0);
        loop {
            let mut idle = true;
            for at in 0..MEMBERS {
                if self.inboxes[at].is_empty() {
                    continue;
                }
                idle = false;
                core::mem::swap(&mut self.taken, &mut self.inboxes[at]);
                for message in self.taken.drain(..) {
                    let node = &mut self.groups[group][at].node;
                    node.step(message).expect("a message of a member");
                }
                self.carry_out(group, at);
            }
            if idle {
                return;
            }
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            self.inboxes[message.to as usize - 1].push(message);
        }
    }

    /// Does what a member asks for until it asks for nothing.
    fn carry_out(&mut self, group: usize, at: usize) {
        loop {
            let member = &mut self.groups[group][at];
            if !member.node.has_ready() {
                return;
            }
            let mut ready = member.node.ready();
            let messages = ready.take_messages();
            member.apply(ready.take_committed_entries().len());
            let store = member.node.raft.raft_log.store.clone();
            store.wl().append(ready.entries()).expect("in order");
            if let Some(hard_state) = ready.hs() {
                store.wl().set_hardstate(hard_state.clone());
            }
            let persisted = ready.take_persisted_messages();
            let mut light = member.node.advance(ready);
            if let Some(commit) = light.commit_index() {
                store.wl().mut_hard_state().set_commit(commit);
            }
            let late = light.take_messages();
            member.apply(light.take_committed_entries().len());
            member.node.advance_apply();
            self.send(messages);
            self.send(persisted);
            self.send(late);
        }
    }
}

impl Member {
    fn apply(&mut self, entries: usize) {
        self.applied += entries as u64;
    }
}

impl Side for Groups {
    fn operation(&mut self, group: usize, _coming: [usize; 3], batch: u32) {
        for _ in 0..batch {
            let leader = &mut self.groups[group][0].node;
            let data = vec![7; ENTRY_BYTES as usize];
            leader.propose(vec![], data).expect("a leader");
        }
        self.run(group);
        for member in &self.groups[group] {
            let store = &member.node.raft.raft_log.store;
            let compacted = store.wl().compact(member.applied);
            compacted.expect("applied entries are held");
        }
    }

    fn applied(&self, group: usize) -> u64 {
        let applied = self.groups[group].iter().map(|member| member.applied);
        applied.min().unwrap_or_default()
    }
}

//! A replica among strangers: whatever well-formed messages say, it answers or ignores them and never panics.
//! Shared by the property test and the fuzz target.
//!
//! - A frame is a sender, a length and a message; frames that are no message are skipped.
//! - Writes complete now and then; after every message the replica's own indexes must make sense.

use raft::config::{Config, Restored};
use raft::effects::Effects;
use raft::ids::{NodeId, Time};
use raft::liveness::Liveness;
use raft::membership::Membership;
use raft::message::Message;
use raft::raft::Raft;
use raft::wire::decode;

/// One replica of five, alone among strangers.
pub(crate) struct Stranded {
    raft: Raft,
    liveness: Liveness,
    effects: Effects,
    now: u64,
}

impl Stranded {
    pub(crate) fn new() -> Self {
        let ids: Vec<NodeId> = (1..=5).map(NodeId).collect();
        let membership = Membership::of_voters(&ids).expect("voters");
        let restored = Restored::initial(membership);
        let config = Config::of(NodeId(1));
        Self {
            raft: Raft::new(config, restored, 1, Time(1)).expect("a sound start"),
            liveness: Liveness::new(),
            effects: Effects::default(),
            now: 1,
        }
    }

    /// A message arrives; `mood` decides what else happens.
    pub(crate) fn take(&mut self, from: NodeId, message: &Message, mood: u8) {
        self.now += u64::from(mood) * 10_000_000;
        let now = Time(self.now);
        self.liveness.heard(from, 1, now);
        self.raft.step(from, message, now, &self.liveness);
        match mood % 8 {
            0 => self.raft.tick(now, &self.liveness),
            1 => self.raft.campaign(now),
            2 => drop(self.raft.propose(3, 384)),
            3 => drop(self.raft.read(now)),
            4 => drop(self.raft.transfer(from, now)),
            5 => self.raft.peer_reset(from, now),
            _ => {}
        }
        self.effects.clear();
        self.raft.drain(&mut self.effects);
        if let Some(commit) = self.effects.commit {
            self.raft.applied(commit);
        }
        if let Some(persist) = self.effects.persist.take()
            && !mood.is_multiple_of(3)
        {
            self.raft.persisted(persist.seq, now);
        }
        if let Some(install) = self.effects.install {
            if mood.is_multiple_of(2) {
                self.raft.snapshot_installed(install.last, now);
            } else {
                self.raft.snapshot_failed(install.last);
            }
        }
        let raft = &self.raft;
        assert!(raft.commit() <= raft.last_index() && raft.durable() <= raft.last_index());
        assert!(raft.membership_index() <= raft.last_index());
    }
}

/// Any bytes are frames: a sender and a mood, a length, a message.
pub(crate) fn check(mut bytes: &[u8]) {
    let mut stranded = Stranded::new();
    while let [from, mood, length, rest @ ..] = bytes {
        let length = usize::from(*length).min(rest.len());
        let (frame, rest) = rest.split_at(length);
        if let Ok(message) = decode(frame) {
            stranded.take(NodeId(u32::from(*from % 7)), &message, *mood);
        }
        bytes = rest;
    }
}

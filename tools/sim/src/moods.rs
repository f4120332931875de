//! How a cluster's clients are at times: in a rush, idle, or all of them at one group.
//!
//! - The usual one is drawn for a run; another lasts for a while.

use crate::faults::{Kind, Undo};
use crate::world::World;

/// How a client goes about its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As the run says.
    #[default]
    Usual,
    /// The next request follows at once.
    Rush,
    /// No request is begun.
    Idle,
    /// Every request is for this group.
    Crowd(u64),
}

impl World {
    /// The clients of a node's cluster are in another mood for a while.
    pub(crate) fn stir(&mut self, kind: Kind, node: usize, lasts: u64) {
        let group = self.dice.below(self.nodes[node].groups);
        let mood = match kind {
            Kind::Rush => Mood::Rush,
            Kind::Lull => Mood::Idle,
            _ => Mood::Crowd(group),
        };
        let cluster = self.nodes[node].cluster;
        self.set_mood(cluster, mood);
        self.later(lasts, Undo::Ease(cluster));
    }

    /// They are as usual again.
    pub(crate) fn ease(&mut self, cluster: usize) {
        self.set_mood(cluster, Mood::Usual);
    }

    fn set_mood(&mut self, cluster: usize, mood: Mood) {
        let first = cluster * self.plan.clients;
        for client in first..first + self.plan.clients {
            self.clients[client].mood = mood;
            self.alarm(client, self.now + 1);
        }
    }
}

//! What a replica tells about itself: its numbers, its configuration, its view of the members.
//!
//! - Nothing here changes anything.

use core::hash::{Hash, Hasher};

use crate::config::{Config, Damage};
use crate::effects::Role;
use crate::ids::{Index, NodeId, Term};
use crate::membership::Membership;
use crate::progress::{PeerStatus, Progress};
use crate::raft::Raft;
use crate::term_log::TermLog;

/// What decides a replica's future, apart from clocks, dice and what `peer_reset` renews: two replicas with
/// one hash behave alike. For explorers of states.
impl Hash for Raft {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (
            self.term,
            self.vote,
            self.leader,
            self.role,
            self.damage,
            self.commit,
        )
            .hash(state);
        (
            &self.log,
            &self.storage,
            &self.election,
            &self.configurations,
        )
            .hash(state);
        (self.following.verified, self.following.round, self.whole_at).hash(state);
        if let Some(leading) = self.leading.as_deref() {
            (
                leading.first_own,
                leading.leaving,
                &leading.transfer,
                &leading.reads,
            )
                .hash(state);
            for progress in &leading.peers {
                (progress.node, progress.held(), progress.confirmed()).hash(state);
                progress.asked_from().hash(state);
            }
        }
    }
}

/// What a replica knows about itself.
impl Raft {
    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// The latest term seen.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// The candidate voted for in this term.
    #[must_use]
    pub fn vote(&self) -> Option<NodeId> {
        self.vote
    }

    /// The part it plays.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The leader of this term, when known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Known to be committed.
    #[must_use]
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// Known to be durable here.
    #[must_use]
    pub fn durable(&self) -> Index {
        #[cfg(feature = "mutants")]
        if self.config.mutant == Some(crate::mutants::Mutant::AcknowledgeBeforeDurable) {
            return self.log.last_index();
        }
        self.storage.durable()
    }

    /// The present term and vote are durable, as far as the core was told.
    #[must_use]
    pub fn keeps_term_and_vote(&self) -> bool {
        self.storage.holds_hard_state()
    }

    /// Applied to the state machine, as told.
    #[must_use]
    pub fn applied_index(&self) -> Index {
        self.applied
    }

    /// The log's end.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.log.last_index()
    }

    /// The first index held.
    #[must_use]
    pub fn first_index(&self) -> Index {
        self.log.first_index()
    }

    /// An entry's term, when the entry is held or the snapshot's last.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// The log's terms.
    #[must_use]
    pub fn term_log(&self) -> &TermLog {
        &self.log
    }

    /// The configuration in effect: the newest in the log.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.configurations.latest()
    }

    /// Where the configuration in effect stands in the log.
    #[must_use]
    pub fn membership_index(&self) -> Index {
        self.configurations.latest_index()
    }

    /// The configuration that was in effect at `index`, not before the snapshot.
    #[must_use]
    pub fn membership_at(&self, index: Index) -> &Membership {
        self.configurations.at(index)
    }

    /// What storage lost and peers have not given back yet.
    #[must_use]
    pub fn damage(&self) -> Damage {
        self.damage
    }

    /// The members' progress as this leader knows it; nothing from others.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        let peers = self
            .leading
            .as_deref()
            .map_or(&[][..], |leading| &leading.peers);
        peers.iter().map(Progress::status)
    }

    /// Who leadership is being handed over to.
    #[must_use]
    pub fn transferring_to(&self) -> Option<NodeId> {
        self.leading
            .as_deref()?
            .transfer
            .as_ref()
            .map(|transfer| transfer.to)
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}

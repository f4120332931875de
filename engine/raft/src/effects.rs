//! What the core asks of the world after a mutation: persist, send, commit, answer reads, wake me.

use crate::ids::{EntryId, Index, NodeId, PersistSeq, ReadId, Term, Time};
use crate::membership::Membership;
use crate::message::Message;
use crate::rare::Rare;

/// Everything that one or more mutations asked for since the last drain. Reused: `clear` keeps the
/// allocations. The order in which the fields are carried out does not matter: whatever depends on
/// durability is withheld by the core until `Raft::persisted`.
#[derive(Debug, Default)]
pub struct Effects {
    /// Make this durable, then call `Raft::persisted(persist.seq)`.
    pub persist: Option<Persist>,
    /// Messages that may leave at once.
    pub send: Vec<(NodeId, Message)>,
    /// The new commit index, when it moved: entries up to it may be applied.
    pub commit: Option<Index>,
    /// The role after the mutation, when role, term or known leader changed.
    pub role: Option<RoleChange>,
    /// Reads that may be answered once the replica has applied up to the index.
    pub reads: Vec<(ReadId, Result<Index, ReadAborted>)>,
    /// The configuration in effect changed: it stands at this index, see `Raft::membership`.
    pub configuration: Option<Index>,
    /// A snapshot is wanted. Fetch and install it, then call `Raft::snapshot_installed` or
    /// `Raft::snapshot_failed`. A later one supersedes it.
    pub install: Option<Install>,
    /// When `Raft::tick` must be called at the latest, if nothing else happens.
    /// `None`: only when the liveness of a node changes.
    pub wake: Option<Time>,
}

/// A request to make state durable, in one piece.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Persist {
    /// To be given back to `Raft::persisted`.
    pub seq: PersistSeq,
    /// Term and vote, when they changed.
    pub hard_state: Option<HardState>,
    /// Entries to append. What the log holds at and after `first` is superseded.
    pub append: Option<Append>,
}

/// A snapshot to fetch and install in place of the log up to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Install {
    /// Who offers it.
    pub from: NodeId,
    /// The last entry it covers.
    pub last: EntryId,
}

/// Entries `first..=last` to append; their terms are in `Raft::term_at`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    /// First new index.
    pub first: Index,
    /// Last new index.
    pub last: Index,
    /// Entries among them that the core itself made (leader only) and that have no payload from
    /// outside: the empty entry of a new term, and configuration changes.
    pub made: Rare<(Index, Made)>,
}

/// An entry whose content is the core's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Made {
    /// The empty entry that lets a new leader commit its predecessors' entries (Raft paper, 5.4.2).
    Empty,
    /// A change of members or quorums.
    Configuration(Membership),
}

/// What must survive a crash besides the log (Raft paper, figure 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// Latest term seen.
    pub term: Term,
    /// Candidate voted for in that term.
    pub vote: Option<NodeId>,
}

/// A replica's part in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows a leader, or waits for one.
    #[default]
    Follower,
    /// Asks whether it could win before it disturbs anybody (thesis, 9.6).
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// A change worth telling clients, routers and status pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RoleChange {
    /// The role now.
    pub role: Role,
    /// The term now.
    pub term: Term,
    /// The leader now, when known.
    pub leader: Option<NodeId>,
}

/// A read that will not be answered here: leadership was lost before it was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadAborted;

impl Effects {
    /// Nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.persist.is_none()
            && self.send.is_empty()
            && self.commit.is_none()
            && self.role.is_none()
            && self.reads.is_empty()
            && self.configuration.is_none()
            && self.install.is_none()
    }

    /// Forgets everything, keeps the allocations.
    pub fn clear(&mut self) {
        self.persist = None;
        self.send.clear();
        self.commit = None;
        self.role = None;
        self.reads.clear();
        self.configuration = None;
        self.install = None;
        self.wake = None;
    }
}

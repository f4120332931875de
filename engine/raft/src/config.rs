//! What a replica is told about itself at start: limits and timing, and what its storage gave back.
//!
//! - All limits are positive; one proposal of one entry always fits.
//! - Leases need pre-votes and check-quorum: without them a voter does not keep a live leader's place.

use crate::effects::HardState;
use crate::ids::{EntryId, Index, NodeId};
use crate::membership::Membership;
use crate::term_log::LogError;

/// Timing and limits of one replica. What a leader asks at every entry comes last and fits a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// Who campaigns first: 0 before 1 before 2. A hint about timers, never about votes.
    pub rank: u32,
    /// Ask before disturbing (thesis, 9.6).
    pub pre_vote: bool,
    /// A leader that does not hear an election quorum steps down, and voters stand by a live leader.
    pub check_quorum: bool,
    /// A fault planted for the tests of the tests.
    #[cfg(feature = "mutants")]
    pub mutant: Option<crate::mutants::Mutant>,
    /// Leases: how far, in nanoseconds per election timeout, two nodes' clocks may drift apart.
    /// `None`: every read is confirmed by a round of messages.
    pub lease_drift: Option<u64>,
    /// Reads waiting for their confirmation.
    pub max_reads: usize,
    /// How long a leader may be silent before others campaign, in nanoseconds.
    pub election_timeout: u64,
    /// Appends on their way to one follower.
    pub max_inflight_messages: usize,
    /// Bytes of entries on their way to one follower.
    pub max_inflight_bytes: u64,
    /// Proposed and not yet committed: entries. More is answered "busy".
    pub max_uncommitted_entries: u64,
    /// Proposed and not yet committed: bytes.
    pub max_uncommitted_bytes: u64,
    /// Bytes of entries in one `Append`; one entry always fits.
    pub max_append_bytes: u64,
    /// Entries in one `Append`.
    pub max_append_entries: u32,
    /// Entries on their way to one follower.
    pub max_inflight_entries: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: NodeId(0),
            election_timeout: 500_000_000,
            max_inflight_messages: 256,
            max_inflight_bytes: 16 << 20,
            max_inflight_entries: 1 << 20,
            max_uncommitted_entries: 1 << 20,
            max_uncommitted_bytes: 64 << 20,
            max_append_entries: 4096,
            max_append_bytes: 1 << 20,
            max_reads: 4096,
            rank: 0,
            pre_vote: true,
            check_quorum: true,
            lease_drift: None,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}

impl Config {
    /// The defaults, for this node.
    #[must_use]
    pub fn of(id: NodeId) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    /// The invariants of this file.
    pub fn check(&self) -> Result<(), ConfigError> {
        let limits = [
            self.election_timeout,
            self.max_inflight_messages as u64,
            u64::from(self.max_inflight_entries),
            self.max_inflight_bytes,
            self.max_uncommitted_entries,
            self.max_uncommitted_bytes,
            u64::from(self.max_append_entries),
            self.max_append_bytes,
            self.max_reads as u64,
        ];
        if limits.contains(&0) {
            return Err(ConfigError::ZeroLimit);
        }
        if let Some(drift) = self.lease_drift {
            if !self.check_quorum || !self.pre_vote {
                return Err(ConfigError::LeaseUnprotected);
            }
            if drift >= self.election_timeout {
                return Err(ConfigError::LeaseTooShort);
            }
        }
        Ok(())
    }
}

/// What storage gives back at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Term and vote.
    pub hard_state: HardState,
    /// The configuration as of `snapshot`.
    pub membership: Membership,
    /// The log starts after it; term and index 0 when there is none.
    pub snapshot: EntryId,
    /// The term and the first index of each run of equal terms after the snapshot.
    pub runs: Vec<EntryId>,
    /// The last entry's index; the snapshot's when the log is empty.
    pub last: Index,
    /// The configuration entries in the log.
    pub configurations: Vec<(Index, Membership)>,
    /// Known to be committed.
    pub commit: Index,
    /// Applied to the state machine.
    pub applied: Index,
    /// What storage knows to be lost.
    pub damage: Damage,
}

/// What a replica knows that its storage lost of what it had promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Damage {
    /// Nothing.
    #[default]
    None,
    /// Acknowledged entries are missing or unreadable (and cut off), term and vote are intact. The replica
    /// neither votes nor counts until a leader has given it everything again. Storage keeps the mark over
    /// restarts until `Raft::damage` says `None`, and the transport delivers nothing from sessions before it.
    Entries,
    /// Term or vote may be older than what was promised: an old image, an empty disk. The replica takes
    /// part as a learner until a configuration has made it one and promoted it again.
    Votes,
}

impl Restored {
    /// A replica that begins with the group: an empty log.
    #[must_use]
    pub fn initial(membership: Membership) -> Self {
        Self {
            hard_state: HardState::default(),
            membership,
            snapshot: EntryId::default(),
            runs: Vec::new(),
            last: Index(0),
            configurations: Vec::new(),
            commit: Index(0),
            applied: Index(0),
            damage: Damage::None,
        }
    }
}

/// Why a replica cannot start from what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A limit or the election timeout is zero.
    #[error("a limit is zero")]
    ZeroLimit,
    /// Leases without pre-vote or check-quorum.
    #[error("leases need pre-vote and check-quorum")]
    LeaseUnprotected,
    /// The clocks may drift by a whole election timeout.
    #[error("the clock drift leaves no lease")]
    LeaseTooShort,
    /// The log's terms.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Configuration entries outside the log or out of order.
    #[error("configuration entries do not fit the log")]
    Configurations,
    /// The commit or applied index lies outside the log.
    #[error("commit or applied index does not fit the log")]
    Indexes,
}

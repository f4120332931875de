//! One replica of a group: what it is told, what it asks for, and who of its parts handles what.
//!
//! - Every call is one mutation; `drain` hands out what follows from it. Nothing is done by itself.
//! - Terms rise; the commit index rises; `applied <= commit <= log end`, except that a leader's commit may
//!   be told before the entries arrive.
//! - Whatever depends on durability is withheld until `persisted`.
//! - Calls cost time in the number of members, never in the number of entries or groups.

use core::ops::RangeInclusive;

use crate::config::{Config, ConfigError, Damage, Restored};
use crate::configurations::Configurations;
use crate::effects::{Effects, HardState, Install, ReadAborted, Role, RoleChange};
use crate::election::Election;
use crate::following::Following;
use crate::ids::{EntryId, Index, NodeId, PersistSeq, ReadId, Term, Time};
use crate::leading::Leading;
use crate::liveness::Liveness;
use crate::membership::Membership;
use crate::message::{AppendOutcome, AppendReply, Body, Message};
use crate::progress::View;
use crate::reads::Forwarded;
use crate::storage::Storage;
use crate::term_log::TermLog;

/// A replica's consensus state. One per group and node, owned by the shard of one core.
///
/// The fields stand in the order of their heat: what every call touches comes first, in few cache lines.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Raft {
    pub(crate) term: Term,
    pub(crate) commit: Index,
    /// The commit index as last handed out.
    pub(crate) told_commit: Index,
    pub(crate) leading: Option<Box<Leading>>,
    pub(crate) leader: Option<NodeId>,
    pub(crate) vote: Option<NodeId>,
    pub(crate) role: Role,
    pub(crate) damage: Damage,
    /// Role, term, leader or configuration may differ from what was told last.
    pub(crate) notable: bool,
    /// A snapshot was offered and is to be asked for.
    pub(crate) install_wanted: bool,
    pub(crate) now: Time,
    pub(crate) log: TermLog,
    pub(crate) following: Following,
    pub(crate) storage: Storage,
    /// Messages that wait for nothing but the next drain.
    pub(crate) outbox: Vec<(NodeId, Message)>,
    pub(crate) answers: Vec<(ReadId, Result<Index, ReadAborted>)>,
    pub(crate) forwarded: Forwarded,
    pub(crate) election: Election,
    pub(crate) configurations: Configurations,
    pub(crate) config: Config,
    pub(crate) applied: Index,
    told: RoleChange,
    told_configuration: u64,
    pub(crate) next_read: u64,
    /// A snapshot that the shard is installing, and who offered it.
    pub(crate) installing: Option<Box<(NodeId, EntryId, Membership)>>,
    /// Voters may still rely on promises made before this process started.
    pub(crate) silent_until: Time,
}

/// Why a request was not taken. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Ask the leader, if it is known.
    #[error("this replica does not lead")]
    NotLeader {
        /// Who does.
        leader: Option<NodeId>,
    },
    /// A limit is reached: try again when some of what is under way has ended.
    #[error("busy")]
    Busy,
    /// Leadership is being handed over.
    #[error("leadership is being transferred")]
    Transferring,
    /// A proposal of no entries.
    #[error("nothing to propose")]
    Empty,
}

impl Raft {
    /// A replica as its storage remembers it. `seed` makes its campaign delays differ from others'.
    pub fn new(
        config: Config,
        restored: Restored,
        seed: u64,
        now: Time,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let log = TermLog::new(restored.snapshot, &restored.runs, restored.last)?;
        let index = restored.snapshot.index;
        let in_log = restored
            .configurations
            .last()
            .is_none_or(|(at, _)| *at <= restored.last);
        let configurations =
            Configurations::new(restored.membership, index, restored.configurations)
                .filter(|_| in_log)
                .ok_or(ConfigError::Configurations)?;
        let commit = restored.commit.max(restored.applied).max(index);
        if commit > restored.last {
            return Err(ConfigError::Indexes);
        }
        // An entry of a term proves that the term was reached, even if the hard state is behind.
        let mut hard_state = restored.hard_state;
        let last_term = log.last_id().term;
        let behind = hard_state.term < last_term;
        if behind {
            hard_state = HardState {
                term: last_term,
                vote: None,
            };
        }
        let fresh = hard_state.term == Term(0);
        let mut raft = Self {
            term: hard_state.term,
            vote: hard_state.vote,
            leader: None,
            role: Role::Follower,
            damage: restored.damage,
            now,
            commit,
            told_commit: restored.applied,
            applied: restored.applied.max(index),
            leading: None,
            storage: Storage::restored(log.last_index()),
            log,
            following: Following::default(),
            outbox: Vec::new(),
            notable: true,
            told: RoleChange::default(),
            told_configuration: 0,
            answers: Vec::new(),
            election: Election::new(config.rank, seed),
            forwarded: Forwarded::default(),
            // Answers to reads of an earlier process of this node must not be taken for ours.
            next_read: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) & (u64::MAX << 32 >> 1),
            configurations,
            installing: None,
            install_wanted: false,
            silent_until: match config.lease_drift {
                Some(_) if !fresh => now.plus(config.election_timeout),
                _ => now,
            },
            config,
        };
        if behind {
            raft.storage.hard_state_changed();
        }
        raft.following.begin(commit, Time(0));
        raft.wait_for_leader();
        Ok(raft)
    }

    /// Takes `entries` new entries of together `bytes` bytes into the log. Leader only.
    pub fn propose(
        &mut self,
        entries: u32,
        bytes: u64,
    ) -> Result<RangeInclusive<Index>, ProposeError> {
        let Some(leading) = self.leading.as_deref_mut() else {
            return Err(ProposeError::NotLeader {
                leader: self.leader,
            });
        };
        if entries == 0 {
            return Err(ProposeError::Empty);
        }
        if leading.transfer.is_some() || leading.leaving {
            return Err(ProposeError::Transferring);
        }
        let open = self.log.last_index().0 - self.commit.0;
        let crowded = open + u64::from(entries) > self.config.max_uncommitted_entries
            || leading.tail.bytes() + bytes > self.config.max_uncommitted_bytes;
        if open > 0 && crowded {
            return Err(ProposeError::Busy);
        }
        let range = self.log.append(self.term, entries);
        self.storage.appended(*range.start());
        leading.tail.push(*range.end(), bytes);
        leading.dirty = true;
        Ok(range)
    }

    /// A message of this group arrived. `liveness` is the shard's table, which already knows of it.
    pub fn step(&mut self, from: NodeId, message: &Message, now: Time, liveness: &Liveness) {
        self.now = self.now.max(now);
        match &message.body {
            Body::PreVote { last } => return self.on_pre_vote(from, message.term, *last, liveness),
            Body::PreVoteReply { asked, granted, .. } => {
                return self.on_pre_vote_reply(from, message.term, *asked, *granted);
            }
            Body::Vote { last, transfer } => {
                return self.on_vote(from, message.term, *last, *transfer, liveness);
            }
            _ => {}
        }
        if message.term > self.term {
            self.follow(message.term, None);
        } else if message.term < self.term {
            return self.on_stale(from, &message.body);
        }
        match &message.body {
            Body::Append(append) => self.on_append(from, append),
            Body::AppendReply(reply) => self.on_append_reply(from, reply),
            Body::VoteReply { granted } => self.on_vote_reply(from, *granted),
            Body::Snapshot { last, membership } => self.on_snapshot(from, *last, membership),
            Body::SnapshotRefused { last } => self.on_snapshot_refused(from, *last),
            Body::TimeoutNow => self.on_timeout_now(),
            Body::Resign => self.on_resign(from),
            Body::Read { id } => self.on_read(from, *id),
            Body::ReadReply { id, index } => self.on_read_reply(*id, *index),
            Body::Successors { ranked } => self.on_successors(from, ranked),
            Body::PreVote { .. } | Body::PreVoteReply { .. } | Body::Vote { .. } => {}
        }
    }

    /// Time has passed, or a node fell silent or came back.
    pub fn tick(&mut self, now: Time, liveness: &Liveness) {
        self.now = self.now.max(now);
        self.forwarded.expire(self.now, &mut self.answers);
        match self.role {
            Role::Leader => self.tick_leader(liveness),
            Role::Follower | Role::PreCandidate | Role::Candidate => self.tick_follower(liveness),
        }
    }

    /// The request `seq` and all before it are durable.
    pub fn persisted(&mut self, seq: PersistSeq, now: Time) {
        self.now = self.now.max(now);
        self.storage.persisted(seq, &mut self.outbox);
        match self.role {
            Role::Leader => self.on_own_log_durable(),
            Role::Candidate => self.vote_for_self(),
            Role::Follower => self.settle_repair(),
            Role::PreCandidate => {}
        }
    }

    /// The state machine has applied everything up to `upto`.
    pub fn applied(&mut self, upto: Index) {
        self.applied = self.applied.max(upto);
    }

    /// Appends to `effects` what the mutations since the last drain ask for.
    pub fn drain(&mut self, effects: &mut Effects) {
        if let Some(leading) = self.leading.as_deref_mut() {
            if leading.reads.open_round(self.now) {
                leading.dirty = true;
                self.settle_reads();
            }
            self.pump(effects);
        } else {
            self.acknowledge(effects);
        }
        if !self.outbox.is_empty() {
            effects.send.append(&mut self.outbox);
        }
        if self.storage.wants() {
            let hard_state = HardState {
                term: self.term,
                vote: self.vote,
            };
            effects.persist = self.storage.request(hard_state, self.log.last_index());
        }
        if self.commit > self.told_commit {
            self.told_commit = self.commit;
            effects.commit = Some(self.commit);
        }
        if self.notable {
            self.tell(effects);
        }
        if !self.answers.is_empty() {
            effects.reads.append(&mut self.answers);
        }
        if self.install_wanted {
            self.install_wanted = false;
            let offer = self.installing.as_deref();
            effects.install = offer.map(|&(from, last, _)| Install { from, last });
        }
        effects.wake = self.wake();
    }

    /// Role, term, leader or configuration may have changed.
    #[cold]
    fn tell(&mut self, effects: &mut Effects) {
        self.notable = false;
        let role = RoleChange {
            role: self.role,
            term: self.term,
            leader: self.leader,
        };
        if role != self.told {
            self.told = role;
            effects.role = Some(role);
        }
        let generation = self.membership().generation();
        if generation != self.told_configuration {
            self.told_configuration = generation;
            effects.configuration = Some(self.configurations.latest_index());
        }
    }

    /// Sends what the members lack.
    fn pump(&mut self, effects: &mut Effects) {
        let Some(leading) = self.leading.as_deref_mut() else {
            return;
        };
        if !leading.dirty {
            return;
        }
        leading.dirty = false;
        let round = leading.reads.round();
        let (peers, tail) = (&mut leading.peers, &leading.tail);
        let view = View {
            term: self.term,
            commit: self.commit,
            round,
            log: &self.log,
            configurations: &self.configurations,
            tail,
            config: &self.config,
        };
        let before = effects.send.len();
        for (at, progress) in peers.iter_mut().enumerate() {
            if at != leading.me {
                progress.pump(&view, &mut effects.send);
            }
        }
        if leading.retry_at.is_none() && effects.send.len() > before {
            leading.retry_at = Some(self.now.plus(self.config.election_timeout));
            leading.retry_fresh = true;
        }
        if leading.leaving && self.commit == self.log.last_index() {
            self.hand_over();
        }
    }

    /// Answers the leader, if an answer is due and may leave.
    fn acknowledge(&mut self, effects: &mut Effects) {
        let Some(leader) = self.leader else { return };
        let Some(matched) = self.following.due(self.durable()) else {
            return;
        };
        if !self.storage.holds_hard_state() {
            return;
        }
        self.following.answered(matched);
        let reply = self.append_reply(AppendOutcome::Accepted { matched });
        effects.send.push((
            leader,
            Message {
                term: self.term,
                body: reply,
            },
        ));
    }

    pub(crate) fn append_reply(&self, outcome: AppendOutcome) -> Body {
        Body::AppendReply(AppendReply {
            outcome,
            commit: self.commit,
            round: self.following.round,
            damaged: self.damage != Damage::None,
        })
    }

    /// Says something that must not be forgotten by a crash: after term and vote are durable.
    pub(crate) fn say(&mut self, to: NodeId, body: Body) {
        let message = Message {
            term: self.term,
            body,
        };
        if self.storage.holds_hard_state() || self.is_mutant_vote_early() {
            self.outbox.push((to, message));
        } else {
            self.storage.withhold(to, message);
        }
    }

    fn wake(&self) -> Option<Time> {
        let earlier = |one: Option<Time>, other: Option<Time>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let wake = match self.leading.as_deref() {
            Some(leading) => {
                let wake = earlier(leading.retry_at, leading.check_at);
                match &leading.transfer {
                    Some(transfer) => earlier(wake, Some(transfer.deadline)),
                    None => wake,
                }
            }
            None => earlier(self.election.deadline, self.election.check_at),
        };
        if self.forwarded.len() == 0 {
            wake
        } else {
            earlier(wake, self.forwarded.deadline())
        }
    }

    /// The commit index rose to `upto`, or not.
    pub(crate) fn raise_commit(&mut self, upto: Index) -> bool {
        let news = upto > self.commit;
        if news {
            assert!(
                upto <= self.log.last_index(),
                "only held entries are committed"
            );
            self.commit = upto;
        }
        news
    }

    fn is_mutant_vote_early(&self) -> bool {
        #[cfg(feature = "mutants")]
        return self.config.mutant == Some(crate::mutants::Mutant::VoteBeforeDurable);
        #[cfg(not(feature = "mutants"))]
        false
    }
}

//! One replica of a group: what it is told, what it asks for, and who of its parts handles what.
//!
//! - Every call is one mutation; `drain` hands out what follows from it. Nothing is done by itself.
//! - Terms rise; the commit index rises; `applied <= commit <= log end`, except that a leader's commit may
//!   be told before the entries arrive.
//! - Whatever depends on durability is withheld until `persisted`.
//! - Calls cost time in the number of members, never in the number of entries or groups.

use core::ops::RangeInclusive;

use crate::alarm::{Alarm, Alarms};
use crate::config::{Config, ConfigError, Damage, Restored};
use crate::configurations::Configurations;
use crate::cut::{Cut, View};
use crate::effects::{Effects, HardState, Install, Role, RoleChange};
use crate::election::Election;
use crate::following::Following;
use crate::freshness::Freshness;
use crate::ids::{EntryId, Index, NodeId, PersistSeq, Term, Time};
use crate::leading::Leading;
use crate::liveness::Liveness;
use crate::mail::Mail;
use crate::membership::Membership;
use crate::message::{AppendOutcome, AppendReply, Body, Message, push};
use crate::storage::Storage;
use crate::term_log::TermLog;

/// A replica's consensus state. One per group and node, owned by the shard of one core.
///
/// The fields stand in the order of their heat: an entry touches the first five cache lines, at a leader the
/// configuration's last line as well. The rest is touched when something other than entries happens.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Raft {
    // One cache line: who leads, how far.
    pub(crate) term: Term,
    pub(crate) commit: Index,
    /// The commit index as last handed out.
    pub(crate) told_commit: Index,
    pub(crate) applied: Index,
    pub(crate) leading: Option<Box<Leading>>,
    pub(crate) leader: Option<NodeId>,
    pub(crate) role: Role,
    pub(crate) damage: Damage,
    /// Role, term, leader or configuration may differ from what was told last.
    pub(crate) notable: bool,
    /// A snapshot was offered and is to be asked for.
    pub(crate) install_wanted: bool,
    pub(crate) now: Time,
    // One: the log's ends.
    pub(crate) log: TermLog,
    // One: what is between this replica and its leader.
    pub(crate) following: Following,
    pub(crate) alarms: Alarms,
    // Two: what is between it and its disk; what waits for the next drain.
    pub(crate) storage: Storage,
    pub(crate) mail: Mail,
    // Seldom touched.
    pub(crate) vote: Option<NodeId>,
    pub(crate) next_read: u64,
    /// Voters may still rely on promises made before this process started.
    pub(crate) silent_until: Time,
    // One, at a leader: its limits, and where the newest configuration stands.
    pub(crate) config: Config,
    pub(crate) configurations: Configurations,
    // Seldom touched.
    pub(crate) election: Election,
    /// This replica lost entries, and has them all again when it is durable up to here.
    pub(crate) whole_at: Option<Index>,
    told: RoleChange,
    told_configuration: u64,
    /// A snapshot that the shard is installing, and who offered it.
    pub(crate) installing: Option<Box<(NodeId, EntryId, Membership)>>,
    /// How old the applied state may be.
    pub(crate) freshness: Option<Box<Freshness>>,
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
            mail: Mail::default(),
            alarms: Alarms::REST,
            notable: true,
            whole_at: None,
            told: RoleChange::default(),
            told_configuration: 0,
            election: Election::new(config.rank, seed),
            // Answers to reads of an earlier process of this node must not be taken for ours.
            next_read: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) & (u64::MAX << 32 >> 1),
            configurations,
            installing: None,
            freshness: None,
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
        if !message.is_plausible() {
            return;
        }
        if message.term == self.term {
            // The usual cases.
            match &message.body {
                Body::Append(append) => return self.on_append(from, append),
                Body::AppendReply(reply) => return self.on_append_reply(from, reply),
                _ => {}
            }
        }
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
        self.mail.expire(self.now);
        match self.role {
            Role::Leader => self.tick_leader(liveness),
            Role::Follower | Role::PreCandidate | Role::Candidate => self.tick_follower(liveness),
        }
    }

    /// The request `seq` and all before it are durable.
    pub fn persisted(&mut self, seq: PersistSeq, now: Time) {
        self.now = self.now.max(now);
        self.storage.persisted(seq);
        if self.storage.withholds() {
            self.storage.release(&mut self.mail.open().outbox);
        }
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
            if leading.reads.wants_round() {
                leading.reads.open_round(self.now, self.commit);
                leading.dirty = true;
                self.settle_reads();
            }
            self.pump(effects);
        } else {
            self.acknowledge(effects);
        }
        self.mail.hand_out(effects);
        if self.storage.wants() {
            let hard_state = HardState {
                term: self.term,
                vote: self.vote,
            };
            let last = self.log.last_index();
            self.storage.request(hard_state, last, &mut effects.persist);
        }
        if self.commit > self.told_commit {
            self.told_commit = self.commit;
            effects.commit = Some(self.commit);
        }
        if self.notable {
            self.tell(effects);
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
        let me = usize::from(leading.me);
        let mut cut = Cut::default();
        for (at, progress) in peers.iter_mut().enumerate() {
            if at != me {
                progress.pump(&view, &mut cut, &mut effects.send);
            }
        }
        if !leading.retry_at.is_set() && effects.send.len() > before {
            leading.retry_at = Alarm::at(self.now.plus(self.config.election_timeout));
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
        push(&mut effects.send, || {
            let message = Message {
                term: self.term,
                body: self.append_reply(AppendOutcome::Accepted { matched }),
            };
            (leader, message)
        });
    }

    #[inline]
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
            self.mail.post(to, message);
        } else {
            self.storage.withhold(to, message);
        }
    }

    #[inline]
    fn wake(&self) -> Option<Time> {
        let alarm = match self.leading.as_deref() {
            Some(leading) => {
                let transfer = leading.transfer.as_deref();
                let deadline = transfer.map_or(Alarm::NEVER, |of| Alarm::at(of.deadline));
                leading.retry_at.min(leading.check_at).min(deadline)
            }
            None => self.alarms.next(),
        };
        alarm.min(self.mail.alarm()).time()
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

//! Recovery: a core's log is read once, front to back, and every group stands where it stood.
//!
//! - A group begins with the state of its newest sound image, or empty; the log is read on top of it.
//! - A later record of a group at an index supersedes that one and everything after it.
//! - Entries at or below a commit index that any later record vouches for are applied at once and
//!   forgotten; only the short tail above it stays in memory.
//! - Entries that the image covers are not applied again, but stay in the log for followers that lag.
//! - A group that lost something to damage keeps what stands before it and is told so (`losses`).
//! - A log that does not lead on from the state is *adrift*: what it says is dropped, and the group is damaged
//!   until a leader has given it everything again. What was promised in votes and terms is never dropped.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use raft::config::{Damage, Restored};
use raft::ids::{EntryId, GroupId, Index, Term};
use raft::membership::Membership;
use raft::state_machine::{Command, StateMachine};
use raft::term_log::TermLog;
use wal::{Kind, Lost, Record, Recovered, Visit};

use crate::entry::{Entry, EntryHead, EntryHeadError, EntryKind};
use crate::losses::{self, GroupLosses, Losses, Verdict};
use crate::manifest::Manifest;
use crate::mutants::{Mutant, is_planted};
use crate::promise::{Promise, PromiseError};
use crate::receipt::Receipt;

/// What was recovered of one group.
#[derive(Debug)]
pub struct Recovering<M> {
    /// Its state machine, applied up to `applied`.
    pub machine: M,
    /// What the newest promise said.
    pub promise: Promise,
    /// What is lost, as far as anything says.
    pub damage: Damage,
    losses: GroupLosses,
    /// Entries above `applied`.
    pub tail: VecDeque<Entry>,
    /// Known committed.
    commit: Index,
    /// The last entry applied to `machine`.
    applied: EntryId,
    /// What the image reaches up to; index 0 without one.
    image: EntryId,
    /// The configuration as of `log`'s beginning; `None` is that of the layout.
    membership: Option<Membership>,
    /// The terms of the entries held.
    log: TermLog,
    /// What applied entries say is in the object store.
    pub receipts: Vec<Receipt>,
    /// Configuration entries in the log.
    configurations: Vec<(Index, Membership)>,
    /// The log does not lead on from the state.
    is_adrift: bool,
    /// What was applied was written again later: an installation took the log back, and it must be read anew.
    is_doubtful: bool,
    /// A state came from a peer that the log before it does not lead to: entries up to here are not what was agreed.
    overtaken: Option<Index>,
}

/// A log that cannot be what this node wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// The record belongs to a group that this node does not hold.
    #[error("the log holds a record of group {0}, which is not part of this node's layout")]
    UnknownGroup(u64),
    /// A group's entries do not follow each other.
    #[error("group {group}: entry {found} follows entry {last}")]
    Gap {
        /// The group.
        group: u64,
        /// The newest entry before.
        last: u64,
        /// The entry that does not follow.
        found: u64,
    },
    /// An applied, hence committed, entry is superseded.
    #[error("group {group}: entry {index} was committed and is overwritten")]
    CommittedOverwritten {
        /// The group.
        group: u64,
        /// The entry.
        index: u64,
    },
    /// An entry's head cannot be read.
    #[error("group {group}, entry {index}: {error}")]
    Head {
        /// The group.
        group: u64,
        /// The entry.
        index: u64,
        /// Why.
        error: EntryHeadError,
    },
    /// A configuration entry cannot be read.
    #[error("group {group}, entry {index}: unreadable configuration")]
    Configuration {
        /// The group.
        group: u64,
        /// The entry.
        index: u64,
    },
    /// A promise cannot be read.
    #[error("group {group}: {error}")]
    Promise {
        /// The group.
        group: u64,
        /// Why.
        error: PromiseError,
    },
}

/// What the log shows of a group and does not count, since a state that a peer sent took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overtaken {
    /// Entries up to this one.
    Upto(Index),
    /// All entries.
    All,
}

/// All groups of a core while its log is read.
#[derive(Debug)]
pub struct Recovery<M> {
    groups: BTreeMap<GroupId, Recovering<M>>,
    losses: Losses,
    error: Option<RecoverError>,
}

impl<M: StateMachine> Visit for Recovery<M> {
    fn shown(&mut self, recovered: &Recovered<'_>) {
        self.take(&recovered.record);
    }

    fn lost(&mut self, lost: Lost) {
        if let Lost::Unnamed { records, .. } = lost {
            self.losses.unnamed(records);
        }
        for (group, recovering) in &mut self.groups {
            recovering.lost(losses::concerns(lost, group.0));
        }
    }
}

impl<M: StateMachine> Recovery<M> {
    /// For these groups, each with its machine: empty, or as the image that this manifest lists left it.
    #[must_use]
    pub fn new<'a>(groups: impl Iterator<Item = (GroupId, M, Option<&'a Manifest>)>) -> Self {
        let groups = groups
            .map(|(group, machine, manifest)| (group, Recovering::begin(machine, manifest)))
            .collect();
        Self {
            groups,
            losses: Losses::default(),
            error: None,
        }
    }

    /// Takes one record, in log order. After the first error nothing more is taken.
    pub fn take(&mut self, record: &Record<'_>) {
        if self.error.is_none() {
            self.error = self.try_take(record).err();
        }
    }

    fn try_take(&mut self, record: &Record<'_>) -> Result<(), RecoverError> {
        let group = GroupId(record.group);
        let recovering = self
            .groups
            .get_mut(&group)
            .ok_or(RecoverError::UnknownGroup(group.0))?;
        recovering.take(group, record, &mut self.losses)
    }

    /// What each group recovered, in the order of group ids.
    pub fn finish(mut self) -> Result<BTreeMap<GroupId, Recovering<M>>, RecoverError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        for recovering in self.groups.values_mut() {
            let found = recovering.losses.damage(&self.losses);
            recovering.damage = worse(found, recovering.promise.damage);
        }
        Ok(self.groups)
    }
}

/// Lost votes are worse than lost entries.
pub(crate) fn worse(one: Damage, other: Damage) -> Damage {
    match (one, other) {
        (Damage::Votes, _) | (_, Damage::Votes) => Damage::Votes,
        (Damage::Entries, _) | (_, Damage::Entries) => Damage::Entries,
        (Damage::None, Damage::None) => Damage::None,
    }
}

impl<M: StateMachine> Recovering<M> {
    pub(crate) fn begin(machine: M, manifest: Option<&Manifest>) -> Self {
        let image = manifest.map_or(EntryId::default(), |manifest| manifest.last);
        let mut log = TermLog::default();
        log.reset(image);
        Self {
            machine,
            promise: Promise::default(),
            damage: Damage::None,
            losses: GroupLosses::default(),
            tail: VecDeque::new(),
            commit: image.index,
            applied: image,
            image,
            membership: manifest.map(|manifest| manifest.membership.clone()),
            log,
            receipts: Vec::new(),
            configurations: Vec::new(),
            is_adrift: false,
            is_doubtful: false,
            overtaken: None,
        }
    }

    /// Something is lost at this place of the log: an entry of this group, its promise, an entry that superseded
    /// others. What was known to be committed before cannot have been superseded.
    fn lost(&mut self, (entry, promise, turns): (Option<Index>, bool, bool)) {
        if promise {
            self.losses.lose_promise();
        }
        let next = self.applied.index.next();
        let first = if turns { Some(next) } else { entry };
        if let Some(first) = first.filter(|first| *first >= next) {
            self.losses.lose(first);
            self.cut(first);
        }
    }

    /// Forgets `index`, which is not applied, and everything after it.
    fn cut(&mut self, index: Index) {
        if index <= self.log.last_index() {
            self.tail.retain(|entry| entry.index < index);
            self.configurations.retain(|(at, _)| *at < index);
            self.log.truncate(index);
        }
    }

    fn promise(&mut self, group: GroupId, record: &Record<'_>) -> Result<(), RecoverError> {
        self.promise = Promise::parse(record.head).map_err(|error| RecoverError::Promise {
            group: group.0,
            error,
        })?;
        if is_planted(Mutant::VoteForgotten) {
            self.promise.state.vote = None;
        }
        self.losses.found_promise();
        if let Some(base) = self.promise.base.filter(|base| base.is_fetched) {
            if base.last.index > self.applied.index {
                // What stands before it in the log does not lead there.
                self.drift();
                return Ok(());
            }
            self.overtake(base.last);
        }
        self.commit = self.commit.max(self.promise.commit);
        self.apply();
        Ok(())
    }

    fn entry(
        &mut self,
        group: GroupId,
        record: &Record<'_>,
        all: &mut Losses,
    ) -> Result<(), RecoverError> {
        let id = EntryId {
            index: Index(record.index),
            term: Term(record.term),
        };
        let index = id.index;
        let head = EntryHead::parse(record.head).map_err(|error| RecoverError::Head {
            group: group.0,
            index: index.0,
            error,
        })?;
        if index.0 == 0 {
            let (group, last) = (group.0, self.log.last_index().0);
            return Err(RecoverError::Gap {
                group,
                last,
                found: 0,
            });
        }
        if index > self.image.index && id.term < self.image.term {
            // A ghost: whoever holds the image's last entry follows it with entries of its term or later ones.
            return Ok(());
        }
        if index > self.image.index && index <= self.applied.index {
            if self.is_doubtful || self.log.term_at(index) == Some(id.term) {
                // The same entry once more: what followed it then need not follow it now.
                self.is_doubtful = true;
                return Ok(());
            }
            return Err(RecoverError::CommittedOverwritten {
                group: group.0,
                index: index.0,
            });
        }
        let last = self.log.last_index().max(self.applied.index);
        if index > self.applied.index && self.losses.judge(index, last, all) == Verdict::Leave {
            return Ok(());
        }
        if !self.attach(id) {
            return Ok(());
        }
        if head.kind() == EntryKind::Configuration {
            let membership =
                Membership::decode(record.payload).map_err(|_| RecoverError::Configuration {
                    group: group.0,
                    index: index.0,
                })?;
            self.configurations.push((index, membership));
        }
        if index <= self.applied.index {
            return Ok(());
        }
        self.tail.push_back(Entry {
            index,
            term: id.term,
            head,
            payload: Bytes::copy_from_slice(record.payload),
            payload_crc: record.payload_crc,
        });
        self.commit = self.commit.max(Index(head.commit.get()));
        if is_planted(Mutant::RecoversUncommitted) {
            self.commit = index;
        }
        self.apply();
        Ok(())
    }

    /// Puts an entry behind those before it, which it may supersede in part. False when it does not lead on from
    /// the state.
    fn attach(&mut self, id: EntryId) -> bool {
        let (index, begins) = (id.index, self.log.first_index());
        let is_next = index == self.applied.index.next();
        let joined = self.log.term_at(self.applied.index) == Some(self.applied.term);
        if is_next && !joined {
            self.restart(self.applied);
        } else if index > self.log.last_index().next() {
            if index > self.applied.index {
                self.drift();
                return false;
            }
            // The first one seen of those that the image covers: the log begins right behind it.
            self.restart(id);
            return true;
        } else if index < begins {
            self.restart(id);
            return true;
        }
        self.is_adrift = false;
        self.cut(index);
        if id.term < self.log.last_id().term {
            // Terms never fall along a log: what stands before it is not what it followed.
            self.drift();
            return false;
        }
        self.log.append(id.term, 1);
        true
    }

    /// A state that reaches up to this entry came from a peer. Entries of other terms before it were never agreed, and what
    /// follows them neither: the log was given up in memory then, and shows them again whenever it is read.
    ///
    /// Entries of another leader's behind it, whose beginning was given up already, look as if they followed it. They stay,
    /// a tail like any other: no commit index reaches them, nobody leads with them since what was agreed behind the state is
    /// of a later term, and no leader's entry matches theirs.
    fn overtake(&mut self, last: EntryId) {
        let leads_there = match self.log.term_at(last.index) {
            Some(term) => term == last.term,
            // It begins behind it, or breaks off before it.
            None => self.log.first_index() > last.index,
        };
        if !leads_there {
            self.restart(last);
            self.overtaken = Some(last.index);
        }
    }

    /// The log begins behind this entry, which the state covers.
    fn restart(&mut self, begins: EntryId) {
        self.is_adrift = false;
        self.tail.clear();
        if begins.index <= self.image.index {
            self.configurations.clear();
        } else if let Some((_, newest)) = self.configurations.drain(..).next_back() {
            self.membership = Some(newest);
        }
        self.log.reset(begins);
    }

    /// What the log says does not lead on from the state.
    fn drift(&mut self) {
        let applied = self.applied;
        self.configurations.retain(|(at, _)| *at <= applied.index);
        self.restart(applied);
        self.is_adrift = true;
    }

    /// Applies what is known committed.
    fn apply(&mut self) {
        let mut reply = Vec::new();
        while let Some(entry) = self.tail.front() {
            if entry.index > self.commit {
                break;
            }
            if entry.head.kind() == EntryKind::Receipt {
                self.receipts.extend(Receipt::parse(&entry.payload));
            }
            let twice = is_planted(Mutant::AppliedTwiceAfterRestart) && entry.index == self.commit;
            for _ in 0..1 + u8::from(twice) {
                if entry.head.kind() != EntryKind::Command {
                    break;
                }
                reply.clear();
                self.machine.apply_for(
                    entry.head.asker(),
                    Command {
                        index: entry.index,
                        time: entry.head.time.get(),
                        operation: entry.head.operation,
                        payload: &entry.payload,
                    },
                    &mut reply,
                );
            }
            self.applied = EntryId {
                index: entry.index,
                term: entry.term,
            };
            self.tail.pop_front();
        }
    }

    /// What the log holds must be read again, into the image's state: more was applied than it holds.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Entries up to here were overtaken by a state that a peer sent.
    #[must_use]
    pub fn overtaken_upto(&self) -> Option<Index> {
        self.overtaken
    }

    /// A log that does not lead up to the state begins behind it.
    fn reach(&mut self) {
        let reaches = self.log.term_at(self.applied.index) == Some(self.applied.term);
        if !reaches {
            // It broke off before the end of the image, or is not the one that led there. Only what this replica took down
            // itself is sure to be of its own log: an image of a peer may be here before the log says so.
            let base = self.promise.base.map(|base| base.last);
            if base != Some(self.applied) && self.log.last_index() >= self.log.first_index() {
                self.overtaken = Some(self.applied.index);
            }
            self.restart(self.applied);
        }
    }

    /// What the log shows of this group and does not count, once all of it was read: entries up to this one, or all of them when the group's log
    /// ends there.
    #[must_use]
    pub fn overtaken(&mut self) -> Option<Overtaken> {
        self.reach();
        let upto = self.overtaken?;
        Some(if self.log.last_index() > upto {
            Overtaken::Upto(upto)
        } else {
            Overtaken::All
        })
    }

    /// Takes an entry or a promise, in log order.
    ///
    /// # Errors
    /// When it cannot be what this node wrote.
    pub fn take(
        &mut self,
        group: GroupId,
        record: &Record<'_>,
        all: &mut Losses,
    ) -> Result<(), RecoverError> {
        match record.kind {
            Kind::Meta => self.promise(group, record),
            Kind::Entry => self.entry(group, record, all),
        }
    }

    /// Everything that the log had to say was said: what the group's core is told. `initial` is the
    /// configuration of a group that has just begun.
    pub fn restored(&mut self, initial: &Membership) -> Restored {
        self.reach();
        // The configuration is known as of the image: the log begins no earlier than behind the last change before.
        let changed = self
            .configurations
            .iter()
            .rposition(|(at, _)| *at <= self.image.index);
        if let Some(changed) = changed {
            let (at, _) = self.configurations[changed];
            let term = self.log.term_at(at).expect("it stands in the log");
            self.log.compact(EntryId { index: at, term });
            self.configurations.drain(..=changed);
        }
        // What was overtaken is not to be read, so nobody is offered it.
        let overtaken = self
            .overtaken
            .filter(|upto| *upto >= self.log.first_index());
        if let Some((index, term)) = overtaken.and_then(|at| Some((at, self.log.term_at(at)?))) {
            self.log.compact(EntryId { index, term });
        }
        let base = self.promise.base.map_or(Index(0), |base| base.last.index);
        let is_lost = self.is_adrift || base > self.log.last_index();
        let least = if is_lost {
            Damage::Entries
        } else {
            Damage::None
        };
        Restored {
            hard_state: self.promise.state,
            membership: self.membership.clone().unwrap_or_else(|| initial.clone()),
            snapshot: self.log.snapshot(),
            runs: self.log.runs().to_vec(),
            last: self.log.last_index(),
            configurations: self.configurations.clone(),
            commit: self.applied.index,
            applied: self.applied.index,
            damage: worse(self.damage, least),
        }
    }

    /// The image holds this entry's effect.
    #[must_use]
    pub(crate) fn is_covered(&self, index: u64) -> bool {
        index <= self.image.index.0
    }

    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> EntryId {
        self.applied
    }
}

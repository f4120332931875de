//! Recovery: a core's log is read once, front to back, and every group stands where it stood.
//!
//! - A later record of a group at an index supersedes that one and everything after it.
//! - Entries at or below a commit index that any later record vouches for are applied at once and
//!   forgotten; only the short tail above it stays in memory.
//! - A group that lost something to damage keeps what stands before it and is told so (`losses`).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use raft::config::Damage;
use raft::effects::HardState;
use raft::ids::{EntryId, GroupId, Index, Term};
use raft::membership::Membership;
use raft::state_machine::{Command, StateMachine};
use wal::{Kind, Lost, Record, Recovered, Visit};

use crate::entry::{Entry, EntryHead, EntryHeadError, EntryKind};
use crate::losses::{self, GroupLosses, Losses, Verdict};
use crate::mutants::{Mutant, is_planted};
use crate::promise::{Promise, PromiseError};

/// What was recovered of one group.
#[derive(Debug)]
pub struct Recovering<M> {
    /// Its state machine, applied up to `applied`.
    pub machine: M,
    /// Term and vote.
    pub hard_state: HardState,
    /// Known committed.
    pub commit: Index,
    /// Applied to `machine`.
    pub applied: Index,
    /// First entry of each run of equal terms.
    pub runs: Vec<EntryId>,
    /// The newest entry's index.
    pub last: Index,
    /// Configuration entries in the log.
    pub configurations: Vec<(Index, Membership)>,
    /// Entries above `applied`.
    pub tail: VecDeque<Entry>,
    /// What is lost, as the newest promise says.
    pub marked: Damage,
    /// What is lost, as far as anything says.
    pub damage: Damage,
    losses: GroupLosses,
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

/// All groups of a core while its log is read.
#[derive(Debug)]
pub struct Recovery<M> {
    groups: BTreeMap<GroupId, Recovering<M>>,
    losses: Losses,
    error: Option<RecoverError>,
}

impl<M: StateMachine> Visit for Recovery<M> {
    fn shown(&mut self, recovered: Recovered<'_>) {
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
    /// For these groups, each with its empty machine.
    #[must_use]
    pub fn new(groups: impl Iterator<Item = (GroupId, M)>) -> Self {
        let groups = groups
            .map(|(group, machine)| (group, Recovering::empty(machine)))
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
        match record.kind {
            Kind::Meta => recovering.promise(group, record),
            Kind::Entry => recovering.entry(group, record, &mut self.losses),
        }
    }

    /// What each group recovered, in the order of group ids.
    pub fn finish(mut self) -> Result<BTreeMap<GroupId, Recovering<M>>, RecoverError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        for recovering in self.groups.values_mut() {
            let found = recovering.losses.damage(&self.losses);
            recovering.damage = worse(found, recovering.marked);
        }
        Ok(self.groups)
    }
}

/// Lost votes are worse than lost entries.
fn worse(one: Damage, other: Damage) -> Damage {
    match (one, other) {
        (Damage::Votes, _) | (_, Damage::Votes) => Damage::Votes,
        (Damage::Entries, _) | (_, Damage::Entries) => Damage::Entries,
        (Damage::None, Damage::None) => Damage::None,
    }
}

impl<M: StateMachine> Recovering<M> {
    fn empty(machine: M) -> Self {
        Self {
            machine,
            hard_state: HardState::default(),
            commit: Index(0),
            applied: Index(0),
            runs: Vec::new(),
            last: Index(0),
            configurations: Vec::new(),
            tail: VecDeque::new(),
            marked: Damage::None,
            damage: Damage::None,
            losses: GroupLosses::default(),
        }
    }

    /// Something is lost at this place of the log: an entry of this group, its promise, an entry that superseded
    /// others. What was known to be committed before cannot have been superseded.
    fn lost(&mut self, (entry, promise, turns): (Option<Index>, bool, bool)) {
        if promise {
            self.losses.lose_promise();
        }
        let first = if turns {
            Some(self.applied.next())
        } else {
            entry
        };
        if let Some(first) = first.filter(|first| *first > self.applied) {
            self.losses.lose(first);
            self.cut(first);
        }
    }

    fn promise(&mut self, group: GroupId, record: &Record<'_>) -> Result<(), RecoverError> {
        let (state, commit, marked) =
            Promise::parse(record.head).map_err(|error| RecoverError::Promise {
                group: group.0,
                error,
            })?;
        self.hard_state = state;
        if is_planted(Mutant::VoteForgotten) {
            self.hard_state.vote = None;
        }
        self.marked = marked;
        self.losses.found_promise();
        self.commit = self.commit.max(commit);
        self.apply();
        Ok(())
    }

    fn entry(
        &mut self,
        group: GroupId,
        record: &Record<'_>,
        all: &mut Losses,
    ) -> Result<(), RecoverError> {
        let index = Index(record.index);
        let head = EntryHead::parse(record.head).map_err(|error| RecoverError::Head {
            group: group.0,
            index: index.0,
            error,
        })?;
        match self.losses.judge(index, self.last, all) {
            Verdict::Take if index.0 > 0 => {}
            Verdict::Leave => return Ok(()),
            Verdict::Take | Verdict::Unexplained => {
                return Err(RecoverError::Gap {
                    group: group.0,
                    last: self.last.0,
                    found: index.0,
                });
            }
        }
        if index <= self.applied && self.term_of(index) == Some(Term(record.term)) {
            // Repaired, and so written again, though its first copy can be read once more: what followed that one is
            // superseded all the same.
            self.cut(self.applied.next());
            return Ok(());
        }
        if index <= self.applied {
            return Err(RecoverError::CommittedOverwritten {
                group: group.0,
                index: index.0,
            });
        }
        self.cut(index);
        if head.kind() == EntryKind::Configuration {
            let membership =
                Membership::decode(record.payload).map_err(|_| RecoverError::Configuration {
                    group: group.0,
                    index: index.0,
                })?;
            self.configurations.push((index, membership));
        }
        let term = Term(record.term);
        if self.runs.last().is_none_or(|run| run.term != term) {
            self.runs.push(EntryId { term, index });
        }
        self.last = index;
        self.tail.push_back(Entry {
            index,
            term,
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

    /// The term of an entry that counts.
    fn term_of(&self, index: Index) -> Option<Term> {
        let run = self.runs.iter().rev().find(|run| run.index <= index)?;
        Some(run.term)
    }

    /// Forgets `index` and everything after it.
    fn cut(&mut self, index: Index) {
        if index > self.last {
            return;
        }
        self.tail.retain(|entry| entry.index < index);
        self.runs.retain(|run| run.index < index);
        self.configurations.retain(|(at, _)| *at < index);
        self.last = Index(index.0 - 1);
    }

    /// Applies what is known committed.
    fn apply(&mut self) {
        let mut reply = Vec::new();
        while let Some(entry) = self.tail.front() {
            if entry.index > self.commit {
                break;
            }
            let twice = is_planted(Mutant::AppliedTwiceAfterRestart) && entry.index == self.commit;
            for _ in 0..1 + u8::from(twice) {
                if entry.head.kind() != EntryKind::Command {
                    break;
                }
                reply.clear();
                self.machine.apply(
                    Command {
                        index: entry.index,
                        time: entry.head.time.get(),
                        operation: entry.head.operation,
                        payload: &entry.payload,
                    },
                    &mut reply,
                );
            }
            self.applied = entry.index;
            self.tail.pop_front();
        }
    }
}

//! Persist: everything that any group of this core must not forget goes into one log, and every
//! group's promises are kept together when the log's watermark passes them.
//!
//! - Jobs enter the log in the order in which the groups asked.
//! - A job that finds the log's blocks full waits at the front; nothing overtakes it.
//! - A job whose entries were superseded before they reached the log writes only what still stands.
//! - What says that entries may be given up goes first, into space kept back for it: it is what relieves a full log.

use std::collections::VecDeque;

use raft::effects::{HardState, Persist};
use raft::ids::{GroupId, Index, PersistSeq, Time};
use wal::{AppendError, Device, Kind, Lsn, Record, Wal};
use zerocopy::IntoBytes;

use crate::entry::Entry;
use crate::mutants::{Mutant, is_planted};
use crate::promise::PROMISE_BYTES_MAX;
use crate::replica::Replica;

/// Of a write that no core asked for.
pub const UNASKED: PersistSeq = PersistSeq(0);

/// What waits to enter the log, and what waits to be durable. One per shard.
#[derive(Debug, Default)]
pub struct Journal {
    jobs: VecDeque<Job>,
    written: VecDeque<Written>,
    /// Groups whose promise is to be written anew because more than term and vote changed.
    notes: VecDeque<u32>,
    /// Those of them that are in the log.
    noted: VecDeque<(Lsn, u32, Index)>,
    scratch: Vec<u8>,
    /// Groups whose log grew beyond what an image is wanted for.
    pub(crate) grown: Vec<u32>,
    /// Bytes of a group's log for which an image is wanted; 0: none ever.
    pub(crate) image_bytes: u64,
}

/// One group's request to make something durable.
#[derive(Debug)]
struct Job {
    slot: u32,
    persist: Persist,
    /// Next index to append; meaningless without `persist.append`.
    next: Index,
    /// The newest record of the job in the log.
    lsn: Lsn,
}

/// One group's request, handed to the log.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// The group.
    pub slot: u32,
    /// Its request.
    pub seq: PersistSeq,
    /// The last entry in it.
    pub last: Index,
    /// How often the group's log had been cut when it was handed over.
    pub cuts: u64,
    /// When it was handed over.
    pub at: Time,
    lsn: Lsn,
}

/// What the log answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persisted {
    /// Everything is in the log's hands.
    All,
    /// The log's blocks are full: the rest waits.
    Waiting,
    /// The disk is full: the rest waits for space.
    Full,
    /// The log is broken for good; the node must stop.
    Failed,
}

impl Journal {
    /// An empty one; `image_bytes` of a group's log are reported as grown, 0 turns that off.
    #[must_use]
    pub fn new(image_bytes: u64) -> Self {
        Self {
            image_bytes,
            ..Self::default()
        }
    }

    /// Queues a group's request.
    pub fn push(&mut self, slot: u32, persist: Persist) {
        if let Some(append) = &persist.append {
            self.clip(slot, append.first);
        }
        let next = persist
            .append
            .as_ref()
            .map_or(Index(0), |append| append.first);
        self.jobs.push_back(Job {
            slot,
            persist,
            next,
            lsn: Lsn(0),
        });
    }

    /// Writes the group's promise anew, soon: its base or its damage changed.
    pub fn note(&mut self, slot: u32) {
        if !self.notes.contains(&slot) {
            self.notes.push_back(slot);
        }
    }

    /// Takes one group whose promise, as written anew, is durable, and the index of the base that it names.
    pub fn noted(&mut self, watermark: Lsn) -> Option<(u32, Index)> {
        if self.noted.front()?.0 > watermark {
            return None;
        }
        self.noted.pop_front().map(|(_, slot, base)| (slot, base))
    }

    /// Queues a group's promise, as it stands, to be written once more: what it says of damage has changed.
    pub fn mark(&mut self, slot: u32, hard_state: HardState) {
        self.push(
            slot,
            Persist {
                seq: UNASKED,
                hard_state: Some(hard_state),
                append: None,
            },
        );
    }

    /// Entries of `slot` from `first` on are superseded: jobs that have not written them never will.
    pub fn clip(&mut self, slot: u32, first: Index) {
        for job in self.jobs.iter_mut().filter(|job| job.slot == slot) {
            if let Some(append) = &mut job.persist.append
                && append.last >= first
            {
                append.last = Index(first.0 - 1);
            }
        }
    }

    /// The group's entries in the log, up to `last`, are durable, and nothing on its way changes them.
    #[must_use]
    pub fn has_settled(&self, slot: u32, last: Index) -> bool {
        let goes_on = |job: &Job| job.persist.append.is_none() || job.next > last;
        let mut jobs = self.jobs.iter().filter(|job| job.slot == slot);
        jobs.all(goes_on) && self.written.iter().all(|written| written.slot != slot)
    }

    /// Nothing waits to enter the log.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Something waits for the log or for the disk.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty()
            && self.written.is_empty()
            && self.notes.is_empty()
            && self.noted.is_empty()
    }

    /// Hands queued requests to the log until it has no room.
    pub fn write<D: Device, M>(
        &mut self,
        wal: &mut Wal<D>,
        replicas: &mut [Replica<M>],
        now: Time,
    ) -> Persisted {
        if !self.notes.is_empty()
            && let Err(error) = self.write_notes(wal, replicas)
        {
            return error;
        }
        while let Some(job) = self.jobs.front_mut() {
            let replica = &mut replicas[job.slot as usize];
            match job.write(wal, replica, &mut self.scratch) {
                Ok(()) => {
                    let grown = self.image_bytes > 0 && replica.shelf.log_bytes >= self.image_bytes;
                    let shelf = &mut replica.shelf;
                    if grown && !shelf.wants_image && !shelf.is_plain {
                        shelf.wants_image = true;
                        self.grown.push(job.slot);
                    }
                    let last = job
                        .persist
                        .append
                        .as_ref()
                        .map_or(Index(0), |append| append.last);
                    self.written.push_back(Written {
                        slot: job.slot,
                        seq: job.persist.seq,
                        last,
                        cuts: replica.cuts,
                        at: now,
                        lsn: job.lsn,
                    });
                    self.jobs.pop_front();
                }
                Err(AppendError::Busy) => return Persisted::Waiting,
                Err(AppendError::StorageFull) => return Persisted::Full,
                Err(_) => return Persisted::Failed,
            }
        }
        Persisted::All
    }

    fn write_notes<D: Device, M>(
        &mut self,
        wal: &mut Wal<D>,
        replicas: &mut [Replica<M>],
    ) -> Result<(), Persisted> {
        while let Some(&slot) = self.notes.front() {
            let replica = &mut replicas[slot as usize];
            let promise = replica.promise();
            self.scratch.clear();
            promise.encode(&mut self.scratch);
            let term = promise.state.term.0;
            let group = replica.group;
            let note = record(group, Index(0), term, Kind::Meta, &self.scratch, &[], 0);
            match wal.append_relief(&note) {
                Ok(lsn) => {
                    let base = promise.base.map_or(Index(0), |base| base.last.index);
                    self.noted.push_back((lsn, slot, base));
                }
                Err(AppendError::Busy) => return Err(Persisted::Waiting),
                Err(AppendError::StorageFull) => return Err(Persisted::Full),
                Err(_) => return Err(Persisted::Failed),
            }
            self.notes.pop_front();
        }
        Ok(())
    }

    /// Takes one request that is durable.
    pub fn durable(&mut self, watermark: Lsn) -> Option<Written> {
        let is_durable = self.written.front()?.lsn <= watermark;
        if !is_durable && !is_planted(Mutant::PersistedBeforeDurable) {
            return None;
        }
        self.written.pop_front()
    }
}

impl Job {
    /// Writes what is left of the job; on an error, what was written stays written.
    fn write<D: Device, M>(
        &mut self,
        wal: &mut Wal<D>,
        replica: &mut Replica<M>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), AppendError> {
        if is_planted(Mutant::PromiseUnwritten) {
            self.persist.hard_state = None;
        }
        if let Some(state) = self.persist.hard_state {
            let before = std::mem::replace(&mut replica.promised, state);
            let promise = replica.promise();
            scratch.clear();
            promise.encode(scratch);
            debug_assert!(
                scratch.len() <= PROMISE_BYTES_MAX,
                "a promise fits its record"
            );
            let term = state.term.0;
            let group = replica.group;
            let written = wal.append(&record(group, Index(0), term, Kind::Meta, scratch, &[], 0));
            if written.is_err() {
                // A note written meanwhile must not speak of a vote that its own request still waits with.
                replica.promised = before;
            }
            self.lsn = written?;
            self.persist.hard_state = None;
        }
        let Some(append) = &self.persist.append else {
            return Ok(());
        };
        while self.next <= append.last {
            let entry = replica
                .window
                .get(self.next)
                .expect("an entry stays in the window until it is in the log");
            self.lsn = wal.append(&record_of(replica.group, entry))?;
            let bytes = crate::entry::HEAD_BYTES + entry.payload.len();
            replica.shelf.log_bytes += bytes as u64;
            self.next = self.next.next();
            if is_planted(Mutant::EntrySkipped) && append.last.0 - self.next.0 == 1 {
                self.next = append.last;
            }
        }
        Ok(())
    }
}

/// An entry as the log takes it.
pub(crate) fn record_of(group: GroupId, entry: &Entry) -> Record<'_> {
    record(
        group,
        entry.index,
        entry.term.0,
        Kind::Entry,
        entry.head.as_bytes(),
        &entry.payload,
        entry.payload_crc,
    )
}

fn record<'a>(
    group: GroupId,
    index: Index,
    term: u64,
    kind: Kind,
    head: &'a [u8],
    payload: &'a [u8],
    payload_crc: u32,
) -> Record<'a> {
    Record {
        group: group.0,
        index: index.0,
        term,
        kind,
        head,
        payload,
        payload_crc,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft::config::{Config, Restored};
    use raft::effects::Append;
    use raft::ids::{NodeId, Term};
    use raft::membership::Membership;
    use raft::raft::Raft;
    use raft::rare::Rare;
    use wal::device::memory::MemoryDisk;
    use wal::{Identity, Options};

    use super::*;
    use crate::entry::{EntryHead, EntryKind};
    use crate::promise::Promise;
    use crate::window::Window;

    /// A replica that has just taken entry 1 from a leader who says that it is committed; nothing of it is in the log.
    fn told_of_one_commitment() -> Replica<()> {
        let membership =
            Membership::of_voters(&[NodeId(1), NodeId(2), NodeId(3)]).expect("three voters");
        let raft = Raft::new(
            Config::of(NodeId(1)),
            Restored::initial(membership),
            0,
            Time(0),
        )
        .expect("sound");
        let mut window = Window::starting_at(Index(1));
        window.push(Entry {
            index: Index(1),
            term: Term(2),
            head: EntryHead::made(Index(0), 0, EntryKind::Empty),
            payload: Bytes::new(),
            payload_crc: 0,
        });
        let mut replica = Replica::new(GroupId(0), raft, (), window, Index(0));
        replica.commit = Index(1);
        replica.durable = Index(0);
        replica
    }

    #[test]
    fn a_promise_vouches_only_for_entries_that_stand_before_it() {
        let options = Options::small(
            Identity {
                cluster: 1,
                node: 1,
                log: 0,
            },
            4096,
        );
        let disk = MemoryDisk::new(1 << 20, 0);
        let (mut wal, _) =
            Wal::open(disk.device(), options.clone(), 0, &mut |_| {}).expect("an empty log");
        let mut journal = Journal::default();
        let hard_state = Some(HardState {
            term: Term(2),
            vote: None,
        });
        let append = Some(Append {
            first: Index(1),
            last: Index(1),
            made: Rare::new(),
        });
        journal.push(
            0,
            Persist {
                seq: PersistSeq(1),
                hard_state,
                append,
            },
        );
        assert_eq!(
            journal.write(&mut wal, &mut [told_of_one_commitment()], Time(0)),
            Persisted::All
        );
        while journal.durable(wal.durable()).is_none() {
            wal.submit(0);
            wal.poll(0);
        }
        let mut vouched = Vec::new();
        let reopened = Wal::open(disk.device(), options, 0, &mut |recovered| {
            if recovered.record.kind == Kind::Meta {
                vouched.push(
                    Promise::parse(recovered.record.head)
                        .expect("just written")
                        .commit,
                );
            }
        });
        reopened.expect("the log opens again");
        assert_eq!(
            vouched,
            [Index(0)],
            "an older entry 1 may still stand in the log when the promise is read"
        );
    }
}

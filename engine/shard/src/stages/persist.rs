//! Persist: everything that any group of this core must not forget goes into one log, and every
//! group's promises are kept together when the log's watermark passes them.
//!
//! - Jobs enter the log in the order in which the groups asked.
//! - A job that finds the log's blocks full waits at the front; nothing overtakes it.
//! - A job whose entries were superseded before they reached the log writes only what still stands.

use std::collections::VecDeque;

use raft::effects::{HardState, Persist};
use raft::ids::{GroupId, Index, PersistSeq, Time};
use wal::{AppendError, Device, Kind, Lsn, Record, Wal};
use zerocopy::IntoBytes;

use crate::mutants::{Mutant, is_planted};
use crate::promise::Promise;
use crate::replica::Replica;

/// Of a write that no core asked for.
pub const UNASKED: PersistSeq = PersistSeq(0);

/// What waits to enter the log, and what waits to be durable. One per shard.
#[derive(Debug, Default)]
pub struct Journal {
    jobs: VecDeque<Job>,
    written: VecDeque<Written>,
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
    fn clip(&mut self, slot: u32, first: Index) {
        for job in self.jobs.iter_mut().filter(|job| job.slot == slot) {
            if let Some(append) = &mut job.persist.append
                && append.last >= first
            {
                append.last = Index(first.0 - 1);
            }
        }
    }

    /// Nothing waits to enter the log.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Something waits for the log or for the disk.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.written.is_empty()
    }

    /// Hands queued requests to the log until it has no room.
    pub fn write<D: Device, M>(
        &mut self,
        wal: &mut Wal<D>,
        replicas: &mut [Replica<M>],
        now: Time,
    ) -> Persisted {
        while let Some(job) = self.jobs.front_mut() {
            let replica = &mut replicas[job.slot as usize];
            match job.write(wal, replica) {
                Ok(()) => {
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
    ) -> Result<(), AppendError> {
        if is_planted(Mutant::PromiseUnwritten) {
            self.persist.hard_state = None;
        }
        if let Some(state) = self.persist.hard_state {
            // Recovery applies what a promise vouches for from the entries before it in the log: it may not
            // vouch for entries that are committed and still on their way there.
            let vouched = if is_planted(Mutant::PromiseVouchesForAll) {
                replica.commit
            } else {
                replica.commit.min(replica.durable)
            };
            let promise = Promise::new(state, vouched, replica.raft.damage());
            let head = promise.as_bytes();
            self.lsn = wal.append(&record(
                replica.group,
                Index(0),
                state.term.0,
                Kind::Meta,
                head,
                &[],
                0,
            ))?;
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
            self.lsn = wal.append(&record(
                replica.group,
                entry.index,
                entry.term.0,
                Kind::Entry,
                entry.head.as_bytes(),
                &entry.payload,
                entry.payload_crc,
            ))?;
            self.next = self.next.next();
            if is_planted(Mutant::EntrySkipped) && append.last.0 - self.next.0 == 1 {
                self.next = append.last;
            }
        }
        Ok(())
    }
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
    use wal::device::memory::MemoryDisk;
    use wal::{Identity, Options};

    use super::*;
    use crate::entry::{Entry, EntryHead, EntryKind};
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
        Replica {
            group: GroupId(0),
            raft,
            machine: (),
            window,
            waiting: VecDeque::new(),
            asked: VecDeque::new(),
            asked_durable: 0,
            asked_committed: 0,
            asked_term: Term(0),
            waiting_reads: Vec::new(),
            reads: Vec::new(),
            confirmed: Vec::new(),
            commit: Index(1),
            applied: Index(0),
            durable: Index(0),
            cuts: 0,
            marked: raft::config::Damage::None,
            is_asking: false,
            is_ready: false,
        }
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
            made: Vec::new(),
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
                        .1,
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

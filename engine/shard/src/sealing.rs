//! Sealing: before the log gives entries up, they become sealed files; small ones are joined, old ones let go.
//!
//! ```text
//! file durable under its name -> in the group's past -> the log may give the entries up -> files it replaces go
//! ```
//!
//! - One file at a time, a slice of a turn at a time, and nothing when nothing is wanted.
//! - Only applied and durable entries are sealed: they cannot be superseded.
//! - A crash leaves the entries in the log, or in a file with its name, or in both.
//! - An entry that cannot be read, and that nobody repairs, is passed over and counted: its copies are on other nodes.

use std::collections::VecDeque;

use net::transport::Transport;
use raft::ids::{GroupId, Time};
use raft::state_machine::StateMachine;
use wal::archive::{Contents, FileKind, Name};
use wal::{Device, OwnedRecord, ReadError};

use crate::limits;
use crate::mutants::{Mutant, is_planted, taste};
use crate::past::{History, SealCounts, SealedFile};
use crate::replica::Replica;
use crate::restoring::{Fault, FaultKind};
use crate::shard::Shard;
use crate::stretch::{Step, Stretch};
use crate::upkeep::{Slice, Wants};

/// Tokens of our reads of the log have this bit; those of followers that lag count from 1.
const READ_BIT: u64 = 1 << 62;

/// What a read of the log came to.
type Read = Result<Vec<OwnedRecord>, ReadError>;

/// One per shard.
#[derive(Default)]
pub(crate) struct Sealing {
    pub(crate) history: Option<History>,
    pub(crate) wanted: VecDeque<u32>,
    pub(crate) stretch: Option<Stretch>,
    /// A read of the log is under way; answers of others are stale.
    token: Option<u64>,
    next_token: u64,
    retry_at: Time,
    /// The stretch's first entry could not be read.
    trouble: Option<u64>,
    /// How often the read of this entry failed in a row.
    failed: (u64, u32),
    /// It was there, and is damaged.
    is_damaged: bool,
    /// Bytes of all sealed files.
    pub(crate) bytes: u64,
    pub(crate) counts: SealCounts,
}

impl Sealing {
    /// The group's log is to be sealed as far as it can be.
    pub(crate) fn want<M>(&mut self, slot: u32, replica: &mut Replica<M>) {
        if self.history.is_some() && !replica.shelf.wants_sealing {
            replica.shelf.wants_sealing = true;
            self.wanted.push_back(slot);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.stretch.is_none() && self.wanted.is_empty()
    }

    /// The file that is being made, or would be replaced under the same name.
    pub(crate) fn is_making(&self, name: Name) -> bool {
        self.stretch.as_ref().is_some_and(|one| one.name == name)
    }

    /// Takes the answer of a read of ours; `None` when it is somebody else's.
    pub(crate) fn have_read(&mut self, token: u64, read: Read) -> Option<(u64, Read)> {
        if token & READ_BIT == 0 {
            return Some((token, read));
        }
        self.token.take_if(|asked| *asked == token)?;
        let stretch = self.stretch.as_mut()?;
        match read {
            Ok(records) => stretch.take(records),
            Err(error) => {
                let at = match error {
                    ReadError::Damaged { index, .. } => index,
                    _ => stretch.first,
                };
                if at > stretch.first && stretch.end_before(at) {
                    return None;
                }
                let is_damaged = matches!(error, ReadError::Damaged { .. });
                let first = stretch.first;
                self.unreadable(first, is_damaged);
            }
        }
        None
    }

    /// The first entry of the stretch cannot be read.
    fn unreadable(&mut self, index: u64, is_damaged: bool) {
        let times = 1 + u32::from(self.failed.0 == index) * self.failed.1;
        (self.failed, self.is_damaged) = ((index, times), is_damaged);
        self.trouble = Some(index);
    }

    /// Gives up what is being made for this group.
    pub(crate) fn stop(&mut self, slot: u32, archive: &mut dyn wal::archive::Archive, now: Time) {
        if let Some(stretch) = self.stretch.take_if(|stretch| stretch.slot == slot) {
            (self.token, self.trouble) = (None, None);
            archive.abandon(now.0, stretch.name);
        }
    }
}

impl<D: Device, T, M: StateMachine> Shard<D, T, M> {
    /// From here on the entries that the log gives up are kept, in files beside it. To be called before the first turn;
    /// files that were sealed before are read.
    pub fn keep_history(&mut self, history: History) {
        self.sealing.history = Some(history);
        let files = self.archive.list_now().unwrap_or_default();
        for (name, _) in files {
            let Some(&slot) = self.slots.get(&GroupId(name.group)) else {
                continue;
            };
            if name.kind != FileKind::Sealed {
                continue;
            }
            let fault = |why: FaultKind| Fault { name, why };
            let opened = self
                .archive
                .open_now(name)
                .map_err(|error| fault(error.into()));
            let opened = opened.and_then(|contents| {
                let file = SealedFile::open(history.cluster, name.group, contents);
                let file = file.map_err(|_| fault(FaultKind::Sealed))?;
                if file.first == name.number {
                    Ok(file)
                } else {
                    Err(fault(FaultKind::Sealed))
                }
            });
            match opened {
                Ok(file) => {
                    self.sealing.bytes += file.bytes;
                    self.replicas[slot as usize].shelf.past.insert(file);
                }
                Err(fault) => self.faults.push(fault),
            }
        }
        self.offloading.look_again = true;
    }

    /// The entry up to which the group's log may be given up as far as its history is concerned.
    pub(crate) fn history_reaches(&mut self, slot: u32, first: u64, last: u64) -> u64 {
        if self.sealing.history.is_none() {
            return u64::MAX;
        }
        let replica = &mut self.replicas[slot as usize];
        let reach = replica.shelf.past.reach(first);
        if is_planted(Mutant::GivenUpUnsealed) {
            return u64::MAX;
        }
        if reach < last {
            self.sealing.want(slot, replica);
        }
        reach
    }

    /// What of the group is sealed next: from its log, or out of smaller files.
    fn next_stretch(&mut self, slot: u32, history: &History) -> Option<Stretch> {
        let replica = &self.replicas[slot as usize];
        let (past, group) = (&replica.shelf.past, replica.group.0);
        if replica.is_void || replica.shelf.is_fetching {
            return None;
        }
        let may_replace = !self.offloading.is_under_way(slot);
        // A file of which the object store has a part already is cut anew.
        let cut = past.next_to_store().filter(|(file, rest)| {
            let is_whole = *rest == (file.first, file.last);
            may_replace && self.offloading.has_coffer() && !is_whole
        });
        let cut = cut.map(|(file, rest)| (rest, vec![file.clone()]));
        let joined = || {
            let joined = past.mergeable(limits::SEALED_JOIN_MIN, history.file_bytes);
            let (first, last) = joined.filter(|_| may_replace)?;
            let files = past.files().iter();
            let inside = files.filter(|file| first <= file.first && file.last <= last);
            Some(((first, last), inside.cloned().collect()))
        };
        let of_log = || {
            let (begins, count) = self.wal.entries(group)?;
            let end = replica.applied.min(replica.durable).0;
            let first = past.reach(begins) + 1;
            let last = end.min(begins + count - 1);
            (first <= last).then_some(((first, last), Vec::new()))
        };
        let (stretch, files) = cut.or_else(joined).or_else(of_log)?;
        let history = &taste(history, self.setup.node);
        Stretch::new(slot, group, stretch, files, history).ok()
    }
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// Goes on sealing within the slice.
    pub(crate) fn seal(&mut self, slice: &mut Slice, now: &dyn Fn() -> Time) -> Wants {
        let Some(history) = self.sealing.history else {
            return Wants::Wait(None);
        };
        loop {
            if self.sealing.stretch.is_none() {
                if self.sealing.wanted.is_empty() {
                    self.sealing.stretch = self.next_recalled(&history);
                    if self.sealing.stretch.is_none() {
                        return Wants::Wait(None);
                    }
                    continue;
                }
                if now() < self.sealing.retry_at {
                    return Wants::Wait(Some(self.sealing.retry_at));
                }
                if !self.has_room(&history, now()) {
                    return Wants::Wait(Some(now().plus(limits::UPKEEP_RETRY_NS)));
                }
                let slot = self.sealing.wanted.pop_front().expect("just seen");
                self.replicas[slot as usize].shelf.wants_sealing = false;
                self.sealing.stretch = self.next_stretch(slot, &history);
                continue;
            }
            if let Some(index) = self.sealing.trouble.take() {
                self.pass_over(index, now());
                continue;
            }
            if self.sealing.token.is_some() {
                return Wants::Wait(None);
            }
            if slice.bytes == 0 || now() >= slice.until {
                return Wants::Again;
            }
            if let Some(wants) = self.seal_step(slice, now()) {
                return wants;
            }
        }
    }

    fn seal_step(&mut self, slice: &mut Slice, now: Time) -> Option<Wants> {
        let sealing = &mut self.sealing;
        let stretch = sealing.stretch.as_mut().expect("just seen");
        match stretch.step(&mut *self.archive, now) {
            Step::Goes(bytes) => {
                self.upkeep.room.goes(now);
                slice.bytes = slice.bytes.saturating_sub(bytes.max(1));
                None
            }
            Step::Waits => Some(Wants::Wait(None)),
            Step::Recalls(next, last) => self.recall(next, last, now),
            Step::Reads(next, last) => {
                sealing.next_token += 1;
                let token = READ_BIT | sealing.next_token;
                let (group, bytes) = (stretch.name.group, limits::CATCH_UP_BYTES);
                match self.wal.read(group, next, last, bytes, token) {
                    Ok(()) => {
                        sealing.token = Some(token);
                        self.wal.submit(now.0);
                        Some(Wants::Wait(None))
                    }
                    Err(ReadError::Busy) => Some(Wants::Wait(Some(now.plus(limits::SEAL_BUSY_NS)))),
                    Err(_) => {
                        self.seal_failed(now);
                        None
                    }
                }
            }
            Step::Unreadable(index) => {
                sealing.unreadable(index, true);
                None
            }
            Step::Fails => {
                self.seal_failed(now);
                None
            }
        }
    }

    /// The stretch is given up and begun anew later.
    pub(crate) fn seal_failed(&mut self, now: Time) {
        let Some(stretch) = self.sealing.stretch.take() else {
            return;
        };
        self.archive.abandon(now.0, stretch.name);
        self.upkeep.room.fails();
        self.sealing.token = None;
        self.sealing.counts.seal_failures += 1;
        self.sealing.retry_at = now.plus(limits::UPKEEP_RETRY_NS);
        let replica = &mut self.replicas[stretch.slot as usize];
        self.sealing.want(stretch.slot, replica);
    }

    /// The stretch's first entry could not be read: again, or without it.
    fn pass_over(&mut self, index: u64, now: Time) {
        let Some(slot) = self.sealing.stretch.as_ref().map(|stretch| stretch.slot) else {
            return;
        };
        self.seal_failed(now);
        let replica = &self.replicas[slot as usize];
        let is_hopeless = replica.shelf.rotten.0 >= index;
        let may_be_repaired = || self.wal.may_be_repaired(replica.group.0, index);
        let tries = match self.sealing.is_damaged {
            false => limits::SEAL_TRIES_MAX,
            true if !is_hopeless && may_be_repaired() => limits::SEAL_TRIES_ROTTEN,
            true => 1,
        };
        if self.sealing.failed.1 >= tries {
            self.sealing.counts.unsealable_entries += 1;
            self.replicas[slot as usize].shelf.past.pass(index, index);
            self.upkeep.look_again();
        }
    }

    /// A sealed file is durable.
    pub(crate) fn sealed(&mut self, contents: Contents, now: Time) {
        let Some(stretch) = self.sealing.stretch.take() else {
            return;
        };
        let (slot, name) = (stretch.slot, stretch.name);
        if stretch.is_recalled() {
            self.recalls.look_at = now;
        }
        let replica = &mut self.replicas[slot as usize];
        let history = self.sealing.history.as_ref();
        let (cluster, file_bytes) = history.map_or((0, 0), |it| (it.cluster, it.file_bytes));
        let file = SealedFile::open(cluster, name.group, contents);
        let Some(file) = file.ok().filter(|file| file.first == name.number) else {
            // The disk gave back other bytes than it was given.
            self.sealing.stretch = Some(stretch);
            self.seal_failed(now);
            return;
        };
        self.upkeep.room.made(now);
        let counts = &mut self.sealing.counts;
        counts.sealed_files += 1;
        counts.sealed_bytes += file.bytes;
        counts.sealed_anew += u64::from(stretch.is_anew());
        let files = replica.shelf.past.files().iter();
        let replaced = files.filter(|other| other.first == file.first);
        self.sealing.bytes -= replaced.map(|other| other.bytes).sum::<u64>();
        self.sealing.bytes += file.bytes;
        replica.shelf.past.insert(file);
        self.let_needless_go(slot, now);
        self.offloading.look_again = true;
        self.upkeep.look_again();
        let replica = &mut self.replicas[slot as usize];
        let past = &replica.shelf.past;
        if past
            .mergeable(limits::SEALED_JOIN_MIN, file_bytes)
            .is_some()
        {
            self.sealing.want(slot, replica);
        }
    }
}

//! An archive in memory, with a clock, crashes and faults: the simulator's and the tests'.
//!
//! - What was not finished, or not yet told to be, is left by a crash as its seed says: all there or all gone.
//! - The store outlives its archives: opening again shows what survived.
//! - Everything is decided by the calls and a seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::archive::{
    Archive, ArchiveError, Completion, Contents, Name, PIECE_BYTES_MAX, Place, QUEUE_BYTES_MAX,
    READS_MAX,
};
use crate::device::Errno;

const EIO: i32 = 5;

/// What waits for its time.
#[derive(Debug)]
enum Pending {
    Piece(Name, Vec<u8>, Place),
    Remove(Name),
    Read(Name, u64, usize, u64),
}

impl Pending {
    fn copy(&self) -> Self {
        match self {
            Self::Piece(name, piece, place) => Self::Piece(*name, piece.clone(), *place),
            Self::Remove(name) => Self::Remove(*name),
            Self::Read(name, offset, bytes, token) => Self::Read(*name, *offset, *bytes, *token),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// Shared with whoever has one open: a change makes a copy.
    files: BTreeMap<Name, Arc<Vec<u8>>>,
    /// Piece by piece.
    partials: BTreeMap<Name, Vec<Vec<u8>>>,
    pending: VecDeque<(u64, Pending)>,
    latency_ns: (u64, u64),
    random: u64,
    life: u64,
    /// Steps ever taken: pieces written, files removed, parts read.
    steps: u64,
    faults: BTreeSet<u64>,
    full: bool,
    written_bytes: u64,
    read_bytes: u64,
}

/// The files; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Inner>>);

/// An archive on a store.
#[derive(Debug)]
pub struct MemoryArchive {
    store: MemoryStore,
    life: u64,
}

impl MemoryStore {
    /// An empty store, with a seed for latencies and crashes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let store = Self::default();
        store.lock().random = seed;
        store
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An archive on this store. One made before does nothing any more.
    #[must_use]
    pub fn archive(&self) -> MemoryArchive {
        let mut inner = self.lock();
        inner.life += 1;
        let life = inner.life;
        drop(inner);
        MemoryArchive {
            store: self.clone(),
            life,
        }
    }

    /// Each step takes a time between these, in nanoseconds, by the seed. Zero at first.
    pub fn set_latency_ns(&self, least: u64, most: u64) {
        self.lock().latency_ns = (least, most.max(least));
    }

    /// The disk has no space for anything more, or has again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// The step after so many more fails with an input/output error.
    pub fn fail_step(&self, after: u64) {
        let mut inner = self.lock();
        let step = inner.steps + after;
        inner.faults.insert(step);
    }

    /// Steps ever taken: crash points for whoever wants all of them.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Bytes ever written and ever read by [`Archive::read`].
    #[must_use]
    pub fn moved_bytes(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.written_bytes, inner.read_bytes)
    }

    /// When the next step ends, for a simulator's clock.
    #[must_use]
    pub fn next_completion_ns(&self) -> Option<u64> {
        self.lock().pending.front().map(|&(due_ns, _)| due_ns)
    }

    /// The power goes. Steps that were not told yet happened, up to one drawn from the seed.
    pub fn crash(&self, seed: u64) {
        let mut inner = self.lock();
        inner.life += 1;
        let mut coins = seed;
        let happened = next_random(&mut coins) % (inner.pending.len() as u64 + 1);
        for _ in 0..happened {
            let Some((_, pending)) = inner.pending.pop_front() else {
                break;
            };
            inner.happen(pending);
        }
        inner.pending.clear();
        inner.partials.clear();
    }

    /// Steps that wait for their time: pieces, removals, reads.
    #[must_use]
    pub fn steps_waiting(&self) -> usize {
        self.lock().pending.len()
    }

    /// What a crash would leave of which the first so many waiting steps happened, in another store.
    #[must_use]
    pub fn after_crash(&self, happened: usize) -> Self {
        let (files, partials, pending) = {
            let inner = self.lock();
            let pending: Vec<Pending> = inner.pending.iter().map(|(_, one)| one.copy()).collect();
            (inner.files.clone(), inner.partials.clone(), pending)
        };
        let copy = Self::new(0);
        let mut inner = copy.lock();
        (inner.files, inner.partials) = (files, partials);
        for pending in pending.into_iter().take(happened) {
            inner.happen(pending);
        }
        inner.partials.clear();
        drop(inner);
        copy
    }

    /// All files are gone: a new disk.
    pub fn wipe(&self) {
        let mut inner = self.lock();
        inner.life += 1;
        inner.files.clear();
        inner.partials.clear();
        inner.pending.clear();
    }

    /// The names of the finished files, in order.
    #[must_use]
    pub fn names(&self) -> Vec<Name> {
        self.lock().files.keys().copied().collect()
    }

    /// Bytes of all finished files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock()
            .files
            .values()
            .map(|file| file.len() as u64)
            .sum()
    }

    /// Changes a finished file at will; false when it is not there.
    pub fn edit(&self, name: Name, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut inner = self.lock();
        let file = inner.files.get_mut(&name).map(Arc::make_mut);
        file.map(change).is_some()
    }

    /// Takes a finished file away.
    pub fn lose(&self, name: Name) -> bool {
        self.lock().files.remove(&name).is_some()
    }

    /// The store holds from here on what the other does: its disk was exchanged. Nothing may be in flight.
    pub fn exchange(&self, other: &Self) {
        let files = other.lock().files.clone();
        let mut inner = self.lock();
        inner.files = files;
        inner.partials.clear();
    }

    /// Everything as it is, in another store: a disk copied.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::new(0);
        copy.lock().files = self.lock().files.clone();
        copy
    }
}

impl Inner {
    fn queue(&mut self, now_ns: u64, pending: Pending) {
        let (least, most) = self.latency_ns;
        let spread = (most - least).saturating_add(1);
        let due_ns = now_ns + least + next_random(&mut self.random) % spread;
        let after = self.pending.back().map_or(0, |&(due_ns, _)| due_ns);
        self.pending.push_back((due_ns.max(after), pending));
    }

    fn waiting(&self) -> (usize, usize) {
        self.pending
            .iter()
            .fold((0, 0), |(bytes, reads), (_, one)| match one {
                Pending::Piece(_, piece, _) => (bytes + piece.len(), reads),
                Pending::Read(..) => (bytes, reads + 1),
                _ => (bytes, reads),
            })
    }

    /// One step of the disk.
    fn happen(&mut self, pending: Pending) -> Option<Completion> {
        let step = self.steps;
        self.steps += 1;
        let failed = self
            .faults
            .remove(&step)
            .then_some(ArchiveError::Io(Errno(EIO)));
        match pending {
            Pending::Piece(name, piece, place) => {
                let full = self.full.then_some(ArchiveError::Full);
                let begun = self.partials.remove(&name);
                let mut pieces = if place.is_first { Vec::new() } else { begun? };
                if let Some(error) = failed.or(full) {
                    return Some(Completion::Failed(name, error));
                }
                self.written_bytes += piece.len() as u64;
                pieces.push(piece);
                if !place.is_last {
                    self.partials.insert(name, pieces);
                    return None;
                }
                let file = Arc::new(whole(pieces));
                self.files.insert(name, Arc::clone(&file));
                Some(Completion::Finished(name, file))
            }
            Pending::Remove(name) => {
                let result = failed.map_or(Ok(()), Err);
                if result.is_ok() {
                    self.files.remove(&name);
                }
                Some(Completion::Removed(name, result))
            }
            Pending::Read(name, offset, bytes, token) => {
                let found = self.read(name, offset, bytes);
                self.read_bytes += found.as_ref().map_or(0, |found| found.len() as u64);
                Some(Completion::Read(token, failed.map_or(found, Err)))
            }
        }
    }

    fn read(&self, name: Name, offset: u64, bytes: usize) -> Result<Bytes, ArchiveError> {
        let file = self.files.get(&name).ok_or(ArchiveError::Missing)?;
        let from = usize::try_from(offset).map_err(|_| ArchiveError::Missing)?;
        let part = from.checked_add(bytes).and_then(|end| file.get(from..end));
        part.map(Bytes::copy_from_slice)
            .ok_or(ArchiveError::Missing)
    }
}

/// A file of these pieces, in no more memory than it takes.
fn whole(mut pieces: Vec<Vec<u8>>) -> Vec<u8> {
    match &mut pieces[..] {
        [one] => {
            one.shrink_to_fit();
            std::mem::take(one)
        }
        pieces => pieces.concat(),
    }
}

fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl MemoryArchive {
    /// The store, unless a later archive or a crash took it away.
    fn alive(&self) -> Option<MutexGuard<'_, Inner>> {
        let inner = self.store.lock();
        (inner.life == self.life).then_some(inner)
    }
}

impl Archive for MemoryArchive {
    fn list_now(&mut self) -> Result<Vec<(Name, u64)>, ArchiveError> {
        let mut inner = self.store.lock();
        inner.partials.clear();
        let files = inner.files.iter();
        Ok(files
            .map(|(name, file)| (*name, file.len() as u64))
            .collect())
    }

    fn open_now(&mut self, name: Name) -> Result<Contents, ArchiveError> {
        let inner = self.store.lock();
        let file = inner.files.get(&name).ok_or(ArchiveError::Missing)?;
        let contents: Contents = Arc::clone(file) as Contents;
        Ok(contents)
    }

    fn remove_now(&mut self, name: Name) -> Result<(), ArchiveError> {
        self.store.lock().files.remove(&name);
        Ok(())
    }

    fn write(
        &mut self,
        now_ns: u64,
        name: Name,
        piece: Vec<u8>,
        place: Place,
    ) -> Result<(), Vec<u8>> {
        assert!(piece.len() <= PIECE_BYTES_MAX, "a piece is bounded");
        let Some(mut inner) = self.alive() else {
            return Ok(());
        };
        let (waiting, _) = inner.waiting();
        if waiting > 0 && waiting + piece.len() > QUEUE_BYTES_MAX {
            return Err(piece);
        }
        inner.queue(now_ns, Pending::Piece(name, piece, place));
        Ok(())
    }

    fn abandon(&mut self, _now_ns: u64, name: Name) {
        if let Some(mut inner) = self.alive() {
            let is_its =
                |pending: &Pending| matches!(pending, Pending::Piece(of, ..) if *of == name);
            inner.pending.retain(|(_, pending)| !is_its(pending));
            inner.partials.remove(&name);
        }
    }

    fn remove(&mut self, now_ns: u64, name: Name) {
        if let Some(mut inner) = self.alive() {
            inner.queue(now_ns, Pending::Remove(name));
        }
    }

    fn read(&mut self, now_ns: u64, name: Name, offset: u64, bytes: usize, token: u64) -> bool {
        let Some(mut inner) = self.alive() else {
            return false;
        };
        if inner.waiting().1 >= READS_MAX || bytes > PIECE_BYTES_MAX {
            return false;
        }
        inner.queue(now_ns, Pending::Read(name, offset, bytes, token));
        true
    }

    fn poll(&mut self, now_ns: u64, completions: &mut Vec<Completion>) {
        let Some(mut inner) = self.alive() else {
            return;
        };
        while let Some((_, pending)) = inner.pending.pop_front_if(|(due_ns, _)| *due_ns <= now_ns) {
            completions.extend(inner.happen(pending));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::FileKind;

    const NAME: Name = Name {
        group: 1,
        kind: FileKind::Chapter,
        number: 0,
    };

    fn write(archive: &mut MemoryArchive, piece: &[u8], is_first: bool, is_last: bool) {
        let place = Place { is_first, is_last };
        archive.write(0, NAME, piece.to_vec(), place).expect("room");
    }

    fn poll(archive: &mut MemoryArchive, now_ns: u64) -> Vec<Completion> {
        let mut found = Vec::new();
        archive.poll(now_ns, &mut found);
        found
    }

    #[test]
    fn a_crash_leaves_all_of_a_file_or_nothing() {
        let mut left = BTreeSet::new();
        for seed in 0..32 {
            let store = MemoryStore::new(1);
            store.set_latency_ns(10, 20);
            let mut archive = store.archive();
            write(&mut archive, b"one ", true, false);
            write(&mut archive, b"two", false, true);
            store.crash(seed);
            assert!(poll(&mut archive, 1000).is_empty(), "it is of another life");
            let mut archive = store.archive();
            let found = archive.list_now().expect("memory");
            assert!(found.is_empty() || found == [(NAME, 7)], "{found:?}");
            left.insert(found.len());
        }
        assert_eq!(left.len(), 2, "both happen");
    }

    #[test]
    fn faults_come_where_they_were_asked_for() {
        let store = MemoryStore::new(1);
        let mut archive = store.archive();
        store.fail_step(1);
        write(&mut archive, b"one ", true, false);
        write(&mut archive, b"two", false, false);
        write(&mut archive, b"three", false, true);
        let ends = poll(&mut archive, 0);
        assert!(
            matches!(ends[..], [Completion::Failed(NAME, ArchiveError::Io(_))]),
            "{ends:?}"
        );
        store.set_full(true);
        write(&mut archive, b"one", true, true);
        assert!(matches!(
            poll(&mut archive, 0)[..],
            [Completion::Failed(NAME, ArchiveError::Full)]
        ));
        store.set_full(false);
        write(&mut archive, b"one", true, true);
        assert!(matches!(
            poll(&mut archive, 0)[..],
            [Completion::Finished(NAME, _)]
        ));
    }
}

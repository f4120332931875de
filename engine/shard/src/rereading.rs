//! Rereading: the chapters of a running node are read again, and one that rotted is fetched from a peer and put in its place.
//!
//! ```text
//! read, hashed, not what the list says -> named -> fetched, durable under its name -> the machine reads it there
//! ```
//!
//! - Chapters are read in place for as long as a group lives, and were checked when they were made or opened: this finds
//!   what rots since. At the scrubber's rate, piece by piece, on the archive's side thread; never, where it is off.
//! - A chapter is the same bytes on every replica, told by length and hash: any peer's will do, and nothing else is taken.
//! - The group goes on meanwhile. What no peer has stays named, and is looked for again when its turn comes.
//! - One chapter is read, and one is fetched, at a time.

use std::sync::Arc;

use bytes::Bytes;
use net::fetch::{PartHead, PartStatus};
use net::transport::Transport;
use raft::ids::{NodeId, Time};
use raft::state_machine::StateMachine;
use wal::Device;
use wal::archive::{ArchiveError, Contents, FileKind, Name};
use xxhash_rust::xxh3::Xxh3;

use crate::bucket::Bucket;
use crate::fetch::{Inward, Piece};
use crate::limits;
use crate::manifest::FileId;
use crate::restoring::{Fault, FaultKind};
use crate::serve::kind_number;
use crate::shard::Shard;
use crate::shelf::Lent;

/// The token of our reads of the archive; those for peers count from 0.
pub(crate) const TOKEN: u64 = 1 << 59;

/// A chapter that is fetched.
struct Refetch {
    slot: u32,
    inward: Inward,
    from: NodeId,
    progress_at: Time,
    tries: u32,
}

/// One per shard.
pub(crate) struct Rereading {
    bucket: Option<Bucket>,
    slot: u32,
    chapter: usize,
    /// The chapter as it was when its first piece was asked for.
    file: Option<FileId>,
    offset: u64,
    hasher: Xxh3,
    is_asked: bool,
    refetch: Option<Refetch>,
}

impl Rereading {
    /// At so many bytes per second; 0: never.
    pub(crate) fn new(bytes_per_second: u64, now: Time) -> Self {
        Self {
            bucket: (bytes_per_second > 0).then(|| Bucket::new(bytes_per_second, now)),
            slot: 0,
            chapter: 0,
            file: None,
            offset: 0,
            hasher: Xxh3::new(),
            is_asked: false,
            refetch: None,
        }
    }

    /// Nothing is on its way.
    pub(crate) const fn is_idle(&self) -> bool {
        !self.is_asked && self.refetch.is_none()
    }

    /// Goes to a chapter and begins with its first byte.
    fn turn_to(&mut self, slot: u32, chapter: usize) {
        (self.slot, self.chapter) = (slot, chapter);
        (self.file, self.offset) = (None, 0);
        self.hasher.reset();
    }
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    fn chapter_name(&self, slot: u32, chapter: usize) -> Name {
        Name {
            group: self.replicas[slot as usize].group.0,
            kind: FileKind::Chapter,
            number: chapter as u64,
        }
    }

    /// Reads on, and goes on with what is fetched.
    pub(crate) fn reread(&mut self, now: Time) {
        self.step_refetch(now);
        if self.rereading.is_asked || self.rereading.bucket.is_none() {
            return;
        }
        let Some(file) = self.next_chapter() else {
            return;
        };
        let rereading = &mut self.rereading;
        let left = file.length - rereading.offset;
        let bytes = left.min(limits::FETCH_PIECE_BYTES as u64);
        let bucket = rereading.bucket.as_mut().expect("just seen");
        if bucket.take(bytes, now).is_err() {
            return;
        }
        let name = self.chapter_name(self.rereading.slot, self.rereading.chapter);
        let bytes = usize::try_from(bytes).expect("a piece is small");
        let offset = self.rereading.offset;
        self.rereading.is_asked = self.archive.read(now.0, name, offset, bytes, TOKEN);
    }

    /// The chapter that is being read, or the next one of all groups; `None` when there is none.
    fn next_chapter(&mut self) -> Option<FileId> {
        for _ in 0..=self.replicas.len() + 1 {
            let rereading = &mut self.rereading;
            let replica = self.replicas.get(rereading.slot as usize);
            let is_steady = |replica: &&crate::replica::Replica<M>| {
                !replica.is_void && !replica.shelf.is_fetching
            };
            let chapters = replica.filter(is_steady).map(|one| &one.shelf.chapters);
            let file = chapters.and_then(|chapters| chapters.get(rereading.chapter).copied());
            let Some(file) = file.filter(|file| file.length > 0) else {
                let next = rereading.slot + 1;
                let is_end = next as usize >= self.replicas.len();
                rereading.turn_to(if is_end { 0 } else { next }, 0);
                continue;
            };
            if rereading.file.is_some_and(|before| before != file) {
                // Another state was installed meanwhile.
                rereading.turn_to(rereading.slot, rereading.chapter);
            }
            rereading.file = Some(file);
            return Some(file);
        }
        None
    }

    /// A piece was read, or could not be.
    pub(crate) fn have_reread(&mut self, piece: Result<Bytes, ArchiveError>, now: Time) {
        let rereading = &mut self.rereading;
        rereading.is_asked = false;
        let (slot, chapter) = (rereading.slot, rereading.chapter);
        let Some(file) = rereading.file else {
            return;
        };
        let replica = &self.replicas[slot as usize];
        if replica.shelf.chapters.get(chapter) != Some(&file) {
            rereading.turn_to(slot, chapter);
            return;
        }
        let found = match piece {
            Ok(piece) => {
                rereading.offset += piece.len() as u64;
                rereading.hasher.update(&piece);
                if piece.is_empty() || rereading.offset < file.length {
                    return;
                }
                rereading.hasher.digest128() == file.hash
            }
            Err(_) => false,
        };
        rereading.turn_to(slot, chapter + 1);
        self.upkeep.counts.chapters_reread += 1;
        if !found {
            self.chapter_rotted(slot, chapter, file, now);
        }
    }

    /// A chapter is not what it was: it is named, and fetched if nothing else is.
    fn chapter_rotted(&mut self, slot: u32, chapter: usize, file: FileId, now: Time) {
        let name = self.chapter_name(slot, chapter);
        self.upkeep.counts.chapters_rotten += 1;
        let is_told = self.faults.iter().any(|fault| fault.name == name);
        if !is_told && self.faults.len() < limits::DAMAGE_TOLD_MAX {
            let why = FaultKind::Hash;
            self.faults.push(Fault { name, why });
        }
        if self.rereading.refetch.is_none() {
            self.rereading.refetch = Some(Refetch {
                slot,
                inward: Inward::new(name, file),
                from: self.other_peer(self.setup.node),
                progress_at: now,
                tries: 0,
            });
            self.step_refetch(now);
        }
    }

    fn step_refetch(&mut self, now: Time) {
        let Some(mut refetch) = self.rereading.refetch.take() else {
            return;
        };
        let shelf = &self.replicas[refetch.slot as usize].shelf;
        let number = refetch.inward.name.number as usize;
        let is_wanted = shelf.chapters.get(number) == Some(&refetch.inward.file);
        let patience = self.setup.patience();
        let is_stuck = !refetch.inward.is_whole && now.since(refetch.progress_at) > patience;
        refetch.tries += u32::from(is_stuck);
        if !is_wanted || shelf.is_fetching || refetch.tries > limits::FETCH_TRIES_MAX {
            self.archive.abandon(now.0, refetch.inward.name);
            return;
        }
        if is_stuck {
            self.begin_refetch_anew(&mut refetch, now);
        }
        let Inward { name, file, .. } = refetch.inward;
        while refetch.inward.asked.len() < limits::FETCH_WINDOW
            && refetch.inward.asked_upto < file.length
        {
            let offset = refetch.inward.asked_upto;
            let bytes = (file.length - offset).min(limits::FETCH_PIECE_BYTES as u64);
            let count = usize::try_from(bytes).expect("a piece is small");
            let which = (kind_number(name.kind), name.number);
            let Some(id) = self.ask(refetch.from, refetch.slot, which, offset, count) else {
                break;
            };
            refetch.inward.asked.push_back(Piece {
                id,
                bytes: count,
                got: None,
            });
            refetch.inward.asked_upto += bytes;
        }
        if refetch.inward.take() {
            refetch.inward.write(&mut *self.archive, now);
        } else {
            // The peer's has rotted, too.
            self.upkeep.counts.corrupt_files += 1;
            refetch.tries += 1;
            self.begin_refetch_anew(&mut refetch, now);
        }
        self.rereading.refetch = Some(refetch);
    }

    fn begin_refetch_anew(&mut self, refetch: &mut Refetch, now: Time) {
        let (name, file) = (refetch.inward.name, refetch.inward.file);
        self.archive.abandon(now.0, name);
        refetch.inward = Inward::new(name, file);
        refetch.from = self.other_peer(refetch.from);
        refetch.progress_at = now;
    }

    /// Takes a piece of a chapter that a peer sent; false when none was asked for under this number.
    pub(crate) fn chapter_part_came(&mut self, head: &PartHead, bulk: &Bytes, now: Time) -> bool {
        let Some(refetch) = &mut self.rereading.refetch else {
            return false;
        };
        let mut asked = refetch.inward.asked.iter_mut();
        let Some(piece) = asked.find(|piece| piece.id == head.id) else {
            return false;
        };
        if head.status == PartStatus::Ok && bulk.len() == piece.bytes {
            self.upkeep.counts.fetched_bytes += bulk.len() as u64;
            piece.got = Some(bulk.clone());
            refetch.progress_at = now;
        }
        self.step_refetch(now);
        true
    }

    /// A file is durable; true when it is the chapter that was fetched here.
    pub(crate) fn refetched(&mut self, name: Name, contents: &Contents) -> bool {
        let is_it = |one: &mut Refetch| one.inward.name == name && one.inward.is_whole;
        let Some(refetch) = self.rereading.refetch.take_if(is_it) else {
            return false;
        };
        let replica = &mut self.replicas[refetch.slot as usize];
        let lent = Arc::new(Lent(contents.clone()));
        if replica.machine.reshelve(name.number, lent).is_ok() {
            self.upkeep.counts.chapters_repaired += 1;
            self.faults.retain(|fault| fault.name != name);
        } else {
            self.upkeep.counts.archive_failures += 1;
        }
        true
    }

    /// A file could not be written; true when it is the chapter that was fetched here: it is tried again.
    pub(crate) fn refetch_failed(&mut self, name: Name, now: Time) -> bool {
        let is_it = |one: &mut Refetch| one.inward.name == name;
        let Some(mut refetch) = self.rereading.refetch.take_if(is_it) else {
            return false;
        };
        self.upkeep.counts.archive_failures += 1;
        refetch.tries += 1;
        self.begin_refetch_anew(&mut refetch, now);
        self.rereading.refetch = Some(refetch);
        true
    }
}

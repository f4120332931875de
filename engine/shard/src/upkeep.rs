//! Upkeep: what a core does for its groups when there is time: chapters, images, and giving up the log they cover.
//!
//! ```text
//! image durable -> manifest durable -> base durable in the log -> entries sealed if the history is kept
//!     -> log given up -> older files removed
//! ```
//!
//! - A crash between any two of these leaves the older state or the newer one, never neither.
//! - One file at a time, in pieces; a turn spends a bounded share of itself on it, and nothing when nothing is due.
//! - What the disk refuses is made anew from its first piece, after a pause.
//! - The log is given up only when it is larger than it may be, oldest segment first, and never beyond what a durable
//!   image covers.

use std::collections::VecDeque;
use std::sync::Arc;

use net::transport::Transport;
use raft::effects::Role;
use raft::ids::{EntryId, GroupId, Index, Time};
use raft::membership::Membership;
use raft::progress::Flow;
use raft::state_machine::StateMachine;
use wal::Device;
use wal::archive::{Archive, Completion, Contents, Name, Place};
use xxhash_rust::xxh3::Xxh3;

use crate::limits;
use crate::manifest::{FileId, Manifest, chapter_name, image_name, manifest_name};
use crate::promise::Base;
use crate::replica::Replica;
use crate::rereading;
use crate::room::Room;
use crate::shard::Shard;
use crate::shelf::Lent;

/// What was made, given up and moved since the start.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct UpkeepCounts {
    /// Images finished, with their manifests.
    pub images: u64,
    /// Bytes of them.
    pub image_bytes: u64,
    /// Chapters finished.
    pub chapters: u64,
    /// Bytes of them.
    pub chapter_bytes: u64,
    /// Files that the disk did not take, or a machine did not.
    pub archive_failures: u64,
    /// Entries of the log given up.
    pub entries_released: u64,
    /// Entries of groups that finish nothing, written again so that the log's oldest segment could go.
    pub entries_moved: u64,
    /// States installed from peers.
    pub installs: u64,
    /// Installations that were given up.
    pub installs_failed: u64,
    /// Bytes of files fetched from peers.
    pub fetched_bytes: u64,
    /// Bytes of files that need not be fetched, since they were here.
    pub spared_bytes: u64,
    /// Files from peers whose hash did not match.
    pub corrupt_files: u64,
    /// Bytes of files sent to peers.
    pub served_bytes: u64,
    /// Groups of which something rotten in the log was made needless.
    pub groups_mended: u64,
    /// Entries that had rotted in the log and were written again where they lie.
    pub entries_repaired: u64,
    /// Entries that peers sent for that.
    pub entries_refetched: u64,
    /// Entries of the past that peers sent to a node that came back without it.
    pub entries_recalled: u64,
    /// Chapters that were read again, whole.
    pub chapters_reread: u64,
    /// Times that one of them was not what it had been.
    pub chapters_rotten: u64,
    /// Chapters that were fetched from a peer and put in the place of rotten ones.
    pub chapters_repaired: u64,
}

/// What a file in the making is.
enum What {
    Chapter(u64),
    Image {
        last: EntryId,
        membership: Membership,
        digest: u128,
        chapters: usize,
    },
    Manifest {
        manifest: Manifest,
        digest: u128,
        bytes: Vec<u8>,
    },
}

/// A file in the making.
struct Making {
    slot: u32,
    name: Name,
    what: What,
    hasher: Xxh3,
    length: u64,
    /// A piece that the archive had no room for, and whether it is the last.
    refused: Option<(Vec<u8>, bool)>,
    has_begun: bool,
    /// Every piece was handed over.
    is_whole: bool,
}

/// One per shard.
#[derive(Default)]
pub(crate) struct Upkeep {
    making: Option<Making>,
    images: VecDeque<u32>,
    chapters: VecDeque<u32>,
    /// Durable states whose bases are on their way into the log.
    recording: Vec<(u32, Manifest)>,
    /// After the disk refused something nothing is begun before.
    retry_at: Time,
    /// Segments in use when the log was last looked at; it is looked at again when that changes.
    seen_segments: usize,
    look_again: bool,
    /// Removals that have not ended.
    removing: usize,
    pub(crate) room: Room,
    pub(crate) completions: Vec<Completion>,
    pub(crate) counts: UpkeepCounts,
}

/// What upkeep wants of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Another turn at once.
    Again,
    /// A turn when a door has news, or at this instant.
    Wait(Option<Time>),
}

impl Wants {
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Again, _) | (_, Self::Again) => Self::Again,
            (Self::Wait(one), Self::Wait(two)) => Self::Wait(one.into_iter().chain(two).min()),
        }
    }
}

/// What one turn may still spend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    pub(crate) bytes: usize,
    /// When to stop.
    pub(crate) until: Time,
}

impl Upkeep {
    /// A group's log has grown enough.
    pub(crate) fn want_image<M>(&mut self, slot: u32, replica: &mut Replica<M>) {
        if !replica.shelf.is_plain && !replica.shelf.wants_image {
            replica.shelf.wants_image = true;
            self.images.push_back(slot);
        }
    }

    /// A group may have a chapter due.
    pub(crate) fn want_chapter<M>(&mut self, slot: u32, replica: &mut Replica<M>) {
        if !replica.shelf.wants_chapter {
            replica.shelf.wants_chapter = true;
            self.chapters.push_back(slot);
        }
    }

    /// The log is to be looked at again though it has not grown.
    pub(crate) fn look_again(&mut self) {
        self.look_again = true;
    }

    fn is_idle(&self) -> bool {
        self.making.is_none() && self.images.is_empty() && self.chapters.is_empty()
    }

    /// A file is not needed any more.
    pub(crate) fn remove(&mut self, archive: &mut dyn Archive, name: Name, now: Time) {
        self.removing += 1;
        archive.remove(now.0, name);
    }

    /// Gives up what is being made for this group.
    pub(crate) fn stop<M: StateMachine>(
        &mut self,
        slot: u32,
        replica: &mut Replica<M>,
        archive: &mut dyn Archive,
        now: Time,
    ) {
        if let Some(making) = self.making.take_if(|making| making.slot == slot) {
            if matches!(making.what, What::Image { .. }) {
                replica.machine.abandon_image();
            }
            archive.abandon(now.0, making.name);
        }
    }

    /// A state is durable; its base goes into the log, and it is taken over when that is durable too.
    pub(crate) fn record(&mut self, slot: u32, manifest: Manifest) {
        self.recording.push((slot, manifest));
    }

    fn begin<M: StateMachine>(&mut self, replicas: &mut [Replica<M>]) {
        while self.making.is_none() {
            let making = if let Some(slot) = self.chapters.pop_front() {
                let replica = &mut replicas[slot as usize];
                replica.shelf.wants_chapter = false;
                begin_chapter(slot, replica)
            } else if let Some(slot) = self.images.pop_front() {
                let replica = &mut replicas[slot as usize];
                replica.shelf.wants_image = false;
                begin_image(slot, replica)
            } else {
                return;
            };
            self.making = making;
        }
    }

    /// Something went wrong with the file in the making: what it was for is begun anew later.
    fn fail<M: StateMachine>(&mut self, replicas: &mut [Replica<M>], now: Time) {
        let Some(making) = self.making.take() else {
            return;
        };
        self.counts.archive_failures += 1;
        self.room.fails();
        self.retry_at = now.plus(limits::UPKEEP_RETRY_NS);
        let replica = &mut replicas[making.slot as usize];
        match making.what {
            What::Chapter(_) => self.want_chapter(making.slot, replica),
            What::Image { .. } => {
                replica.machine.abandon_image();
                self.want_image(making.slot, replica);
            }
            What::Manifest { .. } => self.want_image(making.slot, replica),
        }
    }

    /// Hands pieces over until the slice is used up or the archive has no room.
    fn make<M: StateMachine>(
        &mut self,
        replicas: &mut [Replica<M>],
        archive: &mut dyn Archive,
        slice: &mut Slice,
        now: &dyn Fn() -> Time,
    ) -> Wants {
        loop {
            if self.making.is_none() && now() >= self.retry_at {
                self.begin(replicas);
            }
            let Some(making) = &mut self.making else {
                let later = (!self.is_idle()).then_some(self.retry_at);
                return Wants::Wait(later);
            };
            if making.is_whole {
                return Wants::Wait(None);
            }
            if slice.bytes == 0 || now() >= slice.until {
                return Wants::Again;
            }
            let replica = &mut replicas[making.slot as usize];
            let (piece, is_last) = match making.refused.take() {
                Some(refused) => refused,
                None => making.next_piece(&mut replica.machine),
            };
            let place = Place {
                is_first: !making.has_begun,
                is_last,
            };
            let bytes = piece.len();
            match archive.write(now().0, making.name, piece, place) {
                Ok(()) => {
                    self.room.goes(now());
                    making.has_begun = true;
                    making.is_whole = is_last;
                    slice.bytes = slice.bytes.saturating_sub(bytes.max(1));
                }
                Err(piece) => {
                    making.refused = Some((piece, is_last));
                    return Wants::Wait(None);
                }
            }
        }
    }
}

impl Making {
    fn new(slot: u32, name: Name, what: What) -> Self {
        Self {
            slot,
            name,
            what,
            hasher: Xxh3::new(),
            length: 0,
            refused: None,
            has_begun: false,
            is_whole: false,
        }
    }

    fn next_piece<M: StateMachine>(&mut self, machine: &mut M) -> (Vec<u8>, bool) {
        let mut piece = Vec::with_capacity(limits::IMAGE_PIECE_BYTES);
        let is_last = match &self.what {
            What::Chapter(_) => machine.next_chapter_piece(limits::IMAGE_PIECE_BYTES, &mut piece),
            What::Image { .. } => machine.next_image_piece(limits::IMAGE_PIECE_BYTES, &mut piece),
            What::Manifest { bytes, .. } => {
                let from = usize::try_from(self.length).expect("it is in memory");
                let end = bytes.len().min(from + limits::IMAGE_PIECE_BYTES);
                piece.extend_from_slice(&bytes[from..end]);
                end == bytes.len()
            }
        };
        assert!(
            piece.len() <= wal::archive::PIECE_BYTES_MAX,
            "a machine keeps to about the budget that it is given"
        );
        self.hasher.update(&piece);
        self.length += piece.len() as u64;
        (piece, is_last)
    }

    fn file(&self) -> FileId {
        FileId {
            length: self.length,
            hash: self.hasher.digest128(),
        }
    }
}

fn begin_chapter<M: StateMachine>(slot: u32, replica: &Replica<M>) -> Option<Making> {
    if !replica.is_sound() || replica.shelf.is_fetching {
        return None;
    }
    let number = replica.machine.due_chapter()?;
    assert_eq!(
        number,
        replica.shelf.chapters.len() as u64,
        "chapters come in order"
    );
    let name = chapter_name(replica.group.0, number);
    Some(Making::new(slot, name, What::Chapter(number)))
}

fn begin_image<M: StateMachine>(slot: u32, replica: &mut Replica<M>) -> Option<Making> {
    let index = replica.applied;
    let known = replica.shelf.manifest.as_ref();
    let is_news = known.is_none_or(|manifest| manifest.last.index < index);
    if !replica.is_sound() || replica.shelf.is_fetching || !is_news {
        return None;
    }
    let term = replica.raft.term_at(index)?;
    if !replica.machine.begin_image() {
        replica.shelf.is_plain = true;
        return None;
    }
    replica.shelf.log_bytes = 0;
    let what = What::Image {
        last: EntryId { term, index },
        membership: replica.raft.membership_at(index).clone(),
        digest: replica.machine.digest(),
        chapters: replica.shelf.chapters.len(),
    };
    Some(Making::new(slot, image_name(replica.group.0, index), what))
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// What there is time for. `began` is when the turn began, `is_busy` whether others wait for its end.
    pub(crate) fn upkeep(&mut self, began: Time, is_busy: bool, now: &dyn Fn() -> Time) -> Wants {
        self.upkeep.images.extend(self.journal.grown.drain(..));
        if self.has_no_upkeep() {
            return Wants::Wait(None);
        }
        let has_grown = self.has_log_grown();
        self.ended(now());
        self.reread(now());
        self.offload(now());
        if has_grown {
            self.relieve();
        }
        let mut slice = self.slice(began, is_busy, now());
        let served = self.serve(now());
        let fetched = self.fetch(&mut slice, now);
        let remembered = self.remember(&mut slice, now);
        let (upkeep, replicas) = (&mut self.upkeep, &mut self.replicas);
        let made = upkeep.make(replicas, &mut *self.archive, &mut slice, now);
        let sealed = self.seal(&mut slice, now);
        served.and(fetched).and(made).and(sealed).and(remembered)
    }

    /// Nothing is under way, and the log is as it was when it was last looked at.
    pub(crate) fn has_no_upkeep(&self) -> bool {
        self.upkeep.is_idle()
            && self.upkeep.removing == 0
            && self.fetches.is_empty()
            && self.serves.is_empty()
            && self.sealing.is_idle()
            && self.recalls.is_idle()
            && self.offloading.is_idle()
            && self.histories.is_empty()
            && self.rereading.is_idle()
            && !self.has_log_grown()
    }

    fn has_log_grown(&self) -> bool {
        self.upkeep.look_again || self.wal.segments().0 != self.upkeep.seen_segments
    }

    /// What this turn may spend: a share of what it took so far, and more when the log is short of space.
    fn slice(&self, began: Time, is_busy: bool, now: Time) -> Slice {
        let spent = now.since(began);
        let nanos = if !is_busy {
            limits::UPKEEP_NS_IDLE
        } else if self.presses() {
            spent.max(limits::UPKEEP_NS_IDLE)
        } else {
            (spent / limits::UPKEEP_SHARE).max(limits::UPKEEP_NS_MIN)
        };
        Slice {
            bytes: limits::UPKEEP_BYTES_PER_TURN,
            until: now.plus(nanos),
        }
    }

    /// Files that were finished, or not, since the last turn.
    fn ended(&mut self, now: Time) {
        let mut completions = std::mem::take(&mut self.upkeep.completions);
        self.archive.poll(now.0, &mut completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Finished(name, contents) => {
                    if self
                        .upkeep
                        .making
                        .as_ref()
                        .is_some_and(|one| one.name == name)
                    {
                        self.made(contents, now);
                    } else if self.sealing.is_making(name) {
                        self.sealed(contents, now);
                    } else if !self.refetched(name, &contents) {
                        self.fetched(name, contents, now);
                    }
                }
                Completion::Failed(name, error) => {
                    if self
                        .upkeep
                        .making
                        .as_ref()
                        .is_some_and(|one| one.name == name)
                    {
                        self.upkeep.fail(&mut self.replicas, now);
                    } else if self.sealing.is_making(name) {
                        self.seal_failed(now);
                    } else if !self.refetch_failed(name, now) {
                        self.fetch_failed(name, error, now);
                    }
                }
                Completion::Removed(_, result) => {
                    // What could not be removed is removed at the next start.
                    self.upkeep.removing -= 1;
                    self.upkeep.counts.archive_failures += u64::from(result.is_err());
                }
                Completion::Read(rereading::TOKEN, result) => self.have_reread(result, now),
                Completion::Read(token, result) => self.serves.have_read(token, result),
            }
        }
        self.upkeep.completions = completions;
    }

    /// The file in the making is durable.
    fn made(&mut self, contents: Contents, now: Time) {
        let Some(making) = self.upkeep.making.take() else {
            return;
        };
        self.upkeep.room.made(now);
        let (slot, file) = (making.slot, making.file());
        let replica = &mut self.replicas[slot as usize];
        match making.what {
            What::Chapter(number) => {
                let lent = Arc::new(Lent(contents));
                if replica.machine.shelve(number, lent).is_err() {
                    // The machine does not know its own bytes again: the disk gave others back.
                    self.upkeep.counts.archive_failures += 1;
                    self.upkeep.room.fails();
                    self.upkeep.retry_at = now.plus(limits::UPKEEP_RETRY_NS);
                } else {
                    replica.shelf.strays.remove(&making.name);
                    replica.shelf.chapters.push(file);
                    self.upkeep.counts.chapters += 1;
                    self.upkeep.counts.chapter_bytes += file.length;
                }
                if replica.machine.due_chapter().is_some() {
                    self.upkeep.want_chapter(slot, replica);
                }
            }
            What::Image {
                last,
                membership,
                digest,
                chapters,
            } => {
                replica.machine.abandon_image();
                self.upkeep.counts.image_bytes += file.length;
                let manifest = Manifest {
                    group: replica.group.0,
                    last,
                    digest,
                    membership,
                    image: file,
                    chapters: replica.shelf.chapters[..chapters].to_vec(),
                    sealed: Vec::new(),
                };
                let (bytes, digest) = manifest.encode();
                let name = manifest.name();
                let what = What::Manifest {
                    manifest,
                    digest,
                    bytes,
                };
                self.upkeep.making = Some(Making::new(slot, name, what));
            }
            What::Manifest {
                manifest, digest, ..
            } => {
                self.upkeep.counts.images += 1;
                replica.base = Some(Base {
                    last: manifest.last,
                    digest,
                    is_fetched: false,
                });
                self.upkeep.record(slot, manifest);
                self.journal.note(slot);
            }
        }
    }

    /// A group's base is durable in the log: the state up to there may stand for its entries.
    pub(crate) fn base_recorded(&mut self, slot: u32, base: Index, now: Time) {
        while let Some(at) = self
            .upkeep
            .recording
            .iter()
            .position(|(of, manifest)| *of == slot && manifest.last.index <= base)
        {
            let (_, manifest) = self.upkeep.recording.remove(at);
            self.settle(slot, manifest, now);
        }
        self.install_recorded(slot, base, now);
    }

    /// The group's state is this one; older files go, unless a peer still fetches them.
    pub(crate) fn settle(&mut self, slot: u32, manifest: Manifest, now: Time) {
        let replica = &mut self.replicas[slot as usize];
        let shelf = &mut replica.shelf;
        let kept = manifest.last.index;
        let older = shelf.manifest.replace(manifest);
        if let Some(older) = older.filter(|older| older.last.index != kept) {
            shelf.retired.push((older.last.index.0, older.image));
        }
        // A state that is being fetched is put together from them.
        if !self.fetches.has(slot) {
            for name in std::mem::take(&mut shelf.strays).into_keys() {
                self.upkeep.remove(&mut *self.archive, name, now);
            }
        }
        self.retire(slot, now);
        self.upkeep.look_again();
    }

    /// Now and then: pins and strays that have had their time.
    pub(crate) fn tidy_up(&mut self, now: Time) {
        if self.setup.keeping.image_bytes > 0 {
            self.upkeep.look_again();
        }
        self.mend_on(now);
        self.reread(now);
        self.tend(now);
        if self.serves.unpin(now) {
            for slot in 0..self.replicas.len() as u32 {
                self.retire(slot, now);
            }
        }
        if self.strays_until.is_none_or(|until| now < until) {
            return;
        }
        self.strays_until = None;
        for slot in 0..self.replicas.len() as u32 {
            let replica = &mut self.replicas[slot as usize];
            if self.fetches.has(slot) || !replica.is_sound() {
                // The installation that needs them ends with their removal, or their use.
                continue;
            }
            for name in std::mem::take(&mut replica.shelf.strays).into_keys() {
                self.upkeep.remove(&mut *self.archive, name, now);
            }
        }
    }

    /// Removes the group's older states that no peer fetches.
    pub(crate) fn retire(&mut self, slot: u32, now: Time) {
        let replica = &mut self.replicas[slot as usize];
        let group = replica.group.0;
        let (serves, archive) = (&self.serves, &mut *self.archive);
        let upkeep = &mut self.upkeep;
        replica.shelf.retired.retain(|&(index, _)| {
            let is_pinned = serves.is_pinned(slot, index);
            if !is_pinned {
                upkeep.remove(archive, manifest_name(group, Index(index)), now);
                upkeep.remove(archive, image_name(group, Index(index)), now);
            }
            is_pinned
        });
    }

    /// Segments that the log may have before any is given up.
    fn segments_kept(&self) -> usize {
        let most = self.wal.segments().1;
        let keep = usize::try_from(self.setup.keeping.log_bytes / self.wal.segment_bytes());
        keep.unwrap_or(usize::MAX).min(most / 2).max(1)
    }

    /// Three quarters of what the log may grow by beyond that are used: peers that lag are not waited for.
    pub(crate) fn presses(&self) -> bool {
        let (segments, most) = self.wal.segments();
        let (kept, usable) = (self.segments_kept(), most.saturating_sub(2));
        segments * 4 >= kept + 3 * usable.max(kept)
    }

    /// Gives up the oldest segments of the log while it is larger than it may be.
    fn relieve(&mut self) {
        self.upkeep.look_again = false;
        let keep = self.segments_kept();
        let mut holders = Vec::new();
        loop {
            let segments = self.wal.segments().0;
            self.upkeep.seen_segments = segments;
            if segments <= keep || self.setup.keeping.image_bytes == 0 {
                return;
            }
            let presses = self.presses();
            holders.clear();
            self.wal
                .oldest(&mut |group, first, last| holders.push((group, first, last)));
            let mut stay = Vec::new();
            for &(group, first, last) in &holders {
                if !self.release(GroupId(group), first, last, presses) {
                    stay.push(group);
                }
            }
            if presses && !stay.is_empty() {
                self.move_on(&stay);
            }
            if !stay.is_empty() || self.wal.segments().0 == segments {
                return;
            }
        }
    }

    /// Gives up a group's entries `first..=last` as far as may be; true when all of them.
    fn release(&mut self, group: GroupId, first: u64, last: u64, presses: bool) -> bool {
        let Some(slot) = self.slots.get(&group).copied() else {
            return false;
        };
        let replica = &mut self.replicas[slot as usize];
        let manifest = replica.shelf.manifest.as_ref();
        let covered = manifest.map_or(0, |manifest| manifest.last.index.0);
        if covered < last {
            self.upkeep.want_image(slot, replica);
        }
        let wanted = if presses {
            u64::MAX
        } else {
            self.serves.wanted_from(slot).min(needed_from(replica))
        };
        let history = self.history_reaches(slot, first, last);
        let replica = &mut self.replicas[slot as usize];
        let upto = last.min(covered).min(wanted).min(history);
        if upto < first {
            return false;
        }
        if let Some(term) = replica.raft.term_at(Index(upto)) {
            let upto = EntryId {
                term,
                index: Index(upto),
            };
            replica.raft.compacted(upto);
            replica.touch(slot, &mut self.touched);
        }
        self.wal.release(group.0, upto);
        self.upkeep.counts.entries_released += upto - first + 1;
        upto == last
    }
}

/// The last entry that all of the group's live followers have; a leader keeps what they still lack while it can.
fn needed_from<M>(replica: &Replica<M>) -> u64 {
    if replica.raft.role() != Role::Leader {
        return u64::MAX;
    }
    let me = replica.raft.id();
    let others = replica.raft.peers();
    let installs = |flow| matches!(flow, Flow::Snapshot(_));
    let live = others.filter(|peer| peer.live && peer.node != me && !installs(peer.flow));
    live.map(|peer| peer.matched.0).min().unwrap_or(u64::MAX)
}

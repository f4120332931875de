//! Fetching: a group whose log does not reach back to its leader's is given the leader's state, file by file.
//!
//! ```text
//! manifest fetched -> files that differ fetched, each durable -> manifest durable -> machine restored
//!     -> base durable in the log -> consensus told
//! ```
//!
//! - Only what is not here is moved: files are told apart by length and hash, wherever they came from.
//! - A file gets its name here when its hash is right. What a crash interrupts is found again, chapter by chapter.
//! - Pieces are asked for within a window and a rate; a lost connection or a new leader costs the pieces on their way.
//! - Any peer will do: states of one group at one index are the same bytes everywhere, and so are chapters.
//! - While the machine is being restored it answers nothing; until then it serves as before.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use net::fetch::{FetchHead, PartHead, PartStatus};
use net::frame::Kind;
use net::transport::{Frame, Outgoing, Transport};
use raft::effects::{Install, Role};
use raft::ids::{EntryId, Index, NodeId, Time};
use raft::state_machine::StateMachine;
use wal::Device;
use wal::archive::{Archive, ArchiveError, Contents, FileKind, Name, Place};
use xxhash_rust::xxh3::Xxh3;

use crate::bucket::Bucket;
use crate::limits;
use crate::manifest::{FileId, Manifest, manifest_name};
use crate::promise::Base;
use crate::restoring;
use crate::serve::{NEWEST, kind_number};
use crate::shard::{Shard, carriers};
use crate::shelf::Lent;
use crate::stages::decide::{self, Carriers};
use crate::upkeep::{Slice, Wants};
use crate::window::Window;

/// A piece that was asked for.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) id: u64,
    pub(crate) bytes: usize,
    pub(crate) got: Option<Bytes>,
}

/// A file on its way: pieces are asked for in order, and handed to the archive in order.
pub(crate) struct Inward {
    pub(crate) name: Name,
    pub(crate) file: FileId,
    pub(crate) asked: VecDeque<Piece>,
    /// Bytes that were asked for, or need not be any more.
    pub(crate) asked_upto: u64,
    /// Bytes that are here.
    here: u64,
    hasher: Xxh3,
    /// Pieces that the archive had no room for.
    held: VecDeque<Vec<u8>>,
    has_begun: bool,
    /// Every piece is in the archive's hands.
    pub(crate) is_whole: bool,
}

/// How far a fetch is.
enum Stage {
    /// The list of files is wanted.
    Manifest {
        number: u64,
        asked: Option<u64>,
        bytes: Vec<u8>,
    },
    /// Files are fetched.
    Files(Box<Gathering>),
    /// The manifest is being written here.
    Writing(Box<Gathering>),
    /// The machine takes the image; so many bytes of it are in.
    Restoring(Box<Gathering>, usize),
    /// The base is on its way into the log.
    Recording(Box<Gathering>),
    /// The base is durable; the core will be told.
    Recorded(Box<Gathering>),
}

/// A state that is put together.
struct Gathering {
    manifest: Manifest,
    bytes: Vec<u8>,
    digest: u128,
    missing: VecDeque<(Name, FileId)>,
    inward: Option<Inward>,
    image: Option<Contents>,
}

/// One group's fetch.
struct Fetch {
    slot: u32,
    from: NodeId,
    /// What the core asked for.
    want: EntryId,
    stage: Stage,
    /// When something last came.
    progress_at: Time,
    tries: u32,
}

/// All fetches of a shard.
pub(crate) struct Fetches {
    list: Vec<Fetch>,
    next_id: u64,
    pub(crate) bucket: Bucket,
}

impl Fetches {
    pub(crate) fn new(bytes_per_second: u64, now: Time) -> Self {
        Self {
            list: Vec::new(),
            next_id: now.0,
            bucket: Bucket::new(bytes_per_second, now),
        }
    }

    /// Nothing is fetched.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Groups whose state is fetched.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// The group's state is fetched.
    pub(crate) fn has(&self, slot: u32) -> bool {
        self.list.iter().any(|fetch| fetch.slot == slot)
    }

    /// The core wants a state: a fetch begins, or the one under way learns of it.
    pub(crate) fn want(&mut self, slot: u32, install: Install, now: Time) {
        let Some(fetch) = self.list.iter_mut().find(|fetch| fetch.slot == slot) else {
            self.list.push(Fetch {
                slot,
                from: install.from,
                want: install.last,
                stage: Stage::fresh(),
                progress_at: now,
                tries: 0,
            });
            return;
        };
        (fetch.want, fetch.tries) = (install.last, 0);
        if fetch.from != install.from {
            fetch.turn_to(install.from, now);
        }
    }

    /// The connection to a peer was re-made: what it was asked is lost.
    pub(crate) fn peer_reset(&mut self, node: NodeId, now: Time) {
        for fetch in self.list.iter_mut().filter(|fetch| fetch.from == node) {
            fetch.turn_to(node, now);
        }
    }
}

impl Stage {
    fn fresh() -> Self {
        Self::Manifest {
            number: NEWEST,
            asked: None,
            bytes: Vec::new(),
        }
    }
}

impl Fetch {
    /// Goes on with this peer; pieces on their way are asked for again.
    fn turn_to(&mut self, node: NodeId, now: Time) {
        self.from = node;
        self.progress_at = now;
        match &mut self.stage {
            Stage::Manifest { .. } => self.stage = Stage::fresh(),
            Stage::Files(gathering) => {
                if let Some(inward) = &mut gathering.inward {
                    inward.asked.clear();
                    inward.asked_upto = inward.here;
                }
            }
            _ => {}
        }
    }

    /// What is on its way comes from the network, not from this node's disk.
    fn waits_for_peer(&self) -> bool {
        match &self.stage {
            Stage::Manifest { .. } => true,
            Stage::Files(gathering) => gathering
                .inward
                .as_ref()
                .is_none_or(|inward| !inward.is_whole && inward.held.is_empty()),
            _ => false,
        }
    }
}

impl Inward {
    pub(crate) fn new(name: Name, file: FileId) -> Self {
        Self {
            name,
            file,
            asked: VecDeque::new(),
            asked_upto: 0,
            here: 0,
            hasher: Xxh3::new(),
            held: VecDeque::new(),
            has_begun: false,
            is_whole: false,
        }
    }

    /// Takes pieces that came, in order; false when the file that they make up is not the one that was meant.
    pub(crate) fn take(&mut self) -> bool {
        while let Some(piece) = self.asked.pop_front_if(|piece| piece.got.is_some()) {
            let got = piece.got.expect("just seen");
            self.here += got.len() as u64;
            self.hasher.update(&got);
            self.held.push_back(got.to_vec());
        }
        self.here < self.file.length || self.hasher.digest128() == self.file.hash
    }

    /// Hands what is held to the archive, as far as it has room. The last piece only goes when the hash is right.
    pub(crate) fn write(&mut self, archive: &mut dyn Archive, now: Time) {
        if self.file.length == 0 && !self.has_begun {
            self.held.push_back(Vec::new());
        }
        while let Some(piece) = self.held.pop_front() {
            let is_last = self.held.is_empty() && self.here == self.file.length;
            let place = Place {
                is_first: !self.has_begun,
                is_last,
            };
            if let Err(piece) = archive.write(now.0, self.name, piece, place) {
                self.held.push_front(piece);
                return;
            }
            (self.has_begun, self.is_whole) = (true, is_last);
        }
    }
}

/// What a fetch comes to in one step.
enum Step {
    Goes(Wants),
    /// Not with this peer, or not now: try anew after a while.
    Fails,
    /// The group does not need it any more.
    Ends,
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// Goes on with everything that is fetched.
    pub(crate) fn fetch(&mut self, slice: &mut Slice, now: &dyn Fn() -> Time) -> Wants {
        let mut wants = Wants::Wait(None);
        let mut at = 0;
        let mut list = std::mem::take(&mut self.fetches.list);
        while at < list.len().min(limits::FETCHES_MAX) {
            let fetch = &mut list[at];
            let patience = self.setup.patience();
            let is_stuck = fetch.waits_for_peer() && now().since(fetch.progress_at) > patience;
            let step = if is_stuck {
                Step::Fails
            } else {
                self.step_fetch(fetch, slice, now)
            };
            match step {
                Step::Goes(more) => wants = wants.and(more),
                Step::Ends => {
                    let fetch = list.swap_remove(at);
                    self.let_go(&fetch, now());
                    continue;
                }
                Step::Fails => {
                    fetch.tries += 1;
                    if fetch.tries >= limits::FETCH_TRIES_MAX && !self.is_void(fetch.slot) {
                        let fetch = list.swap_remove(at);
                        self.give_up_fetch(&fetch, now());
                        continue;
                    }
                    let next = self.other_peer(fetch.from);
                    fetch.turn_to(next, now());
                }
            }
            at += 1;
        }
        // What was wanted meanwhile stands behind.
        list.append(&mut self.fetches.list);
        self.fetches.list = list;
        wants
    }

    fn is_void(&self, slot: u32) -> bool {
        self.replicas[slot as usize].is_void
    }

    fn give_up_fetch(&mut self, fetch: &Fetch, now: Time) {
        self.let_go(fetch, now);
        self.upkeep.counts.installs_failed += 1;
        let replica = &mut self.replicas[fetch.slot as usize];
        replica.raft.snapshot_failed(fetch.want);
        decide::carry(replica, fetch.slot, &mut carriers!(self), now);
    }

    /// A fetch has ended; a file that is half here is not gone on with.
    fn let_go(&mut self, fetch: &Fetch, now: Time) {
        self.replicas[fetch.slot as usize].shelf.is_fetching = false;
        if let Stage::Files(gathering) = &fetch.stage
            && let Some(inward) = &gathering.inward
        {
            self.archive.abandon(now.0, inward.name);
        }
    }

    /// The next connected peer in turn, or the same one.
    pub(crate) fn other_peer(&self, from: NodeId) -> NodeId {
        let connected = || {
            let peers = self.peers.iter().filter(|peer| peer.connection.is_some());
            peers.map(|peer| peer.node)
        };
        let after = connected().find(|node| *node > from);
        after.or_else(|| connected().next()).unwrap_or(from)
    }

    fn step_fetch(&mut self, fetch: &mut Fetch, slice: &mut Slice, now: &dyn Fn() -> Time) -> Step {
        match &mut fetch.stage {
            Stage::Manifest { .. } => {
                self.ask_manifest(fetch, now());
                Step::Goes(Wants::Wait(None))
            }
            Stage::Files(_) => self.step_files(fetch, now()),
            Stage::Writing(_) => Step::Goes(Wants::Wait(None)),
            Stage::Restoring(..) => self.step_restore(fetch, slice, now),
            Stage::Recording(_) => Step::Goes(Wants::Wait(None)),
            Stage::Recorded(_) => self.finish_install(fetch, now()),
        }
    }

    pub(crate) fn ask(
        &mut self,
        to: NodeId,
        slot: u32,
        (kind, number): (u8, u64),
        offset: u64,
        bytes: usize,
    ) -> Option<u64> {
        let connection = self.peers.get_mut(to)?.connection?;
        self.fetches.next_id += 1;
        let head = FetchHead {
            id: self.fetches.next_id,
            group: self.replicas[slot as usize].group.0,
            number,
            offset,
            bytes: u32::try_from(bytes).expect("a piece is small"),
            kind,
        };
        let outgoing = Outgoing::bare(Kind::FETCH, &head.encode());
        self.transport.send(connection, outgoing).ok()?;
        Some(head.id)
    }

    fn ask_manifest(&mut self, fetch: &mut Fetch, _now: Time) {
        let Stage::Manifest {
            number,
            asked,
            bytes,
        } = &mut fetch.stage
        else {
            return;
        };
        if asked.is_none() {
            let which = (kind_number(FileKind::Manifest), *number);
            let offset = bytes.len() as u64;
            *asked = self.ask(
                fetch.from,
                fetch.slot,
                which,
                offset,
                limits::FETCH_PIECE_BYTES,
            );
        }
    }

    /// A peer answered. False when that was no answer.
    pub(crate) fn part_came(&mut self, frame: &Frame, now: Time) -> bool {
        let Ok(head) = PartHead::decode(&frame.head) else {
            return false;
        };
        if self.lone_came(&head, &frame.bulk, now)
            || self.chapter_part_came(&head, &frame.bulk, now)
            || self.recalled(&head, &frame.bulk, now)
        {
            return true;
        }
        let mut list = std::mem::take(&mut self.fetches.list);
        for fetch in &mut list {
            if self.take_part(fetch, &head, &frame.bulk, now) {
                break;
            }
        }
        self.fetches.list = list;
        true
    }

    /// Gives a part to the fetch that asked for it; false when that is another one.
    fn take_part(&mut self, fetch: &mut Fetch, head: &PartHead, bulk: &Bytes, now: Time) -> bool {
        match &mut fetch.stage {
            Stage::Manifest {
                number,
                asked,
                bytes,
            } if *asked == Some(head.id) => {
                *asked = None;
                let so_far = bytes.len() + bulk.len();
                let fits = so_far as u64 <= head.total
                    && head.total <= limits::MANIFEST_BYTES_MAX as u64 + 16
                    && (*number == NEWEST || *number == head.number);
                if head.status != PartStatus::Ok || !fits || bulk.is_empty() {
                    // Asked again when patience ends, of the next peer.
                    fetch.stage = Stage::fresh();
                    if let Stage::Manifest { asked, .. } = &mut fetch.stage {
                        *asked = Some(0);
                    }
                    return true;
                }
                fetch.progress_at = now;
                *number = head.number;
                bytes.extend_from_slice(bulk);
                if so_far as u64 == head.total {
                    let bytes = std::mem::take(bytes);
                    self.have_manifest(fetch, bytes);
                }
                true
            }
            Stage::Files(gathering) => {
                let Some(inward) = &mut gathering.inward else {
                    return false;
                };
                let Some(at) = inward.asked.iter().position(|piece| piece.id == head.id) else {
                    return false;
                };
                match head.status {
                    PartStatus::Ok if bulk.len() == inward.asked[at].bytes => {
                        self.upkeep.counts.fetched_bytes += bulk.len() as u64;
                        inward.asked[at].got = Some(bulk.clone());
                        fetch.progress_at = now;
                        fetch.tries = 0;
                    }
                    PartStatus::Busy => {}
                    // The peer has another state by now: its newest list says which.
                    _ => {
                        self.archive.abandon(now.0, inward.name);
                        fetch.stage = Stage::fresh();
                    }
                }
                true
            }
            _ => false,
        }
    }

    /// The list is here: what of it is not?
    fn have_manifest(&mut self, fetch: &mut Fetch, bytes: Vec<u8>) {
        let replica = &self.replicas[fetch.slot as usize];
        let parsed = Manifest::parse(&bytes).ok();
        let Some((manifest, digest)) = parsed.filter(|(one, _)| one.group == replica.group.0)
        else {
            self.upkeep.counts.corrupt_files += 1;
            fetch.stage = Stage::fresh();
            return;
        };
        let shelf = &replica.shelf;
        let is_here = |(name, file): &(Name, FileId)| {
            let shelved = usize::try_from(name.number)
                .ok()
                .and_then(|number| shelf.chapters.get(number));
            let shelved = shelved.filter(|_| name.kind == FileKind::Chapter);
            shelved == Some(file) || shelf.strays.get(name) == Some(file)
        };
        let (here, missing): (Vec<_>, VecDeque<_>) = {
            let mut here = Vec::new();
            let mut missing = VecDeque::new();
            for one in manifest.files() {
                if is_here(&one) {
                    here.push(one);
                } else {
                    missing.push_back(one);
                }
            }
            (here, missing)
        };
        let spared: u64 = here.iter().map(|(_, file)| file.length).sum();
        self.upkeep.counts.spared_bytes += spared;
        fetch.stage = Stage::Files(Box::new(Gathering {
            manifest,
            bytes,
            digest,
            missing,
            inward: None,
            image: None,
        }));
    }

    fn step_files(&mut self, fetch: &mut Fetch, now: Time) -> Step {
        let (from, slot) = (fetch.from, fetch.slot);
        let Stage::Files(gathering) = &mut fetch.stage else {
            return Step::Fails;
        };
        let last = gathering.manifest.last;
        let replica = &mut self.replicas[slot as usize];
        if fetch.want.index <= replica.applied && !replica.is_void {
            replica.raft.snapshot_installed(fetch.want, now);
            decide::carry(replica, slot, &mut carriers!(self), now);
            return Step::Ends;
        }
        if last.index < fetch.want.index {
            // The log that follows it is given up already. It may be older than what is here: this peer lags, too.
            if let Some(inward) = gathering.inward.take() {
                self.archive.abandon(now.0, inward.name);
            }
            fetch.stage = Stage::fresh();
            return Step::Fails;
        }
        if gathering.inward.is_none() {
            match gathering.missing.front() {
                Some(&(name, file)) => gathering.inward = Some(Inward::new(name, file)),
                None => return self.write_manifest(fetch, now),
            }
        }
        let inward = gathering.inward.as_mut().expect("just made");
        let mut later = None;
        while inward.asked.len() < limits::FETCH_WINDOW && inward.asked_upto < inward.file.length {
            let left = inward.file.length - inward.asked_upto;
            let bytes = left.min(limits::FETCH_PIECE_BYTES as u64);
            if let Err(at) = self.fetches.bucket.take(bytes, now) {
                later = Some(at);
                break;
            }
            let bytes = usize::try_from(bytes).expect("a piece is small");
            let which = (kind_number(inward.name.kind), inward.name.number);
            let Some(id) = self.ask(from, slot, which, inward.asked_upto, bytes) else {
                break;
            };
            inward.asked.push_back(Piece {
                id,
                bytes,
                got: None,
            });
            inward.asked_upto += bytes as u64;
        }
        if !inward.take() {
            self.upkeep.counts.corrupt_files += 1;
            self.archive.abandon(now.0, inward.name);
            gathering.inward = None;
            return Step::Fails;
        }
        inward.write(&mut *self.archive, now);
        Step::Goes(Wants::Wait(later))
    }

    fn write_manifest(&mut self, fetch: &mut Fetch, now: Time) -> Step {
        let Stage::Files(gathering) = &mut fetch.stage else {
            return Step::Fails;
        };
        if gathering.image.is_none() {
            let opened = self.archive.open_now(gathering.manifest.image_name());
            let Ok(image) = opened else {
                return Step::Fails;
            };
            gathering.image = Some(image);
        }
        let name = gathering.manifest.name();
        let pieces = gathering.bytes.chunks(wal::archive::PIECE_BYTES_MAX);
        let count = pieces.len();
        for (nth, piece) in pieces.enumerate() {
            let place = Place {
                is_first: nth == 0,
                is_last: nth + 1 == count,
            };
            if self
                .archive
                .write(now.0, name, piece.to_vec(), place)
                .is_err()
            {
                self.archive.abandon(now.0, name);
                return Step::Goes(Wants::Wait(Some(now.plus(limits::UPKEEP_RETRY_NS))));
            }
        }
        let stage = std::mem::replace(&mut fetch.stage, Stage::fresh());
        if let Stage::Files(gathering) = stage {
            fetch.stage = Stage::Writing(gathering);
        }
        Step::Goes(Wants::Wait(None))
    }

    /// A file that was fetched is durable.
    pub(crate) fn fetched(&mut self, name: Name, contents: Contents, now: Time) {
        let slot = self.slots.get(&raft::ids::GroupId(name.group)).copied();
        let mut list = std::mem::take(&mut self.fetches.list);
        let found = list.iter_mut().find(|fetch| Some(fetch.slot) == slot);
        if let Some(fetch) = found {
            fetch.progress_at = now;
            self.have_file(fetch, name, contents, now);
        }
        self.fetches.list = list;
    }

    fn have_file(&mut self, fetch: &mut Fetch, name: Name, contents: Contents, now: Time) {
        let shelf = &mut self.replicas[fetch.slot as usize].shelf;
        match &mut fetch.stage {
            Stage::Files(gathering) => {
                let is_it = |inward: &mut Inward| inward.name == name && inward.is_whole;
                let Some(inward) = gathering.inward.take_if(is_it) else {
                    return;
                };
                shelf.strays.insert(name, inward.file);
                gathering.missing.pop_front();
                if name.kind == FileKind::Image {
                    gathering.image = Some(contents);
                }
            }
            Stage::Writing(gathering) if gathering.manifest.name() == name => {
                let stage = std::mem::replace(&mut fetch.stage, Stage::fresh());
                if let Stage::Writing(gathering) = stage {
                    self.begin_restore(fetch, gathering, now);
                }
            }
            _ => {}
        }
    }

    /// A file could not be written: it is fetched again.
    pub(crate) fn fetch_failed(&mut self, name: Name, _error: ArchiveError, now: Time) {
        self.upkeep.counts.archive_failures += 1;
        let slot = self.slots.get(&raft::ids::GroupId(name.group)).copied();
        let mut list = std::mem::take(&mut self.fetches.list);
        if let Some(fetch) = list.iter_mut().find(|fetch| Some(fetch.slot) == slot) {
            let stage = std::mem::replace(&mut fetch.stage, Stage::fresh());
            fetch.stage = match stage {
                Stage::Files(mut gathering) => {
                    gathering.inward.take_if(|inward| inward.name == name);
                    Stage::Files(gathering)
                }
                Stage::Writing(gathering) => Stage::Files(gathering),
                other => other,
            };
            fetch.progress_at = now;
        }
        self.fetches.list = list;
    }

    /// Everything is durable here: the machine takes the state, unless the log has overtaken it.
    fn begin_restore(&mut self, fetch: &mut Fetch, gathering: Box<Gathering>, now: Time) {
        let slot = fetch.slot;
        let replica = &mut self.replicas[slot as usize];
        if gathering.manifest.last.index <= replica.applied && !replica.is_void {
            return;
        }
        self.upkeep.stop(slot, replica, &mut *self.archive, now);
        self.sealing.stop(slot, &mut *self.archive, now);
        replica.is_void = true;
        replica.machine.begin_restore();
        fetch.stage = Stage::Restoring(gathering, 0);
    }

    fn step_restore(
        &mut self,
        fetch: &mut Fetch,
        slice: &mut Slice,
        now: &dyn Fn() -> Time,
    ) -> Step {
        let Stage::Restoring(gathering, done) = &mut fetch.stage else {
            return Step::Fails;
        };
        let replica = &mut self.replicas[fetch.slot as usize];
        let image = gathering.image.as_ref().expect("fetched or opened");
        let bytes = image.as_ref().as_ref();
        while *done < bytes.len() {
            if slice.bytes == 0 || now() >= slice.until {
                return Step::Goes(Wants::Again);
            }
            let end = bytes.len().min(*done + limits::IMAGE_PIECE_BYTES);
            if replica.machine.restore_piece(&bytes[*done..end]).is_err() {
                return self.not_restored(fetch, now());
            }
            slice.bytes = slice.bytes.saturating_sub(end - *done);
            *done = end;
        }
        let archive = &mut self.archive;
        let mut shelve = |name: Name| {
            let contents = archive.open_now(name).ok()?;
            let lent = Arc::new(Lent(contents));
            replica.machine.shelve(name.number, lent).ok()
        };
        let shelved = gathering
            .manifest
            .chapter_files()
            .all(|(name, _)| shelve(name).is_some());
        if !shelved {
            return self.not_restored(fetch, now());
        }
        if restoring::end_restore(&mut replica.machine, &gathering.manifest).is_err() {
            return self.not_restored(fetch, now());
        }
        let stage = std::mem::replace(&mut fetch.stage, Stage::fresh());
        let Stage::Restoring(gathering, _) = stage else {
            return Step::Fails;
        };
        replica.base = Some(Base {
            last: gathering.manifest.last,
            digest: gathering.digest,
            is_fetched: true,
        });
        self.journal.note(fetch.slot);
        fetch.stage = Stage::Recording(gathering);
        Step::Goes(Wants::Wait(None))
    }

    /// The machine does not take the state: it is fetched anew, all of it that is not in doubt.
    fn not_restored(&mut self, fetch: &mut Fetch, now: Time) -> Step {
        let stage = std::mem::replace(&mut fetch.stage, Stage::fresh());
        self.upkeep.counts.corrupt_files += 1;
        if let Stage::Restoring(gathering, _) = stage {
            let last = gathering.manifest.last.index;
            let replica = &mut self.replicas[fetch.slot as usize];
            for (name, _) in gathering.manifest.files() {
                replica.shelf.strays.remove(&name);
            }
            replica.shelf.chapters.clear();
            let group = replica.group.0;
            let (upkeep, archive) = (&mut self.upkeep, &mut *self.archive);
            upkeep.remove(archive, manifest_name(group, last), now);
            upkeep.remove(archive, gathering.manifest.image_name(), now);
        }
        Step::Fails
    }

    /// A promise with this base is durable.
    pub(crate) fn install_recorded(&mut self, slot: u32, base: Index, _now: Time) {
        for fetch in self.fetches.list.iter_mut().filter(|one| one.slot == slot) {
            let stage = std::mem::replace(&mut fetch.stage, Stage::fresh());
            fetch.stage = match stage {
                Stage::Recording(gathering) if gathering.manifest.last.index <= base => {
                    Stage::Recorded(gathering)
                }
                other => other,
            };
        }
    }

    /// State and base are durable, the machine holds the state: the core is told, and the log begins behind it.
    fn finish_install(&mut self, fetch: &mut Fetch, now: Time) -> Step {
        let slot = fetch.slot;
        let replica = &mut self.replicas[slot as usize];
        let Stage::Recorded(gathering) = &fetch.stage else {
            return Step::Fails;
        };
        let last = gathering.manifest.last;
        if replica.raft.role() == Role::Leader && replica.raft.commit() < last.index {
            // It holds what the state holds, since it was elected, and will know so with its first own entry.
            return Step::Goes(Wants::Wait(None));
        }
        let manifest = gathering.manifest.clone();
        let membership = manifest.membership.clone();
        let before = replica.raft.last_index();
        let was_taken = replica.raft.state_installed(last, membership, now);
        if was_taken && replica.raft.last_index() == last.index {
            // Nothing of the log goes on from there, and what stands in it need not lead there.
            replica.window = Window::starting_at(last.index.next());
            replica.cuts += 1;
            replica.durable = last.index;
            self.journal.clip(slot, Index(1));
            self.wal.restart(replica.group.0);
        } else if was_taken {
            debug_assert_eq!(
                before,
                replica.raft.last_index(),
                "the rest of the log stays"
            );
            self.wal.release(replica.group.0, last.index.0);
        }
        replica.raft.applied(last.index);
        replica.applied = replica.applied.max(last.index);
        replica.commit = replica.commit.max(last.index);
        replica.is_void = false;
        replica.shelf.chapters.clone_from(&manifest.chapters);
        replica.shelf.log_bytes = 0;
        for (name, _) in manifest.files() {
            replica.shelf.strays.remove(&name);
        }
        let is_asked = replica.commit > replica.applied || !replica.confirmed.is_empty();
        if is_asked && !replica.is_ready {
            replica.is_ready = true;
            self.ready.push(slot);
        }
        self.upkeep.counts.installs += 1;
        self.settle(slot, manifest, now);
        let replica = &mut self.replicas[slot as usize];
        decide::carry(replica, slot, &mut carriers!(self), now);
        Step::Ends
    }
}

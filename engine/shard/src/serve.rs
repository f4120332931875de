//! Serving: parts of this node's files for peers that lag, a little at a time, behind everything else.
//!
//! - What is asked for waits in one bounded queue; beyond it the answer is "busy".
//! - Files are read by the archive's side thread; a part leaves only to a peer for whom no envelope waits.
//! - The state that a peer fetches is pinned: its files, and the log behind it while there is room, stay for a while
//!   after the last question. Pins are bounded.

use std::collections::VecDeque;

use bytes::Bytes;
use net::fetch::{FetchHead, PartHead, PartStatus};
use net::frame::Kind;
use net::transport::{ConnectionId, Frame, Outgoing, SendError, Transport};
use raft::ids::{GroupId, Index, NodeId, Time};
use raft::state_machine::StateMachine;
use rustc_hash::FxHashMap;
use wal::archive::{ArchiveError, FileKind, Name};
use wal::{Device, OwnedRecord, ReadError};

use crate::bucket::Bucket;
use crate::limits;
use crate::manifest::FileId;
use crate::repairing::lone_head;
use crate::shard::Shard;
use crate::upkeep::Wants;

/// Numbers of the kinds of files on the wire.
pub(crate) const fn kind_number(kind: FileKind) -> u8 {
    match kind {
        FileKind::Manifest => 0,
        FileKind::Image => 1,
        FileKind::Chapter => 2,
        FileKind::Sealed => 3,
    }
}

/// Stands for a kind: one entry of the log, numbered by its index.
pub(crate) const ENTRY: u8 = 4;

/// Stands for a kind: one entry that is applied, wherever it lies.
pub(crate) const PAST: u8 = 5;

/// Tokens of our reads of the log have this bit.
pub(crate) const READ_BIT: u64 = 1 << 60;

fn kind_of(number: u8) -> Option<FileKind> {
    FileKind::ALL
        .into_iter()
        .find(|kind| kind_number(*kind) == number)
}

/// The number that stands for the newest.
pub(crate) const NEWEST: u64 = u64::MAX;

/// What a read of the log came to.
type LogRead = Result<Vec<OwnedRecord>, ReadError>;

#[derive(Clone, Copy)]
pub(crate) struct Ask {
    connection: ConnectionId,
    node: NodeId,
    pub(crate) head: FetchHead,
    /// Bytes of the whole file, once known.
    total: u64,
}

/// A state that a peer fetches.
#[derive(Clone, Copy)]
struct Pin {
    node: NodeId,
    slot: u32,
    index: u64,
    until: Time,
}

/// What peers ask for; one per shard.
pub(crate) struct Serves {
    waiting: VecDeque<Ask>,
    pub(crate) reading: FxHashMap<u64, Ask>,
    ready: VecDeque<(ConnectionId, NodeId, Outgoing)>,
    pub(crate) next_token: u64,
    bucket: Bucket,
    pins: Vec<Pin>,
}

impl Serves {
    pub(crate) fn new(bytes_per_second: u64, now: Time) -> Self {
        Self {
            waiting: VecDeque::new(),
            reading: FxHashMap::default(),
            ready: VecDeque::new(),
            next_token: 0,
            bucket: Bucket::new(bytes_per_second, now),
            pins: Vec::new(),
        }
    }

    /// Nobody waits for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.reading.is_empty() && self.ready.is_empty()
    }

    /// A peer fetches the group's state at this index.
    pub(crate) fn is_pinned(&self, slot: u32, index: u64) -> bool {
        self.pins
            .iter()
            .any(|pin| (pin.slot, pin.index) == (slot, index))
    }

    /// Peers that fetch a state of the group need the log behind it: the lowest of their indexes.
    pub(crate) fn wanted_from(&self, slot: u32) -> u64 {
        let wanted = self.pins.iter().filter(|pin| pin.slot == slot);
        wanted.map(|pin| pin.index).min().unwrap_or(u64::MAX)
    }

    /// States that are pinned.
    pub(crate) fn pins(&self) -> usize {
        self.pins.len()
    }

    fn pin(&mut self, node: NodeId, slot: u32, index: u64, now: Time) {
        let until = now.plus(limits::PIN_NS);
        let pin = Pin {
            node,
            slot,
            index,
            until,
        };
        let same = |other: &&mut Pin| other.node == node && other.slot == slot;
        if let Some(older) = self.pins.iter_mut().find(same) {
            *older = pin;
            return;
        }
        if self.pins.len() == limits::PINS_MAX {
            let longest = (0..self.pins.len()).min_by_key(|&at| self.pins[at].until);
            self.pins.swap_remove(longest.expect("there are some"));
        }
        self.pins.push(pin);
    }

    /// The peer still asks.
    fn refresh(&mut self, node: NodeId, slot: u32, now: Time) {
        let same = |pin: &&mut Pin| pin.node == node && pin.slot == slot;
        if let Some(pin) = self.pins.iter_mut().find(same) {
            pin.until = now.plus(limits::PIN_NS);
        }
    }

    /// Drops pins whose time is over; returns whether there were any.
    pub(crate) fn unpin(&mut self, now: Time) -> bool {
        let before = self.pins.len();
        self.pins.retain(|pin| pin.until > now);
        self.pins.len() < before
    }

    /// Takes the answer of a read of ours of the log; `None` when it is somebody else's.
    pub(crate) fn have_read_log(&mut self, token: u64, read: LogRead) -> Option<(u64, LogRead)> {
        if token & READ_BIT == 0 {
            return Some((token, read));
        }
        let ask = self.reading.remove(&token)?;
        let records = read.unwrap_or_default();
        match records.first().filter(|one| one.index == ask.head.number) {
            Some(one) => {
                self.answer_entry(ask, lone_head(one.term, &one.head), one.payload.clone())
            }
            None => self.answer(ask, PartStatus::Missing, Bytes::new()),
        }
        None
    }

    /// An entry goes out alone.
    pub(crate) fn answer_entry(&mut self, mut ask: Ask, head: Vec<u8>, payload: Bytes) {
        ask.total = (head.len() + payload.len()) as u64;
        self.answer_in_parts(ask, PartStatus::Ok, vec![head.into(), payload]);
    }

    /// A file was read for a peer, or could not be.
    pub(crate) fn have_read(&mut self, token: u64, result: Result<Bytes, ArchiveError>) {
        let Some(ask) = self.reading.remove(&token) else {
            return;
        };
        match result {
            Ok(part) => self.answer(ask, PartStatus::Ok, part),
            Err(_) => self.answer(ask, PartStatus::Missing, Bytes::new()),
        }
    }

    pub(crate) fn answer(&mut self, ask: Ask, status: PartStatus, part: Bytes) {
        self.answer_in_parts(ask, status, vec![part]);
    }

    fn answer_in_parts(&mut self, ask: Ask, status: PartStatus, mut parts: Vec<Bytes>) {
        parts.retain(|part| !part.is_empty());
        let mut hasher = crc32fast::Hasher::new();
        parts.iter().for_each(|part| hasher.update(part));
        let head = PartHead {
            id: ask.head.id,
            group: ask.head.group,
            number: ask.head.number,
            total: ask.total,
            status,
        };
        let outgoing = Outgoing {
            kind: Kind::PART,
            head: head.encode().to_vec(),
            bulk_crc: hasher.finalize(),
            bulk: parts,
            token: 0,
        };
        self.ready.push_back((ask.connection, ask.node, outgoing));
    }
}

/// What a question comes to.
enum Found {
    /// The newest manifest of this index; these are its bytes.
    Manifest(u64, Vec<u8>),
    /// A file of so many bytes.
    File(Name, FileId),
    Nothing,
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// A peer asks for part of a file. False when that was no question.
    pub(crate) fn asked_for(&mut self, connection: ConnectionId, frame: &Frame) -> bool {
        let Some(node) = self.peers.by_connection(connection).map(|peer| peer.node) else {
            return false;
        };
        let Ok(head) = FetchHead::decode(&frame.head) else {
            return false;
        };
        let ask = Ask {
            connection,
            node,
            head,
            total: 0,
        };
        let serves = &mut self.serves;
        let waiting = serves.waiting.len() + serves.reading.len() + serves.ready.len();
        if waiting < limits::SERVE_QUEUE_MAX {
            serves.waiting.push_back(ask);
        } else if serves.ready.len() < 2 * limits::SERVE_QUEUE_MAX {
            serves.answer(ask, PartStatus::Busy, Bytes::new());
        }
        true
    }

    /// Answers what peers ask for, as far as the rate and the connections allow.
    pub(crate) fn serve(&mut self, now: Time) -> Wants {
        let mut later = None;
        while let Some(ask) = self.serves.waiting.front().copied() {
            let bytes = u64::from(ask.head.bytes).min(limits::FETCH_PIECE_BYTES as u64);
            if let Err(at) = self.serves.bucket.take(bytes, now) {
                later = Some(at);
                break;
            }
            if !self.begin_to_answer(ask, now) {
                break;
            }
            self.serves.waiting.pop_front();
        }
        for _ in 0..self.serves.ready.len() {
            let Some((connection, node, outgoing)) = self.serves.ready.pop_front() else {
                break;
            };
            let peer = self.peers.get_mut(node);
            let bytes: usize = outgoing.bulk.iter().map(Bytes::len).sum();
            if peer.is_some_and(|peer| peer.connection != Some(connection)) {
                continue;
            }
            let is_behind = self
                .peers
                .get_mut(node)
                .is_some_and(|peer| !peer.is_clear());
            if is_behind {
                self.serves.ready.push_back((connection, node, outgoing));
                continue;
            }
            match self.transport.send(connection, outgoing.clone()) {
                Ok(()) => self.upkeep.counts.served_bytes += bytes as u64,
                Err(SendError::Busy) => {
                    self.serves.ready.push_back((connection, node, outgoing));
                }
                Err(SendError::Closed) => {}
            }
        }
        Wants::Wait(later)
    }

    /// Reads what was asked for, or answers at once. False when the archive has no room for the read.
    fn begin_to_answer(&mut self, mut ask: Ask, now: Time) -> bool {
        let head = ask.head;
        let slot = self.slots.get(&GroupId(head.group)).copied();
        if head.kind == ENTRY {
            return self.begin_to_answer_entry(ask, slot, now);
        }
        if let Some(slot) = slot.filter(|_| head.kind == PAST) {
            return self.begin_to_answer_past(ask, slot, now);
        }
        let found = slot.map_or(Found::Nothing, |slot| self.find(slot, &head));
        if let Some(slot) = slot {
            self.serves.refresh(ask.node, slot, now);
        }
        let wanted = (head.bytes as usize).min(limits::FETCH_PIECE_BYTES) as u64;
        match found {
            Found::Manifest(index, bytes) => {
                if let Some(slot) = slot {
                    self.serves.pin(ask.node, slot, index, now);
                }
                (ask.head.number, ask.total) = (index, bytes.len() as u64);
                let part = part_of(ask.total, head.offset, wanted);
                match part {
                    Some(part) => {
                        let part = Bytes::from(bytes).slice(part);
                        self.serves.answer(ask, PartStatus::Ok, part);
                    }
                    None => self.serves.answer(ask, PartStatus::Missing, Bytes::new()),
                }
            }
            Found::File(name, file) => {
                ask.total = file.length;
                let Some(part) = part_of(file.length, head.offset, wanted) else {
                    self.serves.answer(ask, PartStatus::Missing, Bytes::new());
                    return true;
                };
                if part.is_empty() {
                    self.serves.answer(ask, PartStatus::Ok, Bytes::new());
                    return true;
                }
                let token = self.serves.next_token;
                if !self
                    .archive
                    .read(now.0, name, head.offset, part.len(), token)
                {
                    return false;
                }
                self.serves.next_token += 1;
                self.serves.reading.insert(token, ask);
            }
            Found::Nothing => self.serves.answer(ask, PartStatus::Missing, Bytes::new()),
        }
        true
    }

    fn find(&self, slot: u32, head: &FetchHead) -> Found {
        let replica = &self.replicas[slot as usize];
        let shelf = &replica.shelf;
        let name = |kind, number| Name {
            group: head.group,
            kind,
            number,
        };
        let Some(manifest) = &shelf.manifest else {
            return Found::Nothing;
        };
        match kind_of(head.kind) {
            Some(FileKind::Manifest) if [NEWEST, manifest.last.index.0].contains(&head.number) => {
                Found::Manifest(manifest.last.index.0, manifest.encode().0)
            }
            Some(FileKind::Chapter) => {
                let chapter = usize::try_from(head.number).ok();
                let file = chapter.and_then(|chapter| shelf.chapters.get(chapter));
                file.map_or(Found::Nothing, |file| {
                    Found::File(name(FileKind::Chapter, head.number), *file)
                })
            }
            Some(FileKind::Image) if manifest.last.index == Index(head.number) => {
                Found::File(name(FileKind::Image, head.number), manifest.image)
            }
            Some(FileKind::Image) => {
                let retired = shelf.retired.iter().find(|older| older.0 == head.number);
                retired.map_or(Found::Nothing, |older| {
                    Found::File(name(FileKind::Image, head.number), older.1)
                })
            }
            _ => Found::Nothing,
        }
    }
}

/// The part of `total` bytes that was asked for, as much as there is; `None` behind the end.
fn part_of(total: u64, offset: u64, wanted: u64) -> Option<std::ops::Range<usize>> {
    let left = total.checked_sub(offset)?;
    let from = usize::try_from(offset).ok()?;
    let bytes = usize::try_from(left.min(wanted)).ok()?;
    Some(from..from.checked_add(bytes)?)
}

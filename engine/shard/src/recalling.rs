//! Recalling: what the group's log gave up before this node was given its state is asked of the peers, and sealed here too.
//!
//! ```text
//! gap found -> its entries asked of a peer, a window of them at once -> sealed, as entries of the log are
//! ```
//!
//! - A node that lost its disks is given state and log. What came before lies in sealed files of its peers: until it has made
//!   its own, it is no copy of the past.
//! - A peer tells only what it has applied: that is agreed, and the same bytes everywhere.
//! - What every other node says that it does not have is passed over; while one of them is out of reach, all are asked again.
//! - What the log says to be in the object store is not told, and needs no copy here.
//! - Behind everything else: a file of the log's own that is wanted, or a state that is fetched, ends this one where it is.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use net::fetch::{PartHead, PartStatus};
use net::transport::Transport;
use raft::ids::{Index, NodeId, Time};
use raft::state_machine::StateMachine;
use wal::{Device, OwnedRecord};

use crate::limits;
use crate::past::History;
use crate::repairing::{lone_entry, record_of};
use crate::serve::{Ask, PAST};
use crate::shard::Shard;
use crate::stretch::Stretch;
use crate::upkeep::Wants;

/// What a question came to.
enum Came {
    Entry(OwnedRecord),
    /// The peer does not have it; the next that it has.
    Nothing(u64),
}

/// An entry that was asked for.
struct Asked {
    id: u64,
    index: u64,
    came: Option<Came>,
}

/// One per shard.
pub(crate) struct Recalls {
    wanted: VecDeque<u32>,
    /// Questions of the stretch that is being made, in order.
    asked: VecDeque<Asked>,
    from: NodeId,
    /// When something last came, or was first asked for.
    progress_at: Time,
    /// Bytes of the largest entry that came of late.
    largest: usize,
    /// When gaps are looked for again.
    pub(crate) look_at: Time,
    /// A gap's group and first entry, and who does not have that entry: the next one that each has.
    lacking: ((u32, u64), BTreeMap<NodeId, u64>),
}

impl Recalls {
    pub(crate) const fn new(own: NodeId) -> Self {
        Self {
            wanted: VecDeque::new(),
            asked: VecDeque::new(),
            from: own,
            progress_at: Time(0),
            largest: limits::RECALL_LEAST_BYTES,
            look_at: Time(0),
            lacking: ((0, 0), BTreeMap::new()),
        }
    }

    /// No group waits for its past.
    pub(crate) fn is_idle(&self) -> bool {
        self.wanted.is_empty()
    }

    fn want(&mut self, slot: u32) {
        if !self.wanted.contains(&slot) {
            self.wanted.push_back(slot);
        }
    }

    /// Bytes of entries that came and wait for others before them.
    pub(crate) fn bytes(&self) -> usize {
        let came = self.asked.iter().filter_map(|one| match &one.came {
            Some(Came::Entry(record)) => Some(record.payload.len()),
            _ => None,
        });
        came.sum()
    }
}

impl<D: Device, T, M: StateMachine> Shard<D, T, M> {
    /// Now and then: who has a gap in its past?
    pub(crate) fn look_for_gaps(&mut self, now: Time) {
        if self.sealing.history.is_none() || now < self.recalls.look_at {
            return;
        }
        self.recalls.look_at = now.plus(limits::RECALL_LOOK_NS);
        for slot in 0..self.replicas.len() as u32 {
            if self.gap(slot).is_some() {
                self.recalls.want(slot);
            }
        }
    }

    /// The first stretch before the group's log that is neither here nor in the object store, if there is room for it.
    fn gap(&self, slot: u32) -> Option<(u64, u64)> {
        let history = self.sealing.history.as_ref()?;
        let replica = &self.replicas[slot as usize];
        let has_room = self.sealing.bytes + history.file_bytes <= history.bytes_max / 2;
        if replica.is_void || replica.shelf.is_fetching || !has_room {
            return None;
        }
        let log = self.wal.entries(replica.group.0);
        let begins = log.map_or(replica.shelf.image_index().0 + 1, |(first, _)| first);
        replica.shelf.past.gap_before(begins)
    }

    /// The next stretch to recall.
    pub(crate) fn next_recalled(&mut self, history: &History) -> Option<Stretch> {
        if !self.fetches.is_empty() {
            // States come first. The next look finds the gaps again.
            self.recalls.wanted.clear();
        }
        while let Some(slot) = self.recalls.wanted.pop_front() {
            let Some(gap) = self.gap(slot) else {
                continue;
            };
            let group = self.replicas[slot as usize].group.0;
            self.recalls.asked.clear();
            return Stretch::recalled(slot, group, gap, history).ok();
        }
        None
    }

    /// The stretch is given up. Its group waits for its turn, or for the next look.
    fn stop_recalling(&mut self, is_wanted: bool, now: Time) {
        self.recalls.asked.clear();
        if let Some(stretch) = self.sealing.stretch.take() {
            self.archive.abandon(now.0, stretch.name);
            if is_wanted {
                self.recalls.want(stretch.slot);
            }
        }
    }

    /// A peer does not have the entry with which the gap begins.
    fn lacks(&mut self, slot: u32, (first, last): (u64, u64), next: u64, now: Time) {
        let recalls = &mut self.recalls;
        if recalls.lacking.0 != (slot, first) {
            recalls.lacking = ((slot, first), BTreeMap::new());
        }
        let lacking = &mut recalls.lacking.1;
        lacking.insert(recalls.from, next.max(first + 1));
        let mut others = self.setup.nodes.iter();
        let is_nowhere = others.all(|node| *node == self.setup.node || lacking.contains_key(node));
        let next = lacking.values().min().map_or(first, |next| next - 1);
        let asked = |node: &NodeId| lacking.contains_key(node);
        let peers = self.peers.iter().filter(|peer| peer.connection.is_some());
        let other = peers.map(|peer| peer.node).find(|node| !asked(node));
        if is_nowhere {
            let past = &mut self.replicas[slot as usize].shelf.past;
            past.pass(first, last.min(next));
            self.recalls.look_at = now;
        }
        if let Some(other) = other {
            self.recalls.from = other;
        }
        self.stop_recalling(other.is_some(), now);
    }
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// The stretch wants these entries of peers. `None` when it can go on, or there is none any more.
    pub(crate) fn recall(&mut self, next: u64, last: u64, now: Time) -> Option<Wants> {
        let stretch = self.sealing.stretch.as_mut()?;
        let (slot, first) = (stretch.slot, stretch.first);
        let recalls = &mut self.recalls;
        if recalls.asked.front().is_some_and(|one| one.index != next) {
            recalls.asked.clear();
        }
        let mut records = Vec::new();
        let is_entry = |one: &mut Asked| matches!(one.came, Some(Came::Entry(_)));
        while let Some(one) = recalls.asked.pop_front_if(is_entry) {
            if let Some(Came::Entry(record)) = one.came {
                records.push(record);
            }
        }
        if !records.is_empty() {
            self.upkeep.counts.entries_recalled += records.len() as u64;
            stretch.take(records);
            return None;
        }
        let came = recalls.asked.front().and_then(|one| one.came.as_ref());
        if let Some(Came::Nothing(other)) = came {
            let other = *other;
            if !stretch.end_before(next) {
                self.lacks(slot, (first, last), other, now);
            }
            return None;
        }
        if !self.sealing.wanted.is_empty() || !self.fetches.is_empty() {
            if !stretch.end_before(next) {
                self.stop_recalling(true, now);
            }
            return None;
        }
        let patience = self.setup.patience();
        let waits = !recalls.asked.is_empty();
        if waits && now.since(recalls.progress_at) >= patience {
            self.recalls.from = self.other_peer(self.recalls.from);
            self.stop_recalling(false, now);
            return None;
        }
        let later = self.ask_for_the_past(slot, next, last, now);
        if self.recalls.asked.is_empty() && later.is_none() {
            // Nobody is connected there.
            self.recalls.from = self.other_peer(self.recalls.from);
            self.stop_recalling(false, now);
            return None;
        }
        let recalls = &self.recalls;
        let gives_up_at = (!recalls.asked.is_empty()).then(|| recalls.progress_at.plus(patience));
        Some(Wants::Wait(later.into_iter().chain(gives_up_at).min()))
    }

    /// Asks as far as the window and the rate allow; when to go on if it was the rate.
    fn ask_for_the_past(&mut self, slot: u32, next: u64, last: u64, now: Time) -> Option<Time> {
        let from = self.recalls.from;
        let mut index = self.recalls.asked.back().map_or(next, |one| one.index + 1);
        let bytes = self.recalls.largest;
        let window = (limits::RECALL_BYTES / bytes.max(limits::FETCH_PIECE_BYTES)).max(1);
        while self.recalls.asked.len() < window && index <= last {
            if let Err(at) = self.fetches.bucket.take(bytes as u64, now) {
                return Some(at);
            }
            let id = self.ask(from, slot, (PAST, index), 0, bytes)?;
            if self.recalls.asked.is_empty() {
                self.recalls.progress_at = now;
            }
            self.recalls.asked.push_back(Asked {
                id,
                index,
                came: None,
            });
            index += 1;
        }
        None
    }

    /// Takes an entry of the past that a peer sent; false when none was asked for under this number.
    pub(crate) fn recalled(&mut self, head: &PartHead, bulk: &Bytes, now: Time) -> bool {
        let recalls = &mut self.recalls;
        let Some(asked) = recalls.asked.iter_mut().find(|one| one.id == head.id) else {
            return false;
        };
        let entry = match head.status {
            PartStatus::Ok if head.number == asked.index => lone_entry(bulk, Index(asked.index)),
            PartStatus::Ok => None,
            // Who has its hands full is asked again when patience ends.
            PartStatus::Busy => return true,
            PartStatus::Missing => None,
        };
        recalls.progress_at = now;
        asked.came = Some(match entry {
            Some(entry) => {
                recalls.largest = entry.payload.len().max(limits::RECALL_LEAST_BYTES);
                Came::Entry(record_of(head.group, &entry))
            }
            None => Came::Nothing(head.number),
        });
        true
    }

    /// An entry of the past is asked for: told if it is applied here and not in the object store. False when the log has no
    /// room for the read.
    pub(crate) fn begin_to_answer_past(&mut self, mut ask: Ask, slot: u32, now: Time) -> bool {
        let replica = &self.replicas[slot as usize];
        let (index, past) = (ask.head.number, &replica.shelf.past);
        let log = self.wal.entries(ask.head.group);
        let log = log.map(|(first, count)| (first, first + count - 1));
        let is_here = log.is_some_and(|(first, last)| first <= index && index <= last)
            || past.files().iter().any(|file| file.holds(index));
        let is_told = !replica.is_void && index <= replica.applied.0;
        if is_here && is_told && past.stored().holding(index).is_none() {
            return self.begin_to_answer_entry(ask, Some(slot), now);
        }
        let begins = past.files().iter().map(|file| file.first);
        let begins = begins.chain(log.map(|(first, _)| first));
        let stored = past.stored().holding(index).map(|(_, last)| last + 1);
        let next = begins.filter(|first| *first > index).chain(stored).min();
        ask.head.number = next.unwrap_or(u64::MAX);
        self.serves.answer(ask, PartStatus::Missing, Bytes::new());
        true
    }
}

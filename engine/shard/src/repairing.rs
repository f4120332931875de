//! Repairing: entries that rotted in the log of a running node are asked of the peers, and written again where they lie.
//!
//! ```text
//! found -> the entries of the block gathered: out of memory, out of sealed files, from a peer -> the block written
//! ```
//!
//! - An entry of one index and term is the same bytes in every log; the log writes only what every checksum of the block
//!   agrees with. So neither the peer nor the wire has to be believed.
//! - Nothing that was acknowledged is cut or given up, and the group goes on meanwhile.
//! - Any peer will do, one after the other. What nobody can give is made needless by an image ([`crate::mending`]).
//! - A few blocks at a time; the scrubber finds the others again when it comes by the next time.

use bytes::Bytes;
use net::fetch::{PartHead, PartStatus};
use net::transport::Transport;
use raft::ids::{GroupId, Index, NodeId, Time};
use raft::state_machine::StateMachine;
use wal::{Damage, Device, Kind, OwnedRecord, ReadError, Rotten};
use zerocopy::{FromBytes, IntoBytes};

use crate::entry::{Entry, EntryHead, HEAD_BYTES};
use crate::limits;
use crate::serve::{Ask, ENTRY, READ_BIT};
use crate::shard::Shard;

/// Bytes before the payload of an entry that is sent alone: its term and its head.
pub(crate) const LONE_HEAD_BYTES: usize = 8 + HEAD_BYTES;

/// A block that is being repaired.
struct Repair {
    rotten: Rotten,
    got: Vec<OwnedRecord>,
    /// Entries that are still to be had: the group's slot, and the index.
    missing: Vec<(u32, u64)>,
    asked: Option<u64>,
    asked_at: Time,
    from: NodeId,
    tries: u32,
    is_writing: bool,
    /// What was found wrong in it: made needless if it cannot be repaired.
    damage: Vec<Damage>,
}

/// One per shard.
#[derive(Default)]
pub(crate) struct Repairs {
    list: Vec<Repair>,
}

impl Repairs {
    /// Nothing is being repaired.
    pub(crate) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// The bytes of an entry that is sent alone, before its payload.
pub(crate) fn lone_head(term: u64, head: &[u8]) -> Vec<u8> {
    [&term.to_le_bytes(), head].concat()
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// The scrubber found something: what can be repaired is, and the rest is made needless.
    pub(crate) fn look_at_damage(&mut self, now: Time) {
        while let Some((rotten, given)) = self.wal.next_rotten() {
            self.begin_repair(rotten, given, now);
        }
        while let Some(damage) = self.wal.next_damage() {
            self.found_damage(damage);
            let mut list = self.repairs.list.iter_mut();
            match list.find(|one| one.rotten.holds(damage.segment, damage.offset)) {
                Some(repair) if repair.damage.len() < limits::REPAIR_ENTRIES_MAX => {
                    repair.damage.push(damage);
                }
                Some(_) => {}
                None => self.mend(damage),
            }
        }
        while let Some((rotten, is_whole)) = self.wal.next_repaired() {
            let is_it = |one: &Repair| one.is_writing && one.rotten == rotten;
            let Some(at) = self.repairs.list.iter().position(is_it) else {
                continue;
            };
            let repair = self.repairs.list.swap_remove(at);
            if is_whole {
                self.upkeep.counts.entries_repaired += rotten.entries.len() as u64;
            } else {
                self.give_up_repair(repair);
            }
        }
    }

    fn begin_repair(&mut self, rotten: Rotten, given: Vec<OwnedRecord>, now: Time) {
        let repairs = &mut self.repairs.list;
        let is_known = repairs
            .iter()
            .any(|one| one.rotten.holds(rotten.segment, rotten.offset));
        let is_too_much = rotten.entries.len() > limits::REPAIR_ENTRIES_MAX;
        if is_known || is_too_much || repairs.len() >= limits::REPAIRS_MAX {
            return;
        }
        let slot = |&(group, index): &(u64, u64)| {
            let slot = self.slots.get(&GroupId(group))?;
            Some((*slot, index))
        };
        let Some(missing) = rotten.entries.iter().map(slot).collect() else {
            return;
        };
        repairs.push(Repair {
            rotten,
            got: given,
            missing,
            asked: None,
            asked_at: now,
            from: self.setup.node,
            tries: 0,
            is_writing: false,
            damage: Vec::new(),
        });
        self.repair_on(now);
    }

    /// Goes on with all repairs.
    pub(crate) fn repair_on(&mut self, now: Time) {
        let mut list = std::mem::take(&mut self.repairs.list);
        let mut at = 0;
        while at < list.len() {
            if self.step_repair(&mut list[at], now) {
                at += 1;
            } else {
                let repair = list.swap_remove(at);
                self.give_up_repair(repair);
            }
        }
        self.repairs.list = list;
    }

    /// False when there is no hope for it.
    fn step_repair(&mut self, repair: &mut Repair, now: Time) -> bool {
        while let Some(&(slot, index)) = repair.missing.last() {
            let replica = &self.replicas[slot as usize];
            let Some(term) = replica.raft.term_at(Index(index)) else {
                return false;
            };
            let held = replica.window.get(Index(index));
            if let Some(entry) = held.filter(|entry| entry.term == term) {
                repair.got.push(record_of(replica.group.0, entry));
                repair.missing.pop();
                continue;
            }
            if let Ok(Some(sealed)) = replica.shelf.past.entry(index) {
                repair.got.push(OwnedRecord {
                    group: replica.group.0,
                    index,
                    term: sealed.term,
                    kind: Kind::Entry,
                    head: sealed.head.into(),
                    payload_crc: crc32fast::hash(&sealed.payload),
                    payload: sealed.payload.into(),
                });
                repair.missing.pop();
                continue;
            }
            let patience = self.setup.patience();
            if repair.asked.is_some() && now.since(repair.asked_at) < patience {
                return true;
            }
            repair.tries += 1;
            if repair.tries > limits::REPAIR_TRIES_MAX {
                return false;
            }
            repair.from = self.other_peer(repair.from);
            let which = (ENTRY, index);
            repair.asked = self.ask(repair.from, slot, which, 0, limits::FETCH_PIECE_BYTES);
            repair.asked_at = now;
            return true;
        }
        if !repair.is_writing {
            repair.is_writing = self.wal.repair(&repair.rotten, &repair.got);
            self.wal.submit(now.0);
        }
        true
    }

    /// Takes an entry that a peer sent; false when none was asked for under this number.
    pub(crate) fn lone_came(&mut self, head: &PartHead, bulk: &Bytes, now: Time) -> bool {
        let mut list = self.repairs.list.iter_mut();
        let Some(repair) = list.find(|one| one.asked == Some(head.id)) else {
            return false;
        };
        repair.asked = None;
        let Some(&(slot, index)) = repair.missing.last() else {
            return true;
        };
        let replica = &self.replicas[slot as usize];
        let is_it = (head.group, head.number) == (replica.group.0, index);
        let term = replica.raft.term_at(Index(index));
        let came = lone_entry(bulk, Index(index)).filter(|entry| Some(entry.term) == term);
        // Otherwise the next beat asks somebody else.
        if let Some(entry) = came.filter(|_| is_it && head.status == PartStatus::Ok) {
            repair.got.push(record_of(replica.group.0, &entry));
            repair.missing.pop();
            repair.tries = 0;
            self.upkeep.counts.entries_refetched += 1;
            self.repair_on(now);
        }
        true
    }

    /// An entry is asked for: out of memory, out of the log, out of what was sealed of it. False when the log has no room
    /// for the read.
    pub(crate) fn begin_to_answer_entry(&mut self, ask: Ask, slot: Option<u32>, now: Time) -> bool {
        let index = ask.head.number;
        let held = slot.and_then(|slot| self.replicas[slot as usize].window.get(Index(index)));
        if let Some(entry) = held {
            let head = lone_head(entry.term.0, entry.head.as_bytes());
            self.serves.answer_entry(ask, head, entry.payload.clone());
            return true;
        }
        let token = READ_BIT | self.serves.next_token;
        match self.wal.read(ask.head.group, index, index, 1, token) {
            Ok(()) => {
                self.serves.next_token += 1;
                self.serves.reading.insert(token, ask);
                self.wal.submit(now.0);
            }
            Err(ReadError::Busy) => return false,
            Err(_) => {
                let past = slot.map(|slot| &self.replicas[slot as usize].shelf.past);
                match past.and_then(|past| past.entry(index).ok().flatten()) {
                    Some(entry) => {
                        let head = lone_head(entry.term, &entry.head);
                        self.serves.answer_entry(ask, head, entry.payload.into());
                    }
                    None => self.serves.answer(ask, PartStatus::Missing, Bytes::new()),
                }
            }
        }
        true
    }

    fn give_up_repair(&mut self, repair: Repair) {
        for damage in repair.damage {
            self.mend(damage);
        }
    }
}

/// Reads an entry that was sent alone.
pub(crate) fn lone_entry(bulk: &Bytes, index: Index) -> Option<Entry> {
    let term = u64::read_from_bytes(bulk.get(..8)?).ok()?;
    let head = EntryHead::parse(bulk.get(8..LONE_HEAD_BYTES)?).ok()?;
    let payload = bulk.slice(LONE_HEAD_BYTES..);
    Some(Entry {
        index,
        term: raft::ids::Term(u64::from_le(term)),
        head,
        payload_crc: crc32fast::hash(&payload),
        payload,
    })
}

pub(crate) fn record_of(group: u64, entry: &Entry) -> OwnedRecord {
    OwnedRecord {
        group,
        index: entry.index.0,
        term: entry.term.0,
        kind: Kind::Entry,
        head: Bytes::copy_from_slice(entry.head.as_bytes()),
        payload: entry.payload.clone(),
        payload_crc: entry.payload_crc,
    }
}

//! Replicate: what all groups have to say to a peer leaves in one envelope, lending the very bytes that
//! the client sent.
//!
//! - Messages of one group to one peer leave in order, except those that wait for entries from the log.
//! - A message whose entries were superseded meanwhile is stale and is not sent.
//! - Nothing is sent to a peer that is not connected: its next connection starts every group over.

use bytes::Bytes;
use net::transport::Transport;
use raft::effects::Role;
use raft::ids::{EntryId, GroupId, NodeId, Time};
use raft::message::{Append, Body, Message};
use raft::state_machine::StateMachine;
use wal::{Device, OwnedRecord};

use crate::catch_up::Waiting;
use crate::entry::{Entry, EntryHead};
use crate::limits;
use crate::packet;
use crate::peers::Peer;
use crate::replica::Replica;
use crate::shard::{Shard, carriers};
use crate::stages::decide::{self, Carriers};

/// What became of a message.
enum Packed {
    /// It is in the envelope, or not worth sending.
    Done,
    /// Its entries left memory.
    NotInMemory,
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// Sends what the groups asked to be sent, and what was read back from the log.
    pub(crate) fn replicate(&mut self, now: Time) {
        let mut read = false;
        while let Some((token, records)) = self.wal.next_read() {
            let Some((token, records)) = self.sealing.have_read(token, records) else {
                continue;
            };
            let Some((token, records)) = self.histories.have_read(token, records) else {
                continue;
            };
            let Some((token, records)) = self.serves.have_read_log(token, records) else {
                continue;
            };
            read = true;
            let Some(waiting) = self.catch_up.done(token) else {
                continue;
            };
            match records {
                Ok(records) => self.caught_up(&waiting, &records, now),
                Err(_) => self.give_back(waiting.to, waiting.slot, &waiting.message, now),
            }
        }
        if read {
            self.ask_again(now);
        }
        let mut outbound = std::mem::take(&mut self.outbound);
        for (to, slot, message) in outbound.drain(..) {
            let replica = &self.replicas[slot as usize];
            let Some(peer) = self
                .peers
                .get_mut(to)
                .filter(|peer| peer.connection.is_some())
            else {
                continue;
            };
            self.counts.messages_out += 1;
            match pack_message(peer, replica, &message, now) {
                Packed::Done => {}
                Packed::NotInMemory => self.catch_up(to, slot, message, now),
            }
        }
        outbound.append(&mut self.outbound);
        self.outbound = outbound;
        for peer in self.peers.iter_mut() {
            self.counts.envelopes_out += u64::from(peer.building);
            peer.close_envelope(now);
            if !peer.send(&mut self.transport) {
                self.counts.deaf_peers += 1;
                if let Some(connection) = peer.connection {
                    self.transport.close(connection);
                }
            }
        }
    }

    /// Asks the log for the entries of a message.
    fn catch_up(&mut self, to: NodeId, slot: u32, message: Message, now: Time) {
        let group = self.replicas[slot as usize].group;
        let entries = match &message.body {
            Body::Append(append) => append.entries(),
            _ => None,
        };
        let Some(entries) = entries.filter(|_| self.catch_up.has_room()) else {
            self.give_back(to, slot, &message, now);
            return;
        };
        let token = self.catch_up.wait(Waiting { to, slot, message });
        let read = self.wal.read(
            group.0,
            entries.start().0,
            entries.end().0,
            limits::CATCH_UP_BYTES,
            token,
        );
        if read.is_err()
            && let Some(waiting) = self.catch_up.done(token)
        {
            self.give_back(waiting.to, waiting.slot, &waiting.message, now);
        }
    }

    /// There is room for reads again: the groups whose messages were given back may ask for them.
    pub(crate) fn ask_again(&mut self, now: Time) {
        for (to, slot) in self.catch_up.may_ask_again() {
            let replica = &mut self.replicas[slot as usize];
            replica.raft.payload_ready(to);
            decide::carry(replica, slot, &mut carriers!(self), now);
        }
    }

    /// The core learns that a message it asked for did not leave.
    fn give_back(&mut self, to: NodeId, slot: u32, message: &Message, now: Time) {
        let Body::Append(append) = &message.body else {
            return;
        };
        let replica = &mut self.replicas[slot as usize];
        replica.raft.payload_missing(to, append.first());
        self.catch_up.gave_back(to, slot);
        decide::carry(replica, slot, &mut carriers!(self), now);
    }

    /// The log gave entries back: send as many of the message's as there are, in order.
    fn caught_up(&mut self, waiting: &Waiting, records: &[OwnedRecord], now: Time) {
        let Body::Append(append) = &waiting.message.body else {
            return;
        };
        let entries: Option<Vec<Entry>> = records.iter().map(entry_of).collect();
        let Some(entries) = entries.filter(|entries| fits(append, entries)) else {
            self.give_back(waiting.to, waiting.slot, &waiting.message, now);
            return;
        };
        let Some(peer) = self
            .peers
            .get_mut(waiting.to)
            .filter(|peer| peer.connection.is_some())
        else {
            return;
        };
        let replica = &self.replicas[waiting.slot as usize];
        let (group, term) = (replica.group, waiting.message.term);
        if replica.raft.role() != Role::Leader || replica.raft.term() != term {
            // Whoever heard meanwhile that this leader is none any more must not hear it speak again.
            return;
        }
        let last = entries.last().map(|entry| EntryId {
            term: entry.term,
            index: entry.index,
        });
        let Some(last) = last else { return };
        let (front, back) = packet::split(append, last);
        pack_append(
            peer,
            group,
            &Message {
                term,
                body: Body::Append(front),
            },
            &entries,
            now,
        );
        if back.count() > 0 {
            let rest = Message {
                term,
                body: Body::Append(back),
            };
            self.outbound.push((waiting.to, waiting.slot, rest));
        }
    }
}

/// The records are the entries that the message speaks of, from its first on.
fn fits(append: &Append, entries: &[Entry]) -> bool {
    let ids = append
        .runs
        .spans(append.first(), append.last)
        .flat_map(|(span, term)| (span.start().0..=span.end().0).map(move |index| (index, term)));
    !entries.is_empty()
        && entries.len() as u64 <= append.count()
        && entries
            .iter()
            .zip(ids)
            .all(|(entry, (index, term))| entry.index.0 == index && entry.term == term)
}

fn entry_of(record: &OwnedRecord) -> Option<Entry> {
    Some(Entry {
        index: raft::ids::Index(record.index),
        term: raft::ids::Term(record.term),
        head: EntryHead::parse(&record.head).ok()?,
        payload: record.payload.clone(),
        payload_crc: record.payload_crc,
    })
}

/// Puts a message into the peer's envelope, with the bytes of its entries from the window.
fn pack_message<M>(peer: &mut Peer, replica: &Replica<M>, message: &Message, now: Time) -> Packed {
    let Body::Append(append) = &message.body else {
        pack_append(peer, replica.group, message, &[], now);
        return Packed::Done;
    };
    let Some(range) = append.entries() else {
        pack_append(peer, replica.group, message, &[], now);
        return Packed::Done;
    };
    let mut entries = Vec::with_capacity(usize::try_from(append.count()).unwrap_or(0));
    let (mut bytes, mut rest) = (0, append.clone());
    for index in range.start().0..=range.end().0 {
        let Some(entry) = replica.window.get(raft::ids::Index(index)) else {
            return if entries.is_empty() && rest == *append {
                Packed::NotInMemory
            } else {
                Packed::Done
            };
        };
        bytes += entry.payload.len();
        if bytes > limits::ENVELOPE_BULK_MAX {
            let last: &Entry = entries.last().expect("one entry fits an envelope");
            let (front, back) = packet::split(
                &rest,
                EntryId {
                    term: last.term,
                    index: last.index,
                },
            );
            if fits(&front, &entries) {
                let part = Message {
                    term: message.term,
                    body: Body::Append(front),
                };
                pack_append(peer, replica.group, &part, &entries, now);
            }
            entries.clear();
            bytes = entry.payload.len();
            rest = back;
        }
        entries.push(entry.clone());
    }
    if fits(&rest, &entries) {
        let part = Message {
            term: message.term,
            body: Body::Append(rest),
        };
        pack_append(peer, replica.group, &part, &entries, now);
    }
    Packed::Done
}

/// Puts one message and its entries into the peer's envelope, or into a new one when that is full.
fn pack_append(peer: &mut Peer, group: GroupId, message: &Message, entries: &[Entry], now: Time) {
    let mut packet = std::mem::take(&mut peer.packet);
    packet.clear();
    packet::encode(message, entries.iter(), &mut packet);
    let bulk = || {
        let filled = entries.iter().filter(|entry| !entry.payload.is_empty());
        filled.map(|entry| -> (Bytes, u32) { (entry.payload.clone(), entry.payload_crc) })
    };
    peer.ensure_begun(now);
    if !peer.builder.push(group.0, &packet, bulk()) {
        peer.close_envelope(now);
        peer.ensure_begun(now);
        assert!(
            peer.builder.push(group.0, &packet, bulk()),
            "one message fits an empty envelope"
        );
    }
    peer.packet = packet;
}

//! What arrives at a shard, and where it goes: frames of clients and peers, connections that come and
//! go, and the passing of time.

use net::envelope::Envelope;
use net::frame::Kind;
use net::transport::{ConnectionId, Event, Frame, Remote, Transport};
use raft::ids::{GroupId, NodeId, Time};
use raft::state_machine::StateMachine;
use wal::Device;

use crate::clock::Clock;
use crate::history;
use crate::inspect;
use crate::limits;
use crate::mutants::{Mutant, is_planted};
use crate::packet;
use crate::shard::{Shard, carriers};
use crate::stages::decide::{self, Carriers};
use crate::stages::persist::Persisted;
use crate::stages::receive::{self, Received};
use crate::stages::reply::Status;

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    pub(crate) fn event(&mut self, event: Event, now: Time, clock: &impl Clock) {
        // An envelope may be no more than a sign of life, and a reply that left is only counted.
        self.stirring.has_news |= match &event {
            Event::Received(_, frame) => frame.kind != Kind::ENVELOPE,
            Event::Opened(..) | Event::Closed(_) => true,
            Event::Sent(..) => false,
        };
        match event {
            Event::Opened(connection, Remote::Peer { node, incarnation }) => {
                self.peer_opened(connection, NodeId(node), incarnation, now);
            }
            Event::Opened(_, Remote::Client) => {}
            Event::Received(connection, frame) => match frame.kind {
                Kind::REQUEST => self.request(connection, frame, now),
                Kind::ENVELOPE => self.envelope(connection, &frame, now),
                Kind::FETCH => {
                    if !self.asked_for(connection, &frame) {
                        self.malformed(connection);
                    }
                }
                Kind::PART => {
                    if !self.part_came(&frame, now) {
                        self.malformed(connection);
                    }
                }
                Kind::INSPECT => inspect::answer(self, connection, &frame, clock.wall()),
                _ => self.malformed(connection),
            },
            Event::Sent(_, token, at) => self.replies.left(token, Time(at), &mut self.watch),
            Event::Closed(connection) => match self.peers.by_connection(connection) {
                Some(peer) => peer.closed(),
                None => {
                    self.replies.closed(connection);
                    self.histories.closed(connection);
                }
            },
        }
    }

    /// The other end does not speak our language: nothing that it says later can be trusted either.
    fn malformed(&mut self, connection: ConnectionId) {
        self.counts.malformed += 1;
        self.stirring.has_news = true;
        self.transport.close(connection);
    }

    fn request(&mut self, connection: ConnectionId, frame: Frame, now: Time) {
        self.counts.requests += 1;
        let Some(head) = receive::parse(&frame) else {
            self.malformed(connection);
            return;
        };
        let open = self.replies.open.entry(connection).or_insert(0);
        *open += 1;
        if *open > limits::CONNECTION_REQUESTS_MAX {
            self.replies.refuse(connection, &head, Status::Busy, None);
            return;
        }
        let group = GroupId(head.group);
        let wrong = is_planted(Mutant::WrongGroup) && self.counts.requests.is_multiple_of(29);
        let neighbour = group.0 + u64::from(self.setup.cores);
        let group = if wrong && self.slots.contains_key(&GroupId(neighbour)) {
            GroupId(neighbour)
        } else {
            group
        };
        let Some(slot) = self.slots.get(&group).copied() else {
            if group.0 < self.setup.groups {
                self.counts.wrong_core += 1;
                self.replies
                    .redirect(connection, &head, self.setup.core_of(group));
            } else {
                self.counts.unknown_group += 1;
                self.replies
                    .refuse(connection, &head, Status::UnknownGroup, None);
            }
            return;
        };
        if head.operation == history::ENTRIES {
            self.asked_for_entries(connection, &head, &frame, slot, now);
            return;
        }
        let replica = &mut self.replicas[slot as usize];
        let received = receive::receive(
            replica,
            &mut self.replies,
            &mut self.waiting,
            connection,
            head,
            frame,
            now,
        );
        if received != Received::Done && !replica.is_asking {
            replica.is_asking = true;
            self.asking.push(slot);
        }
    }

    fn envelope(&mut self, connection: ConnectionId, frame: &Frame, now: Time) {
        let Some(peer) = self.peers.by_connection(connection) else {
            self.malformed(connection);
            return;
        };
        let from = peer.node;
        let Ok(envelope) = Envelope::parse(frame) else {
            self.malformed(connection);
            return;
        };
        peer.hear(envelope.beat, now);
        let incarnation = peer.incarnation;
        self.liveness.heard(from, incarnation, now);
        self.liveness.acknowledged(from, Time(envelope.beat.echo));
        self.counts.envelopes_in += 1;
        self.stirring.has_news |= envelope.count > 0;
        for letter in envelope.letters() {
            let Some(slot) = self.slots.get(&GroupId(letter.group)).copied() else {
                self.counts.unknown_group += 1;
                continue;
            };
            let Ok(message) = packet::decode(&letter.message, &letter.bulk, &mut self.stash) else {
                self.malformed(connection);
                return;
            };
            self.counts.messages_in += 1;
            let replica = &mut self.replicas[slot as usize];
            replica.raft.step(from, &message, now, &self.liveness);
            decide::carry(replica, slot, &mut carriers!(self), now);
        }
    }

    /// Whatever was under way on an earlier connection is lost: every group starts over with that node.
    fn peer_opened(&mut self, connection: ConnectionId, node: NodeId, incarnation: u64, now: Time) {
        let Some(peer) = self.peers.get_mut(node) else {
            self.malformed(connection);
            return;
        };
        if let Some(older) = peer.connection.filter(|older| *older != connection) {
            self.transport.close(older);
        }
        peer.opened(connection, incarnation);
        if !peer.alive {
            peer.alive = true;
            peer.alive_since = now;
        }
        self.liveness.heard(node, incarnation, now);
        self.fetches.peer_reset(node, now);
        for slot in 0..self.replicas.len() as u32 {
            let replica = &mut self.replicas[slot as usize];
            replica.raft.peer_reset(node, now);
            decide::carry(replica, slot, &mut carriers!(self), now);
        }
    }

    /// Deadlines of groups, and the beat of the node.
    pub(crate) fn time_passed(&mut self, now: Time) {
        while let Some(slot) = self.timers.expired(now) {
            self.tick(slot, now);
        }
        if now >= self.next_beat {
            self.next_beat = now.plus(self.setup.beat_interval);
            self.beat(now);
        }
    }

    fn tick(&mut self, slot: u32, now: Time) {
        let replica = &mut self.replicas[slot as usize];
        replica.raft.tick(now, &self.liveness);
        decide::carry(replica, slot, &mut carriers!(self), now);
    }

    /// Says to every peer that this node is alive, and looks who of them is. Only a change of that
    /// touches the groups. A log at rest says that its last records were durable: rot in them is not taken for a
    /// write that never ended then.
    fn beat(&mut self, now: Time) {
        self.wal.witness();
        self.ask_again(now);
        self.tidy_up(now);
        self.look_for_gaps(now);
        let timeout = self.setup.election_timeout;
        let mut changed = false;
        let is_full = self.storage == Persisted::Full && !self.comes_room(now);
        for peer in self.peers.iter_mut() {
            peer.are_we_full = is_full;
            let alive = peer.heard.is_some_and(|heard| now.since(heard) < timeout);
            if alive != peer.alive {
                changed = true;
                peer.alive = alive;
                peer.alive_since = now;
            }
            if peer.connection.is_some() && now.since(peer.sent) >= self.setup.beat_interval / 2 {
                peer.ensure_begun(now);
            }
        }
        if changed {
            for slot in 0..self.replicas.len() as u32 {
                self.tick(slot, now);
            }
        }
        for (slot, to) in
            self.balance
                .wanted(&self.replicas, &self.peers, &self.setup, is_full, now)
        {
            let replica = &mut self.replicas[slot as usize];
            if replica.raft.transfer(to, now).is_ok() {
                self.counts.transfers += 1;
            }
            decide::carry(replica, slot, &mut carriers!(self), now);
        }
    }
}

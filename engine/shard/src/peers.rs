//! The same core of the other nodes: who is connected, who is alive, and what waits to be sent to them.
//!
//! - Liveness is per pair of nodes, not per group: one beat in every envelope, or alone when there is
//!   nothing else to say.
//! - Between two `Opened` events of a peer, envelopes arrive in order or not at all; whatever was lost
//!   with a connection is asked for again when the next one opens.

use std::collections::VecDeque;

use net::envelope::{Beat, EnvelopeBuilder};
use net::transport::{ConnectionId, Outgoing, SendError, Transport};
use raft::ids::{NodeId, Time};

use crate::limits;

/// One other node.
#[derive(Debug)]
pub struct Peer {
    /// Its id.
    pub node: NodeId,
    /// The connection, while there is one.
    pub connection: Option<ConnectionId>,
    /// Of the process behind the connection.
    pub incarnation: u64,
    /// When anything was last heard.
    pub heard: Option<Time>,
    /// Heard within the liveness timeout, as of the last beat.
    pub alive: bool,
    /// Since when it is alive without a break.
    pub alive_since: Time,
    /// Its log has no room, as it last said.
    pub is_full: bool,
    /// Ours has none, as the next envelope will say.
    pub are_we_full: bool,
    /// When something was last sent.
    pub sent: Time,
    /// The envelope under construction.
    pub builder: EnvelopeBuilder,
    /// Whether it was begun.
    pub building: bool,
    /// Reused for every packet.
    pub packet: Vec<u8>,
    outbox: VecDeque<Outgoing>,
    outbox_bytes: usize,
    sequence: u64,
    echo: u64,
    echo_at: Time,
}

/// All of them; one per shard.
#[derive(Debug)]
pub struct Peers {
    peers: Vec<Peer>,
}

impl Peers {
    /// For these nodes, none of them connected.
    #[must_use]
    pub fn new(nodes: impl Iterator<Item = NodeId>) -> Self {
        let peers = nodes
            .map(|node| Peer {
                node,
                connection: None,
                incarnation: 0,
                heard: None,
                alive: false,
                alive_since: Time(0),
                is_full: false,
                are_we_full: false,
                sent: Time(0),
                builder: EnvelopeBuilder::default(),
                building: false,
                packet: Vec::new(),
                outbox: VecDeque::new(),
                outbox_bytes: 0,
                sequence: 0,
                echo: 0,
                echo_at: Time(0),
            })
            .collect();
        Self { peers }
    }

    /// The peer with this id.
    pub fn get_mut(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.node == node)
    }

    /// The peer behind this connection.
    pub fn by_connection(&mut self, connection: ConnectionId) -> Option<&mut Peer> {
        self.peers
            .iter_mut()
            .find(|peer| peer.connection == Some(connection))
    }

    /// The node is connected, has been alive for `steady` nanoseconds, and has room in its log.
    #[must_use]
    pub fn is_steady(&self, node: NodeId, now: Time, steady: u64) -> bool {
        let steady = |peer: &&Peer| {
            let is_well = peer.connection.is_some() && peer.alive && !peer.is_full;
            is_well && now.since(peer.alive_since) >= steady
        };
        self.peers
            .iter()
            .filter(|peer| peer.node == node)
            .any(|peer| steady(&peer))
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.iter_mut()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter()
    }
}

impl Peer {
    /// A connection opened: what was queued for the one before it is void.
    pub fn opened(&mut self, connection: ConnectionId, incarnation: u64) {
        self.connection = Some(connection);
        self.incarnation = incarnation;
        self.outbox.clear();
        self.outbox_bytes = 0;
        self.building = false;
    }

    /// The connection is gone.
    pub fn closed(&mut self) {
        self.connection = None;
        self.outbox.clear();
        self.outbox_bytes = 0;
        self.building = false;
    }

    /// No envelope waits to be sent.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Bytes of the envelopes that wait to be sent.
    #[must_use]
    pub fn outbox_bytes(&self) -> usize {
        self.outbox_bytes
    }

    /// Takes the peer's beat.
    pub fn hear(&mut self, beat: Beat, now: Time) {
        self.heard = Some(now);
        self.is_full = beat.is_full;
        self.echo = beat.sent_at;
        self.echo_at = now;
    }

    /// The beat for the next envelope.
    pub fn beat(&mut self, now: Time) -> Beat {
        self.sequence += 1;
        Beat {
            sequence: self.sequence,
            sent_at: now.0,
            echo: self.echo,
            echo_delay: now.since(self.echo_at),
            is_full: self.are_we_full,
        }
    }

    /// Begins an envelope unless one is under construction.
    pub fn ensure_begun(&mut self, now: Time) {
        if !self.building {
            let beat = self.beat(now);
            self.builder.begin(beat);
            self.building = true;
        }
    }

    /// Puts the envelope under construction into the outbox.
    pub fn close_envelope(&mut self, now: Time) {
        if self.building {
            self.building = false;
            self.sent = now;
            let outgoing = self.builder.finish();
            self.outbox_bytes += outgoing.bulk.iter().map(bytes::Bytes::len).sum::<usize>();
            self.outbox.push_back(outgoing);
        }
    }

    /// Offers the outbox to the transport. Returns false when more waits than may wait: the caller
    /// closes the connection.
    pub fn send<T: Transport>(&mut self, transport: &mut T) -> bool {
        let Some(connection) = self.connection else {
            self.closed();
            return true;
        };
        while let Some(outgoing) = self.outbox.front_mut() {
            let bytes = outgoing.bulk.iter().map(bytes::Bytes::len).sum::<usize>();
            match transport.offer(connection, outgoing) {
                Ok(()) => {
                    self.outbox_bytes -= bytes;
                    self.outbox.pop_front();
                    if self.builder.is_bare() {
                        self.builder.reuse(transport.spare());
                    }
                }
                Err(SendError::Busy) => break,
                Err(SendError::Closed) => {
                    self.closed();
                    break;
                }
            }
        }
        self.outbox_bytes <= limits::OUTBOX_BYTES_MAX
    }
}

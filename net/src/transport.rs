//! The network door: frames to and from peers and clients, submitted and polled, never waited for.
//!
//! - A connection's id is never reused; its first event is `Opened`, its last `Closed`.
//! - A frame is taken whole or not at all; frames of one connection arrive in the order they were taken.
//! - Nothing here blocks: a transport that can wait offers that beside the trait.

pub mod memory;
pub mod tcp;

use bytes::Bytes;

use crate::counters::Counters;

/// One connection of one core, to a peer or a client. Never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What the other end of a connection is, as its handshake proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// The same core of another node of this cluster.
    Peer {
        /// Its node id.
        node: u32,
        /// Drawn anew at every start of that process: tells a restart from a reconnection.
        incarnation: u64,
    },
    /// A client.
    Client,
}

/// A frame that arrived whole, its checksums verified.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it is; see `frame::Kind`.
    pub kind: u8,
    /// The small part: messages, headers. Covered by the header's own checksum.
    pub head: Bytes,
    /// The large part, lent from the receive buffer: records of a client, payloads of entries.
    pub bulk: Bytes,
    /// CRC-32 (IEEE) of `bulk`, verified.
    pub bulk_crc: u32,
    /// When its first byte was there, on this node's monotonic clock, in nanoseconds.
    pub began_at: u64,
    /// When it was complete and verified.
    pub arrived_at: u64,
}

/// A frame to send. `bulk` is lent, not copied, where it is large.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// What it is; see `frame::Kind`.
    pub kind: u8,
    /// The small part.
    pub head: Vec<u8>,
    /// The large part, in pieces.
    pub bulk: Vec<Bytes>,
    /// CRC-32 (IEEE) over the pieces in order.
    pub bulk_crc: u32,
    /// Given back in `Event::Sent` when the last byte was handed to the kernel; 0 asks for no event.
    pub token: u64,
}

impl Outgoing {
    /// A frame of a head alone.
    pub fn bare(kind: u8, head: &[u8]) -> Outgoing {
        Outgoing {
            kind,
            head: head.to_vec(),
            ..Outgoing::default()
        }
    }
}

/// What happened since the last poll.
#[derive(Debug)]
pub enum Event {
    /// A connection finished its handshake.
    Opened(ConnectionId, Remote),
    /// A frame arrived.
    Received(ConnectionId, Frame),
    /// The frame sent with this token has left, at this instant (ns, monotonic).
    Sent(ConnectionId, u64, u64),
    /// The connection is gone; frames not yet sent are lost.
    Closed(ConnectionId),
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The connection is gone.
    Closed,
    /// Its queue is full: the other end does not read fast enough. Nothing was queued.
    Busy,
}

/// The network of one core. Peers are dialled and redialled by the transport itself.
pub trait Transport {
    /// Appends what happened since the last call to `events`. Never blocks.
    fn poll(&mut self, events: &mut Vec<Event>);

    /// Queues a frame, whole or not at all; one that is not queued stays as it was. It leaves at the latest when `flush`
    /// is called.
    fn offer(&mut self, to: ConnectionId, frame: &mut Outgoing) -> Result<(), SendError>;

    /// As [`Transport::offer`], for a frame that nobody wants back.
    fn send(&mut self, to: ConnectionId, mut frame: Outgoing) -> Result<(), SendError> {
        self.offer(to, &mut frame)
    }

    /// Hands queued bytes to the kernel, as many as it takes.
    fn flush(&mut self);

    /// Closes a connection; `Event::Closed` follows.
    fn close(&mut self, connection: ConnectionId);

    /// A frame that was sent, emptied: its memory to build the next one in.
    fn spare(&mut self) -> Outgoing {
        Outgoing::default()
    }

    /// What happened at this door so far.
    fn counters(&self) -> Counters;
}

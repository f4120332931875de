//! Reply: outcomes leave for the clients that asked, and the way of each request is put on record.
//!
//! - A client that does not read its replies is disconnected when its queue is full.
//! - A request counts against its connection until its reply is handed to the transport.

use bytes::Bytes;
use net::frame::Kind;
pub use net::request::Status;
use net::request::{ReplyHead, RequestHead};
use net::transport::{ConnectionId, Outgoing, SendError, Transport};
use raft::ids::{Index, NodeId, Term, Time};
use rustc_hash::FxHashMap;

use crate::replica::Stamps;
use crate::stopwatch::{Stage, Stopwatch};

/// Replies under way; one per shard.
#[derive(Debug, Default)]
pub struct Replies {
    queue: Vec<(ConnectionId, Outgoing)>,
    /// Requests unanswered, by connection.
    pub open: FxHashMap<ConnectionId, u32>,
    /// The way of requests whose reply is handed to the transport and not yet to the kernel.
    leaving: Vec<Option<(ConnectionId, Stamps)>>,
    leaving_free: Vec<u32>,
    /// Core of the shard, for the head of a reply.
    core: u16,
    /// Replies sent, by being well or refused.
    pub counts: ReplyCounts,
}

/// How many replies of which kind.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct ReplyCounts {
    /// Answered.
    pub answered: u64,
    /// Refused because a queue was full.
    pub busy: u64,
    /// Refused for another reason.
    pub refused: u64,
    /// Connections closed because the client did not read.
    pub deaf: u64,
}

/// Where in a group's history an answer was taken.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// Index of the entry, or applied index of a read.
    pub index: Index,
    /// The replica's term.
    pub term: Term,
    /// Who leads, as far as the replica knows.
    pub leader: Option<NodeId>,
}

impl Replies {
    /// Nothing under way.
    #[must_use]
    pub fn of_core(core: u16) -> Self {
        Self {
            core,
            ..Self::default()
        }
    }

    /// Answers a request.
    pub fn answer(
        &mut self,
        connection: ConnectionId,
        head: &RequestHead,
        position: Position,
        body: Vec<u8>,
        stamps: Stamps,
    ) {
        self.counts.answered += 1;
        let token = self.track(connection, stamps);
        let mut reply = self.head(head, Status::Ok);
        reply.index = position.index.0;
        reply.term = position.term.0;
        reply.leader = position.leader.map_or(0, |node| node.0);
        reply.arrived_at = stamps.began.0;
        reply.replied_at = stamps.applied.0;
        let bulk_crc = crc32fast::hash(&body);
        let bulk = if body.is_empty() {
            Vec::new()
        } else {
            vec![Bytes::from(body)]
        };
        let outgoing = Outgoing {
            kind: Kind::REPLY,
            head: reply.encode().to_vec(),
            bulk,
            bulk_crc,
            token,
        };
        self.queue.push((connection, outgoing));
    }

    /// Refuses a request; with the leader to ask, when known.
    pub fn refuse(
        &mut self,
        connection: ConnectionId,
        head: &RequestHead,
        status: Status,
        leader: Option<NodeId>,
    ) {
        let mut reply = self.head(head, status);
        reply.leader = leader.map_or(0, |node| node.0);
        self.queue_refusal(connection, reply, status);
    }

    /// Refuses a request that belongs to another core of this node.
    pub fn redirect(&mut self, connection: ConnectionId, head: &RequestHead, core: u16) {
        let mut reply = self.head(head, Status::WrongCore);
        reply.core = core;
        self.queue_refusal(connection, reply, Status::WrongCore);
    }

    fn queue_refusal(&mut self, connection: ConnectionId, reply: ReplyHead, status: Status) {
        match status {
            Status::Busy => self.counts.busy += 1,
            _ => self.counts.refused += 1,
        }
        let head = reply.encode().to_vec();
        self.queue.push((
            connection,
            Outgoing {
                kind: Kind::REPLY,
                head,
                ..Outgoing::default()
            },
        ));
    }

    /// Queues a frame that is no reply to a request.
    pub fn other(&mut self, connection: ConnectionId, outgoing: Outgoing) {
        self.queue.push((connection, outgoing));
    }

    fn head(&self, request: &RequestHead, status: Status) -> ReplyHead {
        ReplyHead {
            core: self.core,
            ..request.reply(status)
        }
    }

    fn track(&mut self, connection: ConnectionId, stamps: Stamps) -> u64 {
        let way = Some((connection, stamps));
        let slot = match self.leaving_free.pop() {
            Some(slot) => {
                self.leaving[slot as usize] = way;
                slot
            }
            None => {
                self.leaving.push(way);
                u32::try_from(self.leaving.len() - 1).expect("bounded by the requests in flight")
            }
        };
        u64::from(slot) + 1
    }

    fn untrack(&mut self, token: u64) -> Option<Stamps> {
        let slot = u32::try_from(token.checked_sub(1)?).ok()?;
        let (_, stamps) = self.leaving.get_mut(slot as usize)?.take()?;
        self.leaving_free.push(slot);
        Some(stamps)
    }

    /// A connection is gone: nobody waits for its replies.
    pub fn closed(&mut self, connection: ConnectionId) {
        self.open.remove(&connection);
        for (slot, way) in self.leaving.iter_mut().enumerate() {
            if way.is_some_and(|(of, _)| of == connection) {
                *way = None;
                self.leaving_free.push(slot as u32);
            }
        }
    }

    /// Nothing waits to be handed to the transport.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.queue.is_empty()
    }

    /// Hands the queue to the transport.
    pub fn send<T: Transport>(&mut self, transport: &mut T) {
        let mut queue = std::mem::take(&mut self.queue);
        for (connection, outgoing) in queue.drain(..) {
            if outgoing.kind == Kind::REPLY
                && let Some(open) = self.open.get_mut(&connection)
            {
                *open = open.saturating_sub(1);
            }
            let token = outgoing.token;
            match transport.send(connection, outgoing) {
                Ok(()) => continue,
                Err(SendError::Busy) => {
                    self.counts.deaf += 1;
                    transport.close(connection);
                }
                Err(SendError::Closed) => {}
            }
            self.untrack(token);
        }
        self.queue = queue;
    }

    /// The last byte of the reply with this token was handed to the kernel.
    pub fn left(&mut self, token: u64, at: Time, watch: &mut Stopwatch) {
        let Some(stamps) = self.untrack(token) else {
            return;
        };
        if stamps.committed == Time(0) {
            watch.record(Stage::Read, at.since(stamps.began));
            return;
        }
        let way = [
            (Stage::Arrive, stamps.began, stamps.arrived),
            (Stage::Receive, stamps.arrived, stamps.received),
            (Stage::Decide, stamps.received, stamps.decided),
            (Stage::Persist, stamps.decided, stamps.durable),
            (Stage::Replicate, stamps.durable, stamps.committed),
            (Stage::Apply, stamps.committed, stamps.applied),
            (Stage::Reply, stamps.applied, at),
            (Stage::Server, stamps.began, at),
        ];
        for (stage, from, to) in way {
            watch.record(stage, to.since(from));
        }
    }
}

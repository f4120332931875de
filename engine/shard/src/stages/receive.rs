//! Receive: frames become checked views of what was asked; what cannot be granted is refused at once.
//!
//! - Bytes are looked at in place; only small bodies are copied, so that they do not pin large buffers.
//! - A request that may not enter costs no entry: its body is checked before it is proposed.
//! - Everything that waits is counted and bounded; beyond the bound the answer is "busy".

use std::collections::VecDeque;

use bytes::Bytes;
use net::request::{Consistency, RequestHead};
use net::transport::{ConnectionId, Frame};
use raft::effects::Role;
use raft::ids::Time;
use raft::state_machine::{Admission, Refusal, StateMachine};

use crate::limits;
use crate::replica::{Replica, Request, Stamps};
use crate::stages::apply;
use crate::stages::reply::{Replies, Status};

/// What waits to be proposed on this core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waiting {
    /// Requests.
    pub requests: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Waiting {
    /// These requests do not wait any more.
    pub fn forget(&mut self, requests: &VecDeque<Request>) {
        self.requests -= requests.len();
        self.bytes -= requests
            .iter()
            .map(|request| request.payload.len())
            .sum::<usize>();
    }
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Answered or refused.
    Done,
    /// Waits in its replica to be proposed.
    Waits,
    /// Must be confirmed by the group before it is answered.
    Confirm,
}

/// Reads a request's head; `None` when it is no head.
#[must_use]
pub fn parse(frame: &Frame) -> Option<RequestHead> {
    RequestHead::decode(&frame.head).ok()
}

/// Takes one request for `replica`.
pub fn receive<M: StateMachine>(
    replica: &mut Replica<M>,
    replies: &mut Replies,
    waiting: &mut Waiting,
    connection: ConnectionId,
    head: RequestHead,
    frame: Frame,
    now: Time,
) -> Received {
    let leader = replica.raft.leader();
    let admission = match replica.machine.admit(head.operation, &frame.bulk) {
        Ok(admission) => admission,
        Err(refusal) => {
            replies.refuse(connection, &head, refused(refusal), leader);
            return Received::Done;
        }
    };
    let stamps = Stamps {
        began: Time(frame.began_at),
        arrived: Time(frame.arrived_at),
        received: now,
        ..Stamps::default()
    };
    let request = Request {
        connection,
        head,
        payload: keep(frame.bulk),
        payload_crc: frame.bulk_crc,
        stamps,
    };
    if admission == Admission::Read {
        if head.consistency == Consistency::Local {
            if !replica.is_sound() {
                replies.refuse(connection, &head, Status::Unavailable, leader);
                return Received::Done;
            }
            apply::read(replica, replies, &request, now);
            return Received::Done;
        }
        replica.waiting_reads.push(request);
        return Received::Confirm;
    }
    if replica.raft.role() != Role::Leader {
        replies.refuse(connection, &head, Status::NotLeader, leader);
        return Received::Done;
    }
    if waiting.requests >= limits::WAITING_REQUESTS_MAX
        || waiting.bytes >= limits::WAITING_BYTES_MAX
    {
        replies.refuse(connection, &head, Status::Busy, leader);
        return Received::Done;
    }
    waiting.requests += 1;
    waiting.bytes += request.payload.len();
    replica.waiting.push_back(request);
    Received::Waits
}

/// Small bodies are copied, large ones lent.
#[must_use]
pub fn keep(bytes: Bytes) -> Bytes {
    if bytes.len() <= limits::PAYLOAD_COPY_MAX {
        Bytes::copy_from_slice(&bytes)
    } else {
        bytes
    }
}

fn refused(refusal: Refusal) -> Status {
    match refusal {
        Refusal::UnknownOperation => Status::UnknownOperation,
        Refusal::MalformedBody => Status::Malformed,
        Refusal::Full => Status::StateFull,
        Refusal::Busy => Status::Busy,
    }
}

//! The client protocol: the heads of requests and replies, 64 bytes each. The records travel as bulk, untouched.
//!
//! - What an operation means is not known here.
//! - Decoding is total and canonical: every head that is accepted encodes to the same bytes.
//! - Stamps are echoed, never compared between machines: a client subtracts its own from its own.

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::BadHead;

/// Bytes of a request's and of a reply's head.
pub const REQUEST_HEAD_BYTES: usize = 64;

/// How fresh the state must be that answers a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Consistency {
    /// As if there were one copy: the leader answers, having proved that it still leads.
    #[default]
    Linearizable = 0,
    /// What this replica has applied; may lag.
    Local = 1,
}

/// What became of a request, as far as the node can tell; what became of each record stands in the bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Carried out; the bulk holds the results.
    Ok = 0,
    /// Another node leads the group: `leader`, if known.
    NotLeader = 1,
    /// A queue is full: nothing was done, try again later.
    Busy = 2,
    /// Another core of this node serves the group: `core`.
    WrongCore = 3,
    /// No such group here.
    UnknownGroup = 4,
    /// The bulk is not a sequence of records of this operation.
    Malformed = 5,
    /// No such operation.
    UnknownOperation = 6,
    /// The state machine's memory is full: nothing was done.
    StateFull = 7,
    /// The disk is full: nothing was done.
    StorageFull = 8,
    /// No leader can be reached in time: whether it was done is not known, ask again with the same ids.
    Unavailable = 9,
    /// The node is shutting down: nothing was done, ask another.
    ShuttingDown = 10,
    /// The bulk is longer than the group accepts: nothing was done.
    TooLarge = 11,
}

/// A byte that is no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("unknown status {0}")]
pub struct UnknownStatus(pub u8);

impl Status {
    /// All of them, in the order of their codes.
    pub const ALL: [Status; 12] = [
        Status::Ok,
        Status::NotLeader,
        Status::Busy,
        Status::WrongCore,
        Status::UnknownGroup,
        Status::Malformed,
        Status::UnknownOperation,
        Status::StateFull,
        Status::StorageFull,
        Status::Unavailable,
        Status::ShuttingDown,
        Status::TooLarge,
    ];
}

impl TryFrom<u8> for Status {
    type Error = UnknownStatus;

    fn try_from(byte: u8) -> Result<Status, UnknownStatus> {
        Status::ALL
            .get(usize::from(byte))
            .copied()
            .ok_or(UnknownStatus(byte))
    }
}

/// Head of a REQUEST.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// Chosen by the client, echoed in the reply.
    pub id: u64,
    /// The group asked.
    pub group: u64,
    /// What to do; the state machine knows.
    pub operation: u8,
    /// How fresh a read must be.
    pub consistency: Consistency,
    /// The client's own stamp, echoed in the reply.
    pub sent_at: u64,
    /// Who asks, across connections.
    pub client: u128,
    /// Counts the requests of this client.
    pub number: u64,
}

/// Head of a REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// Of the request.
    pub id: u64,
    /// The group that answered.
    pub group: u64,
    /// What became of the request.
    pub status: Status,
    /// Of the request.
    pub operation: u8,
    /// The right core, with `WrongCore`; else the one that answered.
    pub core: u16,
    /// Node id of the leader; 0 if not known.
    pub leader: u32,
    /// Index the answer reflects.
    pub index: u64,
    /// Term of the answering replica.
    pub term: u64,
    /// Of the request.
    pub sent_at: u64,
    /// When the request was complete, on the node's monotonic clock, ns.
    pub arrived_at: u64,
    /// When the reply was made, on the same clock.
    pub replied_at: u64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireRequest {
    id: U64,
    group: U64,
    operation: u8,
    consistency: u8,
    reserved: [u8; 6],
    sent_at: U64,
    client: U128,
    number: U64,
    reserved_too: [u8; 8],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireReply {
    id: U64,
    group: U64,
    status: u8,
    operation: u8,
    core: U16,
    leader: U32,
    index: U64,
    term: U64,
    sent_at: U64,
    arrived_at: U64,
    replied_at: U64,
}

const _: () = assert!(size_of::<WireRequest>() == REQUEST_HEAD_BYTES);
const _: () = assert!(size_of::<WireReply>() == REQUEST_HEAD_BYTES);

impl RequestHead {
    /// The bytes of this head.
    pub fn encode(&self) -> [u8; REQUEST_HEAD_BYTES] {
        zerocopy::transmute!(WireRequest {
            id: self.id.into(),
            group: self.group.into(),
            operation: self.operation,
            consistency: self.consistency as u8,
            reserved: [0; 6],
            sent_at: self.sent_at.into(),
            client: self.client.into(),
            number: self.number.into(),
            reserved_too: [0; 8],
        })
    }

    /// Reads a frame's head.
    pub fn decode(head: &[u8]) -> Result<RequestHead, BadHead> {
        let wire = WireRequest::read_from_bytes(head).map_err(|_| BadHead)?;
        if wire.reserved != [0; 6] || wire.reserved_too != [0; 8] {
            return Err(BadHead);
        }
        Ok(RequestHead {
            id: wire.id.get(),
            group: wire.group.get(),
            operation: wire.operation,
            consistency: match wire.consistency {
                0 => Consistency::Linearizable,
                1 => Consistency::Local,
                _ => return Err(BadHead),
            },
            sent_at: wire.sent_at.get(),
            client: wire.client.get(),
            number: wire.number.get(),
        })
    }

    /// A reply to this request with `status` and nothing else known.
    pub fn reply(&self, status: Status) -> ReplyHead {
        ReplyHead {
            id: self.id,
            group: self.group,
            status,
            operation: self.operation,
            core: 0,
            leader: 0,
            index: 0,
            term: 0,
            sent_at: self.sent_at,
            arrived_at: 0,
            replied_at: 0,
        }
    }
}

impl ReplyHead {
    /// The bytes of this head.
    pub fn encode(&self) -> [u8; REQUEST_HEAD_BYTES] {
        zerocopy::transmute!(WireReply {
            id: self.id.into(),
            group: self.group.into(),
            status: self.status as u8,
            operation: self.operation,
            core: self.core.into(),
            leader: self.leader.into(),
            index: self.index.into(),
            term: self.term.into(),
            sent_at: self.sent_at.into(),
            arrived_at: self.arrived_at.into(),
            replied_at: self.replied_at.into(),
        })
    }

    /// Reads a frame's head.
    pub fn decode(head: &[u8]) -> Result<ReplyHead, BadHead> {
        let wire = WireReply::read_from_bytes(head).map_err(|_| BadHead)?;
        Ok(ReplyHead {
            id: wire.id.get(),
            group: wire.group.get(),
            status: Status::try_from(wire.status).map_err(|_| BadHead)?,
            operation: wire.operation,
            core: wire.core.get(),
            leader: wire.leader.get(),
            index: wire.index.get(),
            term: wire.term.get(),
            sent_at: wire.sent_at.get(),
            arrived_at: wire.arrived_at.get(),
            replied_at: wire.replied_at.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbered_in_order() {
        for (code, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, code);
            assert_eq!(Status::try_from(status as u8), Ok(status));
        }
        assert_eq!(Status::try_from(12), Err(UnknownStatus(12)));
    }

    #[test]
    fn bytes_out_of_place_are_refused() {
        let request = RequestHead {
            id: 1,
            ..RequestHead::default()
        }
        .encode();
        for at in (17..24).chain(56..64) {
            let mut bytes = request;
            bytes[at] = 2;
            assert_eq!(RequestHead::decode(&bytes), Err(BadHead), "byte {at}");
        }
        assert_eq!(RequestHead::decode(&request[..63]), Err(BadHead));
        let mut reply = RequestHead::default().reply(Status::Ok).encode();
        reply[16] = 200;
        assert_eq!(ReplyHead::decode(&reply), Err(BadHead));
    }
}

//! The 128 bytes of a header that are each command's own: fields to bytes, and bytes to fields that make sense.

use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::tigerbeetle::header::{BadMessage, Header};
use crate::tigerbeetle::message::{Eviction, Message, Ping, Pong, Reason, Reply, Request};
use crate::tigerbeetle::operation;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OwnPing {
    client: U128,
    sent_at: U64,
    session: U64,
    reserved: [u8; 96],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OwnPong {
    sent_at: U64,
    reserved: [u8; 120],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OwnRequest {
    parent: U128,
    parent_padding: [u8; 16],
    client: U128,
    session: U64,
    timestamp: U64,
    number: U32,
    operation: u8,
    latency_padding: [u8; 3],
    latency: U32,
    reserved: [u8; 52],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OwnReply {
    request_checksum: U128,
    request_checksum_padding: [u8; 16],
    context: U128,
    context_padding: [u8; 16],
    client: U128,
    op: U64,
    commit: U64,
    timestamp: U64,
    number: U32,
    operation: u8,
    reserved: [u8; 19],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OwnEviction {
    client: U128,
    reserved: [u8; 111],
    reason: u8,
}

const _: () = {
    assert!(size_of::<OwnPing>() == 128 && size_of::<OwnPong>() == 128);
    assert!(size_of::<OwnRequest>() == 128 && size_of::<OwnReply>() == 128);
    assert!(size_of::<OwnEviction>() == 128);
};

fn view<T: FromBytes + Immutable + KnownLayout + Unaligned>(own: &[u8; 128]) -> &T {
    T::ref_from_bytes(own).expect("each command's own part has 128 bytes")
}

fn zeros(bytes: &[u8]) -> Result<(), BadMessage> {
    if bytes.iter().all(|&byte| byte == 0) {
        Ok(())
    } else {
        Err(BadMessage::Reserved)
    }
}

pub(super) fn ping(own: &[u8; 128]) -> Result<Ping, BadMessage> {
    let own: &OwnPing = view(own);
    zeros(&own.reserved)?;
    if own.client.get() == 0 {
        return Err(BadMessage::Field);
    }
    Ok(Ping {
        client: own.client.get(),
        sent_at: own.sent_at.get(),
        session: own.session.get(),
    })
}

pub(super) fn pong(own: &[u8; 128]) -> Result<Pong, BadMessage> {
    let own: &OwnPong = view(own);
    zeros(&own.reserved)?;
    Ok(Pong {
        sent_at: own.sent_at.get(),
    })
}

pub(super) fn request(header: &Header) -> Result<Request, BadMessage> {
    let own: &OwnRequest = view(&header.own);
    zeros(&own.reserved)?;
    zeros(&own.parent_padding)?;
    zeros(&own.latency_padding)?;
    let request = Request {
        parent: own.parent.get(),
        client: own.client.get(),
        session: own.session.get(),
        timestamp: own.timestamp.get(),
        number: own.number.get(),
        operation: own.operation,
        latency: own.latency.get(),
        checksum: header.checksum.get(),
    };
    let registers = request.operation == operation::REGISTER;
    let fits = if registers {
        request.parent == 0 && request.session == 0 && request.number == 0
    } else {
        request.operation >= operation::FIRST && request.session != 0 && request.number != 0
    };
    if !fits || request.client == 0 {
        return Err(BadMessage::Field);
    }
    Ok(request)
}

pub(super) fn reply(header: &Header) -> Result<Reply, BadMessage> {
    let own: &OwnReply = view(&header.own);
    zeros(&own.reserved)?;
    zeros(&own.request_checksum_padding)?;
    zeros(&own.context_padding)?;
    let reply = Reply {
        request_checksum: own.request_checksum.get(),
        context: own.context.get(),
        client: own.client.get(),
        commit: own.commit.get(),
        timestamp: own.timestamp.get(),
        number: own.number.get(),
        operation: own.operation,
    };
    let registers = reply.operation == operation::REGISTER;
    let fits = own.op == own.commit
        && reply.client != 0
        && reply.commit != 0
        && reply.timestamp != 0
        && registers == (reply.number == 0)
        && (!registers || header.body_bytes() == operation::REGISTERED_BYTES);
    if !fits {
        return Err(BadMessage::Field);
    }
    Ok(reply)
}

pub(super) fn eviction(own: &[u8; 128]) -> Result<Eviction, BadMessage> {
    let own: &OwnEviction = view(own);
    zeros(&own.reserved)?;
    let known = Reason::ALL
        .into_iter()
        .find(|reason| *reason as u8 == own.reason);
    match known {
        Some(reason) if own.client.get() != 0 => Ok(Eviction {
            client: own.client.get(),
            reason,
        }),
        _ => Err(BadMessage::Field),
    }
}

impl Message {
    /// The 128 bytes of this message.
    pub(super) fn own(&self) -> [u8; 128] {
        match *self {
            Self::Ping(ping) => zerocopy::transmute!(OwnPing {
                client: ping.client.into(),
                sent_at: ping.sent_at.into(),
                session: ping.session.into(),
                reserved: [0; 96],
            }),
            Self::Pong(pong) => zerocopy::transmute!(OwnPong {
                sent_at: pong.sent_at.into(),
                reserved: [0; 120],
            }),
            Self::Request(request) => zerocopy::transmute!(OwnRequest {
                parent: request.parent.into(),
                parent_padding: [0; 16],
                client: request.client.into(),
                session: request.session.into(),
                timestamp: request.timestamp.into(),
                number: request.number.into(),
                operation: request.operation,
                latency_padding: [0; 3],
                latency: request.latency.into(),
                reserved: [0; 52],
            }),
            Self::Reply(reply) => zerocopy::transmute!(OwnReply {
                request_checksum: reply.request_checksum.into(),
                request_checksum_padding: [0; 16],
                context: reply.context.into(),
                context_padding: [0; 16],
                client: reply.client.into(),
                op: reply.commit.into(),
                commit: reply.commit.into(),
                timestamp: reply.timestamp.into(),
                number: reply.number.into(),
                operation: reply.operation,
                reserved: [0; 19],
            }),
            Self::Eviction(eviction) => zerocopy::transmute!(OwnEviction {
                client: eviction.client.into(),
                reserved: [0; 111],
                reason: eviction.reason as u8,
            }),
        }
    }
}

//! The five messages that concern a client, each checked field for field.
//!
//! | command | message | from | body |
//! |---:|---|---|---|
//! | 3 | ping | client | none |
//! | 4 | pong | replica | none |
//! | 5 | request | client | the operation's |
//! | 8 | reply | replica | the operation's |
//! | 18 | eviction | replica | none |
//!
//! - A message that is accepted encodes to the very bytes it came from.

use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::tigerbeetle::Release;
use crate::tigerbeetle::checksum::{OF_NOTHING, checksum};
use crate::tigerbeetle::header::{BadMessage, HEADER_BYTES, Header};
use crate::tigerbeetle::operation;

const PING: u8 = 3;
const PONG: u8 = 4;
const REQUEST: u8 = 5;
const REPLY: u8 = 8;
const EVICTION: u8 = 18;

/// What every message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The cluster that is meant.
    pub cluster: u128,
    /// The newest view that the sender knows: who leads.
    pub view: u32,
    /// The client's release; in pong and eviction the cluster's.
    pub release: Release,
    /// The replica that sends; 0 from a client.
    pub replica: u8,
}

/// A message without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Is somebody there, and who leads?
    Ping(Ping),
    /// The answer.
    Pong(Pong),
    /// Do this.
    Request(Request),
    /// It is done.
    Reply(Reply),
    /// The session is over.
    Eviction(Eviction),
}

/// A client's sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Who.
    pub client: u128,
    /// The client's monotonic clock, echoed.
    pub sent_at: u64,
    /// Its session; 0 before it is registered, and always before 0.17.6.
    pub session: u64,
}

/// The answer to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// The ping's.
    pub sent_at: u64,
}

/// A client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What the reply to the request before named as its `context`.
    pub parent: u128,
    /// Who.
    pub client: u128,
    /// Its session; 0 in REGISTER.
    pub session: u64,
    /// A moment to be taken for the commit's; 0 but in a recovery that is not offered here.
    pub timestamp: u64,
    /// Counts the requests of the session; 0 is REGISTER.
    pub number: u32,
    /// What to do.
    pub operation: u8,
    /// How long the request before took, in the client's eyes.
    pub latency: u32,
    /// The checksum of this header: the reply names it.
    pub checksum: u128,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request's.
    pub request_checksum: u128,
    /// The `parent` of the session's next request.
    pub context: u128,
    /// Whom it is for.
    pub client: u128,
    /// Position in the log; REGISTER's is the session's number.
    pub commit: u64,
    /// The moment of the commit, not 0.
    pub timestamp: u64,
    /// The request's.
    pub number: u32,
    /// The request's.
    pub operation: u8,
}

/// The end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// Whose.
    pub client: u128,
    /// Why.
    pub reason: Reason,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// No such session: never registered, or forgotten to make room.
    NoSession = 1,
    /// The client is older than what is understood.
    ReleaseTooLow = 2,
    /// The client is newer than what is understood.
    ReleaseTooHigh = 3,
    /// No such operation.
    InvalidOperation = 4,
    /// The body is not what its operation takes.
    InvalidBody = 5,
    /// The body is too long, or REGISTER has none.
    InvalidBodySize = 6,
    /// The client has a newer session.
    SessionTooLow = 7,
    /// The session was registered by another release.
    ReleaseMismatch = 8,
}

impl Reason {
    const ALL: [Reason; 8] = [
        Reason::NoSession,
        Reason::ReleaseTooLow,
        Reason::ReleaseTooHigh,
        Reason::InvalidOperation,
        Reason::InvalidBody,
        Reason::InvalidBodySize,
        Reason::SessionTooLow,
        Reason::ReleaseMismatch,
    ];
}

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

/// A header that was proven: what it says, and how long its body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// What every message says.
    pub envelope: Envelope,
    /// The message.
    pub message: Message,
    /// Bytes of the body that follows.
    pub body_bytes: usize,
    body_checksum: u128,
}

impl Announced {
    /// Reads a header.
    ///
    /// # Errors
    /// Everything `BadMessage` names but `BodyChecksum`.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, BadMessage> {
        let header = Header::parse(bytes)?;
        let envelope = Envelope {
            cluster: header.cluster.get(),
            view: header.view.get(),
            release: Release(header.release.get()),
            replica: header.replica,
        };
        let message = match header.command {
            PING => Message::Ping(ping(&header.own)?),
            PONG => Message::Pong(pong(&header.own)?),
            REQUEST => Message::Request(request(header)?),
            REPLY => Message::Reply(reply(header)?),
            EVICTION => Message::Eviction(eviction(&header.own)?),
            other => return Err(BadMessage::Command(other)),
        };
        let from_client = matches!(message, Message::Ping(_) | Message::Request(_));
        let bare = !matches!(message, Message::Request(_) | Message::Reply(_));
        if envelope.release.0 == 0
            || from_client && envelope.replica != 0
            || matches!(message, Message::Ping(_)) && envelope.view != 0
        {
            return Err(BadMessage::Field);
        }
        if bare && header.body_bytes() != 0 {
            return Err(BadMessage::Size(header.size.get()));
        }
        if header.body_bytes() == 0 && header.checksum_body.get() != OF_NOTHING {
            return Err(BadMessage::BodyChecksum);
        }
        Ok(Self {
            envelope,
            message,
            body_bytes: header.body_bytes(),
            body_checksum: header.checksum_body.get(),
        })
    }

    /// Is this the body that was announced?
    ///
    /// # Errors
    /// `BodyChecksum`.
    pub fn prove(&self, body: &[u8]) -> Result<(), BadMessage> {
        if body.len() != self.body_bytes || checksum(body) != self.body_checksum {
            return Err(BadMessage::BodyChecksum);
        }
        Ok(())
    }
}

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

fn ping(own: &[u8; 128]) -> Result<Ping, BadMessage> {
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

fn pong(own: &[u8; 128]) -> Result<Pong, BadMessage> {
    let own: &OwnPong = view(own);
    zeros(&own.reserved)?;
    Ok(Pong {
        sent_at: own.sent_at.get(),
    })
}

fn request(header: &Header) -> Result<Request, BadMessage> {
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

fn reply(header: &Header) -> Result<Reply, BadMessage> {
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

fn eviction(own: &[u8; 128]) -> Result<Eviction, BadMessage> {
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
    /// The header of this message before `body`, both checksums included. A request's own checksum is computed.
    ///
    /// # Panics
    /// If the body is longer than the longest message allows.
    #[must_use]
    pub fn encode(&self, envelope: &Envelope, body: &[u8]) -> [u8; HEADER_BYTES] {
        let command = match self {
            Self::Ping(_) => PING,
            Self::Pong(_) => PONG,
            Self::Request(_) => REQUEST,
            Self::Reply(_) => REPLY,
            Self::Eviction(_) => EVICTION,
        };
        let Envelope {
            cluster,
            view,
            release,
            replica,
        } = *envelope;
        let mut header = Header::new(command, cluster, view, release.0, replica);
        header.own = self.own();
        header.seal(body)
    }

    /// The header of a reply before `body`. Its `context` is the checksum that the header would have in view 0 and
    /// without a context: it stays the same when the reply is sent again by another leader.
    ///
    /// # Panics
    /// If the body is longer than the longest message allows.
    #[must_use]
    pub fn encode_reply(reply: Reply, envelope: &Envelope, body: &[u8]) -> [u8; HEADER_BYTES] {
        let (bare, first_view) = (
            Reply {
                context: 0,
                ..reply
            },
            Envelope {
                view: 0,
                replica: 0,
                ..*envelope
            },
        );
        let stable = Self::Reply(bare).encode(&first_view, body);
        let (context, _) = stable
            .split_first_chunk::<16>()
            .expect("a header is longer");
        let mut header = Header::new(
            REPLY,
            envelope.cluster,
            envelope.view,
            envelope.release.0,
            envelope.replica,
        );
        header.own = Self::Reply(Reply {
            context: u128::from_le_bytes(*context),
            ..reply
        })
        .own();
        header.seal_again(&stable)
    }

    fn own(&self) -> [u8; 128] {
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

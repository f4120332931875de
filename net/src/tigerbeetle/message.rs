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

mod own;

use crate::tigerbeetle::Release;
use crate::tigerbeetle::checksum::{OF_NOTHING, checksum};
use crate::tigerbeetle::header::{BadMessage, HEADER_BYTES, Header};

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
            PING => Message::Ping(own::ping(&header.own)?),
            PONG => Message::Pong(own::pong(&header.own)?),
            REQUEST => Message::Request(own::request(header)?),
            REPLY => Message::Reply(own::reply(header)?),
            EVICTION => Message::Eviction(own::eviction(&header.own)?),
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
}

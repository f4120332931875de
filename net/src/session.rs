//! The client's end of a connection without its socket: the handshake, then requests out and replies in.
//!
//! - Nothing is sent before the node said WELCOME.
//! - A refusal by the node comes out as what it is, not as a broken connection.

use bytes::Bytes;
use thiserror::Error;

use crate::frame::{Codec, FrameError, Kind};
use crate::handshake::{Hello, Welcome};
use crate::inbound::Inbound;
use crate::inspect::InspectHead;
use crate::limits::{FrameLimits, Limits, MIB};
use crate::outbound::Outbound;
use crate::pool::Pool;
use crate::refusal::Refusal;
use crate::request::RequestHead;
use crate::transport::{Frame, Outgoing, SendError};

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SessionError {
    /// The node refused or ended the session, and said why.
    #[error("refused by the node: {0}")]
    ToldOff(#[source] Refusal),
    /// The node is not the one that was meant.
    #[error("the node does not fit: {0}")]
    Unfit(#[source] Refusal),
    /// What the node sent is not a frame.
    #[error("what the node sent cannot be read: {0}")]
    Damaged(#[from] FrameError),
    /// What the node sent is not a frame for a client.
    #[error("the node sent a frame of kind {0}, which is not for clients, or not yet")]
    WrongKind(u8),
}

/// The client's end of a connection.
#[derive(Debug)]
pub struct Session {
    /// Received bytes to frames.
    pub inbound: Inbound,
    /// Frames to bytes to write.
    pub outbound: Outbound,
    hello: Hello,
    welcome: Option<Welcome>,
}

impl Session {
    /// Receive buffers of a client on its own: enough for several of the longest replies.
    pub const POOL_BYTES: usize = 16 * MIB;

    /// A session to be opened with any node of `cluster`; its HELLO is queued.
    pub fn new(cluster: u64, codec: Codec, pool: Pool) -> Session {
        let Limits {
            client_queue_bytes_max,
            queue_frames_max,
            ..
        } = Limits::default();
        let hello = Hello::from_client(cluster, codec);
        let limits = FrameLimits::HANDSHAKE;
        let mut outbound = Outbound::new(cluster, limits, client_queue_bytes_max, queue_frames_max);
        outbound
            .push(hello.encode())
            .expect("an empty queue takes a frame");
        // A reply may follow the WELCOME in the same read: the limits are a client's from the start.
        Session {
            inbound: Inbound::new(pool, FrameLimits::CLIENT, cluster),
            outbound,
            hello,
            welcome: None,
        }
    }

    /// Who answered; `None` until the handshake is done.
    pub fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_ref()
    }

    /// The next reply or report; `None` until more bytes are there. The WELCOME is taken on the way.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, SessionError> {
        while let Some(frame) = self.inbound.next_frame()? {
            match (frame.kind, self.welcome) {
                (Kind::WELCOME, None) => {
                    let welcome = Welcome::decode(&frame.head)
                        .map_err(|_| SessionError::WrongKind(frame.kind))?;
                    welcome.check(&self.hello).map_err(SessionError::Unfit)?;
                    let Limits {
                        client_queue_bytes_max,
                        ..
                    } = Limits::default();
                    self.outbound.agree(
                        welcome.version,
                        welcome.codec,
                        FrameLimits::CLIENT,
                        client_queue_bytes_max,
                    );
                    self.welcome = Some(welcome);
                }
                (Kind::REPLY | Kind::REPORT, Some(_)) => return Ok(Some(frame)),
                (Kind::GOODBYE, _) => {
                    let refusal = Refusal::decode(&frame.head)
                        .map_err(|_| SessionError::WrongKind(frame.kind))?;
                    return Err(SessionError::ToldOff(refusal));
                }
                (kind, _) => return Err(SessionError::WrongKind(kind)),
            }
        }
        Ok(None)
    }

    /// Queues a request; `bulk` is lent, `bulk_crc` is the CRC-32 over its pieces in order. `Closed`: no WELCOME yet.
    ///
    /// # Panics
    /// If the bulk is over [`FrameLimits::CLIENT`].
    pub fn request(
        &mut self,
        head: &RequestHead,
        bulk: &[Bytes],
        bulk_crc: u32,
    ) -> Result<(), SendError> {
        self.send(Kind::REQUEST, &head.encode(), bulk, bulk_crc)
    }

    /// Queues a question about the node itself.
    pub fn inspect(&mut self, head: &InspectHead) -> Result<(), SendError> {
        self.send(Kind::INSPECT, &head.encode(), &[], 0)
    }

    fn send(
        &mut self,
        kind: u8,
        head: &[u8],
        bulk: &[Bytes],
        bulk_crc: u32,
    ) -> Result<(), SendError> {
        if self.welcome.is_none() {
            return Err(SendError::Closed);
        }
        let mut frame = self.outbound.spare().unwrap_or_default();
        frame.head.extend_from_slice(head);
        frame.bulk.extend_from_slice(bulk);
        self.outbound.push(Outgoing {
            kind,
            bulk_crc,
            ..frame
        })
    }
}

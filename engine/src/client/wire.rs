//! One blocking connection of a client to one core of one node.
//!
//! - Every wait ends at the deadline it was given.
//! - After an error the connection is of no further use: drop it.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use net::frame::{BadHead, Codec, FrameError, Kind};
use net::handshake::{Hello, Welcome};
use net::inbound::Inbound;
use net::limits::{CLIENT_BULK_BYTES_MAX, FrameLimits, MIB};
use net::outbound::Outbound;
use net::pool::{Pool, PoolExhausted};
use net::refusal::Refusal;
use net::transport::{Frame, Outgoing, SendError};
use raft::ids::Time;

use crate::clock::SystemClock;

/// Room for one frame on its way and some that the caller keeps.
const POOL_BYTES: usize = 16 * MIB;
const QUEUE_BYTES: usize = 2 * CLIENT_BULK_BYTES_MAX;
const QUEUE_FRAMES: usize = 64;
const SLICES: usize = 8;

/// Why a connection is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The system reports that it is broken, or the deadline passed (`TimedOut`, `WouldBlock`).
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// What arrived is not a frame.
    #[error("what arrived is not a frame: {0}")]
    Frame(#[from] FrameError),
    /// What arrived is a frame, but not what belongs here.
    #[error("the other end does not keep to the protocol")]
    Protocol,
    /// The other end said why it ends the connection.
    #[error("the node refuses: {0}")]
    Refused(Refusal),
    /// The caller keeps more replies than there is memory for.
    #[error("all receive buffers are in use")]
    PoolExhausted(#[from] PoolExhausted),
    /// More was queued than fits.
    #[error("the queue is full")]
    QueueFull,
}

impl From<BadHead> for WireError {
    fn from(_: BadHead) -> Self {
        Self::Protocol
    }
}

impl From<SendError> for WireError {
    fn from(_: SendError) -> Self {
        Self::QueueFull
    }
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    inbound: Inbound,
    outbound: Outbound,
    welcome: Welcome,
}

impl Wire {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// Everything `WireError` names.
    pub fn connect(address: SocketAddr, cluster: u64, deadline: Time) -> Result<Self, WireError> {
        let stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
        stream.set_nodelay(true)?;
        let hello = Hello::from_client(cluster, Codec::None);
        let mut outbound =
            Outbound::new(cluster, FrameLimits::HANDSHAKE, QUEUE_BYTES, QUEUE_FRAMES);
        outbound.push(hello.encode())?;
        let inbound = Inbound::new(Pool::new(POOL_BYTES), FrameLimits::HANDSHAKE, cluster);
        let nobody = Welcome {
            version: 0,
            codec: Codec::None,
            core: 0,
            cores: 0,
            node: 0,
            cluster,
            incarnation: 0,
            layout_digest: 0,
        };
        let mut wire = Self {
            stream,
            inbound,
            outbound,
            welcome: nobody,
        };
        wire.flush(deadline)?;
        let frame = wire.receive(deadline)?;
        if frame.kind != Kind::WELCOME {
            return Err(WireError::Protocol);
        }
        let welcome = Welcome::decode(&frame.head)?;
        welcome.check(&hello).map_err(WireError::Refused)?;
        wire.outbound.agree(
            welcome.version,
            welcome.codec,
            FrameLimits::CLIENT,
            QUEUE_BYTES,
        );
        wire.inbound
            .set_limits(FrameLimits::CLIENT, Pool::new(POOL_BYTES));
        wire.welcome = welcome;
        Ok(wire)
    }

    /// What the node said about itself.
    #[must_use]
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// The socket, for whoever tests what becomes of those that misbehave.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Queues a frame; `flush` sends it.
    ///
    /// # Errors
    /// `QueueFull`.
    pub fn push(&mut self, frame: Outgoing) -> Result<(), WireError> {
        Ok(self.outbound.push(frame)?)
    }

    /// Sends what was queued.
    ///
    /// # Errors
    /// `Io`.
    pub fn flush(&mut self, deadline: Time) -> Result<(), WireError> {
        while !self.outbound.is_empty() {
            self.stream.set_write_timeout(Some(left(deadline)?))?;
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.outbound.slices(&mut slices);
            let written = self.stream.write_vectored(&slices[..count])?;
            if written == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            self.outbound.wrote(written);
        }
        Ok(())
    }

    /// The next frame.
    ///
    /// # Errors
    /// Everything `WireError` names; a GOODBYE is `Refused`.
    pub fn receive(&mut self, deadline: Time) -> Result<Frame, WireError> {
        loop {
            if let Some(frame) = self.inbound.next_frame()? {
                if frame.kind == Kind::GOODBYE {
                    return Err(WireError::Refused(Refusal::decode(&frame.head)?));
                }
                return Ok(frame);
            }
            self.stream.set_read_timeout(Some(left(deadline)?))?;
            let count = self.stream.read(self.inbound.space()?)?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.inbound.filled(count, SystemClock.now().0);
        }
    }
}

/// Until the deadline; at least a microsecond, since zero would mean for ever.
fn left(deadline: Time) -> io::Result<Duration> {
    match deadline.since(SystemClock.now()) {
        0 => Err(io::ErrorKind::TimedOut.into()),
        nanos => Ok(Duration::from_nanos(nanos.max(1000))),
    }
}

//! A client's connection over a socket: blocking for tools, non-blocking for load generators that poll many.
//!
//! - One thread, one connection at a time: nothing is shared, nothing runs in the background.
//! - A blocking call ends when its time is up, however many system calls it takes; the clock is an argument, which
//!   also stamps what arrives. Under a clock that stands still each system call has the whole time.
//! - After an error the connection is of no further use; whether the last request was carried out is not known.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::frame::Codec;
use crate::handshake::Welcome;
use crate::inspect::InspectHead;
use crate::pool::Pool;
use crate::request::RequestHead;
use crate::session::{Session, SessionError};
use crate::transport::{Frame, SendError};

/// Pieces handed to one system call.
const SLICES: usize = 16;

/// Why a call on a connection failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The session is over.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The node closed the connection without a word.
    #[error("the node closed the connection")]
    Closed,
    /// Nothing came in time. The connection can be used on.
    #[error("no answer in time")]
    TimedOut,
    /// The queue is full: receive replies first.
    #[error("the send queue is full")]
    Busy,
    /// All receive buffers are held by replies: drop some.
    #[error("all receive buffers are held by replies")]
    Starved,
}

impl From<SendError> for ClientError {
    fn from(error: SendError) -> ClientError {
        match error {
            SendError::Busy => ClientError::Busy,
            SendError::Closed => ClientError::Closed,
        }
    }
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The cluster that is meant; any other refuses.
    pub cluster: u64,
    /// How to pack bulk in both directions.
    pub codec: Codec,
    /// How long connecting with its handshake may take, and sending one request.
    pub timeout: Duration,
    /// Measures the time that is left and stamps received frames, in ns; monotonic.
    pub clock: fn() -> u64,
    /// Receive buffers; may be shared by the connections of a thread.
    pub pool: Pool,
}

impl ClientOptions {
    /// No compression, five seconds, stamps of 0, a pool of its own.
    pub fn new(cluster: u64) -> ClientOptions {
        ClientOptions {
            cluster,
            codec: Codec::None,
            timeout: Duration::from_secs(5),
            clock: || 0,
            pool: Pool::new(Session::POOL_BYTES),
        }
    }
}

/// A connection to one core of a node, its handshake done.
#[derive(Debug)]
pub struct ClientConnection {
    stream: TcpStream,
    session: Session,
    clock: fn() -> u64,
    /// How long sending may take.
    timeout: Duration,
    /// What the socket was told last, to spare a system call per reply.
    read_timeout: Duration,
    write_timeout: Duration,
    /// Whether the node has closed its side.
    is_ended: bool,
}

impl ClientConnection {
    /// Connects and shakes hands.
    pub fn connect(
        address: SocketAddr,
        cluster: u64,
        timeout: Duration,
    ) -> Result<ClientConnection, ClientError> {
        ClientConnection::connect_with(
            address,
            ClientOptions {
                timeout,
                ..ClientOptions::new(cluster)
            },
        )
    }

    /// As [`ClientConnection::connect`], with everything said.
    pub fn connect_with(
        address: SocketAddr,
        options: ClientOptions,
    ) -> Result<ClientConnection, ClientError> {
        let began = (options.clock)();
        let stream = TcpStream::connect_timeout(&address, options.timeout)?;
        stream.set_nodelay(true)?;
        let session = Session::new(options.cluster, options.codec, options.pool);
        let mut connection = ClientConnection {
            stream,
            session,
            clock: options.clock,
            timeout: options.timeout,
            read_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
            is_ended: false,
        };
        let deadline = began.saturating_add(nanos(options.timeout));
        connection.flush_until(deadline)?;
        while connection.session.welcome().is_none() {
            // A node that refuses says so before it closes: look before giving up.
            if connection.session.next_frame()?.is_none() && connection.session.welcome().is_none()
            {
                connection.read_until(deadline)?;
            }
        }
        Ok(connection)
    }

    /// How long sending may take from here on.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Who answered.
    pub fn welcome(&self) -> &Welcome {
        self.session
            .welcome()
            .expect("a connection is given out with its handshake done")
    }

    /// The socket, for whoever tests what becomes of those that misbehave.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a request, blocking. `bulk` is lent; `crc` is the CRC-32 over its pieces in order.
    pub fn send(
        &mut self,
        head: &RequestHead,
        bulk: &[Bytes],
        crc: u32,
    ) -> Result<(), ClientError> {
        self.queue(head, bulk, crc)?;
        self.flush()
    }

    /// Queues a request as [`ClientConnection::send`] does; `flush` sends it, with all others that were queued.
    pub fn queue(
        &mut self,
        head: &RequestHead,
        bulk: &[Bytes],
        crc: u32,
    ) -> Result<(), ClientError> {
        Ok(self.session.request(head, bulk, crc)?)
    }

    /// Sends what was queued, blocking.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.flush_until((self.clock)().saturating_add(nanos(self.timeout)))
    }

    /// Sends a question about the node, blocking.
    pub fn ask(&mut self, head: &InspectHead) -> Result<(), ClientError> {
        self.session.inspect(head)?;
        self.flush()
    }

    /// Receives the next reply or report, blocking.
    pub fn receive(&mut self, timeout: Duration) -> Result<Frame, ClientError> {
        let deadline = (self.clock)().saturating_add(nanos(timeout));
        loop {
            match self.session.next_frame()? {
                Some(frame) => return Ok(frame),
                None => self.read_until(deadline)?,
            }
        }
    }

    /// Makes all that follows answer at once; use the `try_` calls then.
    pub fn set_nonblocking(&mut self, nonblocking: bool) -> Result<(), ClientError> {
        Ok(self.stream.set_nonblocking(nonblocking)?)
    }

    /// Queues a request and writes what the socket takes.
    pub fn try_send(
        &mut self,
        head: &RequestHead,
        bulk: &[Bytes],
        crc: u32,
    ) -> Result<(), ClientError> {
        self.session.request(head, bulk, crc)?;
        self.try_flush().map(|_| ())
    }

    /// Writes what the socket takes; answers whether everything was written. If not, wait until it is writable.
    pub fn try_flush(&mut self) -> Result<bool, ClientError> {
        match self.write() {
            Ok(()) => Ok(true),
            Err(ClientError::TimedOut) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// The next reply or report, if it is there. `None`: wait until the socket is readable.
    pub fn try_receive(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            if let Some(frame) = self.session.next_frame()? {
                return Ok(Some(frame));
            }
            match self.read() {
                Ok(()) => {}
                Err(ClientError::TimedOut) => {
                    self.session.inbound.rest();
                    return Ok(None);
                }
                Err(other) => return Err(other),
            }
        }
    }

    fn flush_until(&mut self, deadline: u64) -> Result<(), ClientError> {
        while !self.session.outbound.is_empty() {
            let left = left(self.clock, deadline)?;
            if self.write_timeout != left {
                self.stream.set_write_timeout(Some(left))?;
                self.write_timeout = left;
            }
            self.write_once()?;
        }
        self.sent();
        Ok(())
    }

    fn read_until(&mut self, deadline: u64) -> Result<(), ClientError> {
        let left = left(self.clock, deadline)?;
        if self.read_timeout != left {
            self.stream.set_read_timeout(Some(left))?;
            self.read_timeout = left;
        }
        self.read()
    }

    fn write(&mut self) -> Result<(), ClientError> {
        while !self.session.outbound.is_empty() {
            self.write_once()?;
        }
        self.sent();
        Ok(())
    }

    fn write_once(&mut self) -> Result<(), ClientError> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.session.outbound.slices(&mut slices);
        match self.stream.write_vectored(&slices[..count]) {
            Ok(0) => Err(ClientError::Closed),
            Ok(written) => {
                self.session.outbound.wrote(written);
                Ok(())
            }
            Err(error) if is_wait(error.kind()) => Err(ClientError::TimedOut),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(self.last_words(error)),
        }
    }

    /// Nobody asks when a client's frames have left.
    fn sent(&mut self) {
        while self.session.outbound.next_sent().is_some() {}
    }

    fn read(&mut self) -> Result<(), ClientError> {
        if self.is_ended {
            return Err(ClientError::Closed);
        }
        let space = self
            .session
            .inbound
            .space()
            .map_err(|_| ClientError::Starved)?;
        match self.stream.read(space) {
            Ok(0) => {
                self.is_ended = true;
                Err(ClientError::Closed)
            }
            Ok(count) => {
                self.session.inbound.filled(count, (self.clock)());
                Ok(())
            }
            Err(error) if is_wait(error.kind()) => Err(ClientError::TimedOut),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A write failed: the node may have said why before it closed.
    fn last_words(&mut self, error: std::io::Error) -> ClientError {
        while self.read().is_ok() {
            if let Err(told) = self.session.next_frame() {
                return told.into();
            }
        }
        error.into()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Until the deadline; at least a microsecond, since zero would mean for ever.
fn left(clock: fn() -> u64, deadline: u64) -> Result<Duration, ClientError> {
    match deadline.saturating_sub(clock()) {
        0 => Err(ClientError::TimedOut),
        nanos => Ok(Duration::from_nanos(nanos.max(1000))),
    }
}

/// A socket that cannot go on at once says one or the other, depending on whether it blocks.
fn is_wait(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl AsRawFd for ClientConnection {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl AsFd for ClientConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

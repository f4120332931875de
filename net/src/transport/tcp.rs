//! The portable network of a core: TCP over epoll, on the core's own thread.
//!
//! - It only moves bytes and carries out orders; who is there and what is allowed is the endpoint's business.
//! - Readiness is told once and remembered: what was not finished in one poll goes on in the next.
//! - One connection takes at most `read_bytes_per_poll_max` of a poll, all together `poll_bytes_max`: turns stay short
//!   and the others get theirs.
//! - Waiting ends with a socket, the waker, a due tick, or the timeout; nothing else runs meanwhile.
//!
//! One per core. Hot path.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;

use crate::config::{ConfigError, TransportConfig};
use crate::counters::Counters;
use crate::endpoint::{Endpoint, Order};
use crate::refusal::Refusal;
use crate::transport::{ConnectionId, Event, Outgoing, SendError, Transport};

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
/// Readiness events taken at once.
const EVENTS: usize = 1024;
/// Pieces handed to one system call.
const SLICES: usize = 64;
/// Connections accepted in one poll.
const ACCEPTS_PER_POLL: usize = 64;
/// Pause while receive buffers are wanting, or the listener fails: nothing tells when that is over.
const RETRY_NS: u64 = 1_000_000;
/// A silent remote is probed by the kernel from here on.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why a transport could not be started.
#[derive(Debug, Error)]
pub enum TcpError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The kernel gives no poll or waker.
    #[error("cannot set up polling: {0}")]
    Poll(#[from] io::Error),
}

/// The portable network of a core.
#[derive(Debug)]
pub struct TcpTransport {
    endpoint: Endpoint,
    clock: fn() -> u64,
    poll: Poll,
    polled: Events,
    waker: Arc<Waker>,
    listener: TcpListener,
    local_addr: SocketAddr,
    /// By slot of the connection.
    sockets: Vec<Option<Socket>>,
    /// Connections that may be read: the kernel said so and was not read empty since.
    readable: VecDeque<ConnectionId>,
    /// Connections the kernel takes bytes for again.
    writable: Vec<ConnectionId>,
    /// Connections to read again when a buffer may be free.
    starved: Vec<ConnectionId>,
    is_acceptable: bool,
    retry_at: Option<u64>,
    /// Whether a wait has just looked at the sockets.
    is_fresh: bool,
}

#[derive(Debug)]
struct Socket {
    id: ConnectionId,
    stream: TcpStream,
    is_connecting: bool,
    /// Whether the kernel ever said that it can be written: while connecting, that it is connected or failed.
    is_writable: bool,
    /// Whether the remote's end, or an error, waits behind what can be read.
    is_ended: bool,
    /// Whether it is in `readable` or `starved`.
    is_listed: bool,
}

impl TcpTransport {
    /// Listens where `config` says and begins to dial. `clock` is monotonic, in ns, and stamps frames and timeouts.
    pub fn bind(config: TransportConfig, clock: fn() -> u64) -> Result<TcpTransport, TcpError> {
        let address = config.listen;
        let listener = std::net::TcpListener::bind(address)
            .map_err(|source| TcpError::Listen { address, source })?;
        TcpTransport::on(listener, config, clock)
    }

    /// As [`TcpTransport::bind`], on a socket that listens already.
    pub fn on(
        listener: std::net::TcpListener,
        config: TransportConfig,
        clock: fn() -> u64,
    ) -> Result<TcpTransport, TcpError> {
        let endpoint = Endpoint::new(config, clock())?;
        listener.set_nonblocking(true)?;
        let local_addr = listener.local_addr()?;
        let mut listener = TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(TcpTransport {
            endpoint,
            clock,
            poll,
            polled: Events::with_capacity(EVENTS),
            waker,
            listener,
            local_addr,
            sockets: Vec::new(),
            readable: VecDeque::new(),
            writable: Vec::new(),
            starved: Vec::new(),
            is_acceptable: true,
            retry_at: None,
            is_fresh: false,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Ends a `wait` from any thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// Flushes, then sleeps until a socket is ready, the waker rings, something is due, or `timeout` has passed; not
    /// at all while events are to be polled.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let now = (self.clock)();
        let sleep = match self.flush_and_rest(now) {
            None => Some(Duration::ZERO),
            Some(u64::MAX) => timeout,
            Some(due) => {
                let until_due = Duration::from_nanos(due.saturating_sub(now));
                Some(timeout.map_or(until_due, |timeout| timeout.min(until_due)))
            }
        };
        self.look(sleep)?;
        self.is_fresh = true;
        Ok(())
    }

    /// For those who sleep on the descriptor of this transport: flushes, then says when to poll again at the latest,
    /// `u64::MAX` for never. `None`: at once, there is more than the descriptor tells.
    pub fn rest(&mut self) -> Option<u64> {
        self.flush_and_rest((self.clock)())
    }

    fn flush_and_rest(&mut self, now: u64) -> Option<u64> {
        self.carry_out_orders(now);
        let can_accept = self.is_acceptable && self.retry_at.is_none();
        if can_accept || !self.readable.is_empty() || self.endpoint.has_events() {
            return None;
        }
        let retry_at = self.retry_at.unwrap_or(u64::MAX);
        Some(self.endpoint.next_tick_at().min(retry_at))
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        self.endpoint.counters()
    }

    /// The endpoint, for reports.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// `node` is found at another address from the next dial on.
    pub fn moved(&mut self, node: u32, address: SocketAddr) {
        self.endpoint.moved(node, address);
    }

    /// Ends a connection with a word why.
    pub fn close_because(&mut self, connection: ConnectionId, why: Refusal) {
        self.endpoint.close(connection, why);
    }

    /// Says goodbye to all and dials no more. Poll on until `is_quiet` to let the words leave.
    pub fn shut_down(&mut self) {
        self.endpoint.close_all(Refusal::ShuttingDown);
    }

    /// Whether no connection is left.
    pub fn is_quiet(&self) -> bool {
        self.sockets.iter().all(Option::is_none)
    }

    /// Asks the kernel which sockets are ready and notes it.
    fn look(&mut self, sleep: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.polled, sleep) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in &self.polled {
            match event.token() {
                LISTENER => self.is_acceptable = true,
                WAKER => {}
                Token(id) => {
                    let id = ConnectionId(id as u64);
                    let Some(socket) = socket_of(&mut self.sockets, id) else {
                        continue;
                    };
                    if event.is_writable() || event.is_error() {
                        socket.is_writable = true;
                        self.writable.push(id);
                    }
                    socket.is_ended |= event.is_read_closed() || event.is_error();
                    if event.is_readable() || socket.is_ended {
                        list(socket, &mut self.readable);
                    }
                }
            }
        }
        let now = (self.clock)();
        while let Some(id) = self.writable.pop() {
            self.write(id, now);
        }
        Ok(())
    }

    fn accept(&mut self, now: u64) {
        for _ in 0..ACCEPTS_PER_POLL {
            match self.listener.accept() {
                Ok((stream, from)) => match self.endpoint.accept(Some(from.ip()), now) {
                    Ok(id) => self.keep(id, stream, false, now),
                    Err(refusal) => say(stream, refusal, self.endpoint.house().identity.cluster),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_acceptable = false;
                    return;
                }
                // The remote has gone already.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                // Out of descriptors or memory: try again in a while.
                Err(_) => {
                    self.retry_at = Some(now + RETRY_NS);
                    return;
                }
            }
        }
    }

    fn keep(&mut self, id: ConnectionId, mut stream: TcpStream, is_connecting: bool, now: u64) {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(id.0 as usize);
        if self
            .poll
            .registry()
            .register(&mut stream, token, interest)
            .is_err()
            || settle(&stream).is_err()
        {
            self.endpoint.lost(id, now);
            return;
        }
        let slot = id.slot();
        if self.sockets.len() <= slot {
            self.sockets.resize_with(slot + 1, || None);
        }
        let socket = Socket {
            id,
            stream,
            is_connecting,
            is_writable: false,
            is_ended: false,
            is_listed: false,
        };
        self.sockets[slot] = Some(socket);
    }

    fn carry_out_orders(&mut self, now: u64) {
        while let Some(order) = self.endpoint.next_order() {
            match order {
                Order::Dial(id, address) => match TcpStream::connect(address) {
                    Ok(stream) => self.keep(id, stream, true, now),
                    Err(_) => self.endpoint.lost(id, now),
                },
                Order::Write(id) => self.write(id, now),
                Order::Shutdown(id) => {
                    if let Some(socket) = socket_of(&mut self.sockets, id)
                        && socket.stream.shutdown(Shutdown::Write).is_err()
                    {
                        self.lose(id, now);
                    }
                }
                Order::Close(id) => self.forget(id),
            }
        }
    }

    /// Writes until the queue is empty or the kernel takes no more.
    fn write(&mut self, id: ConnectionId, now: u64) {
        let Some(socket) = socket_of(&mut self.sockets, id) else {
            return;
        };
        if socket.is_connecting {
            if !socket.is_writable {
                return;
            }
            match (socket.stream.take_error(), socket.stream.peer_addr()) {
                (Ok(None), Ok(_)) => socket.is_connecting = false,
                (Ok(None), Err(error)) if error.kind() == ErrorKind::NotConnected => {
                    socket.is_writable = false;
                    return;
                }
                _ => return self.lose(id, now),
            }
        }
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.endpoint.slices(id, &mut slices);
            if count == 0 {
                return;
            }
            match socket.stream.write_vectored(&slices[..count]) {
                Ok(0) => return self.lose(id, now),
                Ok(written) => self.endpoint.wrote(id, written, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What the remote said before it closed may still be there to read.
                Err(_) => return list(socket, &mut self.readable),
            }
        }
    }

    /// Reads until the socket is empty, its share of the poll is used, or no buffer is free.
    fn read(&mut self, id: ConnectionId, now: u64) {
        let Some(socket) = socket_of(&mut self.sockets, id) else {
            return;
        };
        socket.is_listed = false;
        let share = self.endpoint.house().limits.read_bytes_per_poll_max;
        let mut taken = 0;
        loop {
            let Ok(space) = self.endpoint.space(id) else {
                self.endpoint.resume(id, now);
                socket.is_listed = true;
                self.starved.push(id);
                return;
            };
            let asked = space.len();
            match socket.stream.read(space) {
                Ok(0) => return self.lose(id, now),
                Ok(count) => {
                    // Read anew: a long frame takes longer than a turn should be blurred by.
                    self.endpoint.filled(id, count, (self.clock)());
                    taken += count;
                    // A short read has emptied the socket; the kernel tells when there is more, but not that an end
                    // it told before is next.
                    if count < asked && !socket.is_ended {
                        return self.endpoint.rest(id);
                    }
                    if taken >= share {
                        return list(socket, &mut self.readable);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.endpoint.rest(id);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.lose(id, now),
            }
        }
    }

    fn lose(&mut self, id: ConnectionId, now: u64) {
        self.forget(id);
        self.endpoint.lost(id, now);
    }

    /// Dropping a socket closes it and ends its registration.
    fn forget(&mut self, id: ConnectionId) {
        if let Some(slot) = self.sockets.get_mut(id.slot()) {
            drop(slot.take_if(|socket| socket.id == id));
        }
    }
}

/// Readable when a socket is ready or the waker rang.
impl AsRawFd for TcpTransport {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

impl Transport for TcpTransport {
    fn poll(&mut self, events: &mut Vec<Event>) {
        if !std::mem::take(&mut self.is_fresh) {
            // What a look may fail with here (a signal apart) is a broken descriptor: our bug.
            self.look(Some(Duration::ZERO))
                .expect("a poll that was set up can be polled");
        }
        let now = (self.clock)();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
        if self.is_acceptable && self.retry_at.is_none() {
            self.accept(now);
        }
        for id in std::mem::take(&mut self.starved) {
            self.readable.push_back(id);
        }
        let enough = self.endpoint.counters().bytes_received
            + self.endpoint.house().limits.poll_bytes_max as u64;
        for _ in 0..self.readable.len() {
            // Whoever is left is first in line next time.
            if self.endpoint.counters().bytes_received >= enough {
                break;
            }
            let id = self.readable.pop_front().expect("counted above");
            self.read(id, now);
        }
        if !self.starved.is_empty() {
            self.retry_at = Some(now + RETRY_NS);
        }
        self.endpoint.tick(now);
        self.carry_out_orders(now);
        self.endpoint.drain_events(events);
    }

    fn offer(&mut self, to: ConnectionId, frame: &mut Outgoing) -> Result<(), SendError> {
        self.endpoint.offer(to, frame)
    }

    fn flush(&mut self) {
        self.carry_out_orders((self.clock)());
    }

    fn close(&mut self, connection: ConnectionId) {
        self.endpoint.close(connection, Refusal::ShuttingDown);
    }

    fn spare(&mut self) -> Outgoing {
        self.endpoint.spare()
    }

    fn counters(&self) -> Counters {
        self.endpoint.counters().clone()
    }
}

fn socket_of(sockets: &mut [Option<Socket>], id: ConnectionId) -> Option<&mut Socket> {
    sockets
        .get_mut(id.slot())?
        .as_mut()
        .filter(|socket| socket.id == id)
}

fn list(socket: &mut Socket, readable: &mut VecDeque<ConnectionId>) {
    if !socket.is_listed {
        socket.is_listed = true;
        readable.push_back(socket.id);
    }
}

/// Small frames leave at once, and a remote that vanished is found out.
fn settle(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE / 6),
    )
}

/// A last word to someone for whom there is no place: as much as fits into an empty socket buffer, which it does.
fn say(mut stream: TcpStream, refusal: Refusal, cluster: u64) {
    let bytes = refusal.to_bytes(cluster);
    // Whoever has gone already is not told.
    let _ = stream.write(&bytes);
    let _ = stream.shutdown(Shutdown::Write);
}

//! The sockets of one core, shared by its shard, which polls and sends, and by the driver, which sleeps on them.
//!
//! - One thread, one borrow at a time: neither calls the other.

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mio::Waker;
use net::counters::Counters;
use net::transport::tcp::{TcpError, TcpTransport};
use net::transport::{ConnectionId, Event, Outgoing, SendError, Transport};
use raft::ids::Time;

use crate::clock::SystemClock;
use crate::driver::Seat;
use crate::error::EngineError;

/// The network of a core.
#[derive(Clone)]
pub(super) struct Sockets(Rc<RefCell<TcpTransport>>);

impl Sockets {
    /// Takes the listener over; whom to dial is in the seat.
    pub(super) fn open(listener: TcpListener, seat: &Seat) -> Result<Self, EngineError> {
        let core = seat.core;
        let tcp = TcpTransport::on(listener, seat.network.clone(), || SystemClock.now().0);
        let tcp = tcp.map_err(|error| match error {
            TcpError::Config(source) => EngineError::Network { core, source },
            TcpError::Listen { address, source } => EngineError::Listen {
                core,
                address,
                source,
            },
            TcpError::Poll(source) => EngineError::Start { core, source },
        })?;
        Ok(Self(Rc::new(RefCell::new(tcp))))
    }

    /// Ends a wait from any thread.
    pub(super) fn waker(&self) -> Arc<Waker> {
        self.0.borrow().waker()
    }

    /// Sleeps until there is news, or so long.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.borrow_mut().wait(timeout)
    }

    /// When to poll again at the latest, although the descriptor tells nothing; `None`: at once.
    pub(super) fn rest(&self) -> Option<Time> {
        self.0.borrow_mut().rest().map(Time)
    }

    /// Says goodbye to all; the words leave as far as the kernel takes them at once.
    pub(super) fn shut_down(&self) {
        let mut tcp = self.0.borrow_mut();
        tcp.shut_down();
        tcp.flush();
    }
}

/// Readable when there is news.
impl AsRawFd for Sockets {
    fn as_raw_fd(&self) -> RawFd {
        self.0.borrow().as_raw_fd()
    }
}

impl Transport for Sockets {
    fn poll(&mut self, events: &mut Vec<Event>) {
        self.0.borrow_mut().poll(events);
    }

    fn send(&mut self, to: ConnectionId, frame: Outgoing) -> Result<(), SendError> {
        self.0.borrow_mut().send(to, frame)
    }

    fn flush(&mut self) {
        self.0.borrow_mut().flush();
    }

    fn close(&mut self, connection: ConnectionId) {
        self.0.borrow_mut().close(connection);
    }

    fn spare(&mut self) -> Outgoing {
        self.0.borrow_mut().spare()
    }

    fn counters(&self) -> Counters {
        self.0.borrow().counters().clone()
    }
}

//! The network of one core: its sockets, and its hatch where the node has a door; shared by its shard, which polls and sends,
//! and by the driver, which sleeps on them.
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
use crate::driver::hatch::{CONNECTION, Counter, Hatch};
use crate::driver::wake::Wake;
use crate::error::EngineError;

/// The network of a core.
#[derive(Clone)]
pub(super) struct Sockets {
    tcp: Rc<RefCell<TcpTransport>>,
    counter: Option<Rc<RefCell<Counter>>>,
}

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
        Ok(Self {
            tcp: Rc::new(RefCell::new(tcp)),
            counter: None,
        })
    }

    /// From here on questions come through the hatch as well; `wake` ends a sleep.
    pub(super) fn open_hatch(&mut self, seat: &Seat, wake: &Wake) {
        let counter = |hatch: &Hatch| Counter::of(hatch.clone(), wake.clone());
        let counter = seat.hatch.as_ref().map(counter);
        self.counter = counter.map(|counter| Rc::new(RefCell::new(counter)));
    }

    /// True when the hatch has nothing for a core that goes to sleep.
    fn may_sleep(&self) -> bool {
        let counter = self.counter.as_ref();
        counter.is_none_or(|counter| counter.borrow().may_sleep())
    }

    /// Ends a wait from any thread.
    pub(super) fn waker(&self) -> Arc<Waker> {
        self.tcp.borrow().waker()
    }

    /// Sleeps until there is news, or so long.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = if self.may_sleep() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        self.tcp.borrow_mut().wait(timeout)
    }

    /// When to poll again at the latest, although the descriptor tells nothing; `None`: at once.
    pub(super) fn rest(&self) -> Option<Time> {
        let due = self.tcp.borrow_mut().rest().map(Time)?;
        self.may_sleep().then_some(due)
    }

    /// Says goodbye to all; the words leave as far as the kernel takes them at once.
    pub(super) fn shut_down(&self) {
        let mut tcp = self.tcp.borrow_mut();
        tcp.shut_down();
        tcp.flush();
    }
}

/// Readable when there is news.
impl AsRawFd for Sockets {
    fn as_raw_fd(&self) -> RawFd {
        self.tcp.borrow().as_raw_fd()
    }
}

impl Transport for Sockets {
    fn poll(&mut self, events: &mut Vec<Event>) {
        self.tcp.borrow_mut().poll(events);
        if let Some(counter) = &self.counter {
            counter.borrow_mut().poll(events);
        }
    }

    fn offer(&mut self, to: ConnectionId, frame: &mut Outgoing) -> Result<(), SendError> {
        match &self.counter {
            Some(counter) if to == CONNECTION => {
                counter.borrow_mut().send(std::mem::take(frame));
                Ok(())
            }
            _ => self.tcp.borrow_mut().offer(to, frame),
        }
    }

    fn flush(&mut self) {
        self.tcp.borrow_mut().flush();
        if let Some(counter) = &self.counter {
            counter.borrow_mut().flush(|| SystemClock.now());
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        // The hatch stays open: what is not answered is asked again.
        self.tcp.borrow_mut().close(connection);
    }

    fn spare(&mut self) -> Outgoing {
        self.tcp.borrow_mut().spare()
    }

    fn counters(&self) -> Counters {
        self.tcp.borrow().counters().clone()
    }
}

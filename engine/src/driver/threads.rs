//! The portable driver: one plain thread per core, asleep in epoll until a socket, the disk or an instant wakes it.
//!
//! - For machines that bar io_uring, and for systems that have none.
//! - No wake-up is lost: the waker is a counter in the kernel, and while the transport holds events that
//!   a turn itself caused it does not sleep.

use std::cell::RefCell;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use net::transport::tcp::{TcpError, TcpTransport};
use net::transport::{ConnectionId, Event, Outgoing, SendError, Transport};

use crate::clock::SystemClock;
use crate::driver::wake::Wake;
use crate::driver::{Build, Doors, Next, Seat, Turn};
use crate::error::EngineError;

/// The network of a core, shared by its shard and the loop that waits for it.
struct SharedTransport(Rc<RefCell<TcpTransport>>);

impl Transport for SharedTransport {
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
}

/// Runs a core until `stop` is set and its wake pulled.
pub(crate) fn run<B: Build>(
    seat: Seat,
    listener: TcpListener,
    build: B,
    stop: &AtomicBool,
    started: impl FnOnce(Wake),
) -> Result<(), EngineError> {
    let core = seat.core;
    if let Some(cpu) = seat.cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
    {
        return Err(EngineError::Pin { core, cpu });
    }
    let address = seat.network.listen;
    let tcp = TcpTransport::on(listener, seat.network, || SystemClock.now().0);
    let tcp = tcp.map_err(|error| match error {
        TcpError::Config(source) => EngineError::Network { core, source },
        TcpError::Listen { source, .. } => EngineError::Listen {
            core,
            address,
            source,
        },
        TcpError::Poll(source) => EngineError::Start { core, source },
    })?;
    let waker = tcp.waker();
    let wake = Wake::new(Arc::new(move || {
        // It fails only when the counter in the kernel is at its end: then the core wakes in any case.
        let _ = waker.wake();
    }));
    let tcp = Rc::new(RefCell::new(tcp));
    let transport = SharedTransport(Rc::clone(&tcp));
    let mut shard = build.build(Doors {
        core,
        transport,
        wake: wake.clone(),
    })?;
    started(wake);
    while !stop.load(Ordering::Acquire) {
        let next = shard.turn(SystemClock);
        let timeout = match next {
            Next::Stop => return Err(EngineError::LogFailed { core }),
            Next::Again => continue,
            Next::Wait(None) => None,
            Next::Wait(Some(until)) => Some(Duration::from_nanos(until.since(SystemClock.now()))),
        };
        let waited = tcp.borrow_mut().wait(timeout);
        waited.map_err(|source| EngineError::Start { core, source })?;
    }
    let mut tcp = tcp.borrow_mut();
    tcp.shut_down();
    // The words leave as far as the kernel takes them at once.
    tcp.flush();
    Ok(())
}

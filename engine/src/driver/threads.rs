//! The portable driver: one plain thread per core, asleep in epoll until a socket, the disk or an instant wakes it.
//!
//! - For machines that bar io_uring, and for systems that have none.
//! - No wake-up is lost: the waker is a counter in the kernel, and while the transport holds events that
//!   a turn itself caused it does not sleep.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::SystemClock;
use crate::driver::sockets::Sockets;
use crate::driver::wake::Wake;
use crate::driver::wakeful::Wakeful;
use crate::driver::{Build, Doors, Next, Seat, Turn};
use crate::error::EngineError;

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
    let mut sockets = Sockets::open(listener, &seat)?;
    let mut wakeful = Wakeful::new(seat.awake_ns);
    let waker = sockets.waker();
    let wake = Wake::new(Arc::new(move || {
        // It fails only when the counter in the kernel is at its end: then the core wakes in any case.
        let _ = waker.wake();
    }));
    sockets.open_hatch(&seat, &wake);
    let mut shard = build.build(Doors {
        core,
        transport: sockets.clone(),
        wake: wake.clone(),
    })?;
    started(wake);
    while !stop.load(Ordering::Acquire) {
        let next = shard.turn(SystemClock);
        if shard.has_stirred() {
            wakeful.stirred(SystemClock.now());
        }
        let timeout = match next {
            Next::Stop => return Err(EngineError::LogFailed { core }),
            Next::Again => {
                Wakeful::give_way();
                continue;
            }
            Next::Wait(until) if wakeful.looks_again(until) => continue,
            Next::Wait(None) => None,
            Next::Wait(Some(until)) => Some(Duration::from_nanos(until.since(SystemClock.now()))),
        };
        sockets
            .wait(timeout)
            .map_err(|source| EngineError::Start { core, source })?;
    }
    sockets.shut_down();
    Ok(())
}

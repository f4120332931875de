//! The io_uring driver: one pinned glommio executor per core, whose tasks read sockets while the shard's task takes turns.
//!
//! ```text
//!   sockets --> read tasks --+--> inbox --> bell --> shard's task: turn, turn, .. rest
//!   log's ring, stop ------> wake task -----> bell ----^               |
//!   redial, timeouts ------> upkeep task ---> bell                     +--> write at once; a full
//!                                                                          socket's write task goes on
//! ```
//!
//! - The executor sleeps in one system call for everything; the log's own ring wakes it through a socket.
//! - No wake-up is lost: the bell is silenced before a turn looks at its doors, never after.
//! - When `run` returns every task has ended and every descriptor is closed.

mod bell;
mod rest;
mod socket;
mod transport;

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::glommio::{
    BuilderErrorKind, GlommioError, LocalExecutor, LocalExecutorBuilder, Placement,
    ReactorErrorKind, spawn_local,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::clock::SystemClock;
use crate::driver::glommio::bell::Bell;
use crate::driver::glommio::rest::Rest;
use crate::driver::wake::Wake;
use crate::driver::{Build, Doors, Next, Seat, Turn};
use crate::error::EngineError;

/// Locked memory that glommio asks for before it makes its rings.
const LOCKED_BYTES_MIN: u64 = 512 << 10;
/// Entries of each of the executor's rings: polls of sockets, one or two for each busy connection.
const RING_ENTRIES: usize = 128;
/// After so long without a pause the executor looks at its rings though tasks are ready.
const PREEMPT_AFTER: Duration = Duration::from_micros(250);
/// Wake-ups read in one call.
const WAKES_MAX: usize = 256;

/// Runs a core until `stop` is set and its wake pulled.
pub(crate) fn run<B: Build>(
    seat: Seat,
    listener: TcpListener,
    build: B,
    stop: &AtomicBool,
    started: impl FnOnce(Wake),
) -> Result<(), EngineError> {
    let core = seat.core;
    let executor = executor(&seat)?;
    executor.run(async {
        let start = |source| EngineError::Start { core, source };
        let (wake, rope) = Wake::pair().map_err(start)?;
        let bell = Rc::new(Bell::default());
        let hub = transport::Hub::new(seat.network.clone(), Rc::clone(&bell))
            .map_err(|source| EngineError::Network { core, source })?;
        let hearing = spawn_local(hear(rope, Rc::clone(&bell)));
        let doors = Doors {
            core,
            transport: hub.transport(),
            wake: wake.clone(),
        };
        let result = match build.build(doors) {
            Ok(mut shard) => match hub.open(listener) {
                Ok(()) => {
                    started(wake);
                    serve(&mut shard, &bell, stop, core).await
                }
                Err(error) => Err(start(error)),
            },
            Err(error) => Err(error),
        };
        hub.close().await;
        hearing.cancel().await;
        result
    })
}

/// Turn after turn, resting where the shard has nothing to do.
async fn serve(
    shard: &mut impl Turn,
    bell: &Bell,
    stop: &AtomicBool,
    core: u16,
) -> Result<(), EngineError> {
    let mut rest = Rest::default();
    while !stop.load(Ordering::Acquire) {
        bell.hear();
        match shard.turn(SystemClock) {
            Next::Again => ::glommio::executor().yield_now().await,
            Next::Wait(until) => rest.wait(bell, until).await,
            Next::Stop => return Err(EngineError::LogFailed { core }),
        }
    }
    Ok(())
}

/// Rings the bell for each wake-up that comes through the rope.
async fn hear(rope: OwnedFd, bell: Rc<Bell>) {
    let mut stream = socket::adopt_unix(rope);
    let mut bytes = [0; WAKES_MAX];
    while socket::read_unix(&mut stream, &mut bytes)
        .await
        .is_ok_and(|count| count > 0)
    {
        bell.ring();
    }
}

fn executor(seat: &Seat) -> Result<LocalExecutor, EngineError> {
    let core = seat.core;
    ensure_locked_memory(core)?;
    let placement = seat.cpu.map_or(Placement::Unbound, Placement::Fixed);
    let builder = LocalExecutorBuilder::new(placement)
        .name("quorate")
        // No disk is read through glommio: it gets the least it accepts.
        .io_memory(0)
        .ring_depth(RING_ENTRIES)
        .preempt_timer(PREEMPT_AFTER);
    builder.make().map_err(|error| match (error, seat.cpu) {
        (GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(limit, needed)), _) => {
            EngineError::LockedMemory {
                core,
                limit,
                needed,
            }
        }
        (GlommioError::BuilderError(BuilderErrorKind::NonExistentCpus { .. }), Some(cpu)) => {
            EngineError::Pin { core, cpu }
        }
        (GlommioError::IoError(source), _) => EngineError::Ring { core, source },
        (other, _) => EngineError::Ring {
            core,
            source: io::Error::from(other),
        },
    })
}

/// Raises the soft limit of locked memory where the hard one allows it.
fn ensure_locked_memory(core: u16) -> Result<(), EngineError> {
    let limit = getrlimit(Resource::Memlock);
    let enough = |limit: Option<u64>| limit.is_none_or(|bytes| bytes >= LOCKED_BYTES_MIN);
    if enough(limit.current) {
        return Ok(());
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if enough(limit.maximum) && setrlimit(Resource::Memlock, raised).is_ok() {
        return Ok(());
    }
    let (limit, needed) = (limit.maximum.unwrap_or(u64::MAX), LOCKED_BYTES_MIN);
    Err(EngineError::LockedMemory {
        core,
        limit,
        needed,
    })
}

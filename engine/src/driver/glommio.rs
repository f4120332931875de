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
mod rounds;
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
use crate::driver::glommio::rounds::Rounds;
use crate::driver::wake::Wake;
use crate::driver::{Build, Doors, Next, Seat, Turn};
use crate::error::EngineError;

/// Locked memory that glommio asks for before it makes its rings.
const LOCKED_BYTES_MIN: u64 = 512 << 10;
/// Entries of each of the executor's rings beyond those of connections: listener, wake socket, timers.
const RING_ENTRIES_MIN: usize = 256;
/// Most entries that the kernel gives a ring.
const RING_ENTRIES_MAX: usize = 32 << 10;
/// The executor's timer that interrupts ready tasks: never. glommio 0.9 may go to sleep over ready tasks
/// when an interruption comes after it has looked at its rings and before the first task has run; with a
/// short timer and a busy host that happens within seconds. Long-running tasks ask for `Rounds`.
const PREEMPT_AFTER: Duration = Duration::from_secs(24 * 3600);
/// A shard that always has more to do lets the executor look at its rings after so many nanoseconds.
const LOOK_AFTER: u64 = 500_000;
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
        let rounds = Rc::new(Rounds::new(wake.clone()));
        let hub = transport::Hub::new(seat.network.clone(), Rc::clone(&bell), Rc::clone(&rounds))
            .map_err(|source| EngineError::Network { core, source })?;
        let hearing = spawn_local(hear(rope, Rc::clone(&bell), Rc::clone(&rounds)));
        let doors = Doors {
            core,
            transport: hub.transport(),
            wake: wake.clone(),
        };
        let result = match build.build(doors) {
            Ok(mut shard) => match hub.open(listener) {
                Ok(()) => {
                    started(wake);
                    serve(&mut shard, &bell, &rounds, stop, core).await
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
    rounds: &Rounds,
    stop: &AtomicBool,
    core: u16,
) -> Result<(), EngineError> {
    let mut rest = Rest::default();
    let mut looked_at = SystemClock.now();
    while !stop.load(Ordering::Acquire) {
        bell.hear();
        match shard.turn(SystemClock) {
            Next::Again if SystemClock.now().since(looked_at) < LOOK_AFTER => {
                ::glommio::executor().yield_now().await;
                continue;
            }
            Next::Again => rounds.next().await,
            Next::Wait(until) => rest.wait(bell, until).await,
            Next::Stop => return Err(EngineError::LogFailed { core }),
        }
        looked_at = SystemClock.now();
    }
    Ok(())
}

/// Rings the bell for each wake-up that comes through the rope.
async fn hear(rope: OwnedFd, bell: Rc<Bell>, rounds: Rc<Rounds>) {
    let mut stream = socket::adopt_unix(rope);
    let mut bytes = [0; WAKES_MAX];
    while socket::read_unix(&mut stream, &mut bytes)
        .await
        .is_ok_and(|count| count > 0)
    {
        rounds.begin();
        bell.ring();
    }
}

/// The executor interrupts itself when as many completions as a ring has entries came in one round, with
/// the same danger as its timer: a connection has two at most, so with this size that never happens.
fn ring_entries(seat: &Seat) -> usize {
    let limits = &seat.network.limits;
    let connections = limits.clients_max + limits.handshakes_max + 3 * seat.network.peers.len();
    (2 * connections + RING_ENTRIES_MIN)
        .next_power_of_two()
        .min(RING_ENTRIES_MAX)
}

fn executor(seat: &Seat) -> Result<LocalExecutor, EngineError> {
    let core = seat.core;
    ensure_locked_memory(core)?;
    let placement = seat.cpu.map_or(Placement::Unbound, Placement::Fixed);
    let builder = LocalExecutorBuilder::new(placement)
        .name("quorate")
        // No disk is read through glommio: it gets the least it accepts.
        .io_memory(0)
        .ring_depth(ring_entries(seat))
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

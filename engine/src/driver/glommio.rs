//! The io_uring driver: one pinned glommio executor per core, whose task turns the shard; rings wake it from its sleep.
//!
//! ```text
//!   shard's task:  turn, turn, ..  nothing left --> vigil over the sockets --> rest
//!                    ^                                     |                     ^
//!   executor sleeps on its ring <-- rope <-- sockets ready, log's writes done, stop; bell; timer
//! ```
//!
//! - The executor sleeps in one system call for everything: whatever else happens pulls the core's rope.
//! - A core that is awake looks at its doors itself; nothing interrupts it.
//! - No wake-up is lost: the bell is silenced before a turn looks at its doors, never after, and a vigil that
//!   begins late is told what it missed.
//! - When `run` returns every task has ended and every descriptor is closed.

mod bell;
mod rest;
mod rope;
mod rounds;
mod vigil;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::glommio::{
    BuilderErrorKind, GlommioError, LocalExecutor, LocalExecutorBuilder, Placement,
    ReactorErrorKind, spawn_local,
};
use raft::ids::Time;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::clock::SystemClock;
use crate::driver::glommio::bell::Bell;
use crate::driver::glommio::rest::Rest;
use crate::driver::glommio::rounds::Rounds;
use crate::driver::glommio::vigil::Vigil;
use crate::driver::sockets::Sockets;
use crate::driver::wake::Wake;
use crate::driver::wakeful::Wakeful;
use crate::driver::{Build, Doors, Next, Seat, Turn};
use crate::error::EngineError;

/// Locked memory that glommio asks for before it makes its rings.
const LOCKED_BYTES_MIN: u64 = 512 << 10;
/// Entries of each of the executor's rings: the rope and timers. As many completions in one round would make
/// the executor interrupt itself, with the danger that `PREEMPT_AFTER` tells of.
const RING_ENTRIES: usize = 256;
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
        let (wake, end) = Wake::pair().map_err(start)?;
        let rope = wake.socket().map_err(start)?.expect("a pair is a socket");
        let mut sockets = Sockets::open(listener, &seat)?;
        sockets.open_hatch(&seat, &wake);
        let vigil = Vigil::over(sockets.as_raw_fd(), rope);
        let mut sleep = Sleep {
            bell: Rc::default(),
            rounds: Rc::new(Rounds::new(wake.clone())),
            rest: Rest::default(),
            vigil: vigil.map_err(|source| EngineError::Ring { core, source })?,
            sockets: sockets.clone(),
            wakeful: Wakeful::new(seat.awake_ns),
        };
        let (bell, rounds) = (Rc::clone(&sleep.bell), Rc::clone(&sleep.rounds));
        let hearing = spawn_local(hear(end, bell, rounds));
        let doors = Doors {
            core,
            transport: sockets.clone(),
            wake: wake.clone(),
        };
        let result = match build.build(doors) {
            Ok(mut shard) => {
                started(wake);
                serve(&mut shard, &mut sleep, stop, core).await
            }
            Err(error) => Err(error),
        };
        sockets.shut_down();
        hearing.cancel().await;
        result
    })
}

/// All that ends a core's sleep.
struct Sleep {
    bell: Rc<Bell>,
    rounds: Rc<Rounds>,
    rest: Rest,
    wakeful: Wakeful,
    // Dropped before the sockets it watches.
    vigil: Vigil,
    sockets: Sockets,
}

impl Sleep {
    /// Returns when the bell was rung or a socket is ready, at `until` at the latest; not at once only if it slept.
    async fn until(&mut self, until: Option<Time>) -> io::Result<bool> {
        let Some(due) = self.sockets.rest() else {
            return Ok(false);
        };
        let until = until.map_or(due, |until| until.min(due));
        self.vigil.arm()?;
        let until = Some(until).filter(|&until| until.0 != u64::MAX);
        self.rest.wait(&self.bell, until).await;
        Ok(true)
    }
}

/// Turn after turn, resting where the shard has nothing to do.
async fn serve(
    shard: &mut impl Turn,
    sleep: &mut Sleep,
    stop: &AtomicBool,
    core: u16,
) -> Result<(), EngineError> {
    let mut looked_at = SystemClock.now();
    while !stop.load(Ordering::Acquire) {
        sleep.bell.hear();
        let next = shard.turn(SystemClock);
        if shard.has_stirred() {
            sleep.wakeful.stirred(SystemClock.now());
        }
        let has_slept = match next {
            Next::Again => {
                Wakeful::give_way();
                false
            }
            Next::Wait(until) if sleep.wakeful.looks_again(until) => false,
            Next::Wait(until) => {
                let slept = sleep.until(until).await;
                slept.map_err(|source| EngineError::Ring { core, source })?
            }
            Next::Stop => return Err(EngineError::LogFailed { core }),
        };
        let now = SystemClock.now();
        if has_slept {
            looked_at = now;
        } else if now.since(looked_at) >= LOOK_AFTER {
            sleep.rounds.next().await;
            looked_at = SystemClock.now();
        }
    }
    Ok(())
}

/// Rings the bell for each wake-up that comes through the rope.
async fn hear(rope: OwnedFd, bell: Rc<Bell>, rounds: Rc<Rounds>) {
    let mut stream = rope::adopt(rope);
    let mut bytes = [0; WAKES_MAX];
    while rope::read(&mut stream, &mut bytes)
        .await
        .is_ok_and(|count| count > 0)
    {
        rounds.begin();
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

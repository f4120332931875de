//! The cores of a node: one thread each, started together, stopped together, none left behind.
//!
//! - All cores run or none: when one cannot start, those that could are stopped and the cause is returned.
//! - A core that fails or panics stops the others; the first cause is what `wait` returns.
//! - Listening sockets are made before any thread, so that an address in use is told at once.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config::Io;
use crate::driver::wake::Wake;
use crate::driver::{Build, Seat, glommio, listen, slice, threads};
use crate::error::EngineError;

/// What a core reports to whoever started it.
enum News {
    /// It takes turns; this wakes it.
    Started(Wake),
    /// Its thread has ended.
    Ended(Result<(), EngineError>),
}

/// The running cores of one node. Dropping them stops them and waits for their ends.
#[derive(Debug)]
pub struct Cores {
    threads: Vec<JoinHandle<()>>,
    news: Receiver<(u16, News)>,
    stopper: Stopper,
    running: usize,
}

/// Asks cores to stop, from any thread and as often as one likes.
#[derive(Clone, Debug)]
pub struct Stopper {
    flag: Arc<AtomicBool>,
    wakes: Vec<Wake>,
}

impl Stopper {
    /// Every core ends after the turn it is in.
    pub fn stop(&self) {
        self.flag.store(true, Ordering::Release);
        self.wakes.iter().for_each(Wake::wake);
    }
}

/// The kernel takes a killed process's rings apart after the process is gone; until then its sockets and
/// its log's lock are held. A node that is started again at once waits for that, and no longer.
const GHOST: Duration = Duration::from_secs(5);
const GHOST_PAUSE: Duration = Duration::from_millis(10);

/// Tries again while the former process's ghost may be in the way.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel tells nobody when it has taken a dead ring apart"
)]
pub(crate) fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    may_pass: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let tries = GHOST.as_millis() / GHOST_PAUSE.as_millis();
    for _ in 0..tries {
        match attempt() {
            Err(error) if may_pass(&error) => thread::sleep(GHOST_PAUSE),
            result => return result,
        }
    }
    attempt()
}

fn is_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

impl Cores {
    /// Starts one core per seat and returns when all of them take turns.
    ///
    /// # Errors
    /// `Listen`, `Start`, `Pin`, `LockedMemory`, `Ring`, `Panicked`, and what `build` returns.
    pub fn start<B: Build>(io: Io, seats: Vec<(Seat, B)>) -> Result<Self, EngineError> {
        let (sender, news) = channel();
        let stopper = Stopper {
            flag: Arc::default(),
            wakes: Vec::new(),
        };
        let mut cores = Self {
            threads: Vec::new(),
            news,
            stopper,
            running: 0,
        };
        let mut bound = Vec::with_capacity(seats.len());
        for (seat, build) in seats {
            let (core, address) = (seat.core, seat.network.listen);
            let listener =
                patiently(|| listen(address), is_in_use).map_err(|source| EngineError::Listen {
                    core,
                    address,
                    source,
                })?;
            bound.push((seat, build, listener));
        }
        for (seat, build, listener) in bound {
            let core = seat.core;
            let spawned = cores.spawn(io, seat, build, listener, sender.clone());
            if let Err(source) = spawned {
                return Err(cores.end(EngineError::Start { core, source }));
            }
        }
        drop(sender);
        cores.await_start()
    }

    /// A handle that stops these cores.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until every core has ended.
    ///
    /// # Errors
    /// Why the first one ended, if that was no order to stop.
    pub fn wait(mut self) -> Result<(), EngineError> {
        let mut cause = Ok(());
        while self.running > 0 {
            let Ok((_, news)) = self.news.recv() else {
                break;
            };
            if let News::Ended(result) = news {
                self.running -= 1;
                self.stopper.stop();
                cause = cause.and(result);
            }
        }
        self.join();
        cause
    }

    fn spawn<B: Build>(
        &mut self,
        io: Io,
        seat: Seat,
        build: B,
        listener: std::net::TcpListener,
        news: Sender<(u16, News)>,
    ) -> io::Result<()> {
        let (core, flag) = (seat.core, Arc::clone(&self.stopper.flag));
        let body = move || {
            let started = |wake| {
                // Nobody listens when the start of another core has failed; the flag says the same.
                let _ = news.send((core, News::Started(wake)));
            };
            slice::ask();
            let run = || match io {
                Io::Glommio => glommio::run(seat, listener, build, &flag, started),
                Io::Threads => threads::run(seat, listener, build, &flag, started),
            };
            let panicked = |panic: Box<dyn Any + Send>| EngineError::Panicked {
                core,
                report: report(&*panic),
            };
            let result = catch_unwind(AssertUnwindSafe(run))
                .map_err(panicked)
                .flatten();
            let _ = news.send((core, News::Ended(result)));
        };
        self.threads.push(
            thread::Builder::new()
                .name(format!("quorate-{core}"))
                .spawn(body)?,
        );
        self.running += 1;
        Ok(())
    }

    fn await_start(mut self) -> Result<Self, EngineError> {
        while self.stopper.wakes.len() < self.threads.len() {
            match self.news.recv() {
                Ok((_, News::Started(wake))) => self.stopper.wakes.push(wake),
                Ok((core, News::Ended(result))) => {
                    self.running -= 1;
                    let nothing = || EngineError::Start {
                        core,
                        source: io::ErrorKind::Interrupted.into(),
                    };
                    let cause = result.err().unwrap_or_else(nothing);
                    return Err(self.end(cause));
                }
                Err(_) => unreachable!("a core says that it ended before it lets go of its sender"),
            }
        }
        Ok(self)
    }

    /// Stops what runs, cores that are still starting included, and hands the cause on.
    fn end(mut self, cause: EngineError) -> EngineError {
        self.stopper.stop();
        while self.running > 0 {
            match self.news.recv() {
                // It began after the flag was set, and may have looked at the flag before.
                Ok((_, News::Started(wake))) => wake.wake(),
                Ok((_, News::Ended(_))) => self.running -= 1,
                Err(_) => break,
            }
        }
        self.join();
        cause
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            thread
                .join()
                .expect("the body of a core catches its panics");
        }
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.stopper.stop();
        self.join();
    }
}

fn report(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

//! A probe of the host: how late a thread is woken that asks for every millisecond.
//!
//! It separates delays of the machine from delays of what is measured: no percentile of the latter
//! means much below those of the former.

use crate::clock::Clock;
use crate::error::BenchError;
use crate::stages::latencies;
use hdrhistogram::Histogram;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::thread::JoinHandle;

const PERIOD_NS: u64 = 1_000_000;

/// A running probe. Dropping it ends its thread.
#[derive(Debug)]
pub struct Probe {
    stop: OwnedFd,
    thread: Option<JoinHandle<Histogram<u64>>>,
}

impl Probe {
    /// Starts the probe's thread.
    pub fn start(clock: Clock) -> Result<Self, BenchError> {
        let failed = BenchError::io("starting the hiccup probe");
        let (stop, thread) = spawn(clock).map_err(failed)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends the probe: the lateness of each of its wake-ups, in nanoseconds.
    pub fn finish(mut self) -> Result<Histogram<u64>, BenchError> {
        self.signal();
        let thread = self.thread.take().expect("only taken here and in drop");
        thread.join().map_err(|_| BenchError::Thread {
            thread: "hiccup probe",
        })
    }

    fn signal(&self) {
        // An eventfd refuses a write only when its counter is full, which tells the same.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.signal();
        if let Some(thread) = self.thread.take() {
            // A panic in the probe has been printed; there is nobody here to tell.
            let _ = thread.join();
        }
    }
}

fn spawn(clock: Clock) -> std::io::Result<(OwnedFd, JoinHandle<Histogram<u64>>)> {
    let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let stopped = stop.try_clone()?;
    let timer = periodic_timer(PERIOD_NS)?;
    let thread = std::thread::Builder::new()
        .name("bench-hiccup".to_owned())
        .spawn(move || watch(clock, &timer, &stopped))?;
    Ok((stop, thread))
}

fn watch(clock: Clock, timer: &OwnedFd, stopped: &OwnedFd) -> Histogram<u64> {
    let mut lateness = latencies();
    let mut due = clock.now() + PERIOD_NS;
    loop {
        let mut fds = [
            PollFd::new(timer, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        if rustix::event::poll(&mut fds, None).is_err() {
            continue; // Only a signal interrupts it.
        }
        if !fds[1].revents().is_empty() {
            return lateness;
        }
        let mut fired = [0; 8];
        if rustix::io::read(timer, &mut fired).is_ok() {
            let now = clock.now();
            // Every firing that was slept through was late in its own right.
            for _ in 0..u64::from_ne_bytes(fired) {
                lateness.saturating_record(now.saturating_sub(due).max(1));
                due += PERIOD_NS;
            }
        }
    }
}

/// A timer that fires each `period_ns`, to be waited for like any descriptor.
pub fn periodic_timer(period_ns: u64) -> std::io::Result<OwnedFd> {
    let timer = rustix::time::timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
    )?;
    let period = timespec(period_ns);
    let spec = Itimerspec {
        it_interval: period,
        it_value: period,
    };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
    Ok(timer)
}

/// Nanoseconds as the kernel wants them.
pub fn timespec(ns: u64) -> Timespec {
    let seconds =
        i64::try_from(ns / 1_000_000_000).expect("64 bits of nanoseconds are few seconds");
    Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(ns % 1_000_000_000).expect("below a second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_period_is_one_value() {
        let clock = Clock::start();
        let probe = Probe::start(clock).expect("a timer and a thread");
        let timer = periodic_timer(20 * PERIOD_NS).expect("a timer");
        rustix::event::poll(&mut [PollFd::new(&timer, PollFlags::IN)], None).expect("no signal");
        let lateness = probe.finish().expect("the thread lives");
        assert!(!lateness.is_empty() && lateness.max() > 0);
    }
}

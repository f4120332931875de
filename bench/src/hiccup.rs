//! A probe of the host: how late a thread is woken that asks for every millisecond.
//!
//! It separates delays of the machine from delays of what is measured: no percentile of the latter
//! means much below those of the former.

use crate::clock::Clock;
use crate::error::BenchError;
use crate::stages::latencies;
use crate::ticker::Ticker;
use hdrhistogram::Histogram;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::fd::OwnedFd;
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
        let timer = Ticker::every(PERIOD_NS)?;
        let (stop, thread) = spawn(clock, timer).map_err(failed)?;
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

fn spawn(clock: Clock, timer: Ticker) -> std::io::Result<(OwnedFd, JoinHandle<Histogram<u64>>)> {
    let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let stopped = stop.try_clone()?;
    let thread = std::thread::Builder::new()
        .name("bench-hiccup".to_owned())
        .spawn(move || watch(clock, &timer, &stopped))?;
    Ok((stop, thread))
}

fn watch(clock: Clock, timer: &Ticker, stopped: &OwnedFd) -> Histogram<u64> {
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
        let fired = timer.fired();
        let now = clock.now();
        // Every firing that was slept through was late in its own right.
        for _ in 0..fired {
            lateness.saturating_record(now.saturating_sub(due).max(1));
            due += PERIOD_NS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_period_is_one_value() {
        let clock = Clock::start();
        let probe = Probe::start(clock).expect("a timer and a thread");
        Ticker::every(20 * PERIOD_NS).expect("a timer").wait();
        let lateness = probe.finish().expect("the thread lives");
        assert!(!lateness.is_empty() && lateness.max() > 0);
    }
}

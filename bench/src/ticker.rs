//! Wakes a waiting thread at instants of its own choosing, finer than a millisecond.

use crate::error::BenchError;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsRawFd, OwnedFd, RawFd};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

/// A timer of the kernel, to be waited for like any descriptor.
#[derive(Debug)]
pub struct Ticker {
    timer: OwnedFd,
}

impl Ticker {
    /// A timer that is not set.
    pub fn unset() -> Result<Self, BenchError> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(|errno| BenchError::io("making a timer")(errno.into()))?;
        Ok(Self { timer })
    }

    /// A timer that fires each `period_ns`.
    pub fn every(period_ns: u64) -> Result<Self, BenchError> {
        let ticker = Self::unset()?;
        ticker.set(period_ns, period_ns)?;
        Ok(ticker)
    }

    /// Makes the timer fire once, `delay_ns` from here; at least a nanosecond, for zero would unset it.
    pub fn once_in(&self, delay_ns: u64) -> Result<(), BenchError> {
        self.set(delay_ns.max(1), 0)
    }

    fn set(&self, first_ns: u64, period_ns: u64) -> Result<(), BenchError> {
        let spec = Itimerspec {
            it_value: timespec(first_ns),
            it_interval: timespec(period_ns),
        };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)
            .map_err(|errno| BenchError::io("setting a timer")(errno.into()))?;
        Ok(())
    }

    /// Waits until the timer fires: how often it has since the last wait. 0: a signal came first.
    pub fn wait(&self) -> u64 {
        let woken = rustix::event::poll(&mut [PollFd::new(&self.timer, PollFlags::IN)], None);
        if woken.is_ok() { self.fired() } else { 0 }
    }

    /// How often the timer has fired since it was last asked.
    pub fn fired(&self) -> u64 {
        let mut count = [0; 8];
        // Not ready is an error here, and means none.
        rustix::io::read(&self.timer, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    }
}

impl AsRawFd for Ticker {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}

impl rustix::fd::AsFd for Ticker {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.timer.as_fd()
    }
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

//! The clocks of the machine: the one file that reads them; everywhere else time is an argument.
//!
//! - Monotonic instants come from `CLOCK_MONOTONIC`, so that two processes of one host can be compared.
//! - A reading is one vDSO call (about 25 ns), never a system call on hardware with a usable counter.

use raft::ids::Time;
use rustix::time::{ClockId, Timespec, clock_gettime};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The machine's clocks. Has no state; copy it freely.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// Nanoseconds on `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn now(self) -> Time {
        Time(nanos(clock_gettime(ClockId::Monotonic)))
    }

    /// Nanoseconds since the Unix epoch. May jump when the host's time is set.
    #[must_use]
    pub fn wall(self) -> u64 {
        nanos(clock_gettime(ClockId::Realtime))
    }
}

impl shard::clock::Clock for SystemClock {
    fn now(&self) -> Time {
        Self::now(*self)
    }

    fn wall(&self) -> u64 {
        Self::wall(*self)
    }
}

/// A time before the epoch counts as the epoch: only a badly set host has one.
fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(NANOS_PER_SECOND)
        .saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::SystemClock;

    #[test]
    fn monotonic_time_never_goes_back() {
        let mut last = SystemClock.now();
        for _ in 0..10_000 {
            let now = SystemClock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn wall_time_is_after_the_year_2020() {
        assert!(SystemClock.wall() > 1_577_836_800 * super::NANOS_PER_SECOND);
    }
}

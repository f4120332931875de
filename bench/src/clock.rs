//! The clock of the benchmark: the one file that reads it.
//!
//! - Instants are nanoseconds since the clock was made; they never go back.
//! - One per run, copied to every thread, so that all their instants compare.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock with an origin, and the wall time of that origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    started: SystemTime,
}

impl Clock {
    /// A clock that reads zero at this moment.
    #[expect(
        clippy::disallowed_methods,
        reason = "the benchmark's one reader of the clock"
    )]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
            started: SystemTime::now(),
        }
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).expect("a run is shorter than 584 years")
    }

    /// Wall time of the origin.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Milliseconds from the Unix epoch to the origin; 0 where the wall clock stands before it.
    pub fn started_unix_ms(&self) -> u64 {
        self.started.duration_since(UNIX_EPOCH).map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }
}

/// Nanoseconds of a duration, as far as 64 bits reach.
pub fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

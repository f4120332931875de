//! A node's clocks: one that only goes on, at its own pace, and one on the wall that anybody may turn.
//!
//! - The monotonic clock starts anywhere, drifts a little, and never goes back, not even at a restart.
//! - The wall clock may show anything.

use raft::ids::Time;
use shard::clock::Clock;

/// What the wall shows at the beginning of the world, nanoseconds since the Unix epoch.
const WALL_START_NS: u64 = 1_700_000_000_000_000_000;
const MILLION: u64 = 1_000_000;

/// One per node.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeClock {
    /// What the monotonic clock shows at the beginning of the world.
    pub start_ns: u64,
    /// How much faster than the world it goes, in millionths.
    pub fast_ppm: u64,
    /// What the wall clock is ahead.
    pub wall_ahead_ns: i64,
}

impl NodeClock {
    /// What the monotonic clock shows when the world is at `at`.
    #[must_use]
    pub fn local(&self, at: u64) -> u64 {
        let ahead = at / MILLION * self.fast_ppm;
        self.start_ns + at + ahead + at % MILLION * self.fast_ppm / MILLION
    }

    /// The first instant of the world at which the monotonic clock shows `local` or more.
    #[must_use]
    pub fn world(&self, local: u64) -> u64 {
        let since = local.saturating_sub(self.start_ns);
        if since > u64::MAX / 2 {
            return u64::MAX;
        }
        // The pace is close to the world's: a guess from below, then steps.
        let mut at = since - ((since / MILLION + 1) * self.fast_ppm).min(since);
        loop {
            let shown = self.local(at);
            if shown >= local {
                return at;
            }
            let left = local - shown;
            at += (left - left / 100).saturating_sub(1).max(1);
        }
    }

    /// The machine stood still from `since` to `until`, on the world's clock, and its monotonic clock with it.
    pub fn stood_still(&mut self, since: u64, until: u64) {
        let gone = self.local(until) - self.local(since);
        if gone > self.start_ns {
            // A clock that has just begun cannot be set back by more: it goes on as if it had not stood.
            return;
        }
        self.start_ns -= gone;
        self.wall_ahead_ns = self.wall_ahead_ns.saturating_sub_unsigned(until - since);
    }

    /// The clock door of a turn that begins when the world is at `at`.
    #[must_use]
    pub fn at(&self, at: u64) -> Moment {
        let wall = (WALL_START_NS + at).saturating_add_signed(self.wall_ahead_ns);
        Moment {
            now: Time(self.local(at)),
            wall,
        }
    }
}

/// The instant of a node's clock that was looked up last, and what it is on the world's: most turns of a core wait for the
/// same beat as the one before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lookup {
    start_ns: u64,
    local: u64,
    world: u64,
}

impl Lookup {
    /// As [`NodeClock::world`].
    pub fn world(&mut self, clock: &NodeClock, local: u64) -> u64 {
        if (self.start_ns, self.local) != (clock.start_ns, local) {
            *self = Self {
                start_ns: clock.start_ns,
                local,
                world: clock.world(local),
            };
        }
        self.world
    }
}

/// The clock of one turn: it stands still.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    now: Time,
    wall: u64,
}

impl Clock for Moment {
    fn now(&self) -> Time {
        self.now
    }

    fn wall(&self) -> u64 {
        self.wall
    }
}

#[cfg(test)]
mod tests {
    use super::NodeClock;

    #[test]
    fn an_alarm_rings_at_the_first_instant_that_shows_it() {
        for fast_ppm in [0, 1, 77, 2500, 5000] {
            let clock = NodeClock {
                start_ns: 12_345,
                fast_ppm,
                wall_ahead_ns: 0,
            };
            for at in (0..100_u64).map(|step| step * step * 7_777_777_771 / 13) {
                let shown = clock.local(at);
                let rings = clock.world(shown);
                assert!(rings <= at && clock.local(rings) >= shown);
                assert!(rings == 0 || clock.local(rings - 1) < shown);
            }
        }
    }
}

//! A bound on bytes per second: a bucket that fills evenly and is emptied by what is moved.
//!
//! - Over any stretch of time at most its length times the rate is moved, and one quarter of a second's worth more.
//! - A piece that finds the bucket empty waits; what is moved is never split for it.

use raft::ids::Time;

const SECOND: u64 = 1_000_000_000;

/// One bound.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    per_second: u64,
    level: u64,
    at: Time,
}

impl Bucket {
    /// So many bytes per second; 0 is without bound.
    #[must_use]
    pub fn new(per_second: u64, now: Time) -> Self {
        Self {
            per_second,
            level: per_second / 4,
            at: now,
        }
    }

    /// Takes `bytes`, if anything is left; they may leave it in debt to itself, never below empty.
    ///
    /// # Errors
    /// When to ask again.
    pub fn take(&mut self, bytes: u64, now: Time) -> Result<(), Time> {
        if self.per_second == 0 {
            return Ok(());
        }
        let full = (self.per_second / 4).max(bytes);
        let passed = u128::from(now.since(self.at)) * u128::from(self.per_second);
        let gained = u64::try_from(passed / u128::from(SECOND)).unwrap_or(u64::MAX);
        if gained > 0 {
            self.level = self.level.saturating_add(gained).min(full);
            self.at = now;
        }
        if self.level >= bytes {
            self.level -= bytes;
            return Ok(());
        }
        let missing = u128::from(bytes - self.level) * u128::from(SECOND);
        let wait = missing.div_ceil(u128::from(self.per_second));
        Err(now.plus(u64::try_from(wait).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_is_moved() {
        let mut bucket = Bucket::new(1_000_000, Time(0));
        let (mut now, mut moved) = (Time(0), 0);
        while now.0 < 10 * SECOND {
            match bucket.take(64_000, now) {
                Ok(()) => moved += 64_000,
                Err(at) => {
                    assert!(at > now, "asking again helps");
                    now = at;
                }
            }
        }
        assert!((9_900_000..=10_320_000).contains(&moved), "{moved}");
    }

    #[test]
    fn a_piece_larger_than_the_bucket_passes_in_its_time() {
        let mut bucket = Bucket::new(1000, Time(0));
        let at = bucket.take(4000, Time(0)).expect_err("it is too early");
        assert_eq!(bucket.take(4000, at), Ok(()));
        assert_eq!(Bucket::new(0, Time(0)).take(u64::MAX, Time(0)), Ok(()));
    }
}

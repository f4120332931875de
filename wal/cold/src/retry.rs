//! When to try again: after a wait that doubles, shortened at random so that nodes do not knock together.

/// The wait after the first failure, ns.
const FIRST: u64 = 200_000_000;
/// The longest wait, ns.
const LONGEST: u64 = 30_000_000_000;

/// How often a task is tried before its job gives up for the time being.
pub const ATTEMPTS_MAX: u32 = 10;

/// Nanoseconds to wait after the `failures`-th failure in a row: between half and all of a doubling span.
#[must_use]
pub fn wait(failures: u32, dice: u64) -> u64 {
    let span = FIRST
        .saturating_mul(1 << failures.saturating_sub(1).min(20))
        .min(LONGEST);
    span / 2 + dice % (span / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stay_bounded() {
        assert_eq!(
            (wait(1, 0), wait(1, u64::MAX - 5)),
            (100_000_000, wait(1, u64::MAX - 5))
        );
        for failures in 1..40 {
            for dice in [0, 1, u64::MAX / 2, u64::MAX] {
                let wait = wait(failures, dice);
                let span = (200_000_000_u64 << (failures - 1).min(20)).min(30_000_000_000);
                assert!((span / 2..=span).contains(&wait), "{failures}: {wait}");
            }
        }
    }
}

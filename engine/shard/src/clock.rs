//! The clock door: what a turn may know of time.

use raft::ids::Time;

/// Read a few times per turn, never inside the consensus core.
pub trait Clock {
    /// Nanoseconds on this node's monotonic clock.
    fn now(&self) -> Time;

    /// Nanoseconds since the Unix epoch; may step. Only ever a suggestion to the state machine.
    fn wall(&self) -> u64;
}

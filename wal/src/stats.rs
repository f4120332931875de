//! What a log says about itself: the progress of a poll, and its counters.

use crate::device::Traits;
use crate::error::Failure;
use crate::wal::Lsn;

/// What a poll found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// All records up to here are durable.
    pub durable: Lsn,
    /// The log has failed; stop promising anything.
    pub failed: Option<Failure>,
    /// The disk refused a write or a new file for want of space and is asked again.
    pub storage_full: bool,
    /// So many of the device's operations have ended since the last poll.
    pub completed: usize,
}

/// Counters since opening, and the state of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Records appended.
    pub records: u64,
    /// Bytes of records appended, headers included.
    pub record_bytes: u64,
    /// Writes begun.
    pub writes: u64,
    /// Writes completed, each durable.
    pub syncs: u64,
    /// Bytes written, padding included.
    pub written_bytes: u64,
    /// Writes in flight.
    pub writes_in_flight: usize,
    /// Appends answered "busy".
    pub busy: u64,
    /// Appends answered "storage full".
    pub storage_full: u64,
    /// Writes that a full disk refused and that were begun again.
    pub refused_writes: u64,
    /// Newest metadata records, and entries, written again so that an old segment could go.
    pub relocations: u64,
    /// Segments in use.
    pub segments_used: usize,
    /// Segments that may be begun at once.
    pub segments_free: usize,
    /// Segments nobody needs, waiting for a durable block to say so.
    pub segments_retired: usize,
    /// Segments retired since opening.
    pub segments_recycled: u64,
    /// Segment files made since opening.
    pub segments_created: u64,
    /// Reads waiting or in flight.
    pub reads: usize,
    /// Bytes read by the scrubber.
    pub scrubbed_bytes: u64,
    /// Times the scrubber came to the end of the log.
    pub scrub_passes: u64,
    /// Damage the scrubber found while nobody took what it had found.
    pub scrub_dropped: u64,
    /// Blocks with rotten records that were made whole where they lie.
    pub blocks_repaired: u64,
    /// Write latencies that nobody took in time.
    pub latencies_dropped: u64,
    /// What the device was granted.
    pub device: Traits,
}

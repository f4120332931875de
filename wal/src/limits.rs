//! Every bound of the log, and the relations between the bounds.

use crate::block::BLOCK_HEADER_BYTES;
use crate::device::ALIGNMENT;
use crate::identity::Identity;
use crate::record::RECORD_HEADER_BYTES;
use crate::segment::SEGMENT_HEADER_BYTES;

/// Largest payload of one record in bytes: a batch of 1 MiB and room for its envelope.
pub const RECORD_PAYLOAD_MAX: usize = (1 << 20) + (64 << 10);

/// Largest head of one record in bytes.
pub const HEAD_BYTES_MAX: usize = 256;

/// Largest payload of a [`crate::Kind::Meta`] record in bytes. The newest of each group is kept in memory,
/// so that the log can move it out of a segment that is otherwise free.
pub const META_BYTES_MAX: usize = 4096;

/// Default size of a block's memory in bytes: one largest record with everything around it.
pub const BLOCK_BYTES_MAX: usize = (1 << 20) + (128 << 10);

/// A block that holds this many bytes of records is closed; only one record alone may make a larger one. Several writes of
/// this size at once pass through a disk faster than few of twice the size, and those behind them wait less.
pub(crate) const BLOCK_FILL_BYTES: usize = 512 << 10;

/// Fewest segments of a log: one being filled, one ready, two kept back for relief and for opening.
pub const SEGMENTS_MIN: u32 = 4;

/// Default size of a segment file in bytes.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Largest segment in bytes: offsets in blocks are 32 bits wide.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 31;

/// Write latencies kept between two calls of [`crate::Wal::take_write_latencies`]; later ones are counted as dropped.
pub const LATENCY_SAMPLES_MAX: usize = 4096;

/// Newest metadata records moved out of the oldest segment in one [`crate::Wal::submit`].
pub(crate) const RELOCATIONS_PER_SUBMIT_MAX: usize = 64;

/// Pause before a write refused by a full disk is tried again, in nanoseconds.
pub(crate) const FULL_WRITE_RETRY_NS: u64 = 10_000_000;

/// Pause before the making of a segment refused by a full disk is tried again, in nanoseconds.
pub(crate) const FULL_CREATE_RETRY_NS: u64 = 100_000_000;

/// A damaged stretch of one group longer than this is reported, but its indexes are not kept one by one.
pub(crate) const GAP_ENTRIES_MAX: u64 = 1 << 24;

const _: () = assert!(
    BLOCK_BYTES_MAX
        >= record_block_bytes(HEAD_BYTES_MAX, RECORD_PAYLOAD_MAX) + SEGMENT_HEADER_BYTES,
    "a largest record fits the first block of a segment"
);
const _: () = assert!(
    BLOCK_BYTES_MAX.is_multiple_of(ALIGNMENT),
    "blocks are aligned"
);
const _: () = assert!(SEGMENT_BYTES <= SEGMENT_BYTES_MAX, "offsets fit 32 bits");
const _: () = assert!(META_BYTES_MAX <= RECORD_PAYLOAD_MAX, "metadata is a record");

/// Bytes of a block that holds one record of this size alone, padded to the alignment.
pub(crate) const fn record_block_bytes(head: usize, payload: usize) -> usize {
    let record = RECORD_HEADER_BYTES + head.next_multiple_of(8) + payload.next_multiple_of(8);
    (BLOCK_HEADER_BYTES + record).next_multiple_of(ALIGNMENT)
}

/// What one log is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whose log it is; a log of another identity is refused.
    pub identity: Identity,
    /// Memory of one block in bytes, a multiple of 4,096; bounds the largest record.
    pub block_bytes_max: usize,
    /// Blocks in memory, filling, waiting or in flight.
    pub blocks: usize,
    /// Durable writes in flight at once: as many as it takes to have some mebibytes on their way to a disk while blocks close at
    /// 512 KiB.
    pub writes_in_flight_max: usize,
    /// Reads in flight at once.
    pub reads_in_flight_max: usize,
    /// Reads accepted and not yet answered; more are refused as busy.
    pub reads_queued_max: usize,
    /// Segments that exist, filled with zeros, when opening returns.
    pub preallocate_segments: u32,
    /// Segments the log may ever have; with all of them in use an append answers "storage full".
    pub segments_max: u32,
    /// Bytes read per second by the scrubber; 0 turns it off.
    pub scrub_bytes_per_second: u64,
}

impl Options {
    /// Options for production, for the log of this identity.
    #[must_use]
    pub const fn new(identity: Identity) -> Self {
        Self {
            identity,
            block_bytes_max: BLOCK_BYTES_MAX,
            blocks: 10,
            writes_in_flight_max: 8,
            reads_in_flight_max: 2,
            reads_queued_max: 64,
            preallocate_segments: SEGMENTS_MIN,
            segments_max: 64,
            scrub_bytes_per_second: 0,
        }
    }

    /// Small blocks for tests and the simulator: a record may hold `record_bytes` of payload.
    #[must_use]
    pub const fn small(identity: Identity, record_bytes: usize) -> Self {
        let mut options = Self::new(identity);
        options.block_bytes_max =
            record_block_bytes(HEAD_BYTES_MAX, record_bytes) + SEGMENT_HEADER_BYTES;
        options.segments_max = 16;
        // Fewer ways in which writes in flight may end: tests look at all of them.
        options.blocks = 6;
        options.writes_in_flight_max = 4;
        options
    }

    /// Smallest segment in bytes that these options work with: its header, one largest block, one reserve block.
    #[must_use]
    pub const fn segment_bytes_min(&self) -> u64 {
        (self.block_bytes_max + ALIGNMENT) as u64
    }

    /// Largest payload in bytes of an entry under these options, with a head of the largest size.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        let around =
            SEGMENT_HEADER_BYTES + BLOCK_HEADER_BYTES + RECORD_HEADER_BYTES + HEAD_BYTES_MAX;
        (self.block_bytes_max.saturating_sub(around) & !7).min(RECORD_PAYLOAD_MAX)
    }
}

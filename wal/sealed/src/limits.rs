//! Every bound of sealed files, and the relations between the bounds.

/// Bytes of one block of an index run: one page of memory, one read of the disk.
pub const RUN_BLOCK_BYTES: usize = 4096;

/// A partition of a run ends with the block in which it reaches so many distinct keys. Its filter is built in
/// one stroke, which takes about half a millisecond.
pub const PARTITION_KEYS: usize = 8192;

/// Entries that a builder sorts in one stroke.
pub const SORTED_CHUNK: usize = 8192;

/// Most blocks of a run, so that a number of a block fits 32 bits: 16 TiB.
pub const RUN_BLOCKS_MAX: u32 = u32::MAX;

/// Most runs that one merge reads, so that its memory is bounded.
pub const MERGE_RUNS_MAX: usize = 256;

/// Most bytes of a filter, so that its parts fit 32 bits whatever a file says.
pub(crate) const FILTER_BYTES_MAX: u32 = 1 << 24;

const _: () = assert!(RUN_BLOCK_BYTES.is_power_of_two(), "blocks are pages");
const _: () = assert!(
    (FILTER_BYTES_MAX as usize) > 64 * (PARTITION_KEYS + RUN_BLOCK_BYTES),
    "a partition's filter fits its bound with room to spare"
);

/// Bytes of a segment's block, before compression, unless a setting says otherwise.
pub const SEGMENT_BLOCK_BYTES: u32 = 64 << 10;

/// Least and most bytes of a segment's block, before compression.
pub const SEGMENT_BLOCK_BYTES_LEAST: u32 = 1 << 10;
/// See [`SEGMENT_BLOCK_BYTES_LEAST`].
pub const SEGMENT_BLOCK_BYTES_MOST: u32 = 1 << 20;

/// Most blocks of a segment.
pub const SEGMENT_BLOCKS_MAX: u32 = 1 << 20;

/// Most bytes of an entry's head.
pub const ENTRY_HEAD_MAX: usize = 256;

/// Most bytes of an entry's payload: what the log takes.
pub const ENTRY_PAYLOAD_MAX: usize = (1 << 20) + (64 << 10);

/// Most runs of terms in a segment, and most keys that it names.
pub const TERM_RUNS_MAX: usize = 1 << 16;
/// See [`TERM_RUNS_MAX`].
pub const KEY_IDS_MAX: usize = 64;

/// Most segments that one merge joins.
pub const MERGE_SEGMENTS_MAX: usize = 256;

const _: () = assert!(
    SEGMENT_BLOCK_BYTES_LEAST as usize >= 40 + ENTRY_HEAD_MAX + 128,
    "an entry's header, head and first bytes fit the smallest block"
);

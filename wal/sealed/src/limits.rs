//! Every bound of sealed files, and the relations between the bounds.

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

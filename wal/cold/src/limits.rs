//! Every bound of the cold tier, and how they relate.

/// Bytes of a chunk: what is checked, and encrypted, at a time.
pub const CHUNK_BYTES: usize = 64 << 10;

/// The largest file that may leave.
pub const SEGMENT_BYTES_MAX: u64 = 256 << 20;

/// Objects up to this size are put in one request, which may be conditional; larger ones in parts.
pub const PUT_BYTES_MAX: usize = 64 << 20;

/// Bytes of a part. Stores ask for at least 5 MiB, and for equal parts.
pub const PART_BYTES: usize = 16 << 20;

/// Bytes asked for in one request when an object is read.
pub const GET_BYTES: u64 = 8 << 20;

/// Bytes of a wrapped data key.
pub const WRAPPED_KEY_BYTES_MAX: usize = 512;

/// Segments in one manifest.
pub const MANIFEST_SEGMENTS_MAX: usize = 1 << 16;

/// Bytes of a manifest's object.
pub const MANIFEST_BYTES_MAX: u64 = 32 << 20;

/// Tasks that wait for or are with the store at a time; more are refused.
pub const TASKS_MAX: usize = 64;

/// Names that one listing gives back.
pub const LIST_MAX: usize = 1_000;

const _: () = assert!(PUT_BYTES_MAX.is_multiple_of(PART_BYTES) && PART_BYTES >= 5 << 20);
const _: () = assert!(GET_BYTES.is_multiple_of(CHUNK_BYTES as u64));

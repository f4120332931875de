//! Every bound of the cold tier, and how they relate.

/// Bytes of a chunk: what is checked, and encrypted, at a time.
pub const CHUNK_BYTES: usize = 64 << 10;

/// The largest file that may leave.
pub const SEGMENT_BYTES_MAX: u64 = 256 << 20;

/// Objects up to this size are put in one request, which may be conditional; larger ones in parts.
pub const PUT_BYTES_MAX: usize = 16 << 20;

/// Bytes of a part. Stores ask for at least 5 MiB, and for equal parts.
pub const PART_BYTES: usize = 8 << 20;

/// Bytes asked for in one request when an object is read.
pub const GET_BYTES: u64 = 8 << 20;

/// Bytes of a wrapped data key.
pub const WRAPPED_KEY_BYTES_MAX: usize = 512;

/// Segments in one manifest.
pub const MANIFEST_SEGMENTS_MAX: usize = 1 << 16;

/// Bytes of a manifest's object.
pub const MANIFEST_BYTES_MAX: u64 = 32 << 20;

/// How long after it was stored a file must be named by a manifest, or be stored again: this part of the grace of a sweep.
/// A sweep that began before the naming finds the object too young, one that begins after it finds it named.
pub const NAMED_WITHIN: u64 = 2;

/// Reads of entries under way or waiting at a time; more are refused.
pub const RECALLS_MAX: usize = 32;

/// Groups that wait to be looked after in the store.
pub const CHORES_MAX: usize = 4_096;

/// Groups of which it is remembered when they were looked after: as many as a node may have.
pub const PACED_MAX: usize = 1 << 20;

/// Uploads in parts that are remembered.
pub const RESUMES_MAX: usize = 64;

/// Small neighbours in a manifest that are joined, at least.
pub const JOIN_MIN: usize = 8;

/// Small neighbours in a manifest that are joined, at most.
pub const JOIN_MAX: usize = 64;

/// Ends of stay of files that are joined may differ by so many seconds.
pub const JOIN_STAY_SPREAD: u64 = 86_400;

/// Tasks that wait for or are with the store at a time; more are refused.
pub const TASKS_MAX: usize = 64;

/// Names that one listing gives back.
pub const LIST_MAX: usize = 1_000;

const _: () = assert!(PUT_BYTES_MAX.is_multiple_of(PART_BYTES) && PART_BYTES >= 5 << 20);
const _: () = assert!(GET_BYTES.is_multiple_of(CHUNK_BYTES as u64));

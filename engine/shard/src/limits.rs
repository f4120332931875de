//! Every bound of a shard, with the relations between them.

/// Payloads up to this size are copied out of the receive buffer, so that a small request does not
/// pin a large pooled buffer; larger ones are lent.
pub const PAYLOAD_COPY_MAX: usize = 16 * 1024;

/// Largest payload of one entry: a full client batch (8,190 records of 128 bytes fit).
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of client requests that may wait on one core to enter their groups' logs; beyond it the
/// answer is "busy".
pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Client requests that may wait on one core to enter their groups' logs.
pub const WAITING_REQUESTS_MAX: usize = 64 * 1024;

/// Requests of one client connection that may be unanswered; beyond it the answer is "busy".
pub const CONNECTION_REQUESTS_MAX: u32 = 4096;

/// Bytes of applied and durable entries that one core keeps in memory for followers that lag a little,
/// shared equally by its groups.
pub const WINDOW_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Payload bytes after which a turn applies no more and looks at its doors again: one full entry, or thousands of small ones.
pub const APPLY_BYTES_PER_TURN: usize = PAYLOAD_BYTES_MAX / 2;

/// Entries that one turn applies before it looks at its doors again.
pub const APPLY_ENTRIES_PER_TURN: usize = 4096;

/// Bytes of one peer's envelopes that wait because its connection is full; beyond it the connection
/// is closed and the groups start over with that peer when it is re-made.
pub const OUTBOX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Entries of one message: their descriptors fit the envelope's head.
pub const APPEND_ENTRIES_MAX: u32 = 1024;

/// Payload bytes in one envelope.
pub const ENVELOPE_BULK_MAX: usize = 4 * 1024 * 1024;

/// Things found wrong with the log that are told one by one; more are counted.
pub const DAMAGE_TOLD_MAX: usize = 64;

/// Reads of old entries from the log that may be in flight at once for followers that lag far.
pub const CATCH_UP_READS_MAX: usize = 8;

/// Bytes of one such read.
pub const CATCH_UP_BYTES: u64 = 2 * 1024 * 1024;

/// Bytes of an image or a chapter that a machine is asked for at once.
pub const IMAGE_PIECE_BYTES: usize = 64 * 1024;

/// Bytes of images, chapters and restores that one turn handles at most.
pub const UPKEEP_BYTES_PER_TURN: usize = 1024 * 1024;

/// Time that one turn spends on them when nobody waits for it, in nanoseconds.
pub const UPKEEP_NS_IDLE: u64 = 500_000;

/// Time that one turn spends on them at least, in nanoseconds.
pub const UPKEEP_NS_MIN: u64 = 20_000;

/// Of a turn that serves others, upkeep takes the time for this times as much work, divided.
pub const UPKEEP_SHARE: u64 = 4;

/// Pause before something that the disk refused is tried again, in nanoseconds.
pub const UPKEEP_RETRY_NS: u64 = 200_000_000;

/// Until strays of an interrupted installation are removed where none goes on, in nanoseconds.
pub const STRAYS_NS: u64 = 60_000_000_000;

/// Largest manifest: a third of a million chapters.
pub const MANIFEST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a file asked for at once.
pub const FETCH_PIECE_BYTES: usize = 256 * 1024;

/// Pieces of a file on their way at once.
pub const FETCH_WINDOW: usize = 8;

/// Groups whose state is fetched at once; others wait.
pub const FETCHES_MAX: usize = 4;

/// Tries to fetch a state before its offer is refused.
pub const FETCH_TRIES_MAX: u32 = 8;

/// Pieces that peers may be waiting for at once; more are answered "busy".
pub const SERVE_QUEUE_MAX: usize = 128;

/// Rotten blocks of the log that are repaired at once; the scrubber finds others again.
pub const REPAIRS_MAX: usize = 8;

/// Entries of one block that are asked of peers; a block that lost more is given up behind an image.
pub const REPAIR_ENTRIES_MAX: usize = 64;

/// Times that peers are asked for one entry before its block is given up behind an image.
pub const REPAIR_TRIES_MAX: u32 = 8;

/// Failed reads of a rotten entry after which sealing goes on without it, when it may still be repaired: half a minute.
pub const SEAL_TRIES_ROTTEN: u32 = 150;

/// How long a state is kept for a peer that has stopped asking for it, in nanoseconds.
pub const PIN_NS: u64 = 30_000_000_000;

/// States kept for peers at once; the longest unused makes room.
pub const PINS_MAX: usize = 64;

/// Bytes of entries that are compressed in one stroke: about a tenth of a millisecond.
pub const SEAL_SLICE_BYTES: usize = 64 * 1024;

/// Bytes of a sealed file that are handed to the archive at once, about.
pub const SEALED_PIECE_BYTES: usize = 256 * 1024;

/// Small sealed files of one group that are joined, at least.
pub const SEALED_JOIN_MIN: usize = 8;

/// Failed reads of an entry after which it is passed over.
pub const SEAL_TRIES_MAX: u32 = 3;

/// How often a core looks for stretches of the past that are not here, in nanoseconds.
pub const RECALL_LOOK_NS: u64 = 2_000_000_000;

/// Bytes of entries of the past that are asked of a peer at once, about; each counts for a piece at least.
pub const RECALL_BYTES: usize = 4 << 20;

/// What an entry of the past counts for, at least.
pub const RECALL_LEAST_BYTES: usize = 4096;

/// Pause before the log is asked again for entries to seal when it had its hands full, in nanoseconds.
pub const SEAL_BUSY_NS: u64 = 1_000_000;

/// Files of one core that are on their way to the object store at once.
pub const PARCELS_MAX: usize = 4;

/// How long nothing may come nearer to giving a full log room before clients are told that the storage is full, in
/// nanoseconds.
pub const ROOM_PATIENCE_NS: u64 = 5_000_000_000;

/// Pause after the object store failed, in nanoseconds.
pub const STORE_RETRY_NS: u64 = 2_000_000_000;

/// Reads of groups' histories on one core at a time; more are answered "busy".
pub const HISTORY_READS_MAX: usize = 8;

/// Bytes of an answer to one of them.
pub const HISTORY_REPLY_BYTES: usize = 768 * 1024;

/// How long one may take, in nanoseconds; then it is answered "unavailable".
pub const HISTORY_WAIT_NS: u64 = 10_000_000_000;

/// How often the object store is told which groups are led here, in nanoseconds.
pub const TEND_NS: u64 = 1_000_000_000;

const _: () = assert!(HISTORY_REPLY_BYTES <= net::limits::CLIENT_BULK_BYTES_MAX);
const _: () = assert!(
    SEALED_PIECE_BYTES + 2 * PAYLOAD_BYTES_MAX / 4 <= wal::archive::PIECE_BYTES_MAX,
    "a piece and what one slice adds to it are within what the archive takes"
);
const _: () = assert!(IMAGE_PIECE_BYTES <= wal::archive::PIECE_BYTES_MAX / 2);
const _: () = assert!(FETCH_PIECE_BYTES <= wal::archive::PIECE_BYTES_MAX);
const _: () = assert!(
    FETCH_PIECE_BYTES <= net::limits::PEER_BULK_BYTES_MAX,
    "a piece fits a frame"
);
const _: () = assert!(
    UPKEEP_BYTES_PER_TURN >= IMAGE_PIECE_BYTES,
    "a turn handles a piece"
);
/// How long a leader waits for what it proposed because it was due, before it proposes it again.
pub const PULSE_AGAIN_NS: u64 = 1_000_000_000;

/// Clients whose last reply one group remembers ([`crate::sessions`]); the one that was quiet for longest makes room.
pub const SESSIONS_MAX: usize = 256;

/// Origins of whose sessions a group knows each for itself which it has forgotten.
pub const SESSION_FLOORS_MAX: usize = 256;

/// Longest reply that a session keeps: the results of a full body of 128-byte events, 16 bytes each, the counts of as
/// many batches as there may be, and a verdict.
pub const SESSION_REPLY_MAX: usize = 256 * 1024;

const _: () = assert!(
    PAYLOAD_BYTES_MAX / 8 + 2 * net::tigerbeetle::batches::BATCHES_MAX + 4 <= SESSION_REPLY_MAX
);

const _: () = assert!(PAYLOAD_COPY_MAX < PAYLOAD_BYTES_MAX);
const _: () = assert!(
    ENVELOPE_BULK_MAX >= PAYLOAD_BYTES_MAX,
    "one full entry fits an envelope"
);
const _: () = assert!(
    (APPEND_ENTRIES_MAX as usize + 16) * 56 <= net::limits::MESSAGE_BYTES_MAX,
    "a message and its descriptors fit an envelope"
);
const _: () = assert!(ENVELOPE_BULK_MAX <= net::limits::PEER_BULK_BYTES_MAX);
const _: () = assert!(OUTBOX_BYTES_MAX >= 2 * ENVELOPE_BULK_MAX);
const _: () = assert!(
    CATCH_UP_BYTES as usize >= PAYLOAD_BYTES_MAX,
    "a read returns at least one entry"
);

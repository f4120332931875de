//! Every bound of the network, in one place, with the relations that must hold between them.
//!
//! - A length on the wire is compared with its bound before anything is allocated for it.
//! - A full queue answers "busy", an exhausted pool stops reading, a full house refuses by name.
//! - Constants are part of the format or of its safety; [`Limits`] is what an operator may tune.

/// 1,024 bytes.
pub const KIB: usize = 1024;
/// 1,048,576 bytes.
pub const MIB: usize = 1024 * KIB;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 64;
/// Head and bulk are padded with zeros to this on the wire, so that each begins aligned in the receive buffer.
pub const ALIGNMENT: usize = 16;

/// Longest head of HELLO, WELCOME and GOODBYE; they carry no bulk.
pub const HANDSHAKE_HEAD_BYTES_MAX: usize = 256;
/// Longest head between a client and a node.
pub const CLIENT_HEAD_BYTES_MAX: usize = 4 * KIB;
/// Longest decoded bulk between a client and a node: 8,190 records of 128 bytes and a little.
pub const CLIENT_BULK_BYTES_MAX: usize = MIB;
/// Longest head between two nodes.
pub const HEAD_BYTES_MAX: usize = 256 * KIB;
/// Longest decoded bulk between two nodes.
pub const PEER_BULK_BYTES_MAX: usize = 4 * MIB;
/// Longest single message inside an envelope.
pub const MESSAGE_BYTES_MAX: usize = 64 * KIB;

/// What one small read may bring: the size of the buffers that short frames share.
pub const READ_BYTES: usize = 64 * KIB;
/// What is read after a long frame, where another long one is likely and its beginning would be moved.
pub const LOOKAHEAD_BYTES: usize = 4 * KIB;
/// Pieces of bulk below this are copied beside the headers, longer ones are lent.
pub const COPY_BYTES_MAX: usize = 4 * KIB;
/// Pieces below this are hashed again where their checksum could be combined; above, combining is cheaper.
pub const COMBINE_BYTES_MIN: usize = 8 * KIB;
/// Bulk below this is not worth compressing.
pub const COMPRESS_BYTES_MIN: usize = KIB;

/// How long the parts of a frame may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bound of `head_len`.
    pub head_bytes_max: usize,
    /// Bound of `raw_bulk_len`, and so of `bulk_len`.
    pub bulk_bytes_max: usize,
}

impl FrameLimits {
    /// Until the handshake is done.
    pub const HANDSHAKE: FrameLimits = FrameLimits {
        head_bytes_max: HANDSHAKE_HEAD_BYTES_MAX,
        bulk_bytes_max: 0,
    };
    /// Between a client and a node.
    pub const CLIENT: FrameLimits = FrameLimits {
        head_bytes_max: CLIENT_HEAD_BYTES_MAX,
        bulk_bytes_max: CLIENT_BULK_BYTES_MAX,
    };
    /// Between two nodes.
    pub const PEER: FrameLimits = FrameLimits {
        head_bytes_max: HEAD_BYTES_MAX,
        bulk_bytes_max: PEER_BULK_BYTES_MAX,
    };

    /// Bytes of the longest frame within these limits, header and padding included.
    pub const fn frame_bytes_max(&self) -> usize {
        HEADER_BYTES
            + self.head_bytes_max.next_multiple_of(ALIGNMENT)
            + self.bulk_bytes_max.next_multiple_of(ALIGNMENT)
    }
}

/// What an operator may tune; `Default` is what production starts with. All of it is per core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients that may be connected at once.
    pub clients_max: usize,
    /// Accepted connections whose handshake is not done, and refused ones being told so. Half of them are kept for
    /// the addresses of peers.
    pub handshakes_max: usize,
    /// Bytes of receive buffers for clients and handshakes, lent frames included.
    pub client_pool_bytes_max: usize,
    /// Bytes of receive buffers for peers, lent frames included.
    pub peer_pool_bytes_max: usize,
    /// Bytes queued to one client before `send` answers `Busy`.
    pub client_queue_bytes_max: usize,
    /// Bytes queued to one peer before `send` answers `Busy`.
    pub peer_queue_bytes_max: usize,
    /// Frames queued to one connection before `send` answers `Busy`.
    pub queue_frames_max: usize,
    /// Bytes read from one connection in one poll: what one busy connection may take from the others.
    pub read_bytes_per_poll_max: usize,
    /// Bytes read from all connections in one poll, one share more at most: what keeps turns short.
    pub poll_bytes_max: usize,
    /// From accept or dial to the end of the handshake.
    pub handshake_timeout_ns: u64,
    /// From the first byte of a frame to its last.
    pub frame_timeout_ns: u64,
    /// How long a queue may stand still before the connection is given up.
    pub stall_timeout_ns: u64,
    /// First pause before a peer is dialled again; doubles with each failure.
    pub redial_ns_min: u64,
    /// Longest pause before a peer is dialled again.
    pub redial_ns_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        const SECOND: u64 = 1_000_000_000;
        Limits {
            clients_max: 4096,
            handshakes_max: 1024,
            client_pool_bytes_max: 256 * MIB,
            peer_pool_bytes_max: 128 * MIB,
            client_queue_bytes_max: 8 * MIB,
            peer_queue_bytes_max: 32 * MIB,
            queue_frames_max: 1024,
            read_bytes_per_poll_max: 2 * MIB,
            poll_bytes_max: 8 * MIB,
            handshake_timeout_ns: 2 * SECOND,
            frame_timeout_ns: 30 * SECOND,
            stall_timeout_ns: 30 * SECOND,
            redial_ns_min: SECOND / 50,
            redial_ns_max: SECOND,
        }
    }
}

// A full batch of 128-byte records fits into a client's frame.
const _: () = assert!(8190 * 128 <= CLIENT_BULK_BYTES_MAX);
// What a client may send, a leader can replicate in one envelope, with room for others.
const _: () = assert!(2 * CLIENT_BULK_BYTES_MAX <= PEER_BULK_BYTES_MAX);
// A message fits into an empty envelope, with its entry and the beat.
const _: () = assert!(MESSAGE_BYTES_MAX + 128 <= HEAD_BYTES_MAX);
// Short heads land in the small buffers: only bulk makes a client's frame long.
const _: () = assert!(HEADER_BYTES + CLIENT_HEAD_BYTES_MAX < READ_BYTES);
// A read always has room for the header of a frame.
const _: () = assert!(HEADER_BYTES <= LOOKAHEAD_BYTES && LOOKAHEAD_BYTES < READ_BYTES);
const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGNMENT));
// Lengths travel as u32 and are counted as usize.
const _: () = assert!(size_of::<usize>() >= size_of::<u32>());
const _: () = assert!(FrameLimits::PEER.frame_bytes_max() <= u32::MAX as usize);

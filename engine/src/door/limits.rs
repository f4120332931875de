//! Every bound of the door, with the relations between them.
//!
//! - What a client may hold is bounded per client and in sum: a client that sends half of something, too much of it, or
//!   reads nothing costs itself its connection, and the others nothing.

use net::tigerbeetle::operation::MESSAGE_BYTES_MAX;
use shard::limits::{SESSIONS_MAX, WAITING_BYTES_MAX};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;

/// Connections at once. When all are taken, the oldest that has not yet sent one right message makes room; then the
/// quietest of the origin that has the most.
pub const GUESTS_MAX: usize = 256;
/// Bytes read from one connection before the others get their turn.
pub const READ_PER_TURN: usize = 2 * MESSAGE_BYTES_MAX;
/// Bytes that wait to be read by one client; beyond, it is disconnected.
pub const UNREAD_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;
/// How long a connection may take to its first right message.
pub const FIRST_MESSAGE_NS: u64 = 10 * SECOND;
/// How long the rest of a message may take once it has begun.
pub const HALF_MESSAGE_NS: u64 = 10 * SECOND;
/// How long a client may take nothing of what waits for it.
pub const STALL_NS: u64 = 30 * SECOND;
/// Requests of one connection that may be unanswered: a session has one, a process may have many sessions.
pub const ORDERS_PER_GUEST: usize = 64;
/// Sessions that one connection may register.
pub const REGISTERS_PER_GUEST: u32 = 64;
/// Sessions that one origin may ask for at once; each that is left out comes back after [`REGISTER_EVERY_NS`]. Twice what a
/// group remembers: whatever is beyond would only push out what came before.
pub const REGISTERS_PER_ORIGIN: u64 = 2 * SESSIONS_MAX as u64;
/// After how long an origin may ask for one session more.
pub const REGISTER_EVERY_NS: u64 = 50 * MILLISECOND;
/// Origins of which it is remembered what they asked for; more at once get no session.
pub const ORIGINS_MAX: usize = 4096;
/// Bytes of requests that are being carried out; beyond, no connection is read.
pub const ORDER_BYTES_MAX: usize = 256 * MESSAGE_BYTES_MAX;
/// Parts into which one request may be split. One that needs more is no body that is accepted.
pub const PARTS_MAX: usize = 65_536;
/// Parts of requests on their way to one core at once; the others wait for them.
pub const IN_FLIGHT_PER_LINE: usize = 1024;
/// Bytes of requests that a core of this node may have to answer at once, but one request in any case; the others wait for
/// it here, where nobody answers "busy" to them.
pub const HATCH_BYTES_MAX: usize = WAITING_BYTES_MAX / 2;
/// Receive buffers that are kept for clients' long requests: those being carried out, and those whose entries a core keeps
/// for a while. Beyond, a request gets memory of its own.
pub const GUEST_POOL_BYTES: usize = ORDER_BYTES_MAX;
/// Receive buffers of a connection to a core, held until the client has read.
pub const LINE_POOL_BYTES: usize = 256 * MESSAGE_BYTES_MAX;
/// Clients whose session is remembered here, to ask the group less often.
pub const KNOWN_MAX: usize = 4096;
/// How long a session is taken for known without asking the group again.
pub const KNOWN_NS: u64 = SECOND;
/// How long a part may be without an answer before it is asked again, of another node.
pub const PATIENCE_NS: u64 = 2 * SECOND;
/// First pause before a part is asked again after a refusal; doubles with each.
pub const PAUSE_NS_MIN: u64 = 2 * MILLISECOND;
/// Longest such pause.
pub const PAUSE_NS_MAX: u64 = 100 * MILLISECOND;
/// How often the door looks who leads, while clients are there.
pub const LOOK_NS: u64 = 50 * MILLISECOND;
/// A request that comes to a follower for the second time after this is taken up there.
pub const SECOND_TIME_NS: u64 = 50 * MILLISECOND;
/// Pause before a broken connection to a core is made again.
pub const REDIAL_NS: u64 = 20 * MILLISECOND;
/// How often guests are looked after.
pub const SWEEP_NS: u64 = 100 * MILLISECOND;

const _: () = assert!(READ_PER_TURN >= MESSAGE_BYTES_MAX);
const _: () = assert!(
    UNREAD_BYTES_MAX >= 2 * MESSAGE_BYTES_MAX,
    "a reply and another one"
);
const _: () = assert!(
    ORDER_BYTES_MAX >= GUESTS_MAX * MESSAGE_BYTES_MAX,
    "one request of each"
);
const _: () = assert!(PAUSE_NS_MAX < PATIENCE_NS);
const _: () = assert!(
    HATCH_BYTES_MAX >= 32 * (MESSAGE_BYTES_MAX - 256),
    "full requests of 32 clients"
);

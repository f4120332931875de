//! The numbers of operations, how long their elements are, and how many fit into a message.
//!
//! - What an operation does is not known here, only how its bodies are laid out.

/// Bytes of the longest message, header included.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of the longest body.
pub const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 256;

/// Opens a session.
pub const REGISTER: u8 = 2;
/// The first number that is not the protocol's own.
pub const FIRST: u8 = 128;
/// Changes since a moment; the only one whose body is no list of batches.
pub const GET_CHANGE_EVENTS: u8 = 137;
/// Accounts by id.
pub const LOOKUP_ACCOUNTS: u8 = 140;
/// Transfers by id.
pub const LOOKUP_TRANSFERS: u8 = 141;
/// Transfers of an account.
pub const GET_ACCOUNT_TRANSFERS: u8 = 142;
/// Balances of an account.
pub const GET_ACCOUNT_BALANCES: u8 = 143;
/// Accounts by their fields.
pub const QUERY_ACCOUNTS: u8 = 144;
/// Transfers by their fields.
pub const QUERY_TRANSFERS: u8 = 145;
/// New accounts.
pub const CREATE_ACCOUNTS: u8 = 146;
/// New transfers.
pub const CREATE_TRANSFERS: u8 = 147;

/// Bytes of REGISTER's body and of its result.
pub const REGISTER_BYTES: usize = 256;
/// Bytes of the answer to REGISTER: the longest body a request may have, and zeros.
pub const REGISTERED_BYTES: usize = 64;

/// How an operation's bodies are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of an element of the request.
    pub event_bytes: usize,
    /// Bytes of an element of the reply.
    pub result_bytes: usize,
    /// Does each batch hold one filter, with a limit of results of its own?
    pub filters: bool,
    /// Are bodies lists of batches?
    pub batched: bool,
}

impl Shape {
    /// The shape of an operation's bodies; `None` where releases 0.17 have no such operation.
    #[must_use]
    pub const fn of(operation: u8) -> Option<Shape> {
        let (event_bytes, result_bytes, filters) = match operation {
            GET_CHANGE_EVENTS => (64, 384, true),
            LOOKUP_ACCOUNTS | LOOKUP_TRANSFERS => (16, 128, false),
            GET_ACCOUNT_TRANSFERS | GET_ACCOUNT_BALANCES => (128, 128, true),
            QUERY_ACCOUNTS | QUERY_TRANSFERS => (64, 128, true),
            CREATE_ACCOUNTS | CREATE_TRANSFERS => (128, 16, false),
            _ => return None,
        };
        Some(Shape {
            event_bytes,
            result_bytes,
            filters,
            batched: operation != GET_CHANGE_EVENTS,
        })
    }

    /// Most results of one batch.
    #[must_use]
    pub const fn results_max(&self) -> usize {
        let trailer = if self.batched { self.result_bytes } else { 0 };
        (BODY_BYTES_MAX - trailer) / self.result_bytes
    }

    /// Most events of one batch: both they and their results fit, with their trailers.
    #[must_use]
    pub const fn events_max(&self) -> usize {
        if self.filters {
            return 1;
        }
        let events = (BODY_BYTES_MAX - self.event_bytes) / self.event_bytes;
        let results = self.results_max();
        if events < results { events } else { results }
    }
}

const _: () = assert!(Shape::of(CREATE_TRANSFERS).unwrap().events_max() == 8189);
const _: () = assert!(Shape::of(LOOKUP_ACCOUNTS).unwrap().events_max() == 8189);
const _: () = assert!(Shape::of(QUERY_TRANSFERS).unwrap().results_max() == 8189);
const _: () = assert!(Shape::of(GET_CHANGE_EVENTS).unwrap().results_max() == 2730);

//! The ledger's operations that a session carries out once: the same ones, in lists of batches.

use ledger::account::Account;
use ledger::instruction::operation;
use ledger::status::CreateResult;
use ledger::transfer::Transfer;
use shard::sessions::Once;

/// `create_accounts`, once per request number.
pub const CREATE_ACCOUNTS_ONCE: u8 = 250;
/// `create_transfers`, once per request number.
pub const CREATE_TRANSFERS_ONCE: u8 = 251;

/// The same two, where the session's origin stands behind the batches.
pub const CREATE_ACCOUNTS_TOLD: u8 = 252;
/// See [`CREATE_ACCOUNTS_TOLD`].
pub const CREATE_TRANSFERS_TOLD: u8 = 253;

/// What the sessions around a ledger are told.
pub const LEDGER_ONCE: &[Once] = &[
    Once {
        operation: CREATE_ACCOUNTS_ONCE,
        told: CREATE_ACCOUNTS_TOLD,
        inner: operation::CREATE_ACCOUNTS,
        event_bytes: size_of::<Account>(),
        result_bytes: size_of::<CreateResult>(),
    },
    Once {
        operation: CREATE_TRANSFERS_ONCE,
        told: CREATE_TRANSFERS_TOLD,
        inner: operation::CREATE_TRANSFERS,
        event_bytes: size_of::<Transfer>(),
        result_bytes: size_of::<CreateResult>(),
    },
];

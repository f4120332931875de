//! The books of a group: its accounts, its transfers, what is reserved, and the account histories.
//!
//! - Parts that only hold; the rules that change them are in `create_accounts`, `new_transfer`,
//!   `resolution` and `expiry`.

use crate::account_table::AccountTable;
use crate::history::History;
use crate::limits::Limits;
use crate::pending::Pendings;
use crate::transfer_table::TransferTable;

/// All replicated state but the clock and the digest.
pub(crate) struct Books {
    pub(crate) accounts: AccountTable,
    pub(crate) transfers: TransferTable,
    pub(crate) pendings: Pendings,
    pub(crate) history: History,
}

impl Books {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            accounts: AccountTable::new(limits.accounts_max),
            transfers: TransferTable::new(limits.transfers_max),
            pendings: Pendings::new(limits.pendings_max),
            history: History::new(),
        }
    }
}

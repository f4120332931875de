//! The books of a group: its accounts, its transfers, and what is reserved.
//!
//! - Parts that only hold; the rules that change them are in `create_accounts`, `new_transfer`,
//!   `resolution` and `expiry`.

use crate::account_table::AccountTable;
use crate::find_blocks::FindBlocks;
use crate::id_index::IdHasher;
use crate::limits::Limits;
use crate::pending::Pendings;
use crate::transfer_table::{TransferRow, TransferTable};

/// All replicated state but the clock and the digest.
pub(crate) struct Books {
    pub(crate) accounts: AccountTable,
    pub(crate) transfers: TransferTable,
    pub(crate) pendings: Pendings,
    /// Hashes ids for the indexes of all tables.
    pub(crate) hasher: IdHasher,
    /// Derived from the transfers; no part of the replicated state.
    pub(crate) blocks: FindBlocks,
}

impl Books {
    pub(crate) fn new(limits: &Limits, hasher: IdHasher) -> Self {
        Self {
            accounts: AccountTable::new(limits.accounts_max, hasher),
            transfers: TransferTable::new(limits.transfers_max, hasher),
            pendings: Pendings::new(limits.pendings_max),
            hasher,
            blocks: FindBlocks::default(),
        }
    }

    /// Indexes the transfers that a command has added.
    pub(crate) fn index(&mut self) {
        let transfers = &self.transfers;
        self.blocks.extend(transfers.len(), |row| {
            transfers.event(TransferRow::new(row))
        });
    }

    /// Bytes that all of it occupies.
    pub(crate) fn bytes(&self) -> usize {
        self.accounts.bytes() + self.transfers.bytes() + self.pendings.bytes() + self.blocks.bytes()
    }
}

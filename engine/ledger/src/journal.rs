//! Remembers what an open chain has changed, so that a broken chain leaves no trace.
//!
//! - Steps are taken back in reverse, each to the very balances and flags from before.
//! - Empty outside of a chain; never longer than a request.

use crate::account_table::{AccountRow, Balances};
use crate::books::Books;
use crate::digest::Digest;
use crate::pending::Reservation;
use crate::transfer::TransferFlags;
use crate::transfer_table::TransferRow;

/// What one transfer of the chain changed.
pub(crate) struct Step {
    pub(crate) row: TransferRow,
    /// The reservation that it resolved.
    pub(crate) resolved: Option<Reservation>,
    pub(crate) debit: (AccountRow, Balances),
    pub(crate) credit: (AccountRow, Balances),
}

/// The steps of the open chain.
#[derive(Default)]
pub(crate) struct Journal {
    open: bool,
    steps: Vec<Step>,
}

impl Journal {
    pub(crate) fn open(&mut self) {
        assert!(!self.open && self.steps.is_empty(), "chains do not nest");
        self.open = true;
    }

    /// Is a chain open, so that steps must be noted?
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn note(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// The chain happened as a whole.
    pub(crate) fn commit(&mut self) {
        self.steps.clear();
        self.open = false;
    }

    /// The chain broke: takes everything back.
    pub(crate) fn roll_back(&mut self, books: &mut Books, digest: &mut Digest) {
        while let Some(step) = self.steps.pop() {
            let transfer = books.transfers.row(step.row);
            if transfer.flags().has(TransferFlags::PENDING) {
                let id = transfer.id.get();
                books.pendings.forget(id, books.hasher.hash(id));
            }
            if let Some(resolved) = step.resolved {
                let hash = books.hasher.hash(resolved.transfer.id.get());
                books.pendings.reopen(&resolved, hash);
            }
            books.transfers.pop();
            for (row, balances) in [step.credit, step.debit] {
                let account = books.accounts.row_mut(row);
                account.restore(balances);
                digest.touched(account);
            }
        }
        self.open = false;
    }
}

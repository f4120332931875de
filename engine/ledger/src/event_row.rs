//! A row of the transfer table: a transfer, the expiry of one, or an id that was spent.
//!
//! The 128 bytes are those of a [`Transfer`]; what else there is to say stands in flag bits that no transfer has.
//!
//! | row | what its fields hold |
//! |---|---|
//! | transfer | the transfer as stored |
//! | expiry | the moment, both accounts, amount, ledger and code of the reservation, `pending_id` names it, `timeout` is its row |
//! | spent id | the id, and the timestamp of the row before |

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::transfer::{Transfer, TransferFlags};
use crate::transfer_table::TransferRow;

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    Transfer,
    Expiry,
    Spent,
}

/// A row as it is kept, in memory and in chapters.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub(crate) struct EventRow(Transfer);

const _: () = assert!(size_of::<EventRow>() == 128);

impl EventRow {
    /// The row of a transfer.
    #[inline]
    pub(crate) const fn of(transfer: &Transfer) -> Self {
        Self(*transfer)
    }

    /// The row of an id that is spent.
    pub(crate) fn spent(id: u128, timestamp: u64) -> Self {
        Self(Transfer {
            id: id.into(),
            flags: TransferFlags::SPENT.0.into(),
            timestamp: timestamp.into(),
            ..Transfer::default()
        })
    }

    /// The row of an expiry at a moment.
    pub(crate) fn expiry(pending: &Transfer, row: TransferRow, timestamp: u64) -> Self {
        Self(Transfer {
            debit_account_id: pending.debit_account_id,
            credit_account_id: pending.credit_account_id,
            amount: pending.amount,
            pending_id: pending.id,
            timeout: row.0.into(),
            ledger: pending.ledger,
            code: pending.code,
            flags: TransferFlags::EXPIRY.0.into(),
            timestamp: timestamp.into(),
            ..Transfer::default()
        })
    }

    #[inline]
    pub(crate) fn kind(&self) -> RowKind {
        let flags = self.0.flags();
        if !flags.has(TransferFlags::EXPIRY.with(TransferFlags::SPENT)) {
            RowKind::Transfer
        } else if flags.has(TransferFlags::EXPIRY) {
            RowKind::Expiry
        } else {
            RowKind::Spent
        }
    }

    /// The transfer that the row is, if it is one; else its fields, as far as they are set.
    #[inline]
    pub(crate) fn transfer(&self) -> Transfer {
        let mut transfer = self.0;
        transfer.flags = (transfer.flags.get() & !TransferFlags::OF_ROW.0).into();
        transfer
    }

    /// The fields as they stand, with the flags of the row.
    #[inline]
    pub(crate) const fn fields(&self) -> &Transfer {
        &self.0
    }

    /// Which of the row's own flags are set.
    #[inline]
    pub(crate) fn has(&self, flags: TransferFlags) -> bool {
        self.0.flags().has(flags)
    }

    /// Sets flags of the row.
    #[inline]
    pub(crate) fn mark(&mut self, flags: TransferFlags) {
        self.0.flags = (self.0.flags.get() | flags.0).into();
    }

    /// The row of the reservation that an expiry ended.
    pub(crate) fn ended(&self) -> TransferRow {
        TransferRow(self.0.timeout.get())
    }
}

//! What the balances of an account were after each of its transfers, for accounts that ask to remember.
//!
//! - One record for each transfer and each of its accounts that has the `history` flag, in order of transfers,
//!   the debit side first; so a record is found by binary search.
//! - Records never change; a broken chain takes back those of the rows it took back.

use crate::account::AccountFlags;
use crate::account_table::{AccountState, Balances};
use crate::rows::Rows;
use crate::transfer_table::TransferRow;

/// Which account of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Debit,
    Credit,
}

/// The balances of one account after one transfer.
struct Record {
    balances: Balances,
    row: TransferRow,
    side: Side,
}

/// Records of a chunk: 384 KiB.
const CHUNK: usize = 1 << 12;

/// All remembered balances of a group.
pub(crate) struct History {
    records: Rows<Record, CHUNK>,
}

impl History {
    pub(crate) const fn new() -> Self {
        Self {
            records: Rows::new(),
        }
    }

    /// Remembers the balances after a transfer, where an account asks for it.
    #[inline]
    pub(crate) fn record(&mut self, row: TransferRow, debit: &AccountState, credit: &AccountState) {
        for (side, account) in [(Side::Debit, debit), (Side::Credit, credit)] {
            if account.flags.has(AccountFlags::HISTORY) {
                self.records.push(Record {
                    balances: account.balances(),
                    row,
                    side,
                });
            }
        }
    }

    /// Takes back the records of a row, which is the newest.
    pub(crate) fn forget(&mut self, row: TransferRow) {
        while self.records.last().is_some_and(|record| record.row == row) {
            self.records.pop();
        }
    }

    /// The balances of one side after a transfer, if they were remembered.
    pub(crate) fn find(&self, row: TransferRow, side: Side) -> Option<Balances> {
        let place = self
            .records
            .partition_point(|record| (record.row, record.side) < (row, side));
        let record = self.records.iter_from(place).next()?;
        ((record.row, record.side) == (row, side)).then_some(record.balances)
    }

    /// Bytes that the records occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.records.bytes()
    }
}

//! What the balances of an account were after each of its transfers, for accounts that ask to remember.
//!
//! - One record for each transfer and each of its accounts that has the `history` flag, in order of
//!   transfers, the debit side first; so a record is found by binary search.
//! - Records never change; a broken chain takes back those of the rows it took back.

use crate::account::{AccountBalance, AccountFlags};
use crate::account_table::AccountState;
use crate::pages::Pages;
use crate::rows::Rows;
use crate::transfer_table::TransferRow;

/// Which account of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Debit,
    Credit,
}

/// Keys of a chunk: 64 KiB.
const CHUNK: usize = 1 << 14;

/// All remembered balances of a group.
pub(crate) struct History {
    /// Row and side of each record, as one rising number.
    keys: Rows<u32, CHUNK>,
    /// Pending debits, posted debits, pending credits, posted credits.
    balances: Pages<[u128; 4]>,
}

impl History {
    pub(crate) const fn new() -> Self {
        Self {
            keys: Rows::new(),
            balances: Pages::new(),
        }
    }

    /// Remembers the balances after a transfer, where an account asks for it.
    #[inline]
    pub(crate) fn record(&mut self, row: TransferRow, debit: &AccountState, credit: &AccountState) {
        for (side, account) in [(Side::Debit, debit), (Side::Credit, credit)] {
            if account.flags.has(AccountFlags::HISTORY) {
                self.keys.push(key(row, side));
                let (debits, credits) = (
                    [account.debits_pending, account.debits_posted],
                    [account.credits_pending, account.credits_posted],
                );
                self.balances
                    .push([debits[0], debits[1], credits[0], credits[1]]);
            }
        }
    }

    /// Takes back the records of a row, which is the newest.
    pub(crate) fn forget(&mut self, row: TransferRow) {
        while self.keys.last().is_some_and(|key| key >> 1 == row.0) {
            self.keys.pop();
            self.balances.pop();
        }
    }

    /// The balances of one side after a transfer of this timestamp, if they were remembered.
    pub(crate) fn find(
        &self,
        row: TransferRow,
        side: Side,
        timestamp: u64,
    ) -> Option<AccountBalance> {
        let wanted = key(row, side);
        let place = self.keys.partition_point(|key| *key < wanted);
        if place == self.keys.len() || *self.keys.get(place) != wanted {
            return None;
        }
        let [
            debits_pending,
            debits_posted,
            credits_pending,
            credits_posted,
        ] = *self.balances.get(place);
        Some(AccountBalance {
            debits_pending: debits_pending.into(),
            debits_posted: debits_posted.into(),
            credits_pending: credits_pending.into(),
            credits_posted: credits_posted.into(),
            timestamp: timestamp.into(),
            reserved: [0; 56],
        })
    }

    /// Bytes that the records occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.bytes() + self.balances.bytes()
    }
}

/// Row numbers have 31 bits; the side is the last one.
fn key(row: TransferRow, side: Side) -> u32 {
    row.0 << 1 | side as u32
}

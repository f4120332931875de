//! What the balances of both accounts were right after each transfer and each expiry.
//!
//! - One line for each row of the transfer table, of eight 64-bit numbers: one cache line. A row with a balance of
//!   2^64 or more stands aside at full width, and its line is not read.
//! - Lines never change; a broken chain takes back those of the rows it took back.

use std::collections::BTreeMap;

use crate::account::AccountBalance;
use crate::account_table::AccountState;
use crate::pages::{ChunkSource, Pages};
use crate::prefetch::prefetch;

/// Which account of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Debit,
    Credit,
}

/// Both accounts' balances: pending debits, posted debits, pending credits, posted credits of the debit
/// account, then of the credit account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Both(pub(crate) [u128; 8]);

impl Both {
    /// As two accounts stand.
    #[inline]
    pub(crate) fn of(debit: &AccountState, credit: &AccountState) -> Self {
        Self([
            debit.debits_pending,
            debit.debits_posted,
            debit.credits_pending,
            debit.credits_posted,
            credit.debits_pending,
            credit.debits_posted,
            credit.credits_pending,
            credit.credits_posted,
        ])
    }

    /// Does a balance not fit 64 bits?
    #[inline]
    pub(crate) fn is_wide(&self) -> bool {
        self.0.iter().fold(0_u128, |high, sum| high | sum) >> 64 != 0
    }

    /// One account's four: pending debits, posted debits, pending credits, posted credits.
    pub(crate) fn side(&self, side: Side) -> [u128; 4] {
        let start = match side {
            Side::Debit => 0,
            Side::Credit => 4,
        };
        [
            self.0[start],
            self.0[start + 1],
            self.0[start + 2],
            self.0[start + 3],
        ]
    }

    /// One account's four as they travel.
    pub(crate) fn to_wire(self, side: Side, timestamp: u64) -> AccountBalance {
        let [
            debits_pending,
            debits_posted,
            credits_pending,
            credits_posted,
        ] = self.side(side);
        AccountBalance {
            debits_pending: debits_pending.into(),
            debits_posted: debits_posted.into(),
            credits_pending: credits_pending.into(),
            credits_posted: credits_posted.into(),
            timestamp: timestamp.into(),
            reserved: [0; 56],
        }
    }
}

/// The balances of the rows that are in memory.
pub(crate) struct BalanceLines {
    lines: Pages<[u64; 8]>,
    /// Rows whose balances do not fit a line.
    wide: BTreeMap<u32, Both>,
}

impl BalanceLines {
    pub(crate) const fn new() -> Self {
        Self {
            lines: Pages::new(),
            wide: BTreeMap::new(),
        }
    }

    /// Remembers the balances after the next row; true if they are wide.
    #[inline]
    pub(crate) fn push(&mut self, both: &Both) -> bool {
        let wide = both.is_wide();
        #[expect(clippy::cast_possible_truncation, reason = "what is wide stands aside")]
        let line = both.0.map(|sum| sum as u64);
        if wide {
            self.widen(*both);
        }
        self.lines.push(line);
        wide
    }

    #[cold]
    fn widen(&mut self, both: Both) {
        let row = u32::try_from(self.lines.len()).expect("row numbers have 32 bits");
        self.wide.insert(row, both);
    }

    /// The balances after a row that is in memory.
    pub(crate) fn get(&self, row: u32, wide: bool) -> Both {
        if wide {
            return self.wide[&row];
        }
        Both(self.lines.get(row as usize).map(u128::from))
    }

    /// Hints that a row's line will be read soon; none if there is none yet.
    #[inline]
    pub(crate) fn prefetch(&self, row: usize) {
        if row < self.lines.len() {
            prefetch(self.lines.get(row));
        }
    }

    /// Takes back the newest line.
    pub(crate) fn pop(&mut self) {
        self.lines.pop();
        let row = u32::try_from(self.lines.len()).expect("row numbers have 32 bits");
        self.wide.remove(&row);
    }

    /// Begins at a row: those before it are elsewhere.
    pub(crate) fn start_at(&mut self, row: usize) {
        self.lines.start_at(row);
        self.wide.clear();
    }

    /// Gives up the lines before a row.
    pub(crate) fn release_before(&mut self, row: u32) {
        self.lines.release_before(row as usize);
        self.wide = self.wide.split_off(&row);
    }

    /// Touches the memory of lines up to a row.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.lines.reserve(rows);
    }

    /// See [`Pages::draw_on`].
    pub(crate) fn draw_on(&mut self, stock: ChunkSource) {
        self.lines.draw_on(stock);
    }

    /// Bytes that the lines occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.lines.bytes() + self.wide.len() * size_of::<(u32, Both)>()
    }
}

#[cfg(test)]
mod tests {
    use super::{BalanceLines, Both, Side};

    #[test]
    fn wide_and_narrow_balances_come_back() {
        let mut lines = BalanceLines::new();
        let narrow = Both([1, 2, 3, 4, 5, 6, 7, u128::from(u64::MAX)]);
        let wide = Both([0, 1 << 64, 0, 0, 9, 0, 0, u128::MAX]);
        assert!(!lines.push(&narrow));
        assert!(lines.push(&wide));
        assert!(!lines.push(&narrow));
        assert_eq!((lines.get(0, false), lines.get(1, true)), (narrow, wide));
        assert_eq!(wide.side(Side::Credit), [9, 0, 0, u128::MAX]);
        lines.pop();
        lines.pop();
        assert!(!lines.push(&narrow));
        assert_eq!(lines.get(1, false), narrow);
        lines.release_before(1);
        assert_eq!(lines.get(1, false), narrow);
    }
}

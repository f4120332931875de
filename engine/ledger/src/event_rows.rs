//! The rows of transfers, expiries and spent ids in order of time, with the balances after each.
//!
//! - A row never changes once its command is over; a broken chain takes back the rows it added.
//! - Timestamps rise from row to row; that of a spent id is the one before.

use core::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::account::AccountFlags;
use crate::account_table::AccountState;
use crate::balances::{BalanceLines, Both};
use crate::event_row::EventRow;
use crate::filter::Period;
use crate::pages::Pages;
use crate::transfer::TransferFlags;
use crate::transfer_table::TransferRow;

/// A row on two whole cache lines.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
struct Aligned(EventRow);

/// All rows of a group.
pub(crate) struct EventRows {
    rows: Pages<Aligned>,
    balances: BalanceLines,
}

impl EventRows {
    pub(crate) const fn new() -> Self {
        Self {
            rows: Pages::new(),
            balances: BalanceLines::new(),
        }
    }

    /// Rows, whatever they are; the number of the next one.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    pub(crate) fn get(&self, row: TransferRow) -> &EventRow {
        &self.rows.get(row.0 as usize).0
    }

    /// The balances after a row.
    pub(crate) fn balances(&self, row: TransferRow) -> Both {
        self.balances
            .get(row.0, self.get(row).has(TransferFlags::WIDE))
    }

    /// Adds a row. Its balances follow with [`Self::settle`].
    #[inline]
    pub(crate) fn push(&mut self, row: EventRow) -> TransferRow {
        let number = TransferRow::new(self.rows.len());
        self.rows.push(Aligned(row));
        number
    }

    /// The accounts of the newest row, as they stand after it.
    #[inline]
    pub(crate) fn settle(&mut self, debit: &AccountState, credit: &AccountState) {
        let mut flags = TransferFlags::NONE;
        if self.balances.push(&Both::of(debit, credit)) {
            flags = flags.with(TransferFlags::WIDE);
        }
        if debit.flags.has(AccountFlags::CLOSED) {
            flags = flags.with(TransferFlags::DEBIT_CLOSED);
        }
        if credit.flags.has(AccountFlags::CLOSED) {
            flags = flags.with(TransferFlags::CREDIT_CLOSED);
        }
        if flags.0 != 0 {
            self.rows.get_mut(self.rows.len() - 1).0.mark(flags);
        }
    }

    /// The newest row moved nothing.
    pub(crate) fn settle_nothing(&mut self) {
        self.balances.push(&Both::default());
    }

    /// Takes back the newest row and its balances.
    pub(crate) fn pop(&mut self) -> EventRow {
        let Aligned(row) = self
            .rows
            .pop()
            .expect("a chain takes back only what it added");
        self.balances.pop();
        row
    }

    /// The numbers of the rows within a period, both ends included.
    pub(crate) fn range_within(&self, period: Period) -> Range<usize> {
        let before = |bound: u64| move |row: &Aligned| row.0.fields().timestamp.get() < bound;
        let first = self.rows.partition_point(0, before(period.first));
        let end = self.rows.partition_point(0, before(period.last + 1));
        first..end
    }

    /// Touches the memory of the first `rows` rows.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows);
        self.balances.reserve(rows);
    }

    /// Bytes that rows and balances occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + self.balances.bytes()
    }
}

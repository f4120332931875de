//! The rows of transfers, expiries and spent ids in order of time, with the balances after each.
//!
//! Older rows are in chapters, newer ones in memory; where the border is shows in no answer.
//!
//! - A row never changes once its command is over; a broken chain takes back the rows it added.
//! - Timestamps rise from row to row; that of a spent id is the one before.

use core::ops::Range;
use std::sync::Arc;

use raft::state_machine::RestoreError;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::account::AccountFlags;
use crate::account_table::AccountState;
use crate::balances::{BalanceLines, Both};
use crate::chapter::Chapter;
use crate::event_row::EventRow;
use crate::filter::Period;
use crate::pages::{ChunkSource, Pages};
use crate::prefetch::prefetch;
use crate::shelf::Shelf;
use crate::transfer::TransferFlags;
use crate::transfer_table::TransferRow;

/// A row on two whole cache lines.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
struct Aligned(EventRow);

/// All rows of a group.
pub(crate) struct EventRows {
    shelf: Shelf,
    /// Rows that are in chapters: all before this one.
    shelved: usize,
    rows: Pages<Aligned>,
    balances: BalanceLines,
}

impl EventRows {
    pub(crate) const fn new(row_bits: Option<u32>) -> Self {
        Self {
            shelf: Shelf::new(row_bits),
            shelved: 0,
            rows: Pages::new(),
            balances: BalanceLines::new(),
        }
    }

    /// Rows from `shelved` on. Those before it are in chapters that come with [`Self::fill`], and are not asked for
    /// until then.
    pub(crate) fn start_at(&mut self, shelved: usize) {
        self.shelved = shelved;
        self.rows.start_at(shelved);
        self.balances.start_at(shelved);
    }

    /// Brings the chapters of the rows before the first.
    pub(crate) fn fill(&mut self, shelf: Shelf) {
        assert_eq!(shelf.rows(), self.shelved, "the image said so");
        self.shelf = shelf;
    }

    /// Rows, whatever they are; the number of the next one.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Rows that are in chapters: all before this number.
    pub(crate) const fn shelved(&self) -> usize {
        self.shelved
    }

    pub(crate) const fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Takes over the next chapter, and gives up the memory of its rows.
    pub(crate) fn shelve(&mut self, chapter: Chapter) -> Result<(), RestoreError> {
        self.shelf.add(chapter)?;
        self.shelved = self.shelf.rows();
        self.rows.release_before(self.shelved);
        self.balances
            .release_before(TransferRow::new(self.shelved).0);
        Ok(())
    }

    /// Takes over a chapter that is here already, in another place of memory.
    pub(crate) fn reshelve(&mut self, chapter: Chapter) -> Result<(), RestoreError> {
        self.shelf.replace(chapter)
    }

    #[inline]
    pub(crate) fn get(&self, row: TransferRow) -> &EventRow {
        let row = row.0 as usize;
        if row < self.shelved {
            return self.shelf.row(row);
        }
        &self.rows.get(row).0
    }

    /// Hints that a row and its balances will be read soon, if they are in memory.
    #[inline]
    pub(crate) fn prefetch(&self, row: TransferRow) {
        let number = row.0 as usize;
        if number >= self.shelved && number < self.rows.len() {
            prefetch(self.rows.get(number));
            self.balances.prefetch(number);
        }
    }

    /// Hints that a row's id will be read soon, if it is in memory.
    #[inline]
    pub(crate) fn prefetch_id(&self, row: TransferRow) {
        let number = row.0 as usize;
        if number >= self.shelved {
            prefetch(&self.rows.get(number).0.fields().id);
        }
    }

    /// The balances after a row.
    pub(crate) fn balances(&self, row: TransferRow) -> Both {
        if (row.0 as usize) < self.shelved {
            return self.shelf.balances(row.0 as usize);
        }
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

    /// Adds a row with its balances, as an image has them.
    pub(crate) fn restore(&mut self, row: &EventRow, both: &Both) -> TransferRow {
        let number = self.push(*row);
        self.balances.push(both);
        number
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
        self.first_since(period.first)..self.first_since(period.last + 1)
    }

    /// The first row whose timestamp is not before a moment.
    fn first_since(&self, moment: u64) -> usize {
        let in_chapters = self.shelf.first_since(moment);
        if in_chapters < self.shelved {
            return in_chapters;
        }
        let before = |row: &Aligned| row.0.fields().timestamp.get() < moment;
        self.rows.partition_point(self.shelved, before)
    }

    /// Touches the memory of the first `rows` rows.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows);
        self.balances.reserve(rows);
    }

    /// See [`Pages::draw_on`].
    pub(crate) fn draw_on(&mut self, stock: ChunkSource) {
        self.rows.draw_on(Arc::clone(&stock));
        self.balances.draw_on(stock);
    }

    /// Bytes in memory for rows and balances.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + self.balances.bytes() + self.shelf.bytes()
    }
}

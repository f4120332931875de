//! Where transfers live: one row of two cache lines each, appended in order of time, and found by id.
//!
//! Ids that failed for a passing reason (`spent`) and reservations that expired have rows too (`event_row`).
//! Ids that rise are found through runs, all others through a hash index.
//!
//! - A row never changes once it is written; a broken chain takes back the rows it added.
//! - An id is at most once in the table, as a transfer or as a spent id.
//! - An id of a row that left memory is found here until a chapter above tier 0 indexes it; then it is found there, and
//!   the indexes in memory forget it, some rows at a time.
//! - Transfers plus spent ids never exceed the limit, and nor do expiries, each of which ends a transfer.

use core::ops::Range;

use raft::state_machine::RestoreError;

use crate::account_table::AccountState;
use crate::balances::Both;
use crate::chapter::Chapter;
use crate::event_row::{EventRow, RowKind};
use crate::event_rows::EventRows;
use crate::filter::Period;
use crate::id_index::{IdHasher, IdIndex, id_hash};
use crate::id_runs::{IdRuns, Recorded};
use crate::limits::{EVENTS_MAX, TIMESTAMP_MAX};
use crate::mutants::{Mutant, is_planted};
use crate::pages::ChunkSource;
use crate::shelf::{Fetch, Shelf};
use crate::transfer::{Transfer, TransferFlags};

/// Number of a transfer's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TransferRow(pub(crate) u32);

impl TransferRow {
    /// The row with this number.
    #[inline]
    pub(crate) fn new(row: usize) -> Self {
        Self(u32::try_from(row).expect("limits keep row numbers in 32 bits"))
    }
}

/// What the table knows of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// A transfer has it.
    Transfer(TransferRow),
    /// It failed once and is spent.
    Spent,
}

/// How many rows there are of each kind, and what proves them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) transfers: u64,
    pub(crate) spent: u64,
    pub(crate) expiries: u64,
    /// Sum of the hashes of all transfers' ids, which proves a run from outside.
    pub(crate) id_sum: u128,
}

/// All transfers of a group.
pub(crate) struct TransferTable {
    rows: EventRows,
    counts: Counts,
    rows_max: usize,
    runs: IdRuns,
    /// Ids that are in no run.
    strays: IdIndex,
    hasher: IdHasher,
    last_timestamp: u64,
    /// Rows before this one are in no index in memory.
    forgotten: usize,
}

/// Rows that the indexes in memory forget after one command, at least as many as it can add.
const FORGOTTEN_AT_ONCE: usize = 2 * EVENTS_MAX;

/// Of these, so many have their places in the hash index fetched together.
const FORGOTTEN_TOGETHER: usize = 16;

impl TransferTable {
    pub(crate) fn new(rows_max: usize, row_bits: Option<u32>, hasher: IdHasher) -> Self {
        Self {
            rows: EventRows::new(row_bits),
            counts: Counts::default(),
            rows_max,
            runs: IdRuns::new(),
            strays: IdIndex::new(rows_max),
            hasher,
            last_timestamp: 0,
            forgotten: 0,
        }
    }

    /// Touches the memory of the first `rows` transfers.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows.min(self.rows_max));
    }

    /// See [`crate::pages::Pages::draw_on`].
    pub(crate) fn draw_on(&mut self, stock: ChunkSource) {
        self.rows.draw_on(stock);
    }

    /// Rows of all kinds; the number of the next one.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    #[inline]
    pub(crate) fn full(&self) -> bool {
        self.counts.transfers + self.counts.spent >= self.rows_max as u64
    }

    /// Are there more than there may be?
    pub(crate) fn overfull(&self) -> bool {
        self.counts.transfers.saturating_add(self.counts.spent) > self.rows_max as u64
    }

    /// The newest row's timestamp; 0 if there is none.
    pub(crate) fn last_timestamp(&self) -> u64 {
        self.last_timestamp
    }

    /// The row with this number, whatever it is.
    #[inline]
    pub(crate) fn event(&self, row: TransferRow) -> &EventRow {
        self.rows.get(row)
    }

    /// The transfer at this row.
    #[inline]
    pub(crate) fn row(&self, row: TransferRow) -> Transfer {
        self.rows.get(row).transfer()
    }

    /// The balances of both accounts after the row.
    pub(crate) fn balances(&self, row: TransferRow) -> Both {
        self.rows.balances(row)
    }

    /// The numbers of the rows within a period, both ends included.
    pub(crate) fn range_within(&self, period: Period) -> Range<usize> {
        self.rows.range_within(period)
    }

    /// What is known of an id.
    pub(crate) fn find(&self, id: u128) -> Option<Known> {
        self.find_hashed(id, self.hasher.hash(id))
    }

    /// What is known of an id whose hash is at hand.
    #[inline]
    pub(crate) fn find_hashed(&self, id: u128, hash: u64) -> Option<Known> {
        if self.runs.surely_new(id) {
            return None;
        }
        let rows = &self.rows;
        let in_memory = self
            .runs
            .find(id, id_of(rows))
            .or_else(|| self.strays.find(hash, |row| id_of(rows)(row) == id));
        let row = in_memory.map(TransferRow).or_else(|| {
            rows.shelf()
                .find_id(id, self.forgotten)
                .map(TransferRow::new)
        })?;
        Some(match rows.get(row).kind() {
            RowKind::Spent => Known::Spent,
            _ => Known::Transfer(row),
        })
    }

    /// The transfer with this id.
    pub(crate) fn find_transfer(&self, id: u128) -> Option<TransferRow> {
        match self.find(id)? {
            Known::Transfer(row) => Some(row),
            Known::Spent => None,
        }
    }

    /// Hints that an id will be looked for, after so many others.
    #[inline]
    pub(crate) fn prefetch_index(&self, id: u128, hash: u64, others: usize) {
        if !self.runs.surely_new(id) {
            let row = |row| self.rows.prefetch_id(TransferRow(row));
            self.runs.coming(id, others, row);
            self.strays.prefetch(hash);
            let shelf = self.rows.shelf();
            shelf.prefetch_id(id, self.forgotten, Fetch::Group);
        }
    }

    /// Hints it once more, when that is here.
    #[inline]
    pub(crate) fn prefetch_entries(&self, id: u128) {
        if !self.runs.surely_new(id) {
            let shelf = self.rows.shelf();
            shelf.prefetch_id(id, self.forgotten, Fetch::Entries);
        }
    }

    /// Adds a transfer that is not there yet; `hash` is its id's. What it did follows with [`Self::settle`].
    #[inline]
    pub(crate) fn push(&mut self, transfer: &Transfer, hash: u64) -> TransferRow {
        assert!(
            !self.full(),
            "the limit is checked before a transfer is created"
        );
        debug_assert!(
            self.last_timestamp < transfer.timestamp.get(),
            "timestamps rise"
        );
        let row = self.rows.push(EventRow::of(transfer));
        let id = transfer.id.get();
        self.enter(id, hash, row);
        self.counts.transfers += 1;
        self.counts.id_sum = self.counts.id_sum.wrapping_add(u128::from(id_hash(id)));
        self.last_timestamp = transfer.timestamp.get();
        row
    }

    /// The accounts of the newest transfer or expiry, as they stand after it.
    #[inline]
    pub(crate) fn settle(&mut self, debit: &AccountState, credit: &AccountState) {
        self.rows.settle(debit, credit);
    }

    /// Adds the expiry of a reservation. What it did follows with [`Self::settle`].
    pub(crate) fn expire(&mut self, pending: &Transfer, row: TransferRow, at: u64) {
        debug_assert!(self.last_timestamp < at, "timestamps rise");
        self.rows.push(EventRow::expiry(pending, row, at));
        self.counts.expiries += 1;
        self.last_timestamp = at;
    }

    /// Remembers an id as failed for good.
    pub(crate) fn spend(&mut self, id: u128, hash: u64) {
        assert!(!self.full(), "the limit is checked before an id is spent");
        let row = self.rows.push(EventRow::spent(id, self.last_timestamp));
        self.rows.settle_nothing();
        self.enter(id, hash, row);
        self.counts.spent += 1;
    }

    /// Makes an id findable: at the end of a run, or in the hash index.
    #[inline]
    fn enter(&mut self, id: u128, hash: u64, row: TransferRow) {
        if self.runs.record(id, row.0) == Recorded::Stray {
            self.stray(hash, row.0);
        }
    }

    /// Keeps a row in the hash index; from time to time the rows of a short run with it.
    fn stray(&mut self, hash: u64, row: u32) {
        self.strays.insert(hash, row);
        if let Some(rows) = self.runs.dissolve() {
            // What was forgotten is found in chapters.
            let first = self.forgotten;
            for row in rows.take_while(|row| *row as usize >= first) {
                self.strays
                    .insert(self.hasher.hash(id_of(&self.rows)(row)), row);
            }
        }
    }

    pub(crate) const fn rows(&self) -> &EventRows {
        &self.rows
    }

    /// Takes over the next chapter.
    pub(crate) fn shelve(&mut self, chapter: Chapter) -> Result<(), RestoreError> {
        self.rows.shelve(chapter)
    }

    /// See [`EventRows::reshelve`].
    pub(crate) fn reshelve(&mut self, chapter: Chapter) -> Result<(), RestoreError> {
        self.rows.reshelve(chapter)
    }

    /// No id in the table is above it.
    pub(crate) fn id_max(&self) -> u128 {
        self.runs.highest()
    }

    /// Begins with rows that are in chapters, and what is known of all.
    pub(crate) fn begin_restore(&mut self, shelved: usize, counts: Counts, id_max: u128) {
        self.rows.start_at(shelved);
        self.forgotten = shelved;
        self.counts = counts;
        self.runs.raise(id_max);
    }

    /// Takes over the next row of an image, unless it breaks the order of time or names an id a second time.
    pub(crate) fn restore(&mut self, row: &EventRow, both: &Both) -> bool {
        let fields = row.fields();
        let (id, timestamp) = (fields.id.get(), fields.timestamp.get());
        let rises = match row.kind() {
            RowKind::Spent => timestamp >= self.last_timestamp,
            _ => timestamp > self.last_timestamp,
        };
        let hash = self.hasher.hash(id);
        let has_id = row.kind() != RowKind::Expiry;
        let rows = &self.rows;
        let known = has_id
            && (id == 0
                || id > self.runs.highest()
                || self.runs.find(id, id_of(rows)).is_some()
                || (self.strays.find(hash, |row| id_of(rows)(row) == id)).is_some());
        let wide = both.is_wide() == row.has(TransferFlags::WIDE);
        if !rises || timestamp > TIMESTAMP_MAX || known || !wide {
            return false;
        }
        let number = self.rows.restore(row, both);
        if has_id && !is_planted(Mutant::IdsNotRestored) {
            self.enter(id, hash, number);
        }
        self.last_timestamp = timestamp;
        true
    }

    /// Brings the chapters.
    pub(crate) fn end_restore(&mut self, shelf: Shelf) {
        self.rows.fill(shelf);
        self.note_last_timestamp();
    }

    fn note_last_timestamp(&mut self) {
        let last = self.rows.len().checked_sub(1).map(TransferRow::new);
        self.last_timestamp = last.map_or(0, |row| self.event(row).fields().timestamp.get());
    }

    /// Takes some rows out of the indexes in memory: those that a chapter above tier 0 indexes. The others are found
    /// faster here than in up to 31 chapters.
    pub(crate) fn forget(&mut self) {
        let merged = self.rows.shelf().merged_rows();
        if self.forgotten >= merged {
            return;
        }
        let end = merged.min(self.forgotten + FORGOTTEN_AT_ONCE);
        let mut hashes = [None; FORGOTTEN_TOGETHER];
        for first in (self.forgotten..end).step_by(FORGOTTEN_TOGETHER) {
            let rows = first..end.min(first + FORGOTTEN_TOGETHER);
            for (hash, row) in hashes.iter_mut().zip(rows.clone()) {
                let event = self.rows.get(TransferRow::new(row));
                let has_id = event.kind() != RowKind::Expiry;
                *hash = has_id.then(|| self.hasher.hash(event.fields().id.get()));
                hash.iter().for_each(|hash| self.strays.prefetch(*hash));
            }
            for (hash, row) in hashes.iter().zip(rows) {
                let row = TransferRow::new(row).0;
                let stray = hash.filter(|hash| self.strays.find(*hash, |at| at == row).is_some());
                if let Some(hash) = stray {
                    self.strays.remove(hash, row);
                }
            }
        }
        self.forgotten = end;
        self.runs.release_before(TransferRow::new(end).0);
    }

    /// Takes back the transfer that was added last.
    pub(crate) fn pop(&mut self) {
        let id = self.rows.pop().fields().id.get();
        let row = TransferRow::new(self.rows.len()).0;
        if !self.runs.take_back(row, id_of(&self.rows)) {
            self.strays.remove(self.hasher.hash(id), row);
        }
        self.counts.transfers -= 1;
        self.counts.id_sum = self.counts.id_sum.wrapping_sub(u128::from(id_hash(id)));
        self.note_last_timestamp();
    }

    /// Was a transfer created at this very timestamp?
    pub(crate) fn has_timestamp(&self, timestamp: u64) -> bool {
        let mut range = self.range_within(Period {
            first: timestamp,
            last: timestamp,
        });
        // Spent ids share the timestamp of the row before them, so what took it stands first.
        let first = range.next().map(TransferRow::new);
        first.is_some_and(|row| self.event(row).kind() == RowKind::Transfer)
    }

    /// Bytes that rows and their index occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + self.runs.bytes() + self.strays.bytes()
    }
}

/// Reads the id of a row.
#[inline]
fn id_of(rows: &EventRows) -> impl Fn(u32) -> u128 {
    |row| rows.get(TransferRow(row)).fields().id.get()
}

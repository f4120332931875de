//! Where transfers live in memory: one row of two cache lines each, appended in order of time.
//!
//! Rows stand in chunks that are allocated when they are reached and never move, so that growth copies
//! nothing. Beside the transfers the table remembers ids that failed for a passing reason (`spent`).
//! Ids that rise are found through runs, all others and the spent ones through a hash index.
//!
//! - A row never changes once it is written; a broken chain takes back the rows it added.
//! - Timestamps rise strictly from row to row.
//! - An id is at most once in the table, as a transfer or as a spent id.
//! - Transfers plus spent ids never exceed the limit.

use core::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::filter::Period;
use crate::id_index::{IdHasher, IdIndex, id_hash};
use crate::id_runs::{IdRuns, Recorded};
use crate::pages::Pages;
use crate::prefetch::prefetch;
use crate::rows::Rows;
use crate::transfer::Transfer;

/// Number of a transfer's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TransferRow(pub(crate) u32);

impl TransferRow {
    /// The row with this number.
    pub(crate) fn new(row: usize) -> Self {
        Self(u32::try_from(row).expect("limits keep row numbers in 31 bits"))
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

/// Spent ids of a chunk: 64 KiB.
const CHUNK: usize = 1 << 12;

/// In the index: this number names a spent id, not a transfer.
const SPENT_BIT: u32 = 1 << 31;

/// A stored transfer, on two whole cache lines.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
struct Row(Transfer);

/// All transfers of a group.
pub(crate) struct TransferTable {
    rows: Pages<Row>,
    spent: Rows<u128, CHUNK>,
    rows_max: usize,
    runs: IdRuns,
    /// Ids that are in no run.
    strays: IdIndex,
    hasher: IdHasher,
    /// Sum of the hashes of all ids, which proves a run from outside.
    id_sum: u128,
    last_timestamp: u64,
}

impl TransferTable {
    pub(crate) fn new(rows_max: usize, hasher: IdHasher) -> Self {
        Self {
            rows: Pages::new(),
            spent: Rows::new(),
            rows_max,
            runs: IdRuns::new(),
            strays: IdIndex::new(rows_max),
            hasher,
            id_sum: 0,
            last_timestamp: 0,
        }
    }

    /// Touches the memory of the first `rows` transfers.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows.min(self.rows_max));
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn spent_len(&self) -> usize {
        self.spent.len()
    }

    #[inline]
    pub(crate) fn full(&self) -> bool {
        self.rows.len() + self.spent.len() >= self.rows_max
    }

    pub(crate) fn id_sum(&self) -> u128 {
        self.id_sum
    }

    /// The newest transfer's timestamp; 0 if there is none.
    pub(crate) fn last_timestamp(&self) -> u64 {
        self.last_timestamp
    }

    #[inline]
    pub(crate) fn row(&self, row: TransferRow) -> &Transfer {
        &self.rows.get(row.0 as usize).0
    }

    /// The numbers of the rows created within a period, both ends included.
    pub(crate) fn range_within(&self, period: Period) -> Range<usize> {
        let first = self
            .rows
            .partition_point(|row| row.0.timestamp.get() < period.first);
        let end = self
            .rows
            .partition_point(|row| row.0.timestamp.get() <= period.last);
        first..end
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
        if let Some(row) = self.runs.find(id, id_of(&self.rows)) {
            return Some(Known::Transfer(TransferRow(row)));
        }
        let found = self.strays.find(hash, |row| match row & SPENT_BIT {
            0 => self.row(TransferRow(row)).id.get() == id,
            _ => *self.spent.get((row & !SPENT_BIT) as usize) == id,
        })?;
        Some(match found & SPENT_BIT {
            0 => Known::Transfer(TransferRow(found)),
            _ => Known::Spent,
        })
    }

    /// The transfer with this id.
    pub(crate) fn find_transfer(&self, id: u128) -> Option<TransferRow> {
        match self.find(id)? {
            Known::Transfer(row) => Some(row),
            Known::Spent => None,
        }
    }

    /// Hints that an id will be looked for.
    #[inline]
    pub(crate) fn prefetch_index(&self, id: u128, hash: u64) {
        if !self.runs.surely_new(id) {
            self.strays.prefetch(hash);
        }
    }

    /// Fetches a row that will be read soon.
    #[inline]
    pub(crate) fn prefetch_row(&self, row: TransferRow) {
        prefetch(self.row(row));
    }

    /// The transfer with this id, which may be at the row that was guessed some events ago.
    #[inline]
    pub(crate) fn confirm(&self, id: u128, guess: Option<TransferRow>) -> Option<TransferRow> {
        let holds =
            |row: &TransferRow| (row.0 as usize) < self.len() && self.row(*row).id.get() == id;
        guess.filter(holds).or_else(|| self.find_transfer(id))
    }

    /// Adds a transfer that is not there yet; `hash` is its id's.
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
        #[expect(
            clippy::cast_possible_truncation,
            reason = "limits keep row numbers in 31 bits"
        )]
        let row = self.rows.len() as u32;
        self.rows.push(Row(*transfer));
        if self.runs.record(transfer.id.get(), row) == Recorded::Stray {
            self.stray(hash, row);
        }
        self.id_sum = self
            .id_sum
            .wrapping_add(u128::from(id_hash(transfer.id.get())));
        self.last_timestamp = transfer.timestamp.get();
        TransferRow(row)
    }

    /// Keeps a row in the hash index; from time to time the rows of a short run with it.
    fn stray(&mut self, hash: u64, row: u32) {
        self.strays.insert(hash, row);
        if let Some(rows) = self.runs.dissolve() {
            for row in rows {
                self.strays
                    .insert(self.hasher.hash(id_of(&self.rows)(row)), row);
            }
        }
    }

    /// Takes back the transfer that was added last.
    pub(crate) fn pop(&mut self) {
        let Row(transfer) = self
            .rows
            .pop()
            .expect("a chain takes back only what it added");
        let row = u32::try_from(self.rows.len()).expect("limits keep row numbers in 31 bits");
        let id = transfer.id.get();
        if !self.runs.take_back(row, id_of(&self.rows)) {
            self.strays.remove(self.hasher.hash(id), row);
        }
        self.id_sum = self.id_sum.wrapping_sub(u128::from(id_hash(id)));
        self.last_timestamp = self.rows.last().map_or(0, |row| row.0.timestamp.get());
    }

    /// Remembers an id as failed for good.
    pub(crate) fn spend(&mut self, id: u128, hash: u64) {
        assert!(!self.full(), "the limit is checked before an id is spent");
        let place = u32::try_from(self.spent.len()).expect("limits keep row numbers in 31 bits");
        self.spent.push(id);
        self.runs.note_stray(id);
        self.strays.insert(hash, SPENT_BIT | place);
    }

    /// Was a transfer created at this very timestamp?
    pub(crate) fn has_timestamp(&self, timestamp: u64) -> bool {
        !self
            .range_within(Period {
                first: timestamp,
                last: timestamp,
            })
            .is_empty()
    }

    /// Bytes that transfers, spent ids and their index occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + self.spent.bytes() + self.runs.bytes() + self.strays.bytes()
    }
}

/// Reads the id of a row.
fn id_of(rows: &Pages<Row>) -> impl Fn(u32) -> u128 {
    |row| rows.get(row as usize).0.id.get()
}

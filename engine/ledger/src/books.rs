//! The books of a group: its accounts, its transfers, and what is reserved.
//!
//! - Parts that only hold; the rules that change them are in `create_accounts`, `new_transfer`,
//!   `resolution` and `expiry`.

use core::ops::{ControlFlow, Range};

use raft::state_machine::RestoreError;

use crate::account_table::AccountTable;
use crate::balances::Both;
use crate::chapter::Chapter;
use crate::event_row::{EventRow, RowKind};
use crate::find_blocks::{FindBlocks, Key};
use crate::id_index::IdHasher;
use crate::limits::{EXPIRIES_MAX, Limits};
use crate::pending::{Pendings, Slot};
use crate::shelf::{Shape, Shelf};
use crate::transfer::{Transfer, TransferFlags};
use crate::transfer_table::{Counts, TransferRow, TransferTable};

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
            transfers: TransferTable::new(limits.transfers_max, limits.chapter_row_bits(), hasher),
            pendings: Pendings::new(limits.pendings_max),
            hasher,
            blocks: FindBlocks::default(),
        }
    }

    /// Has the system read the accounts of all events together, where they may not be in memory.
    #[cold]
    pub(crate) fn fetch_accounts(&mut self, events: &[Transfer]) {
        for event in events {
            if event.flags().has(TransferFlags::RESOLVING) {
                self.fetch_pending(event.pending_id.get());
            } else {
                self.accounts.fetch_id(event.debit_account_id.get());
                self.accounts.fetch_id(event.credit_account_id.get());
            }
        }
    }

    /// Asks the system for the accounts of an open reservation.
    fn fetch_pending(&mut self, pending_id: u128) {
        let hash = self.hasher.hash(pending_id);
        if let Some(slot) = self.pendings.find(pending_id, hash) {
            self.fetch_slot(slot);
        }
    }

    /// Asks the system for the accounts of all reservations that one command by this time expires.
    pub(crate) fn fetch_due(&mut self, now: u64) {
        for slot in self.pendings.all_due(now, EXPIRIES_MAX) {
            self.fetch_slot(slot);
        }
    }

    fn fetch_slot(&mut self, slot: Slot) {
        let reservation = self.pendings.reservation(slot);
        self.accounts.fetch(reservation.debit);
        self.accounts.fetch(reservation.credit);
    }

    /// Indexes the transfers that a command has added.
    pub(crate) fn index(&mut self) {
        let transfers = &self.transfers;
        self.blocks.extend(transfers.len(), |row| {
            transfers.event(TransferRow::new(row))
        });
        self.transfers.forget();
    }

    /// Are the rows of a chapter of tier 0 those that are in memory?
    pub(crate) fn check_rows(&self, chapter: &Chapter) -> Result<(), RestoreError> {
        let rows = chapter.rows();
        if chapter.name().tier > 0 || rows.end > self.transfers.len() {
            return Ok(());
        }
        for (place, row) in rows.enumerate() {
            let row = TransferRow::new(row);
            let same = chapter.row(place) == self.transfers.event(row);
            if !same {
                return Err(RestoreError::Malformed(place as u64 * 128));
            }
        }
        Ok(())
    }

    /// Takes over the next chapter, and gives up the memory of what it holds.
    pub(crate) fn shelve(&mut self, chapter: Chapter) -> Result<(), RestoreError> {
        self.transfers.shelve(chapter)?;
        self.blocks.release_before(self.transfers.rows().shelved());
        Ok(())
    }

    /// Visits the rows of a range that may have the key, or all of them without one, in order or in reverse, until
    /// told to stop. A row may be visited twice in succession.
    pub(crate) fn visit(
        &self,
        range: Range<usize>,
        key: Option<Key>,
        reversed: bool,
        mut visit: impl FnMut(usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let rows = self.transfers.rows();
        let border = rows.shelved().clamp(range.start, range.end);
        let (old, new) = (range.start..border, border..range.end);
        if reversed {
            self.blocks.visit(new, key, reversed, &mut visit)?;
            rows.shelf().visit(old, key, reversed, visit)
        } else {
            rows.shelf().visit(old, key, reversed, &mut visit)?;
            self.blocks.visit(new, key, reversed, visit)
        }
    }

    /// Keeps everything as it is for an image.
    pub(crate) fn freeze(&mut self) {
        self.accounts.freeze();
        self.pendings.freeze();
    }

    /// The image is not wanted any more.
    pub(crate) fn thaw(&mut self) {
        self.accounts.thaw();
        self.pendings.thaw();
    }

    /// Begins to take an image over; the books are empty.
    ///
    /// # Errors
    /// `Full` if there are more transfers than these books may hold.
    pub(crate) fn begin_restore(
        &mut self,
        shape: &Shape,
        counts: Counts,
        id_max: u128,
    ) -> Result<(), RestoreError> {
        let shelved = shape.rows(self.transfers.rows().shelf().row_bits());
        self.transfers.begin_restore(shelved, counts, id_max);
        self.blocks.start_at(shelved);
        if self.transfers.overfull() {
            return Err(RestoreError::Full);
        }
        Ok(())
    }

    /// Takes over the next row of an image.
    pub(crate) fn restore_row(
        &mut self,
        row: &EventRow,
        both: &Both,
        malformed: RestoreError,
    ) -> Result<(), RestoreError> {
        let fields = row.fields();
        let known = |id: u128| self.accounts.find(id).is_some();
        let sound = row.kind() == RowKind::Spent
            || (known(fields.debit_account_id.get()) && known(fields.credit_account_id.get()));
        if !sound || !self.transfers.restore(row, both) {
            return Err(malformed);
        }
        Ok(())
    }

    /// Everything is here: puts it together.
    pub(crate) fn end_restore(
        &mut self,
        shelf: Shelf,
        free: u32,
        open: u64,
        malformed: RestoreError,
    ) -> Result<(), RestoreError> {
        self.transfers.end_restore(shelf);
        let limits = (self.transfers.len(), self.accounts.len());
        if !self.pendings.end_restore((free, open), limits, self.hasher) {
            return Err(malformed);
        }
        self.index();
        Ok(())
    }

    /// Bytes that all of it occupies.
    pub(crate) fn bytes(&self) -> usize {
        self.accounts.bytes() + self.transfers.bytes() + self.pendings.bytes() + self.blocks.bytes()
    }
}

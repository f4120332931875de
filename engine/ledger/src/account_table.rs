//! Where accounts live in memory: one row of two cache lines each, in order of creation.
//!
//! - Rows are never moved or removed, except that a broken chain takes back the rows it added.
//! - Timestamps rise strictly from row to row.
//! - For every row, pending plus posted of a side does not overflow (checked before each movement).
//! - Rows may lie in files, of which the system keeps in memory what is in use: then a command's rows are asked for together
//!   before it is carried out, except those of pages that were touched lately.

use raft::state_machine::RestoreError;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::account::{Account, AccountFlags};
use crate::filter::Period;
use crate::freezing::Freezing;
use crate::id_index::{IdHasher, IdIndex};
use crate::limits::TIMESTAMP_MAX;
use crate::pages::ChunkSource;
use crate::prefetch::prefetch;
use crate::touched::Touched;

/// Number of an account's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccountRow(pub(crate) u32);

/// An account in the processor's own integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub(crate) struct AccountState {
    pub(crate) id: u128,
    pub(crate) debits_pending: u128,
    pub(crate) debits_posted: u128,
    pub(crate) credits_pending: u128,
    pub(crate) credits_posted: u128,
    pub(crate) user_data_128: u128,
    pub(crate) user_data_64: u64,
    pub(crate) user_data_32: u32,
    pub(crate) ledger: u32,
    pub(crate) timestamp: u64,
    pub(crate) code: u16,
    pub(crate) flags: AccountFlags,
    /// Fills the row.
    pub(crate) reserved: u32,
}

const _: () = assert!(size_of::<AccountState>() == 128);

impl AccountState {
    /// A new account without balances.
    pub(crate) fn open(event: &Account, timestamp: u64) -> Self {
        Self {
            id: event.id.get(),
            debits_pending: 0,
            debits_posted: 0,
            credits_pending: 0,
            credits_posted: 0,
            user_data_128: event.user_data_128.get(),
            user_data_64: event.user_data_64.get(),
            user_data_32: event.user_data_32.get(),
            ledger: event.ledger.get(),
            timestamp,
            code: event.code.get(),
            flags: event.flags(),
            reserved: 0,
        }
    }

    /// The account that travelled, unless it cannot have been one.
    fn from_wire(account: &Account) -> Option<Self> {
        let state = Self {
            debits_pending: account.debits_pending.get(),
            debits_posted: account.debits_posted.get(),
            credits_pending: account.credits_pending.get(),
            credits_posted: account.credits_posted.get(),
            ..Self::open(account, account.timestamp.get())
        };
        state.debits_pending.checked_add(state.debits_posted)?;
        state.credits_pending.checked_add(state.credits_posted)?;
        (state.id != 0 && state.timestamp <= TIMESTAMP_MAX).then_some(state)
    }

    /// The account as it travels.
    pub(crate) fn to_wire(self) -> Account {
        Account {
            id: self.id.into(),
            debits_pending: self.debits_pending.into(),
            debits_posted: self.debits_posted.into(),
            credits_pending: self.credits_pending.into(),
            credits_posted: self.credits_posted.into(),
            user_data_128: self.user_data_128.into(),
            user_data_64: self.user_data_64.into(),
            user_data_32: self.user_data_32.into(),
            reserved: 0.into(),
            ledger: self.ledger.into(),
            code: self.code.into(),
            flags: self.flags.0.into(),
            timestamp: self.timestamp.into(),
        }
    }

    /// The four sums, and whether the account is closed: all of it that ever changes.
    pub(crate) fn balances(&self) -> Balances {
        Balances {
            debits_pending: self.debits_pending,
            debits_posted: self.debits_posted,
            credits_pending: self.credits_pending,
            credits_posted: self.credits_posted,
            flags: self.flags,
        }
    }

    /// Puts the changeable part back.
    pub(crate) fn restore(&mut self, balances: Balances) {
        self.debits_pending = balances.debits_pending;
        self.debits_posted = balances.debits_posted;
        self.credits_pending = balances.credits_pending;
        self.credits_posted = balances.credits_posted;
        self.flags = balances.flags;
    }

    /// Would this further debit break the account's limit?
    #[inline]
    pub(crate) fn debit_exceeds_credits(&self, amount: u128) -> bool {
        self.flags.has(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS)
            && self.debits_pending + self.debits_posted + amount > self.credits_posted
    }

    /// Would this further credit break the account's limit?
    #[inline]
    pub(crate) fn credit_exceeds_debits(&self, amount: u128) -> bool {
        self.flags.has(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS)
            && self.credits_pending + self.credits_posted + amount > self.debits_posted
    }
}

/// What of an account changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Balances {
    pub(crate) debits_pending: u128,
    pub(crate) debits_posted: u128,
    pub(crate) credits_pending: u128,
    pub(crate) credits_posted: u128,
    pub(crate) flags: AccountFlags,
}

/// All accounts of a group.
pub(crate) struct AccountTable {
    rows: Freezing<AccountState>,
    rows_max: usize,
    index: IdIndex,
    hasher: IdHasher,
    /// What is likely in memory; there if rows may be elsewhere.
    touched: Option<Touched>,
}

impl AccountTable {
    pub(crate) fn new(rows_max: usize, hasher: IdHasher) -> Self {
        Self {
            rows: Freezing::new(),
            rows_max,
            index: IdIndex::new(rows_max),
            hasher,
            touched: None,
        }
    }

    /// Rows lie there from now on.
    pub(crate) fn draw_from(&mut self, source: ChunkSource) {
        self.rows.draw_from(source);
        self.touched = Some(Touched::default());
    }

    /// May rows be elsewhere than in memory?
    #[inline]
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.touched.is_some()
    }

    /// The next command touches rows.
    pub(crate) fn begin_command(&mut self) {
        if let Some(touched) = &mut self.touched {
            touched.next_command();
        }
    }

    /// Asks the system for a row, unless it is likely in memory.
    pub(crate) fn fetch(&mut self, row: AccountRow) {
        let row = row.0 as usize;
        if self.touched.as_mut().is_some_and(|pages| pages.touch(row)) {
            self.rows.fetch(row..row + 1);
        }
    }

    /// Asks the system for the row that an id most likely has.
    pub(crate) fn fetch_id(&mut self, id: u128) {
        if let Some(row) = self.likely(id) {
            self.fetch(row);
        }
    }

    /// The row that an id most likely has: nothing of it is read.
    fn likely(&self, id: u128) -> Option<AccountRow> {
        let row = self.index.find(self.hasher.hash(id), |_| true);
        row.map(AccountRow)
    }

    /// The same for somebody who only reads.
    pub(crate) fn fetch_to_read(&self, id: u128) {
        let Some(touched) = &self.touched else {
            return;
        };
        if let Some(AccountRow(row)) = self.likely(id)
            && !touched.has(row as usize)
        {
            self.rows.fetch(row as usize..row as usize + 1);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn full(&self) -> bool {
        self.rows.len() >= self.rows_max
    }

    /// All rows, in order of creation and of timestamp.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &AccountState> {
        (0..self.rows.len()).map(|row| self.rows.get(row))
    }

    /// Rows created within a period, both ends included, in order.
    pub(crate) fn rows_within(
        &self,
        period: Period,
    ) -> impl DoubleEndedIterator<Item = &AccountState> {
        let first = self
            .rows
            .partition_point(|account| account.timestamp < period.first);
        let end = self
            .rows
            .partition_point(|account| account.timestamp <= period.last);
        (first..end).map(|row| self.rows.get(row))
    }

    #[inline]
    pub(crate) fn row(&self, row: AccountRow) -> &AccountState {
        self.rows.get(row.0 as usize)
    }

    #[inline]
    pub(crate) fn row_mut(&mut self, row: AccountRow) -> &mut AccountState {
        self.rows.get_mut(row.0 as usize)
    }

    /// The row of an id.
    #[inline]
    pub(crate) fn find(&self, id: u128) -> Option<AccountRow> {
        self.find_hashed(id, self.hasher.hash(id))
    }

    /// The row of an id whose hash is known.
    #[inline]
    pub(crate) fn find_hashed(&self, id: u128, hash: u64) -> Option<AccountRow> {
        self.index
            .find(hash, |row| self.rows.get(row as usize).id == id)
            .map(AccountRow)
    }

    /// Hints that an id with this hash will be looked for.
    #[inline]
    pub(crate) fn prefetch_index(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Fetches the row that an id with this hash most likely has, and names it for [`Self::confirm`].
    #[inline]
    pub(crate) fn guess(&self, hash: u64) -> Option<AccountRow> {
        let row = self.index.find(hash, |row| {
            prefetch(self.rows.get(row as usize));
            true
        });
        row.map(AccountRow)
    }

    /// The row of an id, given what [`Self::guess`] said while the table was the same.
    #[inline]
    pub(crate) fn confirm(
        &self,
        id: u128,
        hash: u64,
        guess: Option<AccountRow>,
    ) -> Option<AccountRow> {
        let row = guess?;
        if self.row(row).id == id {
            Some(row)
        } else {
            self.find_hashed(id, hash)
        }
    }

    /// Adds an account that is not there yet.
    pub(crate) fn push(&mut self, account: AccountState) {
        assert!(
            !self.full(),
            "the limit is checked before an account is created"
        );
        debug_assert!(self.last_timestamp() < account.timestamp, "timestamps rise");
        let row = u32::try_from(self.rows.len()).expect("limits keep row numbers in 31 bits");
        self.index.insert(self.hasher.hash(account.id), row);
        self.rows.push(account);
    }

    /// Takes over the next account of an image.
    ///
    /// # Errors
    /// `malformed` if it cannot follow the last, `Full` if it is one too many.
    pub(crate) fn restore(
        &mut self,
        account: &Account,
        malformed: RestoreError,
    ) -> Result<(), RestoreError> {
        let account = AccountState::from_wire(account).ok_or(malformed)?;
        if account.timestamp <= self.last_timestamp() || self.find(account.id).is_some() {
            return Err(malformed);
        }
        if self.full() {
            return Err(RestoreError::Full);
        }
        self.push(account);
        Ok(())
    }

    /// Keeps the accounts as they are for an image.
    pub(crate) fn freeze(&mut self) {
        self.rows.freeze();
    }

    /// The image is not wanted any more.
    pub(crate) fn thaw(&mut self) {
        self.rows.thaw();
    }

    /// The next accounts of an image; false if there are no more.
    pub(crate) fn take_frozen(&mut self, count: usize, mut take: impl FnMut(&Account)) -> bool {
        if self.is_elsewhere() {
            self.rows.fetch_frozen(count);
        }
        self.rows
            .take_frozen(count, |account| take(&account.to_wire()))
    }

    /// Takes back the account that was added last.
    pub(crate) fn pop(&mut self) {
        let account = self
            .rows
            .pop()
            .expect("a chain takes back only what it added");
        let row = u32::try_from(self.rows.len()).expect("limits keep row numbers in 31 bits");
        self.index.remove(self.hasher.hash(account.id), row);
    }

    /// The newest account's timestamp; 0 if there is none.
    pub(crate) fn last_timestamp(&self) -> u64 {
        self.rows.last().map_or(0, |account| account.timestamp)
    }

    /// Was an account created at this very timestamp?
    pub(crate) fn has_timestamp(&self, timestamp: u64) -> bool {
        self.rows_within(Period {
            first: timestamp,
            last: timestamp,
        })
        .next()
        .is_some()
    }

    /// Bytes that the accounts and their index occupy in memory, without rows that may leave it.
    pub(crate) fn bytes(&self) -> usize {
        let rows = match &self.touched {
            None => self.rows.bytes(),
            Some(touched) => self.rows.copied_bytes() + touched.bytes(),
        };
        rows + self.index.bytes()
    }
}

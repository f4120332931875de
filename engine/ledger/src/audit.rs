//! Proves the books from outside: how many, how much, and whether both sides agree.
//!
//! - Sums are taken from the accounts' rows, one by one, and never wrap: they are 192 bits wide.
//! - Conservation holds if, in every ledger, debits equal credits, posted and pending each for itself.

use std::collections::BTreeMap;

use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::account_table::AccountState;
use crate::books::Books;

/// A sum of 128-bit amounts that does not wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sum {
    /// Times that the lower part went over 2^128 - 1.
    pub carry: u64,
    /// The rest.
    pub low: u128,
}

impl Sum {
    /// Adds an amount.
    pub fn add(&mut self, amount: u128) {
        let (low, wrapped) = self.low.overflowing_add(amount);
        self.low = low;
        self.carry += u64::from(wrapped);
    }
}

/// The four sums over all accounts of one ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerTotals {
    /// Of all `debits_pending`.
    pub debits_pending: Sum,
    /// Of all `debits_posted`.
    pub debits_posted: Sum,
    /// Of all `credits_pending`.
    pub credits_pending: Sum,
    /// Of all `credits_posted`.
    pub credits_posted: Sum,
}

impl LedgerTotals {
    fn add(&mut self, account: &AccountState) {
        self.debits_pending.add(account.debits_pending);
        self.debits_posted.add(account.debits_posted);
        self.credits_pending.add(account.credits_pending);
        self.credits_posted.add(account.credits_posted);
    }

    /// Does every debit have its credit?
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.debits_pending == self.credits_pending && self.debits_posted == self.credits_posted
    }
}

/// The sums of every ledger of a group, by ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By ledger.
    pub ledgers: BTreeMap<u32, LedgerTotals>,
}

impl Totals {
    pub(crate) fn of(books: &Books) -> Self {
        let mut ledgers: BTreeMap<u32, LedgerTotals> = BTreeMap::new();
        for account in books.accounts.rows() {
            ledgers.entry(account.ledger).or_default().add(account);
        }
        Self { ledgers }
    }

    /// Does every debit have its credit, in every ledger?
    #[must_use]
    pub fn conservation_holds(&self) -> bool {
        self.ledgers.values().all(LedgerTotals::balanced)
    }
}

/// The reply to operation 200: 192 bytes that prove a run.
///
/// ```text
/// offset  bytes  field
///      0      8  accounts               rows
///      8      8  transfers              rows, posts and voids included
///     16      8  pendings_open          reservations that are neither posted, voided nor expired
///     24      8  ids_spent              transfer ids that failed for good
///     32      8  timestamp              the last one assigned
///     40      4  conservation_holds     1 or 0
///     44      4  reserved               0
///     48     16  transfer_id_sum        sum over all transfers of `id_hash(id)`, modulo 2^128
///     64     16  debits_pending         over all ledgers, modulo 2^128, as the following three
///     80     16  debits_posted
///     96     16  credits_pending
///    112     16  credits_posted
///    128     16  digest
///    144     48  reserved               0
/// ```
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Audit {
    /// Accounts that exist.
    pub accounts: U64,
    /// Transfers that exist, posts and voids included.
    pub transfers: U64,
    /// Reservations that are neither posted, voided nor expired.
    pub pendings_open: U64,
    /// Transfer ids that failed for good.
    pub ids_spent: U64,
    /// The last timestamp that was assigned.
    pub timestamp: U64,
    /// 1 if every debit has its credit in every ledger, else 0.
    pub conservation_holds: U32,
    /// Zero.
    pub reserved: U32,
    /// Sum over all transfers of [`crate::id_index::id_hash`] of the id, modulo 2^128: who knows which
    /// transfers were acknowledged can tell that all of them are here, and none twice.
    pub transfer_id_sum: U128,
    /// Over all ledgers, modulo 2^128.
    pub debits_pending: U128,
    /// Over all ledgers, modulo 2^128.
    pub debits_posted: U128,
    /// Over all ledgers, modulo 2^128.
    pub credits_pending: U128,
    /// Over all ledgers, modulo 2^128.
    pub credits_posted: U128,
    /// The state hash.
    pub digest: U128,
    /// Zero.
    pub reserved_end: [u8; 48],
}

const _: () = assert!(size_of::<Audit>() == 192);

impl Audit {
    pub(crate) fn of(books: &Books, timestamp: u64, digest: u128) -> Self {
        let totals = Totals::of(books);
        let sum = |field: fn(&LedgerTotals) -> Sum| {
            totals
                .ledgers
                .values()
                .fold(0_u128, |sum, ledger| sum.wrapping_add(field(ledger).low))
                .into()
        };
        Self {
            accounts: (books.accounts.len() as u64).into(),
            transfers: books.transfers.counts().transfers.into(),
            pendings_open: (books.pendings.open_count() as u64).into(),
            ids_spent: books.transfers.counts().spent.into(),
            timestamp: timestamp.into(),
            conservation_holds: u32::from(totals.conservation_holds()).into(),
            reserved: U32::ZERO,
            transfer_id_sum: books.transfers.counts().id_sum.into(),
            debits_pending: sum(|ledger| ledger.debits_pending),
            debits_posted: sum(|ledger| ledger.debits_posted),
            credits_pending: sum(|ledger| ledger.credits_pending),
            credits_posted: sum(|ledger| ledger.credits_posted),
            digest: digest.into(),
            reserved_end: [0; 48],
        }
    }

    /// Does every debit have its credit in every ledger?
    #[must_use]
    pub fn conserves(&self) -> bool {
        self.conservation_holds.get() == 1
    }
}

//! What a query selects: the filters of `get_account_*` (128 bytes) and `query_*` (64 bytes).
//!
//! - A field of zero selects everything; fields that are set must all match.
//! - A filter that breaks a rule selects nothing.

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::account_table::AccountState;
use crate::find_blocks::{Field, Key};
use crate::limits::TIMESTAMP_MAX;
use crate::transfer::Transfer;

/// Transfers of one account.
///
/// Offsets: `account_id` 0, `user_data_128` 16, `user_data_64` 32, `user_data_32` 40, `code` 44,
/// `reserved` 46, `timestamp_min` 104, `timestamp_max` 112, `limit` 120, `flags` 124.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct AccountFilter {
    /// Whose transfers.
    pub account_id: U128,
    /// Only with this value.
    pub user_data_128: U128,
    /// Only with this value.
    pub user_data_64: U64,
    /// Only with this value.
    pub user_data_32: U32,
    /// Only with this code.
    pub code: U16,
    /// Zero.
    pub reserved: [u8; 58],
    /// Not before; 0 is no bound.
    pub timestamp_min: U64,
    /// Not after; 0 is no bound.
    pub timestamp_max: U64,
    /// At most so many; not zero.
    pub limit: U32,
    /// Bits of [`AccountFilter::DEBITS`] and its neighbours.
    pub flags: U32,
}

const _: () = assert!(size_of::<AccountFilter>() == 128);

impl AccountFilter {
    /// Flag: transfers that debit the account.
    pub const DEBITS: u32 = 1 << 0;
    /// Flag: transfers that credit the account.
    pub const CREDITS: u32 = 1 << 1;
    /// Flag: the newest first.
    pub const REVERSED: u32 = 1 << 2;

    /// The filter's period, if the filter breaks no rule.
    pub(crate) fn period(&self) -> Option<Period> {
        let id = self.account_id.get();
        let flags = self.flags.get();
        let sound = id != 0
            && id != u128::MAX
            && flags & (Self::DEBITS | Self::CREDITS) != 0
            && flags & !(Self::DEBITS | Self::CREDITS | Self::REVERSED) == 0;
        let (min, max) = (self.timestamp_min, self.timestamp_max);
        sound.then(|| Period::of_filter(min, max, self.limit, &self.reserved))?
    }

    /// The newest first?
    pub(crate) fn reversed(&self) -> bool {
        self.flags.get() & Self::REVERSED != 0
    }

    /// Does the transfer match, the period aside?
    pub(crate) fn selects(&self, transfer: &Transfer) -> bool {
        let flags = self.flags.get();
        let debits = flags & Self::DEBITS != 0 && transfer.debit_account_id == self.account_id;
        let credits = flags & Self::CREDITS != 0 && transfer.credit_account_id == self.account_id;
        (debits || credits)
            && (self.user_data_128.get() == 0 || self.user_data_128 == transfer.user_data_128)
            && (self.user_data_64.get() == 0 || self.user_data_64 == transfer.user_data_64)
            && (self.user_data_32.get() == 0 || self.user_data_32 == transfer.user_data_32)
            && (self.code.get() == 0 || self.code == transfer.code)
    }
}

/// Accounts or transfers by their fields.
///
/// Offsets: `user_data_128` 0, `user_data_64` 16, `user_data_32` 24, `ledger` 28, `code` 32, `reserved`
/// 34, `timestamp_min` 40, `timestamp_max` 48, `limit` 56, `flags` 60.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct QueryFilter {
    /// Only with this value.
    pub user_data_128: U128,
    /// Only with this value.
    pub user_data_64: U64,
    /// Only with this value.
    pub user_data_32: U32,
    /// Only of this ledger.
    pub ledger: U32,
    /// Only with this code.
    pub code: U16,
    /// Zero.
    pub reserved: [u8; 6],
    /// Not before; 0 is no bound.
    pub timestamp_min: U64,
    /// Not after; 0 is no bound.
    pub timestamp_max: U64,
    /// At most so many; not zero.
    pub limit: U32,
    /// [`QueryFilter::REVERSED`] or nothing.
    pub flags: U32,
}

const _: () = assert!(size_of::<QueryFilter>() == 64);

impl QueryFilter {
    /// Flag: the newest first.
    pub const REVERSED: u32 = 1 << 0;

    /// The filter's period, if the filter breaks no rule.
    pub(crate) fn period(&self) -> Option<Period> {
        let sound = self.flags.get() & !Self::REVERSED == 0;
        let (min, max) = (self.timestamp_min, self.timestamp_max);
        sound.then(|| Period::of_filter(min, max, self.limit, &self.reserved))?
    }

    /// The newest first?
    pub(crate) fn reversed(&self) -> bool {
        self.flags.get() & Self::REVERSED != 0
    }

    /// Does the transfer match, the period aside?
    pub(crate) fn selects_transfer(&self, transfer: &Transfer) -> bool {
        (self.user_data_128.get() == 0 || self.user_data_128 == transfer.user_data_128)
            && (self.user_data_64.get() == 0 || self.user_data_64 == transfer.user_data_64)
            && (self.user_data_32.get() == 0 || self.user_data_32 == transfer.user_data_32)
            && (self.ledger.get() == 0 || self.ledger == transfer.ledger)
            && (self.code.get() == 0 || self.code == transfer.code)
    }

    /// What transfers that match can be found by; none if the filter names no user data.
    pub(crate) fn key(&self) -> Option<Key> {
        let user_data = [
            (Field::UserData128, self.user_data_128.get()),
            (Field::UserData64, self.user_data_64.get().into()),
            (Field::UserData32, self.user_data_32.get().into()),
        ];
        let (field, value) = user_data.into_iter().find(|(_, value)| *value != 0)?;
        Some(Key::new(field, value))
    }

    /// Does the account match, the period aside?
    pub(crate) fn selects_account(&self, account: &AccountState) -> bool {
        (self.user_data_128.get() == 0 || self.user_data_128.get() == account.user_data_128)
            && (self.user_data_64.get() == 0 || self.user_data_64.get() == account.user_data_64)
            && (self.user_data_32.get() == 0 || self.user_data_32.get() == account.user_data_32)
            && (self.ledger.get() == 0 || self.ledger.get() == account.ledger)
            && (self.code.get() == 0 || self.code.get() == account.code)
    }
}

/// A stretch of time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Period {
    /// The period of a filter, whose limit must be set and whose reserved bytes must not.
    pub(crate) fn of_filter(min: U64, max: U64, limit: U32, reserved: &[u8]) -> Option<Self> {
        let sound = limit.get() != 0 && reserved.iter().all(|&byte| byte == 0);
        sound.then(|| Self::new(min.get(), max.get()))?
    }

    /// The period of a filter's two fields, where 0 is no bound; none if they make no sense.
    pub(crate) fn new(min: u64, max: u64) -> Option<Self> {
        let sound = min <= TIMESTAMP_MAX && max <= TIMESTAMP_MAX && (max == 0 || min <= max);
        sound.then_some(Self {
            first: min.max(1),
            last: if max == 0 { TIMESTAMP_MAX } else { max },
        })
    }
}

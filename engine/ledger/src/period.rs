//! What an account was at a moment, and what it did in each period: operations of ours.
//!
//! - Any account can be asked, whether it has the `history` flag or not, back to its creation.
//! - A request visits at most [`crate::limits::SUMS_VISITS_MAX`] rows; what it did not reach is told by where to go on.

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::filter::Period;

/// An account and a moment: an element of the body of `get_balances_at`, 32 bytes.
///
/// Offsets: `account_id` 0, `timestamp` 16, `reserved` 24.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Moment {
    /// Whose balances.
    pub account_id: U128,
    /// Nanoseconds since the Unix epoch; what happened at this very timestamp counts. 0 is now.
    pub timestamp: U64,
    /// Zero.
    pub reserved: U64,
}

const _: () = assert!(size_of::<Moment>() == 32);

/// An account as it stood at a moment: a result of `get_balances_at`, 96 bytes.
///
/// Offsets: `account_id` 0, `debits_pending` 16, `debits_posted` 32, `credits_pending` 48, `credits_posted` 64,
/// `timestamp` 80, `changed` 88.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct BalanceAt {
    /// As asked.
    pub account_id: U128,
    /// As in [`crate::account::Account`], at the moment.
    pub debits_pending: U128,
    /// At the moment.
    pub debits_posted: U128,
    /// At the moment.
    pub credits_pending: U128,
    /// At the moment.
    pub credits_posted: U128,
    /// As asked.
    pub timestamp: U64,
    /// When the balances last changed until then; when the account was created if they did not.
    pub changed: U64,
}

const _: () = assert!(size_of::<BalanceAt>() == 96);

/// Whose sums, and over what: the body of `get_account_sums`, 64 bytes.
///
/// Offsets: `account_id` 0, `timestamp_min` 16, `timestamp_max` 24, `interval` 32, `limit` 40, `code` 44,
/// `reserved` 46.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct SumsFilter {
    /// Whose sums.
    pub account_id: U128,
    /// Not before; 0 is no bound.
    pub timestamp_min: U64,
    /// Not after; 0 is no bound.
    pub timestamp_max: U64,
    /// Nanoseconds of a period; periods begin at its multiples since the Unix epoch. 0 is one period for all.
    pub interval: U64,
    /// At most so many periods; not zero.
    pub limit: U32,
    /// Only transfers with this code; 0 is all.
    pub code: U16,
    /// Zero.
    pub reserved: [u8; 18],
}

const _: () = assert!(size_of::<SumsFilter>() == 64);

impl SumsFilter {
    /// The filter's period, if the filter breaks no rule.
    pub(crate) fn period(&self) -> Option<Period> {
        let (min, max) = (self.timestamp_min, self.timestamp_max);
        Period::of_filter(min, max, self.limit, &self.reserved)
    }
}

/// What an account did in one period: a result of `get_account_sums`, 128 bytes. Periods without a transfer are left
/// out.
///
/// Offsets: `timestamp_first` 0, `timestamp_last` 8, `debits_count` 16, `credits_count` 24, `debits_posted` 32,
/// `credits_posted` 48, `debits_reserved_count` 64, `credits_reserved_count` 72, `debits_reserved` 80,
/// `credits_reserved` 96, `next` 112, `reserved` 120.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct AccountSums {
    /// The first transfer that was counted.
    pub timestamp_first: U64,
    /// The last transfer that was counted.
    pub timestamp_last: U64,
    /// Transfers that posted debits: of one phase, and posts.
    pub debits_count: U64,
    /// Transfers that posted credits.
    pub credits_count: U64,
    /// What those posted together.
    pub debits_posted: U128,
    /// What those posted together.
    pub credits_posted: U128,
    /// Reservations of debits that were made.
    pub debits_reserved_count: U64,
    /// Reservations of credits that were made.
    pub credits_reserved_count: U64,
    /// What those reserved together; 2^128 - 1 if it is more.
    pub debits_reserved: U128,
    /// What those reserved together; 2^128 - 1 if it is more.
    pub credits_reserved: U128,
    /// In the last record: the `timestamp_min` to go on with, because rows or the limit were used up. Else 0. A period
    /// that goes on there is told in two records; their sums add.
    pub next: U64,
    /// Zero.
    pub reserved: U64,
}

const _: () = assert!(size_of::<AccountSums>() == 128);

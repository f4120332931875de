//! What an account is on the wire: 128 bytes, little-endian, readable at any address.
//!
//! ```text
//! offset  bytes  field
//!      0     16  id                 not 0, not 2^128 - 1
//!     16     16  debits_pending     0 in a request
//!     32     16  debits_posted      0 in a request
//!     48     16  credits_pending    0 in a request
//!     64     16  credits_posted     0 in a request
//!     80     16  user_data_128
//!     96      8  user_data_64
//!    104      4  user_data_32
//!    108      4  reserved           0
//!    112      4  ledger             not 0
//!    116      2  code               not 0
//!    118      2  flags              [`AccountFlags`]
//!    120      8  timestamp          0 in a request, unless imported
//! ```
//!
//! - The struct has alignment 1 and no padding, so a body of events is viewed in place.
//! - Amounts are unsigned; debits and credits are four separate sums that only grow, except that
//!   the pending ones shrink when a pending transfer resolves.

use core::fmt;
use core::ops::BitOr;

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An account as it travels: an event of `create_accounts`, a result of `lookup_accounts`.
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
pub struct Account {
    /// Chosen by the client; unique among the accounts of a ledger group, for ever.
    pub id: U128,
    /// Sum of the amounts of unresolved pending transfers that debit this account.
    pub debits_pending: U128,
    /// Sum of the amounts of posted transfers that debit this account.
    pub debits_posted: U128,
    /// Sum of the amounts of unresolved pending transfers that credit this account.
    pub credits_pending: U128,
    /// Sum of the amounts of posted transfers that credit this account.
    pub credits_posted: U128,
    /// Whatever the client wants to find the account by.
    pub user_data_128: U128,
    /// Whatever the client wants to find the account by.
    pub user_data_64: U64,
    /// Whatever the client wants to find the account by.
    pub user_data_32: U32,
    /// Zero.
    pub reserved: U32,
    /// Which accounts may deal with each other.
    pub ledger: U32,
    /// The client's chart of accounts.
    pub code: U16,
    /// [`AccountFlags`], as bits.
    pub flags: U16,
    /// When it was created: nanoseconds since the Unix epoch, assigned at apply.
    pub timestamp: U64,
}

const _: () = assert!(size_of::<Account>() == 128 && align_of::<Account>() == 1);

impl Account {
    /// The flags, typed.
    #[must_use]
    pub fn flags(&self) -> AccountFlags {
        AccountFlags(self.flags.get())
    }
}

/// The bits of an account.
#[derive(Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct AccountFlags(pub u16);

impl AccountFlags {
    /// No bit.
    pub const NONE: Self = Self(0);
    /// Succeeds or fails together with the next event of the request.
    pub const LINKED: Self = Self(1 << 0);
    /// Pending and posted debits together never exceed posted credits.
    pub const DEBITS_MUST_NOT_EXCEED_CREDITS: Self = Self(1 << 1);
    /// Pending and posted credits together never exceed posted debits.
    pub const CREDITS_MUST_NOT_EXCEED_DEBITS: Self = Self(1 << 2);
    /// Keeps the balances after each transfer, for `get_account_balances`.
    pub const HISTORY: Self = Self(1 << 3);
    /// Carries its own timestamp, from the past.
    pub const IMPORTED: Self = Self(1 << 4);
    /// Refuses every transfer but the void of a pending one.
    pub const CLOSED: Self = Self(1 << 5);
    /// Bits without a meaning; zero.
    pub const RESERVED: Self = Self(!0b11_1111);

    /// Is any of `flags` set?
    #[inline]
    #[must_use]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// These flags and those.
    #[inline]
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// These flags without those.
    #[inline]
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}

impl BitOr for AccountFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl fmt::Debug for AccountFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountFlags({:#b})", self.0)
    }
}

/// The balances of an account after one transfer: a result of `get_account_balances`.
///
/// Offsets: `debits_pending` 0, `debits_posted` 16, `credits_pending` 32, `credits_posted` 48,
/// `timestamp` 64 (the transfer's), `reserved` 72 to 128.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct AccountBalance {
    /// As in [`Account`].
    pub debits_pending: U128,
    /// As in [`Account`].
    pub debits_posted: U128,
    /// As in [`Account`].
    pub credits_pending: U128,
    /// As in [`Account`].
    pub credits_posted: U128,
    /// The timestamp of the transfer that led to these balances.
    pub timestamp: U64,
    /// Zero.
    pub reserved: [u8; 56],
}

const _: () = assert!(size_of::<AccountBalance>() == 128);

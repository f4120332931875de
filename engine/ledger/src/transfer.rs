//! What a transfer is on the wire: 128 bytes, little-endian, readable at any address.
//!
//! ```text
//! offset  bytes  field
//!      0     16  id                 not 0, not 2^128 - 1
//!     16     16  debit_account_id
//!     32     16  credit_account_id
//!     48     16  amount
//!     64     16  pending_id         the pending transfer to post or void, else 0
//!     80     16  user_data_128
//!     96      8  user_data_64
//!    104      4  user_data_32
//!    108      4  timeout            seconds until a pending transfer expires, 0 = never
//!    112      4  ledger
//!    116      2  code
//!    118      2  flags              [`TransferFlags`]
//!    120      8  timestamp          0 in a request, unless imported
//! ```
//!
//! - The struct has alignment 1 and no padding, so a body of events is viewed in place.
//! - A stored transfer is the same 128 bytes with its timestamp and the amount that moved; it never
//!   changes.

use core::fmt;
use core::ops::BitOr;

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A transfer as it travels and as it is stored.
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
pub struct Transfer {
    /// Chosen by the client; unique among the transfers of a ledger group, for ever.
    pub id: U128,
    /// The account whose debits grow.
    pub debit_account_id: U128,
    /// The account whose credits grow.
    pub credit_account_id: U128,
    /// How much; an upper bound when balancing, "all" when posting with 2^128 - 1.
    pub amount: U128,
    /// The pending transfer that this one posts or voids.
    pub pending_id: U128,
    /// Whatever the client wants to find the transfer by.
    pub user_data_128: U128,
    /// Whatever the client wants to find the transfer by.
    pub user_data_64: U64,
    /// Whatever the client wants to find the transfer by.
    pub user_data_32: U32,
    /// Seconds after which a pending transfer expires; 0 is never.
    pub timeout: U32,
    /// The ledger of both accounts.
    pub ledger: U32,
    /// The client's reason for the transfer.
    pub code: U16,
    /// [`TransferFlags`], as bits.
    pub flags: U16,
    /// When it was created: nanoseconds since the Unix epoch, assigned at apply.
    pub timestamp: U64,
}

const _: () = assert!(size_of::<Transfer>() == 128 && align_of::<Transfer>() == 1);

/// Nanoseconds in the unit of [`Transfer::timeout`].
pub const NANOS_PER_SECOND: u64 = 1_000_000_000;

impl Transfer {
    /// The flags, typed.
    #[inline]
    #[must_use]
    pub fn flags(&self) -> TransferFlags {
        TransferFlags(self.flags.get())
    }

    /// When this stored pending transfer expires; `None` is never.
    #[must_use]
    pub fn expires_at(&self) -> Option<u64> {
        match self.timeout.get() {
            0 => None,
            seconds => Some(self.timestamp.get() + u64::from(seconds) * NANOS_PER_SECOND),
        }
    }
}

/// The bits of a transfer.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct TransferFlags(pub u16);

impl TransferFlags {
    /// No bit: the money moves at once.
    pub const NONE: Self = Self(0);
    /// Succeeds or fails together with the next event of the request.
    pub const LINKED: Self = Self(1 << 0);
    /// Reserves the amount until it is posted, voided or expired.
    pub const PENDING: Self = Self(1 << 1);
    /// Moves the amount, or a part, that `pending_id` reserved.
    pub const POST_PENDING_TRANSFER: Self = Self(1 << 2);
    /// Gives back what `pending_id` reserved.
    pub const VOID_PENDING_TRANSFER: Self = Self(1 << 3);
    /// Moves at most what the debit account's posted credits allow.
    pub const BALANCING_DEBIT: Self = Self(1 << 4);
    /// Moves at most what the credit account's posted debits allow.
    pub const BALANCING_CREDIT: Self = Self(1 << 5);
    /// Closes the debit account until the pending transfer is voided or expires.
    pub const CLOSING_DEBIT: Self = Self(1 << 6);
    /// Closes the credit account until the pending transfer is voided or expires.
    pub const CLOSING_CREDIT: Self = Self(1 << 7);
    /// Carries its own timestamp, from the past.
    pub const IMPORTED: Self = Self(1 << 8);
    /// Bits without a meaning; zero.
    pub const RESERVED: Self = Self(!0b1_1111_1111);

    /// In a row: it is an expiry, not a transfer.
    pub(crate) const EXPIRY: Self = Self(1 << 15);
    /// In a row: it is an id that was spent, not a transfer.
    pub(crate) const SPENT: Self = Self(1 << 14);
    /// In a row: the debit account is closed from here on.
    pub(crate) const DEBIT_CLOSED: Self = Self(1 << 13);
    /// In a row: the credit account is closed from here on.
    pub(crate) const CREDIT_CLOSED: Self = Self(1 << 12);
    /// In a row: the balances are too wide for a line.
    pub(crate) const WIDE: Self = Self(1 << 11);
    /// The bits of a row that its transfer does not have.
    pub(crate) const OF_ROW: Self = Self(0b1111_1000_0000_0000);

    /// Posts or voids: the second phase of a pending transfer.
    pub const RESOLVING: Self = Self::POST_PENDING_TRANSFER.with(Self::VOID_PENDING_TRANSFER);
    /// Balances one side or both.
    pub const BALANCING: Self = Self::BALANCING_DEBIT.with(Self::BALANCING_CREDIT);
    /// Closes one side or both.
    pub const CLOSING: Self = Self::CLOSING_DEBIT.with(Self::CLOSING_CREDIT);

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
}

impl BitOr for TransferFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl fmt::Debug for TransferFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransferFlags({:#b})", self.0)
    }
}

//! What a change is on the wire: a transfer or an expiry, with both accounts as they stood right after it.
//!
//! ```text
//! offset  bytes  field                          offset  bytes  field
//!      0     16  transfer_id                       128    112  debit account: id, debits_pending,
//!     16     16  transfer_amount                               debits_posted, credits_pending,
//!     32     16  transfer_pending_id                           credits_posted, user_data_128 (16 each),
//!     48     16  transfer_user_data_128                        user_data_64 (8), user_data_32 (4),
//!     64      8  transfer_user_data_64                         code (2), flags (2)
//!     72      4  transfer_user_data_32             240    112  credit account: the same
//!     76      4  transfer_timeout                  352      8  timestamp
//!     80      2  transfer_code                     360      8  transfer_timestamp
//!     82      2  transfer_flags                    368      8  debit_account_timestamp
//!     84      4  ledger                            376      8  credit_account_timestamp
//!     88      1  kind                  [`ChangeKind`]
//!     89     39  reserved              0
//! ```
//!
//! - The layout is TigerBeetle's `ChangeEvent`; kind 5 and [`Change`] are ours.
//! - Of an expiry the transfer is the reservation that ended; `timestamp` is the moment when it ended.

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::filter::Period;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ChangeKind {
    /// Money moved at once.
    SinglePhase = 0,
    /// Money was reserved.
    Pending = 1,
    /// A reservation was posted, in full or in part.
    Posted = 2,
    /// A reservation was voided.
    Voided = 3,
    /// A reservation ended because its time was over.
    Expired = 4,
    /// Ours, in `get_changes` only: no money moved, and the id of a refused transfer is spent.
    Spent = 5,
}

impl ChangeKind {
    /// The kind of a number on the wire.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::SinglePhase,
            1 => Self::Pending,
            2 => Self::Posted,
            3 => Self::Voided,
            4 => Self::Expired,
            5 => Self::Spent,
            _ => return None,
        })
    }
}

/// An account within a change: its balances and flags are those right after the change.
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
pub struct ChangedAccount {
    /// As in [`crate::account::Account`], like all that follow.
    pub id: U128,
    /// After the change.
    pub debits_pending: U128,
    /// After the change.
    pub debits_posted: U128,
    /// After the change.
    pub credits_pending: U128,
    /// After the change.
    pub credits_posted: U128,
    /// As given at birth.
    pub user_data_128: U128,
    /// As given at birth.
    pub user_data_64: U64,
    /// As given at birth.
    pub user_data_32: U32,
    /// As given at birth.
    pub code: U16,
    /// After the change: a transfer may have closed or reopened the account.
    pub flags: U16,
}

/// One change: a result of `get_change_events`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ChangeEvent {
    /// Of the transfer; of an expiry, of the reservation that ended, as all `transfer_` fields.
    pub transfer_id: U128,
    /// What moved, was reserved or given back.
    pub transfer_amount: U128,
    /// The reservation that a post or a void resolved.
    pub transfer_pending_id: U128,
    /// As stored.
    pub transfer_user_data_128: U128,
    /// As stored.
    pub transfer_user_data_64: U64,
    /// As stored.
    pub transfer_user_data_32: U32,
    /// Seconds.
    pub transfer_timeout: U32,
    /// As stored.
    pub transfer_code: U16,
    /// [`crate::transfer::TransferFlags`], as bits.
    pub transfer_flags: U16,
    /// Of the transfer and both accounts.
    pub ledger: U32,
    /// [`ChangeKind`], as a number.
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 39],
    /// The account whose debits the transfer counts among.
    pub debit_account: ChangedAccount,
    /// The account whose credits the transfer counts among.
    pub credit_account: ChangedAccount,
    /// When it happened: nanoseconds since the Unix epoch.
    pub timestamp: U64,
    /// When the transfer was created; earlier than `timestamp` only in an expiry.
    pub transfer_timestamp: U64,
    /// When the account was created.
    pub debit_account_timestamp: U64,
    /// When the account was created.
    pub credit_account_timestamp: U64,
}

const _: () = assert!(size_of::<ChangeEvent>() == 384);
const _: () = assert!(size_of::<ChangedAccount>() == 112);

/// Which changes: the body of `get_change_events`, 64 bytes.
///
/// Offsets: `timestamp_min` 0, `timestamp_max` 8, `limit` 16, `reserved` 20.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ChangeEventsFilter {
    /// Not before; 0 is no bound.
    pub timestamp_min: U64,
    /// Not after; 0 is no bound.
    pub timestamp_max: U64,
    /// At most so many; not zero.
    pub limit: U32,
    /// Zero.
    pub reserved: [u8; 44],
}

const _: () = assert!(size_of::<ChangeEventsFilter>() == 64);

impl ChangeEventsFilter {
    /// The filter's period, if the filter breaks no rule.
    pub(crate) fn period(&self) -> Option<Period> {
        let (min, max) = (self.timestamp_min, self.timestamp_max);
        Period::of_filter(min, max, self.limit, &self.reserved)
    }
}

/// Where a reader of the stream of changes stands: the body of `get_changes` (ours), 64 bytes.
///
/// Offsets: `number_min` 0, `timestamp_min` 8, `limit` 16, `reserved` 20.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ChangesFilter {
    /// The number of the first change to send; changes are numbered from 0 without a gap.
    pub number_min: U64,
    /// Not before this moment; 0 is no bound. The later of both bounds counts.
    pub timestamp_min: U64,
    /// At most so many; not zero.
    pub limit: U32,
    /// Zero.
    pub reserved: [u8; 44],
}

const _: () = assert!(size_of::<ChangesFilter>() == 64);

impl ChangesFilter {
    /// Does the filter break no rule?
    pub(crate) fn is_sound(&self) -> bool {
        let none = 0.into();
        Period::of_filter(self.timestamp_min, none, self.limit, &self.reserved).is_some()
    }
}

/// A change with its number: a result of `get_changes` (ours), 400 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Change {
    /// Its place among all changes of the group, the same on every replica and for ever.
    pub number: U64,
    /// Zero.
    pub reserved: U64,
    /// What happened. Of [`ChangeKind::Spent`] only `transfer_id` and `kind` are set.
    pub event: ChangeEvent,
}

const _: () = assert!(size_of::<Change>() == 400);

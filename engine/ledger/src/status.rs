//! What the ledger answers to one event: created, or the first rule that was broken.
//!
//! - Numbers are TigerBeetle 0.17's. Ours begin at 1001, far above theirs.
//! - Variants stand in order of precedence: if several rules are broken, the first one listed is the
//!   answer.
//! - A status is an outcome, not an error: it depends on the log alone and is the same on every replica.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

macro_rules! statuses {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $number,)*
        }

        impl $name {
            /// Every status, in order of precedence.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u32 {
                self as u32
            }

            /// The status of a number on the wire.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Its name, as in the documentation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

statuses! {
    /// The answer to one event of `create_accounts`.
    CreateAccountStatus {
        /// It exists from this moment on.
        Created = 0xFFFF_FFFF, "created";
        /// Another event of its chain failed.
        LinkedEventFailed = 1, "linked_event_failed";
        /// The last event of the request is linked to nothing.
        LinkedEventChainOpen = 2, "linked_event_chain_open";
        /// The request's first event is imported, this one is not.
        ImportedEventExpected = 22, "imported_event_expected";
        /// This event is imported, the request's first is not.
        ImportedEventNotExpected = 23, "imported_event_not_expected";
        /// Only an imported event brings its timestamp.
        TimestampMustBeZero = 3, "timestamp_must_be_zero";
        /// The timestamp is 0 or above 2^63 - 1.
        ImportedEventTimestampOutOfRange = 24, "imported_event_timestamp_out_of_range";
        /// The timestamp is not in the past.
        ImportedEventTimestampMustNotAdvance = 25, "imported_event_timestamp_must_not_advance";
        /// The reserved field is not zero.
        ReservedField = 4, "reserved_field";
        /// A flag without a meaning is set.
        ReservedFlag = 5, "reserved_flag";
        /// The id is 0.
        IdMustNotBeZero = 6, "id_must_not_be_zero";
        /// The id is 2^128 - 1.
        IdMustNotBeIntMax = 7, "id_must_not_be_int_max";
        /// The id is taken by an account with other flags.
        ExistsWithDifferentFlags = 15, "exists_with_different_flags";
        /// The id is taken by an account with another `user_data_128`.
        ExistsWithDifferentUserData128 = 16, "exists_with_different_user_data_128";
        /// The id is taken by an account with another `user_data_64`.
        ExistsWithDifferentUserData64 = 17, "exists_with_different_user_data_64";
        /// The id is taken by an account with another `user_data_32`.
        ExistsWithDifferentUserData32 = 18, "exists_with_different_user_data_32";
        /// The id is taken by an account of another ledger.
        ExistsWithDifferentLedger = 19, "exists_with_different_ledger";
        /// The id is taken by an account with another code.
        ExistsWithDifferentCode = 20, "exists_with_different_code";
        /// The very same account exists already.
        Exists = 21, "exists";
        /// Ours: the group holds as many accounts as it was configured for.
        AccountsFull = 1001, "accounts_full";
        /// Both balance limits are asked for.
        FlagsAreMutuallyExclusive = 8, "flags_are_mutually_exclusive";
        /// A new account has no balance.
        DebitsPendingMustBeZero = 9, "debits_pending_must_be_zero";
        /// A new account has no balance.
        DebitsPostedMustBeZero = 10, "debits_posted_must_be_zero";
        /// A new account has no balance.
        CreditsPendingMustBeZero = 11, "credits_pending_must_be_zero";
        /// A new account has no balance.
        CreditsPostedMustBeZero = 12, "credits_posted_must_be_zero";
        /// The ledger is 0.
        LedgerMustNotBeZero = 13, "ledger_must_not_be_zero";
        /// The code is 0.
        CodeMustNotBeZero = 14, "code_must_not_be_zero";
        /// The timestamp is not above every account's, or a transfer has it.
        ImportedEventTimestampMustNotRegress = 26, "imported_event_timestamp_must_not_regress";
    }
}

statuses! {
    /// The answer to one event of `create_transfers`.
    CreateTransferStatus {
        /// It exists from this moment on.
        Created = 0xFFFF_FFFF, "created";
        /// Another event of its chain failed.
        LinkedEventFailed = 1, "linked_event_failed";
        /// The last event of the request is linked to nothing.
        LinkedEventChainOpen = 2, "linked_event_chain_open";
        /// The request's first event is imported, this one is not.
        ImportedEventExpected = 56, "imported_event_expected";
        /// This event is imported, the request's first is not.
        ImportedEventNotExpected = 57, "imported_event_not_expected";
        /// Only an imported event brings its timestamp.
        TimestampMustBeZero = 3, "timestamp_must_be_zero";
        /// The timestamp is 0 or above 2^63 - 1.
        ImportedEventTimestampOutOfRange = 58, "imported_event_timestamp_out_of_range";
        /// The timestamp is not in the past.
        ImportedEventTimestampMustNotAdvance = 59, "imported_event_timestamp_must_not_advance";
        /// A flag without a meaning is set.
        ReservedFlag = 4, "reserved_flag";
        /// The id is 0.
        IdMustNotBeZero = 5, "id_must_not_be_zero";
        /// The id is 2^128 - 1.
        IdMustNotBeIntMax = 6, "id_must_not_be_int_max";
        /// The id is taken by a transfer with other flags.
        ExistsWithDifferentFlags = 36, "exists_with_different_flags";
        /// The id is taken by a transfer with another `pending_id`.
        ExistsWithDifferentPendingId = 40, "exists_with_different_pending_id";
        /// The id is taken by a transfer with another timeout.
        ExistsWithDifferentTimeout = 44, "exists_with_different_timeout";
        /// The id is taken by a transfer with another debit account.
        ExistsWithDifferentDebitAccountId = 37, "exists_with_different_debit_account_id";
        /// The id is taken by a transfer with another credit account.
        ExistsWithDifferentCreditAccountId = 38, "exists_with_different_credit_account_id";
        /// The id is taken by a transfer of another amount.
        ExistsWithDifferentAmount = 39, "exists_with_different_amount";
        /// The id is taken by a transfer with another `user_data_128`.
        ExistsWithDifferentUserData128 = 41, "exists_with_different_user_data_128";
        /// The id is taken by a transfer with another `user_data_64`.
        ExistsWithDifferentUserData64 = 42, "exists_with_different_user_data_64";
        /// The id is taken by a transfer with another `user_data_32`.
        ExistsWithDifferentUserData32 = 43, "exists_with_different_user_data_32";
        /// The id is taken by a transfer of another ledger.
        ExistsWithDifferentLedger = 67, "exists_with_different_ledger";
        /// The id is taken by a transfer with another code.
        ExistsWithDifferentCode = 45, "exists_with_different_code";
        /// The very same transfer exists already.
        Exists = 46, "exists";
        /// The id failed once for a passing reason and is spent.
        IdAlreadyFailed = 68, "id_already_failed";
        /// Ours: the group holds as many transfers as it was configured for.
        TransfersFull = 1002, "transfers_full";
        /// The flags contradict each other.
        FlagsAreMutuallyExclusive = 7, "flags_are_mutually_exclusive";
        /// The debit account's id is 0.
        DebitAccountIdMustNotBeZero = 8, "debit_account_id_must_not_be_zero";
        /// The debit account's id is 2^128 - 1.
        DebitAccountIdMustNotBeIntMax = 9, "debit_account_id_must_not_be_int_max";
        /// The credit account's id is 0.
        CreditAccountIdMustNotBeZero = 10, "credit_account_id_must_not_be_zero";
        /// The credit account's id is 2^128 - 1.
        CreditAccountIdMustNotBeIntMax = 11, "credit_account_id_must_not_be_int_max";
        /// An account cannot deal with itself.
        AccountsMustBeDifferent = 12, "accounts_must_be_different";
        /// Only a post or a void names a pending transfer.
        PendingIdMustBeZero = 13, "pending_id_must_be_zero";
        /// A post or a void names a pending transfer.
        PendingIdMustNotBeZero = 14, "pending_id_must_not_be_zero";
        /// The pending id is 2^128 - 1.
        PendingIdMustNotBeIntMax = 15, "pending_id_must_not_be_int_max";
        /// A transfer cannot resolve itself.
        PendingIdMustBeDifferent = 16, "pending_id_must_be_different";
        /// Only a pending transfer expires.
        TimeoutReservedForPendingTransfer = 17, "timeout_reserved_for_pending_transfer";
        /// Only a pending transfer closes an account.
        ClosingTransferMustBePending = 64, "closing_transfer_must_be_pending";
        /// The ledger is 0.
        LedgerMustNotBeZero = 19, "ledger_must_not_be_zero";
        /// The code is 0.
        CodeMustNotBeZero = 20, "code_must_not_be_zero";
        /// There is no such debit account. Spends the id.
        DebitAccountNotFound = 21, "debit_account_not_found";
        /// There is no such credit account. Spends the id.
        CreditAccountNotFound = 22, "credit_account_not_found";
        /// The accounts are of two ledgers.
        AccountsMustHaveTheSameLedger = 23, "accounts_must_have_the_same_ledger";
        /// The accounts are of one ledger, the transfer of another.
        TransferMustHaveTheSameLedgerAsAccounts = 24, "transfer_must_have_the_same_ledger_as_accounts";
        /// There is no such pending transfer. Spends the id.
        PendingTransferNotFound = 25, "pending_transfer_not_found";
        /// The transfer to resolve was never pending.
        PendingTransferNotPending = 26, "pending_transfer_not_pending";
        /// The pending transfer has another debit account.
        PendingTransferHasDifferentDebitAccountId = 27, "pending_transfer_has_different_debit_account_id";
        /// The pending transfer has another credit account.
        PendingTransferHasDifferentCreditAccountId = 28, "pending_transfer_has_different_credit_account_id";
        /// The pending transfer is of another ledger.
        PendingTransferHasDifferentLedger = 29, "pending_transfer_has_different_ledger";
        /// The pending transfer has another code.
        PendingTransferHasDifferentCode = 30, "pending_transfer_has_different_code";
        /// More than was reserved.
        ExceedsPendingTransferAmount = 31, "exceeds_pending_transfer_amount";
        /// A void gives back all that was reserved.
        PendingTransferHasDifferentAmount = 32, "pending_transfer_has_different_amount";
        /// The pending transfer was posted.
        PendingTransferAlreadyPosted = 33, "pending_transfer_already_posted";
        /// The pending transfer was voided.
        PendingTransferAlreadyVoided = 34, "pending_transfer_already_voided";
        /// The pending transfer has expired.
        PendingTransferExpired = 35, "pending_transfer_expired";
        /// The timestamp is not above every transfer's, or an account has it.
        ImportedEventTimestampMustNotRegress = 60, "imported_event_timestamp_must_not_regress";
        /// The transfer is older than its debit account.
        ImportedEventTimestampMustPostdateDebitAccount = 61, "imported_event_timestamp_must_postdate_debit_account";
        /// The transfer is older than its credit account.
        ImportedEventTimestampMustPostdateCreditAccount = 62, "imported_event_timestamp_must_postdate_credit_account";
        /// An imported transfer never expires.
        ImportedEventTimeoutMustBeZero = 63, "imported_event_timeout_must_be_zero";
        /// The debit account is closed. Spends the id.
        DebitAccountAlreadyClosed = 65, "debit_account_already_closed";
        /// The credit account is closed. Spends the id.
        CreditAccountAlreadyClosed = 66, "credit_account_already_closed";
        /// The debit account's pending debits would pass 2^128 - 1.
        OverflowsDebitsPending = 47, "overflows_debits_pending";
        /// The credit account's pending credits would pass 2^128 - 1.
        OverflowsCreditsPending = 48, "overflows_credits_pending";
        /// The debit account's posted debits would pass 2^128 - 1.
        OverflowsDebitsPosted = 49, "overflows_debits_posted";
        /// The credit account's posted credits would pass 2^128 - 1.
        OverflowsCreditsPosted = 50, "overflows_credits_posted";
        /// The debit account's debits together would pass 2^128 - 1.
        OverflowsDebits = 51, "overflows_debits";
        /// The credit account's credits together would pass 2^128 - 1.
        OverflowsCredits = 52, "overflows_credits";
        /// The transfer would expire after 2^63 - 1.
        OverflowsTimeout = 53, "overflows_timeout";
        /// The debit account's limit forbids it. Spends the id.
        ExceedsCredits = 54, "exceeds_credits";
        /// The credit account's limit forbids it. Spends the id.
        ExceedsDebits = 55, "exceeds_debits";
        /// Ours: the group holds as many unresolved pending transfers as it was configured for.
        PendingsFull = 1003, "pendings_full";
    }
}

impl CreateTransferStatus {
    /// Does this failure spend the id? The reason may pass, so that a retry could succeed; the id is
    /// remembered as failed instead, and a retry answers `id_already_failed`.
    #[must_use]
    pub const fn spends_id(self) -> bool {
        matches!(
            self,
            Self::DebitAccountNotFound
                | Self::CreditAccountNotFound
                | Self::PendingTransferNotFound
                | Self::ExceedsCredits
                | Self::ExceedsDebits
                | Self::DebitAccountAlreadyClosed
                | Self::CreditAccountAlreadyClosed
        )
    }
}

/// One record of the reply to `create_accounts` and `create_transfers`: 16 bytes for every event, in
/// order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct CreateResult {
    /// The object's own timestamp if it was created or existed, else the moment of the judgement.
    pub timestamp: U64,
    /// A [`CreateAccountStatus`] or [`CreateTransferStatus`], by number.
    pub status: U32,
    /// Zero.
    pub reserved: U32,
}

const _: () = assert!(size_of::<CreateResult>() == 16);

impl CreateResult {
    /// A record.
    #[inline]
    #[must_use]
    pub fn new(timestamp: u64, status: u32) -> Self {
        Self {
            timestamp: U64::new(timestamp),
            status: U32::new(status),
            reserved: U32::ZERO,
        }
    }

    /// The status, if the record answers `create_accounts`.
    #[must_use]
    pub fn account_status(&self) -> Option<CreateAccountStatus> {
        CreateAccountStatus::from_number(self.status.get())
    }

    /// The status, if the record answers `create_transfers`.
    #[must_use]
    pub fn transfer_status(&self) -> Option<CreateTransferStatus> {
        CreateTransferStatus::from_number(self.status.get())
    }
}

#[cfg(test)]
mod tests {
    use super::{CreateAccountStatus, CreateTransferStatus};

    #[test]
    fn numbers_are_unique_and_leave_no_gap_below_ours() {
        let mut accounts: Vec<u32> = CreateAccountStatus::ALL
            .iter()
            .map(|s| s.number())
            .collect();
        accounts.sort_unstable();
        let expected: Vec<u32> = (1..=26).chain([1001, u32::MAX]).collect();
        assert_eq!(accounts, expected);

        let mut transfers: Vec<u32> = CreateTransferStatus::ALL
            .iter()
            .map(|s| s.number())
            .collect();
        transfers.sort_unstable();
        // 18 belonged to a rule that TigerBeetle dropped: a transfer may move nothing.
        let expected: Vec<u32> = (1..=68)
            .filter(|n| *n != 18)
            .chain([1002, 1003, u32::MAX])
            .collect();
        assert_eq!(transfers, expected);
    }

    #[test]
    fn a_number_names_its_status() {
        for status in CreateTransferStatus::ALL {
            assert_eq!(
                CreateTransferStatus::from_number(status.number()),
                Some(*status)
            );
        }
        for status in CreateAccountStatus::ALL {
            assert_eq!(
                CreateAccountStatus::from_number(status.number()),
                Some(*status)
            );
        }
        assert_eq!(CreateTransferStatus::from_number(18), None);
        assert_eq!(CreateTransferStatus::from_number(0), None);
    }
}

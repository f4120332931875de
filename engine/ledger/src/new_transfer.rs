//! Judges a transfer that moves or reserves money by itself (neither a post nor a void).
//!
//! - Rules stand in their order of precedence; the first broken one is the answer.
//! - Judging changes nothing: what passes becomes a [`Movement`], which cannot fail.

use crate::account::AccountFlags;
use crate::account_table::{AccountRow, AccountState};
use crate::books::Books;
use crate::limits::TIMESTAMP_MAX;
use crate::mutants::{Mutant, is_planted};
use crate::status::CreateTransferStatus;
use crate::transfer::{NANOS_PER_SECOND, Transfer, TransferFlags};

/// A movement that breaks no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Movement {
    pub(crate) debit: AccountRow,
    pub(crate) credit: AccountRow,
    pub(crate) amount: u128,
    pub(crate) timestamp: u64,
}

/// The rows that the account ids of an event were found at.
pub(crate) type Sides = (Option<AccountRow>, Option<AccountRow>);

/// Judges a transfer whose id is new, at the moment `at`.
#[inline]
pub(crate) fn judge(
    books: &Books,
    event: &Transfer,
    sides: Sides,
    at: u64,
) -> Result<Movement, CreateTransferStatus> {
    use CreateTransferStatus as S;
    let flags = event.flags();
    malformed(event, flags)?;
    let debit_row = sides.0.ok_or(S::DebitAccountNotFound)?;
    let credit_row = sides.1.ok_or(S::CreditAccountNotFound)?;
    let (debit, credit) = (
        books.accounts.row(debit_row),
        books.accounts.row(credit_row),
    );
    if debit.ledger != credit.ledger {
        return Err(S::AccountsMustHaveTheSameLedger);
    }
    if event.ledger.get() != debit.ledger {
        return Err(S::TransferMustHaveTheSameLedgerAsAccounts);
    }
    let timestamp = if flags.has(TransferFlags::IMPORTED) {
        imported_timestamp(books, event, Some((debit, credit)))?
    } else {
        at
    };
    if debit.flags.has(AccountFlags::CLOSED) {
        return Err(S::DebitAccountAlreadyClosed);
    }
    if credit.flags.has(AccountFlags::CLOSED) {
        return Err(S::CreditAccountAlreadyClosed);
    }
    let amount = balanced(event.amount.get(), flags, debit, credit);
    overflows(amount, flags, debit, credit)?;
    let timeout = u64::from(event.timeout.get()) * NANOS_PER_SECOND;
    if timeout > TIMESTAMP_MAX.saturating_sub(timestamp) {
        return Err(S::OverflowsTimeout);
    }
    if debit.debit_exceeds_credits(amount) && !is_planted(Mutant::OverdraftAllowed) {
        return Err(S::ExceedsCredits);
    }
    if credit.credit_exceeds_debits(amount) {
        return Err(S::ExceedsDebits);
    }
    if flags.has(TransferFlags::PENDING) && books.pendings.full() {
        return Err(S::PendingsFull);
    }
    Ok(Movement {
        debit: debit_row,
        credit: credit_row,
        amount,
        timestamp,
    })
}

/// The first rule that the event breaks by itself.
#[inline]
fn malformed(event: &Transfer, flags: TransferFlags) -> Result<(), CreateTransferStatus> {
    use CreateTransferStatus as S;
    let (debit_id, credit_id) = (event.debit_account_id.get(), event.credit_account_id.get());
    if debit_id == 0 {
        return Err(S::DebitAccountIdMustNotBeZero);
    }
    if debit_id == u128::MAX {
        return Err(S::DebitAccountIdMustNotBeIntMax);
    }
    if credit_id == 0 {
        return Err(S::CreditAccountIdMustNotBeZero);
    }
    if credit_id == u128::MAX {
        return Err(S::CreditAccountIdMustNotBeIntMax);
    }
    if debit_id == credit_id {
        return Err(S::AccountsMustBeDifferent);
    }
    if event.pending_id.get() != 0 {
        return Err(S::PendingIdMustBeZero);
    }
    if !flags.has(TransferFlags::PENDING) {
        if event.timeout.get() != 0 {
            return Err(S::TimeoutReservedForPendingTransfer);
        }
        if flags.has(TransferFlags::CLOSING) {
            return Err(S::ClosingTransferMustBePending);
        }
    }
    if event.ledger.get() == 0 {
        return Err(S::LedgerMustNotBeZero);
    }
    if event.code.get() == 0 {
        return Err(S::CodeMustNotBeZero);
    }
    Ok(())
}

/// The timestamp that an imported transfer brings, if it may have it. `sides` are the accounts that it
/// must postdate; a post or a void has them from its pending transfer, which does already.
#[cold]
pub(crate) fn imported_timestamp(
    books: &Books,
    event: &Transfer,
    sides: Option<(&AccountState, &AccountState)>,
) -> Result<u64, CreateTransferStatus> {
    use CreateTransferStatus as S;
    let timestamp = event.timestamp.get();
    let regresses = timestamp <= books.transfers.last_timestamp();
    if regresses || books.accounts.has_timestamp(timestamp) {
        return Err(S::ImportedEventTimestampMustNotRegress);
    }
    if let Some((debit, credit)) = sides {
        if timestamp <= debit.timestamp {
            return Err(S::ImportedEventTimestampMustPostdateDebitAccount);
        }
        if timestamp <= credit.timestamp {
            return Err(S::ImportedEventTimestampMustPostdateCreditAccount);
        }
        if event.timeout.get() != 0 {
            return Err(S::ImportedEventTimeoutMustBeZero);
        }
    }
    Ok(timestamp)
}

/// How much moves: the amount, or less if a balancing flag says so.
#[inline]
fn balanced(
    amount: u128,
    flags: TransferFlags,
    debit: &AccountState,
    credit: &AccountState,
) -> u128 {
    let mut amount = amount;
    if flags.has(TransferFlags::BALANCING_DEBIT) {
        let debits = debit.debits_posted + debit.debits_pending;
        amount = amount.min(debit.credits_posted.saturating_sub(debits));
    }
    if flags.has(TransferFlags::BALANCING_CREDIT) {
        let credits = credit.credits_posted + credit.credits_pending;
        amount = amount.min(credit.debits_posted.saturating_sub(credits));
    }
    amount
}

/// Which sum the amount would carry past 2^128 - 1. Pending plus posted of a side never overflows, so
/// that one sum of three decides whether any does.
#[inline]
fn overflows(
    amount: u128,
    flags: TransferFlags,
    debit: &AccountState,
    credit: &AccountState,
) -> Result<(), CreateTransferStatus> {
    let debits = (debit.debits_pending + debit.debits_posted).checked_add(amount);
    let credits = (credit.credits_pending + credit.credits_posted).checked_add(amount);
    if debits.is_some() && credits.is_some() {
        return Ok(());
    }
    Err(overflowing(amount, flags, debit, credit))
}

#[cold]
fn overflowing(
    amount: u128,
    flags: TransferFlags,
    debit: &AccountState,
    credit: &AccountState,
) -> CreateTransferStatus {
    use CreateTransferStatus as S;
    let passes = |sum: u128| sum.checked_add(amount).is_none();
    let pending = flags.has(TransferFlags::PENDING);
    if pending && passes(debit.debits_pending) {
        S::OverflowsDebitsPending
    } else if pending && passes(credit.credits_pending) {
        S::OverflowsCreditsPending
    } else if passes(debit.debits_posted) {
        S::OverflowsDebitsPosted
    } else if passes(credit.credits_posted) {
        S::OverflowsCreditsPosted
    } else if passes(debit.debits_pending + debit.debits_posted) {
        S::OverflowsDebits
    } else {
        S::OverflowsCredits
    }
}

/// How an event differs from the transfer that has its id already.
pub(crate) fn compare(event: &Transfer, existing: &Transfer) -> CreateTransferStatus {
    use CreateTransferStatus as S;
    // A balancing transfer moved at most what was asked for then; asking for more is the same request.
    let amount_differs = if event.flags().has(TransferFlags::BALANCING) {
        event.amount.get() < existing.amount.get()
    } else {
        event.amount != existing.amount
    };
    if event.debit_account_id != existing.debit_account_id {
        S::ExistsWithDifferentDebitAccountId
    } else if event.credit_account_id != existing.credit_account_id {
        S::ExistsWithDifferentCreditAccountId
    } else if amount_differs {
        S::ExistsWithDifferentAmount
    } else if event.user_data_128 != existing.user_data_128 {
        S::ExistsWithDifferentUserData128
    } else if event.user_data_64 != existing.user_data_64 {
        S::ExistsWithDifferentUserData64
    } else if event.user_data_32 != existing.user_data_32 {
        S::ExistsWithDifferentUserData32
    } else if event.ledger != existing.ledger {
        S::ExistsWithDifferentLedger
    } else if event.code != existing.code {
        S::ExistsWithDifferentCode
    } else {
        S::Exists
    }
}

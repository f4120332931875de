//! Judges the second phase of a pending transfer: a post or a void.
//!
//! - Rules stand in their order of precedence; the first broken one is the answer.
//! - Judging changes nothing: what passes becomes a [`Resolution`], which cannot fail: the amount was
//!   reserved, so it breaks no limit and overflows no sum.
//! - Fields left at zero are taken from the pending transfer.

use crate::account::AccountFlags;
use crate::books::Books;
use crate::fates::Fate;
use crate::new_transfer::imported_timestamp;
use crate::pending::{Reservation, Slot};
use crate::status::CreateTransferStatus;
use crate::transfer::{Transfer, TransferFlags};

/// A post or a void that breaks no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resolution {
    pub(crate) slot: Slot,
    pub(crate) reservation: Reservation,
    pub(crate) amount: u128,
    pub(crate) timestamp: u64,
}

/// Judges a post or a void whose id is new, at the moment `at`; `hash` is that of the pending transfer's id.
pub(crate) fn judge(
    books: &Books,
    event: &Transfer,
    hash: u64,
    at: u64,
) -> Result<Resolution, CreateTransferStatus> {
    use CreateTransferStatus as S;
    let flags = event.flags();
    malformed(event, flags)?;
    let Some(slot) = books.pendings.find(event.pending_id.get(), hash) else {
        return Err(not_open(books, event));
    };
    let reservation = books.pendings.reservation(slot);
    let amount = matches(event, flags, &reservation.transfer)?;
    // Its turn to be expired may not have come yet.
    let expires_at = reservation.transfer.expires_at();
    if expires_at.is_some_and(|expires_at| expires_at <= at) {
        return Err(S::PendingTransferExpired);
    }
    let timestamp = if flags.has(TransferFlags::IMPORTED) {
        imported_timestamp(books, event, None)?
    } else {
        at
    };
    if flags.has(TransferFlags::POST_PENDING_TRANSFER) {
        let closed = |row| books.accounts.row(row).flags.has(AccountFlags::CLOSED);
        if closed(reservation.debit) {
            return Err(S::DebitAccountAlreadyClosed);
        }
        if closed(reservation.credit) {
            return Err(S::CreditAccountAlreadyClosed);
        }
    }
    Ok(Resolution {
        slot,
        reservation,
        amount,
        timestamp,
    })
}

/// Why a post or a void names no open reservation.
#[cold]
fn not_open(books: &Books, event: &Transfer) -> CreateTransferStatus {
    use CreateTransferStatus as S;
    let Some(row) = books.transfers.find_transfer(event.pending_id.get()) else {
        return S::PendingTransferNotFound;
    };
    if let Err(status) = matches(event, event.flags(), &books.transfers.row(row)) {
        return status;
    }
    match books.pendings.fate(row) {
        Some(Fate::Posted) => S::PendingTransferAlreadyPosted,
        Some(Fate::Voided) => S::PendingTransferAlreadyVoided,
        Some(Fate::Expired) => S::PendingTransferExpired,
        None => unreachable!("a reservation is open or has a fate"),
    }
}

/// The first rule that the event breaks by itself.
fn malformed(event: &Transfer, flags: TransferFlags) -> Result<(), CreateTransferStatus> {
    use CreateTransferStatus as S;
    let both = flags.has(TransferFlags::POST_PENDING_TRANSFER)
        && flags.has(TransferFlags::VOID_PENDING_TRANSFER);
    let exclusive = TransferFlags::PENDING | TransferFlags::BALANCING | TransferFlags::CLOSING;
    if both || flags.has(exclusive) {
        return Err(S::FlagsAreMutuallyExclusive);
    }
    match event.pending_id.get() {
        0 => Err(S::PendingIdMustNotBeZero),
        u128::MAX => Err(S::PendingIdMustNotBeIntMax),
        id if id == event.id.get() => Err(S::PendingIdMustBeDifferent),
        _ if event.timeout.get() != 0 => Err(S::TimeoutReservedForPendingTransfer),
        _ => Ok(()),
    }
}

/// Does the event fit the pending transfer? If so, the amount that it posts or voids.
fn matches(
    event: &Transfer,
    flags: TransferFlags,
    pending: &Transfer,
) -> Result<u128, CreateTransferStatus> {
    use CreateTransferStatus as S;
    if !pending.flags().has(TransferFlags::PENDING) {
        return Err(S::PendingTransferNotPending);
    }
    let differs_id = |asked: u128, is: u128| asked != 0 && asked != is;
    if differs_id(event.debit_account_id.get(), pending.debit_account_id.get()) {
        return Err(S::PendingTransferHasDifferentDebitAccountId);
    }
    if differs_id(
        event.credit_account_id.get(),
        pending.credit_account_id.get(),
    ) {
        return Err(S::PendingTransferHasDifferentCreditAccountId);
    }
    if event.ledger.get() != 0 && event.ledger != pending.ledger {
        return Err(S::PendingTransferHasDifferentLedger);
    }
    if event.code.get() != 0 && event.code != pending.code {
        return Err(S::PendingTransferHasDifferentCode);
    }
    let voids = flags.has(TransferFlags::VOID_PENDING_TRANSFER);
    let amount = asked_amount(event, voids, pending);
    if amount > pending.amount.get() {
        return Err(S::ExceedsPendingTransferAmount);
    }
    if voids && amount < pending.amount.get() {
        return Err(S::PendingTransferHasDifferentAmount);
    }
    Ok(amount)
}

/// The amount that the event stands for: "all" is 2^128 - 1 in a post, 0 in a void.
fn asked_amount(event: &Transfer, voids: bool, pending: &Transfer) -> u128 {
    let all = if voids { 0 } else { u128::MAX };
    let asked = event.amount.get();
    if asked == all {
        pending.amount.get()
    } else {
        asked
    }
}

/// The transfer to store for a post or a void.
pub(crate) fn complete(event: &Transfer, pending: &Transfer, resolution: &Resolution) -> Transfer {
    let mut stored = *event;
    stored.debit_account_id = pending.debit_account_id;
    stored.credit_account_id = pending.credit_account_id;
    stored.amount = resolution.amount.into();
    if stored.user_data_128.get() == 0 {
        stored.user_data_128 = pending.user_data_128;
    }
    if stored.user_data_64.get() == 0 {
        stored.user_data_64 = pending.user_data_64;
    }
    if stored.user_data_32.get() == 0 {
        stored.user_data_32 = pending.user_data_32;
    }
    stored.ledger = pending.ledger;
    stored.code = pending.code;
    stored.timestamp = resolution.timestamp.into();
    stored
}

/// How an event differs from the post or void that has its id already.
pub(crate) fn compare(
    event: &Transfer,
    existing: &Transfer,
    pending: &Transfer,
) -> CreateTransferStatus {
    use CreateTransferStatus as S;
    let differs_id = |asked: u128, is: u128| asked != 0 && asked != is;
    let voids = event.flags().has(TransferFlags::VOID_PENDING_TRANSFER);
    // Fields left at zero stand for those of the pending transfer, as they did the first time.
    let or = |asked: u128, inherited: u128| if asked == 0 { inherited } else { asked };
    let user_data_64 = or(
        event.user_data_64.get().into(),
        pending.user_data_64.get().into(),
    );
    let user_data_32 = or(
        event.user_data_32.get().into(),
        pending.user_data_32.get().into(),
    );
    if differs_id(
        event.debit_account_id.get(),
        existing.debit_account_id.get(),
    ) {
        S::ExistsWithDifferentDebitAccountId
    } else if differs_id(
        event.credit_account_id.get(),
        existing.credit_account_id.get(),
    ) {
        S::ExistsWithDifferentCreditAccountId
    } else if asked_amount(event, voids, pending) != existing.amount.get() {
        S::ExistsWithDifferentAmount
    } else if or(event.user_data_128.get(), pending.user_data_128.get())
        != existing.user_data_128.get()
    {
        S::ExistsWithDifferentUserData128
    } else if user_data_64 != u128::from(existing.user_data_64.get()) {
        S::ExistsWithDifferentUserData64
    } else if user_data_32 != u128::from(existing.user_data_32.get()) {
        S::ExistsWithDifferentUserData32
    } else if event.ledger.get() != 0 && event.ledger != existing.ledger {
        S::ExistsWithDifferentLedger
    } else if event.code.get() != 0 && event.code != existing.code {
        S::ExistsWithDifferentCode
    } else {
        S::Exists
    }
}

//! Answers what happened, in order: the changes of a period, or from any change on.
//!
//! - Every row of the transfer table is one change; its number is the row's, so it is the same on every replica.
//! - TigerBeetle's readers are not shown ids that were spent.

use zerocopy::{FromZeros, IntoBytes};

use crate::account::AccountFlags;
use crate::account_table::AccountState;
use crate::balances::{Both, Side};
use crate::books::Books;
use crate::change::{
    Change, ChangeEvent, ChangeEventsFilter, ChangeKind, ChangedAccount, ChangesFilter,
};
use crate::event_row::{EventRow, RowKind};
use crate::filter::Period;
use crate::limits::{CHANGE_EVENTS_MAX, CHANGES_MAX, TIMESTAMP_MAX};
use crate::transfer::{Transfer, TransferFlags};
use crate::transfer_table::TransferRow;

/// The changes of a period, in order of time.
pub(crate) fn of_period(books: &Books, filter: &ChangeEventsFilter, reply: &mut Vec<u8>) {
    let Some(period) = filter.period() else {
        return;
    };
    let limit = CHANGE_EVENTS_MAX.min(filter.limit.get() as usize);
    books
        .transfers
        .range_within(period)
        .map(TransferRow::new)
        .filter(|row| books.transfers.event(*row).kind() != RowKind::Spent)
        .take(limit)
        .for_each(|row| reply.extend_from_slice(change(books, row).as_bytes()));
}

/// Changes from a number and a moment on, spent ids among them.
pub(crate) fn from_number(books: &Books, filter: &ChangesFilter, reply: &mut Vec<u8>) {
    if !filter.is_sound() {
        return;
    }
    let since = Period {
        first: filter.timestamp_min.get(),
        last: TIMESTAMP_MAX,
    };
    let by_time = books.transfers.range_within(since).start;
    let by_number = usize::try_from(filter.number_min.get()).unwrap_or(usize::MAX);
    let limit = CHANGES_MAX.min(filter.limit.get() as usize);
    let end = books.transfers.len();
    for row in (by_time.max(by_number)..end).take(limit) {
        let numbered = Change {
            number: (row as u64).into(),
            reserved: 0.into(),
            event: change(books, TransferRow::new(row)),
        };
        reply.extend_from_slice(numbered.as_bytes());
    }
}

/// The change that a row stands for.
fn change(books: &Books, row: TransferRow) -> ChangeEvent {
    let event = books.transfers.event(row);
    let (kind, transfer) = match event.kind() {
        RowKind::Transfer => (kind_of(&event.transfer()), event.transfer()),
        RowKind::Expiry => (ChangeKind::Expired, ended(books, event)),
        RowKind::Spent => return spent(event),
    };
    let both = books.transfers.balances(row);
    let (debit, debit_timestamp) = account(books, event, &both, Side::Debit);
    let (credit, credit_timestamp) = account(books, event, &both, Side::Credit);
    ChangeEvent {
        transfer_id: transfer.id,
        transfer_amount: transfer.amount,
        transfer_pending_id: transfer.pending_id,
        transfer_user_data_128: transfer.user_data_128,
        transfer_user_data_64: transfer.user_data_64,
        transfer_user_data_32: transfer.user_data_32,
        transfer_timeout: transfer.timeout,
        transfer_code: transfer.code,
        transfer_flags: transfer.flags,
        ledger: transfer.ledger,
        kind: kind as u8,
        reserved: [0; 39],
        debit_account: debit,
        credit_account: credit,
        timestamp: event.fields().timestamp,
        transfer_timestamp: transfer.timestamp,
        debit_account_timestamp: debit_timestamp.into(),
        credit_account_timestamp: credit_timestamp.into(),
    }
}

/// The reservation that an expiry ended.
fn ended(books: &Books, event: &EventRow) -> Transfer {
    let row = event.ended();
    if (row.0 as usize) < books.transfers.len() {
        books.transfers.row(row)
    } else {
        event.transfer()
    }
}

fn kind_of(transfer: &Transfer) -> ChangeKind {
    let flags = transfer.flags();
    if flags.has(TransferFlags::PENDING) {
        ChangeKind::Pending
    } else if flags.has(TransferFlags::POST_PENDING_TRANSFER) {
        ChangeKind::Posted
    } else if flags.has(TransferFlags::VOID_PENDING_TRANSFER) {
        ChangeKind::Voided
    } else {
        ChangeKind::SinglePhase
    }
}

/// One account after a change, and when it was created.
fn account(books: &Books, event: &EventRow, both: &Both, side: Side) -> (ChangedAccount, u64) {
    let (id, closed) = match side {
        Side::Debit => (event.fields().debit_account_id, TransferFlags::DEBIT_CLOSED),
        Side::Credit => (
            event.fields().credit_account_id,
            TransferFlags::CREDIT_CLOSED,
        ),
    };
    // Rows of a chapter that was damaged after it was checked may name accounts that are not.
    let row = books.accounts.find(id.get());
    let account = row.map_or_else(AccountState::new_zeroed, |row| *books.accounts.row(row));
    (
        changed(&account, both.side(side), event.has(closed)),
        account.timestamp,
    )
}

fn changed(account: &AccountState, balances: [u128; 4], closed: bool) -> ChangedAccount {
    let flags = account.flags.without(AccountFlags::CLOSED);
    let flags = if closed {
        flags.with(AccountFlags::CLOSED)
    } else {
        flags
    };
    ChangedAccount {
        id: account.id.into(),
        debits_pending: balances[0].into(),
        debits_posted: balances[1].into(),
        credits_pending: balances[2].into(),
        credits_posted: balances[3].into(),
        user_data_128: account.user_data_128.into(),
        user_data_64: account.user_data_64.into(),
        user_data_32: account.user_data_32.into(),
        code: account.code.into(),
        flags: flags.0.into(),
    }
}

/// An id that was spent; it moved nothing.
fn spent(event: &EventRow) -> ChangeEvent {
    ChangeEvent {
        transfer_id: event.fields().id,
        kind: ChangeKind::Spent as u8,
        ..ChangeEvent::new_zeroed()
    }
}

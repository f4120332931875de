//! Answers reads from the books as they stand.
//!
//! - Reads change nothing and see whole commands only.
//! - Results are in order of time, or the reverse, and at most [`RESULTS_MAX`].

use zerocopy::IntoBytes;
use zerocopy::little_endian::U128;

use crate::books::Books;
use crate::filter::{AccountFilter, QueryFilter};
use crate::history::Side;
use crate::limits::RESULTS_MAX;
use crate::transfer_table::TransferRow;

/// The accounts of these ids, those left out that do not exist.
pub(crate) fn lookup_accounts(books: &Books, ids: &[U128], reply: &mut Vec<u8>) {
    for id in ids {
        if let Some(row) = books.accounts.find(id.get()) {
            reply.extend_from_slice(books.accounts.row(row).to_wire().as_bytes());
        }
    }
}

/// The transfers of these ids, those left out that do not exist.
pub(crate) fn lookup_transfers(books: &Books, ids: &[U128], reply: &mut Vec<u8>) {
    for id in ids {
        if let Some(row) = books.transfers.find_transfer(id.get()) {
            reply.extend_from_slice(books.transfers.row(row).as_bytes());
        }
    }
}

/// The transfers of an account.
pub(crate) fn account_transfers(books: &Books, filter: &AccountFilter, reply: &mut Vec<u8>) {
    let rows = of_account(books, filter);
    emit(rows, filter.reversed(), filter.limit.get(), |row| {
        reply.extend_from_slice(books.transfers.row(row).as_bytes());
    });
}

/// The balances of an account after its transfers, if it remembers them.
pub(crate) fn account_balances(books: &Books, filter: &AccountFilter, reply: &mut Vec<u8>) {
    let remembered = of_account(books, filter).filter_map(|row| {
        let transfer = books.transfers.row(row);
        let debits = transfer.debit_account_id == filter.account_id;
        let side = if debits { Side::Debit } else { Side::Credit };
        let balances = books.history.find(row, side)?;
        Some(balances.to_wire(transfer.timestamp.get()))
    });
    emit(
        remembered,
        filter.reversed(),
        filter.limit.get(),
        |balance| {
            reply.extend_from_slice(balance.as_bytes());
        },
    );
}

/// Accounts by their fields.
pub(crate) fn accounts(books: &Books, filter: &QueryFilter, reply: &mut Vec<u8>) {
    let Some(period) = filter.period() else {
        return;
    };
    let rows = books
        .accounts
        .rows_within(period)
        .filter(|account| filter.selects_account(account));
    emit(rows, filter.reversed(), filter.limit.get(), |account| {
        reply.extend_from_slice(account.to_wire().as_bytes());
    });
}

/// Transfers by their fields.
pub(crate) fn transfers(books: &Books, filter: &QueryFilter, reply: &mut Vec<u8>) {
    let Some(period) = filter.period() else {
        return;
    };
    let rows = books.transfers.rows_within(period);
    let rows = rows
        .map(|row| books.transfers.row(row))
        .filter(|row| filter.selects_transfer(row));
    emit(rows, filter.reversed(), filter.limit.get(), |row| {
        reply.extend_from_slice(row.as_bytes())
    });
}

/// The rows of transfers that a filter of an account selects.
fn of_account<'a>(
    books: &'a Books,
    filter: &'a AccountFilter,
) -> impl DoubleEndedIterator<Item = TransferRow> + 'a {
    let rows = filter
        .period()
        .map(|period| books.transfers.rows_within(period));
    rows.into_iter()
        .flatten()
        .filter(|row| filter.selects(books.transfers.row(*row)))
}

/// Hands on the first results, or the last in reverse.
fn emit<T>(
    results: impl DoubleEndedIterator<Item = T>,
    reversed: bool,
    limit: u32,
    hand_on: impl FnMut(T),
) {
    let limit = RESULTS_MAX.min(limit as usize);
    if reversed {
        results.rev().take(limit).for_each(hand_on);
    } else {
        results.take(limit).for_each(hand_on);
    }
}

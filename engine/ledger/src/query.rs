//! Answers reads from the books as they stand.
//!
//! - Reads change nothing and see whole commands only.
//! - Results are in order of time, or the reverse, and at most [`RESULTS_MAX`].

use core::ops::ControlFlow;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U128;

use crate::account::AccountFlags;
use crate::account_table::AccountState;
use crate::balances::Side;
use crate::books::Books;
use crate::event_row::RowKind;
use crate::filter::{AccountFilter, Period, QueryFilter};
use crate::find_blocks::{Field, Key};
use crate::limits::RESULTS_MAX;
use crate::transfer_table::TransferRow;

/// The accounts of these ids, those left out that do not exist.
pub(crate) fn lookup_accounts(books: &Books, ids: &[U128], reply: &mut Vec<u8>) {
    if books.accounts.is_elsewhere() {
        for id in ids {
            books.accounts.fetch_to_read(id.get());
        }
    }
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
    of_account(books, filter, |row| {
        reply.extend_from_slice(books.transfers.row(row).as_bytes());
        true
    });
}

/// The balances of an account after its transfers, if it remembers them.
pub(crate) fn account_balances(books: &Books, filter: &AccountFilter, reply: &mut Vec<u8>) {
    let account = books
        .accounts
        .find(filter.account_id.get())
        .map(|row| books.accounts.row(row));
    if !account.is_some_and(|account| account.flags.has(AccountFlags::HISTORY)) {
        return;
    }
    of_account(books, filter, |row| {
        let transfer = books.transfers.row(row);
        let debits = transfer.debit_account_id == filter.account_id;
        let side = if debits { Side::Debit } else { Side::Credit };
        let balances = books.transfers.balances(row);
        reply.extend_from_slice(balances.to_wire(side, transfer.timestamp.get()).as_bytes());
        true
    });
}

/// Accounts by their fields. Visits every account of the period until the limit is reached.
pub(crate) fn accounts(books: &Books, filter: &QueryFilter, reply: &mut Vec<u8>) {
    let Some(period) = filter.period() else {
        return;
    };
    let limit = RESULTS_MAX.min(filter.limit.get() as usize);
    let rows = books.accounts.rows_within(period);
    let hand_on = |account: &AccountState| reply.extend_from_slice(account.to_wire().as_bytes());
    if filter.reversed() {
        rows.rev()
            .filter(|row| filter.selects_account(row))
            .take(limit)
            .for_each(hand_on);
    } else {
        rows.filter(|row| filter.selects_account(row))
            .take(limit)
            .for_each(hand_on);
    }
}

/// Transfers by their fields. Without user data to look for it visits every transfer of the period
/// until the limit is reached.
pub(crate) fn transfers(books: &Books, filter: &QueryFilter, reply: &mut Vec<u8>) {
    let Some(period) = filter.period() else {
        return;
    };
    let limit = filter.limit.get() as usize;
    let search = Search {
        period,
        key: filter.key(),
        reversed: filter.reversed(),
        limit,
    };
    search.run(books, |row| {
        let transfer = books.transfers.row(row);
        let selected = filter.selects_transfer(&transfer);
        if selected {
            reply.extend_from_slice(transfer.as_bytes());
        }
        selected
    });
}

/// Hands on the rows of transfers that a filter of an account selects.
fn of_account(books: &Books, filter: &AccountFilter, mut hand_on: impl FnMut(TransferRow) -> bool) {
    let Some(period) = filter.period() else {
        return;
    };
    let key = Some(Key::new(Field::Account, filter.account_id.get()));
    let limit = filter.limit.get() as usize;
    let search = Search {
        period,
        key,
        reversed: filter.reversed(),
        limit,
    };
    search.run(books, |row| {
        filter.selects(&books.transfers.row(row)) && hand_on(row)
    });
}

/// How to go through the transfers.
struct Search {
    period: Period,
    key: Option<Key>,
    reversed: bool,
    limit: usize,
}

impl Search {
    /// Shows candidates, each once, until as many as the limit allows were taken.
    fn run(&self, books: &Books, mut take: impl FnMut(TransferRow) -> bool) {
        let mut left = self.limit.min(RESULTS_MAX);
        let mut seen = None;
        let visit = |row| {
            let first = seen.replace(row) != Some(row);
            let row = TransferRow::new(row);
            let transfer = books.transfers.event(row).kind() == RowKind::Transfer;
            if first && transfer && take(row) {
                left -= 1;
            }
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let range = books.transfers.range_within(self.period);
        _ = books.visit(range, self.key, self.reversed, visit);
    }
}

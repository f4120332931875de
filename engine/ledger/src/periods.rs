//! Answers what an account was at a moment, and what it did in each period.

use core::ops::ControlFlow;

use zerocopy::IntoBytes;

use crate::account_table::AccountState;
use crate::balances::Side;
use crate::books::Books;
use crate::event_row::{EventRow, RowKind};
use crate::filter::Period;
use crate::find_blocks::{Field, Key};
use crate::limits::{RESULTS_MAX, SUMS_VISITS_MAX, TIMESTAMP_MAX};
use crate::period::{AccountSums, BalanceAt, Moment, SumsFilter};
use crate::transfer::TransferFlags;
use crate::transfer_table::TransferRow;

/// The balances of accounts at moments; those that were not there yet are left out.
pub(crate) fn balances_at(books: &Books, moments: &[Moment], reply: &mut Vec<u8>) {
    for moment in moments.iter().filter(|moment| moment.reserved.get() == 0) {
        if let Some(balance) = balance_at(books, moment) {
            reply.extend_from_slice(balance.as_bytes());
        }
    }
}

fn balance_at(books: &Books, moment: &Moment) -> Option<BalanceAt> {
    let account = books
        .accounts
        .row(books.accounts.find(moment.account_id.get())?);
    let last = match moment.timestamp.get() {
        0 => TIMESTAMP_MAX,
        timestamp => timestamp.min(TIMESTAMP_MAX),
    };
    if account.timestamp > last {
        return None;
    }
    let until = Period { first: 1, last };
    let (sums, changed) = match last_change(books, account, until) {
        Some((row, side)) => (
            books.transfers.balances(row).side(side),
            books.transfers.event(row).fields().timestamp.get(),
        ),
        None => ([0; 4], account.timestamp),
    };
    Some(BalanceAt {
        account_id: moment.account_id,
        debits_pending: sums[0].into(),
        debits_posted: sums[1].into(),
        credits_pending: sums[2].into(),
        credits_posted: sums[3].into(),
        timestamp: moment.timestamp,
        changed: changed.into(),
    })
}

/// The side of an account in a row, if the row is about it.
fn side(row: &EventRow, account: u128) -> Option<Side> {
    let fields = row.fields();
    if row.kind() == RowKind::Spent {
        None
    } else if fields.debit_account_id.get() == account {
        Some(Side::Debit)
    } else if fields.credit_account_id.get() == account {
        Some(Side::Credit)
    } else {
        None
    }
}

/// The last row of a period that is about the account.
fn last_change(
    books: &Books,
    account: &AccountState,
    period: Period,
) -> Option<(TransferRow, Side)> {
    let mut found = None;
    let range = books.transfers.range_within(period);
    let key = Some(Key::new(Field::Account, account.id));
    _ = books.visit(range, key, true, |row| {
        let row = TransferRow::new(row);
        match side(books.transfers.event(row), account.id) {
            Some(side) => {
                found = Some((row, side));
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        }
    });
    found
}

/// Sums and counts of an account's transfers, by period.
pub(crate) fn account_sums(books: &Books, filter: &SumsFilter, reply: &mut Vec<u8>) {
    let Some(period) = filter.period() else {
        return;
    };
    let account = filter.account_id.get();
    let mut records = Records {
        interval: filter.interval.get(),
        left: RESULTS_MAX.min(filter.limit.get() as usize),
        open: None,
        reply,
    };
    let (mut visits, mut seen) = (0, None);
    let range = books.transfers.range_within(period);
    let key = Some(Key::new(Field::Account, account));
    _ = books.visit(range, key, false, |row| {
        if seen.replace(row) == Some(row) {
            return ControlFlow::Continue(());
        }
        let event = books.transfers.event(TransferRow::new(row));
        let timestamp = event.fields().timestamp.get();
        visits += 1;
        if visits > SUMS_VISITS_MAX {
            records.stop_at(timestamp);
            return ControlFlow::Break(());
        }
        match side(event, account) {
            Some(side) if counts(event, filter.code.get()) => records.count(event, side, timestamp),
            _ => ControlFlow::Continue(()),
        }
    });
    records.close();
}

/// Does a row add to any sum? Voids and expiries give back, spent ids do nothing.
fn counts(event: &EventRow, code: u16) -> bool {
    event.kind() == RowKind::Transfer
        && !event.has(TransferFlags::VOID_PENDING_TRANSFER)
        && (code == 0 || event.fields().code.get() == code)
}

/// Records on their way into a reply.
struct Records<'a> {
    interval: u64,
    left: usize,
    /// The period that is being counted, and its sums.
    open: Option<(u64, AccountSums)>,
    reply: &'a mut Vec<u8>,
}

impl Records<'_> {
    /// Counts a transfer in its period.
    fn count(&mut self, event: &EventRow, side: Side, timestamp: u64) -> ControlFlow<()> {
        let period = timestamp.checked_div(self.interval).unwrap_or(0);
        if self
            .open
            .as_ref()
            .is_some_and(|(other, _)| *other != period)
        {
            if self.left == 1 {
                self.stop_at(timestamp);
                return ControlFlow::Break(());
            }
            self.close();
            self.left -= 1;
        }
        let (_, sums) = self.open.get_or_insert_with(|| {
            let sums = AccountSums {
                timestamp_first: timestamp.into(),
                ..AccountSums::default()
            };
            (period, sums)
        });
        sums.timestamp_last = timestamp.into();
        add(sums, event, side);
        ControlFlow::Continue(())
    }

    /// The reader is to go on at a moment.
    fn stop_at(&mut self, timestamp: u64) {
        let (_, sums) = self.open.get_or_insert_default();
        sums.next = timestamp.into();
    }

    /// Hands on the period that was counted.
    fn close(&mut self) {
        if let Some((_, sums)) = self.open.take() {
            self.reply.extend_from_slice(sums.as_bytes());
        }
    }
}

fn add(sums: &mut AccountSums, event: &EventRow, side: Side) {
    let transfer = event.transfer();
    let (flags, amount) = (transfer.flags(), transfer.amount.get());
    let reserves = flags.has(TransferFlags::PENDING);
    let (count, sum) = match (reserves, side) {
        (false, Side::Debit) => (&mut sums.debits_count, &mut sums.debits_posted),
        (false, Side::Credit) => (&mut sums.credits_count, &mut sums.credits_posted),
        (true, Side::Debit) => (&mut sums.debits_reserved_count, &mut sums.debits_reserved),
        (true, Side::Credit) => (&mut sums.credits_reserved_count, &mut sums.credits_reserved),
    };
    *count = (count.get() + 1).into();
    *sum = sum.get().saturating_add(amount).into();
}

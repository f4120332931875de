//! What an account was at a moment, and what it did in each period, against sums over all changes.

use std::collections::BTreeMap;

use ledger::account::Account;
use ledger::change::{ChangeEvent, ChangeKind, ChangedAccount};
use ledger::instruction::operation;
use ledger::limits::MOMENTS_MAX;
use ledger::period::{AccountSums, BalanceAt, Moment, SumsFilter};
use raft::state_machine::{Refusal, StateMachine};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::script::{ROOMY, World, account, transfer};

fn ask<T: FromBytes>(world: &World, operation: u8, body: &[u8]) -> Vec<T> {
    let mut reply = Vec::new();
    world.ask(operation, body, &mut reply);
    assert_eq!(reply.len() % size_of::<T>(), 0);
    reply
        .chunks(size_of::<T>())
        .map(|record| T::read_from_bytes(record).expect("a whole record"))
        .collect()
}

fn moment(id: u128, timestamp: u64) -> Moment {
    Moment {
        account_id: id.into(),
        timestamp: timestamp.into(),
        reserved: 0.into(),
    }
}

/// An account's side of a change.
fn side(change: &ChangeEvent, id: u128) -> Option<(bool, &ChangedAccount)> {
    let sides = [
        (true, &change.debit_account),
        (false, &change.credit_account),
    ];
    sides.into_iter().find(|(_, account)| account.id == id)
}

/// The balances at a moment, by going through all that happened.
fn naive_balance(world: &World, account: &Account, timestamp: u64) -> Option<BalanceAt> {
    let id = account.id.get();
    let last = if timestamp == 0 { u64::MAX } else { timestamp };
    if account.timestamp.get() > last {
        return None;
    }
    let mut balance = BalanceAt {
        account_id: account.id,
        timestamp: timestamp.into(),
        changed: account.timestamp,
        ..BalanceAt::new_zeroed()
    };
    for change in world.model.changes() {
        let Some((_, after)) = side(change, id).filter(|_| change.timestamp.get() <= last) else {
            continue;
        };
        balance.debits_pending = after.debits_pending;
        balance.debits_posted = after.debits_posted;
        balance.credits_pending = after.credits_pending;
        balance.credits_posted = after.credits_posted;
        balance.changed = change.timestamp;
    }
    Some(balance)
}

/// Sums by period, by going through all that happened.
fn naive_sums(world: &World, filter: &SumsFilter) -> BTreeMap<u64, AccountSums> {
    let mut sums: BTreeMap<u64, AccountSums> = BTreeMap::new();
    let max = filter.timestamp_max.get();
    for change in world.model.changes() {
        let at = change.timestamp.get();
        let kind = ChangeKind::from_number(change.kind).expect("a known kind");
        let counts = !matches!(
            kind,
            ChangeKind::Voided | ChangeKind::Expired | ChangeKind::Spent
        ) && at >= filter.timestamp_min.get()
            && (max == 0 || at <= max)
            && (filter.code == 0 || filter.code == change.transfer_code);
        let Some((debits, _)) = side(change, filter.account_id.get()).filter(|_| counts) else {
            continue;
        };
        let period = at.checked_div(filter.interval.get()).unwrap_or(0);
        let record = sums.entry(period).or_insert_with(|| AccountSums {
            timestamp_first: at.into(),
            ..AccountSums::default()
        });
        record.timestamp_last = at.into();
        let amount = change.transfer_amount.get();
        let (count, sum) = match (kind, debits) {
            (ChangeKind::Pending, true) => (
                &mut record.debits_reserved_count,
                &mut record.debits_reserved,
            ),
            (ChangeKind::Pending, false) => (
                &mut record.credits_reserved_count,
                &mut record.credits_reserved,
            ),
            (_, true) => (&mut record.debits_count, &mut record.debits_posted),
            (_, false) => (&mut record.credits_count, &mut record.credits_posted),
        };
        *count = (count.get() + 1).into();
        *sum = sum.get().saturating_add(amount).into();
    }
    sums
}

/// Compares some answers with what happened; `dice` gives numbers below a bound.
pub(crate) fn check_world(world: &World, mut dice: impl FnMut(u64) -> u64) {
    let accounts: Vec<Account> = world.model.accounts().collect();
    let changes = world.model.changes();
    if accounts.is_empty() || changes.is_empty() {
        return;
    }
    for _ in 0..12 {
        let account = &accounts[dice(accounts.len() as u64) as usize];
        let change = &changes[dice(changes.len() as u64) as usize];
        let timestamp = (change.timestamp.get() + dice(3)).saturating_sub(1);
        let moments = [
            moment(account.id.get(), timestamp),
            moment(1 << 99, timestamp),
        ];
        let told: Vec<BalanceAt> = ask(world, operation::GET_BALANCES_AT, moments.as_bytes());
        let expected = naive_balance(world, account, timestamp);
        assert_eq!(told, expected.into_iter().collect::<Vec<_>>());
        let filter = SumsFilter {
            account_id: account.id,
            timestamp_min: (timestamp / (1 + dice(3))).into(),
            interval: (dice(3) * 700_000_000).into(),
            limit: (1 + dice(3) as u32 * 100).into(),
            code: (dice(2) as u16).into(),
            ..SumsFilter::new_zeroed()
        };
        let expected: Vec<AccountSums> = naive_sums(world, &filter).into_values().collect();
        assert_eq!(all_pages(world, filter), expected);
    }
}

/// All records, however many requests it takes.
fn all_pages(world: &World, mut filter: SumsFilter) -> Vec<AccountSums> {
    let mut all = Vec::new();
    loop {
        let page: Vec<AccountSums> = ask(world, operation::GET_ACCOUNT_SUMS, filter.as_bytes());
        let next = page.last().map_or(0, |record| record.next.get());
        all.extend(page.into_iter().map(|record| AccountSums {
            next: 0.into(),
            ..record
        }));
        if next == 0 {
            return all;
        }
        assert!(next > filter.timestamp_min.get(), "a reader gets on");
        filter.timestamp_min = next.into();
    }
}

#[test]
fn an_account_is_told_as_it_was() {
    let mut world = World::new(ROOMY);
    let accounts = [account("account 1"), account("account 2")];
    world.apply(operation::CREATE_ACCOUNTS, accounts.as_bytes());
    for (second, line) in [
        (10, "transfer 1 1->2 5"),
        (20, "transfer 2 1->2 7 pending timeout=5"),
        (40, "transfer 3 2->1 1"),
    ] {
        world.time = second * 1_000_000_000;
        world.apply(operation::CREATE_TRANSFERS, transfer(line).as_bytes());
    }
    let at = |second: u64| {
        let moments = [moment(1, second * 1_000_000_000)];
        let told: Vec<BalanceAt> = ask(&world, operation::GET_BALANCES_AT, moments.as_bytes());
        told.first().map(|b| {
            (
                b.debits_pending.get(),
                b.debits_posted.get(),
                b.credits_posted.get(),
            )
        })
    };
    // 9 s is before the transfers; 26 s is after the timeout, which nothing carried out before 40 s.
    assert_eq!(at(9), Some((0, 0, 0)));
    assert_eq!(at(10), Some((0, 5, 0)));
    assert_eq!(at(26), Some((7, 5, 0)));
    assert_eq!(at(41), Some((0, 5, 1)));
    assert_eq!(at(0), Some((0, 5, 1)));
    let early = [moment(1, 1)];
    assert!(ask::<BalanceAt>(&world, operation::GET_BALANCES_AT, early.as_bytes()).is_empty());
    let many = vec![0; (MOMENTS_MAX + 1) * 32];
    assert_eq!(
        world.ledger.admit(operation::GET_BALANCES_AT, &many),
        Err(Refusal::MalformedBody)
    );
}

#[test]
fn sums_are_told_by_period() {
    let mut world = World::new(ROOMY);
    let accounts = [account("account 1"), account("account 2")];
    world.apply(operation::CREATE_ACCOUNTS, accounts.as_bytes());
    for (second, line) in [
        (10, "transfer 1 1->2 5"),
        (11, "transfer 2 1->2 7 pending"),
        (25, "transfer 3 0->0 6 post pending_id=2 ledger=0 code=0"),
        (26, "transfer 4 2->1 3 code=9"),
        (39, "transfer 5 1->9 3"),
    ] {
        world.time = second * 1_000_000_000;
        world.apply(operation::CREATE_TRANSFERS, transfer(line).as_bytes());
    }
    let filter = SumsFilter {
        account_id: 1.into(),
        interval: 10_000_000_000.into(),
        limit: 10.into(),
        ..SumsFilter::new_zeroed()
    };
    let told: Vec<AccountSums> = ask(&world, operation::GET_ACCOUNT_SUMS, filter.as_bytes());
    let numbers = |s: &AccountSums| {
        (
            (s.debits_count.get(), s.debits_posted.get()),
            (s.credits_count.get(), s.credits_posted.get()),
            (s.debits_reserved_count.get(), s.debits_reserved.get()),
        )
    };
    let told: Vec<_> = told.iter().map(numbers).collect();
    assert_eq!(told, [((1, 5), (0, 0), (1, 7)), ((1, 6), (1, 3), (0, 0))]);
    for broken in [
        SumsFilter {
            limit: 0.into(),
            ..filter
        },
        SumsFilter {
            reserved: [1; 18],
            ..filter
        },
        SumsFilter {
            timestamp_min: 2.into(),
            timestamp_max: 1.into(),
            ..filter
        },
    ] {
        assert!(
            ask::<AccountSums>(&world, operation::GET_ACCOUNT_SUMS, broken.as_bytes()).is_empty()
        );
    }
}

//! Reads: lookups, transfers and balances of an account, accounts and transfers by their fields.

use ledger::account::{Account, AccountBalance, AccountFlags};
use ledger::filter::{AccountFilter, QueryFilter};
use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::{Limits, RESULTS_MAX};
use ledger::transfer::{Transfer, TransferFlags};
use raft::ids::Index;
use raft::state_machine::{Command, StateMachine};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::script::{World, account, results, transfer};

const TRANSFERS: u64 = 14_000;
const ACCOUNTS: u128 = 50;

/// A ledger with a long history, and the same written down naively.
struct Past {
    ledger: Ledger,
    accounts: Vec<Account>,
    transfers: Vec<Transfer>,
    /// After which transfer which account had which balances.
    balances: Vec<(u64, Account)>,
}

/// Transfers between fifty accounts: plain ones, and each tenth a reservation that the next one posts.
fn past() -> Past {
    let limits = Limits {
        accounts_max: 100,
        transfers_max: 20_000,
        pendings_max: 10,
        chapter_rows: 0,
        unshelved_max: 0,
    };
    let mut ledger = Ledger::new(limits).expect("the limits are sound");
    let mut index = 0;
    let mut apply = |operation, payload: &[u8]| {
        index += 1;
        let mut reply = Vec::new();
        ledger.apply(
            Command {
                index: Index(index),
                time: index * 1_000_000,
                operation,
                payload,
            },
            &mut reply,
        );
        results(&reply)
            .iter()
            .map(|result| result.timestamp.get())
            .collect::<Vec<u64>>()
    };
    let mut accounts: Vec<Account> = (1..=ACCOUNTS)
        .map(|id| Account {
            id: id.into(),
            user_data_128: (id % 3).into(),
            user_data_64: (id as u64 % 5).into(),
            user_data_32: (id as u32 % 2).into(),
            ledger: 1.into(),
            code: (1 + id as u16 % 4).into(),
            flags: if id % 2 == 0 {
                AccountFlags::HISTORY.0
            } else {
                0
            }
            .into(),
            ..Account::default()
        })
        .collect();
    let times = apply(operation::CREATE_ACCOUNTS, &bytes(&accounts));
    for (account, time) in accounts.iter_mut().zip(times) {
        account.timestamp = time.into();
    }
    let mut transfers: Vec<Transfer> = (1..=TRANSFERS).map(made).collect();
    for batch in transfers.chunks_mut(700) {
        let body = bytes(batch);
        for (transfer, time) in batch
            .iter_mut()
            .zip(apply(operation::CREATE_TRANSFERS, &body))
        {
            transfer.timestamp = time.into();
        }
    }
    let mut now: Vec<Account> = accounts.clone();
    let mut balances = Vec::new();
    for transfer in &transfers {
        let amount = transfer.amount.get();
        let (pending, posts) = match transfer.flags() {
            TransferFlags::PENDING => (amount, 0),
            TransferFlags::POST_PENDING_TRANSFER => (0_u128.wrapping_sub(amount), amount),
            _ => (0, amount),
        };
        let debit = &mut now[transfer.debit_account_id.get() as usize - 1];
        debit.debits_pending = debit.debits_pending.get().wrapping_add(pending).into();
        debit.debits_posted = (debit.debits_posted.get() + posts).into();
        balances.push((transfer.timestamp.get(), *debit));
        let credit = &mut now[transfer.credit_account_id.get() as usize - 1];
        credit.credits_pending = credit.credits_pending.get().wrapping_add(pending).into();
        credit.credits_posted = (credit.credits_posted.get() + posts).into();
        balances.push((transfer.timestamp.get(), *credit));
    }
    Past {
        ledger,
        accounts: now,
        transfers,
        balances,
    }
}

fn made(n: u64) -> Transfer {
    let second_phase = n.is_multiple_of(10);
    let of = if second_phase { n - 1 } else { n };
    let flags = match n % 10 {
        9 => TransferFlags::PENDING,
        0 => TransferFlags::POST_PENDING_TRANSFER,
        _ => TransferFlags::NONE,
    };
    Transfer {
        id: u128::from(n).into(),
        debit_account_id: (1 + u128::from(of % 7)).into(),
        credit_account_id: (8 + u128::from(of) % (ACCOUNTS - 7)).into(),
        amount: u128::from(of % 100).into(),
        pending_id: if second_phase { u128::from(n - 1) } else { 0 }.into(),
        user_data_128: u128::from(1 + n / 4).into(),
        user_data_64: (1 + n % 1_000).into(),
        user_data_32: (1 + n as u32 % 3).into(),
        ledger: 1.into(),
        code: (1 + of as u16 % 5).into(),
        flags: flags.0.into(),
        ..Transfer::default()
    }
}

fn bytes<T: IntoBytes + Immutable>(rows: &[T]) -> Vec<u8> {
    rows.iter()
        .flat_map(|row| row.as_bytes().to_vec())
        .collect()
}

impl Past {
    fn ask<T: FromBytes + Immutable + KnownLayout + Copy>(
        &self,
        operation: u8,
        filter: &(impl IntoBytes + Immutable),
    ) -> Vec<T> {
        let mut reply = Vec::new();
        self.ledger.query(operation, filter.as_bytes(), &mut reply);
        assert_eq!(reply.len() % size_of::<T>(), 0);
        reply
            .chunks(size_of::<T>())
            .map(|row| T::read_from_bytes(row).expect("a whole row"))
            .collect()
    }
}

/// What a filter of period, order and limit leaves.
fn cut<T>(
    rows: impl Iterator<Item = T>,
    time: impl Fn(&T) -> u64,
    min: u64,
    max: u64,
    reversed: bool,
    limit: u32,
) -> Vec<T> {
    let mut rows: Vec<T> = rows
        .filter(|row| time(row) >= min && (max == 0 || time(row) <= max))
        .collect();
    if reversed {
        rows.reverse();
    }
    rows.truncate(RESULTS_MAX.min(limit as usize));
    rows
}

/// Periods of the past: none, a start, an end, a few, hardly any.
fn periods(past: &Past) -> Vec<(u64, u64)> {
    let at = |n: usize| past.transfers[n].timestamp.get();
    vec![
        (0, 0),
        (at(9_000), 0),
        (0, at(5_000)),
        (at(4_000), at(8_300)),
        (at(77), at(77)),
        (at(77) + 1, at(77) + 1),
    ]
}

fn account_filter(id: u128, flags: u32, (min, max): (u64, u64), limit: u32) -> AccountFilter {
    AccountFilter {
        account_id: id.into(),
        timestamp_min: min.into(),
        timestamp_max: max.into(),
        limit: limit.into(),
        flags: flags.into(),
        ..AccountFilter::new_zeroed()
    }
}

fn query_filter((min, max): (u64, u64), limit: u32) -> QueryFilter {
    QueryFilter {
        timestamp_min: min.into(),
        timestamp_max: max.into(),
        limit: limit.into(),
        ..QueryFilter::new_zeroed()
    }
}

trait Zeroed {
    fn new_zeroed() -> Self;
}

impl<T: FromBytes> Zeroed for T {
    fn new_zeroed() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}

#[test]
fn lookups_leave_out_what_does_not_exist() {
    let mut world = World::new(crate::script::ROOMY);
    let body: Vec<u8> = ["account 1", "account 2"]
        .iter()
        .flat_map(|l| account(l).as_bytes().to_vec())
        .collect();
    world.apply(operation::CREATE_ACCOUNTS, &body);
    let body: Vec<u8> = ["transfer 1 1->2 3", "transfer 2 1->9 1"]
        .iter()
        .flat_map(|l| transfer(l).as_bytes().to_vec())
        .collect();
    world.apply(operation::CREATE_TRANSFERS, &body);
    let mut reply = Vec::new();
    let ids: Vec<u8> = [2_u128, 7, 0, 1, u128::MAX, 1]
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .collect();
    world
        .ledger
        .query(operation::LOOKUP_ACCOUNTS, &ids, &mut reply);
    let found = <[Account]>::ref_from_bytes(&reply).expect("whole accounts");
    assert_eq!(
        found.iter().map(|a| a.id.get()).collect::<Vec<_>>(),
        [2, 1, 1]
    );
    reply.clear();
    world
        .ledger
        .query(operation::LOOKUP_TRANSFERS, &ids, &mut reply);
    let found = <[Transfer]>::ref_from_bytes(&reply).expect("whole transfers");
    assert_eq!(found.iter().map(|t| t.id.get()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(found[0].amount.get(), 3);
}

#[test]
fn transfers_and_balances_of_an_account() {
    let past = past();
    for id in [1, 2, 7, 8, 20, 50, 51] {
        for period in periods(&past) {
            for flags in 1..8 {
                let (debits, credits, reversed) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
                for (limit, code) in [(u32::MAX, 0), (13, 0), (u32::MAX, 2), (5, 3)] {
                    let filter = AccountFilter {
                        code: code.into(),
                        ..account_filter(id, flags, period, limit)
                    };
                    let matches = |t: &&Transfer| {
                        (debits && t.debit_account_id == id || credits && t.credit_account_id == id)
                            && (code == 0 || t.code == code)
                    };
                    let time = |t: &&Transfer| t.timestamp.get();
                    let all = past.transfers.iter().filter(matches);
                    let expected = cut(all, time, period.0, period.1, reversed, limit);
                    let found: Vec<Transfer> = past.ask(operation::GET_ACCOUNT_TRANSFERS, &filter);
                    assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");

                    let found: Vec<AccountBalance> =
                        past.ask(operation::GET_ACCOUNT_BALANCES, &filter);
                    if id % 2 == 1 {
                        assert!(found.is_empty(), "account {id} keeps no history");
                        continue;
                    }
                    assert_eq!(found.len(), expected.len());
                    for (balance, transfer) in found.iter().zip(&expected) {
                        check_balance(&past, id, balance, transfer);
                    }
                }
            }
        }
    }
}

fn check_balance(past: &Past, id: u128, balance: &AccountBalance, transfer: &Transfer) {
    let at = transfer.timestamp.get();
    let first = past.balances.partition_point(|(time, _)| *time < at);
    let of_transfer = &past.balances[first..first + 2];
    let (_, account) = of_transfer
        .iter()
        .find(|(_, account)| account.id == id)
        .expect("both sides are noted");
    assert_eq!(balance.timestamp, at);
    assert_eq!(balance.debits_pending, account.debits_pending);
    assert_eq!(balance.debits_posted, account.debits_posted);
    assert_eq!(balance.credits_pending, account.credits_pending);
    assert_eq!(balance.credits_posted, account.credits_posted);
}

#[test]
fn transfers_by_their_fields() {
    let past = past();
    for period in periods(&past) {
        for (data_128, data_64, data_32, code) in [
            (0, 0, 0, 0),
            (40, 0, 0, 0),
            (0, 77, 0, 0),
            (0, 0, 2, 0),
            (0, 0, 0, 3),
            (40, 0, 2, 0),
            (0, 5, 1, 1),
            (9_999, 0, 0, 0),
        ] {
            for (reversed, limit, ledger) in [
                (false, u32::MAX, 0),
                (true, 100, 1),
                (false, 3, 0),
                (true, u32::MAX, 2),
            ] {
                let filter = QueryFilter {
                    user_data_128: data_128.into(),
                    user_data_64: data_64.into(),
                    user_data_32: data_32.into(),
                    code: code.into(),
                    ledger: ledger.into(),
                    flags: u32::from(reversed).into(),
                    ..query_filter(period, limit)
                };
                let matches = |t: &&Transfer| {
                    (data_128 == 0 || t.user_data_128 == data_128)
                        && (data_64 == 0 || t.user_data_64 == data_64)
                        && (data_32 == 0 || t.user_data_32 == data_32)
                        && (code == 0 || t.code == code)
                        && (ledger == 0 || t.ledger == ledger)
                };
                let all = past.transfers.iter().filter(matches);
                let expected = cut(
                    all,
                    |t| t.timestamp.get(),
                    period.0,
                    period.1,
                    reversed,
                    limit,
                );
                let found: Vec<Transfer> = past.ask(operation::QUERY_TRANSFERS, &filter);
                assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
            }
        }
    }
}

#[test]
fn accounts_by_their_fields() {
    let past = past();
    let at = |n: usize| past.accounts[n].timestamp.get();
    for (min, max) in [(0, 0), (at(10), at(20)), (at(49), 0), (0, at(0))] {
        for (data_128, data_64, data_32, code) in [
            (0, 0, 0, 0),
            (1, 0, 0, 0),
            (0, 4, 0, 0),
            (0, 0, 1, 0),
            (0, 0, 0, 3),
            (2, 1, 1, 2),
        ] {
            for (reversed, limit) in [(false, u32::MAX), (true, u32::MAX), (true, 4)] {
                let filter = QueryFilter {
                    user_data_128: data_128.into(),
                    user_data_64: data_64.into(),
                    user_data_32: data_32.into(),
                    code: code.into(),
                    flags: u32::from(reversed).into(),
                    ..query_filter((min, max), limit)
                };
                let matches = |a: &&Account| {
                    (data_128 == 0 || a.user_data_128 == data_128)
                        && (data_64 == 0 || a.user_data_64 == data_64)
                        && (data_32 == 0 || a.user_data_32 == data_32)
                        && (code == 0 || a.code == code)
                };
                let all = past.accounts.iter().filter(matches);
                let expected = cut(all, |a| a.timestamp.get(), min, max, reversed, limit);
                let found: Vec<Account> = past.ask(operation::QUERY_ACCOUNTS, &filter);
                assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
            }
        }
    }
}

#[test]
fn a_filter_that_breaks_a_rule_selects_nothing() {
    let past = past();
    let sound = account_filter(1, 3, (0, 0), 10);
    let all: Vec<Transfer> = past.ask(operation::GET_ACCOUNT_TRANSFERS, &sound);
    assert_eq!(all.len(), 10);
    let mut reserved = [0; 58];
    reserved[57] = 1;
    for filter in [
        AccountFilter {
            account_id: 0.into(),
            ..sound
        },
        AccountFilter {
            account_id: u128::MAX.into(),
            ..sound
        },
        AccountFilter {
            limit: 0.into(),
            ..sound
        },
        AccountFilter {
            flags: 4.into(),
            ..sound
        },
        AccountFilter {
            flags: 11.into(),
            ..sound
        },
        AccountFilter {
            timestamp_min: 2.into(),
            timestamp_max: 1.into(),
            ..sound
        },
        AccountFilter {
            timestamp_min: u64::MAX.into(),
            ..sound
        },
        AccountFilter {
            timestamp_max: (1 << 63).into(),
            ..sound
        },
        AccountFilter { reserved, ..sound },
    ] {
        let found: Vec<Transfer> = past.ask(operation::GET_ACCOUNT_TRANSFERS, &filter);
        assert!(found.is_empty(), "{filter:?}");
    }
    let sound = query_filter((0, 0), 10);
    let all: Vec<Account> = past.ask(operation::QUERY_ACCOUNTS, &sound);
    assert_eq!(all.len(), 10);
    for filter in [
        QueryFilter {
            limit: 0.into(),
            ..sound
        },
        QueryFilter {
            flags: 2.into(),
            ..sound
        },
        QueryFilter {
            timestamp_min: 2.into(),
            timestamp_max: 1.into(),
            ..sound
        },
        QueryFilter {
            timestamp_min: u64::MAX.into(),
            ..sound
        },
        QueryFilter {
            timestamp_max: (1 << 63).into(),
            ..sound
        },
        QueryFilter {
            reserved: [0, 0, 0, 0, 0, 1],
            ..sound
        },
    ] {
        let found: Vec<Account> = past.ask(operation::QUERY_ACCOUNTS, &filter);
        assert!(found.is_empty(), "{filter:?}");
        let found: Vec<Transfer> = past.ask(operation::QUERY_TRANSFERS, &filter);
        assert!(found.is_empty(), "{filter:?}");
    }
}

/// Pending and posted debits of account 1 after each of its transfers.
fn debits_of_1(world: &World) -> Vec<(u128, u128)> {
    let mut reply = Vec::new();
    let filter = account_filter(1, 3, (0, 0), 10);
    world.ledger.query(
        operation::GET_ACCOUNT_BALANCES,
        filter.as_bytes(),
        &mut reply,
    );
    let balances = <[AccountBalance]>::ref_from_bytes(&reply).expect("whole balances");
    balances
        .iter()
        .map(|b| (b.debits_pending.get(), b.debits_posted.get()))
        .collect()
}

fn world_with_history() -> World {
    let mut world = World::new(crate::script::ROOMY);
    let accounts = ["account 1 history", "account 2 history"].map(account);
    world.apply(operation::CREATE_ACCOUNTS, &bytes(&accounts));
    world
}

#[test]
fn an_expiry_leaves_no_trace_in_the_history() {
    let mut world = world_with_history();
    world.apply(
        operation::CREATE_TRANSFERS,
        transfer("transfer 1 1->2 5 pending timeout=1").as_bytes(),
    );
    world.time = 60_000_000_000;
    world.apply(operation::PULSE, &[]);
    world.apply(
        operation::CREATE_TRANSFERS,
        transfer("transfer 2 1->2 3").as_bytes(),
    );
    assert_eq!(debits_of_1(&world), [(5, 0), (0, 3)]);
}

#[test]
fn a_broken_chain_leaves_no_trace_in_the_history() {
    let mut world = world_with_history();
    let lines = [
        "transfer 1 1->2 5",
        "transfer 2 1->2 50 linked",
        "transfer 3 2->1 50 linked",
        "transfer 4 1->9 5",
        "transfer 5 1->2 7",
    ];
    world.apply(operation::CREATE_TRANSFERS, &bytes(&lines.map(transfer)));
    assert_eq!(debits_of_1(&world), [(0, 5), (0, 12)]);
}

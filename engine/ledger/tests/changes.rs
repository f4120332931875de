//! What happened, told in order: every kind of change, periods, and starting anywhere.

use std::collections::BTreeMap;

use ledger::account::AccountFlags;
use ledger::change::{ChangeEvent, ChangeEventsFilter, ChangeKind, ChangedAccount};
use ledger::instruction::operation;
use ledger::limits::{CHANGE_EVENTS_MAX, CHANGES_MAX};
use raft::state_machine::StateMachine;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::script::{ROOMY, World, account, transfer};

/// A world after commands of lines; a line that begins with `at` sets the clock.
fn world(commands: &[&[&str]]) -> World {
    let mut world = World::new(ROOMY);
    for lines in commands {
        let mut body = Vec::new();
        let mut operation = operation::PULSE;
        for line in *lines {
            match line.split_whitespace().next() {
                Some("at") => {
                    world.time =
                        line[3..].parse::<u64>().expect("a number of seconds") * 1_000_000_000
                }
                Some("account") => {
                    operation = operation::CREATE_ACCOUNTS;
                    body.extend_from_slice(account(line).as_bytes());
                }
                _ => {
                    operation = operation::CREATE_TRANSFERS;
                    body.extend_from_slice(transfer(line).as_bytes());
                }
            }
        }
        world.apply(operation, &body);
    }
    world
}

fn events(world: &World, filter: &ChangeEventsFilter) -> Vec<ChangeEvent> {
    let mut reply = Vec::new();
    let operation = operation::GET_CHANGE_EVENTS;
    world.ledger.query(operation, filter.as_bytes(), &mut reply);
    let events = reply.chunks(size_of::<ChangeEvent>());
    events
        .map(|event| ChangeEvent::read_from_bytes(event).expect("an event has 384 bytes"))
        .collect()
}

fn within(min: u64, max: u64, limit: u32) -> ChangeEventsFilter {
    ChangeEventsFilter {
        timestamp_min: min.into(),
        timestamp_max: max.into(),
        limit: limit.into(),
        reserved: [0; 44],
    }
}

/// The sums of an account after an event: pending and posted debits, pending and posted credits.
fn sums(account: &ChangedAccount) -> [u128; 4] {
    [
        account.debits_pending.get(),
        account.debits_posted.get(),
        account.credits_pending.get(),
        account.credits_posted.get(),
    ]
}

/// After every single event of a world, those within one command included: what was debited was credited, nothing else
/// moved, and no limit is crossed.
pub(crate) fn check_world(world: &World) {
    let mut known: BTreeMap<u128, [u128; 4]> = BTreeMap::new();
    let mut first = 1;
    loop {
        let page = events(world, &within(first, 0, CHANGE_EVENTS_MAX as u32));
        for event in &page {
            let (debit, credit) = (&event.debit_account, &event.credit_account);
            let moved = |account: &ChangedAccount| {
                let before = known.get(&account.id.get()).copied().unwrap_or_default();
                let after = sums(account);
                std::array::from_fn(|sum| after[sum].wrapping_sub(before[sum]))
            };
            let ([pending, posted, 0, 0], [0, 0, same_pending, same_posted]) =
                (moved(debit), moved(credit))
            else {
                panic!("another sum than the one that was to move: {event:?}");
            };
            assert_eq!((pending, posted), (same_pending, same_posted), "{event:?}");
            known.insert(debit.id.get(), sums(debit));
            known.insert(credit.id.get(), sums(credit));
            check_limits(debit);
            check_limits(credit);
        }
        let Some(last) = page.last() else {
            break;
        };
        first = last.timestamp.get() + 1;
    }
    for account in world.model.accounts() {
        let after = [
            account.debits_pending.get(),
            account.debits_posted.get(),
            account.credits_pending.get(),
            account.credits_posted.get(),
        ];
        let told = known.get(&account.id.get()).copied();
        assert_eq!(told.unwrap_or_default(), after, "{}", account.id);
    }
}

fn check_limits(account: &ChangedAccount) {
    let [
        debits_pending,
        debits_posted,
        credits_pending,
        credits_posted,
    ] = sums(account);
    let debits = debits_pending.checked_add(debits_posted);
    let credits = credits_pending.checked_add(credits_posted);
    let (debits, credits) = (
        debits.expect("no sum wraps"),
        credits.expect("no sum wraps"),
    );
    let flags = AccountFlags(account.flags.get());
    if flags.has(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS) {
        assert!(debits <= credits_posted, "{account:?}");
    }
    if flags.has(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS) {
        assert!(credits <= debits_posted, "{account:?}");
    }
}

/// One change of each kind.
fn of_each_kind() -> World {
    world(&[
        &["account 1 user_data_64=7", "account 2 history code=5"],
        &["transfer 10 1->2 100 user_data_32=9"],
        &["transfer 11 1->2 20 pending timeout=3 closing_debit"],
        &["transfer 12 2->1 5 pending"],
        &["transfer 13 0->0 3 post pending_id=12 ledger=0 code=0"],
        &["transfer 14 9->1 1"],
        &["transfer 15 2->1 8 pending"],
        &["transfer 16 0->0 0 void pending_id=15 ledger=0 code=0"],
        &["at 60"],
        &["transfer 17 1->2 1"],
    ])
}

#[test]
fn every_kind_of_change_tells_both_accounts_after_it() {
    use ChangeKind as K;
    let world = of_each_kind();
    let events = events(&world, &within(0, 0, 100));
    let told: Vec<(K, u128, u128)> = events
        .iter()
        .map(|event| {
            (
                K::from_number(event.kind).expect("a known kind"),
                event.transfer_id.get(),
                event.transfer_amount.get(),
            )
        })
        .collect();
    // Account 1 is closed from 11 on until that expires, and refuses 12 to 16.
    let expected = [
        (K::SinglePhase, 10, 100),
        (K::Pending, 11, 20),
        (K::Expired, 11, 20),
        (K::SinglePhase, 17, 1),
    ];
    assert_eq!(told, expected);
    let closed = |event: &ChangeEvent| {
        AccountFlags(event.debit_account.flags.get()).has(AccountFlags::CLOSED)
    };
    assert_eq!(
        events.iter().map(closed).collect::<Vec<_>>(),
        [false, true, false, false]
    );
    let expiry = &events[2];
    assert!(expiry.timestamp.get() >= 60_000_000_000);
    assert_eq!(expiry.transfer_timestamp, events[1].timestamp);
    assert_eq!(expiry.debit_account.debits_pending, 0);
    assert_eq!(expiry.debit_account.debits_posted, 100);
    assert_eq!(expiry.transfer_timeout, 3);
    assert_eq!(events[1].debit_account.debits_pending, 20);
    assert_eq!(events[1].credit_account.code, 5);
    assert_eq!(events[1].debit_account.user_data_64, 7);
}

#[test]
fn a_post_and_a_void_are_told_with_what_they_resolved() {
    let world = world(&[
        &["account 1", "account 2"],
        &["transfer 1 1->2 max pending", "transfer 2 2->1 9 pending"],
        &[
            "transfer 3 0->0 4 post pending_id=1 ledger=0 code=0",
            "transfer 4 0->0 0 void pending_id=2 ledger=0 code=0",
        ],
    ]);
    let events = events(&world, &within(0, 0, 100));
    let [wide, _, posted, voided] = &events[..] else {
        panic!("four changes, not {}", events.len());
    };
    assert_eq!(wide.debit_account.debits_pending, u128::MAX);
    assert_eq!(posted.kind, ChangeKind::Posted as u8);
    assert_eq!(
        (
            posted.transfer_pending_id.get(),
            posted.transfer_amount.get()
        ),
        (1, 4)
    );
    assert_eq!(posted.credit_account.credits_posted, 4);
    assert_eq!(voided.kind, ChangeKind::Voided as u8);
    assert_eq!(voided.debit_account.id, 2);
    assert_eq!(voided.debit_account.debits_pending, 0);
}

#[test]
fn a_period_and_a_limit_cut_the_events() {
    let world = of_each_kind();
    let all = events(&world, &within(0, 0, 100));
    let (first, last) = (all[1].timestamp.get(), all[2].timestamp.get());
    assert_eq!(events(&world, &within(first, last, 100)), all[1..3]);
    assert_eq!(events(&world, &within(first + 1, 0, 1)), all[2..3]);
    assert_eq!(events(&world, &within(0, first - 1, 9)), all[..1]);
    let refused = [
        within(0, 0, 0),
        within(2, 1, 9),
        within(1 << 63, 0, 9),
        ChangeEventsFilter {
            reserved: [1; 44],
            ..within(0, 0, 9)
        },
    ];
    for filter in refused {
        assert_eq!(events(&world, &filter), []);
    }
}

#[test]
fn the_stream_of_changes_starts_at_any_number_and_moment() {
    let world = of_each_kind();
    let all = world.changes(0, 0, 100);
    let spent = ChangeEvent {
        transfer_id: 14.into(),
        kind: ChangeKind::Spent as u8,
        ..ChangeEvent::new_zeroed()
    };
    assert!(all.iter().any(|change| change.event == spent));
    for (place, change) in all.iter().enumerate() {
        assert_eq!(change.number.get(), place as u64);
        assert_eq!(world.changes(place as u64, 0, 100), all[place..]);
        assert_eq!(world.changes(place as u64, 0, 1), all[place..=place]);
        let time = change.event.timestamp.get();
        if time > 0 {
            assert_eq!(world.changes(0, time, 100), all[place..]);
        }
    }
    assert_eq!(world.changes(all.len() as u64, 0, 100), []);
    assert_eq!(world.changes(u64::MAX, 0, 100), []);
    assert_eq!(world.changes(0, 0, 0), []);
}

#[test]
fn replies_fit_a_message() {
    let mut world = World::new(ROOMY);
    let accounts = [account("account 1"), account("account 2")];
    world.apply(operation::CREATE_ACCOUNTS, accounts.as_bytes());
    for first in (1..4_000_u128).step_by(100) {
        let body: Vec<u8> = (first..first + 100)
            .flat_map(|id| {
                transfer(&format!("transfer {id} 1->2 1"))
                    .as_bytes()
                    .to_vec()
            })
            .collect();
        world.apply(operation::CREATE_TRANSFERS, &body);
    }
    let told = events(&world, &within(0, 0, u32::MAX));
    assert_eq!(told.len(), CHANGE_EVENTS_MAX);
    assert_eq!(world.changes(0, 0, u32::MAX).len(), CHANGES_MAX);
}

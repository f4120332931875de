//! Our own client against whole nodes: waited for and awaited, from many threads, over leaders that stop.

use std::time::Duration;

use engine::{Io, Teller, TellerError};
use futures_lite::future::block_on;
use ledger::account::Account;
use ledger::filter::{AccountFilter, QueryFilter};
use ledger::status::CreateResult;
use ledger::transfer::Transfer;
use zerocopy::FromZeros;

use crate::door::Bank;
use crate::door::caller::{account, transfer};

const CREATED: u32 = u32::MAX;

fn statuses(results: &[CreateResult]) -> Vec<u32> {
    results.iter().map(|result| result.status.get()).collect()
}

fn create_accounts(teller: &Teller, accounts: &[Account]) -> Vec<u32> {
    let pending = teller.create_accounts(accounts).expect("there is room");
    statuses(&pending.wait().expect("an answer"))
}

fn create(teller: &Teller, transfers: &[Transfer]) -> Vec<u32> {
    let pending = teller.create_transfers(transfers).expect("there is room");
    statuses(
        &pending
            .wait_for(Duration::from_secs(60))
            .expect("an answer"),
    )
}

#[test]
fn every_call_waited_for_and_awaited() {
    let bank = Bank::open(Io::Threads, 1, 2, 3);
    let teller = Teller::connect(bank.cluster(), &bank.addresses()).expect("it answers");
    let mut accounts = [account(1, 1), account(2, 1), account(3, 2), account(4, 2)];
    accounts[0].flags = ledger::account::AccountFlags::HISTORY.0.into();
    assert_eq!(create_accounts(&teller, &accounts), [CREATED; 4]);
    let told = create(
        &teller,
        &[
            transfer(1, 2, 3, 4),
            transfer(2, 1, 1, 2),
            transfer(3, 1, 1, 9),
        ],
    );
    assert_eq!(told, [CREATED, CREATED, 22]);
    block_on(async {
        let found = teller
            .lookup_accounts(&[4, 77, 1])
            .expect("room")
            .await
            .expect("an answer");
        let ids: Vec<u128> = found.iter().map(|account| account.id.get()).collect();
        assert_eq!(ids, [4, 1]);
        let found = teller
            .lookup_transfers(&[2, 1])
            .expect("room")
            .await
            .expect("an answer");
        assert_eq!(found.len(), 2);
        let mut filter = AccountFilter::new_zeroed();
        filter.account_id = 1.into();
        filter.limit = 10.into();
        filter.flags = (AccountFilter::DEBITS | AccountFilter::CREDITS).into();
        let transfers = teller
            .account_transfers(&filter)
            .expect("room")
            .await
            .expect("an answer");
        let balances = teller
            .account_balances(&filter)
            .expect("room")
            .await
            .expect("an answer");
        assert_eq!((transfers.len(), balances.len()), (1, 1));
        assert_eq!(balances[0].debits_posted.get(), 1);
        let mut query = QueryFilter::new_zeroed();
        query.limit = 10.into();
        let accounts = teller
            .query_accounts(&query)
            .expect("room")
            .await
            .expect("an answer");
        let transfers = teller
            .query_transfers(&query)
            .expect("room")
            .await
            .expect("an answer");
        assert_eq!((accounts.len(), transfers.len()), (4, 2));
    });
}

#[test]
fn small_calls_of_many_threads_share_requests() {
    let bank = Bank::open(Io::Threads, 1, 1, 1);
    let teller = Teller::connect(bank.cluster(), &bank.addresses()).expect("it answers");
    assert_eq!(
        create_accounts(&teller, &[account(1, 1), account(2, 1)]),
        [CREATED; 2]
    );
    std::thread::scope(|scope| {
        for thread in 0..8_u128 {
            let teller = teller.clone();
            scope.spawn(move || {
                let pending: Vec<_> = (1..=200)
                    .map(|at| {
                        let transfer = transfer(1000 * thread + at, 1, 1, 2);
                        teller.create_transfers(&[transfer]).expect("there is room")
                    })
                    .collect();
                for pending in pending {
                    assert_eq!(statuses(&pending.wait().expect("an answer")), [CREATED]);
                }
            });
        }
    });
    let found = teller
        .lookup_accounts(&[1])
        .expect("room")
        .wait()
        .expect("an answer");
    assert_eq!(found[0].debits_posted.get(), 1600);
}

#[test]
fn a_full_queue_says_busy_and_too_much_is_too_much() {
    // Nobody is there: what is asked waits.
    let layout = engine::Layout::new(
        1,
        vec![engine::NodeAddress {
            id: 1,
            address: crate::ports::free_address(1),
        }],
        1,
        1,
    );
    let teller = Teller::new(layout).expect("a thread");
    let most = vec![transfer(1, 1, 1, 2); 8189];
    let mut waiting = Vec::new();
    let refused = loop {
        assert!(waiting.len() < 1000, "it never says busy");
        match teller.create_transfers(&most) {
            Ok(pending) => waiting.push(pending),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, TellerError::Busy));
    assert!(teller.room() < 8189 * 128);
    assert!(waiting.len() >= 60, "64 MiB of calls");
    let more = vec![transfer(1, 1, 1, 2); 8190];
    assert!(matches!(
        teller.create_transfers(&more),
        Err(TellerError::TooMuch)
    ));
    drop(teller);
    for pending in waiting {
        assert!(matches!(pending.wait(), Err(TellerError::Closed)));
    }
}

#[test]
fn nobody_at_the_address_is_told() {
    let nobody = crate::ports::free_address(1);
    assert!(matches!(
        Teller::connect(1, &[nobody]),
        Err(TellerError::NoNode(_))
    ));
}

fn leaders_that_stop_lose_and_double_nothing(io: Io) {
    let mut bank = Bank::open(io, 3, 1, 2);
    let teller = Teller::connect(bank.cluster(), &bank.addresses()).expect("they answer");
    let accounts = [account(1, 1), account(2, 1), account(3, 2), account(4, 2)];
    assert_eq!(create_accounts(&teller, &accounts), [CREATED; 4]);
    let mut count = 0;
    for stopped in 0..3 {
        let pending: Vec<_> = (0..20)
            .map(|_| {
                count += 1;
                let both = [transfer(count, 1, 1, 2), transfer(count, 2, 3, 4)];
                teller.create_transfers(&both).expect("there is room")
            })
            .collect();
        bank.stop(stopped);
        for pending in pending {
            let told = pending
                .wait_for(Duration::from_secs(60))
                .expect("an answer");
            assert_eq!(
                statuses(&told),
                [CREATED; 2],
                "carried out once, answered as the first time"
            );
        }
        bank.start(stopped);
        assert_eq!(create(&teller, &[transfer(count, 1, 1, 2)]), [46], "exists");
    }
    let found = teller
        .lookup_accounts(&[1, 4])
        .expect("room")
        .wait()
        .expect("an answer");
    let moved = (found[0].debits_posted.get(), found[1].credits_posted.get());
    assert_eq!(moved, (count, count));
}

#[test]
fn leaders_that_stop_lose_and_double_nothing_over_threads() {
    leaders_that_stop_lose_and_double_nothing(Io::Threads);
}

#[test]
fn leaders_that_stop_lose_and_double_nothing_over_glommio() {
    leaders_that_stop_lose_and_double_nothing(Io::Glommio);
}

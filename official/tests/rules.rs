//! The rules beyond a plain movement, through the door with the official Rust client: limits, balancing, closing, imports,
//! expiry, history.

use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use official::{Cluster, Plan, wait_for};
use tigerbeetle as tb;

use crate::{
    A, T, account, all_of, client, create, create_accounts, flagged, resolve, transfer, with,
};

fn found(client: &tb::Client, id: u128) -> tb::Account {
    block_on(client.lookup_accounts(&[id])).expect("an answer")[0]
}

fn amount_of(client: &tb::Client, id: u128) -> u128 {
    block_on(client.lookup_transfers(&[id])).expect("an answer")[0].amount
}

#[test]
fn limits_hold_and_balancing_moves_what_there_is() {
    let cluster = Cluster::start(Plan::new(1));
    let client = client(&cluster);
    let accounts = [
        account(1, 1),
        flagged(tb::AccountFlags::DebitsMustNotExceedCredits, account(2, 1)),
        flagged(tb::AccountFlags::CreditsMustNotExceedDebits, account(3, 1)),
        account(4, 1),
    ];
    assert_eq!(create_accounts(&client, &accounts), [A::Created; 4]);
    let both =
        tb::AccountFlags::DebitsMustNotExceedCredits | tb::AccountFlags::CreditsMustNotExceedDebits;
    assert_eq!(
        create_accounts(&client, &[flagged(both, account(5, 1))]),
        [A::FlagsAreMutuallyExclusive]
    );

    let told = create(
        &client,
        &[
            transfer(1, 1, 2, 1, 1),
            transfer(2, 1, 1, 2, 100),
            transfer(3, 1, 2, 1, 101),
            transfer(4, 1, 2, 1, 60),
            transfer(5, 1, 1, 3, 1),
            transfer(6, 1, 3, 1, 50),
            transfer(7, 1, 1, 3, 50),
        ],
    );
    let expected = [
        T::ExceedsCredits,
        T::Created,
        T::ExceedsCredits,
        T::Created,
        T::ExceedsDebits,
        T::Created,
        T::Created,
    ];
    assert_eq!(told, expected);

    // 40 are left in account 2: a balancing debit of more moves those, and the next one moves nothing.
    let balancing = |id| {
        with(
            tb::TransferFlags::BalancingDebit,
            transfer(id, 1, 2, 4, 1000),
        )
    };
    assert_eq!(
        create(&client, &[balancing(10), balancing(11)]),
        [T::Created; 2]
    );
    assert_eq!((amount_of(&client, 10), amount_of(&client, 11)), (40, 0));
    assert_eq!(create(&client, &[balancing(10)]), [T::Exists]);
    // Account 3 has as many credits as debits; 7 more debits are what a balancing credit fills up.
    assert_eq!(create(&client, &[transfer(12, 1, 3, 1, 7)]), [T::Created]);
    let filling = with(
        tb::TransferFlags::BalancingCredit,
        transfer(13, 1, 4, 3, 1000),
    );
    assert_eq!(create(&client, &[filling]), [T::Created]);
    assert_eq!(amount_of(&client, 13), 7);
    let three = found(&client, 3);
    assert_eq!((three.debits_posted, three.credits_posted), (57, 57));
}

#[test]
fn an_account_is_closed_and_reopened() {
    let cluster = Cluster::start(Plan::new(1));
    let client = client(&cluster);
    let accounts = [
        account(1, 1),
        account(2, 1),
        flagged(tb::AccountFlags::Closed, account(3, 1)),
    ];
    assert_eq!(create_accounts(&client, &accounts), [A::Created; 3]);
    let closing = tb::TransferFlags::ClosingDebit;
    let told = create(
        &client,
        &[
            with(closing, transfer(1, 1, 1, 2, 0)),
            with(
                closing | tb::TransferFlags::Pending,
                transfer(2, 1, 1, 2, 0),
            ),
            transfer(3, 1, 1, 2, 5),
            transfer(4, 1, 2, 1, 5),
            transfer(5, 1, 2, 3, 5),
        ],
    );
    let expected = [
        T::ClosingTransferMustBePending,
        T::Created,
        T::DebitAccountAlreadyClosed,
        T::CreditAccountAlreadyClosed,
        T::CreditAccountAlreadyClosed,
    ];
    assert_eq!(told, expected);
    let is_closed = |id| found(&client, id).flags.0 & tb::AccountFlags::Closed.0 != 0;
    assert!(is_closed(1) && is_closed(3) && !is_closed(2));
    let reopening = resolve(6, 2, tb::TransferFlags::VoidPendingTransfer, 0);
    assert_eq!(
        create(&client, &[reopening, transfer(7, 1, 1, 2, 5)]),
        [T::Created; 2]
    );
    assert!(!is_closed(1));
    // What failed while it was closed has failed for good.
    assert_eq!(
        create(&client, &[transfer(3, 1, 1, 2, 5)]),
        [T::IdAlreadyFailed]
    );
}

#[test]
fn what_is_imported_keeps_its_timestamp() {
    let cluster = Cluster::start(Plan::new(1));
    let client = client(&cluster);
    let imported = |id, timestamp| tb::Account {
        timestamp,
        ..flagged(tb::AccountFlags::Imported, account(id, 1))
    };
    let told = create_accounts(
        &client,
        &[
            imported(1, 1_000),
            imported(2, 2_000),
            imported(3, 1_500),
            account(4, 1),
        ],
    );
    let expected = [
        A::Created,
        A::Created,
        A::ImportedEventTimestampMustNotRegress,
        A::ImportedEventExpected,
    ];
    assert_eq!(told, expected);
    let importing = |id, timestamp| tb::Transfer {
        timestamp,
        ..with(tb::TransferFlags::Imported, transfer(id, 1, 1, 2, 9))
    };
    let told = create(
        &client,
        &[
            importing(1, 1_900),
            importing(2, 3_000),
            importing(3, 2_500),
            importing(4, 0),
            importing(5, u64::MAX >> 2),
        ],
    );
    let expected = [
        T::ImportedEventTimestampMustPostdateCreditAccount,
        T::Created,
        T::ImportedEventTimestampMustNotRegress,
        T::ImportedEventTimestampOutOfRange,
        T::ImportedEventTimestampMustNotAdvance,
    ];
    assert_eq!(told, expected);
    assert_eq!(
        create(&client, &[transfer(6, 1, 1, 2, 1), importing(7, 4_000)]),
        [T::Created, T::ImportedEventNotExpected]
    );
    let times: Vec<u64> = block_on(client.lookup_transfers(&[2, 6]))
        .expect("an answer")
        .iter()
        .map(|transfer| transfer.timestamp)
        .collect();
    assert_eq!(times[0], 3_000);
    assert!(
        times[1] > 1_700_000_000_000_000_000,
        "others have the cluster's time"
    );
    assert_eq!(found(&client, 2).timestamp, 2_000);
}

#[test]
fn a_reservation_expires_by_itself_and_its_history_stays() {
    let cluster = Cluster::start(Plan::new(1));
    let client = client(&cluster);
    let accounts = [
        flagged(tb::AccountFlags::History, account(1, 1)),
        account(2, 1),
    ];
    assert_eq!(create_accounts(&client, &accounts), [A::Created; 2]);
    let pending = |id, timeout| tb::Transfer {
        timeout,
        ..with(tb::TransferFlags::Pending, transfer(id, 1, 1, 2, 30))
    };
    let began = Instant::now();
    assert_eq!(
        create(
            &client,
            &[pending(1, 1), pending(2, 0), transfer(3, 1, 1, 2, 4)]
        ),
        [T::Created; 3]
    );
    let one = found(&client, 1);
    assert_eq!(one.debits_posted, 4);
    // On a machine that took a second for that much, it may have expired.
    assert!(one.debits_pending == 60 || began.elapsed() >= Duration::from_secs(1));
    // Nobody writes meanwhile: the cluster lets time pass by itself.
    wait_for("the reservation to expire", || {
        found(&client, 1).debits_pending == 30
    });
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "not before its time"
    );
    let post = |id, pending| {
        resolve(
            id,
            pending,
            tb::TransferFlags::PostPendingTransfer,
            u128::MAX,
        )
    };
    assert_eq!(
        create(&client, &[post(4, 1), post(5, 2)]),
        [T::PendingTransferExpired, T::Created]
    );
    let balances: Vec<(u128, u128)> = block_on(client.get_account_balances(all_of(1)))
        .expect("an answer")
        .iter()
        .map(|balance| (balance.debits_pending, balance.debits_posted))
        .collect();
    // One for each transfer, none for the expiry, as theirs.
    assert_eq!(balances, [(30, 0), (60, 0), (60, 4), (0, 34)]);
}

//! The official Rust client against real processes: what it may do, what it is told, and a leader that dies.

#![expect(clippy::disallowed_methods, reason = "a client measures by the clock")]

mod rules;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_lite::future::block_on;
use net::tigerbeetle::Release;
use net::tigerbeetle::message::{Envelope, Message, Request};
use official::{Cluster, Plan, wait_for};
use tigerbeetle as tb;

fn client(cluster: &Cluster) -> tb::Client {
    tb::Client::new(Cluster::ID, &cluster.addresses()).expect("addresses that it understands")
}

fn account(id: u128, ledger: u32) -> tb::Account {
    tb::Account {
        id,
        ledger,
        code: 1,
        ..Default::default()
    }
}

fn transfer(id: u128, ledger: u32, debit: u128, credit: u128, amount: u128) -> tb::Transfer {
    tb::Transfer {
        id,
        debit_account_id: debit,
        credit_account_id: credit,
        amount,
        ledger,
        code: 1,
        ..Default::default()
    }
}

fn with(flags: tb::TransferFlags, transfer: tb::Transfer) -> tb::Transfer {
    tb::Transfer { flags, ..transfer }
}

fn flagged(flags: tb::AccountFlags, account: tb::Account) -> tb::Account {
    tb::Account { flags, ..account }
}

/// A post or a void.
fn resolve(id: u128, pending_id: u128, flags: tb::TransferFlags, amount: u128) -> tb::Transfer {
    tb::Transfer {
        id,
        pending_id,
        flags,
        amount,
        ..Default::default()
    }
}

/// All of an account's transfers.
fn all_of(account_id: u128) -> tb::AccountFilter {
    tb::AccountFilter {
        account_id,
        limit: 100,
        flags: tb::AccountFilterFlags::Debits | tb::AccountFilterFlags::Credits,
        user_data_128: 0,
        user_data_64: 0,
        user_data_32: 0,
        code: 0,
        reserved: Default::default(),
        timestamp_min: 0,
        timestamp_max: 0,
    }
}

fn create(client: &tb::Client, transfers: &[tb::Transfer]) -> Vec<tb::CreateTransferStatus> {
    let results = block_on(client.create_transfers(transfers)).expect("an answer");
    results.into_iter().map(|result| result.status).collect()
}

fn create_accounts(client: &tb::Client, accounts: &[tb::Account]) -> Vec<tb::CreateAccountStatus> {
    let results = block_on(client.create_accounts(accounts)).expect("an answer");
    results.into_iter().map(|result| result.status).collect()
}

use tb::CreateAccountStatus as A;
use tb::CreateTransferStatus as T;

/// Everything once, on a cluster with so many groups.
fn everything(groups: u64) {
    let cluster = Cluster::start(Plan {
        groups,
        ..Plan::new(1)
    });
    let client = client(&cluster);
    let with_history = flagged(tb::AccountFlags::History, account(1, 1));
    let limited = flagged(tb::AccountFlags::DebitsMustNotExceedCredits, account(5, 2));
    let accounts = [
        with_history,
        account(2, 1),
        account(3, 2),
        account(4, 2),
        limited,
    ];
    assert_eq!(create_accounts(&client, &accounts), [A::Created; 5]);
    assert_eq!(create_accounts(&client, &[account(2, 1)]), [A::Exists]);
    assert_eq!(
        create_accounts(&client, &[account(0, 1)]),
        [A::IdMustNotBeZero]
    );

    let told = create(
        &client,
        &[
            transfer(1, 2, 3, 4, 100),
            transfer(2, 1, 1, 2, 10),
            transfer(3, 2, 5, 4, 1),
            transfer(4, 1, 1, 99, 1),
            transfer(2, 1, 1, 2, 10),
            transfer(2, 1, 1, 2, 11),
        ],
    );
    let expected = [
        T::Created,
        T::Created,
        T::ExceedsCredits,
        T::CreditAccountNotFound,
        T::Exists,
        T::ExistsWithDifferentAmount,
    ];
    assert_eq!(told, expected);
    assert_eq!(
        create(&client, &[transfer(3, 2, 5, 4, 1)]),
        [T::IdAlreadyFailed]
    );

    // Linked: as a whole or not at all.
    let linked = |transfer| with(tb::TransferFlags::Linked, transfer);
    let chain = [linked(transfer(10, 1, 1, 2, 1)), transfer(11, 1, 2, 77, 1)];
    assert_eq!(
        create(&client, &chain),
        [T::LinkedEventFailed, T::CreditAccountNotFound]
    );
    let chain = [linked(transfer(12, 1, 1, 2, 1)), transfer(13, 1, 2, 1, 1)];
    assert_eq!(create(&client, &chain), [T::Created; 2]);
    assert_eq!(
        create(&client, &[linked(transfer(14, 1, 1, 2, 1))]),
        [T::LinkedEventChainOpen]
    );
    let across = [linked(transfer(15, 1, 1, 2, 1)), transfer(16, 2, 3, 4, 1)];
    let expected = match groups {
        1 => [T::Created; 2],
        _ => [T::LinkedEventFailed, T::LinkedEventChainOpen],
    };
    assert_eq!(create(&client, &across), expected);

    two_phase(&client);
    queries(&client);
}

fn two_phase(client: &tb::Client) {
    let pending = |id| with(tb::TransferFlags::Pending, transfer(id, 2, 3, 4, 50));
    assert_eq!(create(client, &[pending(20), pending(21)]), [T::Created; 2]);
    let told = create(
        client,
        &[
            resolve(22, 20, tb::TransferFlags::PostPendingTransfer, 30),
            resolve(23, 21, tb::TransferFlags::VoidPendingTransfer, 0),
            resolve(24, 20, tb::TransferFlags::PostPendingTransfer, 30),
            resolve(25, 21, tb::TransferFlags::VoidPendingTransfer, 0),
            resolve(26, 66, tb::TransferFlags::VoidPendingTransfer, 0),
        ],
    );
    let expected = [
        T::Created,
        T::Created,
        T::PendingTransferAlreadyPosted,
        T::PendingTransferAlreadyVoided,
        T::PendingTransferNotFound,
    ];
    assert_eq!(told, expected);
    let found = block_on(client.lookup_accounts(&[3])).expect("an answer");
    assert_eq!(found[0].debits_pending, 0);
    assert!(found[0].debits_posted >= 130);
}

fn queries(client: &tb::Client) {
    let ids: Vec<u128> = block_on(client.lookup_accounts(&[4, 77, 2]))
        .expect("an answer")
        .iter()
        .map(|account| account.id)
        .collect();
    assert_eq!(ids, [4, 2], "in the order asked, the missing left out");
    let ids: Vec<u128> = block_on(client.lookup_transfers(&[22, 1, 2]))
        .expect("an answer")
        .iter()
        .map(|transfer| transfer.id)
        .collect();
    assert_eq!(ids, [22, 1, 2]);
    let filter = all_of(1);
    let transfers = block_on(client.get_account_transfers(filter)).expect("an answer");
    assert!(
        transfers
            .windows(2)
            .all(|pair| pair[0].timestamp < pair[1].timestamp)
    );
    let balances = block_on(client.get_account_balances(filter)).expect("an answer");
    assert_eq!(balances.len(), transfers.len(), "it has history");
    let limited = tb::AccountFilter { limit: 1, ..filter };
    assert_eq!(
        block_on(client.get_account_transfers(limited))
            .expect("an answer")
            .len(),
        1
    );
    let query = tb::QueryFilter {
        limit: 100,
        ..Default::default()
    };
    let all = block_on(client.query_transfers(query)).expect("an answer");
    assert!(all.len() >= 8);
    assert!(
        all.windows(2)
            .all(|pair| pair[0].timestamp <= pair[1].timestamp)
    );
    let of_ledger = tb::QueryFilter { ledger: 2, ..query };
    let some = block_on(client.query_transfers(of_ledger)).expect("an answer");
    assert!(
        some.iter()
            .all(|transfer| transfer.ledger == 2 || transfer.ledger == 0)
    );
    assert!(!some.is_empty() && some.len() < all.len());
    let accounts = block_on(client.query_accounts(query)).expect("an answer");
    assert_eq!(accounts.len(), 5);
}

#[test]
fn everything_in_one_group() {
    everything(1);
}

#[test]
fn everything_in_three_groups() {
    everything(3);
}

#[test]
fn full_batches_and_many_threads() {
    let cluster = Cluster::start(Plan {
        groups: 2,
        ..Plan::new(1)
    });
    let client = client(&cluster);
    let accounts: Vec<_> = (1..=8189)
        .map(|id| account(id, 1 + (id % 2) as u32))
        .collect();
    let told = create_accounts(&client, &accounts);
    assert_eq!(told.len(), 8189);
    assert!(told.iter().all(|&status| status == A::Created));
    let too_many: Vec<_> = (1..=8190).map(|id| account(id, 1)).collect();
    let refused = block_on(client.create_accounts(&too_many));
    assert_eq!(refused.err(), Some(tb::Error::TooMuchData));
    // One client, many threads: it puts their requests into one message, batch by batch.
    std::thread::scope(|scope| {
        for thread in 0..8_u128 {
            let client = &client;
            scope.spawn(move || {
                for round in 0..50 {
                    let id = 1 + 1000 * thread + round;
                    let told = create(
                        client,
                        &[transfer(id, 1, 2, 4, 1), transfer(500_000 + id, 2, 1, 3, 1)],
                    );
                    assert_eq!(told, [T::Created; 2]);
                    let found = block_on(client.lookup_transfers(&[id])).expect("an answer");
                    assert_eq!(found.len(), 1, "what is acknowledged is found");
                }
            });
        }
    });
    let found = block_on(client.lookup_accounts(&[2, 3])).expect("an answer");
    assert_eq!(
        (found[0].debits_posted, found[1].credits_posted),
        (400, 400)
    );
}

#[test]
fn a_leader_that_is_killed_loses_and_doubles_nothing() {
    let mut cluster = Cluster::start(Plan {
        groups: 2,
        ..Plan::new(3)
    });
    let setup = client(&cluster);
    let accounts: Vec<_> = (1..=4)
        .map(|id| account(id, 1 + (id as u32 - 1) / 2))
        .collect();
    assert_eq!(create_accounts(&setup, &accounts), [A::Created; 4]);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let addresses = cluster.addresses();
    let created: BTreeMap<u64, u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4_u64)
            .map(|thread| {
                let (stop, done, addresses) = (&stop, &done, &addresses);
                scope.spawn(move || {
                    let client = tb::Client::new(Cluster::ID, addresses).expect("addresses");
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let id = u128::from(thread) << 64 | u128::from(count + 1);
                        let other = id | 1 << 100;
                        let told = create(
                            &client,
                            &[transfer(id, 1, 1, 2, 1), transfer(other, 2, 3, 4, 1)],
                        );
                        // Not even "exists": a request that is sent again is answered as the first time.
                        assert_eq!(told, [T::Created; 2], "thread {thread}, transfer {count}");
                        count += 1;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    (thread, count)
                })
            })
            .collect();
        let wait_for_more = |more: u64| {
            let from = done.load(Ordering::Relaxed);
            official::wait_for("requests to be answered", || {
                done.load(Ordering::Relaxed) >= from + more
            });
        };
        for _ in 0..3 {
            wait_for_more(50);
            let leader = cluster.leader();
            cluster.kill(leader);
            wait_for_more(50);
            cluster.start_node(leader);
        }
        wait_for_more(50);
        stop.store(true, Ordering::Relaxed);
        let counts = threads
            .into_iter()
            .map(|thread| thread.join().expect("no thread failed"));
        counts.collect()
    });
    let total: u128 = created.values().map(|&count| u128::from(count)).sum();
    let found = block_on(setup.lookup_accounts(&[1, 2, 3, 4])).expect("an answer");
    let posted: Vec<(u128, u128)> = found
        .iter()
        .map(|account| (account.debits_posted, account.credits_posted))
        .collect();
    assert_eq!(posted, [(total, 0), (0, total), (total, 0), (0, total)]);
}

#[test]
fn a_session_that_made_room_is_evicted() {
    let cluster = Cluster::start(Plan::new(1));
    let client = client(&cluster);
    assert_eq!(create_accounts(&client, &[account(1, 1)]), [A::Created]);
    let envelope = Envelope {
        cluster: Cluster::ID,
        view: 0,
        release: Release::MAX,
        replica: 0,
    };
    // As many other sessions as a group remembers, over as many connections as it takes.
    let mut replies = 0;
    for connection in 0..8_u128 {
        let mut stream = TcpStream::connect(cluster.door(0)).expect("the door is open");
        for at in 0..40 {
            let register = Message::Request(Request {
                parent: 0,
                client: 1000 * (connection + 1) + at,
                session: 0,
                timestamp: 0,
                number: 0,
                operation: net::tigerbeetle::operation::REGISTER,
                latency: 0,
                checksum: 0,
            });
            stream
                .write_all(&register.encode(&envelope, &[0; 256]))
                .expect("it is taken");
            stream.write_all(&[0; 256]).expect("it is taken");
        }
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .expect("a time");
        let mut answers = vec![0; 40 * (256 + 64)];
        std::io::Read::read_exact(&mut stream, &mut answers).expect("all are answered");
        replies += 40;
    }
    assert!(replies > 256);
    wait_for("the session to be evicted", || {
        let told = block_on(client.lookup_accounts(&[1]));
        told.err() == Some(tb::Error::ClientEvicted)
    });
}

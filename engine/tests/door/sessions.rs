//! One node: what a session may do, what is answered twice, and what ends it.

use std::time::Duration;

use bytes::Bytes;
use engine::Io;
use engine::door::route::CHAIN_ACROSS_GROUPS;
use ledger::transfer::{Transfer, TransferFlags};
use net::tigerbeetle::Release;
use net::tigerbeetle::message::Reason;
use net::tigerbeetle::operation::{
    CREATE_ACCOUNTS, CREATE_TRANSFERS, LOOKUP_ACCOUNTS, LOOKUP_TRANSFERS, QUERY_TRANSFERS, REGISTER,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::door::Bank;
use crate::door::caller::{Caller, account, batch, statuses, transfer};

const CREATED: u32 = u32::MAX;

fn money_moves(io: Io) {
    let bank = Bank::open(io, 1, 2, 3);
    let mut caller = Caller::registered(bank.door(0), 1);
    // Ledgers 1, 2 and 3 lie in three groups, on two cores.
    let accounts: Vec<_> = (1..=6)
        .map(|id| account(id, 1 + (id as u32 - 1) / 2))
        .collect();
    assert_eq!(caller.create_accounts(&accounts), [CREATED; 6]);
    let transfers = [
        transfer(1, 3, 5, 6),
        transfer(2, 1, 1, 2),
        transfer(3, 2, 3, 4),
        transfer(4, 3, 6, 5),
        transfer(5, 2, 3, 6),
    ];
    let told = caller.create_transfers(&transfers);
    assert_eq!(told[..4], [CREATED; 4]);
    assert_eq!(
        told[4], 22,
        "credit_account_not_found: it is in another ledger's group"
    );
    assert_eq!(caller.balance(1), (1, 0));
    assert_eq!(caller.balance(5), (1, 1));
    let ids: Vec<u8> = [4_u128, 99, 2, 1]
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .collect();
    let found = caller.request(LOOKUP_TRANSFERS, &batch(&ids, 16));
    let (rows, _) = found.split_at(3 * 128);
    let ids: Vec<u128> = <[Transfer]>::ref_from_bytes(rows)
        .expect("three transfers")
        .iter()
        .map(|transfer| transfer.id.get())
        .collect();
    assert_eq!(ids, [4, 2, 1]);
    let mut filter = ledger::filter::QueryFilter::new_zeroed();
    filter.limit = 3.into();
    let found = caller.request(QUERY_TRANSFERS, &batch(filter.as_bytes(), 64));
    assert_eq!(found.len(), 4 * 128, "three of all groups, and the trailer");
}

#[test]
fn money_moves_over_threads() {
    money_moves(Io::Threads);
}

#[test]
fn money_moves_over_glommio() {
    money_moves(Io::Glommio);
}

#[test]
fn a_chain_across_groups_is_refused_and_a_pending_transfer_is_found() {
    let bank = Bank::open(Io::Threads, 1, 1, 2);
    let mut caller = Caller::registered(bank.door(0), 1);
    let accounts = [account(1, 1), account(2, 1), account(3, 2), account(4, 2)];
    assert_eq!(caller.create_accounts(&accounts), [CREATED; 4]);
    let linked = |mut transfer: Transfer| {
        transfer.flags = TransferFlags::LINKED.0.into();
        transfer
    };
    let told = caller.create_transfers(&[
        linked(transfer(1, 1, 1, 2)),
        transfer(2, 2, 3, 4),
        linked(transfer(3, 2, 3, 4)),
        transfer(4, 2, 4, 3),
    ]);
    assert_eq!(told, [1, CHAIN_ACROSS_GROUPS, CREATED, CREATED]);
    let mut pending = transfer(5, 2, 3, 4);
    pending.flags = TransferFlags::PENDING.0.into();
    assert_eq!(caller.create_transfers(&[pending]), [CREATED]);
    let mut post = Transfer::new_zeroed();
    post.id = 6.into();
    post.pending_id = 5.into();
    post.amount = u128::MAX.into();
    post.flags = TransferFlags::POST_PENDING_TRANSFER.0.into();
    assert_eq!(caller.create_transfers(&[post]), [CREATED]);
    assert_eq!(caller.balance(3), (2, 1));
}

#[test]
fn batches_are_requests_of_their_own() {
    let bank = Bank::open(Io::Threads, 1, 1, 1);
    let mut caller = Caller::registered(bank.door(0), 1);
    assert_eq!(
        caller.create_accounts(&[account(1, 1), account(2, 1)]),
        [CREATED; 2]
    );
    let mut open = transfer(1, 1, 1, 2);
    open.flags = TransferFlags::LINKED.0.into();
    let mut body = [open, transfer(2, 1, 1, 2)].as_bytes().to_vec();
    net::tigerbeetle::batches::close(&mut body, 0, &[1, 0, 1], 128);
    let told = caller.request(CREATE_TRANSFERS, &body);
    assert_eq!(
        statuses(&told),
        [2, CREATED],
        "the chain ends with its batch"
    );
    let counts: Vec<usize> = net::tigerbeetle::batches::Batches::parse(&told, 16)
        .expect("batches")
        .counts()
        .collect();
    assert_eq!(counts, [1, 0, 1]);
}

#[test]
fn what_is_sent_again_is_answered_again() {
    let bank = Bank::open(Io::Threads, 1, 2, 2);
    let mut caller = Caller::registered(bank.door(0), 9);
    assert_eq!(
        caller.create_accounts(&[account(1, 1), account(2, 1), account(3, 2), account(4, 2)]),
        [CREATED; 4]
    );
    let body = batch([transfer(1, 1, 1, 2), transfer(2, 2, 3, 4)].as_bytes(), 128);
    let bytes = caller.bytes_of(2, CREATE_TRANSFERS, &body);
    caller.send(&bytes);
    let first = caller.receive().expect("a reply");
    caller.send(&bytes);
    let again = caller.receive().expect("a reply");
    let message = |frame: &net::tigerbeetle::reader::Frame| (frame.announced, frame.body.clone());
    assert_eq!(message(&again), message(&first));
    let mut other = caller.reconnect(bank.door(0));
    other.send(&bytes);
    assert_eq!(message(&other.receive().expect("a reply")), message(&first));
    // Registering again: the very session, as long as it has asked nothing.
    let mut fresh = Caller::registered(bank.door(0), 10);
    let session = fresh.session;
    fresh.register();
    assert_eq!(fresh.session, session);
    other.number = 2;
    assert_eq!(other.balance(1), (1, 0));
    // A number from the past gets no answer, and hurts nothing.
    other.send(&bytes);
    assert!(other.hears_nothing_for(Duration::from_millis(200)));
    assert_eq!(other.balance(3), (1, 0));
}

#[test]
fn a_session_outlives_its_node() {
    let mut bank = Bank::open(Io::Threads, 1, 1, 1);
    let mut caller = Caller::registered(bank.door(0), 9);
    assert_eq!(
        caller.create_accounts(&[account(1, 1), account(2, 1)]),
        [CREATED; 2]
    );
    let bytes = caller.bytes_of(
        2,
        CREATE_TRANSFERS,
        &batch(transfer(1, 1, 1, 2).as_bytes(), 128),
    );
    caller.send(&bytes);
    let (_, first): (_, Bytes) = caller.reply();
    bank.stop(0);
    bank.start(0);
    let mut caller = caller.reconnect(bank.door(0));
    caller.send(&bytes);
    assert_eq!(caller.reply().1, first);
    caller.number = 2;
    assert_eq!(caller.balance(1), (1, 0));
}

/// What a client does that ends its session.
type Ask<'a> = &'a dyn Fn(&mut Caller) -> Vec<u8>;

fn evicted(bank: &Bank, client: u128, ask: impl FnOnce(&mut Caller) -> Vec<u8>) -> Reason {
    let mut caller = Caller::registered(bank.door(0), client);
    let bytes = ask(&mut caller);
    caller.send(&bytes);
    caller.reason()
}

#[test]
fn sessions_end_with_the_protocols_reasons() {
    let bank = Bank::open(Io::Threads, 1, 1, 1);
    let ids = batch(&[0; 16], 16);
    let release = |release| {
        let mut caller = Caller::connect(bank.door(0), 500);
        caller.envelope.release = release;
        let bytes = caller.bytes_of(0, REGISTER, &[0; 256]);
        caller.send(&bytes);
        caller
    };
    assert_eq!(
        release(Release::new(0, 16, 78)).reason(),
        Reason::ReleaseTooLow
    );
    assert_eq!(
        release(Release::new(0, 17, 10)).reason(),
        Reason::ReleaseTooHigh
    );
    for patch in 0..=9 {
        let mut caller = release(Release::new(0, 17, patch));
        let (_, told) = caller.reply();
        assert_eq!(told.len(), 64, "0.17.{patch}");
    }
    let checks: [(Reason, Ask<'_>); 8] = [
        (Reason::InvalidOperation, &|caller| {
            caller.bytes_of(1, 139, &ids)
        }),
        (Reason::InvalidBody, &|caller| {
            caller.bytes_of(1, LOOKUP_ACCOUNTS, &[0; 17])
        }),
        (Reason::InvalidBody, &|caller| {
            caller.bytes_of(1, QUERY_TRANSFERS, &batch(&[0; 128], 64))
        }),
        (Reason::InvalidBody, &|caller| {
            caller.bytes_of(1, CREATE_TRANSFERS, &ids)
        }),
        (Reason::InvalidBodySize, &|caller| {
            caller.bytes_of(0, REGISTER, &[])
        }),
        (Reason::NoSession, &|caller| {
            caller.client += 1000;
            caller.bytes_of(1, LOOKUP_ACCOUNTS, &ids)
        }),
        (Reason::NoSession, &|caller| {
            caller.session += 1_000_000;
            caller.bytes_of(1, LOOKUP_ACCOUNTS, &ids)
        }),
        (Reason::ReleaseMismatch, &|caller| {
            caller.envelope.release = Release::MIN;
            caller.bytes_of(1, LOOKUP_ACCOUNTS, &ids)
        }),
    ];
    for (at, (reason, ask)) in checks.into_iter().enumerate() {
        assert_eq!(evicted(&bank, 600 + at as u128, ask), reason, "case {at}");
    }
    let stale = evicted(&bank, 700, |caller| {
        caller.session -= 1;
        caller.bytes_of(1, LOOKUP_ACCOUNTS, &ids)
    });
    assert_eq!(stale, Reason::SessionTooLow);
}

#[test]
fn too_many_results_are_refused_before_anything_is_done() {
    let bank = Bank::open(Io::Threads, 1, 1, 1);
    let mut filter = ledger::filter::QueryFilter::new_zeroed();
    filter.limit = 5000.into();
    let mut body = [filter, filter].as_bytes().to_vec();
    net::tigerbeetle::batches::close(&mut body, 0, &[1, 1], 64);
    let reason = evicted(&bank, 1, |caller| {
        caller.bytes_of(1, QUERY_TRANSFERS, &body)
    });
    assert_eq!(reason, Reason::InvalidBody);
}

#[test]
fn the_forgotten_are_told_and_the_quietest_is_forgotten_first() {
    let bank = Bank::open(Io::Threads, 1, 1, 1);
    let mut first = Caller::registered(bank.door(0), 1);
    let mut second = Caller::registered(bank.door(0), 2);
    assert_eq!(
        first.create_accounts(&[account(1, 1), account(2, 1)]),
        [CREATED; 2]
    );
    let most = shard::limits::SESSIONS_MAX as u128;
    for client in 0..most - 1 {
        Caller::registered(bank.door(0), 1000 + client);
    }
    let ids = batch(&1_u128.to_le_bytes(), 16);
    // What the door itself remembers of it is one second old at most.
    std::thread::park_timeout(Duration::from_millis(1100));
    let bytes = second.bytes_of(1, LOOKUP_ACCOUNTS, &ids);
    second.send(&bytes);
    assert_eq!(second.reason(), Reason::NoSession);
    assert_eq!(first.balance(1), (0, 0), "it had asked since");
}

#[test]
fn a_full_table_ends_the_session_and_not_the_clients_process() {
    let bank = Bank::open(Io::Threads, 1, 1, 1);
    let mut caller = Caller::registered(bank.door(0), 1);
    let accounts: Vec<_> = (1..=8000).map(|id| account(id, 1)).collect();
    assert!(
        caller
            .create_accounts(&accounts)
            .iter()
            .all(|&status| status == CREATED)
    );
    let accounts: Vec<_> = (8001..=12_000).map(|id| account(id, 1)).collect();
    let bytes = caller.bytes_of(2, CREATE_ACCOUNTS, &batch(accounts.as_bytes(), 128));
    caller.send(&bytes);
    assert_eq!(caller.reason(), Reason::InvalidBody);
    let mut again = Caller::registered(bank.door(0), 2);
    assert_eq!(again.balance(10_000), (0, 0), "what fitted was created");
    assert_eq!(again.create_accounts(&[account(10_000, 1)]), [21], "exists");
}

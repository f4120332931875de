//! Those that mean no good: whatever one connection does, another one's requests are answered.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use engine::Io;
use engine::door::limits::{GUESTS_MAX, REGISTERS_PER_GUEST};
use net::tigerbeetle::batches;
use net::tigerbeetle::operation::{CREATE_TRANSFERS, QUERY_ACCOUNTS, REGISTER};
use zerocopy::{FromZeros, IntoBytes};

use crate::door::Bank;
use crate::door::caller::{Caller, account, batch, transfer};

const CREATED: u32 = u32::MAX;

/// A bank and a client of it with two accounts.
fn bank_with_customer() -> (Bank, Caller) {
    let bank = Bank::open(Io::Threads, 1, 1, 1);
    let mut customer = Caller::registered(bank.door(0), 1);
    assert_eq!(
        customer.create_accounts(&[account(1, 1), account(2, 1)]),
        [CREATED; 2]
    );
    (bank, customer)
}

fn is_served(customer: &mut Caller, id: u128) {
    assert_eq!(
        customer.create_transfers(&[transfer(id, 1, 1, 2)]),
        [CREATED]
    );
}

#[test]
fn what_is_no_message_ends_its_connection_alone() {
    let (bank, mut customer) = bank_with_customer();
    let good = Caller::connect(bank.door(0), 50).bytes_of(0, REGISTER, &[0; 256]);
    let damaged = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let other_cluster = {
        let mut caller = Caller::connect(bank.door(0), 50);
        caller.envelope.cluster = 78;
        caller.bytes_of(0, REGISTER, &[0; 256])
    };
    let pong =
        net::tigerbeetle::message::Message::Pong(net::tigerbeetle::message::Pong { sent_at: 1 });
    let pong = pong.encode(&customer.envelope, &[]).to_vec();
    let attacks = [
        vec![0; 256],
        vec![0xff; 4096],
        damaged(0),
        damaged(100),
        damaged(300),
        other_cluster,
        pong,
    ];
    let count = attacks.len() as u64;
    for (id, bytes) in (100..).zip(attacks) {
        let mut hostile = Caller::connect(bank.door(0), 50);
        hostile.send(&bytes);
        assert!(
            hostile.receive().is_none(),
            "attack {id} ends its connection"
        );
        is_served(&mut customer, id);
    }
    assert_eq!(bank.count(0, "malformed"), count);
}

#[test]
fn sizes_and_counts_that_lie_are_refused() {
    let (bank, mut customer) = bank_with_customer();
    let mut hostile = Caller::registered(bank.door(0), 60);
    let mut lying = batch(transfer(9, 1, 1, 2).as_bytes(), 128);
    let end = lying.len();
    for (at, byte) in [
        (end - 1, 0xff),
        (end - 2, 0),
        (end - 4, 2),
        (end - 5, 0),
        (end - 6, 7),
    ] {
        let before = lying[at];
        lying[at] = byte;
        let bytes = hostile.bytes_of(1, CREATE_TRANSFERS, &lying);
        hostile.send(&bytes);
        assert_eq!(
            hostile.reason(),
            net::tigerbeetle::message::Reason::InvalidBody,
            "byte {at}"
        );
        lying[at] = before;
        is_served(&mut customer, 200 + at as u128);
    }
    // As many empty batches as fit, with as much behind them as fits: the longest answer there can be.
    let counts = vec![0_u16; 60_000];
    let mut body = Vec::new();
    batches::close(&mut body, 0, &counts, 128);
    hostile.number = 1;
    let told = hostile.request(CREATE_TRANSFERS, &body);
    assert_eq!(
        batches::Batches::parse(&told, 16).expect("batches").len(),
        60_000
    );
    is_served(&mut customer, 300);
}

#[test]
fn half_messages_and_crowds_take_nobodys_place() {
    let (bank, mut customer) = bank_with_customer();
    let bytes = Caller::connect(bank.door(0), 50).bytes_of(0, REGISTER, &[0; 256]);
    // More of them than there are places, each with a half message.
    let mut crowd = Vec::new();
    for at in 0..GUESTS_MAX + 50 {
        let mut stream = TcpStream::connect(bank.door(0)).expect("the door is open");
        let sent = stream.write_all(&bytes[..1 + at % 500]);
        // One that was closed meanwhile may be told so.
        drop(sent);
        crowd.push(stream);
    }
    is_served(&mut customer, 1);
    let mut late = Caller::registered(bank.door(0), 70);
    assert_eq!(late.balance(1), (1, 0));
    assert!(bank.count(0, "crowded_out") >= 50);
    assert!(bank.count(0, "connections") <= GUESTS_MAX as u64);
}

#[test]
fn a_client_that_reads_nothing_loses_its_connection() {
    let (bank, mut customer) = bank_with_customer();
    let accounts: Vec<_> = (10..8000).map(|id| account(id, 1)).collect();
    assert!(
        customer
            .create_accounts(&accounts)
            .iter()
            .all(|&status| status == CREATED)
    );
    let mut filter = ledger::filter::QueryFilter::new_zeroed();
    filter.limit = 8189.into();
    let body = batch(filter.as_bytes(), 64);
    let mut hostile = Caller::registered(bank.door(0), 80);
    for number in 1..=60 {
        let bytes = hostile.bytes_of(number, QUERY_ACCOUNTS, &body);
        if hostile.stream.write_all(&bytes).is_err() {
            break;
        }
        // One request is under way at a time: the next is heard when it is answered.
        std::thread::park_timeout(Duration::from_millis(20));
        if bank.count(0, "slow") > 0 {
            break;
        }
    }
    assert_eq!(
        bank.count(0, "slow"),
        1,
        "a megabyte a request, and none was read"
    );
    is_served(&mut customer, 1);
}

#[test]
fn a_flood_is_answered_or_dropped_and_bounded() {
    let (bank, mut customer) = bank_with_customer();
    let mut hostile = Caller::connect(bank.door(0), 90);
    // More sessions than one connection may have.
    for client in 0..2 * u128::from(REGISTERS_PER_GUEST) {
        hostile.client = 5000 + client;
        let bytes = hostile.bytes_of(0, REGISTER, &[0; 256]);
        hostile.send(&bytes);
    }
    is_served(&mut customer, 1);
    assert_eq!(bank.count(0, "ignored"), u64::from(REGISTERS_PER_GUEST));
    // The same request a thousand times: carried out once.
    let mut hostile = Caller::registered(bank.door(0), 91);
    let bytes = hostile.bytes_of(
        1,
        CREATE_TRANSFERS,
        &batch(transfer(2, 1, 1, 2).as_bytes(), 128),
    );
    let flood = bytes.repeat(1000);
    hostile.send(&flood);
    hostile.reply();
    is_served(&mut customer, 3);
    assert_eq!(customer.balance(1), (3, 0));
}

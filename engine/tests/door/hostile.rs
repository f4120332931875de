//! Those that mean no good: whatever one connection does, another one's requests are answered.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use engine::Io;
use engine::door::limits::{GUESTS_MAX, REGISTERS_PER_GUEST, REGISTERS_PER_ORIGIN};
use net::tigerbeetle::batches;
use net::tigerbeetle::operation::{CREATE_TRANSFERS, QUERY_ACCOUNTS, REGISTER};
use shard::limits::SESSIONS_MAX;
use socket2::{Domain, Socket, Type};
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

/// Waits for facts, for minutes if need be: machines differ.
#[derive(Default)]
struct Patience {
    looks: u32,
}

impl Patience {
    fn wait(&mut self, what: &str) {
        self.looks += 1;
        assert!(self.looks < 6000, "in two minutes: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
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

/// A client with another address of the loopback than 127.0.0.1, which the others have.
fn caller_from(host: u8, bank: &Bank, client: u128) -> Caller {
    let mut caller = Caller::connect(bank.door(0), client);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from = SocketAddr::from(([127, 0, 0, host], 0));
    socket
        .bind(&from.into())
        .expect("all of 127/8 is this host");
    let door = bank.door(0).into();
    socket.connect(&door).expect("the door is open");
    caller.stream = socket.into();
    caller
}

#[test]
fn a_crowd_that_speaks_well_takes_nobody_elses_place() {
    let (bank, mut customer) = bank_with_customer();
    let mut crowd = Vec::new();
    for client in 0..GUESTS_MAX as u128 + 50 {
        let mut caller = caller_from(2, &bank, 1000 + client);
        // One that there is no place for is told so by the end of its connection.
        if client < GUESTS_MAX as u128 - 1 {
            caller.ping();
        }
        crowd.push(caller);
    }
    is_served(&mut customer, 1);
    let mut late = caller_from(3, &bank, 70);
    late.register();
    assert_eq!(late.balance(1), (1, 0));
    is_served(&mut customer, 2);
    assert!(bank.count(0, "connections") <= GUESTS_MAX as u64);
}

#[test]
fn a_flood_of_sessions_from_one_address_ends_nobody_elses() {
    let (bank, mut customer) = bank_with_customer();
    let mut crowd = Vec::new();
    // Over many connections, each with as many as it may have.
    for connection in 0..40 {
        let mut hostile = caller_from(2, &bank, 0);
        for client in 0..u128::from(REGISTERS_PER_GUEST) {
            hostile.client = 5000 + 1000 * connection + client;
            let bytes = hostile.bytes_of(0, REGISTER, &[0; 256]);
            hostile.send(&bytes);
        }
        crowd.push(hostile);
    }
    // All that were let in are answered: more than a group remembers.
    let mut patience = Patience::default();
    while bank.count(0, "replies") < 1 + REGISTERS_PER_ORIGIN || bank.count(0, "flooded") == 0 {
        patience.wait("the flood was let in up to its bound");
    }
    // The customer has been quiet for longer than all of them.
    is_served(&mut customer, 1);
    assert_eq!(customer.balance(1), (1, 0));
    let mut late = Caller::registered(bank.door(0), 70);
    assert_eq!(late.balance(1), (1, 0));
}

#[test]
fn a_flood_that_writes_to_another_group_ends_nobody_elses_session_there() {
    let bank = Bank::open(Io::Threads, 1, 1, 2);
    // Ledger 1 lies in group 1, which gives no sessions their numbers.
    let mut customer = Caller::registered(bank.door(0), 1);
    let opened = customer.create_accounts(&[account(1, 1), account(2, 1)]);
    assert_eq!(opened, [CREATED; 2]);
    let mut quiet = Caller::registered(bank.door(0), 2);
    // Half as many sessions again as the group remembers, each of which writes there.
    let count = SESSIONS_MAX as u128 * 3 / 2;
    let mut hostile = caller_from(2, &bank, 0);
    for client in 0..count {
        if client % u128::from(REGISTERS_PER_GUEST) == 0 {
            hostile = caller_from(2, &bank, 0);
        }
        (hostile.client, hostile.number) = (5000 + client, 0);
        hostile.register();
        assert_eq!(
            hostile.create_accounts(&[account(9000 + client, 1)]),
            [CREATED]
        );
    }
    is_served(&mut customer, 1);
    // Older than all of them, and there for the first time.
    is_served(&mut quiet, 2);
    // Through another door, or from another address, the session is the same.
    let mut moved = caller_from(3, &bank, 2);
    (moved.session, moved.number) = (quiet.session, quiet.number);
    is_served(&mut moved, 3);
    assert_eq!(customer.balance(1), (3, 0));
    assert_eq!(bank.count(0, "evictions"), 0);
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
    let mut patience = Patience::default();
    // A megabyte a request, and none is read.
    for number in 1.. {
        if bank.count(0, "slow") > 0 {
            break;
        }
        let bytes = hostile.bytes_of(number, QUERY_ACCOUNTS, &body);
        if hostile.stream.write_all(&bytes).is_err() {
            break;
        }
        // One request is under way at a time: the next is heard when it is answered.
        patience.wait("a client that reads nothing is disconnected");
    }
    while bank.count(0, "slow") == 0 {
        patience.wait("a client that reads nothing is counted");
    }
    assert_eq!(bank.count(0, "slow"), 1);
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
    let mut patience = Patience::default();
    while bank.count(0, "ignored") < u64::from(REGISTERS_PER_GUEST) {
        patience.wait("what is beyond a connection's share is dropped");
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

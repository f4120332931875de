//! Three nodes: who answers, who sends the client on, and what becomes of money when a leader stops.

use std::time::Duration;

use engine::Io;
use engine::clock::SystemClock;
use net::tigerbeetle::operation::CREATE_TRANSFERS;
use zerocopy::IntoBytes;

use crate::door::Bank;
use crate::door::caller::{Caller, account, batch, statuses, transfer};

const CREATED: u32 = u32::MAX;
const EXISTS: u32 = 46;

/// The place of the node that leads group 0, as a door's pong says.
fn leader(bank: &Bank, asked: usize) -> usize {
    let mut caller = Caller::connect(bank.door(asked), 1);
    let deadline = SystemClock.now().plus(60_000_000_000);
    while SystemClock.now() < deadline {
        let view = caller.ping().envelope.view;
        if view != 0 {
            return view as usize % 3;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("nobody leads");
}

#[test]
fn a_follower_leaves_a_request_to_the_leader_and_takes_up_what_comes_twice() {
    let bank = Bank::open(Io::Threads, 3, 1, 1);
    let leads = leader(&bank, 0);
    let follower = (leads + 1) % 3;
    assert_eq!(
        leader(&bank, follower),
        leads,
        "every door names the same leader"
    );
    let mut caller = Caller::registered(bank.door(leads), 7);
    let mut other = caller.reconnect(bank.door(follower));
    other.ping();
    let body = batch(account(1, 1).as_bytes(), 128);
    let bytes = other.bytes_of(1, net::tigerbeetle::operation::CREATE_ACCOUNTS, &body);
    other.send(&bytes);
    assert!(other.hears_nothing_for(Duration::from_millis(300)));
    assert_eq!(bank.count(follower, "left_to_leader"), 1);
    other.send(&bytes);
    assert_eq!(statuses(&other.reply().1), [CREATED]);
    // A client whose view is old is helped at once.
    caller.envelope.view = 0;
    let mut lost = caller.reconnect(bank.door(follower));
    lost.number = 1;
    assert_eq!(lost.create_accounts(&[account(2, 1)]), [CREATED]);
}

fn a_leader_that_stops_loses_and_doubles_nothing(io: Io) {
    let mut bank = Bank::open(io, 3, 1, 2);
    let leads = leader(&bank, 0);
    let mut caller = Caller::registered(bank.door(leads), 7);
    let accounts = [account(1, 1), account(2, 1), account(3, 2), account(4, 2)];
    assert_eq!(caller.create_accounts(&accounts), [CREATED; 4]);
    let pair = |id| [transfer(id, 1, 1, 2), transfer(id + 1, 2, 3, 4)];
    assert_eq!(caller.create_transfers(&pair(1)), [CREATED; 2]);
    let bytes = caller.bytes_of(3, CREATE_TRANSFERS, &batch(pair(3).as_bytes(), 128));
    let (_, first) = caller.ask(&bytes, 3);
    bank.stop(leads);
    // The reply is taken for lost: the next leader gives the same one, and the money moved once.
    let mut caller = caller.reconnect(bank.door((leads + 1) % 3));
    caller.envelope.view = 0;
    assert_eq!(caller.ask(&bytes, 3).1, first);
    caller.number = 3;
    assert_eq!(caller.balance(1), (2, 0));
    assert_eq!(
        caller.create_transfers(&pair(3)),
        [EXISTS; 2],
        "another number is another request"
    );
    bank.start(leads);
    assert_eq!(caller.create_transfers(&pair(5)), [CREATED; 2]);
    assert_eq!(caller.balance(4), (0, 3));
}

#[test]
fn a_leader_that_stops_loses_and_doubles_nothing_over_threads() {
    a_leader_that_stops_loses_and_doubles_nothing(Io::Threads);
}

#[test]
fn a_leader_that_stops_loses_and_doubles_nothing_over_glommio() {
    a_leader_that_stops_loses_and_doubles_nothing(Io::Glommio);
}

//! The stream of changes through the door: every kind of event, with both accounts as they stood right after it.
//!
//! No official client's public face asks for it (theirs is for their own change data capture), so the bytes are made here.

use engine::Io;
use ledger::change::{ChangeEvent, ChangeEventsFilter};
use ledger::transfer::{Transfer, TransferFlags};
use net::tigerbeetle::operation::GET_CHANGE_EVENTS;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::door::Bank;
use crate::door::caller::{Caller, account, transfer};

const CREATED: u32 = u32::MAX;

fn changes(caller: &mut Caller, timestamp_min: u64, limit: u32) -> Vec<ChangeEvent> {
    let mut filter = ChangeEventsFilter::new_zeroed();
    filter.timestamp_min = timestamp_min.into();
    filter.limit = limit.into();
    let body = caller.request(GET_CHANGE_EVENTS, filter.as_bytes());
    <[ChangeEvent]>::ref_from_bytes(&body)
        .expect("changes of 384 bytes")
        .to_vec()
}

fn resolve(id: u128, pending_id: u128, flags: TransferFlags, amount: u128) -> Transfer {
    let mut event = Transfer::new_zeroed();
    event.id = id.into();
    event.pending_id = pending_id.into();
    event.flags = flags.0.into();
    event.amount = amount.into();
    event
}

#[test]
fn every_kind_of_change_is_told_in_order_with_the_balances_after_it() {
    let bank = Bank::open(Io::Threads, 1, 1, 1);
    let mut caller = Caller::registered(bank.door(0), 1);
    let accounts = [account(1, 1), account(2, 1)];
    assert_eq!(caller.create_accounts(&accounts), [CREATED; 2]);
    let reserve = |id, timeout: u32| {
        let mut event = transfer(id, 1, 1, 2);
        event.amount = 10.into();
        event.flags = TransferFlags::PENDING.0.into();
        event.timeout = timeout.into();
        event
    };
    let events = [
        transfer(1, 1, 1, 2),
        reserve(2, 0),
        reserve(3, 0),
        reserve(4, 1),
        resolve(5, 2, TransferFlags::POST_PENDING_TRANSFER, 7),
        resolve(6, 3, TransferFlags::VOID_PENDING_TRANSFER, 0),
    ];
    assert_eq!(caller.create_transfers(&events), [CREATED; 6]);
    // Nobody writes, and the last reservation expires all the same.
    let deadline = engine::clock::SystemClock.now().plus(100_000_000_000);
    let mut told = changes(&mut caller, 0, 100);
    while told.len() < 7 {
        assert!(engine::clock::SystemClock.now() < deadline, "it expires");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
        told = changes(&mut caller, 0, 100);
    }
    let kinds: Vec<(u128, u8)> = told
        .iter()
        .map(|change| (change.transfer_id.get(), change.kind))
        .collect();
    let expected = [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (6, 3), (4, 4)];
    assert_eq!(kinds, expected);
    let balances: Vec<(u128, u128)> = told
        .iter()
        .map(|change| {
            let debit = &change.debit_account;
            (debit.debits_pending.get(), debit.debits_posted.get())
        })
        .collect();
    let expected = [(0, 1), (10, 1), (20, 1), (30, 1), (20, 8), (10, 8), (0, 8)];
    assert_eq!(balances, expected);
    assert!(told.is_sorted_by_key(|change| change.timestamp.get()));
    // Page by page it is the same stream.
    let mut paged = Vec::new();
    let mut from = 0;
    loop {
        let page = changes(&mut caller, from, 2);
        let Some(last) = page.last() else { break };
        from = last.timestamp.get() + 1;
        paged.extend(page);
    }
    assert_eq!(paged.as_bytes(), told.as_bytes());
}

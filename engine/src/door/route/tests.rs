//! Splitting and joining, against events whose groups can be read off their ledgers.

use bytes::Bytes;
use ledger::account::Account;
use ledger::status::CreateResult;
use ledger::transfer::{Transfer, TransferFlags};
use net::tigerbeetle::batches::{self, Batches};
use net::tigerbeetle::operation::{LOOKUP_ACCOUNTS, Shape};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{
    CHAIN_ACROSS_GROUPS, Filter, Spread, join_filter, join_lookup, transfers, unknown_ledgers,
};

/// Transfers with rising ids: ledger, and is it linked?
fn body(batches: &[&[(u32, bool)]]) -> Bytes {
    let mut body = Vec::new();
    let mut id = 0_u128;
    for (ledger, linked) in batches.iter().copied().flatten() {
        id += 1;
        let mut transfer = Transfer::new_zeroed();
        transfer.id = id.into();
        transfer.ledger = (*ledger).into();
        let flags = if *linked {
            TransferFlags::LINKED
        } else {
            TransferFlags::NONE
        };
        transfer.flags = flags.0.into();
        body.extend_from_slice(transfer.as_bytes());
    }
    let counts: Vec<u16> = batches.iter().map(|batch| batch.len() as u16).collect();
    batches::close(&mut body, 0, &counts, 128);
    body.into()
}

fn split(body: &Bytes, groups: u64) -> Spread {
    let batches = Batches::parse(body, 128).expect("a body");
    transfers(body, &batches, groups, |_| None)
}

/// Answers a part: each event's id as the timestamp of its result.
fn answer(part: &Bytes) -> Bytes {
    let batches = Batches::parse(part, 128).expect("a part is a body");
    let counts: Vec<u16> = batches.counts().map(|count| count as u16).collect();
    let events = <[Transfer]>::ref_from_bytes(batches.elements()).expect("transfers");
    let mut body = Vec::new();
    for event in events {
        let result = CreateResult::new(event.id.get() as u64, u32::MAX);
        body.extend_from_slice(result.as_bytes());
    }
    batches::close(&mut body, 0, &counts, 16);
    body.into()
}

fn check(batches: &[&[(u32, bool)]], groups: u64, parts: &[u64], results: &[(u64, u32)]) {
    let body = body(batches);
    let spread = split(&body, groups);
    let of: Vec<u64> = spread.parts.iter().map(|part| part.group).collect();
    assert_eq!(of, parts);
    let answers: Vec<Bytes> = spread.parts.iter().map(|part| answer(&part.body)).collect();
    let joined = spread.join(&answers).expect("answers to these parts");
    let joined = Batches::parse(&joined, 16).expect("a body");
    let counts: Vec<usize> = joined.counts().collect();
    let expected: Vec<usize> = batches.iter().map(|batch| batch.len()).collect();
    assert_eq!(counts, expected);
    let told: Vec<(u64, u32)> = <[CreateResult]>::ref_from_bytes(joined.elements())
        .expect("results")
        .iter()
        .map(|result| (result.timestamp.get(), result.status.get()))
        .collect();
    assert_eq!(told, results);
}

const OK: u32 = u32::MAX;

#[test]
fn one_group_gets_the_very_body() {
    let body = body(&[&[(4, false), (8, true)], &[], &[(12, false)]]);
    let spread = split(&body, 4);
    assert_eq!(spread.parts.len(), 1);
    assert_eq!(spread.parts[0].body, body);
    check(&[&[]], 4, &[0], &[]);
}

#[test]
fn answers_come_back_in_order() {
    let first = [(0, false), (1, false), (2, false), (1, false)];
    let all: Vec<(u64, u32)> = (1..=6).map(|id| (id, OK)).collect();
    check(&[&first, &[(2, false), (0, false)]], 3, &[0, 1, 2], &all);
}

#[test]
fn a_chain_stays_in_its_group_or_is_refused() {
    let across = CHAIN_ACROSS_GROUPS;
    check(
        &[&[
            (0, true),
            (2, false),
            (1, true),
            (2, true),
            (1, false),
            (1, false),
        ]],
        2,
        &[0, 1],
        &[(1, OK), (2, OK), (0, 1), (0, across), (0, 1), (6, OK)],
    );
    // A chain ends with its batch.
    check(
        &[&[(0, true)], &[(1, false)]],
        2,
        &[0, 1],
        &[(1, OK), (2, OK)],
    );
    // Nothing is left to do anywhere.
    check(&[&[(0, true), (1, false)]], 2, &[], &[(0, 1), (0, across)]);
}

#[test]
fn what_resolves_a_pending_transfer_goes_where_that_is() {
    let mut body = body(&[&[(3, false), (0, false), (0, false), (0, false)]]).to_vec();
    let events = <[Transfer]>::mut_from_bytes(&mut body[..512]).expect("four transfers");
    for (at, pending) in [(1, 1_u128), (2, 70), (3, 71)] {
        events[at].flags = TransferFlags::POST_PENDING_TRANSFER.0.into();
        events[at].pending_id = pending.into();
    }
    let body = Bytes::from(body);
    let batches = Batches::parse(&body, 128).expect("a body");
    assert_eq!(unknown_ledgers(&batches), [1, 70, 71]);
    let known = |id| (id == 70).then_some(5);
    let spread = transfers(&body, &batches, 8, known);
    let of: Vec<u64> = spread.parts.iter().map(|part| part.group).collect();
    assert_eq!(
        of,
        [3, 5, 0],
        "from this request, from a lookup, from nowhere"
    );
}

#[test]
fn answers_to_another_request_are_noticed() {
    let one = split(&body(&[&[(0, false), (1, false)]]), 2);
    let other = split(&body(&[&[(0, false), (1, false), (1, false)]]), 2);
    let answers = |spread: &Spread| -> Vec<Bytes> {
        spread.parts.iter().map(|part| answer(&part.body)).collect()
    };
    assert!(one.join(&answers(&other)).is_none());
    assert!(other.join(&answers(&one)).is_none());
    assert!(one.join(&[Bytes::new(), Bytes::new()]).is_none());
    let whole = split(&body(&[&[(0, false)]]), 2);
    let answers = answers(&split(&body(&[&[(0, false), (0, false)]]), 2));
    assert!(whole.join(&answers).is_none());
}

fn account(id: u128, mark: u64) -> Vec<u8> {
    let mut account = Account::new_zeroed();
    account.id = id.into();
    account.user_data_64 = mark.into();
    account.as_bytes().to_vec()
}

#[test]
fn a_lookup_takes_what_the_first_group_has() {
    let shape = Shape::of(LOOKUP_ACCOUNTS).expect("an operation");
    let mut body: Vec<u8> = [5_u128, 6, 5, 9, 7]
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .collect();
    batches::close(&mut body, 0, &[4, 1], 16);
    let asked = Batches::parse(&body, 16).expect("a body");
    let group0 = [account(5, 0), account(5, 0)].concat();
    let group1 = [account(6, 1), account(9, 1), account(7, 1)].concat();
    let group2 = [account(5, 2), account(5, 2), account(9, 2)].concat();
    let answers: Vec<Bytes> = [&group0, &group1, &group2]
        .map(|rows| rows.clone().into())
        .into();
    let joined = join_lookup(&asked, shape, &answers).expect("answers to this");
    let joined = Batches::parse(&joined, 128).expect("a body");
    let marks: Vec<(u128, u64)> = <[Account]>::ref_from_bytes(joined.elements())
        .expect("accounts")
        .iter()
        .map(|account| (account.id.get(), account.user_data_64.get()))
        .collect();
    assert_eq!(marks, [(5, 0), (6, 1), (5, 0), (9, 1), (7, 1)]);
    assert_eq!(joined.counts().collect::<Vec<_>>(), [4, 1]);
    let stranger = [Bytes::from(account(77, 0))];
    assert!(join_lookup(&asked, shape, &stranger).is_none());
}

#[test]
fn filters_merge_by_time() {
    let row = |time: u64| {
        let mut account = Account::new_zeroed();
        account.timestamp = time.into();
        account.as_bytes().to_vec()
    };
    let rows = |times: &[u64]| {
        Bytes::from(
            times
                .iter()
                .flat_map(|time| row(*time))
                .collect::<Vec<u8>>(),
        )
    };
    let times = |body: Bytes| -> Vec<u64> {
        let accounts = <[Account]>::ref_from_bytes(&body).expect("accounts");
        accounts
            .iter()
            .map(|account| account.timestamp.get())
            .collect()
    };
    let filter = |limit, reversed| Filter {
        ledger: 0,
        limit,
        reversed,
    };
    let (up, down) = (
        [rows(&[1, 4]), rows(&[2, 3, 9])],
        [rows(&[4, 1]), rows(&[9, 3, 2])],
    );
    let join = |filter: Filter, answers: &[Bytes]| {
        times(join_filter(&filter, 128, 120, answers).expect("rows"))
    };
    assert_eq!(join(filter(4, false), &up), [1, 2, 3, 4]);
    assert_eq!(join(filter(4, true), &down), [9, 4, 3, 2]);
    assert_eq!(join(filter(1, false), &up[1..]), [2]);
    assert!(
        join_filter(
            &filter(4, false),
            128,
            120,
            &[Bytes::from_static(&[0; 127])]
        )
        .is_none()
    );
}

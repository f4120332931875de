//! The state machine's contract: admission, hostile bodies, audits, digests.

use ledger::audit::Audit;
use ledger::id_index::id_hash;
use ledger::instruction::operation;
use raft::state_machine::{Admission, Refusal, StateMachine};
use zerocopy::{FromBytes, IntoBytes};

use crate::script::{ROOMY, World, account, results, transfer};

#[test]
fn admission_sorts_requests() {
    let world = World::new(ROOMY);
    let admit = |operation, bytes: usize| world.ledger.admit(operation, &vec![0; bytes]);
    assert_eq!(admit(operation::CREATE_ACCOUNTS, 256), Ok(Admission::Write));
    assert_eq!(
        admit(operation::CREATE_TRANSFERS, 8_190 * 128),
        Ok(Admission::Write)
    );
    assert_eq!(admit(operation::PULSE, 0), Ok(Admission::Write));
    assert_eq!(admit(operation::LOOKUP_ACCOUNTS, 32), Ok(Admission::Read));
    assert_eq!(admit(operation::LOOKUP_TRANSFERS, 32), Ok(Admission::Read));
    assert_eq!(
        admit(operation::GET_ACCOUNT_BALANCES, 128),
        Ok(Admission::Read)
    );
    assert_eq!(admit(operation::QUERY_TRANSFERS, 64), Ok(Admission::Read));
    assert_eq!(admit(operation::AUDIT, 0), Ok(Admission::Read));
    assert_eq!(
        admit(operation::CREATE_TRANSFERS, 8_191 * 128),
        Err(Refusal::MalformedBody)
    );
    assert_eq!(
        admit(operation::CREATE_TRANSFERS, 127),
        Err(Refusal::MalformedBody)
    );
    assert_eq!(admit(operation::AUDIT, 1), Err(Refusal::MalformedBody));
    assert_eq!(admit(0, 0), Err(Refusal::UnknownOperation));
    assert_eq!(admit(148, 128), Err(Refusal::UnknownOperation));
}

#[test]
fn a_malformed_command_in_the_log_changes_nothing() {
    let mut world = World::new(ROOMY);
    world.apply(operation::CREATE_ACCOUNTS, account("account 1").as_bytes());
    let before = world.ledger.digest();
    for operation in 0..=255_u8 {
        for bytes in [1, 15, 63, 127, 129] {
            let body = vec![1; bytes];
            let mut reply = Vec::new();
            world.ledger.query(operation, &body, &mut reply);
            assert!(reply.is_empty());
            let command = raft::state_machine::Command {
                index: raft::ids::Index(9),
                time: 77,
                operation,
                payload: &body,
            };
            world.ledger.apply(command, &mut reply);
            assert!(reply.is_empty());
        }
    }
    assert_eq!(world.ledger.digest(), before);
}

#[test]
fn timestamps_are_unique_and_rise_even_if_clocks_do_not() {
    let mut world = World::new(ROOMY);
    let mut last = 0;
    for (round, time) in [50, 50, 7, u64::MAX, 3, u64::MAX].into_iter().enumerate() {
        world.time = time;
        let lines = (0..3).map(|n| account(&format!("account {}", round * 3 + n + 1)));
        let body: Vec<u8> = lines
            .flat_map(|account| account.as_bytes().to_vec())
            .collect();
        for result in results(&world.apply(operation::CREATE_ACCOUNTS, &body)) {
            assert!(result.timestamp.get() > last && result.timestamp.get() < 1 << 63);
            last = result.timestamp.get();
        }
    }
}

#[test]
fn an_audit_proves_what_was_acknowledged() {
    let mut world = World::new(ROOMY);
    let accounts = [
        "account 1",
        "account 2",
        "account 3 ledger=2",
        "account 4 ledger=2",
    ];
    let body: Vec<u8> = accounts
        .iter()
        .flat_map(|line| account(line).as_bytes().to_vec())
        .collect();
    world.apply(operation::CREATE_ACCOUNTS, &body);
    let transfers = [
        "transfer 10 1->2 5",
        "transfer 11 3->4 max ledger=2",
        "transfer 12 1->2 7 pending",
        "transfer 13 1->2 1 linked",
        "transfer 14 1->9 1",
    ];
    let body: Vec<u8> = transfers
        .iter()
        .flat_map(|line| transfer(line).as_bytes().to_vec())
        .collect();
    world.apply(operation::CREATE_TRANSFERS, &body);

    let mut reply = Vec::new();
    world.ledger.query(operation::AUDIT, &[], &mut reply);
    let audit = Audit::read_from_bytes(&reply).expect("an audit is 192 bytes");
    assert_eq!(audit, world.ledger.audit());
    assert_eq!((audit.accounts.get(), audit.transfers.get()), (4, 3));
    assert_eq!((audit.pendings_open.get(), audit.ids_spent.get()), (1, 1));
    assert!(audit.conserves());
    let ids = [10, 11, 12].map(|id| u128::from(id_hash(id)));
    assert_eq!(audit.transfer_id_sum.get(), ids.iter().sum::<u128>());
    assert_eq!(audit.digest.get(), world.ledger.digest());
    assert_eq!(audit.debits_pending.get(), 7);
    assert_eq!(audit.debits_posted.get(), u128::MAX.wrapping_add(5));
    let totals = world.ledger.totals();
    assert_eq!(totals.ledgers[&2].credits_posted.low, u128::MAX);
    assert_eq!(totals.ledgers[&1].credits_posted.low, 5);
}

#[test]
fn a_digest_tells_states_apart() {
    let run = |lines: &[&str]| {
        let mut world = World::new(ROOMY);
        let body: Vec<u8> = ["account 1", "account 2"]
            .iter()
            .flat_map(|l| account(l).as_bytes().to_vec())
            .collect();
        world.apply(operation::CREATE_ACCOUNTS, &body);
        let body: Vec<u8> = lines
            .iter()
            .flat_map(|l| transfer(l).as_bytes().to_vec())
            .collect();
        world.apply(operation::CREATE_TRANSFERS, &body);
        world.ledger.digest()
    };
    let base = run(&["transfer 1 1->2 1", "transfer 2 1->2 2"]);
    assert_eq!(base, run(&["transfer 1 1->2 1", "transfer 2 1->2 2"]));
    for other in [
        run(&["transfer 1 1->2 2", "transfer 2 1->2 1"]),
        run(&["transfer 2 1->2 1", "transfer 1 1->2 2"]),
        run(&["transfer 1 2->1 1", "transfer 2 1->2 2"]),
        run(&["transfer 1 1->2 1", "transfer 2 1->2 2 pending"]),
        run(&["transfer 1 1->2 1", "transfer 2 1->2 2 user_data_32=1"]),
        run(&[
            "transfer 1 1->2 1",
            "transfer 2 1->2 2",
            "transfer 3 1->2 1 code=0",
        ]),
        run(&[
            "transfer 1 1->2 1",
            "transfer 2 1->2 2",
            "transfer 3 1->9 1",
        ]),
    ] {
        assert_ne!(base, other);
    }
}

/// The digest is part of what replicas of different builds agree about: it changes only on purpose.
#[test]
fn a_digest_is_the_same_on_every_build() {
    let mut world = World::new(ROOMY);
    let body: Vec<u8> = ["account 1", "account 2 history"]
        .iter()
        .flat_map(|l| account(l).as_bytes().to_vec())
        .collect();
    world.apply(operation::CREATE_ACCOUNTS, &body);
    let lines = [
        "transfer 1 1->2 100",
        "transfer 2 2->1 7 pending timeout=1",
        "transfer 3 1->9 1",
    ];
    let body: Vec<u8> = lines
        .iter()
        .flat_map(|l| transfer(l).as_bytes().to_vec())
        .collect();
    world.apply(operation::CREATE_TRANSFERS, &body);
    world.time = 9_000_000_000;
    world.apply(operation::PULSE, &[]);
    assert_eq!(
        format!("{:032x}", world.ledger.digest()),
        "d7733215487b1a21df635975c9f4e1f6"
    );
}

//! Bounded memory: what happens when a table is full.

use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::{Limits, LimitsError, ROWS_MAX};
use raft::state_machine::{Admission, Refusal, StateMachine};
use zerocopy::IntoBytes;

use crate::script::{World, account, check_within, transfer};

const TIGHT: Limits = Limits {
    accounts_max: 3,
    transfers_max: 4,
    pendings_max: 2,
    chapter_rows: 16,
    unshelved_max: 100,
};

#[test]
fn a_full_table_says_so_and_still_knows_its_ids() {
    check_within(
        TIGHT,
        "account 1
         account 2
         account 3
         account 4 => accounts_full
         account 4 code=0 => accounts_full
         account 0 => id_must_not_be_zero
         account 3 => exists

         transfer 1 1->2 1
         transfer 2 1->2 1
         transfer 3 1->9 1 => credit_account_not_found
         transfer 4 1->2 1
         transfer 5 1->2 1 => transfers_full
         transfer 6 1->9 1 => transfers_full
         transfer 3 1->2 1 => id_already_failed
         transfer 1 1->2 1 => exists
         balances 1: 0 3 / 0 0",
    );
}

#[test]
fn a_broken_chain_gives_its_rows_back() {
    check_within(
        TIGHT,
        "account 1 linked => linked_event_failed
         account 2 linked => linked_event_failed
         account 3 linked => linked_event_failed
         account 4 linked => accounts_full
         account 5        => linked_event_failed

         account 1
         account 2

         transfer 1 1->2 1 linked => linked_event_failed
         transfer 2 1->2 1 linked => linked_event_failed
         transfer 3 1->2 1 linked => linked_event_failed
         transfer 4 1->2 1 linked => linked_event_failed
         transfer 5 1->9 1        => transfers_full

         transfer 1 1->2 1
         transfer 2 1->2 1
         transfer 3 1->2 1
         transfer 4 1->2 1
         balances 1: 0 4 / 0 0",
    );
}

#[test]
fn reservations_are_limited_while_they_are_open() {
    check_within(
        Limits {
            transfers_max: 100,
            ..TIGHT
        },
        "account 1
         account 2

         transfer 1 1->2 1 pending timeout=5
         transfer 2 1->2 1 pending
         transfer 3 1->2 1 pending => pendings_full
         transfer 4 1->2 1 pending code=0 => code_must_not_be_zero
         transfer 5 1->2 1
         transfer 6 0->0 max post pending_id=2
         transfer 3 1->2 1 pending
         transfer 7 1->2 1 pending => pendings_full
         at 60
         transfer 7 1->2 1 pending
         balances 1: 2 2 / 0 0",
    );
}

#[test]
fn admission_refuses_what_could_only_fail() {
    let mut world = World::new(TIGHT);
    let accounts = |lines: &[&str]| -> Vec<u8> {
        lines
            .iter()
            .flat_map(|l| account(l).as_bytes().to_vec())
            .collect()
    };
    let transfers = |lines: &[&str]| -> Vec<u8> {
        lines
            .iter()
            .flat_map(|l| transfer(l).as_bytes().to_vec())
            .collect()
    };
    world.apply(
        operation::CREATE_ACCOUNTS,
        &accounts(&["account 1", "account 2", "account 3"]),
    );
    let lines = [
        "transfer 1 1->2 1",
        "transfer 2 1->9 1",
        "transfer 3 1->2 1",
        "transfer 4 1->2 1",
    ];
    world.apply(operation::CREATE_TRANSFERS, &transfers(&lines));

    let admit = |operation, body: &[u8]| world.ledger.admit(operation, body);
    let new = accounts(&["account 4", "account 5"]);
    assert_eq!(admit(operation::CREATE_ACCOUNTS, &new), Err(Refusal::Full));
    let retry = accounts(&["account 4", "account 3"]);
    assert_eq!(
        admit(operation::CREATE_ACCOUNTS, &retry),
        Ok(Admission::Write)
    );
    let new = transfers(&["transfer 9 1->2 1"]);
    assert_eq!(admit(operation::CREATE_TRANSFERS, &new), Err(Refusal::Full));
    let retry = transfers(&["transfer 9 1->2 1", "transfer 2 1->9 1"]);
    assert_eq!(
        admit(operation::CREATE_TRANSFERS, &retry),
        Ok(Admission::Write)
    );
    assert_eq!(
        admit(operation::LOOKUP_ACCOUNTS, &[0; 16]),
        Ok(Admission::Read)
    );
}

#[test]
fn rows_must_be_countable() {
    let limits = Limits {
        transfers_max: ROWS_MAX + 1,
        ..TIGHT
    };
    assert_eq!(
        Ledger::new(limits).err(),
        Some(LimitsError::TooManyRows {
            asked: ROWS_MAX + 1
        })
    );
}

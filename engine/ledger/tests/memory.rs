//! Transfers are beyond memory: what a ledger occupies does not grow with its history.

use std::sync::Arc;

use ledger::account::Account;
use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::Limits;
use ledger::transfer::Transfer;
use raft::ids::Index;
use raft::state_machine::{Command, StateMachine};
use zerocopy::IntoBytes;

const BATCH: u128 = 1024;

/// Rows after which a chapter of the next tier indexes all before, so that moments can be compared.
const ROUND: usize = 1024 * 32;

fn apply(ledger: &mut Ledger, operation: u8, payload: &[u8]) {
    let command = Command {
        index: Index(1),
        time: 1,
        operation,
        payload,
    };
    let mut reply = Vec::new();
    ledger.apply(command, &mut reply);
    assert!(reply.chunks(16).all(|told| told[8..12] == [0xFF; 4]));
}

/// Bytes of a ledger after 3 rounds and after 9, with its chapters shelved as soon as they are due.
fn grow(chapter_rows: usize, id_of: fn(u128) -> u128) -> (usize, usize) {
    let limits = Limits {
        accounts_max: 8,
        chapter_rows,
        ..Limits::default()
    };
    let mut ledger = Ledger::new(limits).expect("the limits are sound");
    let accounts = [1_u128, 2].map(|id| Account {
        id: id.into(),
        ledger: 1.into(),
        code: 1.into(),
        ..Account::default()
    });
    apply(&mut ledger, operation::CREATE_ACCOUNTS, accounts.as_bytes());
    let mut after = Vec::new();
    for (first, batch) in (1_u128..).step_by(BATCH as usize).zip(1..=9 * ROUND / 1024) {
        let transfers: Vec<Transfer> = (first..first + BATCH)
            .map(|n| Transfer {
                id: id_of(n).into(),
                debit_account_id: 1.into(),
                credit_account_id: 2.into(),
                amount: 1.into(),
                user_data_64: (n as u64).into(),
                ledger: 1.into(),
                code: 1.into(),
                ..Transfer::default()
            })
            .collect();
        apply(
            &mut ledger,
            operation::CREATE_TRANSFERS,
            transfers.as_bytes(),
        );
        while let Some(due) = ledger.due_chapter() {
            let mut bytes = Vec::new();
            while !ledger.next_chapter_piece(1 << 16, &mut bytes) {}
            let shelved = ledger.shelve(due, Arc::new(bytes));
            shelved.expect("its own chapter");
        }
        if batch % (3 * ROUND / 1024) == 0 {
            after.push(ledger.bytes());
        }
    }
    (after[0], after[2])
}

#[test]
fn a_ledger_does_not_grow_with_its_history() {
    let kinds: [fn(u128) -> u128; 2] = [
        |n| n,
        // Ids without any order, which are in the hash index until their chapter is merged.
        |n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835) >> 8 | 1,
    ];
    for id_of in kinds {
        let per_transfer =
            |(before, after): (usize, usize)| (after as f64 - before as f64) / (6 * ROUND) as f64;
        // What is left is what names each chapter: 1,024 rows share what 65,536 share by default.
        let shelving = per_transfer(grow(1024, id_of));
        assert!(shelving < 2.0, "{shelving} bytes for each transfer");
        let keeping = per_transfer(grow(0, id_of));
        assert!(keeping > 190.0, "{keeping} bytes for each transfer");
    }
}

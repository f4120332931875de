//! Transfers are beyond memory: what a ledger occupies does not grow with its history, and new ones do not ask for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ledger::account::Account;
use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::Limits;
use ledger::transfer::Transfer;
use raft::ids::Index;
use raft::state_machine::{Command, Shelved, StateMachine};
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

/// A ledger with two accounts.
fn open(chapter_rows: usize) -> Ledger {
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
    ledger
}

/// A batch of transfers from this number on.
fn transfers(first: u128, id_of: fn(u128) -> u128) -> Vec<Transfer> {
    let numbers = first..first + BATCH;
    numbers
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
        .collect()
}

/// Shelves what is due.
fn shelve<S: Shelved + 'static>(ledger: &mut Ledger, shelved: impl Fn(Vec<u8>) -> S) {
    while let Some(due) = ledger.due_chapter() {
        let mut bytes = Vec::new();
        while !ledger.next_chapter_piece(1 << 16, &mut bytes) {}
        let shelved = ledger.shelve(due, Arc::new(shelved(bytes)));
        shelved.expect("its own chapter");
    }
}

/// Bytes of a ledger after 3 rounds and after 9, with its chapters shelved as soon as they are due.
fn grow(chapter_rows: usize, id_of: fn(u128) -> u128) -> (usize, usize) {
    let mut ledger = open(chapter_rows);
    let mut after = Vec::new();
    for (first, batch) in (1_u128..).step_by(BATCH as usize).zip(1..=9 * ROUND / 1024) {
        let batch_of = transfers(first, id_of);
        apply(
            &mut ledger,
            operation::CREATE_TRANSFERS,
            batch_of.as_bytes(),
        );
        shelve(&mut ledger, |bytes| bytes);
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

/// A chapter that counts how often it is read.
struct Counted {
    bytes: Vec<u8>,
    reads: Arc<AtomicUsize>,
}

impl Shelved for Counted {
    fn bytes(&self) -> &[u8] {
        self.reads.fetch_add(1, Ordering::Relaxed);
        &self.bytes
    }
}

#[test]
fn ids_that_rise_are_known_to_be_new_without_a_look_at_history() {
    let mut ledger = open(4096);
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = |bytes| Counted {
        bytes,
        reads: Arc::clone(&reads),
    };
    // Fewer chapters than are joined: then the ids of their rows are forgotten, which reads them once more.
    for batch in 0..120 {
        let batch = transfers(1 + batch * BATCH, |n| 2 * n);
        let before = reads.load(Ordering::Relaxed);
        apply(&mut ledger, operation::CREATE_TRANSFERS, batch.as_bytes());
        assert_eq!(reads.load(Ordering::Relaxed), before);
        shelve(&mut ledger, counted);
    }
    assert_eq!(ledger.chapters(), 120 / 4);
    // Whether an id from among them is new can only be known from there.
    let before = reads.load(Ordering::Relaxed);
    let odd = transfers(1, |n| 2 * n + 1);
    apply(&mut ledger, operation::CREATE_TRANSFERS, odd.as_bytes());
    assert!(reads.load(Ordering::Relaxed) > before);
}

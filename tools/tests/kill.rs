//! Three processes are killed with SIGKILL under load, again and again: every acknowledged transfer is there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use engine::{Client, GroupId};
use ledger::account::Account;
use ledger::instruction::operation;
use ledger::transfer::Transfer;
use zerocopy::{FromBytes, IntoBytes};

use crate::processes::{Nodes, client, create_accounts, layout, transfers};

const ROUNDS: u64 = 4;
const BATCH: u128 = 50;

/// Sends batch after batch, each until it is acknowledged, and counts the acknowledged ones.
fn load(mut client: Client, acknowledged: &AtomicU64, enough: &AtomicBool) {
    let mut batch = 0;
    while !enough.load(Ordering::Relaxed) {
        let body = transfers(1 + batch * BATCH, BATCH).as_bytes().to_vec();
        client
            .request(GroupId(0), operation::CREATE_TRANSFERS, body)
            .expect("acknowledged in the end");
        batch += 1;
        acknowledged.store(batch as u64, Ordering::Release);
    }
}

fn survives_kills(io: &str) {
    let base = tempfile::tempdir().expect("a temporary folder");
    let (layout, folders) = layout(base.path());
    // Where accounts lie shows nowhere.
    let elsewhere = base.path().display().to_string();
    let flags = ["--accounts-dir", elsewhere.as_str()];
    let flags = if io == "threads" { &flags[..] } else { &[] };
    let mut nodes = Nodes::start(&folders, io, flags);
    let mut admin = client(&layout, 1);
    create_accounts(&mut admin);
    let (acknowledged, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let loader = client(&layout, 2);
        scope.spawn(|| load(loader, &acknowledged, &enough));
        for round in 1..=ROUNDS {
            let before = acknowledged.load(Ordering::Acquire);
            // Killed in the middle of a request: the next one follows an answer at once.
            while acknowledged.load(Ordering::Acquire) < before + 10 + 3 * round {
                std::thread::yield_now();
            }
            nodes.kill();
            nodes = Nodes::start(&folders, io, flags);
        }
        enough.store(true, Ordering::Relaxed);
    });
    let count = u128::from(acknowledged.load(Ordering::Acquire)) * BATCH;
    let ids: Vec<u128> = (1..=count).collect();
    for ids in ids.chunks(8_000) {
        let body: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let found = admin
            .request(GroupId(0), operation::LOOKUP_TRANSFERS, body)
            .expect("a read");
        assert_eq!(
            found.len(),
            ids.len() * size_of::<Transfer>(),
            "every acknowledged transfer is there"
        );
    }
    let body = 1_u128.to_le_bytes().to_vec();
    let found = admin
        .request(GroupId(0), operation::LOOKUP_ACCOUNTS, body)
        .expect("a read");
    let account = Account::read_from_bytes(&found).expect("one account");
    assert_eq!(account.debits_posted.get(), count, "each was applied once");
}

#[test]
fn acknowledged_transfers_survive_sigkill_under_glommio() {
    survives_kills("glommio");
}

#[test]
fn acknowledged_transfers_survive_sigkill_under_threads() {
    survives_kills("threads");
}

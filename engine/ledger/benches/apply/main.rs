//! Measures the apply path alone: nanoseconds for each transfer, by workload.
//!
//! ```text
//! cargo bench -p quorate-ledger                    every case, a million transfers each
//! cargo bench -p quorate-ledger -- zipf pending    cases whose name contains a word
//! LEDGER_TRANSFERS=10000000 cargo bench ...        more rows: how speed holds as history grows
//! ```
//!
//! Batches of 8,189 are generated between the measured calls; a call is `apply` with its digest. The
//! first tenth warms up and is not counted. `best` and the median survive a busy machine, the mean does
//! not; `M/s` is of the median. `allocs` counts the allocator's calls in the rest: chunks and index
//! parts that grow, none for a single event.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

mod allocations;
mod workload;

use std::time::Instant;

use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::Limits;
use raft::ids::Index;
use raft::state_machine::{Command, StateMachine};

use crate::workload::{Accounts, Case, Generator, Ids, Kind};

const BATCH: usize = 8_189;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

const CASES: &[Case] = &[
    Case::new(
        "10k uniform, ids in order",
        10_000,
        Accounts::Uniform,
        Ids::Counting,
        Kind::Plain,
    ),
    Case::new(
        "10k uniform, time-based ids",
        10_000,
        Accounts::Uniform,
        Ids::TimeBased,
        Kind::Plain,
    ),
    Case::new(
        "10k uniform, random ids",
        10_000,
        Accounts::Uniform,
        Ids::Random,
        Kind::Plain,
    ),
    Case::new(
        "10k zipf 0.99",
        10_000,
        Accounts::Zipf,
        Ids::TimeBased,
        Kind::Plain,
    ),
    Case::new(
        "10k one hot account",
        10_000,
        Accounts::OneHot,
        Ids::TimeBased,
        Kind::Plain,
    ),
    Case::new(
        "10k uniform, history kept",
        10_000,
        Accounts::Uniform,
        Ids::TimeBased,
        Kind::History,
    ),
    Case::new(
        "1M uniform",
        1_000_000,
        Accounts::Uniform,
        Ids::TimeBased,
        Kind::Plain,
    ),
    Case::new(
        "1M zipf 0.99",
        1_000_000,
        Accounts::Zipf,
        Ids::TimeBased,
        Kind::Plain,
    ),
    Case::new(
        "10k two-phase 30 %",
        10_000,
        Accounts::Uniform,
        Ids::TimeBased,
        Kind::TwoPhase,
    ),
    Case::new(
        "10k mix of all rules",
        10_000,
        Accounts::Uniform,
        Ids::TimeBased,
        Kind::Mix,
    ),
    Case::new(
        "1M mix of all rules",
        1_000_000,
        Accounts::Uniform,
        Ids::TimeBased,
        Kind::Mix,
    ),
];

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let transfers = std::env::var("LEDGER_TRANSFERS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000_000);
    println!("{transfers} transfers for each case, batches of {BATCH}; ns for each transfer\n");
    println!(
        "{:<30} {:>7} {:>7} {:>7} {:>7} {:>9} {:>8} {:>8} {:>9}",
        "case", "best", "median", "mean", "p99", "M/s", "created", "allocs", "B/transfer"
    );
    for case in CASES {
        if words.is_empty() || words.iter().any(|word| case.name.contains(word.as_str())) {
            measure(case, transfers);
        }
    }
}

fn measure(case: &Case, transfers: usize) {
    let limits = Limits {
        accounts_max: case.accounts,
        transfers_max: transfers + BATCH,
        pendings_max: transfers,
        chapter_rows: 0,
        unshelved_max: 0,
    };
    let mut ledger = Ledger::new(limits).expect("the limits of a case are sound");
    let mut generator = Generator::new(case);
    let mut reply = Vec::with_capacity(BATCH * 16);
    let mut index = 0;
    let mut time = 1_000_000_000;
    let mut apply = |ledger: &mut Ledger, operation, payload: &[u8], reply: &mut Vec<u8>| {
        index += 1;
        time += 2_000_000;
        reply.clear();
        ledger.apply(
            Command {
                index: Index(index),
                time,
                operation,
                payload,
            },
            reply,
        );
    };
    for first in (0..case.accounts).step_by(BATCH) {
        let body = generator.accounts(first, BATCH.min(case.accounts - first));
        apply(&mut ledger, operation::CREATE_ACCOUNTS, &body, &mut reply);
    }
    let bytes_before = ledger.bytes();
    let batches = transfers / BATCH;
    let mut nanos: Vec<u64> = Vec::with_capacity(batches);
    let (mut created, mut allocations) = (0, 0);
    let mut body = Vec::new();
    for batch in 0..batches {
        generator.transfers(BATCH, &mut body);
        let allocations_before = allocations::count();
        let start = Instant::now();
        apply(&mut ledger, operation::CREATE_TRANSFERS, &body, &mut reply);
        let elapsed =
            u64::try_from(start.elapsed().as_nanos()).expect("a batch takes less than centuries");
        created += reply
            .chunks(16)
            .filter(|record| record[8..12] == [0xFF; 4])
            .count();
        if batch >= batches / 10 {
            nanos.push(elapsed);
            allocations += allocations::count() - allocations_before;
        }
    }
    assert!(ledger.totals().conservation_holds());
    print(
        case,
        nanos,
        created,
        batches * BATCH,
        allocations,
        ledger.bytes() - bytes_before,
    );
}

fn print(
    case: &Case,
    mut nanos: Vec<u64>,
    created: usize,
    events: usize,
    allocations: usize,
    bytes: usize,
) {
    nanos.sort_unstable();
    let per_transfer = |batch: u64| batch as f64 / BATCH as f64;
    let mean = nanos.iter().sum::<u64>() / nanos.len() as u64;
    println!(
        "{:<30} {:>7.1} {:>7.1} {:>7.1} {:>7.1} {:>9.2} {:>7.1}% {:>8} {:>9.1}",
        case.name,
        per_transfer(nanos[0]),
        per_transfer(nanos[nanos.len() / 2]),
        per_transfer(mean),
        per_transfer(nanos[nanos.len() * 99 / 100]),
        1e3 / per_transfer(nanos[nanos.len() / 2]),
        100.0 * created as f64 / events as f64,
        allocations,
        bytes as f64 / created as f64,
    );
}

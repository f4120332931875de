//! Measures the ledger alone, against what it must reach: transfers applied, memory, ids among a long history.
//!
//! ```text
//! cargo bench -p quorate-ledger                    every case, a million transfers each
//! cargo bench -p quorate-ledger -- zipf pending    cases whose name contains a word
//! LEDGER_TRANSFERS=10000000 cargo bench ...        more rows: how speed holds as history grows
//! LEDGER_HISTORY=100000000 cargo bench ... history the id check among so many; chapters go to LEDGER_FOLDER,
//!                                                  with LEDGER_HOLLOW=1 without their rows, a fifth of the bytes
//! LEDGER_FOLDER=/path LEDGER_ACCOUNTS=20000000 cargo bench ... beyond
//!                                                  so many accounts in files there: let a cgroup bound the memory
//! ```
//!
//! Batches of 8,189 are generated between the measured calls; a call is `apply` with its state hash. The
//! first tenth warms up and is not counted; the memory of rows that stay is touched before, as nodes with
//! `--reserve-transfers` do: the first touch of a page is the system's work and depends on the machine. `best` and the median survive a busy machine, the mean does
//! not; `M/s` is of the median. `allocs` counts the allocator's calls in the rest: chunks and index
//! parts that grow, none for a single event. Cases with chapters write and shelve them between the batches; `chapters`
//! is what that costs, in the same unit, and `B/tail` what a transfer occupies until then.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

mod allocations;
mod beyond;
mod history;
mod map;
mod workload;

use std::sync::Arc;
use std::time::Instant;

use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::Limits;
use raft::ids::Index;
use raft::state_machine::{Command, StateMachine};

use crate::workload::{Accounts, Case, Generator, Ids, Kind};

pub(crate) const BATCH: usize = 8_189;

/// Bytes of chapters that are written between two batches: more than a batch adds.
const CHAPTER_BUDGET: usize = 4 << 20;

/// Bytes of a piece, as a shard asks for them.
const CHAPTER_PIECE: usize = 64 << 10;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// What issue 6 asks of simple transfers, and of all rules mixed: millions a second.
const SIMPLE: f64 = 4.0;
const MIXED: f64 = 2.0;

const SMALL: usize = 10_000;
const LARGE: usize = 1_000_000;

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case::new("10k uniform", SMALL, Accounts::Uniform, Ids::TimeBased, Kind::Plain, SIMPLE),
    Case::new("10k uniform, chapters", SMALL, Accounts::Uniform, Ids::TimeBased, Kind::Plain, SIMPLE).with_chapters(),
    Case::new("10k uniform, ids in order", SMALL, Accounts::Uniform, Ids::Counting, Kind::Plain, SIMPLE),
    Case::new("10k uniform, random ids", SMALL, Accounts::Uniform, Ids::Random, Kind::Plain, SIMPLE),
    Case::new("10k random ids, chapters", SMALL, Accounts::Uniform, Ids::Random, Kind::Plain, SIMPLE).with_chapters(),
    Case::new("10k zipf 0.99", SMALL, Accounts::Zipf, Ids::TimeBased, Kind::Plain, SIMPLE),
    Case::new("10k one hot account", SMALL, Accounts::OneHot, Ids::TimeBased, Kind::Plain, SIMPLE),
    Case::new("10k uniform, history kept", SMALL, Accounts::Uniform, Ids::TimeBased, Kind::History, SIMPLE),
    Case::new("1M uniform", LARGE, Accounts::Uniform, Ids::TimeBased, Kind::Plain, SIMPLE),
    Case::new("1M uniform, chapters", LARGE, Accounts::Uniform, Ids::TimeBased, Kind::Plain, SIMPLE).with_chapters(),
    Case::new("1M zipf 0.99", LARGE, Accounts::Zipf, Ids::TimeBased, Kind::Plain, SIMPLE),
    Case::new("1M one hot account", LARGE, Accounts::OneHot, Ids::TimeBased, Kind::Plain, SIMPLE),
    Case::new("10k two-phase 30 %", SMALL, Accounts::Uniform, Ids::TimeBased, Kind::TwoPhase, MIXED),
    Case::new("10k bank mix", SMALL, Accounts::Uniform, Ids::TimeBased, Kind::Mix, MIXED),
    Case::new("10k bank mix, chapters", SMALL, Accounts::Uniform, Ids::TimeBased, Kind::Mix, MIXED).with_chapters(),
    Case::new("1M bank mix", LARGE, Accounts::Uniform, Ids::TimeBased, Kind::Mix, MIXED),
    Case::new("1M bank mix, chapters", LARGE, Accounts::Uniform, Ids::TimeBased, Kind::Mix, MIXED).with_chapters(),
];

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let transfers = setting("LEDGER_TRANSFERS").unwrap_or(1_000_000);
    println!("{transfers} transfers for each case, batches of {BATCH}; ns for each transfer\n");
    println!(
        "{:<28} {:>6} {:>6} {:>6} {:>6} {:>8} {:>6} {:>5} {:>8} {:>8} {:>7} {:>7} {:>8} {:>7}",
        "case",
        "best",
        "median",
        "mean",
        "p99",
        "chapters",
        "M/s",
        "goal",
        "",
        "created",
        "allocs",
        "B/tail",
        "B/memory",
        "B/file"
    );
    for case in CASES.iter().filter(|case| wanted(case.name)) {
        measure(case, transfers);
    }
    if wanted("memory") {
        account_memory();
    }
    if words.iter().any(|word| word == "beyond") {
        beyond::measure(setting("LEDGER_ACCOUNTS").unwrap_or(10_000_000), transfers);
    }
    if wanted("history") {
        history::measure(setting("LEDGER_HISTORY").unwrap_or(2_000_000));
    }
}

fn setting(name: &str) -> Option<usize> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

/// Hands commands to a ledger.
pub(crate) struct Hand {
    index: u64,
    time: u64,
    pub(crate) reply: Vec<u8>,
}

impl Hand {
    pub(crate) fn new() -> Self {
        Self {
            index: 0,
            time: 1_000_000_000,
            reply: Vec::with_capacity(BATCH * 16),
        }
    }

    pub(crate) fn apply(&mut self, ledger: &mut Ledger, operation: u8, payload: &[u8]) {
        self.index += 1;
        self.time += 2_000_000;
        self.reply.clear();
        let command = Command {
            index: Index(self.index),
            time: self.time,
            operation,
            payload,
        };
        ledger.apply(command, &mut self.reply);
    }

    pub(crate) fn open_accounts(
        &mut self,
        ledger: &mut Ledger,
        generator: &mut Generator<'_>,
        count: usize,
    ) {
        for first in (0..count).step_by(BATCH) {
            let body = generator.accounts(first, BATCH.min(count - first));
            self.apply(ledger, operation::CREATE_ACCOUNTS, &body);
        }
    }
}

/// What a case showed.
#[derive(Default)]
struct Seen {
    nanos: Vec<u64>,
    chapter_nanos: u64,
    chapter_bytes: usize,
    created: usize,
    events: usize,
    allocations: usize,
    /// Bytes in memory when most rows were in no chapter, and how many those were.
    tail_bytes: usize,
    tail_rows: usize,
}

fn measure(case: &Case, transfers: usize) {
    let limits = Limits {
        accounts_max: case.accounts,
        transfers_max: transfers + BATCH,
        pendings_max: transfers,
        chapter_rows: if case.chapters { 65_536 } else { 0 },
        unshelved_max: transfers + 2 * BATCH,
    };
    let mut ledger = Ledger::new(limits).expect("the limits of a case are sound");
    let mut generator = Generator::new(case);
    let mut hand = Hand::new();
    hand.open_accounts(&mut ledger, &mut generator, case.accounts);
    let bytes_before = ledger.bytes();
    if !case.chapters {
        ledger.reserve(transfers);
    }
    let batches = transfers / BATCH;
    let mut seen = Seen::default();
    let (mut body, mut chapter) = (Vec::new(), Chapter::default());
    for batch in 0..batches {
        generator.transfers(BATCH, &mut body);
        let allocations_before = allocations::count();
        let start = Instant::now();
        hand.apply(&mut ledger, operation::CREATE_TRANSFERS, &body);
        let elapsed = nanos_since(start);
        let created = hand
            .reply
            .chunks(16)
            .filter(|record| record[8..12] == [0xFF; 4]);
        seen.created += created.count();
        seen.events += BATCH;
        if batch >= batches / 10 {
            seen.nanos.push(elapsed);
            seen.allocations += allocations::count() - allocations_before;
        }
        if ledger.unshelved() > seen.tail_rows {
            seen.tail_rows = ledger.unshelved();
            seen.tail_bytes = ledger.bytes() - bytes_before;
        }
        write_chapters(&mut ledger, &mut chapter, &mut seen);
    }
    assert!(ledger.totals().conservation_holds());
    print(case, seen, ledger.bytes() - bytes_before);
}

/// Writes what is due, within the budget of one batch. What becomes of the pieces is not counted: in a shard another
/// thread takes them.
fn write_chapters(ledger: &mut Ledger, chapter: &mut Chapter, seen: &mut Seen) {
    let mut left = CHAPTER_BUDGET;
    while let Some(due) = ledger.due_chapter().filter(|_| left > 0) {
        chapter.piece.clear();
        let start = Instant::now();
        let last = ledger.next_chapter_piece(CHAPTER_PIECE, &mut chapter.piece);
        seen.chapter_nanos += nanos_since(start);
        left = left.saturating_sub(chapter.piece.len());
        chapter.whole.extend_from_slice(&chapter.piece);
        if last {
            seen.chapter_bytes += chapter.whole.len();
            let bytes = Arc::new(core::mem::take(&mut chapter.whole));
            let start = Instant::now();
            ledger.shelve(due, bytes).expect("its own chapter");
            seen.chapter_nanos += nanos_since(start);
        }
    }
}

/// A chapter in the making.
#[derive(Default)]
struct Chapter {
    piece: Vec<u8>,
    whole: Vec<u8>,
}

pub(crate) fn nanos_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).expect("a batch takes less than centuries")
}

fn print(case: &Case, mut seen: Seen, bytes: usize) {
    let nanos = &mut seen.nanos;
    nanos.sort_unstable();
    let per_transfer = |batch: u64| batch as f64 / BATCH as f64;
    let mean = nanos.iter().sum::<u64>() / nanos.len() as u64;
    let rate = 1e3 / per_transfer(nanos[nanos.len() / 2]);
    println!(
        "{:<28} {:>6.1} {:>6.1} {:>6.1} {:>6.1} {:>8.1} {:>6.2} {:>5.1} {:>8} {:>7.1}% {:>7} {:>7.1} {:>8.1} {:>7.1}",
        case.name,
        per_transfer(nanos[0]),
        per_transfer(nanos[nanos.len() / 2]),
        per_transfer(mean),
        per_transfer(nanos[nanos.len() * 99 / 100]),
        seen.chapter_nanos as f64 / seen.events as f64,
        rate,
        case.goal,
        if rate >= case.goal {
            "reached"
        } else {
            "MISSED"
        },
        100.0 * seen.created as f64 / seen.events as f64,
        seen.allocations,
        seen.tail_bytes as f64 / seen.tail_rows as f64,
        bytes as f64 / seen.created as f64,
        seen.chapter_bytes as f64 / seen.created as f64,
    );
}

/// What an account occupies, its index included.
fn account_memory() {
    println!();
    for case in CASES
        .iter()
        .filter(|case| case.name.ends_with("k uniform") || case.name.ends_with("M uniform"))
    {
        let limits = Limits {
            accounts_max: case.accounts,
            ..Limits::default()
        };
        let mut ledger = Ledger::new(limits).expect("the limits of a case are sound");
        let before = ledger.bytes();
        Hand::new().open_accounts(&mut ledger, &mut Generator::new(case), case.accounts);
        let bytes = (ledger.bytes() - before) as f64 / case.accounts as f64;
        println!(
            "memory: {bytes:.1} bytes for each of {} accounts",
            case.accounts
        );
    }
}

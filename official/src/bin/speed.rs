//! How fast money moves through the door with the official Rust client: every case of a peer's published runs, one row each.
//!
//! ```text
//! speed                        every case, as many transfers each as the peer's run had
//! speed --transfers 1000000    at most so many
//! speed c4_10M r3              cases whose name contains a word
//! speed =c4_10M                the case of this name alone
//! speed --reserve N            nodes touch the memory of N transfers before they serve; 0: of none; auto: as nodes do by themselves,
//!                              and the load waits for it [default: of all transfers that may wait, as the peer does]
//! speed --data-dir DIR         where the nodes' folders are made
//! speed --list                 the cases
//! ```
//!
//! `QUORATE` names the binary of the nodes. Nodes are processes on this machine with real disks; every acknowledgement is
//! durable on a quorum.
//!
//! - Figures named "theirs" are TigerBeetle 0.17.8 (commit 52ad553f9), its own benchmark on a machine of 2 processors (AMD EPYC), medians.
//! - Latencies are of whole requests, in a closed loop. CPU, bytes and memory are the mean of the replicas, read from `/proc`
//!   when nothing more is written: chapters and images that are made after the last answer count as well.
//! - A run that moved another sum than it was told is a failed run.

#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::io::Write;
use std::sync::{Barrier, Mutex};
use std::time::Instant;

use hdrhistogram::Histogram;
use official::load::{self, BATCH_MAX, Load, Zipf};
use official::usage::{self, Usage};
use official::{Cluster, Plan};
use tigerbeetle as tb;

const M: u64 = 1_000_000;

/// Transfers whose memory is touched before the load, at most: as many may wait for their chapter in memory, 192 bytes each.
const RESERVED_MAX: u64 = 16 * M;

/// Bytes of log that are laid out before the load: what the run will write, at most what a node keeps. The peer lays out
/// 1 GiB when its file is made.
const PREALLOCATED: u64 = 256 << 20;
const PREALLOCATED_MAX: u64 = 2 << 30;
const LOGGED: u64 = 160;

/// A row of the table.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    replicas: usize,
    clients: u64,
    batch: u64,
    accounts: u64,
    transfers: u64,
    kind: Kind,
    /// Thousands of transfers a second, and bytes written for each, of the peer; 0 where it has none.
    theirs: (f64, f64),
}

impl Case {
    fn matches(&self, word: &str) -> bool {
        word.strip_prefix('=')
            .map_or_else(|| self.name.contains(word), |name| self.name == name)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Accounts with history, uniform, ids that rise.
    Stock,
    /// Without history.
    Bare,
    RandomIds,
    /// 30 % are two-phase.
    TwoPhase,
    /// Zipf 0.99.
    Zipf,
    /// Accounts are looked up: a request's whole way, but no durable write.
    Looks,
}

const fn case(
    name: &'static str,
    (replicas, clients, batch): (usize, u64, u64),
    (accounts, transfers): (u64, u64),
    kind: Kind,
    theirs: (f64, f64),
) -> Case {
    Case {
        name,
        replicas,
        clients,
        batch,
        accounts,
        transfers,
        kind,
        theirs,
    }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    case("c1_1M", (1, 1, BATCH_MAX), (10_000, M), Kind::Stock, (340.5, 768.0)),
    case("c4_1M", (1, 4, BATCH_MAX), (10_000, M), Kind::Stock, (345.5, 760.0)),
    case("c1_10M", (1, 1, BATCH_MAX), (10_000, 10 * M), Kind::Stock, (221.7, 2354.0)),
    case("c4_10M", (1, 4, BATCH_MAX), (10_000, 10 * M), Kind::Stock, (252.6, 2350.0)),
    case("c32_10M", (1, 32, BATCH_MAX), (10_000, 10 * M), Kind::Stock, (299.2, 1840.0)),
    case("nohist_c4_10M", (1, 4, BATCH_MAX), (10_000, 10 * M), Kind::Bare, (272.9, 1653.0)),
    case("acct1M_c4_10M", (1, 4, BATCH_MAX), (M, 10 * M), Kind::Stock, (130.2, 2421.0)),
    case("pending_c4_10M", (1, 4, BATCH_MAX), (10_000, 10 * M), Kind::TwoPhase, (188.2, 2465.0)),
    case("randid_c4_10M", (1, 4, BATCH_MAX), (10_000, 10 * M), Kind::RandomIds, (90.3, 2006.0)),
    case("zipf_c4_10M", (1, 4, BATCH_MAX), (10_000, 10 * M), Kind::Zipf, (0.0, 0.0)),
    case("look1_c1", (1, 1, 1), (10_000, 50_000), Kind::Looks, (0.0, 0.0)),
    case("b1_c1", (1, 1, 1), (10_000, 50_000), Kind::Stock, (1.9, 16081.0)),
    case("b1_c32", (1, 32, 1), (10_000, 200_000), Kind::Stock, (2.2, 18963.0)),
    case("b100_c32_1M", (1, 32, 100), (10_000, M), Kind::Stock, (78.2, 1455.0)),
    case("b1000_c32_2M", (1, 32, 1000), (10_000, 2 * M), Kind::Stock, (204.3, 2515.0)),
    case("r3_c1_10M", (3, 1, BATCH_MAX), (10_000, 10 * M), Kind::Stock, (88.8, 1479.0)),
    case("r3_c4_10M", (3, 4, BATCH_MAX), (10_000, 10 * M), Kind::Stock, (124.6, 1488.0)),
    case("r3_c32_10M", (3, 32, BATCH_MAX), (10_000, 10 * M), Kind::Stock, (0.0, 0.0)),
    case("r3_acct1M_c4_10M", (3, 4, BATCH_MAX), (M, 10 * M), Kind::Stock, (0.0, 0.0)),
    case("r3_pending_c4_10M", (3, 4, BATCH_MAX), (10_000, 10 * M), Kind::TwoPhase, (0.0, 0.0)),
    case("r3_randid_c4_10M", (3, 4, BATCH_MAX), (10_000, 10 * M), Kind::RandomIds, (0.0, 0.0)),
    case("r3_zipf_c4_10M", (3, 4, BATCH_MAX), (10_000, 10 * M), Kind::Zipf, (0.0, 0.0)),
    case("r3_b1_c32", (3, 32, 1), (10_000, 100_000), Kind::Stock, (0.238, 18964.0)),
    case("r3_b100_c32", (3, 32, 100), (10_000, M), Kind::Stock, (17.5, 1226.0)),
    case("r3_b1000_c32", (3, 32, 1000), (10_000, 2 * M), Kind::Stock, (0.0, 0.0)),
];

struct Options {
    transfers_max: u64,
    reserve: Reserve,
    data_dir: String,
    words: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Reserve {
    /// What may wait in the case.
    Case,
    Transfers(u64),
    /// What nodes do when nobody tells them.
    Auto,
}

impl Reserve {
    fn parse(word: &str) -> Self {
        match word {
            "auto" => Self::Auto,
            _ => Self::Transfers(word.parse().expect("--reserve takes a number or auto")),
        }
    }
}

fn main() {
    let mut options = Options {
        transfers_max: u64::MAX,
        reserve: Reserve::Case,
        data_dir: String::new(),
        words: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--transfers" => {
                let count = arguments.next().and_then(|count| count.parse().ok());
                options.transfers_max = count.expect("--transfers takes a number");
            }
            "--reserve" => options.reserve = Reserve::parse(&arguments.next().unwrap_or_default()),
            "--data-dir" => options.data_dir = arguments.next().expect("--data-dir takes a folder"),
            "--list" => return CASES.iter().for_each(|case| say(case.name)),
            _ => options.words.push(word),
        }
    }
    say(
        "| case | transfers | tx/s | theirs | times | p50 ms | p99 ms | p99/p50 | max ms | CPU us/tx | written B/tx | theirs | MiB |",
    );
    say("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let wanted = |case: &&Case| {
        options.words.is_empty() || options.words.iter().any(|word| case.matches(word))
    };
    for case in CASES.iter().filter(wanted) {
        measure(case, &options);
    }
}

fn measure(case: &Case, options: &Options) {
    let transfers = case.transfers.min(options.transfers_max);
    let load = Load {
        batch: case.batch,
        accounts: case.accounts,
        per_client: transfers / case.clients,
        has_random_ids: case.kind == Kind::RandomIds,
        pending_percent: if case.kind == Kind::TwoPhase { 30 } else { 0 },
        zipf: (case.kind == Kind::Zipf).then(|| Zipf::new(case.accounts, 0.99)),
    };
    let cluster = Cluster::start(Plan {
        accounts_max: case.accounts + 1,
        transfers_max: transfers + transfers / 10 + 10_000,
        reserve_transfers: match options.reserve {
            // As the peer does with all of its memory.
            Reserve::Case => Some(transfers.min(RESERVED_MAX)),
            Reserve::Transfers(transfers) => Some(transfers),
            Reserve::Auto => None,
        },
        preallocate_bytes: PREALLOCATED.max((transfers * LOGGED).min(PREALLOCATED_MAX)),
        data_dir: options.data_dir.clone().into(),
        ..Plan::new(case.replicas)
    });
    let addresses = cluster.addresses();
    let setup = tb::Client::new(Cluster::ID, &addresses).expect("addresses that it understands");
    let flags = if case.kind == Kind::Bare {
        tb::AccountFlags::default()
    } else {
        tb::AccountFlags::History
    };
    load::create_accounts(&setup, case.accounts, flags);
    if options.reserve == Reserve::Auto {
        usage::await_memory(&cluster.pids());
    }
    let before = Usage::mean(&cluster.pids());
    let all = Mutex::new(Histogram::<u64>::new(3).expect("three digits"));
    // Sessions are opened before the clock runs.
    let start = Barrier::new(case.clients as usize + 1);
    let began = std::thread::scope(|scope| {
        for client in 0..case.clients {
            let (load, all, addresses, start) = (&load, &all, &addresses, &start);
            scope.spawn(move || {
                let connection = load::connect(addresses);
                start.wait();
                let own = match case.kind {
                    Kind::Looks => load.look(client, &connection),
                    _ => load.run(client, &connection),
                };
                all.lock()
                    .expect("no client failed")
                    .add(own)
                    .expect("the same digits");
            });
        }
        start.wait();
        Instant::now()
    });
    let seconds = began.elapsed().as_secs_f64();
    let moved = load.per_client * case.clients;
    load::prove(
        &setup,
        if case.kind == Kind::Looks { 0 } else { moved },
        &load,
    );
    let after = Usage::settled(&cluster.pids());
    let all = all.into_inner().expect("no client failed");
    print(case, moved, seconds, &all, (before, after));
}

fn print(
    case: &Case,
    moved: u64,
    seconds: f64,
    times: &Histogram<u64>,
    (before, after): (Usage, Usage),
) {
    let ms = |nanos: u64| nanos as f64 / 1e6;
    let (p50, p99) = (
        ms(times.value_at_quantile(0.5)),
        ms(times.value_at_quantile(0.99)),
    );
    let thousands = moved as f64 / seconds / 1e3;
    let or_dash = |value: f64, words: String| if value == 0.0 { "-".to_owned() } else { words };
    let (theirs, theirs_bytes) = case.theirs;
    say(&format!(
        "| {} | {moved} | {thousands:.1} k | {} | {} | {p50:.2} | {p99:.2} | {:.1} | {:.1} | {:.2} | {:.0} | {} | {:.0} |",
        case.name,
        or_dash(theirs, format!("{theirs:.1} k")),
        or_dash(theirs, format!("{:.1}", thousands / theirs)),
        p99 / p50,
        ms(times.max()),
        (after.cpu_seconds - before.cpu_seconds) * 1e6 / moved as f64,
        (after.written_bytes - before.written_bytes) / moved as f64,
        or_dash(theirs_bytes, format!("{theirs_bytes:.0}")),
        after.resident_bytes / f64::from(1 << 20),
    ));
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").expect("somebody listens");
    out.flush().expect("somebody listens");
}

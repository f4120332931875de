//! Accounts beyond memory: so many of them in files, and transfers between all or mostly between few of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::Limits;

use crate::workload::{Accounts, Case, Generator, Ids, Kind};
use crate::{BATCH, Hand, map, nanos_since};

/// Prints nanoseconds for each transfer, with accounts in files of `LEDGER_FOLDER`, or in memory if that is not set.
pub(crate) fn measure(accounts: usize, transfers: usize) {
    println!("\n{accounts} accounts, {transfers} transfers; ns for each transfer");
    println!(
        "{:<28} {:>8} {:>8} {:>8} {:>10} {:>10} {:>10}",
        "case", "median", "mean", "p99", "B/account", "MiB anon", "MiB files"
    );
    let folder = std::env::var_os("LEDGER_FOLDER").map(PathBuf::from);
    for (name, choice) in [
        ("beyond, zipf 0.99", Accounts::Zipf),
        ("beyond, uniform", Accounts::Uniform),
    ] {
        let case = Case::new(name, accounts, choice, Ids::TimeBased, Kind::Plain, 0.0);
        one(&case, transfers, folder.as_deref());
    }
}

fn one(case: &Case, transfers: usize, folder: Option<&Path>) {
    let limits = Limits {
        accounts_max: case.accounts,
        transfers_max: transfers + BATCH,
        pendings_max: 1,
        chapter_rows: 0,
        unshelved_max: transfers + 2 * BATCH,
    };
    let mut ledger = Ledger::new(limits).expect("the limits of a case are sound");
    if let Some(folder) = folder {
        let folder = folder.to_owned();
        ledger.draw_accounts_from(Arc::new(move |bytes| map::unnamed(&folder, bytes).ok()));
    }
    let (mut generator, mut hand) = (Generator::new(case), Hand::new());
    hand.open_accounts(&mut ledger, &mut generator, case.accounts);
    let per_account = ledger.bytes() as f64 / case.accounts as f64;
    let (mut nanos, mut body) = (Vec::new(), Vec::new());
    for _ in 0..transfers / BATCH {
        generator.transfers(BATCH, &mut body);
        let start = Instant::now();
        hand.apply(&mut ledger, operation::CREATE_TRANSFERS, &body);
        nanos.push(nanos_since(start));
    }
    nanos.sort_unstable();
    let each = |nanos: u64| nanos as f64 / BATCH as f64;
    println!(
        "{:<28} {:>8.0} {:>8.0} {:>8.0} {:>10.1} {:>10} {:>10}",
        case.name,
        each(nanos[nanos.len() / 2]),
        each(nanos.iter().sum::<u64>() / nanos.len() as u64),
        each(nanos[nanos.len() * 99 / 100]),
        per_account,
        resident("RssAnon:"),
        resident("RssFile:") + resident("RssShmem:"),
    );
}

/// Mebibytes of this process that are in memory, by their kind.
fn resident(kind: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix(kind));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.expect("the kernel counts them") >> 10
}

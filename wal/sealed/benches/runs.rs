//! Building, opening, merging and asking index runs: `cargo bench -p quorate-sealed --bench runs`.
//!
//! `QUORATE_BENCH_KEYS` sets how many historic ids there are (100,000,000 by default; 4 GiB of memory).

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::hint::black_box;
use std::sync::Arc;

use sealed::{Direction, Duplicates, Merge, RunBuilder, RunReader, RunSet, RunSpec, Tiers};

type Run = Arc<RunReader<u128, Vec<u8>>>;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = std::time::Instant::now();
    let result = work();
    (result, start.elapsed().as_nanos() as f64)
}

fn dice(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn random(state: &mut u64) -> u128 {
    u128::from(dice(state)) << 64 | u128::from(dice(state))
}

/// An id as clients make them: milliseconds above, then 80 bits that rise within a millisecond.
fn timely(state: &mut u64, nth: u64) -> u128 {
    let within = (dice(state) >> 8) as u128;
    u128::from(1_700_000_000_000 + nth / 1_000) << 80 | u128::from(nth % 1_000) << 60 | within
}

const SPEC: RunSpec = RunSpec {
    cluster: 1,
    group: 1,
    table: 1,
    duplicates: Duplicates::Once,
};

fn build(spec: RunSpec, entries: impl Iterator<Item = (u128, u64)>, count: usize) -> Run {
    let mut builder = RunBuilder::new(spec, count);
    for (key, value) in entries {
        builder.push(key, value).expect("there is room");
    }
    let mut writing = builder.finish().expect("there are entries");
    let mut file = Vec::with_capacity(count * 25);
    while !writing.step(1 << 20, &mut file) {}
    file.shrink_to_fit();
    Arc::new(RunReader::open(file).expect("what was written can be read"))
}

fn ask(what: &str, set: &RunSet<u128, Vec<u8>>, keys: &[u128]) {
    let mut maybe = Vec::with_capacity(keys.len());
    let mut best = f64::MAX;
    for _ in 0..5 {
        maybe.clear();
        let (_, ns) = timed(|| {
            for batch in keys.chunks(8_189) {
                set.sift(black_box(batch), &mut maybe);
            }
        });
        best = best.min(ns / keys.len() as f64);
    }
    let (_, single) = timed(|| {
        for key in keys {
            black_box(set.may_contain(black_box(*key)));
        }
    });
    println!(
        "{what:<44} {best:7.1} ns a key in batches, {:7.1} one by one, {:.3} % may be there",
        single / keys.len() as f64,
        maybe.len() as f64 * 100.0 / keys.len() as f64
    );
}

fn history(what: &str, total: usize, mut id: impl FnMut(u64) -> u128) -> RunSet<u128, Vec<u8>> {
    let part = 1 << 20;
    let mut set = RunSet::new();
    let (mut built, mut merged, mut merged_entries, mut slowest) = (0.0, 0.0, 0_u64, 0.0_f64);
    let mut next = 0_u64;
    while (next as usize) < total {
        let entries: Vec<_> = (next..next + part).map(|nth| (id(nth), nth)).collect();
        next += part;
        let (run, ns) = timed(|| build(SPEC, entries.into_iter(), part as usize));
        built += ns;
        set.push(run);
        let tiers = Tiers {
            first_entries: 1 << 21,
            ..Tiers::DEFAULT
        };
        while let Some(range) = set.plan(&tiers) {
            let mut merge = Merge::new(&set.runs()[range.clone()]).expect("runs of one index");
            let mut file = Vec::new();
            loop {
                let (done, ns) = timed(|| merge.step(64 << 10, &mut file).expect("sound runs"));
                (merged, slowest) = (merged + ns, slowest.max(ns));
                if done {
                    break;
                }
            }
            merged_entries += merge.summary().entries;
            file.shrink_to_fit();
            set.replace(
                range,
                Some(Arc::new(RunReader::open(file).expect("a merged run"))),
            );
        }
    }
    let bytes: u64 = set.runs().iter().map(|run| run.file_bytes()).sum();
    let memory: usize = set.runs().iter().map(|run| run.memory_bytes()).sum();
    println!(
        "{what}: {next} ids in {} runs, {:.1} bytes on disk and {:.1} bits of memory each; built {:.0} ns an entry, \
         merged {:.0} ns an entry, longest slice of 64 KiB {:.2} ms",
        set.runs().len(),
        bytes as f64 / next as f64,
        memory as f64 * 8.0 / next as f64,
        built / next as f64,
        merged / merged_entries.max(1) as f64,
        slowest / 1e6
    );
    set
}

fn main() {
    let total = std::env::var("QUORATE_BENCH_KEYS").ok();
    let total = total
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000_000);
    let mut state = 1;
    let set = history("rising ids", total, |nth| timely(&mut state, nth));
    let end = set.entries();
    let new: Vec<_> = (0..1_000_000)
        .map(|nth| timely(&mut state, end + nth))
        .collect();
    ask("rising history, new rising ids", &set, &new);
    let late: Vec<_> = (0..1_000_000)
        .map(|nth| timely(&mut state, end - 1_000_000 + nth))
        .collect();
    ask("rising history, ids of the last million", &set, &late);
    let strays: Vec<_> = (0..1_000_000).map(|_| random(&mut state)).collect();
    ask("rising history, random ids", &set, &strays);
    drop(set);

    let set = history("random ids", total, |_| random(&mut state));
    let new: Vec<_> = (0..1_000_000).map(|_| random(&mut state)).collect();
    ask("random history, new random ids", &set, &new);
    let known: Vec<u128> = set.runs()[0]
        .iter()
        .step_by(97)
        .take(200_000)
        .map(|e| e.expect("sound").0)
        .collect();
    let (_, ns) = timed(|| {
        for key in &known {
            assert!(set.get(*key).expect("sound").is_some());
        }
    });
    println!(
        "{:<44} {:7.1} ns a key",
        "random history, get of a key that is there",
        ns / known.len() as f64
    );
    drop(set);
    postings(&mut state);
}

fn postings(state: &mut u64) {
    let many = RunSpec {
        duplicates: Duplicates::Many,
        ..SPEC
    };
    let count = 4 << 20;
    let accounts: Vec<u128> = (0..10_000).map(|_| random(state)).collect();
    let entries: Vec<_> = (0..count as u64)
        .map(|position| (accounts[(dice(state) % 10_000) as usize], position / 2))
        .collect();
    let (run, ns) = timed(|| build(many, entries.into_iter(), count));
    println!(
        "account -> positions: {:.1} bytes an entry, built {:.0} ns an entry",
        run.file_bytes() as f64 / count as f64,
        ns / count as f64
    );
    let mut out = Vec::new();
    let (_, ns) = timed(|| {
        for account in &accounts {
            out.clear();
            run.range(*account, u64::MAX, Direction::Descending, 10, &mut out)
                .expect("sound");
            assert_eq!(out.len(), 10);
        }
    });
    println!(
        "{:<44} {:7.1} ns",
        "the last ten positions of an account",
        ns / accounts.len() as f64
    );
}

//! What timing every stage costs: one request's stamps and records, on and off.
//!
//! `cargo bench -p quorate-shard --bench stopwatch`

use std::hint::black_box;
use std::io::Write;

use shard::stopwatch::{STAGES, Stopwatch};

const REQUESTS: u64 = 5_000_000;
/// Times a turn reads the clock for one request, at most.
const STAMPS: u32 = 4;
/// Histograms that one request is recorded in.
const RECORDS: usize = 8;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn nanos_per_request(on: bool) -> f64 {
    let mut watch = Stopwatch::new(on);
    let start = now();
    for request in 0..REQUESTS {
        for _ in 0..STAMPS {
            black_box(now());
        }
        for (position, stage) in (1..).zip(&STAGES[..RECORDS]) {
            watch.record(*stage, black_box(1_000 + request % 4_096 * position));
        }
    }
    start.elapsed().as_nanos() as f64 / REQUESTS as f64
}

fn main() -> std::io::Result<()> {
    let (on, off) = (nanos_per_request(true), nanos_per_request(false));
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{STAMPS} stamps and {RECORDS} records per request: {on:.0} ns; stamps alone {off:.0} ns"
    )?;
    writeln!(
        out,
        "per transfer of a batch of 8,189: {:.3} ns",
        on / 8_189.0
    )
}

//! One cell of the table: what is to be done, what was measured, and the median of several windows.

use std::str::FromStr;
use std::time::{Duration, Instant};

/// Who may have an append in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    OneEach,
    Together,
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "one-each" => Ok(Self::OneEach),
            "together" => Ok(Self::Together),
            _ => Err(()),
        }
    }
}

/// What a system is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) bytes: usize,
    pub(crate) groups: usize,
    pub(crate) mode: Mode,
}

/// A log, or what stands beside it.
pub(crate) trait System {
    fn name(&self) -> &'static str;

    /// Works for one window.
    fn run(&mut self, window: Duration) -> Reading;
}

/// What one window gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) entries: u64,
    pub(crate) elapsed_ns: u64,
    pub(crate) cpu_ns: u64,
    /// Of an entry in mode `one-each`, of a durable write in mode `together`; nanoseconds.
    pub(crate) latencies: Vec<u64>,
}

/// A stopwatch over a window: the wall's time and this process's CPU.
pub(crate) struct Watch {
    began: Instant,
    cpu_ns: u64,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self {
            began: Instant::now(),
            cpu_ns: cpu_ns(),
        }
    }

    pub(crate) fn elapsed_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    pub(crate) fn stop(self, entries: u64, latencies: Vec<u64>) -> Reading {
        Reading {
            entries,
            elapsed_ns: self.elapsed_ns(),
            cpu_ns: cpu_ns() - self.cpu_ns,
            latencies,
        }
    }
}

/// CPU of all threads of this process, in nanoseconds.
fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub(crate) const HEADING: &str = "| bytes | mode | groups | system | entries/s | MB/s | p50 us | p99 us | CPU ns/entry |\n\
                                  |---:|---|---:|---|---:|---:|---:|---:|---:|";

/// The figures of a cell.
pub(crate) struct Figures {
    rate: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_ns: f64,
}

/// Figure by figure, the median over the windows.
pub(crate) fn median(readings: Vec<Reading>) -> Figures {
    let mut figures: [Vec<f64>; 4] = Default::default();
    for mut reading in readings {
        reading.latencies.sort_unstable();
        let at = |share: usize| {
            let nth = reading.latencies.len() * share / 100;
            reading.latencies.get(nth).copied().unwrap_or(0) as f64 / 1e3
        };
        let entries = reading.entries.max(1) as f64;
        figures[0].push(reading.entries as f64 / (reading.elapsed_ns as f64 / 1e9));
        figures[1].push(at(50));
        figures[2].push(at(99));
        figures[3].push(reading.cpu_ns as f64 / entries);
    }
    let [rate, p50_us, p99_us, cpu_ns] = figures.map(|mut values| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    });
    Figures {
        rate,
        p50_us,
        p99_us,
        cpu_ns,
    }
}

impl Figures {
    pub(crate) fn row(&self, system: &str, work: &Work) -> String {
        let mode = match work.mode {
            Mode::OneEach => "one-each",
            Mode::Together => "together",
        };
        format!(
            "| {} | {mode} | {} | {system} | {:.0} | {:.1} | {:.0} | {:.0} | {:.0} |",
            work.bytes,
            work.groups,
            self.rate,
            self.rate * work.bytes as f64 / 1e6,
            self.p50_us,
            self.p99_us,
            self.cpu_ns,
        )
    }
}

//! Where a run stands, told to whoever watches.

use indicatif::{ProgressBar, ProgressStyle};
use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The steps of a run, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Formatting the replicas' folders.
    Format,
    /// Starting the processes, until every group has a leader.
    Start,
    /// Creating the accounts.
    Accounts,
    /// Load that is not measured.
    Warmup,
    /// Load that is measured.
    Load,
    /// Waiting for the last replies and for the replicas to be level.
    Settle,
    /// Looking every acknowledged transfer up on every replica.
    Proof,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::Format => "format",
            Phase::Start => "start",
            Phase::Accounts => "accounts",
            Phase::Warmup => "warmup",
            Phase::Load => "load",
            Phase::Settle => "settle",
            Phase::Proof => "proof",
        })
    }
}

/// Watches a run.
pub trait Progress {
    /// A phase begins; `total` is its length in the unit of `advance`, 0 where it is unknown.
    fn begin(&mut self, phase: Phase, total: u64);

    /// How far the phase is: milliseconds in warm-up and load, items elsewhere; `transfers` have been
    /// acknowledged since the load began.
    fn advance(&mut self, done: u64, transfers: u64);

    /// The run is over, well or not.
    fn finish(&mut self) {}

    /// Whether the run shall stop. Asked many times a second.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&mut self, _phase: Phase, _total: u64) {}
    fn advance(&mut self, _done: u64, _transfers: u64) {}
}

/// A progress bar on stderr where that is a terminal, and nothing elsewhere.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    is_stopped: Arc<AtomicBool>,
}

impl Bar {
    /// Once this is true the run shall stop.
    pub fn stopped_by(&mut self, flag: Arc<AtomicBool>) {
        self.is_stopped = flag;
    }
}

impl Default for Bar {
    fn default() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{prefix:>9} [{bar:30}] {percent:>3}% {msg}")
            .expect("the template is valid")
            .progress_chars("=> ");
        bar.set_style(style);
        let is_stopped = Arc::default();
        Self { bar, is_stopped }
    }
}

impl Progress for Bar {
    fn begin(&mut self, phase: Phase, total: u64) {
        self.bar.reset();
        self.bar.set_length(total.max(1));
        self.bar.set_prefix(phase.to_string());
        self.bar.set_message("");
    }

    fn advance(&mut self, done: u64, transfers: u64) {
        self.bar.set_position(done);
        if transfers > 0 {
            self.bar
                .set_message(format!("{} transfers", crate::text::grouped(transfers)));
        }
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }

    fn cancelled(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

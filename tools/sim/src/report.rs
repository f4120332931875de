//! What people and programs read about runs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::coverage::Coverage;
use crate::faults::Kind;
use crate::run::Outcome;

/// All runs of one call.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The command that repeats a seed, without the seed.
    pub command: String,
    /// Runs that kept all promises.
    pub passed: u64,
    /// Of these, run twice and found the same.
    pub twice: u64,
    /// Runs that did not.
    pub failed: Vec<Outcome>,
    /// Sums over all runs.
    pub sums: Sums,
    /// What one run did, when there was one only.
    pub only: Option<Outcome>,
    /// Rare things that were reached, with which faults.
    pub coverage: Coverage,
    /// The kinds of faults that were allowed.
    pub kinds: Vec<Kind>,
}

/// Sums over runs.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Sums {
    /// Simulated nanoseconds.
    pub simulated_ns: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Entries applied.
    pub applied: u64,
    /// Sealed entries that were held against the history.
    pub sealed: u64,
    /// Files that were read back from the object store.
    pub read_back: u64,
    /// Turns.
    pub turns: u64,
    /// Elections won.
    pub elections: u64,
    /// Groups that were given other voters, new nodes among them.
    pub redrawn: u64,
    /// Operations that the judges held against the history, refused and unknown ones included.
    pub checked: u64,
    /// The fullest process: how full, in permille of its budget, its bytes, and its budget.
    pub memory_max: (u64, u64, u64),
    /// The longest recovery, in nanoseconds.
    pub recovered_ns_max: u64,
    /// Faults by kind.
    pub faults: std::collections::BTreeMap<&'static str, u64>,
}

impl Report {
    /// Nothing was run; `command` repeats a seed, when the seed is added.
    #[must_use]
    pub fn new(command: String, kinds: &[Kind]) -> Self {
        Self {
            command,
            kinds: kinds.to_vec(),
            ..Self::default()
        }
    }

    /// Takes a run.
    pub fn take(&mut self, outcome: Outcome) {
        let numbers = &outcome.numbers;
        self.sums.simulated_ns += numbers.simulated_ns;
        self.sums.answered += numbers.answered;
        self.sums.checked += numbers.answered + numbers.refused + numbers.unknown;
        self.coverage.join(&outcome.coverage);
        self.sums.applied += numbers.applied;
        self.sums.sealed += numbers.sealed;
        self.sums.read_back += numbers.read_back;
        self.sums.turns += numbers.turns;
        self.sums.elections += numbers.elections;
        self.sums.redrawn += numbers.redrawn;
        self.sums.recovered_ns_max = self.sums.recovered_ns_max.max(numbers.recovered_ns);
        let memory = (
            numbers.memory_permille,
            numbers.memory_bytes,
            numbers.budget_bytes,
        );
        self.sums.memory_max = self.sums.memory_max.max(memory);
        for (kind, count) in &numbers.faults {
            *self.sums.faults.entry(kind).or_default() += count;
        }
        if outcome.broken.is_some() {
            self.failed.push(outcome);
        } else {
            self.passed += 1;
            self.only = Some(outcome);
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self, elapsed_ns: u64, lists_pairs: bool) -> String {
        let mut out = String::new();
        for outcome in self.failed.iter().take(3) {
            out.push_str(&failure(outcome, &self.command));
        }
        let runs = self.passed + self.failed.len() as u64;
        let _ = writeln!(
            out,
            "{runs} seeds  {} passed  {} failed  {} run twice and equal",
            self.passed,
            self.failed.len(),
            self.twice
        );
        let simulated = self.sums.simulated_ns / 1_000_000_000;
        let speed = self.sums.simulated_ns.checked_div(elapsed_ns).unwrap_or(0);
        let rows = [
            (
                "simulated",
                format!("{simulated} s, {speed} times real time"),
            ),
            ("answered", format!("{} requests", self.sums.answered)),
            (
                "applied",
                format!("{} entries, all replicas and recoveries", self.sums.applied),
            ),
            (
                "sealed",
                format!(
                    "{} entries compared, {} files read back from the object store",
                    self.sums.sealed, self.sums.read_back
                ),
            ),
            ("turns", self.sums.turns.to_string()),
            (
                "elections",
                format!(
                    "{}, groups given other voters {}",
                    self.sums.elections, self.sums.redrawn
                ),
            ),
            ("memory", self.memory()),
            (
                "recovered",
                format!("{} ms at most", self.sums.recovered_ns_max / 1_000_000),
            ),
            ("faults", self.faults()),
            ("rare", self.rare()),
            ("pairs", self.pairs(lists_pairs)),
        ];
        for (name, value) in rows {
            let _ = writeln!(out, "{name:<11}{value}");
        }
        if let (Some(only), 1) = (&self.only, runs) {
            let _ = writeln!(out, "{:<11}{:016x}", "trace", only.numbers.trace_hash);
        }
        out
    }

    fn memory(&self) -> String {
        let (_, bytes, budget) = self.sums.memory_max;
        let [bytes, budget] = [bytes, budget].map(|bytes| bytes / 100_000);
        format!(
            "{}.{} MB in the fullest process, of {}.{} that it may hold",
            bytes / 10,
            bytes % 10,
            budget / 10,
            budget % 10
        )
    }

    fn faults(&self) -> String {
        let faults = &self.sums.faults;
        if faults.is_empty() {
            return "none".to_owned();
        }
        let words: Vec<String> = faults
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        words.join(", ")
    }

    /// The rare points, and how often each was reached.
    fn rare(&self) -> String {
        let counts = self.coverage.counts();
        let words: Vec<String> = counts
            .iter()
            .map(|(point, count)| format!("{point} {count}"))
            .collect();
        words.join(", ")
    }

    /// Pairs of a rare point and a fault that were never seen together.
    fn pairs(&self, lists_them: bool) -> String {
        let never = self.coverage.never(&self.kinds);
        let all = self.coverage.counts().len() * self.kinds.len();
        let mut text = format!("{} of {all} never reached", never.len());
        if lists_them {
            for (point, kind) in never {
                let _ = write!(text, "\n           {} with {}", point.name(), kind.name());
            }
        }
        text
    }

    /// For programs.
    #[must_use]
    pub fn json(&self, elapsed_ns: u64) -> String {
        let failed: Vec<Value> = self
            .failed
            .iter()
            .map(|outcome| {
                let broken = outcome.broken.as_ref().map(ToString::to_string);
                let last: Vec<String> = outcome.last.iter().map(ToString::to_string).collect();
                json!({
                    "seed": outcome.seed,
                    "broken": broken,
                    "replay": format!("{} --seed {}", self.command, outcome.seed),
                    "last_events": last,
                    "numbers": outcome.numbers,
                })
            })
            .collect();
        let document = json!({
            "schema_version": 1,
            "passed": self.passed,
            "failed": failed,
            "run_twice": self.twice,
            "elapsed_ns": elapsed_ns,
            "sums": self.sums,
            "commit": commit(),
            "rare": self.coverage.counts(),
            "never_reached": self.coverage.never(&self.kinds).iter()
                .map(|(point, kind)| format!("{} with {}", point.name(), kind.name())).collect::<Vec<_>>(),
            "only": self.only.as_ref().map(|only| &only.numbers),
        });
        format!("{document:#}\n")
    }
}

/// The commit that was built, as far as the checkout says.
#[must_use]
pub fn commit() -> String {
    let said = std::process::Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    let said = said.ok().filter(|said| said.status.success());
    said.and_then(|said| String::from_utf8(said.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// One failed run.
#[must_use]
pub fn failure(outcome: &Outcome, command: &str) -> String {
    let mut out = String::new();
    let broken = outcome
        .broken
        .as_ref()
        .map_or_else(String::new, ToString::to_string);
    let _ = writeln!(out, "seed {} at commit {}: BROKEN", outcome.seed, commit());
    let _ = writeln!(out, "  {broken}");
    let _ = writeln!(out, "last events (seconds, who, what):");
    for event in &outcome.last {
        let _ = writeln!(out, "{event}");
    }
    for line in &outcome.replicas {
        let _ = writeln!(out, "  {line}");
    }
    let _ = writeln!(out, "replay: {command} --seed {}\n", outcome.seed);
    out
}

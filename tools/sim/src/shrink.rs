//! Shrinks a failing run: fewer faults, then fewer nodes, groups, clients and requests, then less time, as long as the
//! same promise is broken.
//!
//! - Faults are numbered decisions; each has dice of its own, so that leaving one out changes no other.
//! - Delta debugging (Zeller, "Isolating failure-inducing input", 2002) over the list of faults, with a bound on runs.

use std::mem::discriminant;

use crate::plan::Asked;
use crate::run::{self, Outcome};
use crate::topology::Topology;

/// Runs that are tried at most.
const RUNS_MAX: u32 = 400;

/// What is left of a failing run.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What to ask for.
    pub asked: Asked,
    /// How it fails.
    pub outcome: Outcome,
    /// Faults of the whole run.
    pub faults_before: u64,
    /// Runs that were tried.
    pub runs: u32,
}

struct Shrinker {
    seed: u64,
    runs: u32,
    best: Asked,
    outcome: Outcome,
}

/// Shrinks the run of a seed; `None` if it keeps all promises.
#[must_use]
pub fn shrink(seed: u64, asked: &Asked) -> Option<Shrunk> {
    let outcome = run::run(seed, asked);
    outcome.broken.as_ref()?;
    let struck = outcome.numbers.drawn;
    let mut shrinker = Shrinker {
        seed,
        runs: 1,
        best: asked.clone(),
        outcome,
    };
    shrinker.less_time();
    shrinker.fewer_faults(struck);
    shrinker.fewer_of_everything();
    shrinker.less_time();
    let left = shrinker.best.only_faults.clone().unwrap_or_default();
    shrinker.fewer_faults_among(left);
    Some(Shrunk {
        asked: shrinker.best,
        outcome: shrinker.outcome,
        faults_before: struck,
        runs: shrinker.runs,
    })
}

impl Shrinker {
    /// Does it still fail in the same way? Then this is the run from here on.
    fn takes(&mut self, candidate: Asked) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let outcome = run::run(self.seed, &candidate);
        let is_same = match (&outcome.broken, &self.outcome.broken) {
            (Some(now), Some(before)) => discriminant(now) == discriminant(before),
            _ => false,
        };
        if is_same {
            self.best = candidate;
            self.outcome = outcome;
        }
        is_same
    }

    fn fewer_faults(&mut self, struck: u64) {
        let all: Vec<u64> = (0..struck).collect();
        let none = Asked {
            only_faults: Some(Vec::new()),
            ..self.best.clone()
        };
        if !self.takes(none) {
            self.fewer_faults_among(all);
        }
    }

    fn fewer_faults_among(&mut self, mut left: Vec<u64>) {
        let mut parts = 2;
        while left.len() >= 2 || left.len() == 1 && parts == 2 {
            let size = left.len().div_ceil(parts).max(1);
            let mut found = None;
            for from in (0..left.len()).step_by(size) {
                let mut without = left.clone();
                without.drain(from..(from + size).min(left.len()));
                let candidate = Asked {
                    only_faults: Some(without.clone()),
                    ..self.best.clone()
                };
                if self.takes(candidate) {
                    found = Some(without);
                    break;
                }
            }
            match found {
                Some(without) => {
                    left = without;
                    parts = parts.saturating_sub(1).max(2);
                }
                None if size == 1 => return,
                None => parts = (parts * 2).min(left.len()),
            }
        }
    }

    fn fewer_of_everything(&mut self) {
        let is_one_site = |asked: &Asked| asked.topology.sites.len() == 1;
        let clusters = self.best.topology.clusters.clone();
        if is_one_site(&self.best) && clusters[0].sites.len() > 3 {
            let topology = Topology::one_site("three", 3, clusters[0].groups);
            self.takes(Asked {
                topology,
                ..self.best.clone()
            });
        }
        loop {
            let mut candidate = self.best.clone();
            for cluster in &mut candidate.topology.clusters {
                cluster.groups = cluster.groups.div_ceil(2);
            }
            if candidate.topology.clusters[0].groups == self.best.topology.clusters[0].groups
                || !self.takes(candidate)
            {
                break;
            }
        }
        self.takes(Asked {
            cores: Some(1),
            ..self.best.clone()
        });
        let mut clients = 4;
        while clients > 0
            && self.takes(Asked {
                clients: Some(clients),
                ..self.best.clone()
            })
        {
            clients /= 2;
        }
        let mut requests = self.outcome.numbers.answered.max(1);
        while requests > 0
            && self.takes(Asked {
                requests_max: Some(requests),
                ..self.best.clone()
            })
        {
            requests /= 2;
        }
    }

    /// Nothing after the failure is needed, and perhaps not all before the end.
    fn less_time(&mut self) {
        let failed_at = self.outcome.numbers.simulated_ns;
        if failed_at < self.best.faulty_ns {
            let faulty_ns = failed_at + 1_000_000;
            self.takes(Asked {
                faulty_ns,
                ..self.best.clone()
            });
        }
        let mut shorter = self.best.faulty_ns / 2;
        while shorter > 1_000_000_000
            && self.takes(Asked {
                faulty_ns: shorter,
                ..self.best.clone()
            })
        {
            shorter /= 2;
        }
    }
}

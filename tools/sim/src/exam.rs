//! The exam of the simulator itself: known-bad variants, each of which some seed must catch; and harmless ones, which none
//! may.
//!
//! - What is planted from outside (disks, machines, clients) is always there; faults of the consensus core only with the
//!   feature `mutants`.

use crate::chronicle::Flaw;
use crate::faults::Kind;
use crate::plan::{Asked, Planted};
use crate::run;
use crate::topology::Topology;
use crate::verdict::Broken;

const SECOND: u64 = 1_000_000_000;

/// A candidate.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What it does.
    pub name: &'static str,
    /// How it is planted.
    pub planted: Planted,
    /// It breaks nothing, and no seed may say otherwise.
    pub is_harmless: bool,
}

/// How a candidate did.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Who.
    pub candidate: Candidate,
    /// Seeds that were run.
    pub seeds: u64,
    /// What gave it away.
    pub verdict: Option<Broken>,
}

impl Mark {
    /// The simulator did what it is for.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.verdict.is_none() == self.candidate.is_harmless
    }
}

/// Everybody who takes the exam.
#[must_use]
pub fn candidates() -> Vec<Candidate> {
    let bad = |name, planted| Candidate {
        name,
        planted,
        is_harmless: false,
    };
    let flawed = |name, flaw| {
        bad(
            name,
            Planted {
                flaw,
                ..Planted::default()
            },
        )
    };
    let mut all = vec![
        flawed("machine-applies-twice", Flaw::Twice(7)),
        flawed("machine-skips-an-entry", Flaw::Skips(7)),
        flawed("machine-asks-its-own-clock", Flaw::OwnClock(7)),
        flawed("machine-reads-elsewhere", Flaw::EmptyReads(5)),
        bad(
            "disk-loses-writes",
            Planted {
                lost_write_one_in: Some(20),
                ..Planted::default()
            },
        ),
        Candidate {
            name: "clients-say-everything-twice",
            planted: Planted {
                stutter: true,
                ..Planted::default()
            },
            is_harmless: true,
        },
    ];
    all.extend(consensus());
    all
}

#[cfg(not(feature = "mutants"))]
fn consensus() -> Vec<Candidate> {
    Vec::new()
}

/// The core's own mutants, as far as a cluster of fixed members can reach them.
#[cfg(feature = "mutants")]
fn consensus() -> Vec<Candidate> {
    use raft::mutants::Mutant;
    let all = [
        ("consensus-votes-before-durable", Mutant::VoteBeforeDurable),
        (
            "consensus-acknowledges-before-durable",
            Mutant::AcknowledgeBeforeDurable,
        ),
        (
            "consensus-takes-a-stale-acknowledgement",
            Mutant::StaleAcknowledgement,
        ),
        (
            "consensus-commits-old-terms-by-counting",
            Mutant::CommitOldTerms,
        ),
        ("consensus-votes-for-any-log", Mutant::VoteForAnyLog),
        ("consensus-reads-without-a-round", Mutant::ReadWithoutRound),
    ];
    all.into_iter()
        .map(|(name, mutant)| Candidate {
            name,
            planted: Planted {
                mutant: Some(mutant),
                ..Planted::default()
            },
            is_harmless: false,
        })
        .collect()
}

/// Runs seeds until the candidate is caught, at most so many; harmless ones run a tenth of them.
#[must_use]
pub fn sit(candidate: Candidate, seeds_max: u64) -> Mark {
    let seeds_max = if candidate.is_harmless {
        seeds_max.div_ceil(10)
    } else {
        seeds_max
    };
    for seed in 0..seeds_max {
        // Every other seed is a storm of what opens narrow windows.
        let is_storm = seed % 2 == 1;
        let storm = vec![
            Kind::Crash,
            Kind::Power,
            Kind::Isolate,
            Kind::Partition,
            Kind::OneWay,
            Kind::Pause,
        ];
        let asked = Asked {
            topology: Topology::one_site("exam", if seed % 4 < 2 { 3 } else { 5 }, 2),
            faulty_ns: 12 * SECOND,
            faults: if is_storm { storm } else { Kind::ALL.to_vec() },
            cores: Some(1),
            rate: Some(if is_storm { 400 } else { 60 }),
            all_on: is_storm,
            is_storm,
            planted: candidate.planted,
        };
        if let Some(broken) = run::run(seed, &asked).broken {
            return Mark {
                candidate,
                seeds: seed + 1,
                verdict: Some(broken),
            };
        }
    }
    Mark {
        candidate,
        seeds: seeds_max,
        verdict: None,
    }
}

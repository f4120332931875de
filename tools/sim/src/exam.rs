//! The exam of the simulator itself: known-bad variants, each of which some seed must catch; and harmless ones, which none
//! may.
//!
//! - What is planted from outside (disks, machines, clients) is always there; faults of the code under test only with the
//!   feature `mutants`.
//! - Every candidate names the seeds that are known to catch it; more are tried behind them.
//! - Three profiles make the schedules likely in which a fault shows; a seed's remainder by three chooses. Seeds from
//!   [`MOVING`] on are of two more, in which configurations change without a pause.

use crate::chronicle::Flaw;
use crate::faults::Kind;
use crate::machine::Workload;
use crate::plan::{Asked, Planted};
use crate::run;
use crate::topology::Topology;
use crate::verdict::Broken;

const SECOND: u64 = 1_000_000_000;

/// From this seed on configurations change without a pause: of members under new ids, and of quorum sizes.
pub const MOVING: u64 = 1_000_000;

/// A candidate.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What it does.
    pub name: &'static str,
    /// How it is planted.
    pub planted: Planted,
    /// Seeds that are known to catch it; they come first.
    pub seeds: &'static [u64],
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
    /// What gave it away, and with which seed.
    pub verdict: Option<(u64, Broken)>,
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
    let flawed = |name, flaw, seeds| Candidate {
        name,
        planted: Planted {
            flaw,
            ..Planted::default()
        },
        seeds,
        is_harmless: false,
    };
    let mut all = vec![
        flawed("machine-applies-twice", Flaw::Twice(7), &[0]),
        flawed("machine-skips-an-entry", Flaw::Skips(7), &[0]),
        flawed("machine-asks-its-own-clock", Flaw::OwnClock(7), &[0]),
        flawed("machine-reads-elsewhere", Flaw::EmptyReads(5), &[0]),
        flawed("machine-keeps-all-it-sees", Flaw::Keeps(2 << 10), &[0]),
        Candidate {
            name: "disk-loses-writes",
            planted: Planted {
                lost_write_one_in: Some(20),
                ..Planted::default()
            },
            seeds: &[1],
            is_harmless: false,
        },
        Candidate {
            name: "keeper-gives-one-key-for-all-objects",
            planted: Planted {
                keys_repeat: true,
                ..Planted::default()
            },
            seeds: &[1],
            is_harmless: false,
        },
        Candidate {
            name: "clients-say-everything-twice",
            planted: Planted {
                stutter: true,
                ..Planted::default()
            },
            // Seeds that catch others must not do so by themselves.
            seeds: &[2, 5, 85, 1_000_093],
            is_harmless: true,
        },
    ];
    all.extend(crate::mutants::candidates());
    all
}

/// The run of the exam for a seed: in turn all kinds of faults as the seed draws them, a storm of what opens narrow
/// windows, and one kind alone with restless clients.
#[must_use]
pub fn question(seed: u64, planted: Planted) -> Asked {
    let settled = settled(seed, planted);
    if seed < MOVING {
        return settled;
    }
    let mut faults = vec![
        Kind::Isolate,
        Kind::Partition,
        Kind::Mute,
        Kind::Power,
        Kind::Transfer,
    ];
    if seed.is_multiple_of(2) {
        faults.extend([Kind::Quorums, Kind::Quorums, Kind::Members]);
    } else {
        faults.extend([Kind::ReplaceNode, Kind::AddNode, Kind::MoveGroup]);
        faults.extend([Kind::Members, Kind::Members, Kind::Quorums]);
    }
    Asked {
        topology: Topology::one_site("exam", if seed % 4 < 2 { 3 } else { 5 }, 2),
        faults,
        rate: Some(100),
        all_on: true,
        is_storm: true,
        is_restless: true,
        ..settled
    }
}

fn settled(seed: u64, planted: Planted) -> Asked {
    let storm = [
        Kind::Crash,
        Kind::Power,
        Kind::Isolate,
        Kind::Partition,
        Kind::OneWay,
        Kind::Mute,
        Kind::Pause,
    ];
    // Every other time it is the one that lets a deposed leader live on.
    let all = Kind::of_settled_clusters();
    let alone = if (seed / 3).is_multiple_of(2) {
        Kind::Mute
    } else {
        all[usize::try_from(seed / 6 % all.len() as u64).expect("small")]
    };
    let (faults, rate) = match seed % 3 {
        0 => (all, 60),
        1 => (storm.to_vec(), 400),
        _ => (vec![alone], 200),
    };
    Asked {
        topology: Topology::one_site("exam", if seed % 4 < 2 { 3 } else { 5 }, 2),
        faulty_ns: 12 * SECOND,
        faults,
        cores: Some(1),
        rate: Some(rate),
        all_on: !seed.is_multiple_of(3),
        is_storm: seed % 3 == 1,
        is_restless: !seed.is_multiple_of(3),
        workload: Workload::Bank,
        keeps_history: false,
        only_faults: None,
        clients: None,
        requests_max: None,
        planted,
    }
}

/// Runs the known seeds, then others from 0 on, until the candidate is caught; at most so many of the others. Harmless
/// ones run a tenth of them.
#[must_use]
pub fn sit(candidate: Candidate, others_max: u64) -> Mark {
    let others_max = if candidate.is_harmless {
        others_max.div_ceil(10)
    } else {
        others_max
    };
    let known = candidate.seeds.iter().copied();
    let mut seeds = 0;
    let others = (0..others_max).chain(MOVING..MOVING + others_max);
    for seed in known.chain(others) {
        seeds += 1;
        if let Some(broken) = run::run(seed, &question(seed, candidate.planted)).broken {
            return Mark {
                candidate,
                seeds,
                verdict: Some((seed, broken)),
            };
        }
    }
    Mark {
        candidate,
        seeds,
        verdict: None,
    }
}

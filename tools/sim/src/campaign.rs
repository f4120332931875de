//! A campaign: seeds spread over all topologies, workloads and temperaments in a fixed order, for CI and for long nights.
//!
//! - Seed `n` lives in world `n` modulo the number of worlds: a failing seed is replayed by its number alone.
//! - In every fifth round through the worlds nodes come and go under new ids as well.
//! - What a campaign ran is told in numbers: seeds, simulated hours, faults by kind, operations checked.

use std::path::Path;

use crate::atlas::{self, AtlasError};
use crate::faults::Kind;
use crate::machine::Workload;
use crate::plan::{Asked, Planted};
use crate::topology::Topology;

const SECOND: u64 = 1_000_000_000;
/// One in so many rounds through the worlds is one in which nodes come and go.
const ROUNDS: u64 = 5;

/// What differs from world to world.
struct Row {
    topology: &'static str,
    workload: Workload,
    groups: u64,
    seconds: u64,
    rate: Option<u64>,
    is_storm: bool,
    is_restless: bool,
}

const fn row(topology: &'static str, workload: Workload, groups: u64, seconds: u64) -> Row {
    Row {
        topology,
        workload,
        groups,
        seconds,
        rate: None,
        is_storm: false,
        is_restless: false,
    }
}

const ROWS: &[Row] = &[
    row("five", Workload::Bank, 4, 30),
    Row {
        is_storm: true,
        rate: Some(150),
        ..row("three", Workload::Bank, 2, 12)
    },
    row("five", Workload::Register, 3, 30),
    Row {
        is_restless: true,
        ..row("three", Workload::Append, 3, 30)
    },
    Row {
        rate: Some(100),
        ..row("five", Workload::Bank, 16, 20)
    },
    row("three", Workload::Set, 3, 30),
    Row {
        is_storm: true,
        rate: Some(200),
        ..row("five", Workload::Append, 2, 10)
    },
    Row {
        is_restless: true,
        ..row("five", Workload::Bank, 1, 40)
    },
    Row {
        rate: Some(5),
        ..row("bank20x5", Workload::Bank, 1, 4)
    },
    Row {
        is_storm: true,
        rate: Some(100),
        ..row("three", Workload::Register, 2, 12)
    },
    Row {
        rate: Some(5),
        ..row("bank100", Workload::Bank, 1, 4)
    },
];

/// The worlds of a campaign.
#[derive(Clone, Debug)]
pub struct Campaign {
    settled: Vec<Asked>,
    /// The same worlds, in which nodes come and go.
    moving: Vec<Asked>,
}

impl Campaign {
    /// With round trips from this folder, or modelled.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn new(measured: Option<&Path>) -> Result<Self, AtlasError> {
        let worlds = ROWS.iter().map(|row| {
            let topology = atlas::topology(row.topology, measured, row.groups)?;
            Ok(asked(row, topology))
        });
        let settled = worlds.collect::<Result<Vec<Asked>, AtlasError>>()?;
        let mut moving = settled.clone();
        for asked in &mut moving {
            asked.faults = Kind::ALL.to_vec();
        }
        Ok(Self { settled, moving })
    }

    /// The run of a seed.
    #[must_use]
    pub fn of(&self, seed: u64) -> &Asked {
        let count = self.settled.len() as u64;
        let place = usize::try_from(seed % count).expect("below a length");
        let is_moving = seed / count % ROUNDS == ROUNDS - 1;
        let worlds = if is_moving {
            &self.moving
        } else {
            &self.settled
        };
        &worlds[place]
    }
}

fn asked(row: &Row, topology: Topology) -> Asked {
    Asked {
        topology,
        faulty_ns: row.seconds * SECOND,
        faults: Kind::of_settled_clusters(),
        cores: None,
        rate: row.rate,
        all_on: row.is_storm,
        is_storm: row.is_storm,
        is_restless: row.is_restless,
        workload: row.workload,
        keeps_history: false,
        only_faults: None,
        clients: None,
        requests_max: None,
        planted: Planted::default(),
    }
}

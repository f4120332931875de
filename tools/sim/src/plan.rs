//! What a run is: asked for on the command line, the rest drawn from the seed.

use sealed::Codec;
use shard::past::History;
use shard::setup::Keeping;

use crate::chance::Chance;
use crate::chronicle::Flaw;
use crate::faults::{Kind, Swarm};
use crate::machine::{Model, Workload};
use crate::topology::Topology;

const SECOND: u64 = 1_000_000_000;

/// What whoever starts runs may ask for; the same for all seeds.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where.
    pub topology: Topology,
    /// Simulated time with faults.
    pub faulty_ns: u64,
    /// Faults that may be on.
    pub faults: Vec<Kind>,
    /// Cores of every node; drawn when absent.
    pub cores: Option<u16>,
    /// Requests per second of each cluster; drawn when absent.
    pub rate: Option<u64>,
    /// All kinds that are allowed are on.
    pub all_on: bool,
    /// Faults are short and frequent, disks slow, clients restless: for what hides in narrow windows.
    pub is_storm: bool,
    /// Clients often ask a node at random though they know the leader.
    pub is_restless: bool,
    /// What clients do.
    pub workload: Workload,
    /// The clients' history is kept as JSON lines.
    pub keeps_history: bool,
    /// Only the faults with these numbers strike; all of them when absent.
    pub only_faults: Option<Vec<u64>>,
    /// Clients of each cluster; drawn when absent.
    pub clients: Option<usize>,
    /// Requests of all clients together at most, but for those at the end.
    pub requests_max: Option<u64>,
    /// What is planted.
    pub planted: Planted,
}

/// Known-bad variants, for the exam.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    /// Of the state machine, at one node.
    pub flaw: Flaw,
    /// One write in so many is said to be durable and is not there.
    pub lost_write_one_in: Option<u64>,
    /// Clients send everything twice; this must not break anything.
    pub stutter: bool,
    /// Ways of the network are longer than the map says.
    pub longer_ways_permille: u64,
    /// The keeper of keys gives one key for all objects.
    pub keys_repeat: bool,
    /// A fault in the code under test, at every node.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

/// A fault in the code under test.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Of the consensus core.
    Consensus(raft::mutants::Mutant),
    /// Of the turn.
    Turn(shard::mutants::Mutant),
    /// Of the log.
    Log(wal::mutants::Mutant),
    /// Of the books.
    Books(ledger::mutants::Mutant),
    /// Of what is stored.
    Stored(cold::mutants::Mutant),
}

/// Everything that is fixed before the first event.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// What was asked for.
    pub asked: Asked,
    /// Faults of this run.
    pub swarm: Swarm,
    /// Cores of every node.
    pub cores: u16,
    /// Clients of each cluster.
    pub clients: usize,
    /// Mean time between a client's answer and its next request.
    pub think_ns: u64,
    /// What a turn takes: at least, at most.
    pub turn_ns: (u64, u64),
    /// What an operation of a disk takes: at least, at most.
    pub disk_ns: (u64, u64),
    /// How much ways differ, in permille of the way.
    pub jitter_permille: u64,
    /// Bytes of applied entries that a group keeps in memory.
    pub window_bytes: usize,
    /// Without connection or beat for this long a leader is given up, at least.
    pub election_ns: u64,
    /// Bytes of a segment of a log.
    pub segment_bytes: u64,
    /// How much of log and images is kept: little, as the runs are short.
    pub keeping: Keeping,
    /// What the logs give up is kept in sealed files.
    pub history: Option<History>,
    /// These go to an object store.
    pub has_store: bool,
    /// What is stored there is encrypted.
    pub is_secret: bool,
    /// How often, in permille, a client asks a node at random though it knows the leader.
    pub roaming_permille: u64,
}

impl Plan {
    /// Programs are exchanged while the world runs.
    #[must_use]
    pub fn is_upgraded(&self) -> bool {
        self.asked.workload == Workload::Bank && self.swarm.kinds.contains(&Kind::Upgrade)
    }

    /// The machine of its replicas.
    #[must_use]
    pub fn model(&self) -> Model {
        Model {
            workload: self.asked.workload,
            has_sessions: self.is_upgraded(),
        }
    }

    /// Draws what was left open.
    #[must_use]
    pub fn draw(seed: u64, mut asked: Asked) -> Self {
        let mut chance = Chance::named(seed, "plan");
        let mut swarm = Swarm::draw(&asked.faults, seed);
        if asked.all_on {
            swarm.kinds.clone_from(&asked.faults);
        }
        if swarm.kinds.iter().any(|kind| kind.is_of_nodes()) {
            asked.topology = asked.topology.with_spares();
        }
        let clusters = asked.topology.clusters.len() as u64;
        swarm.gap_ns = (swarm.gap_ns / clusters.max(1)).max(1);
        // On a map the ways are as the map says, to within half a percent.
        let jitter_permille = chance.pick(&[5, 20, 200]);
        let jitter_permille = if asked.topology.sites.len() > 1 {
            5
        } else {
            jitter_permille
        };
        let cores = chance.pick(&[1, 1, 2]);
        let rate = chance.pick(&[20, 50, 100]);
        let rate = asked.rate.unwrap_or(rate).max(1);
        // A client waits for its answers: half of its time is left for thinking.
        let clients = usize::try_from(rate / 12).expect("small").clamp(3, 64);
        let clients = asked.clients.unwrap_or(clients).max(1);
        let turn_ns = chance.magnitude(1_000, 100_000);
        let mut disk_ns = chance.magnitude(10_000, 2_000_000);
        let segment_mib = chance.pick(&[1, 1, 4]);
        let (mut disk_least, mut roaming_permille) = (disk_ns / 4, 50);
        if asked.is_storm {
            (swarm.gap_ns, swarm.lasts_ns) = (150_000_000, (1_000_000, 600_000_000));
            (disk_least, disk_ns) = (100_000, 30_000_000);
        }
        if asked.is_storm || asked.is_restless {
            roaming_permille = 400;
        }
        let needs_store = asked.faults.iter().any(|kind| kind.is_of_store())
            && (asked.all_on || asked.faults.iter().all(|kind| kind.is_of_store()));
        let (history, has_store) = history(seed, needs_store);
        let (image_bytes, segment_bytes) = sizes(seed, history.is_some(), segment_mib << 20);
        Self {
            seed,
            keeping: Keeping {
                image_bytes,
                log_bytes: 4 * image_bytes,
                fetch_bytes_per_second: 4 << 20,
                serve_bytes_per_second: 4 << 20,
            },
            history,
            has_store,
            is_secret: Chance::named(seed, "secrets").permille(500),
            roaming_permille,
            swarm,
            cores: asked.cores.unwrap_or(cores),
            clients,
            think_ns: clients as u64 * SECOND / rate,
            turn_ns: (turn_ns / 2, turn_ns),
            disk_ns: (disk_least, disk_ns),
            jitter_permille,
            window_bytes: usize::try_from(chance.magnitude(1 << 10, 1 << 20)).expect("small"),
            election_ns: chance.pick(&[300_000_000, 500_000_000, SECOND]),
            segment_bytes,
            asked,
        }
    }
}

/// Bytes of log between two images, and of a segment. Runs are short: where the past is kept, the log gives something up
/// within seconds.
fn sizes(seed: u64, keeps: bool, segment_bytes: u64) -> (u64, u64) {
    let mut knobs = Chance::named(seed, "knobs");
    if keeps {
        let image_bytes = knobs.pick(&[32 << 10, 64 << 10, 128 << 10]);
        return (image_bytes, knobs.pick(&[96 << 10, 128 << 10, 256 << 10]));
    }
    let image_bytes = knobs.pick(&[64 << 10, 256 << 10, 1 << 20, 4 << 20]);
    (image_bytes, segment_bytes)
}

/// Whether and how the past is kept, and whether it goes to an object store.
fn history(seed: u64, needs_store: bool) -> (Option<History>, bool) {
    let mut chance = Chance::named(seed, "history");
    let has_store = chance.permille(350) || needs_store;
    let keeps = chance.permille(250) || has_store;
    let history = History {
        // Every cluster names its own.
        cluster: 0,
        codec: chance.pick(&[Codec::Plain, Codec::Lz4, Codec::Zstd(1)]),
        file_bytes: chance.magnitude(16 << 10, 512 << 10),
        // Where there is no store nothing goes for want of room: it would be out of reach.
        bytes_max: if has_store {
            chance.magnitude(256 << 10, 4 << 20)
        } else {
            u64::MAX
        },
    };
    (keeps.then_some(history), has_store)
}

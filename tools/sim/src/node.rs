//! A node: its machine, its clocks, its disks, and the process that comes and goes on it.

use net::config::TransportConfig;
use net::frame::Codec;
use raft::ids::{NodeId, Time};
use shard::open::OpenError;
use shard::past::History;
use shard::setup::Setup;
use shard::shard::{Next, Shard};
use wal::archive::memory::MemoryStore;
use wal::device::memory::{Crash, MemoryDevice, MemoryDisk};
use wal::{Identity, Opening, Options, WalError};

use crate::build::Build;
use crate::chance::Chance;
use crate::chronicle::{Chronicle, Flaw, Watched};
use crate::clock::{Lookup, NodeClock};
use crate::counted::Counted;
use crate::door::{self, Door};
use crate::faults::Kind;
use crate::judges::Judged;
use crate::network::{Machine, Network, Place};
use crate::plan::Plan;
use crate::vault::{Courier, Vault};
use crate::verdict::{Broken, Scope};

/// Largest body of a request in this world, with room to spare.
const RECORD_BYTES: usize = 64 << 10;
/// Segments that a log may have: none of our runs is that long.
const SEGMENTS_MAX: u32 = 4096;
/// Bytes of its log that a core reads again each second, where that is asked for.
const SCRUB_RATE: u64 = 1 << 20;

/// A shard of this world: only the doors are made up.
pub type WorldShard = Shard<MemoryDevice, Door, Watched>;

/// One per node of every cluster.
pub struct Node {
    /// Its number in the world, which is its machine's too.
    pub number: usize,
    /// Its cluster.
    pub cluster: usize,
    /// Its id in the cluster.
    pub id: NodeId,
    /// Its peers' machines in order of their ids, itself included.
    pub members: Vec<Machine>,
    /// So many of them, the first ones, vote in every group when it begins.
    pub founders: usize,
    /// Groups of its cluster.
    pub groups: u64,
    /// Its clocks.
    pub clock: NodeClock,
    /// A disk per core.
    pub disks: Vec<MemoryDisk>,
    /// Files beside the log, per core.
    pub stores: Vec<MemoryStore>,
    /// Its cluster's object store, where there is one.
    pub vault: Option<Vault>,
    /// The process, while it runs: its cores.
    pub cores: Vec<Core>,
    /// The process does not run before.
    pub paused_until: u64,
    /// The machine stands still since then.
    pub frozen_at: Option<u64>,
    /// Its disks were exchanged: its replicas are to be let in again.
    pub is_rejoining: bool,
    /// Added to every turn.
    pub slow_ns: u64,
    /// A write was made to fail: the process may stop itself.
    pub may_stop: bool,
    /// Bits were flipped on the way to it in this life: it may see frames it cannot read.
    pub may_misread: bool,
    /// Its disks are full.
    pub is_full: bool,
    /// Its program is the older one.
    pub is_older: bool,
    /// What its state machine does wrong.
    pub flaw: Flaw,
    /// Timeout of elections, in ns.
    pub election_ns: u64,
}

/// A running core.
pub struct Core {
    /// Its shard.
    pub shard: WorldShard,
    /// Its way to the object store.
    pub courier: Option<Courier>,
    /// It is in its last turn until then.
    pub free_at: u64,
    /// When its timer rings.
    pub timer: u64,
    /// The earliest alarm for it in the world's queue; one that rings before the timer is set anew.
    pub alarm: u64,
    /// Of what its timer was last set to.
    pub lookup: Lookup,
    /// A turn waits for the end of the one it is in.
    pub is_deferred: bool,
    /// It started with a log that had to be cut.
    pub has_cut: bool,
    /// Its counters when they were last looked at.
    pub counted: Counted,
    /// Writes of its disk that failed for good, as of its last turn.
    pub writes_failed: u64,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The process is killed.
    Killed,
    /// The machine loses its power.
    PowerLoss,
    /// It stopped itself.
    Stopped,
}

impl Node {
    /// The process runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        !self.cores.is_empty()
    }

    /// The node as the judges know it.
    #[must_use]
    pub fn judged(&self, core: u16) -> Judged {
        Judged {
            node: self.number,
            cluster: self.cluster,
            id: self.id,
            core,
        }
    }

    /// Starts the process on whatever the disks hold. False: the disks are too full for that.
    ///
    /// # Errors
    /// If a log cannot be opened.
    pub fn start(
        &mut self,
        plan: &Plan,
        network: &Network,
        chronicle: &Chronicle,
        incarnation: u64,
        now: u64,
    ) -> Result<bool, Broken> {
        assert!(!self.is_up(), "a process runs once");
        network.power_on(self.number);
        (self.may_misread, self.slow_ns) = (false, 0);
        let mut cores = Vec::new();
        for core in 0..plan.cores {
            let (mut shard, opening) =
                match self.open(core, plan, network, chronicle, incarnation, now) {
                    Ok(shard) => shard,
                    Err(OpenError::Log(WalError::Device(_))) if self.is_full => return Ok(false),
                    Err(error) => {
                        return Err(Broken::CannotOpen {
                            node: self.number,
                            core,
                            error: why(&error),
                        });
                    }
                };
            cores.push(Core {
                has_cut: opening.cut.is_some(),
                counted: Counted::of(&shard),
                courier: self.give_past(&mut shard, core, plan, incarnation),
                shard,
                free_at: now,
                timer: u64::MAX,
                alarm: u64::MAX,
                lookup: Lookup::default(),
                is_deferred: false,
                writes_failed: self.disks[usize::from(core)].outlook().0,
            });
        }
        self.cores = cores;
        Ok(true)
    }

    fn open(
        &self,
        core: u16,
        plan: &Plan,
        network: &Network,
        chronicle: &Chronicle,
        incarnation: u64,
        now: u64,
    ) -> Result<(WorldShard, Opening), OpenError> {
        let local = self.clock.local(now);
        let place = place_of(self.number, core, plan.cores);
        let config = self.config(core, plan.cores, incarnation);
        let door = Door::open(network, place, self.number, config, local)
            .expect("the configuration is sound");
        let cluster = cluster_id(self.cluster);
        let identity = Identity {
            cluster: u128::from(cluster),
            node: u64::from(self.id.0),
            log: u32::from(core),
        };
        let mut options = Options::small(identity, RECORD_BYTES);
        options.segments_max = SEGMENTS_MAX;
        if plan.swarm.kinds.contains(&Kind::QuietRot) {
            options.scrub_bytes_per_second = SCRUB_RATE;
        }
        let setup = Setup {
            node: self.id,
            core,
            cores: plan.cores,
            nodes: (1..=self.members.len() as u32).map(NodeId).collect(),
            founders: self.founders,
            groups: self.groups,
            election_timeout: self.election_ns,
            beat_interval: self.election_ns / 8,
            stopwatch: false,
            window_bytes: plan.window_bytes,
            is_rejoining: self.is_rejoining,
            keeping: plan.keeping,
            seed: plan.seed ^ incarnation << 8 ^ u64::from(core),
        };
        let machine = |group: raft::ids::GroupId| {
            let scope = Scope {
                cluster: self.cluster,
                group: group.0,
            };
            Watched::new(
                (plan.model(), Build::new(self.is_older)),
                chronicle,
                scope,
                self.number,
                self.flaw,
            )
        };
        let device = self.disks[usize::from(core)].device();
        let archive = Box::new(self.stores[usize::from(core)].archive());
        #[cfg_attr(
            not(feature = "mutants"),
            expect(unused_mut, reason = "only planted faults change it")
        )]
        let (mut shard, opening) =
            Shard::open(setup, device, archive, options, door, machine, Time(local))?;
        #[cfg(feature = "mutants")]
        if let Some(crate::plan::Mutant::Consensus(mutant)) = plan.asked.planted.mutant {
            shard.plant(mutant);
        }
        Ok((shard, opening))
    }

    /// The shard keeps its past, as far as the run does.
    fn give_past(
        &self,
        shard: &mut WorldShard,
        core: u16,
        plan: &Plan,
        incarnation: u64,
    ) -> Option<Courier> {
        let cluster = u128::from(cluster_id(self.cluster));
        shard.keep_history(History {
            cluster,
            ..plan.history?
        });
        let courier = Courier::new(
            self.vault.as_ref()?,
            plan.history?,
            plan.seed ^ incarnation << 8 ^ u64::from(core),
        );
        shard.set_coffer(Box::new(courier.clone()));
        Some(courier)
    }

    /// The running shard that holds a group.
    #[must_use]
    pub fn shard_of(&self, group: u64) -> Option<&WorldShard> {
        let core = (group % self.cores.len().max(1) as u64) as usize;
        Some(&self.cores.get(core)?.shard)
    }

    fn config(&self, core: u16, cores: u16, incarnation: u64) -> TransportConfig {
        let others = self
            .members
            .iter()
            .enumerate()
            .filter(|(_, machine)| **machine != self.number);
        TransportConfig {
            cluster: cluster_id(self.cluster),
            node: self.id.0,
            core,
            cores,
            incarnation,
            layout_digest: 0xD16E57,
            codec: Codec::None,
            listen: door::address(self.number, core),
            peers: others
                .map(|(at, machine)| (at as u32 + 1, door::address(*machine, core)))
                .collect(),
            limits: net::limits::Limits {
                clients_max: 256,
                ..net::limits::Limits::default()
            },
        }
    }

    /// Bytes that the process holds in memory: entries, requests and envelopes, what is kept for connections, and the state
    /// machines. What disks and files hold is not in it.
    pub fn memory(&mut self) -> u64 {
        let cores = self.cores.iter_mut().map(|core| {
            let machines = core.shard.replicas().iter();
            let machines: usize = machines.map(|replica| replica.machine.bytes()).sum();
            core.shard.memory().total() + machines + core.shard.transport().memory()
        });
        cores.sum::<usize>() as u64
    }

    /// The process ends; of what was on its way to the disks is left what the ending allows.
    pub fn end(&mut self, ending: Ending, network: &Network, chance: &mut Chance) {
        if ending == Ending::PowerLoss {
            network.power_off(self.number);
        }
        self.cores.clear();
        self.paused_until = 0;
        self.frozen_at = None;
        for disk in &self.disks {
            disk.crash(rule(ending, disk, chance));
        }
        for store in &self.stores {
            store.crash(chance.roll());
        }
    }

    /// One turn of a core; answers when it wants the next one, on the world's clock.
    pub fn turn(&mut self, core: u16, now: u64) -> (Next, u64) {
        let clock = self.clock;
        if let Some(vault) = &self.vault {
            vault.set_now(now);
        }
        let running = &mut self.cores[usize::from(core)];
        if let Some(courier) = &running.courier {
            courier.drive();
        }
        running.shard.transport().turn_at(clock.local(now));
        let next = running.shard.turn(&clock.at(now));
        let (failed, disk) = self.disks[usize::from(core)].outlook();
        running.writes_failed = failed;
        let door = running.shard.transport();
        let mut local = door.next_tick_at();
        if door.owes_poll() || next == Next::Again {
            return (next, now);
        }
        if let Next::Wait(Some(at)) = next {
            local = local.min(at.0);
        }
        let store = self.stores[usize::from(core)].next_completion_ns();
        local = disk.into_iter().chain(store).fold(local, u64::min);
        let stored = running.courier.as_ref().and_then(Courier::next_at);
        let at = running.lookup.world(&clock, local);
        (next, stored.map_or(at, |stored| stored.min(at)))
    }
}

/// An error in one line, with its cause.
fn why(error: &OpenError) -> String {
    let cause =
        std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    format!("{error}{cause}")
}

/// What is left of writes in flight.
fn rule(ending: Ending, disk: &MemoryDisk, chance: &mut Chance) -> Crash {
    let in_flight = disk.writes_in_flight().max(1);
    let sectors = disk
        .sectors_in_flight()
        .first()
        .copied()
        .unwrap_or(1)
        .max(1);
    match (ending, chance.below(5)) {
        // What the kernel has it writes; what it does not have yet it never gets.
        (Ending::Killed | Ending::Stopped, 0) => Crash::Prefix(chance.place(in_flight + 1)),
        (Ending::Killed | Ending::Stopped, _) => Crash::Everything,
        (_, 0) => Crash::Nothing,
        (_, 1) => Crash::Subset(chance.roll()),
        (_, 2) => Crash::Torn(chance.place(in_flight), chance.place(sectors)),
        (_, 3) => Crash::TornFront(chance.place(in_flight), chance.place(sectors)),
        (_, _) => Crash::Seeded(chance.roll()),
    }
}

/// The place of a core in the network.
#[must_use]
pub fn place_of(node: usize, core: u16, cores: u16) -> Place {
    node * usize::from(cores) + usize::from(core)
}

/// A cluster's id on the wire and on disks.
#[must_use]
pub fn cluster_id(cluster: usize) -> u64 {
    0xC1_0000 + cluster as u64
}

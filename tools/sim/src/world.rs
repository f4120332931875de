//! The world: nodes, network, disks, clocks and clients under one virtual clock, moved on event by event.
//!
//! - The order of events at one instant is drawn from the seed.
//! - A core that is in a turn takes what arrives meanwhile in the next one.
//! - After every turn the judges look; the first promise that is not kept ends the run.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use raft::membership::Membership;
use shard::limits;
use shard::replica::Replica;
use shard::shard::Next;
use wal::archive::memory::MemoryStore;
use wal::device::memory::{Fault, MemoryDisk};

use crate::chance::Chance;
use crate::chronicle::{Chronicle, Flaw};
use crate::client::{Client, Seat};
use crate::clock::NodeClock;
use crate::counted::Counted;
use crate::coverage::{Coverage, sometimes};
use crate::damage::{Disk, Rotting};
use crate::errands::Errands;
use crate::faults::{Kind, Undo};
use crate::history::History;
use crate::judges::Judges;
use crate::keeper::Keeper;
use crate::network::{Machine, Network};
use crate::node::{self, Ending, Node};
use crate::pasts::{self, Pasts};
use crate::plan::Plan;
use crate::rosters::Rosters;
use crate::trace::{Event, Trace, What, Who};
use crate::vault::Vault;
use crate::verdict::{Broken, Scope};

const MILLISECOND: u64 = 1_000_000;
/// Between two comparisons of all logs, at least.
const LOGS_NS: u64 = 400 * MILLISECOND;

/// Between two looks of the operator who lets nodes in again.
const OPERATOR_NS: u64 = 250 * MILLISECOND;

/// Something that is due. Small, since the queue moves it about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Something arrived at a core.
    Turn(u32, u16),
    /// A core's alarm: its timer may be due.
    Timer(u32, u16),
    /// Something arrived at a client, or its time has come.
    Client(u32),
    /// The next fault.
    Fault,
    /// The end of a fault: its number.
    Undo(u32),
    /// All logs are compared.
    Logs,
    /// An operator looks for replicas that are to be let in again.
    Operator,
}

/// A run under way.
pub struct World {
    /// What was drawn.
    pub plan: Plan,
    /// What happened.
    pub trace: Trace,
    /// What was agreed on.
    pub chronicle: Chronicle,
    /// What clients saw.
    pub history: History,
    /// The network.
    pub network: Network,
    /// The nodes of all clusters.
    pub nodes: Vec<Node>,
    /// The clients of all clusters.
    pub clients: Vec<Client>,
    /// The judges.
    pub judges: Judges,
    /// The judges of what the logs gave up.
    pub pasts: Pasts,
    /// Faults that were injected, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Turns that were taken.
    pub turns: u64,
    /// The fullest process: how full, in permille of its budget, its bytes, and its budget.
    pub memory_max: (u64, u64, u64),
    /// What rare things were reached with which faults.
    pub coverage: Coverage,
    pub(crate) chance: Chance,
    /// Of the fault that strikes.
    pub(crate) dice: Chance,
    /// Faults that were drawn, whether or not they struck.
    pub struck: u64,
    clients_counted: [u64; 3],
    /// Joined segments, as last counted.
    joined: u64,
    /// Images of another program, as last counted.
    met: [u64; 2],
    pub(crate) now: u64,
    pub(crate) cuts: BTreeMap<(Machine, Machine), u32>,
    pub(crate) undos: BTreeMap<u32, Undo>,
    pub(crate) is_calm: bool,
    /// Nodes that may lack what was on their disks.
    pub(crate) suspects: BTreeSet<usize>,
    /// Of these, nodes whose logs keep the damage.
    pub(crate) scarred: BTreeSet<usize>,
    /// What rotted while its node ran.
    pub(crate) rotting: Vec<Rotting>,
    /// What disks held when it was put aside, by number.
    pub(crate) aside: BTreeMap<u64, (Vec<Disk>, Vec<Rotting>)>,
    /// Replicas that an operator made learners because their votes are lost: to vote again once they are whole.
    pub(crate) readmitted: BTreeSet<(Scope, usize)>,
    /// Configurations that were asked for lately.
    pub(crate) granted: BTreeMap<Scope, VecDeque<Membership>>,
    /// Who is to be in the groups whose members change.
    pub(crate) rosters: Rosters,
    undone: u32,
    /// By instant, then lot, then the order in which they came.
    queue: BinaryHeap<Reverse<(u64, u64, Due)>>,
    order: Chance,
    sequence: u32,
    incarnation: u64,
    wakes: Vec<(u64, usize)>,
    timers: Vec<u64>,
    /// Replicas that a turn touched.
    touched: Vec<u32>,
}

impl World {
    /// The world as it is before anything has happened, all processes just started.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub fn new(plan: Plan) -> Result<Self, Broken> {
        let topology = &plan.asked.topology;
        let clients = topology.clusters.len() * plan.clients;
        let network = Network::new(topology.nodes() + clients, plan.seed);
        let mut world = Self {
            trace: Trace::default(),
            chronicle: Chronicle::default(),
            history: History::default(),
            network,
            nodes: Vec::new(),
            clients: Vec::new(),
            judges: Judges::default(),
            pasts: Pasts::default(),
            faults: BTreeMap::new(),
            turns: 0,
            memory_max: (0, 0, 0),
            coverage: Coverage::default(),
            chance: Chance::named(plan.seed, "world"),
            dice: Chance::named(plan.seed, "faults"),
            struck: 0,
            clients_counted: [0; 3],
            joined: 0,
            met: [0; 2],
            now: 0,
            cuts: BTreeMap::new(),
            undos: BTreeMap::new(),
            is_calm: false,
            suspects: BTreeSet::new(),
            scarred: BTreeSet::new(),
            rotting: Vec::new(),
            aside: BTreeMap::new(),
            readmitted: BTreeSet::new(),
            granted: BTreeMap::new(),
            rosters: Rosters::new(plan.seed),
            undone: 0,
            queue: BinaryHeap::new(),
            order: Chance::named(plan.seed, "order"),
            sequence: 0,
            incarnation: 0,
            wakes: Vec::new(),
            timers: vec![u64::MAX; clients],
            touched: Vec::new(),
            plan,
        };
        crate::trace::watch(world.plan.seed, &world.trace);
        world.build();
        for node in 0..world.nodes.len() {
            world.start(node)?;
        }
        for client in 0..world.clients.len() {
            world.due(0, Due::Client(client as u32));
        }
        world.due(1_500 * MILLISECOND, Due::Fault);
        world.due(LOGS_NS, Due::Logs);
        world.due(OPERATOR_NS, Due::Operator);
        Ok(world)
    }

    /// Virtual nanoseconds since the beginning.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Runs until this instant.
    ///
    /// # Errors
    /// The first promise that was not kept.
    pub fn run_until(&mut self, end: u64) -> Result<(), Broken> {
        while let Some((at, due)) = self.next_until(end) {
            self.now = at;
            self.network.advance(at);
            self.happen(due)?;
            self.wake();
        }
        self.now = end;
        self.network.advance(end);
        Ok(())
    }

    /// Takes the next event, if it is due at `end` or before.
    fn next_until(&mut self, end: u64) -> Option<(u64, Due)> {
        let next = self.queue.peek_mut()?;
        let at = next.0.0;
        if at > end {
            return None;
        }
        let Reverse((_, _, due)) = PeekMut::pop(next);
        Some((at, due))
    }

    // ---- Building.

    fn build(&mut self) {
        let plan = self.plan.clone();
        let topology = &plan.asked.topology;
        let mut chance = Chance::named(plan.seed, "nodes");
        let mut sites: Vec<usize> = Vec::new();
        for (number, cluster) in topology.clusters.iter().enumerate() {
            let first = self.nodes.len();
            let members: Vec<Machine> = (first..first + cluster.sites.len()).collect();
            let vault = plan.has_store.then(|| {
                let seed = plan.seed ^ (number as u64) << 40;
                let repeats = plan.asked.planted.keys_repeat;
                let keeper = plan.is_secret.then(|| Keeper::new(seed, repeats));
                Vault::new(seed, (MILLISECOND, 60 * MILLISECOND), keeper)
            });
            let election_ns = plan.election_ns.max(6 * topology.widest_ns(cluster));
            for (at, site) in cluster.sites.iter().enumerate() {
                sites.push(*site);
                let node = self.nodes.len();
                let clock = NodeClock {
                    start_ns: chance.magnitude(1, 1 << 50),
                    fast_ppm: chance.pick(&[0, 20, 200, 2_000]),
                    wall_ahead_ns: i64::try_from(chance.below(100 * MILLISECOND)).expect("small"),
                };
                let mut disk = |core: u16| self::disk(&plan, &mut chance, node, core);
                self.nodes.push(Node {
                    number: node,
                    cluster: number,
                    id: raft::ids::NodeId(at as u32 + 1),
                    members: members.clone(),
                    founders: cluster.founders(),
                    groups: cluster.groups,
                    clock,
                    disks: (0..plan.cores).map(&mut disk).collect(),
                    stores: (0..plan.cores)
                        .map(|core| store(&plan, node, core))
                        .collect(),
                    vault: vault.clone(),
                    cores: Vec::new(),
                    paused_until: 0,
                    frozen_at: None,
                    is_rejoining: false,
                    slow_ns: 0,
                    may_stop: false,
                    may_misread: false,
                    is_full: false,
                    is_older: plan.is_upgraded(),
                    flaw: if at == 1 {
                        plan.asked.planted.flaw
                    } else {
                        Flaw::None
                    },
                    election_ns,
                });
            }
        }
        self.build_clients(&mut sites);
        self.build_links(&sites);
    }

    fn build_clients(&mut self, sites: &mut Vec<usize>) {
        let plan = &self.plan;
        let topology = &plan.asked.topology;
        for (number, cluster) in topology.clusters.iter().enumerate() {
            let members = self
                .nodes
                .iter()
                .find(|node| node.cluster == number)
                .map(|node| node.members.clone());
            for nth in 0..plan.clients {
                let client = self.clients.len();
                sites.push(cluster.sites[nth % cluster.sites.len()]);
                let seat = Seat {
                    number: client,
                    cluster_id: node::cluster_id(number),
                    place: self.nodes.len() * usize::from(plan.cores) + client,
                    machine: self.nodes.len() + client,
                    nodes: members.clone().expect("a cluster has nodes"),
                    cores: plan.cores,
                    think_ns: plan.think_ns,
                    slack_ns: 4 * topology.widest_ns(cluster),
                    roaming_permille: plan.roaming_permille,
                    requests_max: plan.asked.requests_max.unwrap_or(u64::MAX),
                    stutters: plan.asked.planted.stutter,
                };
                let teller = Errands::new(plan.model(), client, number, cluster.groups, plan.seed);
                self.clients
                    .push(Client::new(seat, teller, &self.network, plan.seed, 0));
            }
        }
    }

    fn build_links(&self, sites: &[usize]) {
        let topology = &self.plan.asked.topology;
        for (from, one) in sites.iter().enumerate() {
            for (to, other) in sites.iter().enumerate() {
                let way = if from == to {
                    0
                } else {
                    topology.way_ns(*one, *other)
                };
                self.network.change(from, to, |link| {
                    let longer = way * self.plan.asked.planted.longer_ways_permille / 1000;
                    link.delay_ns = way + longer;
                    link.jitter_ns = way * self.plan.jitter_permille / 1000;
                });
            }
        }
    }

    // ---- Events.

    fn due(&mut self, at: u64, due: Due) {
        self.sequence = self
            .sequence
            .checked_add(1)
            .expect("a run has fewer events");
        let lot = self.order.roll() << 32 | u64::from(self.sequence);
        self.queue.push(Reverse((at, lot, due)));
    }

    fn happen(&mut self, due: Due) -> Result<(), Broken> {
        match due {
            Due::Turn(node, core) => self.turn(node as usize, core),
            Due::Timer(node, core) => {
                let (node, now) = (node as usize, self.now);
                let Some(running) = self.nodes[node].cores.get_mut(usize::from(core)) else {
                    return Ok(());
                };
                if running.alarm == now {
                    running.alarm = u64::MAX;
                }
                if running.timer == now {
                    return self.turn(node, core);
                }
                self.set_alarm(node, core);
                Ok(())
            }
            Due::Client(client) => {
                let (client, now) = (client as usize, self.now);
                let next = self.clients[client].turn(now, &mut self.history, &self.trace);
                self.alarm(client, next.max(now + 1));
                Ok(())
            }
            Due::Fault => self.fault(),
            Due::Undo(number) => match self.undos.remove(&number) {
                Some(undo) => self.undo(undo),
                None => Ok(()),
            },
            Due::Logs => self.logs(),
            Due::Operator => {
                self.readmit();
                self.tend_rosters();
                self.due(self.now + OPERATOR_NS, Due::Operator);
                Ok(())
            }
        }
    }

    /// A client is looked at again at this instant; earlier alarms stay.
    pub(crate) fn alarm(&mut self, client: usize, at: u64) {
        if at == u64::MAX || self.timers[client] == at {
            return;
        }
        self.timers[client] = at;
        self.due(at, Due::Client(client as u32));
    }

    /// Whoever the network woke gets a turn.
    fn wake(&mut self) {
        let mut wakes = std::mem::take(&mut self.wakes);
        self.network.take_wakes(&mut wakes);
        let cores = usize::from(self.plan.cores);
        for (at, place) in wakes.drain(..) {
            let node = place / cores;
            if node < self.nodes.len() {
                self.due(at, Due::Turn(node as u32, (place % cores) as u16));
            } else {
                let client = place - self.nodes.len() * cores;
                self.due(at, Due::Client(client as u32));
            }
        }
        self.wakes = wakes;
    }

    fn turn(&mut self, number: usize, core: u16) -> Result<(), Broken> {
        let now = self.now;
        let node = &mut self.nodes[number];
        let Some(running) = node.cores.get_mut(usize::from(core)) else {
            return Ok(());
        };
        let free_at = running.free_at.max(node.paused_until);
        if free_at > now {
            if !running.is_deferred {
                running.is_deferred = true;
                self.due(free_at, Due::Turn(number as u32, core));
            }
            return Ok(());
        }
        let (least, most) = self.plan.turn_ns;
        let takes = self.chance.between(least, most) + node.slow_ns;
        running.is_deferred = false;
        running.free_at = now + takes;
        let failed = running.writes_failed;
        let (next, wants) = node.turn(core, now);
        let fails = node.cores[usize::from(core)].writes_failed > failed;
        self.turns += 1;
        self.trace.mix(now ^ (number as u64) << 48);
        let judged = node.judged(core);
        let running = &mut node.cores[usize::from(core)];
        self.touched.clear();
        running.shard.take_touched(&mut self.touched);
        if !self.touched.is_empty() {
            self.touched.sort_unstable();
            let (replicas, touched) = (running.shard.replicas(), self.touched.iter());
            self.judges.turned(
                judged,
                touched.map(|slot| &replicas[*slot as usize]),
                now,
                (&self.trace, &mut self.coverage),
            )?;
        }
        if let Some(broken) = self.chronicle.take_broken() {
            return Err(broken);
        }
        if fails && next != Next::Stop {
            return Err(Broken::WentOn { node: number, core });
        }
        if next == Next::Stop {
            if !node.may_stop {
                return Err(Broken::Stopped { node: number, core });
            }
            sometimes!(self.coverage, DiskFailed, now);
            self.end(number, Ending::Stopped, "its disk failed");
            return Ok(());
        }
        running.timer = if wants == u64::MAX {
            u64::MAX
        } else {
            wants.max(now + takes)
        };
        self.set_alarm(number, core);
        while let Some(scope) = self.judges.elected.pop() {
            self.logs_of(scope)?;
        }
        Ok(())
    }

    /// The core's timer will be looked at when it rings: nothing to do if an alarm before is in the queue already.
    fn set_alarm(&mut self, number: usize, core: u16) {
        let running = &mut self.nodes[number].cores[usize::from(core)];
        let at = running.timer;
        if at < running.alarm && at > self.now {
            running.alarm = at;
            self.due(at, Due::Timer(number as u32, core));
        }
    }

    // ---- Processes.

    pub(crate) fn start(&mut self, number: usize) -> Result<(), Broken> {
        if self.nodes[number].is_up() {
            return Ok(());
        }
        self.incarnation += 1;
        let node = &mut self.nodes[number];
        let is_up = node.start(
            &self.plan,
            &self.network,
            &self.chronicle,
            self.incarnation,
            self.now,
        )?;
        if let Some(broken) = self.chronicle.take_broken() {
            return Err(broken);
        }
        if !is_up {
            sometimes!(self.coverage, TooFull, self.now);
            self.later(500 * MILLISECOND, Undo::Restart(number));
            return Ok(());
        }
        let judged = self.nodes[number].judged(0);
        for core in &self.nodes[number].cores {
            sometimes!(self.coverage, core.has_cut => TornTail, self.now);
            let is_open = |replica: &&Replica<_>| replica.raft.last_index() > replica.applied;
            let open = core.shard.replicas().iter().find(is_open);
            sometimes!(self.coverage, open.is_some() => OpenTail, self.now);
        }
        let cores = self.nodes[number].cores.iter();
        let replicas = cores.flat_map(|core| core.shard.replicas());
        let is_scarred = self.scarred.contains(&number) || self.suspects.contains(&number);
        self.judges.restarted(judged, replicas, is_scarred)?;
        if !is_scarred {
            self.no_alarm(number)?;
        }
        self.pasts.look(&self.nodes[number], &self.chronicle)?;
        self.trace
            .note(self.now, Who::Node(number), What::Started(self.incarnation));
        if let Some(odds) = self.plan.asked.planted.lost_write_one_in {
            self.nodes[number].plant_lost_writes(odds, &mut self.chance);
        }
        self.nudge(number);
        Ok(())
    }

    /// Nobody touched the node's disks: its logs find nothing wrong with them.
    fn no_alarm(&self, number: usize) -> Result<(), Broken> {
        for (core, running) in (0_u16..).zip(&self.nodes[number].cores) {
            if running.shard.damage_found() > 0 {
                return Err(Broken::FalseAlarm { node: number, core });
            }
        }
        Ok(())
    }

    /// A process ends, and is started again after a while.
    pub(crate) fn end(&mut self, number: usize, ending: Ending, why: &'static str) {
        if !self.nodes[number].is_up() {
            return;
        }
        self.nodes[number].end(ending, &self.network, &mut self.chance);
        self.trace
            .note(self.now, Who::Node(number), What::Ended(why));
        let (least, most) = self.plan.swarm.lasts_ns;
        let down = self.chance.between(least, most);
        self.later(down, Undo::Restart(number));
    }

    /// Something is put right after a while.
    pub(crate) fn later(&mut self, after_ns: u64, undo: Undo) {
        self.undone += 1;
        self.undos.insert(self.undone, undo);
        self.due(self.now + after_ns, Due::Undo(self.undone));
    }

    /// A node's cores look at their doors now.
    pub(crate) fn nudge(&mut self, number: usize) {
        for core in 0..self.plan.cores {
            self.due(self.now, Due::Turn(number as u32, core));
        }
    }

    fn fault(&mut self) -> Result<(), Broken> {
        if self.is_calm || self.plan.swarm.kinds.is_empty() {
            return Ok(());
        }
        // Each fault has dice of its own: one that is left out changes no other.
        let number = self.struck;
        self.struck += 1;
        self.dice = Chance::named(self.plan.seed.wrapping_add(number << 32), "faults");
        let kinds: &[Kind] = &self.plan.swarm.kinds;
        let kind = self.dice.pick(kinds);
        let gap = self.dice.around(self.plan.swarm.gap_ns);
        self.due(self.now + gap.max(MILLISECOND), Due::Fault);
        let only = self.plan.asked.only_faults.as_ref();
        if only.is_none_or(|only| only.contains(&number)) {
            let lasts = self.plan.swarm.lasts_ns.1;
            self.coverage.struck(kind, self.now, lasts);
            if self.inject(kind) {
                *self.faults.entry(kind.name()).or_default() += 1;
            }
        }
        Ok(())
    }

    // ---- Judging.

    /// Compares all logs of all groups.
    pub(crate) fn logs(&mut self) -> Result<(), Broken> {
        let mut entries = 0;
        for cluster in 0..self.plan.asked.topology.clusters.len() {
            for group in 0..self.plan.asked.topology.clusters[cluster].groups {
                entries += self.logs_of(Scope { cluster, group })?;
            }
        }
        self.rest()?;
        self.queues()?;
        self.budgets()?;
        self.within_reach()?;
        self.cover();
        // Long logs are compared less often, so that the judges' share of the work stays bounded.
        let pause = LOGS_NS.max(entries * 200_000);
        self.due(self.now + pause, Due::Logs);
        Ok(())
    }

    /// Replicas that nobody is known to have touched are as they were.
    fn rest(&mut self) -> Result<(), Broken> {
        for node in &mut self.nodes {
            for core in 0..node.cores.len() {
                let judged = node.judged(core as u16);
                let shard = &mut node.cores[core].shard;
                // What was touched since its last turn, by an operator, is judged now.
                self.touched.clear();
                shard.take_touched(&mut self.touched);
                self.touched.sort_unstable();
                let (replicas, touched) = (shard.replicas(), self.touched.iter());
                let notes = (&self.trace, &mut self.coverage);
                let touched = touched.map(|slot| &replicas[*slot as usize]);
                self.judges.turned(judged, touched, self.now, notes)?;
                self.judges.at_rest(judged, replicas)?;
            }
        }
        Ok(())
    }

    /// What the logs gave up is somewhere, in every cluster of which all nodes run.
    fn within_reach(&self) -> Result<(), Broken> {
        if self.plan.history.is_none() {
            return Ok(());
        }
        for cluster in 0..self.plan.asked.topology.clusters.len() {
            let nodes = self.nodes_of(cluster);
            if nodes.iter().all(|node| node.is_up()) {
                pasts::within_reach(&nodes)?;
            }
        }
        Ok(())
    }

    pub(crate) fn nodes_of(&self, cluster: usize) -> Vec<&Node> {
        let nodes = self.nodes.iter();
        nodes.filter(|node| node.cluster == cluster).collect()
    }

    /// The past as it is at the end: unchanged, within reach, and read back from the object store.
    ///
    /// # Errors
    /// The first promise that was not kept.
    pub fn judge_pasts(&mut self) -> Result<(), Broken> {
        self.within_reach()?;
        let mut pasts = std::mem::take(&mut self.pasts);
        for node in &self.nodes {
            pasts.look(node, &self.chronicle)?;
        }
        for cluster in 0..self.plan.asked.topology.clusters.len() {
            let nodes = self.nodes_of(cluster);
            pasts.stored(&nodes, &self.chronicle)?;
            let vault = nodes.first().and_then(|node| node.vault.as_ref());
            if let Some(why) = vault.and_then(Vault::repeats_a_nonce) {
                return Err(Broken::NonceTwice { cluster, why });
            }
        }
        self.pasts = pasts;
        Ok(())
    }

    /// The rare things that counters show.
    fn cover(&mut self) {
        let (coverage, now) = (&mut self.coverage, self.now);
        for core in self.nodes.iter_mut().flat_map(|node| &mut node.cores) {
            let was = std::mem::replace(&mut core.counted, Counted::of(&core.shard));
            let is = &core.counted;
            sometimes!(coverage, is.reads > was.reads => ReadBack, now);
            sometimes!(coverage, is.repaired > was.repaired => RotRepaired, now);
            sometimes!(coverage, is.mended > was.mended => RotCovered, now);
            sometimes!(coverage, is.segments > was.segments => Rotated, now);
            sometimes!(coverage, is.log_busy > was.log_busy => LogBusy, now);
            sometimes!(coverage, is.storage_full > was.storage_full => StorageFull, now);
            sometimes!(coverage, is.busy > was.busy => Busy, now);
            sometimes!(coverage, is.deaf > was.deaf => DeafPeer, now);
            sometimes!(coverage, is.transfers > was.transfers => Transferred, now);
            sometimes!(coverage, is.sealed > was.sealed => Sealed, now);
            sometimes!(coverage, is.sealed_anew > was.sealed_anew => SealedAnew, now);
            sometimes!(coverage, is.receipts > was.receipts => Stored, now);
            sometimes!(coverage, is.store_failures > was.store_failures => StoreFailed, now);
            sometimes!(coverage, is.from_files > was.from_files => ToldFromFiles, now);
            sometimes!(coverage, is.from_store > was.from_store => ToldFromStore, now);
        }
        let vaults = self.nodes.iter().filter_map(|node| node.vault.as_ref());
        let joined = vaults.map(Vault::joined).sum();
        sometimes!(coverage, joined > self.joined => StoreJoined, now);
        self.joined = joined;
        let met = self.chronicle.met();
        sometimes!(coverage, met[0] > self.met[0] => OlderImage, now);
        sometimes!(coverage, met[1] > self.met[1] => NewerImage, now);
        self.met = met;
        let history = &self.history;
        let is = [
            history.asked_again,
            history.unknown.len() as u64,
            history.repeated,
        ];
        let was = std::mem::replace(&mut self.clients_counted, is);
        sometimes!(coverage, is[0] > was[0] => AskedAgain, now);
        sometimes!(coverage, is[1] > was[1] => Unknown, now);
        sometimes!(coverage, is[2] > was[2] => Repeated, now);
    }

    /// Compares all logs of a group; answers how many entries they hold.
    fn logs_of(&mut self, scope: Scope) -> Result<u64, Broken> {
        let members = self
            .nodes
            .iter()
            .filter(|node| node.cluster == scope.cluster && node.is_up());
        let rafts: Vec<_> = members
            .filter_map(|node| node.replica(scope).map(|replica| &replica.raft))
            .collect();
        self.judges.logs(scope, &rafts)?;
        Ok(rafts.iter().map(|raft| raft.last_index().0).sum())
    }

    /// The last events of the cluster in which something happened, or of all.
    pub(crate) fn story(&self, scope: Option<Scope>) -> Vec<Event> {
        self.trace.story(|event| {
            let cluster = match event.who {
                Who::World => None,
                Who::Node(node) | Who::Core(node, _) => Some(self.nodes[node].cluster),
                Who::Client(client) => Some(client / self.plan.clients),
            };
            scope.is_none_or(|scope| cluster.is_none_or(|cluster| cluster == scope.cluster))
        })
    }

    /// How the replicas of a group stand, a line for each.
    #[must_use]
    pub fn describe(&self, scope: Scope) -> Vec<String> {
        let members = self
            .nodes
            .iter()
            .filter(|node| node.cluster == scope.cluster);
        let line = |node: &Node| {
            let Some(replica) = node.replica(scope) else {
                return format!("node {:<3} down", node.number);
            };
            let raft = &replica.raft;
            let voters = raft.membership().members().iter();
            let voters: Vec<u32> = voters
                .filter(|member| member.votes())
                .map(|member| member.node.0)
                .collect();
            let quorum = raft.membership().quorum();
            format!(
                "node {:<3} {:<13} term {:<4} last {:<6} durable {:<6} commit {:<6} applied {:<6} damage {:?}, voters {voters:?}{} elect {} commit {}",
                node.number,
                format!("{:?}", raft.role()),
                raft.term(),
                raft.last_index(),
                raft.durable(),
                replica.commit,
                replica.applied,
                raft.damage(),
                if raft.membership().is_joint() {
                    " joint"
                } else {
                    ""
                },
                quorum.election(),
                quorum.commit(),
            )
        };
        members.map(line).collect()
    }

    /// Queues are within their bounds, and peers understand each other.
    fn queues(&self) -> Result<(), Broken> {
        for node in &self.nodes {
            for (core, running) in (0_u16..).zip(&node.cores) {
                let replicas = running.shard.replicas();
                let waiting: usize = replicas.iter().map(|replica| replica.waiting.len()).sum();
                let (size, most) = (waiting as u64, limits::WAITING_REQUESTS_MAX as u64);
                if size > most {
                    return Err(Broken::Unbounded {
                        node: node.number,
                        core,
                        what: "waiting requests",
                        size,
                        most,
                    });
                }
                for replica in replicas {
                    let most = self.plan.window_bytes as u64;
                    // What the window holds at all is known without a look at its entries.
                    let is_small = replica.window.bytes() as u64 <= most;
                    let bytes = if is_small { 0 } else { hoard(replica) };
                    if bytes > most {
                        let scope = Scope {
                            cluster: node.cluster,
                            group: replica.group.0,
                        };
                        return Err(Broken::Hoards {
                            scope,
                            node: node.number,
                            bytes,
                            most,
                        });
                    }
                }
                let count = running.shard.counts().malformed;
                if count > 0 {
                    return Err(Broken::Malformed {
                        node: node.number,
                        core,
                        count,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Bytes of the entries in memory that are applied and durable: they stay for followers that lag a little, and for nobody
/// else. An entry is a view of what a client sent; what it costs besides is counted by whoever keeps it.
fn hoard<M>(replica: &Replica<M>) -> u64 {
    let (window, settled) = (&replica.window, replica.applied.min(replica.durable));
    let indexes = window.first().0..=settled.0.min(window.last().0);
    let entries = indexes.filter_map(|index| window.get(raft::ids::Index(index)));
    entries.map(|entry| entry.payload.len() as u64).sum()
}

/// The files beside a core's log.
fn store(plan: &Plan, node: usize, core: u16) -> MemoryStore {
    let store = MemoryStore::new(plan.seed ^ (node as u64) << 20 ^ u64::from(core));
    store.set_latency_ns(plan.disk_ns.0, 4 * plan.disk_ns.1);
    store
}

/// A disk of a core, with latencies of its own.
fn disk(plan: &Plan, chance: &mut Chance, node: usize, core: u16) -> MemoryDisk {
    let disk = MemoryDisk::new(
        plan.segment_bytes,
        plan.seed ^ (node as u64) << 16 ^ u64::from(core) ^ chance.roll(),
    );
    disk.set_latency_ns(plan.disk_ns.0, plan.disk_ns.1);
    disk
}

impl Node {
    /// The node's replica of a group, while its process runs.
    #[must_use]
    pub fn replica(
        &self,
        scope: Scope,
    ) -> Option<&shard::replica::Replica<crate::chronicle::Watched>> {
        let core = (scope.group % self.cores.len().max(1) as u64) as usize;
        let replicas = self.cores.get(core)?.shard.replicas();
        replicas
            .iter()
            .find(|replica| replica.group.0 == scope.group)
    }

    /// Some of the coming writes are said to be durable and are not there.
    fn plant_lost_writes(&self, one_in: u64, chance: &mut Chance) {
        for disk in &self.disks {
            let mut after = 0;
            for _ in 0..8 {
                after += 1 + chance.below(2 * one_in);
                disk.fault_write(after, Fault::Lost);
            }
        }
    }
}

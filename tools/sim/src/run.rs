//! One run from its seed to its verdict: faults, healing, a last look at everything.
//!
//! - Faults strike for the time that was asked for; then all is put right, and it must go on within a bound.
//! - In the end clients come to rest, replicas become equal, and what the clients saw is held against the books.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use raft::effects::Role;
use raft::ids::NodeId;
use serde::Serialize;

use crate::coverage::Coverage;
use crate::finals;
use crate::jsonl;
use crate::network::Traffic;
use crate::plan::{Asked, Plan, Planted};
use crate::planted;
use crate::survey;
use crate::trace::{Event, What, Who};
use crate::verdict::{Broken, Scope};
use crate::world::World;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// Clients go on for this long after everything was put right.
const CALM_NS: u64 = 3 * SECOND;
/// Between two looks at whether all is done.
const LOOK_NS: u64 = 50 * MILLISECOND;
/// Within this all must be well again after the last fault was healed; round trips are added.
const WELL_NS: u64 = 20 * SECOND;

/// What a run did and how it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The first promise that was not kept.
    pub broken: Option<Broken>,
    /// The last events of the cluster in which a promise was broken, and what struck it before.
    pub last: Vec<Event>,
    /// How the replicas of the group stood in which a promise was broken.
    pub replicas: Vec<String>,
    /// Numbers.
    pub numbers: Numbers,
    /// Rare things that were reached.
    pub coverage: Coverage,
    /// The clients' history as JSON lines, if it was asked for.
    pub history: Option<String>,
}

/// A run in numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Numbers {
    /// Hash of everything that happened.
    pub trace_hash: u64,
    /// Simulated nanoseconds.
    pub simulated_ns: u64,
    /// Events in the trace.
    pub events: u64,
    /// Turns of cores.
    pub turns: u64,
    /// Faults that were drawn, whether or not they found something to strike.
    pub drawn: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were refused for good.
    pub refused: u64,
    /// Requests whose outcome nobody knows.
    pub unknown: u64,
    /// Attempts.
    pub attempts: u64,
    /// Attempts that were not answered in time.
    pub timeouts: u64,
    /// Entries applied, by all replicas, recoveries included.
    pub applied: u64,
    /// Sealed entries that were held against the history.
    pub sealed: u64,
    /// Files that were read back from the object store.
    pub read_back: u64,
    /// Elections won.
    pub elections: u64,
    /// Groups that were given the voters that an operator wanted, under new ids too.
    pub redrawn: u64,
    /// The fullest process: how full, in permille of its budget.
    pub memory_permille: u64,
    /// What it held, in bytes.
    pub memory_bytes: u64,
    /// Its budget, in bytes.
    pub budget_bytes: u64,
    /// The longest way of a request, in nanoseconds.
    pub longest_ns: u64,
    /// From the last healing until every group had accepted a write, in nanoseconds.
    pub recovered_ns: u64,
    /// The network.
    pub traffic: Traffic,
}

/// Runs a seed. A failed assertion of the code under test is a verdict too, where panics unwind.
#[must_use]
pub fn run(seed: u64, asked: &Asked) -> Outcome {
    planted::plant(&asked.planted);
    let mut run = Run::default();
    let ended = catch_unwind(AssertUnwindSafe(|| run.live(seed, asked)));
    planted::plant(&Planted::default());
    let broken = match ended {
        Ok(ended) => ended.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Some(Broken::Panicked(text.unwrap_or_default()))
        }
    };
    let world = run.world.as_ref();
    let scope = broken.as_ref().and_then(Broken::scope);
    Outcome {
        seed,
        last: world.map_or_else(Vec::new, |world| world.story(scope)),
        replicas: world
            .zip(scope)
            .map_or_else(Vec::new, |(world, scope)| world.describe(scope)),
        broken,
        coverage: world.map_or_else(Coverage::default, |world| world.coverage.clone()),
        history: world
            .filter(|_| asked.keeps_history)
            .map(|world| jsonl::lines(&world.history)),
        numbers: Numbers {
            recovered_ns: run.recovered_ns,
            ..world.map_or_else(Numbers::default, numbers)
        },
    }
}

/// A run under way; its world is there as soon as it began.
#[derive(Default)]
struct Run {
    world: Option<World>,
    recovered_ns: u64,
}

impl Run {
    fn live(&mut self, seed: u64, asked: &Asked) -> Result<(), Broken> {
        let world = self
            .world
            .insert(World::new(Plan::draw(seed, asked.clone()))?);
        survey::survey(world)?;
        live(world, &mut self.recovered_ns)
    }
}

fn live(world: &mut World, recovered_ns: &mut u64) -> Result<(), Broken> {
    world.run_until(world.plan.asked.faulty_ns)?;
    world.calm()?;
    let healed_at = world.now();
    *recovered_ns = recover(world, healed_at)?;
    world.run_until(world.now().max(healed_at + CALM_NS))?;
    rest(world, healed_at)?;
    world.logs()?;
    world.judge_pasts()?;
    finals::judge(world.plan.model(), &world.chronicle, &world.history)?;
    for node in &world.nodes {
        for group in 0..node.groups {
            let scope = Scope {
                cluster: node.cluster,
                group,
            };
            let members = world.members_of(scope);
            if members.is_some_and(|members| !members.contains(&node.id)) {
                continue;
            }
            let replica = node.replica(scope).expect("all processes run");
            if let Some(ledger) = replica.machine.machine().ledger() {
                finals::books(scope, node.number, ledger, &world.history)?;
            }
        }
    }
    Ok(())
}

fn bound_ns(world: &World) -> u64 {
    let topology = &world.plan.asked.topology;
    let widest = topology
        .clusters
        .iter()
        .map(|cluster| topology.widest_ns(cluster))
        .max()
        .unwrap_or(0);
    WELL_NS + 40 * widest
}

/// Every group accepts a write that was begun after everything was put right. Answers how long that took.
fn recover(world: &mut World, healed_at: u64) -> Result<u64, Broken> {
    let mut open: Vec<Scope> = Vec::new();
    let plan = world.plan.clone();
    for (cluster, layout) in plan.asked.topology.clusters.iter().enumerate() {
        for group in 0..layout.groups {
            open.push(Scope { cluster, group });
            let client = cluster * plan.clients + (group % plan.clients as u64) as usize;
            let errand = world.clients[client].teller.write_to(group);
            world.clients[client].errands.push(errand);
        }
    }
    for client in 0..world.clients.len() {
        world.clients[client].is_patient = true;
        world.alarm(client, world.now() + 1);
    }
    let mut looked = world.history.done.len();
    while !open.is_empty() {
        world.run_until(world.now() + LOOK_NS)?;
        for done in &world.history.done[looked..] {
            if done.asked_at >= healed_at && crate::machine::is_write(done.request.operation) {
                open.retain(|scope| *scope != done.request.scope);
            }
        }
        looked = world.history.done.len();
        let waited = world.now() - healed_at;
        if waited > bound_ns(world) && !open.is_empty() {
            let is_led = |scope: &&Scope| {
                let replicas = world
                    .nodes
                    .iter()
                    .filter(|node| node.cluster == scope.cluster);
                let mut replicas = replicas.filter_map(|node| node.replica(**scope));
                replicas.any(|replica| replica.raft.role() == Role::Leader)
            };
            let worst = open.iter().find(|scope| !is_led(scope)).unwrap_or(&open[0]);
            return Err(Broken::NotLive {
                scope: *worst,
                waited_ms: waited / MILLISECOND,
            });
        }
    }
    Ok(world.now() - healed_at)
}

/// Clients come to rest, and all replicas become equal.
fn rest(world: &mut World, healed_at: u64) -> Result<(), Broken> {
    world
        .trace
        .note(world.now(), Who::World, What::Phase("rest"));
    for client in &mut world.clients {
        client.is_closing = true;
    }
    let bound = bound_ns(world);
    loop {
        world.run_until(world.now() + LOOK_NS)?;
        let waits = world
            .clients
            .iter()
            .find_map(|client| client.waits_for().cloned());
        let unequal = unequal(world);
        let moving = world.open_rosters().first().copied();
        if waits.is_none() && unequal.is_none() && moving.is_none() {
            return Ok(());
        }
        let waited = world.now() - healed_at;
        if waited > bound + CALM_NS {
            let waited_ms = waited / MILLISECOND;
            return Err(match (waits, moving, unequal) {
                (Some(request), ..) => Broken::Unanswered {
                    scope: request.scope,
                    request: request.number,
                    waited_ms,
                },
                (None, Some(scope), _) => Broken::NotMoved { scope, waited_ms },
                (None, None, Some(broken)) => broken,
                (None, None, None) => unreachable!("returned above"),
            });
        }
    }
}

/// A replica that differs from the first of its group, or has something left to do.
fn unequal(world: &World) -> Option<Broken> {
    let mut first: BTreeMap<Scope, (u64, u128)> = BTreeMap::new();
    let mut members: BTreeMap<Scope, Option<Vec<NodeId>>> = BTreeMap::new();
    for node in &world.nodes {
        for group in 0..node.groups {
            let scope = Scope {
                cluster: node.cluster,
                group,
            };
            let members = members
                .entry(scope)
                .or_insert_with(|| world.members_of(scope));
            if let Some(members) = members
                && !members.contains(&node.id)
            {
                continue;
            }
            let replica = node.replica(scope).filter(|_| members.is_some());
            let Some(replica) = replica else {
                return Some(Broken::NotEqual {
                    scope,
                    node: node.number,
                    applied: 0,
                    expected: 0,
                });
            };
            use raft::state_machine::StateMachine as _;
            let applied = replica.applied.0;
            let is = (applied, replica.machine.digest());
            let expected = *first.entry(scope).or_insert(is);
            if is != expected || replica.raft.last_index().0 != applied {
                return Some(Broken::NotEqual {
                    scope,
                    node: node.number,
                    applied,
                    expected: expected.0,
                });
            }
        }
    }
    None
}

fn numbers(world: &World) -> Numbers {
    let history = &world.history;
    Numbers {
        trace_hash: world.trace.hash(),
        simulated_ns: world.now(),
        events: world.trace.count(),
        turns: world.turns,
        drawn: world.struck,
        faults: world.faults.clone(),
        answered: history.done.len() as u64,
        refused: history.refused.len() as u64,
        unknown: history.unknown.len() as u64,
        attempts: history.attempts,
        timeouts: history.timeouts,
        applied: world.chronicle.applications(),
        sealed: world.pasts.compared,
        read_back: world.pasts.read_back,
        elections: world.judges.elections,
        redrawn: world.redrawn(),
        memory_permille: world.memory_max.0,
        memory_bytes: world.memory_max.1,
        budget_bytes: world.memory_max.2,
        longest_ns: history.longest_ns,
        recovered_ns: 0,
        traffic: world.network.traffic(),
    }
}

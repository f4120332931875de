//! Nothing leaves for the object store until no log has room: clients are told so, and it goes on as soon as it can,
//! whatever happens meanwhile.

use net::request::Status;
use sealed::Codec;
use shard::past::History;
use wal::device::memory::Crash;

use crate::images::{SMALL, numbers, payload};
use crate::past::{TINY, whole_past};
use crate::tally::ADD;
use crate::vault::Vault;
use crate::world::{SECOND, World};

const HISTORY: History = History {
    codec: Codec::Plain,
    bytes_max: 300 << 10,
    ..TINY
};

struct Cut {
    world: World,
    vault: Vault,
    nodes: u32,
    sent: u32,
    acknowledged: Vec<u32>,
}

/// Every step fails.
fn all_steps() -> Vec<u64> {
    (0..1_000_000).collect()
}

impl Cut {
    fn new(nodes: u32, vault: Vault) -> Self {
        let world = World::keeping(nodes, 1, SMALL, Some(HISTORY), Some(vault.clone()));
        Self {
            world,
            vault,
            nodes,
            sent: 0,
            acknowledged: Vec::new(),
        }
    }

    /// Asks once; what came of it.
    fn ask(&mut self) -> Option<Status> {
        let leader = self.world.elect();
        let body = payload(self.sent, 30_000);
        let id = self.world.ask(leader, 0, ADD, &body, false);
        for _ in 0..40 {
            self.world.run_for(SECOND / 20);
            if self.world.reply(id).is_some() {
                break;
            }
        }
        let status = self.world.reply(id).map(|(head, _)| head.status);
        if status == Some(Status::Ok) {
            self.acknowledged.push(self.sent);
        }
        if status == Some(Status::StorageFull) {
            self.world.run_for(SECOND / 2);
        }
        // What was not taken is asked again; of what was not answered nobody knows.
        self.sent += u32::from(status != Some(Status::StorageFull));
        status
    }

    /// Until nothing is taken any more.
    fn fill(&mut self) {
        let mut refused = 0;
        while refused < 10 {
            refused += u32::from(self.ask() == Some(Status::StorageFull));
            assert!(self.sent < 600, "the log holds no more than this");
        }
    }

    /// So many are acknowledged, in so many tries at most.
    fn goes_on(&mut self, count: usize, tries: usize) {
        let wanted = self.acknowledged.len() + count;
        for _ in 0..tries {
            if self.acknowledged.len() >= wanted {
                return;
            }
            self.ask();
        }
        let counts = self.world.shard(1).seal_counts();
        panic!("{} of {wanted}: {counts:?}", self.acknowledged.len());
    }

    /// Everything that was acknowledged is there, on every node, and within reach.
    fn ends_well(mut self) {
        let found = numbers(&self.world.settle(0));
        let is_there = |number: &u32| found.contains(number);
        assert!(self.acknowledged.iter().all(is_there), "{found:?}");
        for node in 1..=self.nodes {
            assert!(found.starts_with(&whole_past(&self.world, node, 0)));
        }
    }
}

#[test]
fn a_store_that_takes_one_file_in_five_is_enough() {
    let vault = Vault::default();
    let failing = all_steps().into_iter().filter(|step| step % 5 != 0);
    vault.fail(&failing.collect::<Vec<u64>>(), &[]);
    let mut cut = Cut::new(3, vault);
    cut.goes_on(100, 2_000);
    cut.ends_well();
}

#[test]
fn a_store_that_comes_and_goes_while_the_log_is_at_its_bound_is_enough() {
    let vault = Vault::default();
    vault.fail(&all_steps(), &[]);
    let mut cut = Cut::new(3, vault);
    cut.fill();
    for _ in 0..3 {
        cut.vault.fail(&[], &[]);
        cut.goes_on(5, 400);
        let steps = cut.vault.steps();
        cut.vault
            .fail(&(steps..steps + 1_000_000).collect::<Vec<u64>>(), &[]);
        cut.fill();
    }
    cut.vault.fail(&[], &[]);
    cut.goes_on(30, 1_000);
    cut.ends_well();
}

#[test]
fn leaders_that_change_while_nothing_leaves_change_nothing() {
    let vault = Vault::default();
    vault.fail(&all_steps(), &[]);
    let mut cut = Cut::new(3, vault);
    cut.fill();
    for round in 0..2 {
        let leader = cut.world.elect();
        cut.world.kill(leader, Crash::Seeded(round));
        cut.world.run_until(30 * SECOND, "another leader", |world| {
            world.leader(0).is_some_and(|other| other != leader)
        });
        assert_eq!(
            cut.ask(),
            Some(Status::StorageFull),
            "it has no room either"
        );
        cut.world.start(leader);
        cut.world.run_for(3 * SECOND);
        cut.fill();
    }
    cut.vault.fail(&[], &[]);
    cut.goes_on(30, 1_000);
    cut.ends_well();
}

#[test]
fn a_restart_while_nothing_leaves_takes_nothing_more_and_loses_nothing() {
    for nodes in [1, 3] {
        let vault = Vault::default();
        vault.fail(&all_steps(), &[]);
        let mut cut = Cut::new(nodes, vault);
        cut.fill();
        for round in 0..2_u64 {
            for node in 1..=nodes {
                cut.world
                    .kill(node, Crash::Seeded(round * 7 + u64::from(node)));
            }
            for node in 1..=nodes {
                cut.world.start(node);
            }
            cut.fill();
        }
        cut.vault.fail(&[], &[]);
        cut.goes_on(30, 1_000);
        cut.ends_well();
    }
}

/// Who leads cannot reach the store, and others can: writes are refused until one of these leads, and then go on.
#[test]
fn a_leader_that_reaches_the_store_goes_on_where_its_predecessor_did_not() {
    let vault = Vault::default();
    let mut cut = Cut::new(3, vault);
    let leader = cut.world.elect();
    cut.vault.cut(&[u64::from(leader)]);
    cut.fill();
    cut.world.kill(leader, Crash::Everything);
    cut.goes_on(40, 400);
    cut.world.start(leader);
    cut.goes_on(20, 400);
    cut.ends_well();
}

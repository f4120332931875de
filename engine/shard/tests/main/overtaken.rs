//! Entries that were never agreed, and a state from a peer that reaches behind them: a restart does not bring them back.

use raft::ids::GroupId;
use wal::device::memory::Crash;

use crate::images::{SMALL, add_many, payload};
use crate::laggards::{BYTES, add_until_installed, settled};
use crate::tally::ADD;
use crate::world::{SECOND, World};

/// The first entry that the node's log holds; beyond all where it holds none.
fn begins(world: &World, node: u32) -> u64 {
    let held = world.shard(node).log_of(GroupId(0));
    held.map_or(u64::MAX, |(first, _)| first.0)
}

#[test]
fn what_a_fetched_state_overtook_does_not_come_back() {
    for is_killed_at_once in [true, false] {
        let mut world = World::with(3, 1, SMALL);
        let leader = world.elect();
        let others = [leader % 3 + 1, (leader + 1) % 3 + 1];
        add_many(&mut world, 0..30, BYTES);
        world.settle(0);
        // Nobody hears what it takes down as the last thing that it does: it reaches behind the state that it is given later.
        others
            .iter()
            .for_each(|other| world.wire.cut(leader, *other));
        for number in 10_000..10_400 {
            world.ask(leader, 0, ADD, &payload(number, 100), false);
        }
        let last = |world: &World| {
            world
                .shard(leader)
                .log_of(GroupId(0))
                .map_or(0, |(_, last)| last.0)
        };
        world.run_until(SECOND, "all of it is in its log", |world| last(world) > 420);
        world.run_for(1_000_000);
        let stale = last(&world);
        world.kill(leader, Crash::Everything);
        others
            .iter()
            .for_each(|other| world.wire.heal(leader, *other));
        add_many(&mut world, 30..300, BYTES);
        let mut end = 300;
        world.start(leader);
        if !is_killed_at_once {
            end = add_until_installed(&mut world, leader, end);
            add_many(&mut world, end..end + 40, BYTES);
            end += 40;
        }
        world.run_until(20 * SECOND, "it was given a state", |world| {
            world.shard(leader).upkeep_counts().installs > 0
        });
        let given = world.shard(leader).replicas()[0].raft.first_index();
        assert!(given.0 > 31 && given.0 < stale, "{given:?}, {stale}");
        world.kill(leader, Crash::Everything);
        world.start(leader);
        assert!(begins(&world, leader) > 31, "what was never agreed is back");
        add_many(&mut world, end..end + 5, BYTES);
        settled(&mut world, end + 5);
        assert!(begins(&world, leader) > 31, "what was never agreed is back");
    }
}

//! A group that finishes nothing does not keep the log of its core from being used again, and loses nothing by that.

use raft::ids::GroupId;
use wal::device::memory::Crash;

use crate::images::{SMALL, add_many, numbers, payload};
use crate::tally::ADD;
use crate::world::{SECOND, World};

/// Three nodes; the leader of the returned group died when the others had taken a payload from it, and before they knew
/// it to be committed. Then another group wrote the log twice over at once.
fn orphaned() -> (World, u64) {
    let mut world = World::with(3, 3, SMALL);
    world.elect();
    add_many(&mut world, 0..10, 1_000);
    world.run_for(SECOND);
    let busy = world.leader(0);
    let group = (1..3)
        .find(|&group| world.leader(group) != busy)
        .expect("leaders are spread");
    let lost = world.leader(group).expect("it was elected");
    let before = world.shard(lost).log_of(GroupId(group));
    world.ask(lost, group, ADD, &payload(7, 3_000), false);
    world.run_until(SECOND, "the others have it", |world| {
        (1..=3).all(|node| world.shard(node).log_of(GroupId(group)) > before)
    });
    world.kill(lost, Crash::Everything);
    let limit = SMALL.segment_bytes * u64::from(SMALL.segments_max);
    let count = u32::try_from(2 * limit / 50_000).expect("small");
    add_many(&mut world, 10..10 + count, 50_000);
    (world, group)
}

fn moved(world: &World) -> u64 {
    let up = (1..=3).filter(|&node| world.is_up(node));
    up.map(|node| world.shard(node).upkeep_counts().entries_moved)
        .sum()
}

#[test]
fn a_group_without_a_leader_does_not_fill_the_log_of_the_others() {
    let (mut world, group) = orphaned();
    assert!(moved(&world) > 0, "its log was written over meanwhile");
    world.add(group, &payload(8, 10));
    let found = numbers(&world.settle(group));
    assert_eq!(found, [7, 8], "a majority had the first");
}

#[test]
fn what_was_moved_is_there_after_a_crash_of_all() {
    for seed in 0..4 {
        let (mut world, group) = orphaned();
        for node in 1..=3 {
            if world.is_up(node) {
                world.kill(node, Crash::Seeded(seed));
            }
        }
        for node in 1..=3 {
            world.start(node);
            assert!(world.shard(node).faults().is_empty(), "seed {seed}");
        }
        world.add(group, &payload(8, 10));
        assert_eq!(numbers(&world.settle(group)), [7, 8], "seed {seed}");
    }
}

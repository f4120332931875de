//! A node that comes back with an empty disk makes its own copy of the past again, of what its peers tell.

use raft::ids::GroupId;
use shard::past::History;
use wal::device::memory::Crash;

use crate::images::{SMALL, add_many, noise};
use crate::past::{TINY, is_without_gap, whole_past};
use crate::world::{SECOND, World};

const ADDED: u32 = 160;

fn add_all(world: &mut World) {
    add_many(world, 0..ADDED, 50_000);
}

/// Three nodes that keep their history, one of which comes back with an empty disk: that one.
fn emptied(history: History, add: impl FnOnce(&mut World)) -> (World, u32) {
    let mut world = World::keeping(3, 1, SMALL, Some(history), None);
    let leader = world.elect();
    add(&mut world);
    world.settle(0);
    world.run_for(SECOND);
    let node = 1 + leader % 3;
    empty(&mut world, node);
    (world, node)
}

/// The node's disk is replaced by an empty one; the others give it their state.
fn empty(world: &mut World, node: u32) {
    let added = world.payloads(node, 0).len();
    world.kill(node, Crash::Everything);
    world.replace_disk(node);
    world.rejoining = Some(node);
    world.start(node);
    world.rejoining = None;
    world.run_until(60 * SECOND, "it is given the state", |world| {
        world.payloads(node, 0).len() == added
    });
}

/// The first entry of the log, and the last up to which nothing before it is missing.
fn log_and_reach(world: &World, node: u32) -> (u64, u64) {
    let shard = world.shard(node);
    let past = shard.past_of(GroupId(0)).expect("a group");
    let image = || shard.replicas()[0].shelf.image_index().0 + 1;
    let begins = shard
        .log_of(GroupId(0))
        .map_or_else(image, |(first, _)| first.0);
    (begins, past.reach(1))
}

fn wait_for_its_past(world: &mut World, node: u32) {
    world.run_until(60 * SECOND, "its past has no gap", |world| {
        let (begins, reach) = log_and_reach(world, node);
        reach + 1 >= begins
    });
}

#[test]
fn an_emptied_node_is_a_copy_of_the_past_again() {
    let (mut world, node) = emptied(TINY, add_all);
    wait_for_its_past(&mut world, node);
    let recalled = world.shard(node).upkeep_counts().entries_recalled;
    assert!(recalled > 20, "{recalled} entries were recalled");
    let found = whole_past(&world, node, 0);
    assert!(
        found.len() as u64 >= recalled / 2 && is_without_gap(&found),
        "{found:?}"
    );
    let other = whole_past(&world, 1 + node % 3, 0);
    assert!(other.iter().all(|number| *number < ADDED) && other[..20] == found[..20]);

    // It asks for nothing again, not even after a restart.
    world.kill(node, Crash::Nothing);
    world.start(node);
    world.run_for(10 * SECOND);
    assert_eq!(world.shard(node).upkeep_counts().entries_recalled, 0);
    assert_eq!(whole_past(&world, node, 0), found);
}

#[test]
fn its_copy_is_as_good_when_those_that_it_had_it_from_are_gone() {
    let (mut world, node) = emptied(TINY, add_all);
    wait_for_its_past(&mut world, node);
    let next = 1 + node % 3;
    let found = whole_past(&world, node, 0);
    empty(&mut world, next);
    // The third falls silent: what it sealed is told by nobody but the node that recalled it.
    let third = 1 + next % 3;
    world.kill(third, Crash::Nothing);
    wait_for_its_past(&mut world, next);
    let again = whole_past(&world, next, 0);
    assert!(
        is_without_gap(&again) && again[..20] == found[..20],
        "{again:?}"
    );
}

#[test]
fn what_no_peer_keeps_is_passed_over_and_no_more_is_recalled_than_there_is_room_for() {
    let history = History {
        bytes_max: 400 << 10,
        ..TINY
    };
    let (mut world, node) = emptied(history, |world| {
        for number in 0..600 {
            world.add(0, &noise(number + 1, 9_000));
        }
    });
    world.run_for(20 * SECOND);
    let shard = world.shard(node);
    let past = shard.past_of(GroupId(0)).expect("a group");
    let oldest = past.entry(1).expect("sound files");
    assert!(oldest.is_none(), "the oldest went everywhere");
    let (first, last) = (past.files()[0].first, past.reach(1));
    assert!(first > 100 && last > first, "{first}, {last}");
    // A file ends behind the entry that fills it.
    assert!(past.bytes() <= history.bytes_max + history.file_bytes / 2);
    let recalled = shard.upkeep_counts().entries_recalled;
    assert!(recalled >= last - first, "{recalled}");
    world.run_for(20 * SECOND);
    assert_eq!(world.shard(node).upkeep_counts().entries_recalled, recalled);
}

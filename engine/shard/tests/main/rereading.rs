//! A chapter that rots under a running replica is named, fetched from a peer and put in its place.

use shard::restoring::FaultKind;
use wal::archive::{FileKind, Name};
use wal::device::memory::Crash;

use crate::images::{SMALL, add_many, numbers};
use crate::mending::{BYTES, scrubbing};
use crate::world::{SECOND, World};

const COUNT: u32 = 60;

/// Nodes that read a megabyte of their chapters again each second, and have some.
fn world(nodes: u32) -> World {
    let world = scrubbing(World::with(nodes, 2, SMALL), COUNT);
    for node in 1..=nodes {
        assert!(world.shard(node).upkeep_counts().chapters > 1);
    }
    world
}

fn chapter(number: u64) -> Name {
    Name {
        group: 0,
        kind: FileKind::Chapter,
        number,
    }
}

/// The node's chapter rots, or is gone.
fn rot(world: &World, node: u32, number: u64, is_lost: bool) {
    let store = &world.stores[node as usize - 1];
    if is_lost {
        assert!(store.lose(chapter(number)));
    } else {
        assert!(store.edit(chapter(number), |bytes| bytes[1_000] ^= 0x10));
    }
}

#[test]
fn sound_chapters_are_read_again_and_again_and_nothing_is_found() {
    let mut world = world(3);
    world.run_for(5 * SECOND);
    for node in 1..=3 {
        let counts = world.shard(node).upkeep_counts();
        assert!(counts.chapters_reread > 5, "{counts:?}");
        assert_eq!((counts.chapters_rotten, counts.chapters_repaired), (0, 0));
    }
}

#[test]
fn a_rotten_or_lost_chapter_of_a_running_node_is_fetched_from_a_peer() {
    for node in 1..=3 {
        for is_lost in [false, true] {
            let mut world = world(3);
            rot(&world, node, 1, is_lost);
            world.run_until(30 * SECOND, "the repair", |world| {
                world.shard(node).upkeep_counts().chapters_repaired > 0
            });
            assert!(world.shard(node).faults().is_empty(), "it is put right");
            assert_eq!(world.shard(node).upkeep_counts().installs, 0);
            add_many(&mut world, COUNT..COUNT + 5, BYTES);
            world.settle(0);
            for node in 1..=3 {
                world.kill(node, Crash::Everything);
                world.start(node);
                assert!(world.shard(node).faults().is_empty());
            }
            world.elect();
            let all: Vec<u32> = (0..COUNT + 5).collect();
            assert_eq!(numbers(&world.settle(0)), all);
            assert_eq!(numbers(&world.payloads(node, 0)), all);
        }
    }
}

#[test]
fn a_peer_whose_chapter_rotted_too_is_passed_over() {
    let mut world = world(3);
    rot(&world, 1, 1, false);
    rot(&world, 2, 1, false);
    world.run_until(60 * SECOND, "the repairs", |world| {
        (1..=2).all(|node| world.shard(node).upkeep_counts().chapters_repaired > 0)
    });
    assert_eq!(numbers(&world.payloads(1, 0)).len(), COUNT as usize);
}

#[test]
fn what_no_peer_has_stays_named() {
    let mut world = world(1);
    rot(&world, 1, 1, false);
    world.run_until(30 * SECOND, "it is found", |world| {
        world.shard(1).upkeep_counts().chapters_rotten > 2
    });
    let faults = world.shard(1).faults();
    assert_eq!(faults.len(), 1, "it is told once");
    assert_eq!(
        (faults[0].name, faults[0].why),
        (chapter(1), FaultKind::Hash)
    );
    add_many(&mut world, COUNT..COUNT + 3, BYTES);
}

#[test]
fn a_crash_while_a_chapter_is_put_in_its_place_leaves_the_old_one_or_the_new_one() {
    for delay in 0..12_u64 {
        let mut world = world(3);
        rot(&world, 3, 1, false);
        world.run_until(30 * SECOND, "it is found", |world| {
            world.shard(3).upkeep_counts().chapters_rotten > 0
        });
        world.run_for(delay * 150_000);
        world.kill(3, Crash::Seeded(delay));
        world.start(3);
        world.run_until(60 * SECOND, "it is whole", |world| {
            let raft = &world.shard(3).replicas()[0].raft;
            raft.damage() == raft::config::Damage::None && world.payloads(3, 0).len() == 60
        });
        assert_eq!(numbers(&world.payloads(3, 0)).len(), COUNT as usize);
    }
}

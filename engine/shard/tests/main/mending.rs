//! Rot that the scrubber finds in a running node is made needless, so that a restart misses nothing.

use raft::config::Damage;
use shard::setup::Keeping;
use wal::device::memory::Crash;

use crate::damage::place_of;
use crate::images::{SMALL, add_many, numbers, payload};
use crate::world::{SECOND, Terms, World};

pub(crate) const BYTES: usize = 3_000;

/// Nodes that read a megabyte of their logs again each second, with these payloads.
fn scrubbed(nodes: u32, count: u32) -> World {
    scrubbed_with(nodes, count, SMALL)
}

fn scrubbed_with(nodes: u32, count: u32, terms: Terms) -> World {
    scrubbing(World::with(nodes, 2, terms), count)
}

/// Its nodes started again, to read a megabyte of what they have again each second, with these payloads.
pub(crate) fn scrubbing(mut world: World, count: u32) -> World {
    world.scrub = 1 << 20;
    for node in 1..=world.disks.len() as u32 {
        world.kill(node, Crash::Everything);
        world.start(node);
    }
    world.elect();
    add_many(&mut world, 0..count, BYTES);
    world.settle(0);
    world.run_for(SECOND);
    world
}

pub(crate) fn is_whole(world: &World, node: u32) -> bool {
    let replicas = world.shard(node).replicas();
    replicas.iter().all(|one| one.raft.damage() == Damage::None)
}

#[test]
fn a_node_alone_outlives_rot_that_was_found_while_it_ran() {
    outlives_rot(scrubbed(1, 12));
}

#[test]
fn a_node_that_takes_no_images_takes_one_for_what_is_rotten() {
    let keeping = Keeping {
        image_bytes: 0,
        ..SMALL.keeping
    };
    let terms = Terms { keeping, ..SMALL };
    let world = scrubbed_with(1, 12, terms);
    assert_eq!(world.shard(1).upkeep_counts().images, 0);
    outlives_rot(world);
}

fn outlives_rot(mut world: World) {
    let (slot, at) = place_of(&world.disks[0], &payload(7, BYTES));
    world.disks[0].flip(slot, at as u64 + 1_500, 3);
    world.run_until(20 * SECOND, "it is mended", |world| {
        world.shard(1).upkeep_counts().groups_mended > 0
    });
    world.run_for(SECOND);
    world.kill(1, Crash::Everything);
    world.start(1);
    assert!(is_whole(&world, 1), "nothing depends on what is rotten");
    world.elect();
    add_many(&mut world, 12..15, BYTES);
    assert_eq!(numbers(&world.settle(0)), (0..15).collect::<Vec<u32>>());
}

#[test]
fn rot_that_nobody_looked_for_is_missed_by_the_next_start() {
    let mut world = World::with(1, 2, SMALL);
    world.elect();
    add_many(&mut world, 0..12, BYTES);
    world.run_for(SECOND);
    let (slot, at) = place_of(&world.disks[0], &payload(7, BYTES));
    world.disks[0].flip(slot, at as u64 + 1_500, 3);
    world.run_for(20 * SECOND);
    world.kill(1, Crash::Everything);
    world.start(1);
    assert!(
        !is_whole(&world, 1),
        "the test above would show nothing else"
    );
}

#[test]
fn a_block_without_names_has_every_group_mended() {
    let mut world = scrubbed(3, 12);
    let (slot, at) = place_of(&world.disks[2], &payload(5, BYTES));
    // The whole neighbourhood is gone, heads included.
    for page in 0..3_u64 {
        let begin = (at as u64 & !4_095).saturating_sub(4_096) + page * 4_096;
        for byte in 0..4_096 {
            world.disks[2].flip(slot, begin + byte, 6);
        }
    }
    world.run_until(20 * SECOND, "they are mended", |world| {
        world.shard(3).upkeep_counts().groups_mended > 0
    });
    world.run_for(2 * SECOND);
    world.kill(3, Crash::Everything);
    world.start(3);
    world.elect();
    add_many(&mut world, 12..15, BYTES);
    assert_eq!(numbers(&world.settle(0)), (0..15).collect::<Vec<u32>>());
    assert_eq!(numbers(&world.payloads(3, 0)).len(), 15);
}

#[test]
fn a_crash_before_the_image_is_durable_finds_the_damage_as_ever_and_peers_repair_it() {
    for delay in 0..12_u64 {
        let mut world = scrubbed(3, 12);
        let (slot, at) = place_of(&world.disks[2], &payload(7, BYTES));
        world.disks[2].flip(slot, at as u64 + 1_500, 3);
        let before = world.shard(3).upkeep_counts().images;
        world.run_until(20 * SECOND, "it is found", |world| {
            world.shard(3).damage_found() > 0 || world.shard(3).upkeep_counts().images > before
        });
        world.run_for(delay * 200_000);
        world.kill(3, Crash::Seeded(delay));
        world.start(3);
        world.run_until(20 * SECOND, "it is whole", |world| is_whole(world, 3));
        add_many(&mut world, 12..14, BYTES);
        assert_eq!(numbers(&world.settle(0)).len(), 14, "delay {delay}");
    }
}

//! An entry that rots in the log of a running replica is asked of its peers and written again where it lies.

use shard::setup::Keeping;
use wal::device::memory::{Crash, MemoryDisk};

use crate::damage::place_of;
use crate::images::{SMALL, add_many, numbers, payload};
use crate::mending::{BYTES, is_whole, scrubbing};
use crate::past::{TINY, is_without_gap, whole_past};
use crate::world::{SECOND, Terms, World};

/// Three nodes that take no images and read a megabyte of their logs again each second.
fn plain() -> World {
    scrubbed(World::new(3, 2))
}

/// The same, with images, chapters and small logs.
fn with_images(nodes: u32) -> World {
    scrubbed(World::with(nodes, 2, SMALL))
}

fn scrubbed(world: World) -> World {
    scrubbing(world, 12)
}

/// Flips a bit of a payload, or of what lies so many bytes before it.
fn rot(disk: &MemoryDisk, number: u32, before: u64) {
    let (slot, at) = place_of(disk, &payload(number, BYTES));
    disk.flip(slot, at as u64 + 1_500 * u64::from(before == 0) - before, 3);
}

/// Waits until the node has repaired so many entries; nothing was covered by an image instead.
fn wait_for_repair(world: &mut World, node: u32, entries: u64) {
    world.run_until(30 * SECOND, "the repair", |world| {
        world.shard(node).upkeep_counts().entries_repaired >= entries
    });
    let counts = world.shard(node).upkeep_counts();
    assert_eq!(
        (counts.entries_repaired, counts.groups_mended),
        (entries, 0)
    );
}

/// Every node starts again and finds nothing wrong.
fn starts_sound(world: &mut World) {
    starts_whole(world);
    assert!(world.found.iter().all(Vec::is_empty), "{:?}", world.found);
}

/// Every node starts again and misses nothing.
fn starts_whole(world: &mut World) {
    for node in 1..=world.disks.len() as u32 {
        world.kill(node, Crash::Nothing);
        world.start(node);
        assert!(is_whole(world, node));
    }
    world.elect();
    add_many(world, 12..15, BYTES);
    assert_eq!(numbers(&world.settle(0)), (0..15).collect::<Vec<u32>>());
}

#[test]
fn an_entry_that_rots_is_asked_of_a_peer_and_written_where_it_lies() {
    // In the payload; in the record's header; in the entry's head.
    for before in [0, 80, 20] {
        for node in 1..=3 {
            let mut world = plain();
            let image = world.disks[node as usize - 1].image();
            rot(&world.disks[node as usize - 1], 3, before);
            wait_for_repair(&mut world, node, 1);
            assert_eq!(world.shard(node).upkeep_counts().entries_refetched, 1);
            assert!(is_whole(&world, node), "it went on meanwhile");
            let same = world.disks[node as usize - 1].image();
            let (slot, at) = place_of(&world.disks[node as usize - 1], &payload(3, BYTES));
            let around = at - 88..at + BYTES;
            assert_eq!(same[&slot][around.clone()], image[&slot][around]);
            starts_sound(&mut world);
        }
    }
}

#[test]
fn what_is_still_in_memory_is_asked_of_nobody() {
    let mut world = scrubbed(World::new(1, 2));
    rot(&world.disks[0], 11, 0);
    wait_for_repair(&mut world, 1, 1);
    assert_eq!(world.shard(1).upkeep_counts().entries_refetched, 0);
    starts_sound(&mut world);
}

#[test]
fn the_rotten_entry_of_a_leader_reaches_a_follower_that_lacks_everything() {
    let mut world = plain();
    let leader = world.leader(0).expect("it was elected");
    let follower = 1 + leader % 3;
    rot(&world.disks[leader as usize - 1], 3, 0);
    world.kill(follower, Crash::Everything);
    world.replace_disk(follower);
    world.rejoining = Some(follower);
    world.start(follower);
    world.run_until(60 * SECOND, "it has everything", |world| {
        world.payloads(follower, 0).len() == 12
    });
    assert_eq!(
        numbers(&world.payloads(follower, 0)),
        (0..12).collect::<Vec<u32>>()
    );
    assert!(world.shard(leader).upkeep_counts().entries_repaired <= 1);
}

#[test]
fn copies_that_rot_one_each_are_repaired_out_of_one_another() {
    let mut world = plain();
    for (node, number) in [(0, 1), (1, 3), (2, 5), (0, 7), (1, 8)] {
        rot(&world.disks[node], number, 0);
    }
    wait_for_repair(&mut world, 1, 2);
    wait_for_repair(&mut world, 2, 2);
    wait_for_repair(&mut world, 3, 1);
    starts_sound(&mut world);
}

#[test]
fn what_no_peer_has_either_is_covered_by_an_image() {
    let mut world = with_images(3);
    for disk in &world.disks {
        rot(disk, 3, 0);
    }
    world.run_until(60 * SECOND, "they are mended", |world| {
        (1..=3).all(|node| world.shard(node).upkeep_counts().groups_mended > 0)
    });
    assert_eq!(world.shard(1).upkeep_counts().entries_repaired, 0);
    world.run_for(2 * SECOND);
    starts_whole(&mut world);
}

#[test]
fn peers_out_of_reach_are_asked_in_vain_and_an_image_stands_in() {
    let mut world = with_images(3);
    let node = 1 + world.leader(0).expect("it was elected") % 3;
    rot(&world.disks[node as usize - 1], 3, 0);
    world.wire.isolate(node);
    world.run_until(60 * SECOND, "it is mended", |world| {
        world.shard(node).upkeep_counts().groups_mended > 0
    });
    assert_eq!(world.shard(node).upkeep_counts().entries_repaired, 0);
    world.reconnect(node);
    world.run_for(2 * SECOND);
    starts_whole(&mut world);
}

#[test]
fn a_crash_at_any_moment_of_a_repair_leaves_the_damage_or_nothing() {
    let (mut repaired, mut missed) = (0, 0);
    for delay in 0..24_u64 {
        let mut world = plain();
        rot(&world.disks[2], 3, 0);
        world.run_until(30 * SECOND, "it is found", |world| {
            world.shard(3).damage_found() > 0
        });
        world.run_for(delay * 100_000);
        world.kill(3, Crash::Seeded(delay));
        world.start(3);
        if is_whole(&world, 3) {
            repaired += 1;
        } else {
            missed += 1;
        }
        world.run_until(20 * SECOND, "it is whole", |world| is_whole(world, 3));
        add_many(&mut world, 12..14, BYTES);
        assert_eq!(numbers(&world.settle(0)).len(), 14, "delay {delay}");
    }
    assert!(repaired > 0 && missed > 0, "{repaired}, {missed}");
}

#[test]
fn sealing_waits_for_the_repair_and_leaves_nothing_out() {
    let keeping = Keeping {
        log_bytes: 4 << 20,
        ..SMALL.keeping
    };
    let terms = Terms {
        keeping,
        segments_max: 40,
        ..SMALL
    };
    let mut world = World::keeping(3, 1, terms, Some(TINY), None);
    world.scrub = 256 << 10;
    for node in 1..=3 {
        world.kill(node, Crash::Everything);
        world.start(node);
    }
    world.elect();
    add_many(&mut world, 0..60, 50_000);
    world.settle(0);
    let (slot, at) = place_of(&world.disks[2], &payload(20, 50_000));
    world.disks[2].flip(slot, at as u64 + 1_500, 3);
    // The log is given up from its beginning, so it is sealed, before the scrubber has come there by itself.
    add_many(&mut world, 60..200, 50_000);
    world.settle(0);
    world.run_until(60 * SECOND, "the repair", |world| {
        world.shard(3).upkeep_counts().entries_repaired > 0
    });
    world.run_for(5 * SECOND);
    assert_eq!(world.shard(3).seal_counts().unsealable_entries, 0);
    assert_eq!(world.shard(3).upkeep_counts().entries_repaired, 1);
    let past = whole_past(&world, 3, 0);
    assert!(past.len() > 40 && is_without_gap(&past), "{past:?}");
}

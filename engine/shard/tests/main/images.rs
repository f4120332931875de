//! Images, chapters and the log they stand for: what a restart finds, whatever the moment of the crash.

use raft::state_machine::RestoreError;
use shard::open::OpenError;
use shard::restoring::{Fault, FaultKind};
use shard::setup::Keeping;
use wal::archive::FileKind;
use wal::device::memory::Crash;

use crate::tally::be_older;
use crate::world::{SECOND, Terms, World};

/// A small log, small images, small chapters.
pub(crate) const SMALL: Terms = Terms {
    keeping: Keeping {
        image_bytes: 64 << 10,
        log_bytes: 512 << 10,
        fetch_bytes_per_second: 0,
        serve_bytes_per_second: 0,
    },
    chapter: 16,
    segment_bytes: 256 << 10,
    segments_max: 12,
    spares: 0,
};

/// Adds payloads that tell their numbers.
pub(crate) fn add_many(world: &mut World, numbers: std::ops::Range<u32>, bytes: usize) {
    for number in numbers {
        world.add(0, &payload(number, bytes));
    }
}

pub(crate) fn payload(number: u32, bytes: usize) -> Vec<u8> {
    let mut payload = vec![number as u8; bytes];
    payload[..4].copy_from_slice(&number.to_le_bytes());
    payload
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut dice = seed;
    let roll = |_| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice as u8
    };
    (0..bytes).map(roll).collect()
}

/// The numbers of what is there; a payload that is not what was added has none.
pub(crate) fn numbers(found: &[Vec<u8>]) -> Vec<u32> {
    let number = |found: &Vec<u8>| {
        let number = u32::from_le_bytes(*found.first_chunk().expect("a number"));
        assert!(*found == payload(number, found.len()), "payload {number}");
        number
    };
    found.iter().map(number).collect()
}

fn count_to(end: u32) -> Vec<u32> {
    (0..end).collect()
}

#[test]
fn a_run_of_many_times_the_log_goes_on_and_its_space_comes_back() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, 1, SMALL);
        world.elect();
        let limit = SMALL.segment_bytes * u64::from(SMALL.segments_max);
        let count = u32::try_from(4 * limit / 50_000).expect("small");
        add_many(&mut world, 0..count, 50_000);
        assert_eq!(numbers(&world.settle(0)), count_to(count));
        world.run_for(SECOND);
        for node in 1..=nodes {
            let counts = world.shard(node).upkeep_counts();
            assert!(counts.images > 10 && counts.chapters > 10, "{counts:?}");
            assert!(world.shard(node).log_bytes() <= limit * 3 / 4);
            let store = &world.stores[node as usize - 1];
            let images = store
                .names()
                .iter()
                .filter(|name| name.kind == FileKind::Image)
                .count();
            assert_eq!(images, 1, "older images are removed");
        }
    }
}

#[test]
fn a_restart_reads_the_image_the_chapters_and_the_tail() {
    let mut world = World::with(3, 1, SMALL);
    world.elect();
    add_many(&mut world, 0..300, 3_000);
    let before = numbers(&world.settle(0));
    for node in 1..=3 {
        world.kill(node, Crash::Nothing);
    }
    for node in 1..=3 {
        world.start(node);
        assert!(world.shard(node).faults().is_empty());
    }
    world.elect();
    add_many(&mut world, 300..310, 3_000);
    assert_eq!(before, count_to(300));
    assert_eq!(numbers(&world.settle(0)), count_to(310));
    for node in 1..=3 {
        assert_eq!(
            world.shard(node).upkeep_counts().installs,
            0,
            "nobody needs another's state"
        );
    }
}

/// One replica writes, dies after so many steps of its archive, and starts again, over and over.
#[test]
fn a_crash_at_any_step_of_images_manifests_and_removals_loses_nothing() {
    for seed in 0..2_u64 {
        let mut world = World::with(1, 1, SMALL);
        world.elect();
        let mut added = 0;
        for crash in 0..40_u64 {
            let until = world.stores[0].steps() + 1 + (crash * 7 + seed) % 23;
            while world.stores[0].steps() < until {
                world.add(0, &payload(added, 9_000));
                added += 1;
            }
            world.kill(1, Crash::Seeded(seed * 1000 + crash));
            world.start(1);
            let faults = world.shard(1).faults();
            assert!(faults.is_empty(), "seed {seed}, crash {crash}: {faults:?}");
            world.elect();
            world.add(0, &payload(added, 9_000));
            added += 1;
            let found = numbers(&world.payloads(1, 0));
            assert_eq!(found, count_to(added), "seed {seed}, crash {crash}");
        }
        world.run_for(90 * SECOND);
        let (images, manifests) = count_files(&world, 1);
        assert_eq!((images, manifests), (1, 1), "nothing is left behind");
        assert!(world.shard(1).upkeep_counts().archive_failures == 0);
    }
}

/// An older program does not read what a newer one wrote: it says so, and leaves everything as it is for that one.
#[test]
fn a_state_of_another_version_is_refused_and_kept() {
    let mut world = World::with(1, 1, SMALL);
    world.elect();
    add_many(&mut world, 0..200, 9_000);
    world.kill(1, Crash::Everything);
    world.start(1);
    world.run_for(90 * SECOND);
    let names = world.stores[0].names();
    world.kill(1, Crash::Everything);
    be_older(true);
    for _ in 0..2 {
        let refused = world.try_start(1).err();
        let is_named = |fault: &Fault| fault.why == FaultKind::Machine(RestoreError::Version(9));
        assert!(
            matches!(&refused, Some(OpenError::Version(fault)) if is_named(fault)),
            "{refused:?}"
        );
        assert_eq!(world.stores[0].names(), names, "nothing is gone");
        world.disks[0].crash(Crash::Everything);
    }
    be_older(false);
    world.start(1);
    assert!(world.shard(1).faults().is_empty());
    world.elect();
    world.add(0, &payload(200, 9_000));
    assert_eq!(numbers(&world.settle(0)), count_to(201));
}

fn count_files(world: &World, node: u32) -> (usize, usize) {
    let names = world.stores[node as usize - 1].names();
    let count = |kind| names.iter().filter(|name| name.kind == kind).count();
    (count(FileKind::Image), count(FileKind::Manifest))
}

#[test]
fn what_the_disk_refuses_is_made_anew() {
    let mut world = World::with(1, 1, SMALL);
    world.elect();
    for step in [0, 3, 5, 8, 20, 31] {
        world.stores[0].fail_step(step);
    }
    add_many(&mut world, 0..100, 9_000);
    world.stores[0].set_full(true);
    add_many(&mut world, 100..130, 9_000);
    world.run_for(SECOND);
    world.stores[0].set_full(false);
    world.run_for(2 * SECOND);
    let before = world.shard(1).upkeep_counts();
    assert!(before.archive_failures >= 6, "{before:?}");
    add_many(&mut world, 130..400, 9_000);
    world.run_for(SECOND);
    let counts = world.shard(1).upkeep_counts();
    assert!(counts.images > before.images, "{counts:?}");
    world.kill(1, Crash::Everything);
    world.start(1);
    assert!(world.shard(1).faults().is_empty());
    world.elect();
    add_many(&mut world, 400..401, 9_000);
    assert_eq!(numbers(&world.settle(0)), count_to(401));
}

#[test]
fn a_machine_without_images_keeps_its_log() {
    let mut world = World::with(
        1,
        1,
        Terms {
            chapter: 0,
            ..SMALL
        },
    );
    world.elect();
    add_many(&mut world, 0..20, 50_000);
    world.run_for(SECOND);
    let counts = world.shard(1).upkeep_counts();
    assert_eq!((counts.images, counts.entries_released), (0, 0));
    assert!(world.stores[0].names().is_empty());
}

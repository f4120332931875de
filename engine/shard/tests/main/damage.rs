//! A disk loses what it called durable; the group repairs it from its peers and truncates nothing that it promised.

use raft::config::Damage;
use wal::DamageKind;
use wal::device::memory::{Crash, MemoryDisk};

use crate::world::{ELECTION_NS, SECOND, World};

const PAGE: usize = 4096;

/// Where these bytes lie on a disk: slot and offset.
pub(crate) fn place_of(disk: &MemoryDisk, wanted: &[u8]) -> (u32, usize) {
    let image = disk.image();
    let found = image.iter().find_map(|(&slot, bytes)| {
        let at = bytes
            .windows(wanted.len())
            .position(|window| window == wanted)?;
        Some((slot, at))
    });
    found.expect("it was written")
}

fn payload(number: u8) -> Vec<u8> {
    let mut bytes = vec![number; 3_000];
    bytes[..4].copy_from_slice(b"add ");
    bytes
}

/// Three nodes with this many payloads on each of two groups, everywhere applied.
fn world(count: u8) -> World {
    let mut world = World::new(3, 2);
    world.elect();
    for number in 0..count {
        world.add(u64::from(number % 2), &payload(number));
    }
    world.settle(0);
    world.settle(1);
    // At rest a log says that its last records were durable.
    world.run_for(ELECTION_NS);
    world
}

fn damage_of(world: &World, node: u32, group: usize) -> Damage {
    world.shard(node).replicas()[group].raft.damage()
}

fn all_of(group: u8, count: u8) -> Vec<Vec<u8>> {
    (0..count)
        .filter(|number| number % 2 == group)
        .map(payload)
        .collect()
}

#[test]
fn a_damaged_entry_is_named_and_fetched_from_the_peers() {
    let mut world = world(12);
    world.kill(3, Crash::Everything);
    let (slot, at) = place_of(&world.disks[2], &payload(4));
    world.disks[2].flip(slot, at as u64 + 1_500, 3);
    world.start(3);
    let found = world.found[2].clone();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].kind, found[0].group),
        (DamageKind::Payload, Some(0))
    );
    assert!(found[0].first.is_some_and(|index| index > 1), "{found:?}");
    assert_eq!(damage_of(&world, 3, 0), Damage::Entries);
    assert_eq!(
        damage_of(&world, 3, 1),
        Damage::None,
        "the other group is whole"
    );
    world.run_until(10 * SECOND, "the repair", |world| {
        damage_of(world, 3, 0) == Damage::None
    });
    assert_eq!(world.settle(0), all_of(0, 12));
    assert_eq!(world.payloads(3, 0), all_of(0, 12));
    world.run_for(SECOND);
    world.kill(3, Crash::Everything);
    world.start(3);
    assert_eq!(world.found[2], found, "the rot is still there");
    assert_eq!(
        damage_of(&world, 3, 0),
        Damage::None,
        "and nothing depends on it"
    );
}

#[test]
fn a_damaged_replica_votes_for_nobody() {
    let mut world = world(8);
    for node in 1..=3 {
        world.kill(node, Crash::Everything);
    }
    let (slot, at) = place_of(&world.disks[2], &payload(6));
    world.disks[2].flip(slot, at as u64 + 10, 0);
    world.start(2);
    world.start(3);
    world.run_for(20 * ELECTION_NS);
    assert_eq!(world.leader(0), None, "one whole replica is no quorum");
    assert!(world.leader(1).is_some(), "the other group has two");
    world.start(1);
    world.add(0, b"after");
    let mut expected = all_of(0, 8);
    expected.push(b"after".to_vec());
    assert_eq!(world.settle(0), expected);
}

#[test]
fn the_mark_stays_until_the_repair_is_done_even_if_the_rot_is_gone() {
    let mut world = world(8);
    for node in 1..=3 {
        world.kill(node, Crash::Everything);
    }
    let (slot, at) = place_of(&world.disks[2], &payload(6));
    world.disks[2].flip(slot, at as u64 + 10, 0);
    world.start(3);
    world.run_for(SECOND);
    world.kill(3, Crash::Nothing);
    world.disks[2].flip(slot, at as u64 + 10, 0);
    world.start(3);
    assert_eq!(world.found[2], []);
    assert_eq!(damage_of(&world, 3, 0), Damage::Entries);
    world.start(1);
    world.start(2);
    world.run_until(10 * SECOND, "the repair", |world| {
        damage_of(world, 3, 0) == Damage::None
    });
    world.run_for(SECOND);
    world.kill(3, Crash::Nothing);
    world.start(3);
    assert_eq!(damage_of(&world, 3, 0), Damage::None);
    assert_eq!(world.settle(0), all_of(0, 8));
}

#[test]
fn a_crash_during_the_repair_leaves_the_replica_damaged() {
    for moment in 1..12 {
        let mut world = world(16);
        world.kill(3, Crash::Everything);
        let (slot, at) = place_of(&world.disks[2], &payload(2));
        world.disks[2].flip(slot, at as u64 + 10, 0);
        world.start(3);
        world.run_for(moment * 150_000);
        let was = damage_of(&world, 3, 0);
        world.kill(3, Crash::Seeded(moment));
        world.start(3);
        let is_healed = was == Damage::None;
        assert!(
            is_healed || damage_of(&world, 3, 0) == Damage::Entries,
            "moment {moment}: half a repair is none"
        );
        assert_eq!(world.settle(0), all_of(0, 16), "moment {moment}");
        world.run_until(10 * SECOND, "the repair", |world| {
            damage_of(world, 3, 0) == Damage::None
        });
    }
}

#[test]
fn damage_that_no_peer_can_repair_stops_its_group_alone() {
    let mut world = World::new(1, 2);
    world.elect();
    for number in 0..6 {
        world.add(u64::from(number % 2), &payload(number));
    }
    world.kill(1, Crash::Everything);
    let (slot, at) = place_of(&world.disks[0], &payload(2));
    world.disks[0].flip(slot, at as u64 + 10, 0);
    world.start(1);
    let found = world.found[0][0];
    assert_eq!((found.kind, found.group), (DamageKind::Payload, Some(0)));
    world.run_for(20 * ELECTION_NS);
    assert_eq!(world.leader(0), None);
    world.add(1, b"after");
    let mut expected = all_of(1, 6);
    expected.push(b"after".to_vec());
    assert_eq!(world.settle(1), expected);
}

#[test]
fn every_page_of_a_log_wiped_once_is_repaired_or_leaves_the_votes_in_doubt() {
    let (mut healed, mut doubted) = (0, 0);
    let whole = {
        let mut world = world(10);
        world.kill(3, Crash::Everything);
        world.disks[2].image()
    };
    for (&slot, bytes) in &whole {
        for at in (0..bytes.len()).step_by(PAGE) {
            if bytes[at..at + PAGE].iter().all(|&byte| byte == 0) {
                continue;
            }
            let mut world = world(10);
            world.kill(3, Crash::Everything);
            world.disks[2].edit(slot, |bytes| bytes[at..at + PAGE].fill(0xEE));
            world.start(3);
            world.add(0, b"after");
            world.add(1, b"after");
            for group in 0..2u8 {
                let mut expected = all_of(group, 10);
                expected.push(b"after".to_vec());
                assert_eq!(world.settle(u64::from(group)), expected, "{slot}, {at}");
            }
            world.run_for(2 * SECOND);
            for group in 0..2 {
                match damage_of(&world, 3, group) {
                    Damage::None => healed += 1,
                    Damage::Votes => doubted += 1,
                    Damage::Entries => panic!("page {at} of file {slot}: never repaired"),
                }
            }
        }
    }
    assert!(healed > 4 * doubted && doubted > 0, "{healed} {doubted}");
}

//! Processes die at bad moments; what was acknowledged is still there.

use wal::device::memory::{Crash, Fault};

use crate::tally::ADD;
use crate::world::{SECOND, World};

fn is_prefix_kept(acknowledged: &[Vec<u8>], found: &[Vec<u8>]) -> bool {
    acknowledged
        .iter()
        .all(|payload| found.iter().filter(|other| *other == payload).count() == 1)
}

#[test]
fn everything_acknowledged_survives_the_death_of_all() {
    for seed in 0..20 {
        let mut world = World::new(3, 1);
        world.elect();
        let mut acknowledged = Vec::new();
        for number in 0..8u8 {
            world.add(0, &[number; 300]);
            acknowledged.push(vec![number; 300]);
        }
        let leader = world.leader(0).expect("a leader");
        for number in 100..110u8 {
            world.ask(leader, 0, ADD, &[number; 300], false);
        }
        world.run_for(seed * 37_000);
        for node in 1..=3 {
            world.kill(node, Crash::Seeded(seed * 3 + u64::from(node)));
        }
        for node in 1..=3 {
            world.start(node);
        }
        world.elect();
        world.add(0, b"after");
        let found = world.settle(0);
        assert!(
            is_prefix_kept(&acknowledged, &found),
            "seed {seed}: {} found",
            found.len()
        );
    }
}

#[test]
fn a_dead_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut world = World::new(3, 1);
    let mut acknowledged = Vec::new();
    for round in 0..9u8 {
        let leader = world.elect();
        world.add(0, &[round; 64]);
        acknowledged.push(vec![round; 64]);
        world.kill(leader, Crash::Seeded(u64::from(round)));
        world.add(0, &[round + 100; 64]);
        acknowledged.push(vec![round + 100; 64]);
        world.start(leader);
        world.run_for(SECOND);
    }
    let found = world.settle(0);
    assert!(is_prefix_kept(&acknowledged, &found));
}

#[test]
fn a_restarted_node_replays_its_log_into_the_same_state() {
    let mut world = World::new(3, 3);
    world.elect();
    for number in 0..30u8 {
        world.add(u64::from(number % 3), &[number; 500]);
    }
    let before: Vec<_> = (0..3).map(|group| world.settle(group)).collect();
    for node in 1..=3 {
        world.kill(node, Crash::Nothing);
    }
    for node in 1..=3 {
        world.start(node);
    }
    world.elect();
    world.run_for(SECOND);
    for group in 0..3 {
        assert_eq!(world.settle(group), before[group as usize]);
    }
}

#[test]
fn a_failed_write_stops_the_node_and_the_others_go_on() {
    let mut world = World::new(3, 1);
    let leader = world.elect();
    let sick = leader % 3 + 1;
    world.disks[sick as usize - 1].fault_write(0, wal::device::memory::Fault::Eio);
    for number in 0..5u8 {
        world.add(0, &[number; 64]);
    }
    assert!(
        world.stopped[sick as usize - 1],
        "a node that cannot keep promises stops"
    );
    let healthy = (1..=3).find(|node| *node != sick).expect("two are left");
    assert_eq!(world.payloads(healthy, 0).len(), 5);
}

#[test]
fn a_node_whose_last_write_failed_stops_though_it_has_nothing_more_to_write() {
    let mut world = World::new(3, 1);
    let leader = world.elect();
    world.add(0, b"before");
    let follower = if leader == 1 { 2 } else { 1 };
    world.run_for(SECOND);
    world.disks[follower as usize - 1].fault_write(0, Fault::Eio);
    world.add(0, b"the last one");
    world.run_for(SECOND);
    assert!(
        world.stopped[follower as usize - 1],
        "it stays without ever acknowledging anything again"
    );
}

//! What a shard does not do, it says: wrong requests, wrong places, full disks, deaf clients.

use net::request::Status;

use crate::images::{SMALL, payload};
use crate::past::TINY;
use crate::tally::ADD;
use crate::world::{SECOND, World};

fn status_of(world: &mut World, node: u32, group: u64, operation: u8, payload: &[u8]) -> Status {
    let id = world.ask(node, group, operation, payload, false);
    world.run_until(SECOND, "an answer", |world| world.reply(id).is_some());
    world.reply(id).expect("just seen").0.status
}

#[test]
fn each_wrong_request_has_its_own_answer() {
    let mut world = World::new(1, 2);
    world.elect();
    assert_eq!(status_of(&mut world, 1, 9, ADD, b"x"), Status::UnknownGroup);
    assert_eq!(status_of(&mut world, 1, 0, ADD, b""), Status::Malformed);
    assert_eq!(
        status_of(&mut world, 1, 0, 77, b"x"),
        Status::UnknownOperation
    );
    assert_eq!(status_of(&mut world, 1, 1, ADD, b"x"), Status::Ok);
}

#[test]
fn a_full_disk_refuses_and_recovers_without_a_restart() {
    let mut world = World::new(1, 1);
    world.elect();
    world.disks[0].set_slots_max(Some(2));
    let mut acknowledged = 0;
    let in_doubt = loop {
        let id = world.ask(1, 0, ADD, &[7; 60_000], false);
        world.run_for(SECOND / 5);
        match world.reply(id).map(|(head, _)| head.status) {
            Some(Status::Ok) => acknowledged += 1,
            None => break id,
            other => panic!("{other:?}"),
        }
        assert!(acknowledged < 400, "two segments are never full");
    };
    assert_eq!(
        status_of(&mut world, 1, 0, ADD, b"more"),
        Status::StorageFull
    );
    world.disks[0].set_slots_max(None);
    world.run_until(2 * SECOND, "the one in doubt", |world| {
        world.reply(in_doubt).is_some()
    });
    assert_eq!(
        world.reply(in_doubt).expect("just seen").0.status,
        Status::Ok
    );
    assert_eq!(status_of(&mut world, 1, 0, ADD, &[8; 60_000]), Status::Ok);
    assert_eq!(
        world.settle(0).len(),
        acknowledged + 2,
        "nothing is lost, nothing refused took effect"
    );
}

#[test]
fn a_log_that_waits_for_files_in_the_making_makes_clients_wait_and_refuses_none() {
    let mut world = World::keeping(1, 1, SMALL, Some(TINY), None);
    world.elect();
    world.stores[0].set_latency_ns(SECOND / 2, SECOND / 2);
    let taken = |world: &mut World, numbers: std::ops::Range<u32>| {
        let mut ids = Vec::new();
        for number in numbers {
            ids.push(world.ask(1, 0, ADD, &payload(number, 30_000), false));
            world.run_for(SECOND / 1_000);
        }
        let is_over = |world: &World| ids.iter().all(|id| world.reply(*id).is_some());
        world.run_until(60 * SECOND, "answers", is_over);
        for id in ids {
            let status = world.reply(id).expect("just seen").0.status;
            assert_eq!(status, Status::Ok);
        }
    };
    for first in (0..300).step_by(5) {
        taken(&mut world, first..first + 5);
    }
    let refused = world.shard(1).log_stats().storage_full;
    assert!(refused > 0, "its log was never full");
    // What cannot be made is not waited for.
    world.stores[0].set_full(true);
    let refused = (300..700).any(|number| {
        let id = world.ask(1, 0, ADD, &payload(number, 30_000), false);
        // The one that found no room is in doubt, and has no answer yet.
        world.run_for(SECOND);
        let status = world.reply(id).map(|(head, _)| head.status);
        status == Some(Status::StorageFull)
    });
    assert!(refused, "a log holds no more than this");
    world.stores[0].set_full(false);
    world.run_for(10 * SECOND);
    taken(&mut world, 700..701);
}

#[test]
fn a_leader_with_a_full_disk_hands_over_and_is_given_nothing_back_while_it_is_full() {
    let mut world = World::new(3, 1);
    world.elect();
    world.run_for(3 * SECOND);
    assert_eq!(world.leader(0), Some(1), "the layout's choice");
    world.disks[0].set_slots_max(Some(2));
    let (mut acknowledged, mut tries) = (0, 0);
    while world.leader(0) == Some(1) {
        let id = world.ask(1, 0, ADD, &[7; 60_000], false);
        world.run_for(SECOND / 5);
        let status = world.reply(id).map(|(head, _)| head.status);
        acknowledged += usize::from(status == Some(Status::Ok));
        tries += 1;
        assert!(tries < 400, "it holds on to what it cannot serve");
    }
    world.run_until(2 * SECOND, "another leads", |world| {
        world.leader(0).is_some_and(|leader| leader != 1)
    });
    let (leader, transfers) = (world.leader(0), world.shard(1).counts().transfers);
    assert_eq!(transfers, 1);
    for number in 0..20 {
        world.add(0, &[number; 60_000]);
        world.run_for(SECOND);
        assert_eq!(world.leader(0), leader, "it stays away from the full disk");
    }
    world.disks[0].set_slots_max(None);
    world.run_until(30 * SECOND, "it leads again", |world| {
        world.leader(0) == Some(1)
    });
    let payloads = world.settle(0).len();
    assert!(
        payloads >= acknowledged + 20,
        "{payloads} of {acknowledged} and 20"
    );
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    let mut world = World::new(1, 1);
    world.elect();
    world.wire.0.borrow_mut().deaf.insert(1000);
    world.ask(1, 0, ADD, b"x", false);
    world.run_for(SECOND);
    assert_eq!(world.shard(1).reply_counts().deaf, 1);
    assert_eq!(
        world.payloads(1, 0).len(),
        1,
        "its command was durable all the same"
    );
}

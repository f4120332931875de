//! The way of a request when nothing breaks, and when the network does.

use net::request::Status;

use crate::tally::{ADD, LOOK};
use crate::world::{ELECTION_NS, SECOND, World};

#[test]
fn an_acknowledged_command_is_on_every_replica() {
    let mut world = World::new(3, 1);
    world.elect();
    for number in 0..20u8 {
        world.add(0, &[number; 100]);
    }
    let payloads = world.settle(0);
    assert_eq!(
        payloads,
        (0..20u8)
            .map(|number| vec![number; 100])
            .collect::<Vec<_>>()
    );
}

#[test]
fn one_replica_alone_acknowledges_what_is_durable() {
    let mut world = World::new(1, 1);
    world.elect();
    world.disks[0].hold(true);
    let id = world.ask(1, 0, ADD, b"held", false);
    world.run_for(SECOND);
    assert!(world.reply(id).is_none(), "not durable, not acknowledged");
    world.disks[0].hold(false);
    world.disks[0].release_write(0);
    world.run_until(SECOND, "the answer", |world| world.reply(id).is_some());
}

#[test]
fn leaders_spread_over_the_nodes() {
    let mut world = World::new(3, 30);
    world.elect();
    world.run_for(8 * SECOND);
    let mut led = [0; 4];
    for group in 0..30 {
        led[world.leader(group).expect("a leader") as usize] += 1;
    }
    assert_eq!(led, [0, 10, 10, 10]);
}

#[test]
fn a_late_node_gets_its_leaders_soon_evenly_and_not_all_at_once() {
    const GROUPS: u64 = 900;
    let mut world = World::new(3, GROUPS);
    world.kill(3, wal::device::memory::Crash::Everything);
    world.elect();
    world.start(3);
    let from = world.now();
    let moved = |world: &World| -> u64 {
        (1..=3)
            .map(|node| world.shard(node).counts().transfers)
            .sum()
    };
    let mut before = moved(&world);
    while world.now() < from + 5 * SECOND {
        // In one beat: a hundredth of the groups from each of the two nodes that lead.
        world.run_for(ELECTION_NS / 6);
        let after = moved(&world);
        assert!(
            after - before <= 2 * GROUPS / 100,
            "{} at once",
            after - before
        );
        before = after;
    }
    let mut led = [0; 4];
    for group in 0..GROUPS {
        led[world.leader(group).expect("a leader") as usize] += 1;
    }
    assert_eq!(led, [0, 300, 300, 300]);
}

#[test]
fn requests_of_many_sessions_share_a_write() {
    let mut world = World::new(1, 1);
    world.elect();
    let before = world.shard(1).log_stats().writes;
    let ids: Vec<u64> = (0..64u8)
        .map(|number| world.ask(1, 0, ADD, &[number], false))
        .collect();
    world.run_until(SECOND, "all answers", |world| {
        ids.iter().all(|id| world.reply(*id).is_some())
    });
    let writes = world.shard(1).log_stats().writes - before;
    assert!(
        writes <= 2,
        "64 requests that arrive together are {writes} writes"
    );
}

#[test]
fn a_follower_refuses_and_names_the_leader() {
    let mut world = World::new(3, 1);
    let leader = world.elect();
    let follower = leader % 3 + 1;
    let id = world.ask(follower, 0, ADD, b"x", false);
    world.run_until(SECOND, "a refusal", |world| world.reply(id).is_some());
    let (head, _) = world.reply(id).expect("just seen");
    assert_eq!((head.status, head.leader), (Status::NotLeader, leader));
}

#[test]
fn a_linearizable_read_sees_what_was_acknowledged() {
    let mut world = World::new(3, 1);
    let leader = world.elect();
    for number in 1..=5u64 {
        world.add(0, &[number as u8]);
        assert_eq!(world.look(leader, 0, false), Some((Status::Ok, number)));
    }
    world.settle(0);
    let follower = leader % 3 + 1;
    assert_eq!(world.look(follower, 0, true), Some((Status::Ok, 5)));
}

#[test]
fn a_leader_that_is_cut_off_answers_no_linearizable_read() {
    let mut world = World::new(3, 1);
    let leader = world.elect();
    world.add(0, b"before");
    for other in (1..=3).filter(|node| *node != leader) {
        world.wire.cut(leader, other);
    }
    let id = world.ask(leader, 0, LOOK, &[], false);
    world.run_for(4 * ELECTION_NS);
    let answer = world.reply(id).map(|(head, _)| head.status);
    assert_ne!(answer, Some(Status::Ok));
}

#[test]
fn a_follower_that_was_away_catches_up_from_the_log() {
    let mut world = World::new(3, 1);
    let leader = world.elect();
    let away = leader % 3 + 1;
    world.kill(away, wal::device::memory::Crash::Everything);
    for number in 0..60u8 {
        world.add(0, &[number; 1000]);
    }
    world.start(away);
    assert_eq!(world.settle(0).len(), 60);
}

#[test]
fn a_lost_connection_loses_no_command() {
    let mut world = World::new(3, 4);
    world.elect();
    for round in 0..12u8 {
        let node = u32::from(round % 3) + 1;
        world.add(u64::from(round % 4), &[round; 50]);
        world.reconnect(node);
    }
    let total: usize = (0..4).map(|group| world.settle(group).len()).sum();
    assert!(total >= 12);
}

#[test]
fn idle_groups_say_nothing() {
    let mut world = World::new(3, 200);
    world.elect();
    world.run_for(5 * SECOND);
    let before: Vec<_> = (1..=3).map(|node| world.shard(node).counts()).collect();
    world.run_for(10 * SECOND);
    for (node, before) in (1..=3).zip(before) {
        let after = world.shard(node).counts();
        assert_eq!(after.messages_out, before.messages_out, "no group speaks");
        let envelopes = after.envelopes_out - before.envelopes_out;
        assert!(
            envelopes <= 2 * (10 * SECOND).div_ceil(ELECTION_NS / 6) + 2,
            "{envelopes} beats"
        );
    }
}

#[test]
fn a_node_that_lags_in_many_groups_catches_up_in_all_of_them() {
    let groups = 3 * shard::limits::CATCH_UP_READS_MAX as u64;
    let mut world = World::new(3, groups);
    world.elect();
    world.kill(3, wal::device::memory::Crash::Everything);
    world.elect();
    for number in 0..6u8 {
        for group in 0..groups {
            world.add(group, &[number; 3000]);
        }
    }
    world.start(3);
    for group in 0..groups {
        assert_eq!(world.settle(group).len(), 6);
    }
}

#[test]
fn a_request_in_the_log_of_a_deposed_leader_is_in_doubt() {
    let mut world = World::new(3, 1);
    let leader = world.elect();
    for other in (1..=3).filter(|node| *node != leader) {
        world.wire.cut(leader, other);
    }
    let id = world.ask(leader, 0, ADD, b"in doubt", false);
    world.run_until(10 * SECOND, "it steps down", |world| {
        world.reply(id).is_some()
    });
    assert_eq!(
        world.reply(id).expect("just seen").0.status,
        Status::Unavailable
    );
}

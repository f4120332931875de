//! Nodes under new ids: they take no part until a configuration names them, and who left does no harm.

use raft::change::Change;
use raft::effects::Role;
use raft::ids::NodeId;
use raft::raft::Raft;
use shard::setup::Keeping;
use wal::device::memory::Crash;

use crate::images::{SMALL, numbers, payload};
use crate::tally::ADD;
use crate::world::{ELECTION_NS, SECOND, Terms, World};

const BYTES: usize = 9_000;

fn raft(world: &World, node: u32) -> &Raft {
    &world.shard(node).replicas()[0].raft
}

/// Who leads, of these nodes.
fn leader(world: &mut World, nodes: &[u32]) -> u32 {
    let leads = |world: &World| {
        let leads = |node: &&u32| world.is_up(**node) && raft(world, **node).role() == Role::Leader;
        nodes.iter().find(leads).copied()
    };
    world.run_until(20 * SECOND, "somebody leads", |world| {
        leads(world).is_some()
    });
    leads(world).expect("just seen")
}

/// Adds these numbers through whoever leads, and asks again until they are acknowledged.
fn add(world: &mut World, nodes: &[u32], numbers: std::ops::Range<u32>) {
    for number in numbers {
        let is_added = (0..50).any(|_| {
            let node = leader(world, nodes);
            let id = world.ask(node, 0, ADD, &payload(number, BYTES), false);
            world.run_for(ELECTION_NS);
            let reply = world.reply(id);
            reply.is_some_and(|(head, _)| head.status == net::request::Status::Ok)
        });
        assert!(is_added, "no acknowledgement in fifty tries");
    }
}

/// Asks whoever leads for other members until it is granted, and waits until the configuration is alone and committed.
fn change(world: &mut World, nodes: &[u32], changes: &[Change]) {
    let is_granted = (0..50).any(|_| {
        let node = leader(world, nodes);
        let is_granted = world.change(node, 0, changes.to_vec());
        world.run_for(ELECTION_NS);
        is_granted
    });
    assert!(is_granted, "no change in fifty tries");
    let node = leader(world, nodes);
    world.run_until(20 * SECOND, "the configuration is alone", |world| {
        let raft = raft(world, node);
        !raft.membership().is_joint() && raft.commit() >= raft.membership_index()
    });
}

/// Waits until these nodes hold the numbers below this.
fn settled(world: &mut World, nodes: &[u32], end: u32) {
    world.run_until(60 * SECOND, "replicas agree", |world| {
        let is_whole = |node: &u32| world.payloads(*node, 0).len() >= end as usize;
        nodes.iter().all(is_whole)
    });
    for node in nodes {
        let found = numbers(&world.payloads(*node, 0));
        assert_eq!(found, (0..end).collect::<Vec<_>>(), "node {node}");
    }
}

#[test]
fn a_spare_node_takes_the_place_of_a_founder_that_comes_back_in_vain() {
    let terms = Terms { spares: 1, ..SMALL };
    let mut world = World::with(4, 1, terms);
    add(&mut world, &[1, 2, 3], 0..60);
    let spare = raft(&world, 4);
    assert!(!spare.membership().is_voter(NodeId(4)));
    assert_eq!((spare.last_index().0, spare.role()), (0, Role::Follower));

    change(&mut world, &[1, 2, 3], &[Change::learner(NodeId(4))]);
    settled(&mut world, &[1, 2, 3, 4], 60);
    let gone = leader(&mut world, &[1, 2, 3]) % 3 + 1;
    let exchange = [
        Change::voter(NodeId(4)),
        Change::Remove { node: NodeId(gone) },
    ];
    change(&mut world, &[1, 2, 3], &exchange);
    world.kill(gone, Crash::Everything);
    let left: Vec<u32> = (1..=4).filter(|node| *node != gone).collect();
    add(&mut world, &left, 60..120);
    settled(&mut world, &left, 120);

    // Its disk says that it votes; the others know better.
    let term = raft(&world, left[0]).term();
    world.start(gone);
    world.run_for(20 * ELECTION_NS);
    assert_ne!(raft(&world, gone).role(), Role::Leader);
    assert_eq!(raft(&world, left[0]).term(), term, "nobody is disturbed");
    let node = leader(&mut world, &left);
    let back = vec![Change::learner(NodeId(gone))];
    assert!(!world.change(node, 0, back), "its id is spent");

    // The newcomer remembers that it votes.
    world.kill(4, Crash::Everything);
    world.start(4);
    assert!(raft(&world, 4).membership().is_voter(NodeId(4)));
    add(&mut world, &left, 120..130);
    settled(&mut world, &left, 130);
}

#[test]
fn a_group_moves_to_nodes_that_never_had_it() {
    let keeping = Keeping {
        log_bytes: 0,
        ..SMALL.keeping
    };
    let terms = Terms {
        spares: 3,
        keeping,
        ..SMALL
    };
    let mut world = World::with(6, 1, terms);
    let (old, new) = ([1, 2, 3], [4, 5, 6]);
    add(&mut world, &old, 0..120);
    let learn = new.map(|node| Change::learner(NodeId(node)));
    change(&mut world, &old, &learn);
    settled(&mut world, &new, 120);
    let votes = new.map(|node| Change::voter(NodeId(node)));
    let gone = old.map(|node| Change::Remove { node: NodeId(node) });
    let node = leader(&mut world, &old);
    assert!(world.change(node, 0, [votes, gone].concat()));
    add(&mut world, &new, 120..130);
    old.iter()
        .for_each(|node| world.kill(*node, Crash::Everything));
    add(&mut world, &new, 130..140);
    settled(&mut world, &new, 140);
    // All of the old ones together are a quorum of what they remember, and still lead nothing.
    old.iter().for_each(|node| world.start(*node));
    world.run_for(20 * ELECTION_NS);
    let leads = |node: &u32| raft(&world, *node).role() == Role::Leader;
    assert!(!old.iter().any(leads));
    add(&mut world, &new, 140..150);
    settled(&mut world, &new, 150);
}

//! Who leads, and who does not.

use raft::change::{Change, Transition};
use raft::effects::Role;
use raft::ids::Term;
use raft::message::Body;
use raft::requests::MembershipChange;

use crate::cluster::{Cluster, Packet, TIMEOUT, node};

#[test]
fn the_first_rank_leads_at_first_start_quickly() {
    for count in [1, 2, 3, 5, 7] {
        let mut cluster = Cluster::of(count);
        cluster.pass(TIMEOUT / 5);
        assert_eq!(cluster.leader(), Some(node(1)), "of {count}");
        assert_eq!(cluster.raft(1).term(), Term(1));
        let command = cluster.propose(node(1));
        cluster.settle();
        cluster.assert_all_applied(command);
    }
}

#[test]
fn a_group_at_rest_costs_nothing() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.elect();
    cluster.propose(leader);
    cluster.pass(3 * TIMEOUT);
    for id in cluster.alive() {
        assert_eq!(cluster.nodes[&id].wake, None, "node {id}");
    }
    let sent = cluster.sent;
    cluster.pass(50 * TIMEOUT);
    assert_eq!(cluster.sent, sent);
    assert_eq!(cluster.leader(), Some(leader));
}

#[test]
fn the_next_rank_follows_a_silent_leader() {
    let mut cluster = Cluster::of(3);
    assert_eq!(cluster.elect(), node(1));
    cluster.pass(3 * TIMEOUT);
    cluster.crash(node(1));
    cluster.pass(TIMEOUT * 16 / 10);
    assert_eq!(cluster.elect(), node(2));
    cluster
        .start(node(1), raft::config::Damage::None)
        .expect("sound");
    cluster.pass(3 * TIMEOUT);
    assert_eq!(
        cluster.leader(),
        Some(node(2)),
        "a live leader is not disturbed"
    );
    assert_eq!(cluster.raft(1).leader(), Some(node(2)));
    let command = cluster.propose(node(2));
    cluster.settle();
    cluster.assert_all_applied(command);
}

#[test]
fn a_leader_without_a_quorum_steps_down() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.elect();
    cluster.isolate(leader);
    cluster.pass(2 * TIMEOUT);
    assert_eq!(cluster.raft(leader.0).role(), Role::PreCandidate);
    assert_eq!(
        cluster.raft(leader.0).term(),
        Term(1),
        "a pre-vote raises no term"
    );
    let other = cluster.elect();
    assert_ne!(other, leader);
    cluster.heal();
    cluster.pass(3 * TIMEOUT);
    assert_eq!(cluster.leader(), Some(other));
    assert_eq!(cluster.raft(leader.0).role(), Role::Follower);
}

#[test]
fn a_restarted_leader_is_followed_by_somebody() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.elect();
    cluster.pass(3 * TIMEOUT);
    cluster.restart(leader);
    cluster.pass(3 * TIMEOUT);
    let leader = cluster.elect();
    let command = cluster.propose(leader);
    cluster.settle();
    cluster.assert_all_applied(command);
}

/// The node of the leader that resigned lives on: whoever followed it again would wait for it for good.
#[test]
fn a_leader_that_resigned_is_not_followed_again_for_what_it_said_before() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.elect();
    cluster.propose(leader);
    let said: Vec<Packet> = cluster.network.iter().cloned().collect();
    assert!(said.len() > 1 && said.iter().all(|packet| packet.from == leader));
    cluster.settle();
    let removal = MembershipChange {
        changes: vec![Change::Remove { node: leader }],
        quorum: None,
        transition: Transition::Auto,
    };
    let taken = cluster.mutate(leader, |raft, _, _| raft.change_membership(&removal));
    assert!(taken.is_ok());
    // It hands over, and nobody hears that.
    while cluster.raft(leader.0).role() == Role::Leader || !cluster.network.is_empty() {
        let is_lost = |packet: &Packet| matches!(packet.message.body, Body::TimeoutNow);
        cluster.network.retain(|packet| !is_lost(packet));
        cluster.deliver(0);
        for id in cluster.alive() {
            while cluster.complete(id) {}
        }
    }
    let term = cluster.raft(leader.0).term();
    for packet in said {
        assert_eq!(packet.message.term, term, "of the term that it led");
        cluster.arrive(packet);
    }
    for id in cluster.alive() {
        assert_eq!(cluster.raft(id.0).leader(), None, "node {id}");
    }
    cluster.pass(3 * TIMEOUT);
    let next = cluster.leader();
    assert!(next.is_some_and(|next| next != leader), "{next:?}");
}

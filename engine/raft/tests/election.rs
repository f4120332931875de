//! Who leads, and who does not.

use raft::effects::Role;
use raft::ids::Term;

use crate::cluster::{Cluster, TIMEOUT, node};

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

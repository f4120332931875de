//! Reads of bounded staleness: what replicas claim to reflect is true, and not needlessly old.
//!
//! - That no claim is too young is checked after every step of every test (`Cluster::check_freshness`), in the random
//!   schedules with clocks that drift.

use std::panic::{AssertUnwindSafe, catch_unwind};

use raft::ids::{NodeId, Time};
use raft::mutants::Mutant;

use crate::cluster::{Cluster, TIMEOUT, node};

/// Three nodes with an elected leader; clocks differ by up to `rate` thousandths of what may be at most a tenth.
fn group(rate: i64, mutant: Option<Mutant>) -> Cluster {
    let mut cluster = Cluster::with(3, |config| {
        config.lease_drift = Some(TIMEOUT / 10);
        config.mutant = mutant;
    });
    for (node, rate) in cluster.nodes.values_mut().zip([rate, -rate, 0]) {
        node.rate = rate;
    }
    cluster.elect();
    cluster.pass(TIMEOUT);
    cluster
}

fn reflects(cluster: &Cluster, id: u32) -> Option<Time> {
    cluster.raft(id).reflects(cluster.local(node(id)))
}

/// How old the state of a node is known to be at most.
fn age(cluster: &Cluster, id: u32) -> Option<u64> {
    let now = cluster.local(node(id));
    reflects(cluster, id).map(|at| now.since(at))
}

fn renew(cluster: &mut Cluster) {
    let leader = cluster.leader().expect("a leader");
    cluster.mutate(leader, |raft, now, _| raft.renew(now));
    cluster.settle();
}

/// Signs of life go round, and everything that was stated arrives.
fn tell(cluster: &mut Cluster) {
    cluster.statements.clear();
    cluster.hear();
    while !cluster.statements.is_empty() {
        cluster.tell(0);
    }
}

#[test]
fn followers_know_how_old_their_state_is_without_a_round_of_their_own() {
    let mut cluster = group(45, None);
    assert_eq!(reflects(&cluster, 2), None, "nothing was stated");
    cluster.propose(node(1));
    cluster.settle();
    renew(&mut cluster);
    tell(&mut cluster);
    for id in [2, 3] {
        // One exchange of signs of life is a tenth of a timeout old; the drift adds a tenth of that.
        let age = age(&cluster, id).expect("the leader has stated something");
        assert!(age <= TIMEOUT / 10 + TIMEOUT / 50, "node {id}: {age}");
    }
    // Nothing is stated for a while: the state ages with the clock.
    cluster.pass(5 * TIMEOUT);
    assert!(age(&cluster, 2).is_some_and(|age| age >= 4 * TIMEOUT));
    assert!(cluster.raft(1).term() == cluster.raft(2).term());
}

#[test]
fn what_is_not_applied_is_not_reflected() {
    let mut cluster = group(0, None);
    renew(&mut cluster);
    tell(&mut cluster);
    let before = reflects(&cluster, 3).expect("stated");
    cluster.sever(node(1), node(3));
    cluster.propose(node(1));
    cluster.settle();
    cluster.pass(TIMEOUT / 5);
    renew(&mut cluster);
    // The statement goes to node 3 by another way than entries.
    let closed = cluster
        .raft(1)
        .closed(cluster.local(node(1)))
        .expect("a lease");
    cluster.mutate(node(3), |raft, _, liveness| {
        raft.closed_at(node(1), 1, closed, liveness);
    });
    assert_eq!(reflects(&cluster, 3), Some(before));
    cluster.heal();
    cluster.settle();
    let after = reflects(&cluster, 3);
    assert!(after > Some(before), "{after:?}: applied, and so reflected");
}

#[test]
fn a_leader_without_a_quorum_states_nothing_new() {
    let mut cluster = group(0, None);
    renew(&mut cluster);
    cluster.isolate(node(1));
    cluster.pass(TIMEOUT / 2);
    renew(&mut cluster);
    let now = cluster.local(node(1));
    assert!(
        cluster
            .raft(1)
            .closed(now)
            .is_some_and(|closed| closed.at == now),
        "the lease is in force"
    );
    cluster.pass(TIMEOUT * 45 / 100);
    let now = cluster.local(node(1));
    let closed = cluster.raft(1).closed(now).expect("the past stays closed");
    assert!(now.since(closed.at) > TIMEOUT * 9 / 10);
}

#[test]
fn a_statement_of_another_process_of_the_leader_is_not_translated() {
    let mut cluster = group(0, None);
    renew(&mut cluster);
    cluster.statements.clear();
    cluster.hear();
    let old = *cluster.statements.front().expect("the leader spoke");
    assert_eq!(old.from, node(1));
    cluster.restart(node(1));
    cluster.hear();
    cluster.hear();
    let at = cluster
        .statements
        .iter()
        .position(|statement| statement.closed == old.closed);
    cluster.tell(at.expect("on its way"));
    assert_eq!(reflects(&cluster, old.to.0), None);
}

#[test]
fn without_a_bound_on_drift_no_statement_is_believed() {
    let mut cluster = Cluster::of(3);
    cluster.elect();
    renew(&mut cluster);
    tell(&mut cluster);
    assert_eq!(reflects(&cluster, 2), None);
    assert!(reflects(&cluster, 1).is_some(), "its own clock it knows");
}

/// A deposed leader that hears nobody, and a follower that still hears it.
fn deposed(mutant: Option<Mutant>) {
    let mut cluster = group(0, mutant);
    cluster.sever(node(1), node(2));
    cluster.sever(node(1), node(3));
    cluster.mutate(node(2), |raft, now, _| raft.campaign(now));
    cluster.pass(2 * TIMEOUT);
    assert_eq!(cluster.leader(), Some(node(2)));
    cluster.propose(node(2));
    cluster.settle();
    cluster.step_clock(TIMEOUT / 10);
    cluster.check();
}

#[test]
fn a_deposed_leader_does_not_close_the_present() {
    let run = |mutant| {
        let result = catch_unwind(AssertUnwindSafe(|| {
            // Node 1 keeps its role: it is not told the time while the others elect.
            let mut cluster = group(0, mutant);
            cluster.isolate(node(1));
            cluster.nodes.get_mut(&node(1)).expect("known").wake = None;
            for _ in 0..30 {
                cluster.now = cluster.now.plus(TIMEOUT / 10);
                for id in [2, 3] {
                    cluster.mutate(node(id), |raft, now, liveness| raft.tick(now, liveness));
                }
                cluster.settle();
            }
            assert_eq!(cluster.leader(), Some(node(2)));
            cluster.propose(node(2));
            cluster.settle();
            cluster.now = cluster.now.plus(TIMEOUT);
            cluster.check();
        }));
        result.is_ok()
    };
    assert!(run(None));
    assert!(!run(Some(Mutant::ClosedWithoutRound)));
    println!("{:?}: caught", Mutant::ClosedWithoutRound);
    deposed(None);
}

#[test]
fn clocks_drift_and_the_claim_allows_for_it() {
    let run = |mutant| {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut cluster = group(45, mutant);
            renew(&mut cluster);
            tell(&mut cluster);
            // The clocks are not compared for two timeouts; the leader's is the fastest, node 2's the slowest.
            cluster.now = cluster.now.plus(2 * TIMEOUT);
            renew(&mut cluster);
            let closed = cluster.raft(1).closed(cluster.local(node(1)));
            let closed = closed.expect("a round was confirmed");
            cluster.propose(node(1));
            // Committed at the leader, on its way to node 2.
            let cut: Vec<NodeId> = vec![node(2)];
            while let Some(at) = cluster
                .network
                .iter()
                .position(|packet| !cut.contains(&packet.to))
            {
                cluster.complete(node(1));
                cluster.complete(node(3));
                cluster.deliver(at);
                cluster.complete(node(3));
            }
            cluster.now = cluster.now.plus(TIMEOUT / 20);
            cluster.mutate(node(2), |raft, _, liveness| {
                raft.closed_at(node(1), 1, closed, liveness);
            });
        }));
        result.is_ok()
    };
    assert!(run(None));
    assert!(!run(Some(Mutant::DriftForgotten)));
    println!("{:?}: caught", Mutant::DriftForgotten);
}

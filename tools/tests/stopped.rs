//! A replica that stops reading, its process stopped with its sockets open: the others go on within their bounds, and it catches up.

use engine::{Client, GroupId, Layout, NodeId};
use ledger::instruction::operation;
use serde_json::Value;
use zerocopy::IntoBytes;

use crate::processes::{self, Nodes, client, create_accounts, layout, signal, transfers, until};

/// Full batches: about a megabyte each.
const BATCH: u128 = 8_000;
/// More than a peer's queue and the kernel's buffers of a connection hold together.
const BATCHES: u128 = 40;

fn status(layout: &Layout, node: u32) -> Value {
    let address = layout.address_of(NodeId(node), 0).expect("it is there");
    processes::status(address)
}

fn load(client: &mut Client, first_batch: u128) {
    for batch in first_batch..first_batch + BATCHES {
        let body = transfers(1 + batch * BATCH, BATCH).as_bytes().to_vec();
        client
            .request(GroupId(0), operation::CREATE_TRANSFERS, body)
            .expect("two of three are a quorum");
    }
}

fn goes_on_without_the_stopped(io: &str) {
    let base = tempfile::tempdir().expect("a temporary folder");
    let (layout, folders) = layout(base.path());
    let nodes = Nodes::start(&folders, io, &[]);
    let mut admin = client(&layout, 1);
    create_accounts(&mut admin);
    load(&mut admin, 0);
    let leader = (1..=3)
        .find_map(|node| status(&layout, node)["groups"][0]["leader"].as_u64())
        .expect("it took transfers");
    let stopped = (1..=3)
        .find(|node| u64::from(*node) != leader)
        .expect("three nodes");
    signal(nodes.pid(stopped), "-STOP");
    load(&mut admin, BATCHES);
    let leader = u32::try_from(leader).expect("a node");
    until("it is seen to be silent", || {
        let seen = status(&layout, leader);
        let peers = seen["peers"].as_array().expect("a list");
        let is_deaf = |peer: &&Value| peer["node"] == stopped && peer["alive"] == false;
        peers.iter().find(is_deaf).is_some()
    });
    signal(nodes.pid(stopped), "-CONT");
    until("it has all", || {
        let replica = |node: u32| status(&layout, node)["groups"][0].clone();
        let (one, other) = (replica(leader), replica(stopped));
        let is_level = one["applied"] == other["applied"];
        if is_level {
            assert_eq!(one["digest"], other["digest"]);
        }
        is_level
    });
}

#[test]
fn a_replica_that_stops_reading_stops_nobody_under_glommio() {
    goes_on_without_the_stopped("glommio");
}

#[test]
fn a_replica_that_stops_reading_stops_nobody_under_threads() {
    goes_on_without_the_stopped("threads");
}

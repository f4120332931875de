//! The doctor and its peers: running nodes are told with version, clock, round trip and segments; strangers by cause.

use std::process::Output;

use engine::NodeId;
use serde_json::Value;

use crate::processes::{CLUSTER, Nodes, client, create_accounts, layout, quorate};

fn findings(addresses: &str, cluster: u64) -> (Output, Vec<Value>) {
    let output = quorate(&["doctor", "--watch", "10ms", "--peers", addresses])
        .args(["--cluster", &cluster.to_string(), "--output", "json"])
        .stdout(std::process::Stdio::piped())
        .output()
        .expect("the binary runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let checks = report["checks"].as_array().expect("a list").clone();
    let of_peers = checks.into_iter().filter(|check| check["name"] == "peer");
    (output, of_peers.collect())
}

#[test]
fn running_nodes_are_told_with_version_clock_round_trip_and_segments() {
    let base = tempfile::tempdir().expect("a temporary folder");
    let (layout, folders) = layout(base.path());
    let _nodes = Nodes::start(&folders, "threads", &[]);
    create_accounts(&mut client(&layout, 1));
    // The node that led took part; which one that is does not matter here.
    let addresses: Vec<String> = (1..=3)
        .filter_map(|node| layout.address_of(NodeId(node), 0))
        .map(|address| address.to_string())
        .collect();
    let (_, peers) = findings(&addresses.join(","), CLUSTER);
    assert_eq!(peers.len(), 3);
    let told = peers.iter().filter(|peer| {
        let evidence = peer["evidence"].as_str().expect("a text");
        [
            "of the cluster, version",
            "clock",
            "round trip",
            "segments of",
        ]
        .iter()
        .all(|part| evidence.contains(part))
    });
    assert!(told.count() >= 2, "a quorum runs: {peers:?}");
    let (output, strangers) = findings(&addresses.join(","), CLUSTER + 1);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        strangers
            .iter()
            .filter(|peer| peer["code"] == "E4003")
            .count()
            >= 2,
        "{strangers:?}"
    );
}

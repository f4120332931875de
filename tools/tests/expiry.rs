//! Three processes keep what they store for a few seconds only: it expires, its objects go, and whoever asks is told.

use engine::clock::SystemClock;
use engine::{ClientError, GroupId};
use ledger::instruction::operation;
use serde_json::Value;
use zerocopy::IntoBytes;

use crate::history::{json, stored};
use crate::processes::{
    CLUSTER, Nodes, PATIENCE, client, create_accounts, layout, quorate, status, transfers,
};

/// Transfers in a request: most of a mebibyte of them.
const BATCH: u128 = 7_000;

#[test]
fn what_is_over_expires_from_the_store_and_its_objects_go() {
    let base = tempfile::tempdir().expect("a temporary folder");
    let (layout, folders) = layout(base.path());
    let cold = format!("file://{}", base.path().join("cold").display());
    let flags = [
        ["--cold", &cold],
        ["--cold-retention", "expire:8s"],
        ["--cold-chores-every", "1s"],
        ["--cold-grace", "12s"],
        ["--cold-compression", "none"],
        ["--image-after", "4MiB"],
        ["--log-keep", "4MiB"],
        ["--log-max", "64MiB"],
    ];
    let mut nodes = Nodes::start(&folders, "threads", &flags.concat());
    let mut admin = client(&layout, 1);
    create_accounts(&mut admin);
    let deadline = SystemClock.now().plus(2 * PATIENCE.as_nanos() as u64);
    let mut sent = 0_u128;
    let mut send = |admin: &mut engine::Client| {
        // A log that is full until the store took more refuses for a while; whoever has to write asks again.
        loop {
            let body = transfers(1 + sent * BATCH, BATCH).as_bytes().to_vec();
            match admin.request(GroupId(0), operation::CREATE_TRANSFERS, body) {
                Ok(_) => break,
                Err(ClientError::Refused(_) | ClientError::Unavailable(_))
                    if SystemClock.now() < deadline => {}
                Err(error) => panic!("acknowledged in the end: {error}"),
            }
        }
        sent += 1;
        sent
    };
    // Something is stored, from the first entry on.
    let is_there = || base.path().join("cold").join("v1").is_dir();
    let oldest = loop {
        send(&mut admin);
        if let Some(oldest) = is_there()
            .then(|| stored(&cold))
            .and_then(|all| all.first().copied())
        {
            break oldest;
        }
        assert!(SystemClock.now() < deadline, "nothing is stored");
    };
    // It expires and is swept, while newer ones come; told by the leader.
    let counters = |name: &str| -> u64 {
        let nodes = layout.nodes.iter().map(|node| status(node.address));
        nodes
            .map(|status: Value| status["store"][name].as_u64().expect("a counter"))
            .sum()
    };
    let objects = || {
        let segments = base.path().join("cold/v1/0000000000000000/segments");
        let named = segments.read_dir().expect("a folder").flatten();
        let mut names: Vec<String> = named
            .map(|object| object.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    };
    let first = format!("{:020}-{:020}-", oldest.0, oldest.1);
    let is_gone = || {
        let is_named = stored(&cold).first().is_some_and(|now| now.0 <= oldest.0);
        !is_named && !objects().iter().any(|name| name.starts_with(&first))
    };
    while !is_gone() || counters("expired_segments") == 0 || counters("swept_objects") == 0 {
        assert!(
            SystemClock.now() < deadline,
            "{oldest:?} stays: {:?}, {:?}",
            stored(&cold),
            objects()
        );
        send(&mut admin);
    }
    // Nobody has the first entry any more: a gap, and where it goes on. What remains is read.
    let told = loop {
        let told = admin.history(GroupId(0), 1).expect("it is answered");
        if told.entries.is_empty() {
            break told;
        }
        assert!(
            SystemClock.now() < deadline,
            "copies of what is stored stay"
        );
        send(&mut admin);
    };
    assert!(
        told.next > oldest.1 && told.next <= told.applied,
        "{told:?}"
    );
    // What is kept of it is whole to the end, unless more of it expires meanwhile.
    let (mut next, mut read) = (told.next, 0);
    while next <= told.applied {
        let told = admin.history(GroupId(0), next).expect("it is answered");
        assert!(
            told.entries.iter().all(|entry| entry.index >= next),
            "{told:?}"
        );
        // Another node may lead meanwhile, which has not applied that much yet.
        assert!(told.next > next || SystemClock.now() < deadline, "{told:?}");
        (next, read) = (told.next, read + told.entries.len());
    }
    assert!(read > 0, "the newest entries are in the log at least");
    // Money does not expire.
    let count = send(&mut admin);
    let ids: Vec<u8> = (0..count)
        .flat_map(|nth| (1 + nth * BATCH).to_le_bytes())
        .collect();
    let found = admin.request(GroupId(0), operation::LOOKUP_TRANSFERS, ids);
    assert_eq!(found.expect("a read").len(), count as usize * 128);
    told_by_the_tool(&layout);
    nodes.kill();
}

/// `quorate status` tells what lies where, for people and in JSON; `quorate history` tells the gap.
fn told_by_the_tool(layout: &engine::Layout) {
    let addresses: Vec<String> = layout
        .nodes
        .iter()
        .map(|node| node.address.to_string())
        .collect();
    let (cluster, addresses) = (CLUSTER.to_string(), addresses.join(","));
    let asked = ["status", "--cluster", &cluster, "--addresses", &addresses];
    let report = json(&asked);
    let sum = |of: &dyn Fn(&Value) -> Option<u64>| -> u64 {
        let nodes = report["nodes"].as_array().expect("a list").iter();
        nodes.map(|node| of(node).expect("a number")).sum()
    };
    assert!(
        sum(&|node| node["store"]["uploaded_bytes"].as_u64()) > 0,
        "{report:#}"
    );
    assert!(
        sum(&|node| node["store"]["expired_segments"].as_u64()) > 0,
        "{report:#}"
    );
    assert!(
        sum(&|node| node["sealed"]["stored_entries"].as_u64()) > 0,
        "{report:#}"
    );
    let output = quorate(&asked)
        .stdout(std::process::Stdio::piped())
        .output()
        .expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("text");
    for said in [
        "entries stored",
        "bytes stored",
        "repeated",
        "hits",
        "in vain",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let asked = [
        "history",
        "--cluster",
        &cluster,
        "--addresses",
        &addresses,
        "--count",
        "1",
    ];
    let report = json(&asked);
    let gap = &report["gaps"][0];
    assert_eq!(gap["first"], 1, "{report}");
    assert!(gap["last"].as_u64() > Some(1), "{report}");
}

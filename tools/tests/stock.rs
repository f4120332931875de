//! Nodes that are told nothing of memory touch some for themselves while they serve; those that are told to touch none do not.

use std::fs;

use engine::GroupId;
use ledger::instruction::operation;
use zerocopy::IntoBytes;

use crate::processes::{Nodes, client, create_accounts, layout, signal, transfers, until};

const NODES: [u32; 3] = [1, 2, 3];

/// More than a node takes for other things that it was not told of.
const TOUCHED_BYTES: u64 = 64 << 20;

/// Memory of a process that is no file's.
fn anonymous_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .expect("the kernel counts it");
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>();
    kilobytes.expect("a number") << 10
}

#[test]
fn nodes_that_are_told_nothing_touch_memory_while_they_serve() {
    let base = tempfile::tempdir().expect("a temporary folder");
    let (layout, folders) = layout(base.path());
    let mut admin = client(&layout, 1);
    let full_batch = |first| transfers(first, 8_000).as_bytes().to_vec();

    let mut nodes = Nodes::start(&folders, "threads", &[]);
    create_accounts(&mut admin);
    let created = admin.request(GroupId(0), operation::CREATE_TRANSFERS, full_batch(1));
    created.expect("a quorum is there");
    let told_none = NODES.map(|node| anonymous_bytes(nodes.pid(node)));
    nodes.kill();

    let mut nodes = Nodes::start_untold(&folders, "threads");
    for (node, told_none) in NODES.into_iter().zip(told_none) {
        let pid = nodes.pid(node);
        until("memory is touched", || {
            anonymous_bytes(pid) >= told_none + TOUCHED_BYTES
        });
    }
    let created = admin.request(GroupId(0), operation::CREATE_TRANSFERS, full_batch(8_001));
    created.expect("a quorum is there");
    // They may be touching more of it: that keeps none of them from ending when it is told to.
    for node in NODES {
        signal(nodes.pid(node), "-TERM");
    }
    assert!(nodes.end().all(|status| status.success()));
}

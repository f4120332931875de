//! The peers' data: every text file below the two folders is run, or named with the reason why it is not.
//!
//! - The folders are walked, so a file that is added is run too; one of a kind that nobody knows fails the test.
//! - Each file is reported by name.

use std::path::Path;

use crate::datadriven::{folder, texts};
use crate::peers_quorum::{run_changes, run_quorums};
use crate::peers_scenarios::{facts, run_scenario};

/// Files that do not apply to us, and why. They need not be there: other versions of the peers have them.
const NOT_APPLICABLE: &[(&str, &str)] = &[
    (
        "etcd-raft/testdata/confchange_disable_validation",
        "a way around the checks of a change, which we do not have",
    ),
    (
        "etcd-raft/testdata/forget_leader",
        "a call to forget a live leader, which we do not have",
    ),
    (
        "etcd-raft/testdata/forget_leader_prevote_checkquorum",
        "a call to forget a live leader, which we do not have",
    ),
    (
        "etcd-raft/testdata/forget_leader_read_only_lease_based",
        "a call to forget a live leader, which we do not have",
    ),
];

/// All text files below `folder`, as paths from `root` without their extension.
fn walk(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
    let within = folder.strip_prefix(root).expect("below the root");
    let within = within.to_string_lossy().replace('\\', "/");
    found.extend(
        texts(folder)
            .into_iter()
            .map(|(name, text)| (format!("{within}/{name}"), text)),
    );
    let entries = std::fs::read_dir(folder).expect("a readable folder");
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            walk(root, &path, found);
        }
    }
}

#[test]
fn every_file_of_the_peers_is_run_or_named() {
    let Some(root) = folder() else { return };
    let mut files = Vec::new();
    for peer in ["etcd-raft", "raft-rs"] {
        walk(&root, &root.join(peer), &mut files);
    }
    files.sort();
    let facts = std::fs::read_to_string(root.join("etcd-raft/facts.jsonl"));
    let facts = self::facts(&facts.expect("the facts of the interaction scenarios"));
    let mut counts = [0; 3];
    for (path, text) in &files {
        if let Some((_, reason)) = NOT_APPLICABLE.iter().find(|(file, _)| file == path) {
            println!("n/a  {path}: {reason}");
            continue;
        }
        let (folder, name) = path.rsplit_once('/').expect("a file in a folder");
        let (kind, cases, what) = match folder {
            "etcd-raft/quorum/testdata" | "raft-rs/quorum" => (0, run_quorums(path, text), "cases"),
            "etcd-raft/confchange/testdata" => (1, run_changes(path, text), "changes"),
            "etcd-raft/testdata" => (2, run_scenario(name, text, &facts), "facts"),
            _ => panic!("{path}.txt: nobody runs such a file, and no reason is given"),
        };
        println!("ok   {path}: {cases} {what} agree");
        counts[kind] += cases;
    }
    println!(
        "{} files: {counts:?} quorum cases, changes, facts",
        files.len()
    );
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

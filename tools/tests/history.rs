//! Three processes with an object store are killed with SIGKILL while they seal and store: no entry is out of reach.

use std::collections::BTreeMap;
use std::path::Path;

use engine::GroupId;
use ledger::instruction::operation;
use serde_json::Value;
use zerocopy::IntoBytes;

use crate::processes::{Nodes, client, create_accounts, layout, quorate, transfers};

/// Transfers in a request: a mebibyte of them.
const BATCH: u128 = 8_000;
const ROUNDS: usize = 3;

fn json(arguments: &[&str]) -> Value {
    let output = quorate(arguments)
        .args(["--output", "json"])
        .stdout(std::process::Stdio::piped())
        .output()
        .expect("the binary runs");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
}

/// First and last entries of what the store's manifest names.
fn stored(cold: &str) -> Vec<(u64, u64)> {
    let report = json(&["cold", "ls", "--cold", cold]);
    let segments = report["segments"].as_array().expect("a list").iter();
    let number = |value: &Value| value.as_u64().expect("an index");
    segments
        .map(|one| (number(&one["first"]), number(&one["last"])))
        .collect()
}

/// The sealed files that a node still has, by first entry.
fn sealed(dir: &str) -> BTreeMap<u64, u64> {
    let archive = Path::new(dir).join("core-000").join("archive");
    let files = std::fs::read_dir(archive).expect("an archive");
    let paths = files.map(|file| file.expect("a file").path());
    let sealed = paths.filter(|path| path.to_string_lossy().contains("/sealed-"));
    let whole = sealed.filter(|path| path.extension().is_none());
    let open = |path: std::path::PathBuf| {
        let bytes = std::fs::read(&path).expect("it is there");
        let segment = sealed::SegmentReader::open(bytes).expect("it is sound");
        (segment.first(), segment.last())
    };
    whole.map(open).collect()
}

#[test]
fn a_kill_while_nodes_seal_and_store_leaves_every_entry_within_reach() {
    let base = tempfile::tempdir().expect("a temporary folder");
    let (layout, folders) = layout(base.path());
    let cold = format!("file://{}", base.path().join("cold").display());
    let keys = base.path().join("keys").display().to_string();
    std::fs::write(&keys, format!("first {}\n", "3c".repeat(32))).expect("a file");
    let flags = [
        ["--cold", &cold],
        ["--cold-keys", &keys],
        ["--cold-compression", "lz4"],
        ["--image-after", "4MiB"],
        ["--log-keep", "4MiB"],
        ["--log-max", "64MiB"],
    ];
    let flags = flags.concat();
    let mut nodes = Nodes::start(&folders, "threads", &flags);
    let mut admin = client(&layout, 1);
    create_accounts(&mut admin);
    let mut sent = 0_u128;
    for round in 1..=ROUNDS {
        let before = if round == 1 { 0 } else { stored(&cold).len() };
        // Killed as soon as something more is stored: between any two steps of what follows.
        let mut requests = 0;
        while requests < 10 || !base.path().join("cold").is_dir() || stored(&cold).len() <= before {
            let body = transfers(1 + sent * BATCH, BATCH).as_bytes().to_vec();
            admin
                .request(GroupId(0), operation::CREATE_TRANSFERS, body)
                .expect("acknowledged in the end");
            (sent, requests) = (sent + 1, requests + 1);
            assert!(requests < 400, "nothing reaches the store");
        }
        nodes.kill();
        check(&cold, &keys, &folders);
        nodes = Nodes::start(&folders, "threads", &flags);
    }
    let ids: Vec<u128> = (0..sent).map(|batch| 1 + batch * BATCH).collect();
    let body: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let found = admin.request(GroupId(0), operation::LOOKUP_TRANSFERS, body);
    assert_eq!(found.expect("a read").len(), ids.len() * 128);
    nodes.kill();
    check(&cold, &keys, &folders);
}

/// What is named is there and whole, follows without a gap, and meets what each node still has in files or in its log.
fn check(cold: &str, keys: &str, folders: &[String]) {
    let report = json(&["cold", "verify", "--cold", cold, "--cold-keys", keys]);
    assert_eq!(report["intact"], true, "{report}");
    let stored = stored(cold);
    assert_eq!(stored.first().map(|one| one.0), Some(1), "{stored:?}");
    assert!(
        stored.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0),
        "{stored:?}"
    );
    for dir in folders {
        let mut next = stored.last().map_or(1, |one| one.1 + 1);
        for (first, last) in sealed(dir) {
            if first <= next {
                next = next.max(last + 1);
            }
        }
        let report = json(&["inspect", "wal", "--data-dir", dir]);
        let first = report["cores"][0]["groups"]["0"]["first_index"].as_u64();
        let first = first.unwrap_or_else(|| panic!("{report}"));
        assert!(
            first <= next,
            "{dir}: the log begins at {first}, {next} is nowhere"
        );
    }
}

//! Three processes with an object store are killed with SIGKILL while they seal and store: no entry is out of
//! reach, and the history is read back from the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use engine::clock::SystemClock;
use engine::{Client, GroupId, Layout};
use ledger::instruction::operation;
use serde_json::Value;
use zerocopy::IntoBytes;

use crate::processes::{
    CLUSTER, Nodes, PATIENCE, client, create_accounts, layout, quorate, status, transfers,
};

/// Transfers in a request: a mebibyte of them.
const BATCH: u128 = 8_000;
const ROUNDS: usize = 3;

pub(crate) fn json(arguments: &[&str]) -> Value {
    let output = quorate(arguments)
        .args(["--output", "json"])
        .stdout(std::process::Stdio::piped())
        .output()
        .expect("the binary runs");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
}

/// First and last entries of what the store's manifest names.
pub(crate) fn stored(cold: &str) -> Vec<(u64, u64)> {
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

/// How the nodes of a run keep their history, and what is checked with the same words.
struct Run<'a> {
    layout: &'a Layout,
    folders: &'a [String],
    cold: &'a str,
    keys: &'a str,
}

impl Run<'_> {
    fn start(&self) -> Nodes {
        let flags = [
            ["--cold", self.cold],
            ["--cold-keys", self.keys],
            ["--cold-compression", "lz4"],
            ["--cold-chores-every", "1s"],
            ["--image-after", "4MiB"],
            ["--log-keep", "4MiB"],
            ["--log-max", "64MiB"],
        ];
        Nodes::start(self.folders, "threads", &flags.concat())
    }

    /// Writes, kills all nodes with SIGKILL as soon as something more is stored, checks, and starts them again; then reads
    /// the whole history back.
    fn go(&self, is_there: &dyn Fn() -> bool) {
        let mut nodes = self.start();
        let mut admin = client(self.layout, 1);
        create_accounts(&mut admin);
        let mut sent = 0_u128;
        for round in 1..=ROUNDS {
            let count = || {
                if is_there() {
                    stored(self.cold).len()
                } else {
                    0
                }
            };
            let mut seen = count();
            // Killed as soon as something more is stored: between any two steps of what follows.
            let mut requests = 0;
            loop {
                let body = transfers(1 + sent * BATCH, BATCH).as_bytes().to_vec();
                admin
                    .request(GroupId(0), operation::CREATE_TRANSFERS, body)
                    .expect("acknowledged in the end");
                (sent, requests) = (sent + 1, requests + 1);
                let now = count();
                if requests >= 10 && now > seen {
                    break;
                }
                // What was joined meanwhile makes them fewer.
                seen = seen.min(now);
                if requests >= 400 {
                    // There is more than enough to store: a slow store is waited for.
                    await_more(&count, seen, round);
                    break;
                }
            }
            nodes.kill();
            check(self.cold, self.keys, self.folders);
            nodes = self.start();
        }
        let ids: Vec<u128> = (0..sent).map(|batch| 1 + batch * BATCH).collect();
        let body: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let found = admin.request(GroupId(0), operation::LOOKUP_TRANSFERS, body);
        assert_eq!(found.expect("a read").len(), ids.len() * 128);
        self.read_back(&mut admin, &ids);
        self.copies_go(&mut admin, sent);
        nodes.kill();
        check(self.cold, self.keys, self.folders);
    }

    /// The log's own entries, from the first one on, hold every batch that was acknowledged, and no gap.
    fn read_back(&self, admin: &mut Client, ids: &[u128]) {
        let (mut next, mut found) = (1, BTreeSet::new());
        loop {
            let told = admin.history(GroupId(0), next).expect("it is kept");
            if told.entries.is_empty() {
                assert!(
                    next > told.applied,
                    "entry {next} is kept nowhere: {told:?}"
                );
                break;
            }
            for entry in &told.entries {
                assert_eq!(entry.index, next, "in order");
                next += 1;
                if entry.operation == operation::CREATE_TRANSFERS {
                    let id = entry.payload.first_chunk().expect("an id");
                    found.insert(u128::from_le_bytes(*id));
                }
            }
        }
        assert!(
            ids.iter().all(|id| found.contains(id)),
            "{ids:?}, {found:?}"
        );
        let counters: Vec<Value> = self
            .layout
            .nodes
            .iter()
            .map(|node| status(node.address))
            .collect();
        let sum = |name: &str| -> u64 {
            let of = |status: &Value| status["counters"][name].as_u64().expect("a counter");
            counters.iter().map(of).sum()
        };
        assert!(sum("history_from_store") > 0, "{counters:?}");
        assert_eq!(sum("history_gaps"), 0);
        let brought = |status: &Value| status["store"]["downloaded_bytes"].as_u64();
        assert!(
            counters.iter().any(|one| brought(one) > Some(0)),
            "{counters:?}"
        );
        // The same by the tool.
        let addresses = self
            .layout
            .nodes
            .iter()
            .map(|node| node.address.to_string());
        let addresses = addresses.collect::<Vec<_>>().join(",");
        let cluster = CLUSTER.to_string();
        let asked = [
            "history",
            "--cluster",
            &cluster,
            "--addresses",
            &addresses,
            "--count",
            "5",
        ];
        let report = json(&asked);
        assert_eq!(
            report["entries"].as_array().map(Vec::len),
            Some(5),
            "{report}"
        );
        assert_eq!(report["next"], 6, "{report}");
    }

    /// What is stored leaves the nodes, once they have applied that it is: waited for, whatever it takes.
    fn copies_go(&self, admin: &mut Client, mut sent: u128) {
        let deadline = SystemClock.now().plus(PATIENCE.as_nanos() as u64);
        loop {
            let upto = stored(self.cold).last().map_or(0, |one| one.1);
            let kept = |dir: &String| sealed(dir).values().any(|last| *last <= upto);
            if !self.folders.iter().any(kept) {
                return;
            }
            assert!(
                SystemClock.now() < deadline,
                "copies of what is stored stay"
            );
            let body = transfers(1 + sent * BATCH, 1).as_bytes().to_vec();
            let moved = admin.request(GroupId(0), operation::CREATE_TRANSFERS, body);
            assert_eq!(moved.expect("acknowledged in the end").len(), 16);
            sent += 1;
        }
    }
}

/// Waits until more than `seen` is stored.
fn await_more(count: &impl Fn() -> usize, mut seen: usize, round: usize) {
    let deadline = SystemClock.now().plus(PATIENCE.as_nanos() as u64);
    loop {
        let now = count();
        if now > seen {
            return;
        }
        seen = seen.min(now);
        assert!(
            SystemClock.now() < deadline,
            "round {round}: nothing reaches the store"
        );
        std::thread::yield_now();
    }
}

/// A folder with a file of keys.
fn keys(base: &Path) -> String {
    let keys = base.join("keys").display().to_string();
    std::fs::write(&keys, format!("first {}\n", "3c".repeat(32))).expect("a file");
    keys
}

#[test]
fn a_kill_while_nodes_seal_and_store_leaves_every_entry_within_reach() {
    let base = tempfile::tempdir().expect("a temporary folder");
    let (layout, folders) = layout(base.path());
    let cold = format!("file://{}", base.path().join("cold").display());
    let run = Run {
        layout: &layout,
        folders: &folders,
        cold: &cold,
        keys: &keys(base.path()),
    };
    run.go(&|| base.path().join("cold").is_dir());
}

/// The same against every server that `QUORATE_S3` names, with the credentials of the environment.
#[test]
fn a_kill_while_nodes_seal_and_store_in_a_bucket_leaves_every_entry_within_reach() {
    let Ok(servers) = std::env::var("QUORATE_S3") else {
        println!("SKIPPED: QUORATE_S3 names no servers");
        return;
    };
    for server in servers.split_whitespace() {
        println!("at {server}");
        let base = tempfile::tempdir().expect("a temporary folder");
        let (layout, folders) = layout(base.path());
        let (place, options) = server.split_once('?').unwrap_or((server, ""));
        let cold = format!("{place}/nodes-{}?{options}", std::process::id());
        let run = Run {
            layout: &layout,
            folders: &folders,
            cold: &cold,
            keys: &keys(base.path()),
        };
        run.go(&|| true);
    }
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
        let report = json(&["inspect", "integrity", dir]);
        assert_eq!(report["intact"], true, "{report}");
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

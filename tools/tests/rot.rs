//! Bytes rot on the disks of three running processes: in a log, in a chapter. Each is named and put right from the peers while
//! the node serves; a chapter that rots while its node is down is found at the start, and put right as well.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use engine::clock::SystemClock;
use engine::{Client, GroupId};
use ledger::instruction::operation;
use serde_json::Value;
use zerocopy::IntoBytes;

use crate::processes::{Nodes, PATIENCE, client, create_accounts, layout, status, transfers};

/// Transfers in a request: a mebibyte of them.
const BATCH: u128 = 8_000;
/// More than a node keeps in memory for followers that lag.
const BATCHES: u128 = 48;

/// The log is read again several times a second, and not given up.
const FLAGS: [[&str; 2]; 4] = [
    ["--image-after", "16MiB"],
    ["--log-keep", "256MiB"],
    ["--log-max", "512MiB"],
    ["--scrub-rate", "64MiB"],
];

fn send(admin: &mut Client, nth: u128) {
    let body = transfers(1 + nth * BATCH, BATCH).as_bytes().to_vec();
    let sent = admin.request(GroupId(0), operation::CREATE_TRANSFERS, body);
    sent.expect("acknowledged in the end");
}

/// Flips a bit on the disk, under the running node; returns the byte as it was.
fn flip(path: &Path, offset: u64) -> u8 {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.expect("a file of the node");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("it is there");
    file.write_all_at(&[byte[0] ^ 0x10], offset)
        .expect("it can be written");
    file.sync_all().expect("it reaches the disk");
    byte[0]
}

fn byte_at(path: &Path, offset: u64) -> u8 {
    let bytes = fs::read(path).expect("it is there");
    bytes[usize::try_from(offset).expect("a small file")]
}

/// Files below the folder whose names hold this, in order.
fn files(dir: &str, part: &str) -> Vec<PathBuf> {
    let core = Path::new(dir).join("core-000");
    let folders = fs::read_dir(core).expect("a core").flatten();
    let inside = folders.filter_map(|folder| fs::read_dir(folder.path()).ok());
    let names = inside.flat_map(|files| files.flatten().map(|file| file.path()));
    let mut found: Vec<PathBuf> = names
        .filter(|path| path.to_string_lossy().contains(part) && path.extension().is_none())
        .collect();
    found.sort_unstable();
    found
}

/// Where this transfer lies in the node's log.
fn place_of(dir: &str, id: u128) -> (PathBuf, u64) {
    let wanted = transfers(id, 1);
    let wanted = wanted.as_bytes();
    let core = Path::new(dir).join("core-000");
    let mut folders = vec![core];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.to_string_lossy().contains("archive") {
                let bytes = fs::read(&path).expect("a file of the log");
                // Records and what they hold begin at multiples of eight bytes.
                let mut places = (0..bytes.len().saturating_sub(wanted.len())).step_by(8);
                if let Some(at) = places.find(|at| bytes[*at..].starts_with(wanted)) {
                    return (path, at as u64);
                }
            }
        }
    }
    panic!("transfer {id} is not in the log");
}

#[test]
fn what_rots_in_logs_and_chapters_is_put_right_by_the_peers() {
    let base = tempfile::tempdir().expect("a temporary folder");
    let (layout, folders) = layout(base.path());
    let start = || Nodes::start(&folders, "threads", &FLAGS.concat());
    let mut nodes = start();
    let mut admin = client(&layout, 1);
    create_accounts(&mut admin);
    (0..BATCHES).for_each(|nth| send(&mut admin, nth));
    let deadline = SystemClock.now().plus(3 * PATIENCE.as_nanos() as u64);
    let wait_for = |node: usize, what: &str, is_so: &dyn Fn(&Value) -> bool| {
        loop {
            let said = status(layout.nodes[node].address);
            if is_so(&said) {
                return said;
            }
            assert!(SystemClock.now() < deadline, "{what}: {said:#}");
            std::thread::yield_now();
        }
    };
    let counts = |said: &Value, name: &str| said["counters"][name].as_u64().expect("a counter");

    // An old entry rots in every log, another one in each: whoever leads, and whoever follows.
    for (node, folder) in folders.iter().enumerate() {
        let (path, at) = place_of(folder, 1 + (2 + node as u128) * BATCH + 77);
        let was = flip(&path, at + 33);
        let said = wait_for(node, "the log's repair", &|said| {
            counts(said, "entries_repaired") > 0
        });
        assert_eq!(counts(&said, "entries_refetched"), 1, "{said:#}");
        assert_eq!(said["log_damage"][0]["group"], 0, "it was named: {said:#}");
        assert_eq!(byte_at(&path, at + 33), was);
    }

    // A chapter of every node, one after the other.
    let mut rotted = Vec::new();
    for (node, folder) in folders.iter().enumerate() {
        wait_for(node, "two chapters", &|_| {
            files(folder, "chapter-").len() > 1
        });
        let path = files(folder, "chapter-")[node % 2].clone();
        let was = flip(&path, 12_345);
        let said = wait_for(node, "the chapter's repair", &|said| {
            counts(said, "chapters_repaired") > 0
        });
        assert_eq!(said["file_damage"], Value::Array(Vec::new()), "{said:#}");
        assert_eq!(byte_at(&path, 12_345), was);
        rotted.push(path);
    }
    send(&mut admin, BATCHES);

    // One that rots while nobody runs is found at the start.
    nodes.kill();
    let was = flip(&rotted[2], 54_321);
    drop(nodes);
    let _nodes = start();
    send(&mut admin, BATCHES + 1);
    wait_for(2, "the repair after the start", &|said| {
        said["groups"][0]["damage"] == "none" && byte_at(&rotted[2], 54_321) == was
    });
    let ids = (0..BATCHES + 2).flat_map(|nth| (1 + nth * BATCH).to_le_bytes());
    let found = admin.request(
        GroupId(0),
        operation::LOOKUP_TRANSFERS,
        ids.collect::<Vec<u8>>(),
    );
    assert_eq!(found.expect("a read").len(), (BATCHES as usize + 2) * 128);
}

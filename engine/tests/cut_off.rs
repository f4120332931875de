//! An object store that cannot be reached, until the disk or the log is full: writes are refused by name, nothing is lost,
//! and when it comes back the node goes on by itself.
//!
//! - The disk is a small file system of the test's own (`full_disks.rs`). The store is a folder elsewhere; a file that
//!   stands where its objects' folder should be makes every request to it fail.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::clock::SystemClock;
use engine::history::{ColdOptions, Compression, HistoryOptions};
use engine::{
    ByteSize, Client, ClientError, FormatOptions, GroupId, Io, Layout, Node, NodeAddress, NodeId,
    Options, format,
};
use ledger::instruction::operation;
use net::request::Status;
use serde_json::Value;
use tempfile::TempDir;
use zerocopy::IntoBytes;

use crate::asking;
use crate::door::caller::{account, transfer};
use crate::full_disks::small_disk;
use crate::machines::bank;
use crate::ports::free_address;

/// Transfers of a request: most of a mebibyte.
const BATCH: u128 = 7_000;
const DISK_MIB: usize = 240;
const BALLAST_MIB: u64 = 100;
/// Longer than anything takes that happens at all.
const PATIENCE_NS: u64 = 200_000_000_000;

struct Alone {
    layout: Layout,
    _place: TempDir,
    dir: PathBuf,
    options: Options,
}

impl Alone {
    fn new(io: Io, place: TempDir, store: &Path, history_bytes: u64) -> Self {
        let nodes = vec![NodeAddress {
            id: 1,
            address: free_address(1),
        }];
        let mut layout = Layout::new(78, nodes, 1, 1);
        layout.segment_bytes = 4 << 20;
        layout.limits.accounts_max = 100;
        layout.limits.transfers_max = 2_000_000;
        let dir = place.path().join("node");
        let made = FormatOptions {
            layout: layout.clone(),
            node: 1,
            prewrite_bytes: 0,
        };
        format(&dir, &made).expect("an empty folder");
        let cold = ColdOptions::at(format!("file://{}", store.display()));
        let options = Options {
            io,
            election_timeout_ms: 300,
            image_after_bytes: ByteSize(4 << 20),
            log_keep_bytes: ByteSize(4 << 20),
            log_bytes_max: ByteSize(40 << 20),
            history: Some(HistoryOptions {
                bytes_max: ByteSize(history_bytes),
                compression: Compression::None,
                cold: Some(cold),
            }),
            ..Options::default()
        };
        Self {
            layout,
            _place: place,
            dir,
            options,
        }
    }

    fn start(&self) -> Node {
        Node::start(&self.dir, &self.options, bank).expect("it starts")
    }

    fn client(&self, patience: Duration) -> Client {
        let mut client = Client::new(self.layout.clone(), 9);
        client.set_patience(patience);
        client
    }

    fn status(&self) -> Value {
        let said = asking::status(&self.layout, NodeId(1), 0);
        serde_json::from_slice(&said.expect("a node with a full disk answers")).expect("JSON")
    }

    fn await_status(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let until = SystemClock.now().plus(PATIENCE_NS);
        loop {
            let said = self.status();
            if is_so(&said) {
                return said;
            }
            assert!(SystemClock.now() < until, "{said:#}");
            std::thread::yield_now();
        }
    }
}

/// The batch with this number: every transfer of it moves 1.
fn write(client: &mut Client, nth: u128) -> Result<(), ClientError> {
    let ids = 1 + nth * BATCH..1 + (nth + 1) * BATCH;
    let body: Vec<_> = ids.map(|id| transfer(id, 1, 1, 2)).collect();
    let body = body.as_bytes().to_vec();
    client
        .request(GroupId(0), operation::CREATE_TRANSFERS, body)
        .map(drop)
}

fn is_full(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Refused(Status::StorageFull) | ClientError::Unavailable(Status::StorageFull)
    )
}

/// How many of these batches are in the ledger: by the first transfer of each.
fn found(client: &mut Client, batches: u128) -> usize {
    let ids: Vec<u8> = (0..batches)
        .flat_map(|nth| (1 + nth * BATCH).to_le_bytes())
        .collect();
    let found = client.request(GroupId(0), operation::LOOKUP_TRANSFERS, ids);
    found.expect("a read").len() / size_of::<ledger::transfer::Transfer>()
}

/// The whole log, from its first entry on, has every batch once, and no gap.
fn read_back(client: &mut Client, batches: u128) {
    let (mut next, mut seen) = (1, BTreeSet::new());
    loop {
        let told = client.history(GroupId(0), next).expect("it is kept");
        if told.entries.is_empty() {
            assert!(next > told.applied, "entry {next} is kept nowhere");
            break;
        }
        for entry in &told.entries {
            assert_eq!(entry.index, next, "in order");
            next += 1;
            if entry.operation == operation::CREATE_TRANSFERS {
                let id = u128::from_le_bytes(*entry.payload.first_chunk().expect("an id"));
                seen.insert((id - 1) / BATCH);
            }
        }
    }
    assert!(seen.into_iter().eq(0..batches), "every batch is in the log");
}

/// The store is out of reach until nothing can be written any more; `come_back` makes room besides.
fn comes_back(io: Io, place: TempDir, history_bytes: u64, come_back: impl FnOnce()) {
    let store = tempfile::tempdir().expect("a folder elsewhere");
    let barrier = store.path().join("v1");
    fs::write(&barrier, b"not a folder").expect("written");
    let alone = Alone::new(io, place, store.path(), history_bytes);
    let node = alone.start();
    let mut client = alone.client(Duration::from_secs(100));
    let accounts = [account(1, 1), account(2, 1)].as_bytes().to_vec();
    let made = client.request(GroupId(0), operation::CREATE_ACCOUNTS, accounts);
    made.expect("acknowledged");
    // Until there is no room: what is sealed cannot leave.
    let mut client = alone.client(Duration::from_secs(6));
    let (mut acknowledged, mut tries) = (0, 0);
    let mut is_refused = false;
    while !is_refused {
        match write(&mut client, acknowledged) {
            Ok(()) => acknowledged += 1,
            Err(error) => is_refused = is_full(&error),
        }
        tries += 1;
        assert!(
            tries < 400,
            "the disk holds no more than this: {acknowledged}"
        );
    }
    let said = alone
        .await_status(|said| said["storage"] == "full" && said["store"]["last_error"].is_string());
    assert!(
        said["sealed"]["local_only_bytes"].as_u64() > Some(1 << 20),
        "{said:#}"
    );
    assert_eq!(said["sealed"]["stored_entries"], 0, "{said:#}");
    assert!(said["store"]["repeated"].as_u64() > Some(0), "{said:#}");
    let mut reader = alone.client(Duration::from_secs(100));
    assert!(
        found(&mut reader, acknowledged) >= acknowledged as usize,
        "reads go on"
    );

    fs::remove_file(&barrier).expect("it is there");
    come_back();
    let until = SystemClock.now().plus(PATIENCE_NS);
    let more = acknowledged + 30;
    while acknowledged < more {
        match write(&mut client, acknowledged) {
            Ok(()) => acknowledged += 1,
            Err(_) => assert!(
                SystemClock.now() < until,
                "nothing goes on: {:#}",
                alone.status()
            ),
        }
    }
    assert_eq!(found(&mut reader, acknowledged), acknowledged as usize);
    read_back(&mut reader, acknowledged);
    let said = alone.await_status(|said| {
        said["storage"] == "ok" && said["sealed"]["stored_entries"].as_u64() > Some(20)
    });
    assert_eq!(said["counters"]["history_gaps"], 0, "{said:#}");
    node.stop().expect("it stops in order");
    // And nothing is lost by a restart either.
    let node = alone.start();
    assert_eq!(found(&mut reader, acknowledged), acknowledged as usize);
    read_back(&mut reader, acknowledged);
    node.stop().expect("it stops in order");
}

fn both_come_back(io: Io, test: &str) {
    let Some(disk) = small_disk(test, DISK_MIB) else {
        return;
    };
    let ballast = disk.join("ballast");
    let bytes = vec![1; (BALLAST_MIB << 20) as usize];
    fs::write(&ballast, bytes).expect("there is room at first");
    let place = TempDir::new_in(&disk).expect("a folder");
    comes_back(io, place, 1 << 30, || {
        fs::remove_file(&ballast).expect("it is there");
    });
}

/// The history may take no more of the disk, so that the log is not given up, and is full in the end: what tells that files
/// were stored has to go through that very log.
#[test]
fn a_log_that_is_full_since_its_history_cannot_leave_goes_on_when_the_store_is_back() {
    for io in [Io::Threads, Io::Glommio] {
        let place = tempfile::tempdir().expect("a folder");
        comes_back(io, place, 8 << 20, || {});
    }
}

#[test]
fn a_full_disk_and_a_store_out_of_reach_lose_nothing_and_come_back_under_glommio() {
    let name =
        "cut_off::a_full_disk_and_a_store_out_of_reach_lose_nothing_and_come_back_under_glommio";
    both_come_back(Io::Glommio, name);
}

#[test]
fn a_full_disk_and_a_store_out_of_reach_lose_nothing_and_come_back_under_threads() {
    let name =
        "cut_off::a_full_disk_and_a_store_out_of_reach_lose_nothing_and_come_back_under_threads";
    both_come_back(Io::Threads, name);
}

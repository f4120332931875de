//! Three processes are killed with SIGKILL under load, again and again: every acknowledged transfer is there.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use engine::{Client, GroupId, Layout, NodeAddress};
use ledger::account::Account;
use ledger::instruction::operation;
use ledger::transfer::Transfer;
use zerocopy::{FromBytes, IntoBytes};

use crate::ports::free_address;

const ROUNDS: u64 = 4;
const BATCH: u128 = 50;

pub(crate) fn quorate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

pub(crate) struct Nodes {
    children: Vec<Child>,
}

impl Nodes {
    pub(crate) fn start(folders: &[String], io: &str, more: &[&str]) -> Self {
        let start = |dir: &String| {
            let mut command = quorate(&["start", "--data-dir", dir, "--io", io]);
            command.args(more).spawn()
        };
        let children = folders
            .iter()
            .map(|dir| start(dir).expect("the binary runs"))
            .collect();
        Self { children }
    }

    pub(crate) fn kill(&mut self) {
        for child in &mut self.children {
            child.kill().expect("it is ours");
        }
        for child in &mut self.children {
            child.wait().expect("it was killed");
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            // A child that has ended already needs no killing.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn layout(base: &Path) -> (Layout, Vec<String>) {
    let nodes: Vec<NodeAddress> = (1..=3)
        .map(|id| NodeAddress {
            id,
            address: free_address(1),
        })
        .collect();
    let names: Vec<String> = nodes
        .iter()
        .map(|node| format!("{}={}", node.id, node.address))
        .collect();
    let mut folders = Vec::new();
    for node in &nodes {
        let dir = base.join(format!("node-{}", node.id)).display().to_string();
        let id = node.id.to_string();
        let flags = [
            "format",
            "--data-dir",
            &dir,
            "--cluster",
            "5",
            "--node",
            &id,
            "--segment",
            "4MiB",
        ];
        let status = quorate(&flags).arg("--nodes").arg(names.join(",")).status();
        assert!(status.expect("the binary runs").success());
        folders.push(dir);
    }
    (Layout::new(5, nodes, 1, 1), folders)
}

pub(crate) fn client(layout: &Layout, identity: u128) -> Client {
    let mut client = Client::new(layout.clone(), identity);
    client.set_patience(Duration::from_secs(60));
    client
}

pub(crate) fn transfers(first: u128, count: u128) -> Vec<Transfer> {
    let transfer = |id: u128| Transfer {
        id: id.into(),
        debit_account_id: 1.into(),
        credit_account_id: 2.into(),
        amount: 1.into(),
        ledger: 1.into(),
        code: 1.into(),
        ..Transfer::default()
    };
    (first..first + count).map(transfer).collect()
}

/// Sends batch after batch, each until it is acknowledged, and counts the acknowledged ones.
fn load(mut client: Client, acknowledged: &AtomicU64, enough: &AtomicBool) {
    let mut batch = 0;
    while !enough.load(Ordering::Relaxed) {
        let body = transfers(1 + batch * BATCH, BATCH).as_bytes().to_vec();
        client
            .request(GroupId(0), operation::CREATE_TRANSFERS, body)
            .expect("acknowledged in the end");
        batch += 1;
        acknowledged.store(batch as u64, Ordering::Release);
    }
}

pub(crate) fn create_accounts(admin: &mut Client) {
    let accounts: Vec<Account> = (1..=2_u128)
        .map(|id| Account {
            id: id.into(),
            ledger: 1.into(),
            code: 1.into(),
            ..Account::default()
        })
        .collect();
    let created = admin.request(
        GroupId(0),
        operation::CREATE_ACCOUNTS,
        accounts.as_bytes().to_vec(),
    );
    assert_eq!(created.expect("two accounts").len(), 2 * 16);
}

fn survives_kills(io: &str) {
    let base = tempfile::tempdir().expect("a temporary folder");
    let (layout, folders) = layout(base.path());
    let mut nodes = Nodes::start(&folders, io, &[]);
    let mut admin = client(&layout, 1);
    create_accounts(&mut admin);
    let (acknowledged, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let loader = client(&layout, 2);
        scope.spawn(|| load(loader, &acknowledged, &enough));
        for round in 1..=ROUNDS {
            let before = acknowledged.load(Ordering::Acquire);
            // Killed in the middle of a request: the next one follows an answer at once.
            while acknowledged.load(Ordering::Acquire) < before + 10 + 3 * round {
                std::thread::yield_now();
            }
            nodes.kill();
            nodes = Nodes::start(&folders, io, &[]);
        }
        enough.store(true, Ordering::Relaxed);
    });
    let count = u128::from(acknowledged.load(Ordering::Acquire)) * BATCH;
    let ids: Vec<u128> = (1..=count).collect();
    for ids in ids.chunks(8_000) {
        let body: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let found = admin
            .request(GroupId(0), operation::LOOKUP_TRANSFERS, body)
            .expect("a read");
        assert_eq!(
            found.len(),
            ids.len() * size_of::<Transfer>(),
            "every acknowledged transfer is there"
        );
    }
    let body = 1_u128.to_le_bytes().to_vec();
    let found = admin
        .request(GroupId(0), operation::LOOKUP_ACCOUNTS, body)
        .expect("a read");
    let account = Account::read_from_bytes(&found).expect("one account");
    assert_eq!(account.debits_posted.get(), count, "each was applied once");
}

#[test]
fn acknowledged_transfers_survive_sigkill_under_glommio() {
    survives_kills("glommio");
}

#[test]
fn acknowledged_transfers_survive_sigkill_under_threads() {
    survives_kills("threads");
}

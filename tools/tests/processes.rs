//! Three replicas as processes of the binary, for tests that kill and stop them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use engine::clock::SystemClock;
use engine::{Client, GroupId, Layout, NodeAddress};
use ledger::account::Account;
use ledger::instruction::operation;
use ledger::transfer::Transfer;
use net::client::ClientConnection;
use net::inspect::{InspectHead, Topic};
use serde_json::Value;
use zerocopy::IntoBytes;

use crate::ports::free_address;

pub(crate) const CLUSTER: u64 = 5;

pub(crate) fn quorate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// Processes that end with their owner.
pub(crate) struct Nodes {
    children: Vec<Child>,
}

impl Nodes {
    /// Starts a process per folder, with `more` flags. Many nodes run at once here: none takes memory before it needs it.
    pub(crate) fn start(folders: &[String], io: &str, more: &[&str]) -> Self {
        Self::spawn(folders, io, &[&["--reserve-transfers", "0"], more].concat())
    }

    /// Starts a process per folder that is told nothing of memory.
    pub(crate) fn start_untold(folders: &[String], io: &str) -> Self {
        Self::spawn(folders, io, &[])
    }

    fn spawn(folders: &[String], io: &str, more: &[&str]) -> Self {
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

    /// The process of the node with this number, from 1.
    pub(crate) fn pid(&self, node: u32) -> u32 {
        self.children[node as usize - 1].id()
    }

    /// Waits for their ends, of which somebody else tells them.
    pub(crate) fn end(&mut self) -> impl Iterator<Item = ExitStatus> {
        self.children
            .iter_mut()
            .map(|child| child.wait().expect("it is ours"))
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

/// Formats three folders below `base`: one core, one group.
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
        let (id, cluster) = (node.id.to_string(), CLUSTER.to_string());
        let flags = [
            "format",
            "--data-dir",
            &dir,
            "--cluster",
            &cluster,
            "--node",
            &id,
            "--segment",
            "4MiB",
        ];
        let status = quorate(&flags).arg("--nodes").arg(names.join(",")).status();
        assert!(status.expect("the binary runs").success());
        folders.push(dir);
    }
    (Layout::new(CLUSTER, nodes, 1, 1), folders)
}

pub(crate) fn client(layout: &Layout, identity: u128) -> Client {
    let mut client = Client::new(layout.clone(), identity);
    client.set_patience(Duration::from_secs(60));
    client
}

/// How long anything may take on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What the core that listens there says of itself.
pub(crate) fn status(address: SocketAddr) -> Value {
    let connection = ClientConnection::connect(address, CLUSTER, PATIENCE);
    let mut connection = connection.expect("it answers");
    let head = InspectHead {
        id: 1,
        topic: Topic::Status,
        argument: 0,
    };
    connection.ask(&head).expect("it reads");
    let report = connection.receive(PATIENCE).expect("it reports");
    serde_json::from_slice(&report.bulk).expect("a status")
}

/// Sends a process a signal, as in `-TERM`.
pub(crate) fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status();
    assert!(sent.expect("kill is there").success());
}

/// Creates the accounts 1 and 2.
pub(crate) fn create_accounts(client: &mut Client) {
    let accounts: Vec<Account> = (1..=2_u128)
        .map(|id| Account {
            id: id.into(),
            ledger: 1.into(),
            code: 1.into(),
            ..Account::default()
        })
        .collect();
    let body = accounts.as_bytes().to_vec();
    let created = client.request(GroupId(0), operation::CREATE_ACCOUNTS, body);
    assert_eq!(created.expect("two accounts").len(), 2 * 16);
}

/// `count` transfers of 1 from account 1 to account 2, their ids from `first` on.
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

/// Asks until it is so, for a minute at most.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = SystemClock.now().plus(60_000_000_000);
    while !is_so() {
        assert!(SystemClock.now() < deadline, "not within a minute: {what}");
        std::thread::yield_now();
    }
}

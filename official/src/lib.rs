//! Real nodes as processes, each with a door for TigerBeetle's clients, to be killed and started again.
//!
//! - A cluster that is dropped leaves no process and no folder behind.
//! - Everything that waits gives up after a while and says for what it waited.

#![expect(
    clippy::disallowed_methods,
    reason = "a client measures by the clock, and asks other processes again for facts that they tell nobody"
)]

pub mod load;
pub mod usage;

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(100);
const CLUSTER: u32 = 7;

/// How a cluster is laid out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The binary of `quorate`.
    pub quorate: PathBuf,
    /// Nodes.
    pub replicas: usize,
    /// Cores of each.
    pub cores: u16,
    /// Groups.
    pub groups: u64,
    /// `glommio` or `threads`; the better one of those that work, if empty.
    pub io: String,
    /// Accounts and transfers that a group may hold.
    pub accounts_max: u64,
    /// See `accounts_max`.
    pub transfers_max: u64,
    /// Transfers of each group whose memory is touched before a node serves; if none, nodes do as they do by themselves.
    pub reserve_transfers: Option<u64>,
    /// Bytes of each core's log that are laid out beforehand.
    pub preallocate_bytes: u64,
    /// Where the folders are made; the system's place for such things, if empty.
    pub data_dir: PathBuf,
}

impl Plan {
    /// `replicas` nodes with one core and one group each. The binary comes from `QUORATE`.
    #[must_use]
    pub fn new(replicas: usize) -> Self {
        Self {
            quorate: std::env::var_os("QUORATE").map_or("quorate".into(), PathBuf::from),
            replicas,
            cores: 1,
            groups: 1,
            io: std::env::var("QUORATE_IO").unwrap_or_default(),
            accounts_max: 100_000,
            transfers_max: 2_000_000,
            reserve_transfers: Some(0),
            preallocate_bytes: 256 << 20,
            data_dir: PathBuf::new(),
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    folder: TempDir,
    /// Where core 0 of each node listens.
    bases: Vec<u16>,
    doors: Vec<u16>,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    /// The cluster's number.
    pub const ID: u128 = CLUSTER as u128;

    /// Formats and starts all nodes; returns when every door takes connections.
    ///
    /// # Panics
    /// If a node does not start.
    #[must_use]
    pub fn start(plan: Plan) -> Self {
        let folder = if plan.data_dir.as_os_str().is_empty() {
            TempDir::new()
        } else {
            TempDir::new_in(&plan.data_dir)
        };
        let mut cluster = Self {
            folder: folder.expect("a temporary folder"),
            bases: (0..plan.replicas).map(|_| free_ports(plan.cores)).collect(),
            doors: (0..plan.replicas).map(|_| free_ports(1)).collect(),
            nodes: (0..plan.replicas).map(|_| None).collect(),
            plan,
        };
        for place in 0..cluster.plan.replicas {
            cluster.format(place);
            cluster.start_node(place);
        }
        cluster
    }

    /// What a client is given.
    #[must_use]
    pub fn addresses(&self) -> String {
        let all: Vec<String> = self.doors.iter().map(ToString::to_string).collect();
        all.join(",")
    }

    /// Where the door of the node at a place listens.
    #[must_use]
    pub fn door(&self, place: usize) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.doors[place]).into()
    }

    fn dir(&self, place: usize) -> PathBuf {
        self.folder.path().join(format!("node{}", place + 1))
    }

    fn format(&self, place: usize) {
        let node = |(at, port): (usize, &u16)| format!("{}=127.0.0.1:{port}", at + 1);
        let nodes: Vec<String> = self.bases.iter().enumerate().map(node).collect();
        let done = Command::new(&self.plan.quorate)
            .args(["format", "--cluster", &CLUSTER.to_string()])
            .args([
                "--preallocate",
                &format!("{}MiB", self.plan.preallocate_bytes >> 20),
            ])
            .args([
                "--node",
                &(place + 1).to_string(),
                "--nodes",
                &nodes.join(","),
            ])
            .args(["--cores", &self.plan.cores.to_string()])
            .args(["--groups", &self.plan.groups.to_string()])
            .args(["--accounts-max", &self.plan.accounts_max.to_string()])
            .args(["--transfers-max", &self.plan.transfers_max.to_string()])
            .arg("--data-dir")
            .arg(self.dir(place))
            .stdout(Stdio::null())
            .status();
        let done = done.expect("the binary of quorate can be run (QUORATE names it)");
        assert!(done.success(), "format failed");
    }

    /// Starts a node that does not run.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_node(&mut self, place: usize) {
        let mut command = Command::new(&self.plan.quorate);
        command
            .args(["start", "--tigerbeetle", &self.door(place).to_string()])
            .arg("--data-dir")
            .arg(self.dir(place))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(transfers) = self.plan.reserve_transfers {
            command.args(["--reserve-transfers", &transfers.to_string()]);
        }
        if !self.plan.io.is_empty() {
            command.args(["--io", &self.plan.io]);
        }
        self.nodes[place] = Some(command.spawn().expect("the node starts"));
        wait_for("the door", || {
            std::net::TcpStream::connect(self.door(place)).is_ok()
        });
    }

    /// Kills a node, as the power would.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self, place: usize) {
        let mut node = self.nodes[place].take().expect("it runs");
        node.kill().expect("it can be killed");
        node.wait().expect("it is a child of ours");
    }

    /// The place of the node that leads most groups.
    ///
    /// # Panics
    /// If nobody leads for long.
    #[must_use]
    pub fn leader(&self) -> usize {
        let mut found = None;
        wait_for("a leader", || {
            let status = self.status();
            let leaders = status["leaders"].as_object();
            let most = leaders
                .into_iter()
                .flatten()
                .max_by_key(|(_, groups)| groups.as_u64());
            found = most.and_then(|(node, _)| node.parse::<usize>().ok());
            found.is_some()
        });
        found.expect("it was found") - 1
    }

    /// What `quorate status` says of the cluster.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        let all: Vec<String> = self
            .bases
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let told = Command::new(&self.plan.quorate)
            .args(["status", "--output", "json", "--timeout", "1s"])
            .args([
                "--cluster",
                &CLUSTER.to_string(),
                "--addresses",
                &all.join(","),
            ])
            .output();
        let told = told.expect("the binary of quorate can be run");
        serde_json::from_slice(&told.stdout).unwrap_or_default()
    }

    /// Process ids of the nodes that run.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().flatten().map(Child::id).collect()
    }

    /// The folder of all nodes' data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            // One that is gone already cannot be killed, which is what is wanted.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

/// Waits until it is so.
///
/// # Panics
/// If it is not so for long.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The first of so many neighbouring ports that nobody uses.
fn free_ports(count: u16) -> u16 {
    for _ in 0..1000 {
        let first = listen(0).and_then(|listener| listener.local_addr());
        let first = first.expect("the loopback has free ports").port();
        if first > u16::MAX - count {
            continue;
        }
        let all: Vec<_> = (first..first + count).map(listen).collect();
        if all.iter().all(Result::is_ok) {
            return first;
        }
    }
    panic!("no {count} neighbouring ports are free");
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
}

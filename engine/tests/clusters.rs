//! Whole nodes in one process, over loopback: what was acknowledged is there after restarts, on every node, under both drivers.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use engine::clock::SystemClock;
use engine::{
    ByteSize, Client, EngineError, FormatOptions, GroupId, Io, Layout, Node, NodeAddress, Options,
    format,
};
use raft::ids::NodeId;

use crate::asking::status;
use crate::counter::{ADD, ADD_MUCH, Counter, READ};
use crate::ports::free_address;

const CORES: u16 = 2;
const GROUPS: u64 = 5;

/// What the log of a core may take.
const LOG_BYTES_MAX: u64 = 10 * engine::config::SEGMENT_BYTES_MIN;

struct Cluster {
    layout: Layout,
    dir: tempfile::TempDir,
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    fn format(nodes: u32) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let addresses = (1..=nodes).map(|id| NodeAddress {
            id,
            address: free_address(CORES),
        });
        let mut layout = Layout::new(9, addresses.collect(), CORES, GROUPS);
        layout.segment_bytes = engine::config::SEGMENT_BYTES_MIN;
        let cluster = Self {
            layout,
            dir,
            nodes: (0..nodes).map(|_| None).collect(),
        };
        for id in 1..=nodes {
            let options = FormatOptions::new(cluster.layout.clone(), id);
            format(&cluster.path(id), &options).expect("a new folder");
        }
        cluster
    }

    fn path(&self, id: u32) -> PathBuf {
        self.dir.path().join(format!("node-{id}"))
    }

    fn try_start(&self, id: u32, io: Io) -> Result<Node, EngineError> {
        // On a busy machine a short timeout would only add elections.
        let options = Options {
            io,
            election_timeout_ms: 500,
            log_bytes_max: ByteSize(LOG_BYTES_MAX),
            log_keep_bytes: ByteSize(2 * engine::config::SEGMENT_BYTES_MIN),
            image_after_bytes: ByteSize(engine::config::SEGMENT_BYTES_MIN),
            ..Options::default()
        };
        Node::start(&self.path(id), &options, |_, _| Counter::default())
    }

    fn start(&mut self, id: u32, io: Io) {
        let node = self.try_start(id, io).expect("a formatted node");
        self.nodes[id as usize - 1] = Some(node);
    }

    fn start_all(&mut self, io: Io) {
        (1..=self.layout.nodes.len() as u32).for_each(|id| self.start(id, io));
    }

    fn stop(&mut self, id: u32) {
        let node = self.nodes[id as usize - 1].take().expect("it runs");
        node.stop().expect("an orderly end");
    }

    fn stop_all(&mut self) {
        (1..=self.layout.nodes.len() as u32).for_each(|id| self.stop(id));
    }

    fn client(&self, identity: u128) -> Client {
        let mut client = Client::new(self.layout.clone(), identity);
        client.set_patience(Duration::from_secs(100));
        client
    }

    /// What every core that runs says of itself, for whoever reads of a failure.
    fn states(&self) -> String {
        let mut states = String::new();
        for node in self.nodes.iter().flatten() {
            for core in 0..CORES {
                let state = status(&self.layout, node.id(), core);
                states.push_str(&format!("\nnode {}, core {core}: {state:?}", node.id().0));
            }
        }
        states
    }

    /// Waits until a node has applied as much as is expected of a group.
    fn await_sum(&self, client: &mut Client, id: u32, group: u64, expected: u64) {
        let until = SystemClock.now().plus(100_000_000_000);
        loop {
            let sum = client.read_local(NodeId(id), GroupId(group), READ, Vec::new());
            let sum = number(&sum.expect("the node runs"));
            if sum == expected {
                return;
            }
            assert!(
                sum < expected,
                "node {id}, group {group}: {sum} of {expected}"
            );
            assert!(
                SystemClock.now() < until,
                "node {id}, group {group}: only {sum} of {expected}"
            );
            thread::yield_now();
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

fn add(client: &mut Client, group: u64, amount: u64) -> u64 {
    let sum = client.request(GroupId(group), ADD, amount.to_le_bytes().to_vec());
    number(&sum.expect("a majority runs"))
}

fn sum(client: &mut Client, group: u64) -> u64 {
    number(
        &client
            .request(GroupId(group), READ, Vec::new())
            .expect("a majority runs"),
    )
}

mod glommio {
    #[test]
    fn acknowledged_writes_survive_restarts_on_every_node() {
        super::acknowledged_writes_survive_restarts_on_every_node(
            engine::Io::Glommio,
            engine::Io::Threads,
        );
    }

    #[test]
    fn a_node_that_was_away_catches_up() {
        super::a_node_that_was_away_catches_up(engine::Io::Glommio);
    }

    #[test]
    fn a_node_that_missed_more_than_the_log_keeps_is_given_the_state() {
        super::a_node_that_missed_more_than_the_log_keeps_is_given_the_state(engine::Io::Glommio);
    }
}

mod threads {
    #[test]
    fn acknowledged_writes_survive_restarts_on_every_node() {
        super::acknowledged_writes_survive_restarts_on_every_node(
            engine::Io::Threads,
            engine::Io::Glommio,
        );
    }

    #[test]
    fn a_node_that_was_away_catches_up() {
        super::a_node_that_was_away_catches_up(engine::Io::Threads);
    }

    #[test]
    fn a_node_that_missed_more_than_the_log_keeps_is_given_the_state() {
        super::a_node_that_missed_more_than_the_log_keeps_is_given_the_state(engine::Io::Threads);
    }
}

/// The log does not depend on the driver: what one wrote the other reads.
fn acknowledged_writes_survive_restarts_on_every_node(first: Io, second: Io) {
    let mut cluster = Cluster::format(3);
    let mut expected = [0; GROUPS as usize];
    for (round, io) in [first, second, first].into_iter().enumerate() {
        cluster.start_all(io);
        let mut client = cluster.client(round as u128 + 1);
        for group in 0..GROUPS {
            assert_eq!(
                sum(&mut client, group),
                expected[group as usize],
                "round {round}, group {group}"
            );
            for amount in 1..=20 {
                expected[group as usize] += amount + group;
                assert_eq!(
                    add(&mut client, group, amount + group),
                    expected[group as usize]
                );
            }
        }
        for id in 1..=3 {
            for group in 0..GROUPS {
                cluster.await_sum(&mut client, id, group, expected[group as usize]);
            }
        }
        cluster.stop_all();
    }
}

fn a_node_that_was_away_catches_up(io: Io) {
    let mut cluster = Cluster::format(3);
    cluster.start_all(io);
    let mut client = cluster.client(1);
    let mut expected = 0;
    // Each node leads some group, and is away once.
    for away in 1..=3 {
        cluster.stop(away);
        for amount in 1..=10 {
            expected += amount;
            for group in 0..GROUPS {
                add(&mut client, group, amount);
            }
        }
        cluster.start(away, io);
        for group in 0..GROUPS {
            cluster.await_sum(&mut client, away, group, expected);
            assert_eq!(sum(&mut client, group), expected);
        }
    }
    cluster.stop_all();
}

/// More is written than the log of a core may take, so what the node missed is nowhere in a log.
fn a_node_that_missed_more_than_the_log_keeps_is_given_the_state(io: Io) {
    const BODY_BYTES: usize = 900_000;
    let mut cluster = Cluster::format(3);
    cluster.start_all(io);
    let mut client = cluster.client(1);
    let away = 3;
    let mut expected = add(&mut client, 0, 1);
    cluster.await_sum(&mut client, away, 0, expected);
    cluster.stop(away);
    let much = |cluster: &Cluster, client: &mut Client, amount: u64| {
        let mut body = vec![7; BODY_BYTES];
        body[..8].copy_from_slice(&amount.to_le_bytes());
        let sum = client.request(GroupId(0), ADD_MUCH, body);
        match sum {
            Ok(sum) => number(&sum),
            Err(error) => panic!(
                "a majority runs, and its log has room: {error}{}",
                cluster.states()
            ),
        }
    };
    let missed = LOG_BYTES_MAX.div_ceil(BODY_BYTES as u64) + 5;
    for amount in 0..missed {
        expected += amount;
        assert_eq!(much(&cluster, &mut client, amount), expected);
    }
    cluster.start(away, io);
    expected += 5;
    assert_eq!(much(&cluster, &mut client, 5), expected);
    let until = SystemClock.now().plus(100_000_000_000);
    loop {
        // While it takes the state it answers nothing.
        let sum = client.read_local(NodeId(away), GroupId(0), READ, Vec::new());
        if sum.is_ok_and(|sum| number(&sum) == expected) {
            break;
        }
        assert!(SystemClock.now() < until, "it is not given the state");
        thread::yield_now();
    }
    cluster.stop_all();
    cluster.start_all(io);
    let mut client = cluster.client(2);
    cluster.await_sum(&mut client, away, 0, expected);
    cluster.stop_all();
}

#[test]
fn a_second_node_on_one_folder_is_told_who_has_it() {
    let mut cluster = Cluster::format(1);
    cluster.start(1, Io::Threads);
    match cluster.try_start(1, Io::Threads) {
        Err(EngineError::FolderInUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("the folder is in use: {:?}", other.map(|_| "started")),
    }
    cluster.stop(1);
    cluster.start(1, Io::Threads);
    let mut client = cluster.client(1);
    assert_eq!(add(&mut client, 0, 3), 3);
    cluster.stop(1);
}

#[test]
fn a_node_of_another_cluster_does_not_start() {
    let cluster = Cluster::format(1);
    let options = Options {
        cluster: Some(10),
        ..Options::default()
    };
    match Node::start(&cluster.path(1), &options, |_, _| Counter::default()) {
        Err(EngineError::WrongCluster {
            found: 9,
            asked: 10,
            ..
        }) => {}
        other => panic!("another cluster: {:?}", other.map(|_| "started")),
    }
}

#[test]
fn dropping_a_node_stops_it_before_its_folder_is_free() {
    let cluster = Cluster::format(1);
    for _ in 0..5 {
        let node = cluster
            .try_start(1, Io::Glommio)
            .expect("folder and ports are free");
        drop(node);
    }
}

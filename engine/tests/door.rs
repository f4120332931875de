//! The door for TigerBeetle's clients, from outside: sessions, leaders, groups, and those that mean no good.

pub(crate) mod caller;
mod changes;
mod hostile;
mod leaders;
mod sessions;

use std::net::SocketAddr;
use std::path::PathBuf;

use engine::door::DoorOptions;
use engine::{FormatOptions, Io, Layout, Node, NodeAddress, Options, format};
use tempfile::TempDir;

use crate::door::caller::CLUSTER;
use crate::machines::bank;
use crate::ports::free_address;

/// Nodes in this process, each with a door.
pub(crate) struct Bank {
    layout: Layout,
    folders: Vec<TempDir>,
    nodes: Vec<Option<Node>>,
    doors: Vec<SocketAddr>,
    io: Io,
}

impl Bank {
    pub(crate) fn open(io: Io, nodes: u32, cores: u16, groups: u64) -> Self {
        let node = |id| NodeAddress {
            id,
            address: free_address(cores),
        };
        let nodes = (1..=nodes).map(node).collect();
        let mut layout = Layout::new(CLUSTER, nodes, cores, groups);
        layout.segment_bytes = 4 << 20;
        layout.limits.accounts_max = 10_000;
        layout.limits.transfers_max = 100_000;
        let places = 0..layout.nodes.len();
        let mut bank = Self {
            folders: places
                .clone()
                .map(|_| tempfile::tempdir().expect("a temporary folder"))
                .collect(),
            nodes: places.clone().map(|_| None).collect(),
            doors: places.clone().map(|_| free_address(1)).collect(),
            layout,
            io,
        };
        for place in places {
            let options = FormatOptions {
                layout: bank.layout.clone(),
                node: bank.layout.nodes[place].id,
                prewrite_bytes: 0,
            };
            format(&bank.dir(place), &options).expect("an empty folder");
            bank.start(place);
        }
        bank
    }

    fn dir(&self, place: usize) -> PathBuf {
        self.folders[place].path().join("node")
    }

    pub(crate) fn start(&mut self, place: usize) {
        let options = Options {
            io: self.io,
            election_timeout_ms: 300,
            tigerbeetle: Some(DoorOptions {
                address: self.doors[place],
                anywhere: false,
            }),
            ..Options::default()
        };
        let node = Node::start(&self.dir(place), &options, bank).expect("the node starts");
        self.nodes[place] = Some(node);
    }

    pub(crate) fn stop(&mut self, place: usize) {
        let node = self.nodes[place].take().expect("it runs");
        node.stop().expect("it stops in order");
    }

    pub(crate) fn door(&self, place: usize) -> SocketAddr {
        self.doors[place]
    }

    pub(crate) fn cluster(&self) -> u64 {
        self.layout.cluster
    }

    /// Where core 0 of each node listens.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.layout.nodes.iter().map(|node| node.address).collect()
    }

    /// A counter of a node's door.
    pub(crate) fn count(&self, place: usize, name: &str) -> u64 {
        let node = self.nodes[place].as_ref().expect("it runs");
        let report = node.door().expect("it has a door").counters().report();
        report[name].as_u64().expect("a counter of that name")
    }
}

#[test]
fn a_door_to_the_world_has_to_be_asked_for() {
    let address = SocketAddr::from(([0, 0, 0, 0], 3000));
    let door = |anywhere| DoorOptions { address, anywhere };
    assert!(matches!(
        door(false).check(),
        Err(engine::EngineError::DoorElsewhere { .. })
    ));
    door(true).check().expect("it was asked for");
    let options = Options::parse("[tigerbeetle]\naddress = \"[::1]:3000\"\n").expect("options");
    options
        .tigerbeetle
        .expect("a door")
        .check()
        .expect("the loopback");
}

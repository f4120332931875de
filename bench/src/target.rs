//! Where the replicas under test are: the one thing the load and the proof know about a cluster.
//!
//! - Core `c` of a node listens on the node's base port plus `c`; group `g` lives on core `g % cores`.

use std::net::SocketAddr;

/// One node of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id, from 1.
    pub id: u32,
    /// Address of its core 0.
    pub base: SocketAddr,
    /// Its process, where it runs on this host.
    pub pid: Option<u32>,
}

/// A cluster to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Cluster id, which every connection states.
    pub cluster: u64,
    /// Its nodes; each holds a replica of every group.
    pub nodes: Vec<Node>,
    /// Cores per node.
    pub cores: u32,
    /// Groups.
    pub groups: u32,
}

impl Target {
    /// The core that a group lives on.
    pub fn core_of(&self, group: u32) -> u32 {
        group % self.cores
    }

    /// Where a node's core listens.
    pub fn address(&self, node: usize, core: u32) -> SocketAddr {
        let mut address = self.nodes[node].base;
        let offset = u16::try_from(core).expect("cores are at most 256");
        address.set_port(
            address
                .port()
                .checked_add(offset)
                .expect("ports were laid out below 65,536"),
        );
        address
    }

    /// Position of the node with this id.
    pub fn position(&self, id: u32) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    /// A node by its position, counted round.
    pub fn next_node(&self, node: usize) -> usize {
        (node + 1) % self.nodes.len()
    }
}

//! What a core needs to know to be reached and to reach others, and why a wish cannot work.

use std::net::SocketAddr;

use thiserror::Error;

use crate::frame::Codec;
use crate::limits::Limits;

/// Connections a core can tell apart at one time.
pub const CONNECTIONS_MAX: usize = 1 << 16;

/// What a core needs to know to be reached and to reach others.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// The cluster it belongs to; frames of any other are refused.
    pub cluster: u64,
    /// Its node id; never 0.
    pub node: u32,
    /// The core's number on its node.
    pub core: u16,
    /// Cores of the node; the same on all nodes.
    pub cores: u16,
    /// Drawn anew at every start of the process. Also decides the jitter of redials.
    pub incarnation: u64,
    /// Digest of members, groups and limits; peers must agree on it.
    pub layout_digest: u64,
    /// The codec wished between nodes; used where both wish the same.
    pub codec: Codec,
    /// Where this core listens.
    pub listen: SocketAddr,
    /// The other nodes, each at the address of the same core.
    pub peers: Vec<(u32, SocketAddr)>,
    /// The bounds.
    pub limits: Limits,
}

/// Why a configuration cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Node 0 stands for "none".
    #[error("node id 0 is reserved")]
    NodeZero,
    /// A node is named twice, among the peers or as this node and a peer.
    #[error("node {0} is named twice")]
    NodeTwice(u32),
    /// The core's number is not below the number of cores.
    #[error("core {core} of {cores} does not exist")]
    NoSuchCore {
        /// The core.
        core: u16,
        /// Cores of the node.
        cores: u16,
    },
    /// The limits and the peers together need more than [`CONNECTIONS_MAX`] connections.
    #[error("{0} connections are more than a core can hold")]
    TooManyConnections(usize),
}

impl TransportConfig {
    /// Whether it can work.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut nodes: Vec<u32> = self
            .peers
            .iter()
            .map(|peer| peer.0)
            .chain([self.node])
            .collect();
        nodes.sort_unstable();
        if nodes[0] == 0 {
            return Err(ConfigError::NodeZero);
        }
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ConfigError::NodeTwice(pair[0]));
        }
        if self.core >= self.cores {
            return Err(ConfigError::NoSuchCore {
                core: self.core,
                cores: self.cores,
            });
        }
        // Of a peer: one that is open, one that takes its place, one that parts.
        let most = self.limits.clients_max + self.limits.handshakes_max + 3 * self.peers.len();
        if most > CONNECTIONS_MAX {
            return Err(ConfigError::TooManyConnections(most));
        }
        Ok(())
    }
}

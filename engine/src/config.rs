//! What a cluster looks like and how a node is to run: read from TOML, checked before anything starts.
//!
//! - A `Layout` is the same on every node and fixed when folders are formatted; its digest travels in
//!   the handshake, so two nodes of different layouts never exchange a message.
//! - Group `g` lives on core `g % cores` of every node; core `k` of a node listens on its base port + `k`.
//! - The rank order of a group's replicas is the node list rotated by `g`: leaders spread by themselves.
//! - An unknown key, a bad unit, a port range that overlaps another: an error that says where.

pub(crate) mod keys;
pub mod size;

use std::net::SocketAddr;

use raft::ids::{GroupId, NodeId};
use serde::Deserialize;
use xxhash_rust::xxh3::Xxh3;

use crate::config::keys::Key;
use crate::config::size::ByteSize;
use crate::door::DoorOptions;
use crate::history::HistoryOptions;

/// Most nodes in one cluster.
pub const NODES_MAX: usize = 128;
/// Most cores that one node uses.
pub const CORES_MAX: u16 = 256;
/// Most groups in one cluster.
pub const GROUPS_MAX: u64 = 1 << 20;
/// Most clients that one core serves: two completions each must fit into a ring of 32,768.
pub const CONNECTIONS_MAX: u32 = 15_000;
/// Cluster ids stay within what TOML can write.
pub const CLUSTER_MAX: u64 = i64::MAX as u64;
/// Smallest log segment: some largest records and what is around them.
/// Shortest election timeout: a beat is an eighth of it.
pub const ELECTION_TIMEOUT_MS_MIN: u64 = 40;
/// Longest election timeout.
pub const ELECTION_TIMEOUT_MS_MAX: u64 = 60_000;
const ELECTION_TIMEOUT_MS_DEFAULT: u64 = 1_000;
/// Smallest segment of the log.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 20;
/// Largest log segment.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
const _: () = assert!(SEGMENT_BYTES_MIN >= 2 * wal::limits::BLOCK_BYTES_MAX as u64);
const _: () = assert!(SEGMENT_BYTES_MAX <= wal::limits::SEGMENT_BYTES_MAX);
/// Segments are whole blocks of this many bytes.
const SEGMENT_BYTES_STEP: u64 = wal::device::ALIGNMENT as u64;

const SEGMENT_BYTES_DEFAULT: u64 = wal::limits::SEGMENT_BYTES;
const LOG_BYTES_MAX_DEFAULT: u64 = 16 << 30;
const IMAGE_AFTER_BYTES_DEFAULT: u64 = 4 << 30;
const LOG_KEEP_BYTES_DEFAULT: u64 = 8 << 30;
/// A log of 16 GiB once in an hour and a half.
const SCRUB_RATE_DEFAULT: u64 = 4 << 20;
const FETCH_RATE_DEFAULT: u64 = 128 << 20;
/// Some durable writes of a fast disk, and a client's way.
const AWAKE_US_DEFAULT: u64 = 200;
/// Longest that a core stays awake after news.
pub const AWAKE_US_MAX: u64 = 1_000_000;
/// With fewer segments a log cannot recycle any.
const LOG_SEGMENTS_MIN: u64 = 3;
const ACCOUNTS_MAX_DEFAULT: u64 = 1 << 20;
const TRANSFERS_MAX_DEFAULT: u64 = 1 << 24;
const CONNECTIONS_MAX_DEFAULT: u32 = 4096;

/// One node of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct NodeAddress {
    /// Its id: not 0, never reused.
    pub id: u32,
    /// Where its core 0 listens; core `k` listens `k` ports higher.
    pub address: SocketAddr,
}

/// Version of the rules by which entries become state: operations, their effects, and the digest of the state. Part of the
/// digest: whoever would apply an entry otherwise is no peer. Raised with every change to the rules; 2 knows where
/// sessions come from (operations 252 and 253).
pub const RULES: u64 = 2;

/// What one group may hold. Part of the digest: replicas must refuse at the same entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Accounts per group.
    pub accounts_max: u64,
    /// Transfers per group.
    pub transfers_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            accounts_max: ACCOUNTS_MAX_DEFAULT,
            transfers_max: TRANSFERS_MAX_DEFAULT,
        }
    }
}

/// The cluster: who is in it, and how groups are laid over cores and nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Which cluster: frames and folders of another one are refused.
    pub cluster: u64,
    /// Cores that every node uses.
    pub cores: u16,
    /// Raft groups of the cluster.
    pub groups: u64,
    /// Bytes of one log segment.
    pub segment_bytes: u64,
    /// What one group may hold.
    pub limits: Limits,
    /// The nodes, in rank order.
    pub nodes: Vec<NodeAddress>,
}

/// Who turns the shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// io_uring: glommio for sockets and timers, the log's own ring beside it.
    #[default]
    Glommio,
    /// Plain threads, epoll, positioned writes: for machines where io_uring is barred.
    Threads,
}

/// How one node is to run. Not part of the layout: nodes may differ.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Options {
    /// The driver.
    pub io: Io,
    /// CPUs for the cores, in order. Without it cores are pinned from CPU 0 on where the machine has
    /// one for each, and float otherwise.
    pub cpus: Option<Vec<usize>>,
    /// Clients that one core serves at once; more are refused by name.
    pub connections_max: u32,
    /// Bytes that the log of one core may take on the disk; beyond, writes are answered "storage full".
    #[serde(rename = "log_max")]
    pub log_bytes_max: ByteSize,
    /// An image of a group is taken when its log has grown by so many bytes since the last one: a restart reads and
    /// applies no more of it. 0: never, the log is kept whole.
    #[serde(rename = "image_after")]
    pub image_after_bytes: ByteSize,
    /// Bytes of log that one core keeps for replicas that lag; beyond, what images cover is given up. At most half of
    /// `log_max` counts.
    #[serde(rename = "log_keep")]
    pub log_keep_bytes: ByteSize,
    /// Bytes per second that one core fetches from peers, and reads for peers, when a replica needs a state; 0 is
    /// without bound.
    #[serde(rename = "fetch_rate")]
    pub fetch_bytes_per_second: ByteSize,
    /// Bytes per second that one core reads of its log again, to find rot while peers can repair it; 0 turns it off.
    #[serde(rename = "scrub_rate")]
    pub scrub_bytes_per_second: ByteSize,
    /// The cluster that the folder must belong to, when the caller knows it.
    pub cluster: Option<u64>,
    /// Whether the entries that the log gives up are kept; not unless asked for.
    #[serde(skip)]
    pub history: Option<HistoryOptions>,
    /// The door for clients of TigerBeetle; none unless asked for.
    pub tigerbeetle: Option<DoorOptions>,
    /// How long a core, and the door, look on after requests and durable writes before they sleep, in microseconds: a
    /// wake-up costs more than that on many machines. They offer the processor to others meanwhile. 0: not at all.
    pub awake_us: u64,
    /// How long a leader's node may be silent before others campaign, in milliseconds.
    pub election_timeout_ms: u64,
    /// Whether stages are timed; only the measure of what timing costs turns it off.
    pub stopwatch: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            io: Io::default(),
            cpus: None,
            connections_max: CONNECTIONS_MAX_DEFAULT,
            log_bytes_max: ByteSize(LOG_BYTES_MAX_DEFAULT),
            image_after_bytes: ByteSize(IMAGE_AFTER_BYTES_DEFAULT),
            log_keep_bytes: ByteSize(LOG_KEEP_BYTES_DEFAULT),
            fetch_bytes_per_second: ByteSize(FETCH_RATE_DEFAULT),
            scrub_bytes_per_second: ByteSize(SCRUB_RATE_DEFAULT),
            cluster: None,
            history: None,
            tigerbeetle: None,
            awake_us: AWAKE_US_DEFAULT,
            election_timeout_ms: ELECTION_TIMEOUT_MS_DEFAULT,
            stopwatch: true,
        }
    }
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is not TOML, or a value has the wrong type.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The parser's own words.
        message: String,
    },
    /// A key that means nothing here.
    #[error("line {line}, column {column}: unknown key `{key}`")]
    UnknownKey {
        /// The key as written.
        key: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The key that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A number outside its range.
    #[error("{what} is {value}, but must be {min} to {max}")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: u64,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// The segment size is no multiple of a block.
    #[error("segment size {bytes} is no multiple of {step} bytes")]
    UnalignedSegment {
        /// The size asked for.
        bytes: u64,
        /// The block size.
        step: u64,
    },
    /// Two nodes carry one id.
    #[error("node id {id} appears twice")]
    DuplicateNode {
        /// The id.
        id: u32,
    },
    /// Two nodes on one host would listen on one port.
    #[error("nodes {left} and {right} need the same port: each uses {cores} ports from its own on")]
    PortsOverlap {
        /// One node.
        left: u32,
        /// The other.
        right: u32,
        /// Ports per node.
        cores: u16,
    },
    /// A history is sealed from what images cover, and there would be none.
    #[error(
        "a history is asked for, and image_after is 0: without images the log is never given up and nothing is ever \
         sealed or stored"
    )]
    HistoryWithoutImages,
    /// A node's highest core would listen beyond port 65535, or its base port is 0.
    #[error("node {id}: ports {port} to {port} + {cores} - 1 are not all between 1 and 65535")]
    PortOutOfRange {
        /// The node.
        id: u32,
        /// Its base port.
        port: u16,
        /// Ports it needs.
        cores: u16,
    },
    /// The asked node is not in the layout.
    #[error("node {id} is not in the layout")]
    UnknownNode {
        /// The id asked for.
        id: u32,
    },
    /// As many CPUs as cores are needed when CPUs are named.
    #[error("{cpus} CPUs are named for {cores} cores")]
    CpusMismatch {
        /// CPUs named.
        cpus: usize,
        /// Cores of the layout.
        cores: u16,
    },
}

const LAYOUT_KEYS: &[Key] = &[
    Key::plain("cluster"),
    Key::plain("cores"),
    Key::plain("groups"),
    Key::plain("segment"),
    Key {
        name: "limits",
        within: &[Key::plain("accounts_max"), Key::plain("transfers_max")],
    },
    Key {
        name: "node",
        within: &[Key::plain("id"), Key::plain("address")],
    },
];

const OPTIONS_KEYS: &[Key] = &[
    Key::plain("io"),
    Key::plain("cpus"),
    Key::plain("connections_max"),
    Key::plain("log_max"),
    Key::plain("image_after"),
    Key::plain("log_keep"),
    Key::plain("fetch_rate"),
    Key::plain("scrub_rate"),
    Key::plain("cluster"),
    Key {
        name: "tigerbeetle",
        within: &[Key::plain("address"), Key::plain("anywhere")],
    },
    Key::plain("awake_us"),
    Key::plain("election_timeout_ms"),
    Key::plain("stopwatch"),
];

/// The layout as TOML spells it.
#[derive(Deserialize)]
struct LayoutText {
    cluster: u64,
    cores: u16,
    groups: u64,
    segment: Option<ByteSize>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    node: Vec<NodeAddress>,
}

impl Layout {
    /// A layout with the default segment size and limits. Call `check` before it is used.
    #[must_use]
    pub fn new(cluster: u64, nodes: Vec<NodeAddress>, cores: u16, groups: u64) -> Self {
        let limits = Limits::default();
        Self {
            cluster,
            cores,
            groups,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            limits,
            nodes,
        }
    }

    /// Reads and checks a layout.
    ///
    /// # Errors
    /// Everything `ConfigError` names.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let read: LayoutText = keys::read(text, LAYOUT_KEYS)?;
        let layout = Self {
            cluster: read.cluster,
            cores: read.cores,
            groups: read.groups,
            segment_bytes: read.segment.map_or(SEGMENT_BYTES_DEFAULT, |size| size.0),
            limits: read.limits,
            nodes: read.node,
        };
        layout.check()?;
        Ok(layout)
    }

    /// The TOML that `parse` reads back to an equal layout.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "cluster = {}\ncores = {}\ngroups = {}\nsegment = \"{}\"\n\n[limits]\naccounts_max = {}\ntransfers_max = {}\n",
            self.cluster,
            self.cores,
            self.groups,
            ByteSize(self.segment_bytes),
            self.limits.accounts_max,
            self.limits.transfers_max,
        );
        for node in &self.nodes {
            text.push_str(&format!(
                "\n[[node]]\nid = {}\naddress = \"{}\"\n",
                node.id, node.address
            ));
        }
        text
    }

    /// Is this a cluster that can run?
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ConfigError> {
        within("cluster", self.cluster, 0, CLUSTER_MAX)?;
        within("cores", u64::from(self.cores), 1, u64::from(CORES_MAX))?;
        within("groups", self.groups, 1, GROUPS_MAX)?;
        within(
            "segment",
            self.segment_bytes,
            SEGMENT_BYTES_MIN,
            SEGMENT_BYTES_MAX,
        )?;
        within("accounts_max", self.limits.accounts_max, 1, CLUSTER_MAX)?;
        within("transfers_max", self.limits.transfers_max, 1, CLUSTER_MAX)?;
        within(
            "number of nodes",
            self.nodes.len() as u64,
            1,
            NODES_MAX as u64,
        )?;
        if !self.segment_bytes.is_multiple_of(SEGMENT_BYTES_STEP) {
            let (bytes, step) = (self.segment_bytes, SEGMENT_BYTES_STEP);
            return Err(ConfigError::UnalignedSegment { bytes, step });
        }
        for (rank, node) in self.nodes.iter().enumerate() {
            self.check_node(node, &self.nodes[..rank])?;
        }
        Ok(())
    }

    fn check_node(&self, node: &NodeAddress, before: &[NodeAddress]) -> Result<(), ConfigError> {
        within("node id", u64::from(node.id), 1, u64::from(u32::MAX))?;
        let (id, port, cores) = (node.id, node.address.port(), self.cores);
        if port == 0 || port.checked_add(cores - 1).is_none() {
            return Err(ConfigError::PortOutOfRange { id, port, cores });
        }
        for other in before {
            if other.id == id {
                return Err(ConfigError::DuplicateNode { id });
            }
            let near = other.address.port().abs_diff(port) < cores;
            if near && other.address.ip() == node.address.ip() {
                return Err(ConfigError::PortsOverlap {
                    left: other.id,
                    right: id,
                    cores,
                });
            }
        }
        Ok(())
    }

    /// A number that two nodes share exactly when they agree about groups, cores, members, limits and [`RULES`].
    /// Addresses and segment sizes may differ: they change nothing that replicas must agree about.
    #[must_use]
    pub fn layout_digest(&self) -> u64 {
        self.digest_under(RULES)
    }

    fn digest_under(&self, rules: u64) -> u64 {
        let mut hash = Xxh3::new();
        for number in [
            self.cluster,
            u64::from(self.cores),
            self.groups,
            self.limits.accounts_max,
            self.limits.transfers_max,
            self.nodes.len() as u64,
            rules,
        ] {
            hash.update(&number.to_le_bytes());
        }
        for node in &self.nodes {
            hash.update(&node.id.to_le_bytes());
        }
        hash.digest()
    }

    /// The core that a group lives on, on every node.
    #[must_use]
    pub fn core_of(&self, group: GroupId) -> u16 {
        u16::try_from(group.0 % u64::from(self.cores)).expect("smaller than the number of cores")
    }

    /// The groups of a core, in order.
    pub fn groups_of(&self, core: u16) -> impl Iterator<Item = GroupId> + use<> {
        (u64::from(core)..self.groups)
            .step_by(usize::from(self.cores))
            .map(GroupId)
    }

    /// The nodes that hold a group, the preferred leader first.
    pub fn ranks_of(&self, group: GroupId) -> impl Iterator<Item = NodeId> + '_ {
        let nodes = self.nodes.len();
        let first =
            usize::try_from(group.0 % nodes as u64).expect("smaller than the number of nodes");
        (0..nodes).map(move |rank| NodeId(self.nodes[(first + rank) % nodes].id))
    }

    /// Where a core of a node listens.
    #[must_use]
    pub fn address_of(&self, node: NodeId, core: u16) -> Option<SocketAddr> {
        let found = self.nodes.iter().find(|known| known.id == node.0)?;
        let mut address = found.address;
        address.set_port(address.port().checked_add(core)?);
        Some(address)
    }
}

impl Options {
    /// Reads a node's options.
    ///
    /// # Errors
    /// Bad TOML or an unknown key.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        keys::read(text, OPTIONS_KEYS)
    }

    /// Do these options fit the layout?
    ///
    /// # Errors
    /// `CpusMismatch`, `OutOfRange`.
    pub fn check(&self, layout: &Layout) -> Result<(), ConfigError> {
        within(
            "connections_max",
            u64::from(self.connections_max),
            1,
            u64::from(CONNECTIONS_MAX),
        )?;
        within(
            "election_timeout_ms",
            self.election_timeout_ms,
            ELECTION_TIMEOUT_MS_MIN,
            ELECTION_TIMEOUT_MS_MAX,
        )?;
        within("awake_us", self.awake_us, 0, AWAKE_US_MAX)?;
        let (least, most) = (LOG_SEGMENTS_MIN * layout.segment_bytes, u64::from(u32::MAX));
        within(
            "log_max",
            self.log_bytes_max.0,
            least,
            most.saturating_mul(layout.segment_bytes),
        )?;
        if self.history.is_some() && self.image_after_bytes.0 == 0 {
            return Err(ConfigError::HistoryWithoutImages);
        }
        match &self.cpus {
            Some(cpus) if cpus.len() != usize::from(layout.cores) => {
                Err(ConfigError::CpusMismatch {
                    cpus: cpus.len(),
                    cores: layout.cores,
                })
            }
            _ => Ok(()),
        }
    }
}

fn within(what: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange {
        what,
        value,
        min,
        max,
    })
}

#[cfg(test)]
mod tests;

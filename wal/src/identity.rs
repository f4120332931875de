//! Whose log it is, and the seeds that put the place of every block and record under its checksum.
//!
//! - Two logs, two segments or two lives of one segment never share a seed by design.
//! - Within a segment the offset is mixed in one to one: a block read at a wrong place always fails.

use crc32fast::Hasher;

/// Names one log among all logs of all clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The cluster's id.
    pub cluster: u128,
    /// The node's id in its cluster.
    pub node: u64,
    /// Which log of the node: the number of its core.
    pub log: u32,
}

/// One log from its making to its end: its identity and the moment it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Whose log it is.
    pub identity: Identity,
    /// When the log was made, in nanoseconds of its maker's clock; tells two logs of one identity apart.
    pub birth: u64,
}

impl Life {
    /// The seeds of one segment in one incarnation of the log.
    #[must_use]
    pub fn seeds(&self, segment: u64, incarnation: u32) -> Seeds {
        let mut hasher = Hasher::new();
        hasher.update(&self.identity.cluster.to_le_bytes());
        hasher.update(&self.identity.node.to_le_bytes());
        hasher.update(&self.identity.log.to_le_bytes());
        hasher.update(&self.birth.to_le_bytes());
        hasher.update(&segment.to_le_bytes());
        hasher.update(&incarnation.to_le_bytes());
        Seeds(hasher.finalize())
    }
}

/// Where checksums of one segment and incarnation start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeds(u32);

impl Seeds {
    /// Seeds of nothing in particular, for judging arbitrary bytes.
    pub(crate) const fn of(seed: u32) -> Self {
        Self(seed)
    }

    /// Start of the checksum of a block header at this offset of the segment.
    #[must_use]
    pub const fn block(self, offset: u32) -> u32 {
        self.0 ^ offset
    }

    /// Start of the checksum of a record header at this offset of the segment.
    #[must_use]
    pub const fn record(self, offset: u32) -> u32 {
        !self.0 ^ offset
    }
}

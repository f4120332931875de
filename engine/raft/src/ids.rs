//! The numbers that consensus is about: nodes, groups, terms, indexes and instants.

use core::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A process on a machine. Never reused: a node that lost its disk comes back under a new id.
    NodeId(u32)
}
number! {
    /// A Raft group.
    GroupId(u64)
}
number! {
    /// A leadership period; at most one leader each (Raft paper, section 5.1).
    Term(u64)
}
number! {
    /// A position in a group's log. The first entry is 1; 0 is "before the log".
    Index(u64)
}
number! {
    /// Nanoseconds on this node's monotonic clock. Two nodes' instants are never compared.
    Time(u64)
}
number! {
    /// Which request to make something durable: strictly increasing within one group of one process.
    /// Acknowledgements are tied to it, not to an index, so that a late completion for an entry that
    /// was overwritten meanwhile acknowledges nothing (the append-ABA problem).
    PersistSeq(u64)
}
number! {
    /// A linearizable read in flight at this replica.
    ReadId(u64)
}

/// An entry's identity: two logs that hold the same identity agree on everything up to it
/// (Log Matching, Raft paper section 5.3). The order is the election's: a log is at least as up to date as
/// another when its last identity is not smaller (section 5.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The term whose leader made the entry.
    pub term: Term,
    /// Its position.
    pub index: Index,
}

impl Time {
    /// This instant plus `nanos` nanoseconds, saturating.
    #[must_use]
    pub fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds from `earlier` to this instant; 0 when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Index {
    /// The following position.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The preceding position; 0 stays 0.
    #[must_use]
    pub fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

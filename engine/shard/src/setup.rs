//! What a shard is told about its place: which core of which node it is, and which groups it holds.

use raft::ids::{GroupId, NodeId};
use raft::membership::{Membership, MembershipError};

use crate::limits;

/// What is kept beside the log, and at what pace. All of it per core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// An image of a group is wanted when its log has grown by so many bytes since the last one: what a restart
    /// has to read and apply. 0 turns images and chapters off: the log is kept for ever.
    pub image_bytes: u64,
    /// Bytes of log that may be kept for followers that lag; beyond, what images cover is given up.
    pub log_bytes: u64,
    /// Bytes per second that may be fetched from peers; 0 is without bound.
    pub fetch_bytes_per_second: u64,
    /// Bytes per second that may be read for peers; 0 is without bound.
    pub serve_bytes_per_second: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            image_bytes: 1 << 30,
            log_bytes: 4 << 30,
            fetch_bytes_per_second: 128 << 20,
            serve_bytes_per_second: 128 << 20,
        }
    }
}

/// Given once, at start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This node.
    pub node: NodeId,
    /// This core's number.
    pub core: u16,
    /// Cores of every node of the cluster.
    pub cores: u16,
    /// The cluster's nodes, in the order of its layout: whom this node speaks to.
    pub nodes: Vec<NodeId>,
    /// So many of them, from the first on, vote in every group when it begins; the others are spare until a group's
    /// configuration names them.
    pub founders: usize,
    /// Groups of the cluster; group `g` lives on core `g % cores` of every node.
    pub groups: u64,
    /// A follower that has not heard its leader's node for this long asks for votes; nanoseconds.
    pub election_timeout: u64,
    /// A node says at least so often that it is alive; nanoseconds.
    pub beat_interval: u64,
    /// Whether stages are timed.
    pub stopwatch: bool,
    /// Bytes of applied entries that each group keeps in memory.
    pub window_bytes: usize,
    /// The disk was lost, or shows an older state than the node has promised since: no group's replica votes here until
    /// a configuration has made it a learner and a later one a voter again.
    pub is_rejoining: bool,
    /// What is kept beside the log.
    pub keeping: Keeping,
    /// Seed of this core's dice.
    pub seed: u64,
}

impl Setup {
    /// The shard's groups.
    pub fn own_groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (u64::from(self.core)..self.groups)
            .step_by(usize::from(self.cores))
            .map(GroupId)
    }

    /// The core that holds a group.
    #[must_use]
    pub fn core_of(&self, group: GroupId) -> u16 {
        u16::try_from(group.0 % u64::from(self.cores)).expect("a remainder of a u16")
    }

    /// How long an answer of a peer is waited for before another one is asked; nanoseconds.
    #[must_use]
    pub fn patience(&self) -> u64 {
        (2 * self.election_timeout).max(1_000_000_000)
    }

    /// Where this node stands in the group's order of preference for leadership; 0 leads when it can.
    /// The order of the founders rotates from group to group, so that leaders spread over the nodes; spare ones follow.
    #[must_use]
    pub fn rank(&self, group: GroupId) -> u32 {
        self.rank_of(group, self.node)
    }

    /// The node that should lead the group when it can.
    #[must_use]
    pub fn preferred(&self, group: GroupId) -> NodeId {
        self.nodes[self.first(group)]
    }

    /// The nodes in the group's order of preference for leadership.
    pub fn by_rank(&self, group: GroupId) -> impl Iterator<Item = NodeId> + '_ {
        let (founders, spare) = self.nodes.split_at(self.founders);
        let first = self.first(group);
        let rotated = founders[first..].iter().chain(&founders[..first]);
        rotated.chain(spare).copied()
    }

    /// Where in the layout the group's order of preference begins.
    fn first(&self, group: GroupId) -> usize {
        usize::try_from(group.0 % self.founders as u64).expect("fewer nodes than usize")
    }

    fn rank_of(&self, group: GroupId, node: NodeId) -> u32 {
        let rank = self.by_rank(group).position(|id| id == node).unwrap_or(0);
        u32::try_from(rank).expect("fewer nodes than u32")
    }

    /// The members with which every group begins: the founders, all of which vote.
    pub fn membership(&self) -> Result<Membership, MembershipError> {
        Membership::of_voters(&self.nodes[..self.founders])
    }

    /// What each group may keep of a core's window.
    #[must_use]
    pub fn window_share(groups_on_core: usize) -> usize {
        limits::WINDOW_BYTES_MAX / groups_on_core.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_leaders_are_spread() {
        let setup = |node, core| Setup {
            node: NodeId(node),
            core,
            cores: 2,
            nodes: vec![NodeId(1), NodeId(2), NodeId(3), NodeId(9)],
            founders: 3,
            groups: 7,
            election_timeout: 1,
            beat_interval: 1,
            stopwatch: true,
            window_bytes: 1,
            is_rejoining: false,
            keeping: Keeping::default(),
            seed: 0,
        };
        let groups: Vec<u64> = setup(1, 1).own_groups().map(|group| group.0).collect();
        assert_eq!(groups, [1, 3, 5]);
        for group in 0..7 {
            let group = GroupId(group);
            let ranks: Vec<u32> = (1..=3).map(|node| setup(node, 0).rank(group)).collect();
            let mut sorted = ranks.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2], "each node has its own rank");
            let first = ranks
                .iter()
                .position(|rank| *rank == 0)
                .expect("one of them is first");
            assert_eq!(setup(1, 0).preferred(group), NodeId(first as u32 + 1));
            assert_eq!(setup(9, 0).rank(group), 3, "a spare node comes last");
            assert_eq!(u64::from(setup(1, 0).core_of(group)), group.0 % 2);
        }
    }
}

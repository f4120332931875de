//! When each other node was last heard: one table per shard, lent to the groups.
//!
//! - Liveness belongs to pairs of nodes, not to groups: an idle group sends nothing and sets no timer.
//! - Instants are this node's own; a node that was never heard has none.
//! - Nodes are sorted; an entry is never removed while the process lives.

use crate::ids::{NodeId, Time};

/// What is known about one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    node: NodeId,
    at: Time,
    incarnation: u64,
    acknowledged: Option<Time>,
}

/// Last signs of life of the other nodes.
#[derive(Clone, Debug, Default)]
pub struct Liveness {
    nodes: Vec<Heard>,
}

impl Liveness {
    /// An empty table: nobody was heard.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Something arrived from the node. `incarnation` numbers the starts of its process. True when the
    /// incarnation differs from the one known: the shard then tells its groups by `Raft::peer_reset`.
    pub fn heard(&mut self, node: NodeId, incarnation: u64, now: Time) -> bool {
        match self.find(node) {
            Ok(at) => {
                let heard = &mut self.nodes[at];
                heard.at = heard.at.max(now);
                let changed = heard.incarnation != incarnation;
                if changed {
                    heard.incarnation = incarnation;
                    heard.acknowledged = None;
                }
                changed
            }
            Err(at) => {
                let heard = Heard {
                    node,
                    at: now,
                    incarnation,
                    acknowledged: None,
                };
                self.nodes.insert(at, heard);
                false
            }
        }
    }

    /// The node said that it received our sign of life of instant `sent` (our clock). Leader leases
    /// build on it: since then it has not followed anybody else.
    pub fn acknowledged(&mut self, node: NodeId, sent: Time) {
        if let Ok(at) = self.find(node) {
            let known = &mut self.nodes[at].acknowledged;
            *known = (*known).max(Some(sent));
        }
    }

    /// When the node was heard last.
    #[must_use]
    pub fn last_heard(&self, node: NodeId) -> Option<Time> {
        self.find(node).ok().map(|at| self.nodes[at].at)
    }

    /// When the sign of life was sent (our clock) that the node acknowledged last.
    #[must_use]
    pub fn last_acknowledged(&self, node: NodeId) -> Option<Time> {
        self.find(node)
            .ok()
            .and_then(|at| self.nodes[at].acknowledged)
    }

    /// The node's incarnation as last heard.
    #[must_use]
    pub fn incarnation(&self, node: NodeId) -> Option<u64> {
        self.find(node).ok().map(|at| self.nodes[at].incarnation)
    }

    /// Not heard within the last `timeout` nanoseconds.
    #[must_use]
    pub fn is_silent(&self, node: NodeId, now: Time, timeout: u64) -> bool {
        self.last_heard(node)
            .is_none_or(|at| now.since(at) >= timeout)
    }

    fn find(&self, node: NodeId) -> Result<usize, usize> {
        self.nodes.binary_search_by_key(&node, |heard| heard.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_relative_to_the_last_sign() {
        let mut liveness = Liveness::new();
        assert!(liveness.is_silent(NodeId(2), Time(5), 100));
        assert!(
            !liveness.heard(NodeId(2), 1, Time(5)),
            "a newcomer is not a restart"
        );
        assert!(!liveness.is_silent(NodeId(2), Time(104), 100));
        assert!(liveness.is_silent(NodeId(2), Time(105), 100));
        liveness.acknowledged(NodeId(2), Time(3));
        assert!(liveness.heard(NodeId(2), 2, Time(200)));
        assert_eq!(
            liveness.last_acknowledged(NodeId(2)),
            None,
            "promises end with the process"
        );
        assert_eq!(liveness.incarnation(NodeId(2)), Some(2));
    }
}

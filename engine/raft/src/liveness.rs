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
    /// What both clocks showed: its own not later than the other's.
    clocks: Option<(Time, Time)>,
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
                    heard.clocks = None;
                }
                changed
            }
            Err(at) => {
                let heard = Heard {
                    node,
                    at: now,
                    incarnation,
                    acknowledged: None,
                    clocks: None,
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

    /// The node's clock showed `theirs` when it said that it had received our sign of life of instant `sent`
    /// (our clock): that was not before `sent`. Reads of bounded staleness build on it. It belongs to the
    /// incarnation that was heard last.
    pub fn clock(&mut self, node: NodeId, sent: Time, theirs: Time) {
        if let Ok(at) = self.find(node) {
            let known = &mut self.nodes[at].clocks;
            if known.is_none_or(|(_, before)| before <= theirs) {
                *known = Some((sent, theirs));
            }
        }
    }

    /// An instant on our clock that is not later than the moment when the node's clock showed `theirs`, if the
    /// two clocks drift apart by at most `drift` in every `per` nanoseconds of either.
    #[must_use]
    pub fn own_clock_at(&self, node: NodeId, theirs: Time, drift: u64, per: u64) -> Option<Time> {
        let (sent, known) = self.nodes[self.find(node).ok()?].clocks?;
        let apart = known.0.abs_diff(theirs.0);
        let drifted = (u128::from(apart) * u128::from(drift)).div_ceil(u128::from(per.max(1)));
        let drifted = u64::try_from(drifted).unwrap_or(u64::MAX);
        let at = if theirs <= known {
            sent.0.saturating_sub(apart).saturating_sub(drifted)
        } else {
            sent.0.saturating_add(apart.saturating_sub(drifted))
        };
        Some(Time(at))
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

    #[test]
    fn the_other_clock_is_read_to_the_earlier_side() {
        let mut liveness = Liveness::new();
        liveness.heard(NodeId(2), 1, Time(0));
        let at =
            |liveness: &Liveness, theirs| liveness.own_clock_at(NodeId(2), Time(theirs), 10, 100);
        assert_eq!(at(&liveness, 5_000), None);
        liveness.clock(NodeId(2), Time(1_000), Time(5_000));
        assert_eq!(at(&liveness, 5_000), Some(Time(1_000)));
        assert_eq!(at(&liveness, 4_900), Some(Time(1_000 - 110)));
        assert_eq!(at(&liveness, 5_100), Some(Time(1_000 + 90)));
        assert_eq!(at(&liveness, 0), Some(Time(0)));
        liveness.clock(NodeId(2), Time(900), Time(4_000));
        assert_eq!(at(&liveness, 5_000), Some(Time(1_000)), "an older pair");
        liveness.heard(NodeId(2), 2, Time(2_000));
        assert_eq!(at(&liveness, 5_000), None, "another process, another clock");
    }
}

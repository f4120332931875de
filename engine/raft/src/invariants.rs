//! Everything that must be true of a group's replicas, checked in one place after every step of every test.
//!
//! - Election safety: a term has at most one leader, ever.
//! - Leader append-only: a leader's log only grows while it leads.
//! - Log matching: two logs with one entry in common agree on everything before it, configurations included.
//! - Leader completeness: a leader holds everything that was known to be committed when it was elected.
//! - State machine safety: no two replicas ever commit different entries at one index.
//! - Terms and, while a process lives, commit indexes never fall; a vote of a term never changes.
//! - A leader never believes more of a follower's log than the follower has made durable.
//! - What is durable, committed or applied lies within the log.

use std::collections::BTreeMap;

use crate::config::Damage;
use crate::effects::Role;
use crate::ids::{EntryId, Index, NodeId, Term};
use crate::raft::Raft;

/// What was seen so far of one group, to be checked against what is.
#[derive(Clone, Debug, Default, Hash)]
pub struct RaftInvariants {
    leaders: BTreeMap<Term, NodeId>,
    /// Terms of all entries ever seen committed, from index 1 on.
    committed: Vec<Term>,
    nodes: BTreeMap<NodeId, Seen>,
}

#[derive(Clone, Copy, Debug, Default, Hash)]
struct Seen {
    term: Term,
    vote: Option<NodeId>,
    commit: Index,
    /// While leading: the term and the log's end.
    led: Option<(Term, Index)>,
}

/// What was found to be wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Two leaders of one term.
    #[error("nodes {1} and {2} both led term {0}")]
    TwoLeaders(Term, NodeId, NodeId),
    /// A leader's log shrank or changed.
    #[error("leader {0} cut its log to {1}")]
    LeaderCut(NodeId, Index),
    /// Two logs share an entry and differ before it.
    #[error("logs of {0} and {1} share a later entry and differ at {2}")]
    LogMismatch(NodeId, NodeId, Index),
    /// Two logs hold one entry with different configurations in effect.
    #[error("nodes {0} and {1} differ in the configuration at {2}")]
    ConfigurationMismatch(NodeId, NodeId, Index),
    /// A committed entry is missing in a leader's log.
    #[error("leader {0} of the newest term lacks committed entry {1}")]
    Incomplete(NodeId, Index),
    /// Different entries were committed at one index.
    #[error("node {0} committed another entry at {1}")]
    Diverged(NodeId, Index),
    /// A term, vote or commit index went back.
    #[error("node {0} took back its term, vote or commit index")]
    WentBack(NodeId),
    /// A leader counts on more than a follower holds.
    #[error("leader {0} believes that {1} holds {2}")]
    Overestimated(NodeId, NodeId, Index),
    /// Indexes of one replica contradict each other.
    #[error("node {0} has contradictory indexes")]
    Indexes(NodeId),
}

impl RaftInvariants {
    /// Nothing was seen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The node's process ended: what was not durable may be forgotten.
    pub fn restarted(&mut self, node: NodeId) {
        if let Some(seen) = self.nodes.get_mut(&node) {
            *seen = Seen {
                term: Term(0),
                vote: None,
                commit: Index(0),
                led: None,
            };
        }
    }

    /// The highest index ever seen committed.
    #[must_use]
    pub fn committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// Checks all replicas that are alive. The entries before the lowest snapshot must have been seen.
    pub fn check<'a>(
        &mut self,
        replicas: impl Iterator<Item = &'a Raft> + Clone,
    ) -> Result<(), Violation> {
        for raft in replicas.clone() {
            self.check_alone(raft)?;
            self.check_committed(raft)?;
        }
        for raft in replicas.clone() {
            if raft.role() == Role::Leader {
                self.check_leader(raft, replicas.clone())?;
            }
            for other in replicas.clone().filter(|other| other.id() > raft.id()) {
                check_logs(raft, other)?;
            }
        }
        Ok(())
    }

    fn check_alone(&mut self, raft: &Raft) -> Result<(), Violation> {
        let id = raft.id();
        let log = raft.term_log();
        let bounded = raft.durable() <= log.last_index()
            && raft.commit() <= log.last_index()
            && raft.commit() >= log.snapshot().index
            && raft.membership_index() <= log.last_index()
            && raft.leading.is_some() == (raft.role() == Role::Leader);
        if !bounded {
            return Err(Violation::Indexes(id));
        }
        let seen = self.nodes.entry(id).or_default();
        let revoted = seen.term == raft.term() && seen.vote.is_some() && seen.vote != raft.vote();
        if raft.term() < seen.term || raft.commit() < seen.commit || revoted {
            return Err(Violation::WentBack(id));
        }
        if let Some((term, last)) = seen.led
            && term == raft.term()
            && raft.role() == Role::Leader
            && log.last_index() < last
        {
            return Err(Violation::LeaderCut(id, log.last_index()));
        }
        *seen = Seen {
            term: raft.term(),
            vote: raft.vote(),
            commit: raft.commit(),
            led: (raft.role() == Role::Leader).then(|| (raft.term(), log.last_index())),
        };
        if raft.role() == Role::Leader {
            let leader = *self.leaders.entry(raft.term()).or_insert(id);
            if leader != id {
                return Err(Violation::TwoLeaders(raft.term(), leader, id));
            }
        }
        Ok(())
    }

    /// What the replica has committed is what everybody has.
    fn check_committed(&mut self, raft: &Raft) -> Result<(), Violation> {
        let from = raft.first_index().0;
        for index in from..=raft.commit().0 {
            let term = raft
                .term_at(Index(index))
                .ok_or(Violation::Indexes(raft.id()))?;
            let at = index as usize - 1;
            match self.committed.get(at) {
                Some(known) if *known == term => {}
                // Compacted in one log before it was seen there, and held by another still.
                Some(Term(0)) => self.committed[at] = term,
                Some(_) => return Err(Violation::Diverged(raft.id(), Index(index))),
                None => {
                    // A group that began from a snapshot: what lies before is not known, and not compared.
                    self.committed.resize(at, Term(0));
                    self.committed.push(term);
                }
            }
        }
        Ok(())
    }

    fn check_leader<'a>(
        &self,
        leader: &Raft,
        replicas: impl Iterator<Item = &'a Raft> + Clone,
    ) -> Result<(), Violation> {
        let newest = replicas
            .clone()
            .all(|other| other.role() != Role::Leader || other.term() <= leader.term())
            && self
                .leaders
                .last_key_value()
                .is_some_and(|(term, _)| *term == leader.term());
        if newest {
            for (at, term) in self.committed.iter().enumerate() {
                let index = Index(at as u64 + 1);
                let covered = index < leader.first_index() || *term == Term(0);
                if !covered && leader.term_at(index) != Some(*term) {
                    return Err(Violation::Incomplete(leader.id(), index));
                }
            }
        }
        for peer in leader
            .peers()
            .filter(|peer| peer.node != leader.id() && !peer.damaged)
        {
            let follows = |other: &&Raft| {
                other.id() == peer.node
                    && other.term() == leader.term()
                    && other.damage() == Damage::None
            };
            if let Some(follower) = replicas.clone().find(follows)
                && peer.matched > follower.durable()
            {
                return Err(Violation::Overestimated(
                    leader.id(),
                    peer.node,
                    peer.matched,
                ));
            }
        }
        Ok(())
    }
}

/// The last entry that both hold with one term, and everything before it, are the same.
fn check_logs(one: &Raft, other: &Raft) -> Result<(), Violation> {
    let from = one
        .term_log()
        .snapshot()
        .index
        .max(other.term_log().snapshot().index);
    let upto = one.last_index().min(other.last_index());
    let mut common = None;
    let mut next = Some(upto).filter(|upto| *upto >= from);
    while let Some(index) = next {
        let (term, others) = (one.term_at(index), other.term_at(index));
        // Down to where the later of the two runs begins every entry compares as this one does.
        let begins = |raft: &Raft| raft.term_log().run_begins(index);
        let first = begins(one).max(begins(other)).max(from);
        next = (first > from).then(|| Index(first.0 - 1));
        match common {
            None if term == others => {
                common = term.map(|term| EntryId { term, index });
                if one.membership_at(index) != other.membership_at(index) {
                    return Err(Violation::ConfigurationMismatch(
                        one.id(),
                        other.id(),
                        index,
                    ));
                }
            }
            Some(_) if term != others => {
                return Err(Violation::LogMismatch(one.id(), other.id(), index));
            }
            _ => {}
        }
    }
    Ok(())
}

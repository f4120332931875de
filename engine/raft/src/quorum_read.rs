//! Reads that ask voters and no leader: how far a replica must apply before it may answer (PQR, HotStorage 2019).
//!
//! - Every acknowledged write lies in the log of some voter that answered.
//! - The number of answers is the read quorum of the newest configuration among the answers, in each half: the
//!   asker's own configuration may be old, and fewer answers miss writes while commit sizes are lowered.
//! - Learners never count; a replica that lost promises does not answer.

use crate::config::Damage;
use crate::ids::{Index, NodeId};
use crate::membership::Membership;
use crate::raft::Raft;

/// One replica's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// Who answers.
    pub node: NodeId,
    /// The end of its log.
    pub last: Index,
    /// The configuration in effect there.
    pub membership: Membership,
}

/// The answers to one quorum read.
#[derive(Clone, Debug, Default, Hash)]
pub struct QuorumRead {
    answered: Vec<NodeId>,
    last: Index,
    newest: Option<Membership>,
    /// A fault planted for the tests of the tests.
    #[cfg(feature = "mutants")]
    pub(crate) mutant: Option<crate::mutants::Mutant>,
}

impl QuorumRead {
    /// A read that begins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An answer to a question that was asked after the read began. Returns the index up to which a replica
    /// must have applied to serve the read, once enough have answered.
    pub fn answer(&mut self, answer: &ReadAnswer) -> Option<Index> {
        if !self.answered.contains(&answer.node) {
            self.answered.push(answer.node);
        }
        self.last = self.last.max(answer.last);
        let known = self.newest.as_ref().map_or(0, Membership::generation);
        if self.newest.is_none() || answer.membership.generation() > known {
            self.newest = Some(answer.membership.clone());
        }
        let newest = self.newest.as_ref()?;
        #[cfg(feature = "mutants")]
        if self.mutant == Some(crate::mutants::Mutant::ReadQuorumTooSmall) {
            let voters = self.answered.iter().filter(|&&node| newest.is_voter(node));
            let enough = newest.quorum().voters() - newest.quorum().commit() + 1;
            return (voters.count() >= enough).then_some(self.last);
        }
        newest
            .is_read_quorum(|node| self.answered.contains(&node))
            .then_some(self.last)
    }
}

impl Raft {
    /// This replica's answer to a quorum read; `None` when it must not answer.
    #[must_use]
    pub fn read_answer(&self) -> Option<ReadAnswer> {
        (self.damage() == Damage::None).then(|| ReadAnswer {
            node: self.id(),
            last: self.last_index(),
            membership: self.membership().clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::Quorum;

    fn answer(node: u32, last: u64, membership: &Membership) -> ReadAnswer {
        ReadAnswer {
            node: NodeId(node),
            last: Index(last),
            membership: membership.clone(),
        }
    }

    #[test]
    fn the_newest_configuration_among_the_answers_decides_how_many() {
        let nodes: Vec<NodeId> = (1..=5).map(NodeId).collect();
        let three = Membership::of_voters(&nodes).expect("five voters");
        let wider = Quorum::new(5, 4, 3, 4).expect("sound");
        let four = three.with_quorum(wider).expect("compatible");
        let mut read = QuorumRead::new();
        assert_eq!(read.answer(&answer(1, 7, &three)), None);
        assert_eq!(
            read.answer(&answer(1, 7, &three)),
            None,
            "one node answers once"
        );
        assert_eq!(read.answer(&answer(2, 9, &four)), None);
        assert_eq!(
            read.answer(&answer(9, 99, &three)),
            None,
            "a stranger does not count"
        );
        assert_eq!(
            read.answer(&answer(3, 8, &three)),
            None,
            "four are asked for"
        );
        assert_eq!(read.answer(&answer(4, 8, &three)), Some(Index(99)));
        let mut old = QuorumRead::new();
        assert_eq!(old.answer(&answer(1, 7, &three)), None);
        assert_eq!(old.answer(&answer(3, 8, &three)), None);
        assert_eq!(old.answer(&answer(5, 8, &three)), Some(Index(8)));
    }
}

//! How a configuration follows from the one before: members one at a time, jointly, or quorum sizes alone.
//!
//! - One entry may only lead to a configuration whose quorums meet the old ones: every election the other
//!   side's commits and elections. Whatever cannot do that goes through a joint configuration.
//! - A simple change touches at most one voter.
//! - A joint configuration needs both halves for everything; leaving it drops the outgoing half.
//! - A node that was removed is remembered and refused when it asks to come back.

use crate::ids::NodeId;
use crate::membership::{Kind, Member, Membership, MembershipError, Place, RETIRED_MAX};
use crate::quorum::{Overlap, Quorum};

/// One member's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The node takes part in this capacity: it joins, is promoted or demoted, or moves.
    Add {
        /// Who.
        node: NodeId,
        /// As what.
        kind: Kind,
        /// Where.
        place: Place,
    },
    /// The node takes no part.
    Remove {
        /// Who.
        node: NodeId,
    },
}

impl Change {
    /// A voter in an unknown place.
    #[must_use]
    pub fn voter(node: NodeId) -> Self {
        Self::Add {
            node,
            kind: Kind::Voter,
            place: Place::default(),
        }
    }

    /// A learner in an unknown place.
    #[must_use]
    pub fn learner(node: NodeId) -> Self {
        Self::Add {
            node,
            kind: Kind::Learner,
            place: Place::default(),
        }
    }
}

/// How to get from one configuration to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transition {
    /// In one step where that is safe, otherwise jointly, leaving by itself.
    #[default]
    Auto,
    /// In one step or not at all.
    Simple,
    /// Jointly; the leader leaves the joint configuration by itself when it is committed.
    JointImplicit,
    /// Jointly, until `Raft::leave_joint`.
    JointExplicit,
}

/// Why there is no such next configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The group is in a joint configuration: leave it first.
    #[error("the configuration is joint")]
    Joint,
    /// There is no joint configuration to leave.
    #[error("the configuration is not joint")]
    NotJoint,
    /// Nobody would vote.
    #[error("no voter would remain")]
    NoVoters,
    /// More than one voter would change in a simple step.
    #[error("more than one voter would change in one step")]
    TooManyVoters,
    /// Old and new quorums need not meet: go through an intermediate configuration or a joint one.
    #[error("the old quorums need not meet the new ones")]
    Incompatible,
    /// The node was a member before and was removed: its id is spent.
    #[error("node {0} was removed before")]
    Retired(NodeId),
    /// The result would not be a configuration.
    #[error(transparent)]
    Membership(#[from] MembershipError),
}

impl Membership {
    /// The next configuration in one step.
    pub fn simple(&self, changes: &[Change], quorum: Option<Quorum>) -> Result<Self, ChangeError> {
        if self.is_joint() {
            return Err(ChangeError::Joint);
        }
        let next = self.changed(changes, quorum, false)?;
        let overlap = self.overlap(&next);
        if overlap.first_only + overlap.second_only > 1 {
            return Err(ChangeError::TooManyVoters);
        }
        if !self.quorum.compatible(next.quorum, overlap) {
            return Err(ChangeError::Incompatible);
        }
        Ok(next)
    }

    /// The joint configuration of this one and the changed one.
    pub fn enter_joint(
        &self,
        changes: &[Change],
        quorum: Option<Quorum>,
        auto_leave: bool,
    ) -> Result<Self, ChangeError> {
        if self.is_joint() {
            return Err(ChangeError::Joint);
        }
        let mut next = self.changed(changes, quorum, true)?;
        next.auto_leave = auto_leave;
        Ok(next)
    }

    /// The incoming half alone.
    pub fn leave_joint(&self) -> Result<Self, ChangeError> {
        if !self.is_joint() {
            return Err(ChangeError::NotJoint);
        }
        let mut next = self.clone();
        next.generation += 1;
        next.outgoing = None;
        next.auto_leave = false;
        for member in &self.members {
            if member.incoming.is_none() {
                next.retire(member.node);
            }
        }
        next.members.retain(|member| member.incoming.is_some());
        for member in &mut next.members {
            member.outgoing = None;
        }
        next.check()?;
        Ok(next)
    }

    /// The same members under other quorum sizes, in one step (rules Q3 and Q4 of the quorum design: to
    /// lower `commit` raise `election` first, and the other way round).
    pub fn with_quorum(&self, quorum: Quorum) -> Result<Self, ChangeError> {
        self.simple(&[], Some(quorum))
    }

    /// The next configuration by whatever transition is asked for.
    pub fn next(
        &self,
        changes: &[Change],
        quorum: Option<Quorum>,
        transition: Transition,
    ) -> Result<Self, ChangeError> {
        match transition {
            Transition::Simple => self.simple(changes, quorum),
            Transition::JointImplicit => self.enter_joint(changes, quorum, true),
            Transition::JointExplicit => self.enter_joint(changes, quorum, false),
            Transition::Auto => match self.simple(changes, quorum) {
                Err(ChangeError::TooManyVoters | ChangeError::Incompatible) => {
                    self.enter_joint(changes, quorum, true)
                }
                simple => simple,
            },
        }
    }

    fn changed(
        &self,
        changes: &[Change],
        quorum: Option<Quorum>,
        joint: bool,
    ) -> Result<Self, ChangeError> {
        let mut next = self.clone();
        next.generation += 1;
        if joint {
            next.outgoing = Some(self.quorum);
            for member in &mut next.members {
                member.outgoing = member.incoming.filter(|kind| kind.votes());
            }
        }
        for change in changes {
            next.apply(*change)?;
        }
        let gone = |member: &Member| member.incoming.is_none() && member.outgoing.is_none();
        for member in &self.members {
            if next.member(member.node).is_none_or(gone) {
                next.retire(member.node);
            }
        }
        next.members.retain(|member| !gone(member));
        let voters = next
            .members
            .iter()
            .filter(|member| member.votes_incoming())
            .count();
        if voters == 0 {
            return Err(ChangeError::NoVoters);
        }
        next.quorum = match quorum {
            Some(quorum) => quorum,
            None if voters == self.quorum.voters() => self.quorum,
            None => Quorum::majority(voters).map_err(MembershipError::from)?,
        };
        next.check()?;
        Ok(next)
    }

    fn apply(&mut self, change: Change) -> Result<(), ChangeError> {
        match change {
            Change::Add { node, kind, place } => {
                match self
                    .members
                    .binary_search_by_key(&node, |member| member.node)
                {
                    Ok(at) => {
                        let member = &mut self.members[at];
                        member.incoming = Some(kind);
                        member.place = place;
                    }
                    Err(at) => {
                        if self.retired.contains(&node) {
                            return Err(ChangeError::Retired(node));
                        }
                        let member = Member {
                            node,
                            place,
                            incoming: Some(kind),
                            outgoing: None,
                        };
                        self.members.insert(at, member);
                    }
                }
            }
            Change::Remove { node } => {
                if let Ok(at) = self
                    .members
                    .binary_search_by_key(&node, |member| member.node)
                {
                    self.members[at].incoming = None;
                }
            }
        }
        Ok(())
    }

    fn retire(&mut self, node: NodeId) {
        if self.retired.len() == RETIRED_MAX {
            self.retired.remove(0);
        }
        self.retired.push(node);
    }

    /// How the (incoming) voters of two configurations overlap.
    fn overlap(&self, other: &Self) -> Overlap {
        let votes =
            |membership: &Self, node| membership.member(node).is_some_and(Member::votes_incoming);
        let voters = |membership: &Self| membership.quorum.voters();
        let both = |member: &&Member| member.votes_incoming() && votes(other, member.node);
        let common = self.members.iter().filter(both).count();
        Overlap {
            first_only: voters(self) - common,
            second_only: voters(other) - common,
            common,
        }
    }
}

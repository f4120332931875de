//! Who belongs to a group, in which capacity and place, and which quorums rule it: one configuration.
//!
//! - Members are sorted by node; a node appears once.
//! - Each half (incoming, and outgoing while joint) has a voter, and its quorum was made for their number.
//! - A member is in the incoming half, or votes in the outgoing half, or both: nobody is listed for nothing.
//! - Configurations of one group are numbered without gaps by `generation`.
//! - A value of `Membership` keeps all of this: it is built checked, changed by `change.rs` alone, and
//!   decoded checked.

use crate::durability::{CLASSES_MAX, Class};
use crate::ids::{Index, NodeId};
use crate::quorum::{Quorum, QuorumError, VOTERS_MAX, VoteResult, committed};

/// The most members a configuration may list.
pub const MEMBERS_MAX: usize = 32;
/// How many removed nodes a configuration remembers, so that their ids are not given to newcomers.
pub const RETIRED_MAX: usize = 256;

/// A member's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Votes, stores, may lead.
    Voter,
    /// Votes and stores the log, never leads.
    Witness,
    /// Stores; counts in no quorum.
    Learner,
}

impl Kind {
    /// Counts in quorums.
    #[must_use]
    pub fn votes(self) -> bool {
        self != Self::Learner
    }
}

/// Where a member stands; 0 means unknown. The numbers are the operator's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// Data centre.
    pub site: u16,
    /// Regulatory jurisdiction.
    pub region: u16,
}

/// One node's part in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Where it stands.
    pub place: Place,
    /// Its capacity in the configuration that is being entered; `None`: it leaves with the joint phase.
    pub incoming: Option<Kind>,
    /// While joint: its capacity in the configuration that is being left, when it voted there.
    pub outgoing: Option<Kind>,
}

impl Member {
    /// Counts in some quorum.
    #[must_use]
    pub fn votes(&self) -> bool {
        self.votes_incoming() || self.outgoing.is_some()
    }

    /// Counts in the quorums of the incoming half.
    #[must_use]
    pub fn votes_incoming(&self) -> bool {
        self.incoming.is_some_and(Kind::votes)
    }

    /// May campaign: votes, and is a witness in neither half.
    #[must_use]
    pub fn may_lead(&self) -> bool {
        let witness = Some(Kind::Witness);
        self.votes() && self.incoming != witness && self.outgoing != witness
    }
}

/// A configuration: members, quorums, durability classes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Membership {
    pub(crate) generation: u64,
    pub(crate) members: Vec<Member>,
    pub(crate) quorum: Quorum,
    pub(crate) outgoing: Option<Quorum>,
    pub(crate) auto_leave: bool,
    pub(crate) classes: Vec<Class>,
    pub(crate) retired: Vec<NodeId>,
}

/// Why a configuration is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// More than `MEMBERS_MAX` members.
    #[error("too many members")]
    TooManyMembers,
    /// A node is listed twice, or the list is not sorted.
    #[error("members are not sorted and distinct")]
    Unordered,
    /// A member has no part in either half, or an outgoing part outside a joint configuration.
    #[error("a member has no part in the configuration")]
    NoPart,
    /// Quorum sizes made for another number of voters.
    #[error("quorum sizes do not fit the number of voters")]
    QuorumMismatch,
    /// Too many classes, or one weaker than the commit quorum.
    #[error("a durability class is malformed")]
    Class,
    /// More than `RETIRED_MAX` removed nodes, or one of them is a member.
    #[error("the list of removed nodes is malformed")]
    Retired,
    /// The sizes themselves.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
}

impl Membership {
    /// The first configuration of a group: these voters, majorities.
    pub fn of_voters(nodes: &[NodeId]) -> Result<Self, MembershipError> {
        let members = nodes
            .iter()
            .map(|&node| (node, Kind::Voter, Place::default()));
        Self::new(members, None)
    }

    /// A first configuration with capacities, places and quorum sizes (`None`: majorities).
    pub fn new(
        members: impl IntoIterator<Item = (NodeId, Kind, Place)>,
        quorum: Option<Quorum>,
    ) -> Result<Self, MembershipError> {
        let mut members: Vec<Member> = members
            .into_iter()
            .map(|(node, kind, place)| Member {
                node,
                place,
                incoming: Some(kind),
                outgoing: None,
            })
            .collect();
        members.sort_by_key(|member| member.node);
        let voters = members
            .iter()
            .filter(|member| member.votes_incoming())
            .count();
        let quorum = match quorum {
            Some(quorum) => quorum,
            None => Quorum::majority(voters)?,
        };
        let membership = Self {
            generation: 1,
            members,
            quorum,
            outgoing: None,
            auto_leave: false,
            classes: Vec::new(),
            retired: Vec::new(),
        };
        membership.check()?;
        Ok(membership)
    }

    /// The same configuration with durability classes 1, 2, .. (class 0 is the commit quorum).
    pub fn with_classes(mut self, classes: Vec<Class>) -> Result<Self, MembershipError> {
        self.classes = classes;
        self.check()?;
        Ok(self)
    }

    /// All the invariants of this file.
    pub(crate) fn check(&self) -> Result<(), MembershipError> {
        if self.members.len() > MEMBERS_MAX {
            return Err(MembershipError::TooManyMembers);
        }
        if !self.members.is_sorted_by(|a, b| a.node < b.node) {
            return Err(MembershipError::Unordered);
        }
        for member in &self.members {
            let stray = self.outgoing.is_none() && member.outgoing.is_some();
            let learner_outgoing = member.outgoing == Some(Kind::Learner);
            let nothing = member.incoming.is_none() && member.outgoing.is_none();
            if stray || learner_outgoing || nothing {
                return Err(MembershipError::NoPart);
            }
        }
        let incoming = self
            .members
            .iter()
            .filter(|member| member.votes_incoming())
            .count();
        let outgoing = self
            .members
            .iter()
            .filter(|member| member.outgoing.is_some())
            .count();
        if incoming == 0 {
            return Err(QuorumError::NoVoters.into());
        }
        if incoming > VOTERS_MAX || outgoing > VOTERS_MAX {
            return Err(QuorumError::TooManyVoters.into());
        }
        if self.quorum.voters() != incoming
            || self
                .outgoing
                .is_some_and(|quorum| quorum.voters() != outgoing)
        {
            return Err(MembershipError::QuorumMismatch);
        }
        let weak = |class: &Class| usize::from(class.count) > MEMBERS_MAX;
        if self.classes.len() > CLASSES_MAX || self.classes.iter().any(weak) {
            return Err(MembershipError::Class);
        }
        if self.retired.len() > RETIRED_MAX
            || self.retired.iter().any(|&node| self.member(node).is_some())
        {
            return Err(MembershipError::Retired);
        }
        Ok(())
    }

    /// Its number: each configuration follows its predecessor's.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All members, by node.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A node's part, if it has one.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        let at = self
            .members
            .binary_search_by_key(&node, |member| member.node)
            .ok()?;
        Some(&self.members[at])
    }

    /// The node counts in some quorum.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.member(node).is_some_and(Member::votes)
    }

    /// The quorums of the (incoming) voters.
    #[must_use]
    pub fn quorum(&self) -> Quorum {
        self.quorum
    }

    /// While joint: the quorums of the voters that are being left.
    #[must_use]
    pub fn outgoing_quorum(&self) -> Option<Quorum> {
        self.outgoing
    }

    /// Both halves must agree to everything (thesis, 4.3).
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.outgoing.is_some()
    }

    /// The leader leaves the joint phase by itself once it is committed.
    #[must_use]
    pub fn auto_leave(&self) -> bool {
        self.auto_leave
    }

    /// Durability classes 1, 2, ..
    #[must_use]
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Nodes removed lately; they do not come back.
    #[must_use]
    pub fn retired(&self) -> &[NodeId] {
        &self.retired
    }

    /// Answers asked of a quorum read: the larger half's, when joint both halves count separately.
    #[must_use]
    pub fn is_read_quorum(&self, answered: impl Fn(NodeId) -> bool) -> bool {
        self.holds(Quorum::read, answered)
    }

    /// Do the nodes for which `heard` holds contain an election quorum (of each half)?
    #[must_use]
    pub fn is_election_quorum(&self, heard: impl Fn(NodeId) -> bool) -> bool {
        self.holds(Quorum::election, heard)
    }

    /// Do the nodes for which `heard` holds contain a commit quorum (of each half)?
    #[must_use]
    pub fn is_commit_quorum(&self, heard: impl Fn(NodeId) -> bool) -> bool {
        self.holds(Quorum::commit, heard)
    }

    fn holds(&self, size: fn(Quorum) -> usize, yes: impl Fn(NodeId) -> bool) -> bool {
        let count = |half: fn(&Member) -> bool| {
            self.members
                .iter()
                .filter(|member| half(member) && yes(member.node))
                .count()
        };
        count(Member::votes_incoming) >= size(self.quorum)
            && self
                .outgoing
                .is_none_or(|quorum| count(|member| member.outgoing.is_some()) >= size(quorum))
    }

    /// The state of an election, given each voter's answer so far.
    #[must_use]
    pub fn election(&self, vote: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
        let poll = |half: fn(&Member) -> bool, quorum: Quorum| {
            let mut count = [0; 2];
            for member in self.members.iter().filter(|member| half(member)) {
                if let Some(yes) = vote(member.node) {
                    count[usize::from(yes)] += 1;
                }
            }
            VoteResult::of(quorum.voters(), quorum.election(), count[1], count[0])
        };
        let incoming = poll(Member::votes_incoming, self.quorum);
        match self.outgoing {
            Some(quorum) => incoming.and(poll(|member| member.outgoing.is_some(), quorum)),
            None => incoming,
        }
    }

    /// The highest index that a commit quorum (of each half) holds.
    #[must_use]
    pub fn committed(&self, held: impl Fn(NodeId) -> Index) -> Index {
        let half = |half: fn(&Member) -> bool, quorum: Quorum| {
            let mut indexes = [Index(0); VOTERS_MAX];
            let mut count = 0;
            for member in self.members.iter().filter(|member| half(member)) {
                indexes[count] = held(member.node);
                count += 1;
            }
            committed(&mut indexes[..count], quorum.commit())
        };
        let incoming = half(Member::votes_incoming, self.quorum);
        match self.outgoing {
            Some(quorum) => incoming.min(half(|member| member.outgoing.is_some(), quorum)),
            None => incoming,
        }
    }
}

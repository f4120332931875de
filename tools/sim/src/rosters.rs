//! Operators who add, remove and replace nodes under new ids, and move whole groups, while everything else goes on.
//!
//! - A roster says who is to vote in a group. It is brought about by the changes that a leader takes (`Shard::change_membership`):
//!   newcomers learn first, and when they lack little all of them vote and whoever leaves is gone, in one change.
//! - A node that left a group never comes back to it: its id is spent there. Its machine goes down when no group has it any
//!   more, and comes back with its old disk.
//! - A roster that was begun is brought to its end after everything was put right; only what the damaged ones could not live
//!   with is left.

use std::collections::{BTreeMap, BTreeSet};

use raft::change::{Change, Transition};
use raft::ids::{GroupId, NodeId, Time};
use raft::membership::Membership;
use raft::raft::Raft;
use raft::requests::MembershipChange;

use crate::chance::Chance;
use crate::coverage::sometimes;
use crate::damage::survives;
use crate::faults::Kind;
use crate::node::Ending;
use crate::verdict::Scope;
use crate::world::World;

/// Voters of a group at least.
const VOTERS_MIN: usize = 3;
/// Entries that a newcomer may lack when it is made a voter.
const LAG_MAX: u64 = 64;

/// One per world.
#[derive(Debug)]
pub(crate) struct Rosters {
    /// Who is to vote, where that is not so yet.
    open: BTreeMap<Scope, BTreeSet<NodeId>>,
    /// Who left a group, or is about to.
    left: BTreeMap<Scope, BTreeSet<NodeId>>,
    /// Machines whose ids are or were named by a roster.
    named: BTreeSet<usize>,
    /// Machines that are to go down when no group has them any more.
    leaving: BTreeSet<usize>,
    dice: Chance,
    /// Rosters that were brought about.
    done: u64,
}

impl Rosters {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            open: BTreeMap::new(),
            left: BTreeMap::new(),
            named: BTreeSet::new(),
            leaving: BTreeSet::new(),
            dice: Chance::named(seed, "rosters"),
            done: 0,
        }
    }
}

/// What is next on the way to a roster.
enum Step {
    /// It is there.
    Done,
    /// Somebody else has to do something first.
    Wait,
    /// This change.
    Change(MembershipChange),
    /// The joint configuration is left.
    Leave,
}

impl World {
    /// An operator wants other voters in one group, or all groups, of this node's cluster; whether there is such a roster.
    pub(crate) fn redraw(&mut self, kind: Kind, node: usize) -> bool {
        let cluster = self.nodes[node].cluster;
        let scopes: Vec<Scope> = (0..self.nodes[node].groups)
            .map(|group| Scope { cluster, group })
            .collect();
        if kind == Kind::MoveGroup {
            let scope = self.dice.pick(&scopes);
            return self.move_group(scope);
        }
        let newcomer = self.newcomer(cluster);
        let joins = match (kind, newcomer) {
            (Kind::RemoveNode, _) => None,
            (_, Some(newcomer)) => Some(newcomer),
            (_, None) => return false,
        };
        let leaves = (kind != Kind::AddNode).then_some(node);
        let mut is_any = false;
        for scope in scopes {
            is_any |= self.redraw_one(scope, joins, leaves);
        }
        if let (true, Some(joins)) = (is_any, joins) {
            self.rosters.named.insert(joins);
        }
        if let (true, Some(leaves)) = (is_any, leaves) {
            self.rosters.leaving.insert(leaves);
        }
        is_any
    }

    /// A node of the cluster that no roster has named.
    fn newcomer(&mut self, cluster: usize) -> Option<usize> {
        let nodes = self.nodes.iter();
        let nodes = nodes.filter(|node| node.cluster == cluster);
        let mut spare = nodes.filter(|node| node.id.0 as usize > node.founders);
        let left = &self.rosters.left;
        let is_spent = |id: &NodeId| {
            let left = left.iter().filter(|(scope, _)| scope.cluster == cluster);
            left.into_iter().any(|(_, left)| left.contains(id))
        };
        let named = &self.rosters.named;
        let spare = spare.find(|node| !named.contains(&node.number) && !is_spent(&node.id));
        spare.map(|node| node.number)
    }

    /// Who votes in the group, or is to vote there.
    fn roster(&self, scope: Scope) -> Option<BTreeSet<NodeId>> {
        let open = self.rosters.open.get(&scope).cloned();
        open.or_else(|| {
            let (_, membership) = self.leader_of(scope)?;
            Some(voters(&membership))
        })
    }

    fn redraw_one(&mut self, scope: Scope, joins: Option<usize>, leaves: Option<usize>) -> bool {
        let Some(mut roster) = self.roster(scope) else {
            return false;
        };
        let [joins, leaves] = [joins, leaves].map(|node| node.map(|node| self.nodes[node].id));
        if leaves.is_some_and(|leaves| !roster.remove(&leaves)) {
            return false;
        }
        roster.extend(joins);
        if roster.len() < VOTERS_MIN {
            return false;
        }
        self.rosters.left.entry(scope).or_default().extend(leaves);
        self.rosters.open.insert(scope, roster);
        true
    }

    /// As many voters as there are nodes that never left the group are exchanged.
    fn move_group(&mut self, scope: Scope) -> bool {
        let Some(roster) = self.roster(scope) else {
            return false;
        };
        let none = BTreeSet::new();
        let left = self.rosters.left.get(&scope).unwrap_or(&none);
        let members = self
            .nodes
            .iter()
            .filter(|node| node.cluster == scope.cluster);
        let others: Vec<(usize, NodeId)> = members
            .filter(|node| !roster.contains(&node.id) && !left.contains(&node.id))
            .map(|node| (node.number, node.id))
            .take(roster.len())
            .collect();
        if others.is_empty() {
            return false;
        }
        let leave: Vec<NodeId> = roster.iter().copied().take(others.len()).collect();
        let stay = roster.iter().copied().skip(others.len());
        let next = stay.chain(others.iter().map(|(_, id)| *id)).collect();
        self.rosters.left.entry(scope).or_default().extend(leave);
        self.rosters
            .named
            .extend(others.iter().map(|(node, _)| *node));
        self.rosters.open.insert(scope, next);
        true
    }

    /// Every roster is brought one step nearer, and machines that no group has any more go down.
    pub(crate) fn tend_rosters(&mut self) {
        let open: Vec<Scope> = self.rosters.open.keys().copied().collect();
        for scope in open {
            self.tend_roster(scope);
        }
        let leaving: Vec<usize> = self.rosters.leaving.iter().copied().collect();
        for node in leaving {
            if self.has_left(node) {
                self.rosters.leaving.remove(&node);
                if !self.is_calm {
                    self.end(node, Ending::PowerLoss, "was removed");
                }
            }
        }
    }

    fn tend_roster(&mut self, scope: Scope) {
        let Some((leader, membership)) = self.leader_of(scope) else {
            return;
        };
        let roster = self.rosters.open[&scope].clone();
        let core = usize::try_from(scope.group % u64::from(self.plan.cores)).expect("a remainder");
        let Some(replica) = self.nodes[leader].replica(scope) else {
            return;
        };
        let left = self.rosters.left.entry(scope).or_default();
        let dice = &mut self.rosters.dice;
        let step = step(&replica.raft, &membership, (&roster, left), dice);
        let next = match &step {
            Step::Done => {
                self.rosters.open.remove(&scope);
                self.rosters.done += 1;
                sometimes!(self.coverage, true => Redrawn, self.now);
                return;
            }
            Step::Wait => return,
            Step::Leave => membership.leave_joint(),
            Step::Change(change) => membership.next(&change.changes, None, change.transition),
        };
        let Ok(next) = next else {
            return;
        };
        if !survives(&next, &self.damaged_of(scope.cluster)) {
            if self.is_calm {
                self.rosters.open.remove(&scope);
            }
            return;
        }
        let moved = voters(&membership).intersection(&voters(&next)).count();
        sometimes!(self.coverage, next.is_joint() && moved == 0 => Moved, self.now);
        self.grant(scope, next);
        let now = Time(self.nodes[leader].clock.local(self.now));
        let shard = &mut self.nodes[leader].cores[core].shard;
        let left = self.rosters.left.entry(scope).or_default();
        let group = GroupId(scope.group);
        // What is refused is asked again.
        let _ = match step {
            Step::Change(change) => {
                let gone = change.changes.iter().filter_map(|change| match change {
                    Change::Remove { node } => Some(*node),
                    Change::Add { .. } => None,
                });
                left.extend(gone);
                shard.change_membership(group, &change, now)
            }
            _ => shard.leave_joint(group, now),
        };
        self.nudge(leader);
    }

    /// No group has the node any more, as far as their leaders know, and none is to have it.
    fn has_left(&self, node: usize) -> bool {
        let (id, cluster) = (self.nodes[node].id, self.nodes[node].cluster);
        (0..self.nodes[node].groups).all(|group| {
            let scope = Scope { cluster, group };
            let is_wanted = self.rosters.open.contains_key(&scope);
            let membership = self.leader_of(scope).map(|(_, membership)| membership);
            !is_wanted && membership.is_some_and(|membership| membership.member(id).is_none())
        })
    }

    /// Rosters that were brought about.
    pub(crate) fn redrawn(&self) -> u64 {
        self.rosters.done
    }

    /// Rosters that are not brought about yet.
    pub(crate) fn open_rosters(&self) -> Vec<Scope> {
        self.rosters.open.keys().copied().collect()
    }

    /// The members of a group, as its leader knows them: all nodes of a cluster without spare ones.
    pub(crate) fn members_of(&self, scope: Scope) -> Option<Vec<NodeId>> {
        let cluster = &self.plan.asked.topology.clusters[scope.cluster];
        if cluster.spares == 0 {
            return Some((1..=cluster.sites.len() as u32).map(NodeId).collect());
        }
        let (_, membership) = self.leader_of(scope)?;
        let members = membership.members().iter();
        Some(members.map(|member| member.node).collect())
    }
}

/// Who votes, or is to vote when the joint configuration is left.
fn voters(membership: &Membership) -> BTreeSet<NodeId> {
    let members = membership.members().iter();
    let voters = members.filter(|member| member.votes_incoming());
    voters.map(|member| member.node).collect()
}

/// The next step from this configuration, as the leader sees the members.
fn step(
    raft: &Raft,
    membership: &Membership,
    (roster, left): (&BTreeSet<NodeId>, &BTreeSet<NodeId>),
    dice: &mut Chance,
) -> Step {
    if membership.is_joint() {
        return if membership.auto_leave() {
            Step::Wait
        } else {
            Step::Leave
        };
    }
    let members = membership.members().iter().map(|member| member.node);
    let members: BTreeSet<NodeId> = members.collect();
    let voting = voters(membership);
    let missing: Vec<NodeId> = roster.difference(&members).copied().collect();
    if !missing.is_empty() {
        return Step::Change(MembershipChange {
            changes: missing.into_iter().map(Change::learner).collect(),
            quorum: None,
            transition: Transition::Auto,
        });
    }
    let promoted: Vec<NodeId> = roster.difference(&voting).copied().collect();
    let leave = members.difference(roster).copied();
    let leave = leave.filter(|node| voting.contains(node) || left.contains(node));
    let leave: Vec<NodeId> = leave.collect();
    if promoted.is_empty() && leave.is_empty() {
        return Step::Done;
    }
    let last = raft.last_index().0;
    let is_fit = |node: &NodeId| {
        raft.peers().any(|peer| {
            peer.node == *node && !peer.damaged && last.saturating_sub(peer.matched.0) <= LAG_MAX
        })
    };
    if !promoted.iter().all(is_fit) {
        return Step::Wait;
    }
    let votes = promoted.into_iter().map(Change::voter);
    let gone = leave.into_iter().map(|node| Change::Remove { node });
    Step::Change(MembershipChange {
        changes: votes.chain(gone).collect(),
        quorum: None,
        transition: dice.pick(&[
            Transition::Auto,
            Transition::JointImplicit,
            Transition::JointExplicit,
        ]),
    })
}

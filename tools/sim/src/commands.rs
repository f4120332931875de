//! What operators do to groups while everything else goes on: leadership is handed over, members and quorums change.
//!
//! - Asked of whoever leads; what the core refuses has not happened.
//! - At least a majority of the nodes stays voters.

use raft::change::{Change, Transition};
use raft::effects::Role;
use raft::ids::{GroupId, NodeId, Time};
use raft::membership::Membership;
use raft::quorum::Quorum;
use raft::requests::MembershipChange;

use crate::damage::survives;
use crate::faults::Kind;
use crate::verdict::Scope;
use crate::world::World;

/// Configurations of a group that may still be under way somewhere.
const REMEMBERED: usize = 6;

impl World {
    /// An operator asks something of one of the groups of this node's cluster; whether it was granted.
    pub(crate) fn command(&mut self, kind: Kind, node: usize) -> bool {
        let group = self.dice.below(self.nodes[node].groups);
        let members = self.nodes[node].members.clone();
        let core = usize::try_from(group % u64::from(self.plan.cores)).expect("a remainder");
        let leads = |world: &Self, member: usize| {
            let shard = world.nodes[member].cores.get(core).map(|core| &core.shard);
            let replicas = shard.map_or(&[][..], |shard| shard.replicas());
            let replica = replicas.iter().find(|replica| replica.group.0 == group);
            replica
                .filter(|replica| replica.raft.role() == Role::Leader)
                .map(|replica| replica.raft.membership().clone())
        };
        let leader = members
            .iter()
            .find_map(|member| leads(self, *member).map(|membership| (*member, membership)));
        let Some((leader, membership)) = leader else {
            return false;
        };
        let other = NodeId(1 + self.dice.below(members.len() as u64) as u32);
        let now = Time(self.nodes[leader].clock.local(self.now));
        let scope = Scope {
            cluster: self.nodes[node].cluster,
            group,
        };
        let damaged = self.damaged_of(scope.cluster);
        let quorum = self.quorum(&membership);
        let change = self.change(&membership, other);
        let next = match kind {
            Kind::Quorums => quorum.and_then(|quorum| membership.with_quorum(quorum).ok()),
            Kind::Members => membership
                .next(&change.changes, change.quorum, change.transition)
                .or_else(|_| membership.leave_joint())
                .ok(),
            _ => None,
        };
        // What the damaged ones could not live with is not asked for.
        if let Some(next) = next {
            if !survives(&next, &damaged) {
                return false;
            }
            let granted = self.granted.entry(scope).or_default();
            granted.push_back(next);
            if granted.len() > REMEMBERED {
                granted.pop_front();
            }
        }
        let shard = &mut self.nodes[leader].cores[core].shard;
        let group = GroupId(group);
        let is_granted = match kind {
            Kind::Transfer => shard.transfer(group, other, now).is_ok(),
            Kind::Quorums => {
                quorum.is_some_and(|quorum| shard.change_quorum(group, quorum, now).is_ok())
            }
            _ if membership.is_joint() => shard.leave_joint(group, now).is_ok(),
            _ => shard.change_membership(group, &change, now).is_ok(),
        };
        self.nudge(leader);
        is_granted
    }

    /// Any sizes that make a quorum system of the voters.
    fn quorum(&mut self, membership: &Membership) -> Option<Quorum> {
        let voters = membership.quorum().voters();
        let election = voters / 2 + 1 + self.dice.place(voters - voters / 2);
        let commit = (voters + 1 - election.min(voters)).max(1);
        let commit = commit + self.dice.place(voters + 1 - commit);
        Quorum::new(voters, election.min(voters), commit, voters).ok()
    }

    /// A voter becomes a learner where enough others vote; learners become voters again, one or all of them.
    fn change(&mut self, membership: &Membership, other: NodeId) -> MembershipChange {
        let learners: Vec<NodeId> = membership
            .members()
            .iter()
            .filter(|member| !member.votes())
            .map(|member| member.node)
            .collect();
        let spare = (membership.members().len() - 1) / 2;
        let promotes = !learners.is_empty() && self.dice.permille(600);
        let changes = if promotes || learners.len() >= spare {
            learners.into_iter().map(Change::voter).collect()
        } else {
            vec![Change::learner(other)]
        };
        let transition = self.dice.pick(&[
            Transition::Auto,
            Transition::JointImplicit,
            Transition::JointExplicit,
        ]);
        MembershipChange {
            changes,
            quorum: None,
            transition,
        }
    }
}

//! What operators do to groups while everything else goes on: leadership is handed over, members and quorums change.
//!
//! - Asked of whoever leads; what the core refuses has not happened.
//! - At least a majority of the nodes stays voters.

use raft::change::{Change, Transition};
use raft::config::Damage;
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
            self.grant(scope, next);
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

    /// An operator makes voters learners that say that their votes are lost, and voters again when they are whole.
    pub(crate) fn readmit(&mut self) {
        for node in 0..self.nodes.len() {
            let lost = self.nodes[node]
                .cores
                .iter()
                .flat_map(|core| core.shard.replicas());
            let lost = lost.map(|replica| (replica.group.0, replica.raft.damage()));
            let lost: Vec<(u64, Damage)> = lost.collect();
            if !lost.is_empty() && lost.iter().all(|(_, damage)| *damage == Damage::None) {
                self.nodes[node].is_rejoining = false;
            }
            for (group, damage) in lost {
                let cluster = self.nodes[node].cluster;
                self.readmit_one(Scope { cluster, group }, node, damage);
            }
        }
    }

    fn readmit_one(&mut self, scope: Scope, node: usize, damage: Damage) {
        let is_begun = self.readmitted.contains(&(scope, node));
        if damage != Damage::Votes && (damage != Damage::None || !is_begun) {
            return;
        }
        let Some((leader, membership)) = self.leader_of(scope) else {
            return;
        };
        let id = self.nodes[node].id;
        let votes = membership.is_voter(id);
        let change = match damage {
            Damage::Votes if votes => Change::learner(id),
            Damage::None if votes => {
                self.readmitted.remove(&(scope, node));
                return;
            }
            Damage::None => Change::voter(id),
            _ => return,
        };
        let change = MembershipChange {
            changes: vec![change],
            quorum: None,
            transition: Transition::Auto,
        };
        let Ok(next) = membership.next(&change.changes, None, change.transition) else {
            return;
        };
        if !survives(&next, &self.damaged_of(scope.cluster)) {
            return;
        }
        self.grant(scope, next);
        let now = Time(self.nodes[leader].clock.local(self.now));
        let core = usize::try_from(scope.group % u64::from(self.plan.cores)).expect("a remainder");
        let shard = &mut self.nodes[leader].cores[core].shard;
        let asked = shard.change_membership(GroupId(scope.group), &change, now);
        if asked.is_ok() && damage == Damage::Votes {
            self.readmitted.insert((scope, node));
        }
        self.nudge(leader);
    }

    /// The node that leads a group, with the configuration there.
    pub(crate) fn leader_of(&self, scope: Scope) -> Option<(usize, Membership)> {
        let mut members = self
            .nodes
            .iter()
            .filter(|node| node.cluster == scope.cluster);
        members.find_map(|node| {
            let raft = &node.replica(scope)?.raft;
            (raft.role() == Role::Leader).then(|| (node.number, raft.membership().clone()))
        })
    }

    /// A configuration is asked for.
    pub(crate) fn grant(&mut self, scope: Scope, next: Membership) {
        let granted = self.granted.entry(scope).or_default();
        granted.push_back(next);
        if granted.len() > REMEMBERED {
            granted.pop_front();
        }
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

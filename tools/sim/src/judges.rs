//! The judges that look after every turn: indexes, terms, leaders, commitments and queues; and, less often, all logs.
//!
//! - After a turn only what changed is looked at; whole logs are compared a few times per simulated second.

use std::collections::BTreeMap;

use raft::effects::Role;
use raft::ids::{GroupId, Index, NodeId};
use raft::invariants::{RaftInvariants, Violation};
use raft::raft::Raft;
use shard::replica::Replica;

use crate::trace::{Trace, What, Who};
use crate::verdict::{Broken, Scope};

/// One per run.
#[derive(Debug, Default)]
pub struct Judges {
    groups: BTreeMap<Scope, Group>,
    seen: BTreeMap<(usize, u64), Seen>,
    /// Elections won.
    pub elections: u64,
    /// Groups whose logs are to be compared at once: the invariants must see every leader.
    pub elected: Vec<Scope>,
}

#[derive(Debug, Default)]
struct Group {
    leaders: BTreeMap<u64, NodeId>,
    /// Term of every entry ever seen committed.
    committed: Vec<u64>,
    invariants: RaftInvariants,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    term: u64,
    role: Role,
    vote: Option<NodeId>,
    commit: u64,
    applied: u64,
    last: u64,
}

/// A node as the judges know it.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    /// Its number in the world.
    pub node: usize,
    /// Its cluster.
    pub cluster: usize,
    /// Its id there.
    pub id: NodeId,
    /// The core.
    pub core: u16,
}

impl Judges {
    /// A node's process started anew.
    pub fn restarted(&mut self, judged: Judged) {
        self.seen.retain(|(node, _), _| *node != judged.node);
        for (scope, group) in &mut self.groups {
            if scope.cluster == judged.cluster {
                group.invariants.restarted(judged.id);
            }
        }
    }

    /// A core took a turn.
    ///
    /// # Errors
    /// The first promise that it broke.
    pub fn turned<M>(
        &mut self,
        judged: Judged,
        replicas: &[Replica<M>],
        now: u64,
        trace: &Trace,
    ) -> Result<(), Broken> {
        for replica in replicas {
            let GroupId(group) = replica.group;
            let raft = &replica.raft;
            let is = Seen {
                term: raft.term().0,
                role: raft.role(),
                vote: raft.vote(),
                commit: replica.commit.0,
                applied: replica.applied.0,
                last: raft.last_index().0,
            };
            let was = self.seen.entry((judged.node, group)).or_default();
            if *was == is {
                continue;
            }
            let was = std::mem::replace(was, is);
            let scope = Scope {
                cluster: judged.cluster,
                group,
            };
            regress(scope, judged.node, was, is)?;
            self.compare(scope, judged, raft, was, is)?;
            if (was.role, was.term, was.commit, was.applied)
                != (is.role, is.term, is.commit, is.applied)
            {
                if is.role == Role::Leader && (was.role, was.term) != (is.role, is.term) {
                    self.elections += 1;
                    self.elected.push(scope);
                }
                let what = What::Moved(group, role_name(is.role), is.term, is.commit, is.applied);
                trace.note(now, Who::Core(judged.node, judged.core), what);
            }
        }
        Ok(())
    }

    fn compare(
        &mut self,
        scope: Scope,
        judged: Judged,
        raft: &Raft,
        was: Seen,
        is: Seen,
    ) -> Result<(), Broken> {
        let group = self.groups.entry(scope).or_default();
        let broken = |violation| Err(Broken::Raft { scope, violation });
        if is.role == Role::Leader {
            let leader = *group.leaders.entry(is.term).or_insert(judged.id);
            if leader != judged.id {
                return broken(Violation::TwoLeaders(raft.term(), leader, judged.id));
            }
        }
        let from = was.commit.max(raft.first_index().0.saturating_sub(1));
        for index in from + 1..=is.commit {
            let Some(term) = raft.term_at(Index(index)) else {
                return broken(Violation::Indexes(judged.id));
            };
            match group.committed.get(index as usize - 1) {
                Some(known) if *known == term.0 => {}
                Some(_) => return broken(Violation::Diverged(judged.id, Index(index))),
                None => {
                    group.committed.resize(index as usize - 1, 0);
                    group.committed.push(term.0);
                }
            }
        }
        Ok(())
    }

    /// Compares all logs of a group.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn logs(&mut self, scope: Scope, rafts: &[&Raft]) -> Result<(), Broken> {
        let group = self.groups.entry(scope).or_default();
        group
            .invariants
            .check(rafts.iter().copied())
            .map_err(|violation| Broken::Raft { scope, violation })
    }
}

fn regress(scope: Scope, node: usize, was: Seen, is: Seen) -> Result<(), Broken> {
    let numbers = [
        ("term", was.term, is.term),
        ("commit index", was.commit, is.commit),
        ("applied index", was.applied, is.applied),
        (
            "applied index beyond the commit index",
            is.applied,
            is.commit,
        ),
    ];
    for (what, before, after) in numbers {
        if after < before {
            return Err(Broken::Regress {
                scope,
                node,
                what,
                before,
                after,
            });
        }
    }
    if was.term == is.term && was.vote.is_some() && was.vote != is.vote {
        let [before, after] =
            [was.vote, is.vote].map(|vote| vote.map_or(0, |node| u64::from(node.0)));
        return Err(Broken::Regress {
            scope,
            node,
            what: "vote",
            before,
            after,
        });
    }
    Ok(())
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

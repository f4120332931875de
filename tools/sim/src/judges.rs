//! The judges that look after every turn: indexes, terms, leaders, commitments and queues; and, less often, all logs.
//!
//! - After a turn only those replicas are looked at that the shard says to have touched, and a few times per simulated
//!   second all others, which must not have changed; then whole logs are compared too.
//! - What a replica knew to be durable it still has when it is started again: term, vote and entries.

use std::collections::BTreeMap;

use raft::config::Damage;
use raft::effects::Role;
use raft::ids::{GroupId, Index, NodeId};
use raft::invariants::{RaftInvariants, Violation};
use raft::raft::Raft;
use shard::replica::Replica;

use crate::coverage::{Coverage, sometimes};
use crate::seen::Seen;
use crate::trace::{Trace, What, Who};
use crate::verdict::{Broken, Scope};

/// One per run.
#[derive(Debug, Default)]
pub struct Judges {
    groups: BTreeMap<Scope, Group>,
    /// By node and group.
    seen: Vec<Vec<Seen>>,
    kept: BTreeMap<(usize, u64), Kept>,
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

/// What a replica knew to be durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kept {
    term: u64,
    vote: Option<NodeId>,
    /// The last durable entry: index and term.
    last: (u64, u64),
    /// Its votes were lost with its disk, and its group has not said yet that it may vote again.
    has_lost_votes: bool,
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
    /// A node's process started anew, with these replicas.
    ///
    /// # Errors
    /// If one of them does not remember what it knew to be durable.
    pub fn restarted<'a, M: 'a>(
        &mut self,
        judged: Judged,
        replicas: impl Iterator<Item = &'a Replica<M>>,
        is_scarred: bool,
    ) -> Result<(), Broken> {
        self.forget(judged);
        for replica in replicas {
            let group = replica.group.0;
            if let Some(kept) = self.kept.get(&(judged.node, group)) {
                let scope = Scope {
                    cluster: judged.cluster,
                    group,
                };
                // Damage that stays on a disk is found by every start: what it says to lack is given again.
                let mut kept = *kept;
                if is_scarred && replica.raft.damage() != Damage::None {
                    kept.last = (0, 0);
                }
                remembers(scope, judged.node, kept, &replica.raft)?;
            }
        }
        Ok(())
    }

    /// What a node's disk held is lost by a fault.
    pub fn excuse(&mut self, node: usize) {
        self.kept.retain(|(kept, _), _| *kept != node);
    }

    fn keep(&mut self, node: usize, group: u64, raft: &Raft, is: Seen) {
        let kept = self.kept.entry((node, group)).or_default();
        // What it promised before its votes were lost is not known: it may have been counted since, and is not given again.
        if raft.damage() == Damage::Votes {
            kept.has_lost_votes = true;
        } else if is.keeps_vote {
            (kept.term, kept.vote, kept.has_lost_votes) = (is.term, is.vote, false);
        }
        let term = raft.term_at(Index(is.durable)).map_or(0, |term| term.0);
        kept.last = (is.durable, term);
    }

    fn forget(&mut self, judged: Judged) {
        if let Some(seen) = self.seen.get_mut(judged.node) {
            seen.clear();
        }
        for (scope, group) in &mut self.groups {
            if scope.cluster == judged.cluster {
                group.invariants.restarted(judged.id);
            }
        }
    }

    fn seen_of(&mut self, node: usize, group: u64) -> &mut Seen {
        if self.seen.len() <= node {
            self.seen.resize_with(node + 1, Vec::new);
        }
        let (seen, at) = (&mut self.seen[node], group as usize);
        if seen.len() <= at {
            seen.resize_with(at + 1, Seen::default);
        }
        &mut seen[at]
    }

    /// All replicas of a core are as they were when they were last touched.
    ///
    /// # Errors
    /// If one of them is not.
    pub fn at_rest<M>(&mut self, judged: Judged, replicas: &[Replica<M>]) -> Result<(), Broken> {
        for replica in replicas {
            let group = replica.group.0;
            let seen = *self.seen_of(judged.node, group);
            if let Some(what) = seen.first_other(&Seen::of(replica)) {
                let scope = Scope {
                    cluster: judged.cluster,
                    group,
                };
                let node = judged.node;
                return Err(Broken::Unnoticed { scope, node, what });
            }
        }
        Ok(())
    }

    /// A core took a turn, in which these replicas were touched.
    ///
    /// # Errors
    /// The first promise that it broke.
    pub fn turned<'a, M: 'a>(
        &mut self,
        judged: Judged,
        replicas: impl Iterator<Item = &'a Replica<M>>,
        now: u64,
        (trace, coverage): (&Trace, &mut Coverage),
    ) -> Result<(), Broken> {
        for replica in replicas {
            let GroupId(group) = replica.group;
            let raft = &replica.raft;
            let is = Seen::of(replica);
            let was = self.seen_of(judged.node, group);
            if *was == is {
                continue;
            }
            let was = std::mem::replace(was, is);
            let scope = Scope {
                cluster: judged.cluster,
                group,
            };
            regress(scope, judged.node, was, is)?;
            cover(raft, was, is, now, coverage);
            self.keep(judged.node, group, raft, is);
            if is.role == Role::Leader && (was.role, was.term) != (is.role, is.term) {
                self.votes_are_kept(scope, judged, raft)?;
            }
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
        let broken = |violation| Err(Broken::Raft { scope, violation });
        let group = self.groups.entry(scope).or_default();
        if is.role == Role::Leader {
            let leader = *group.leaders.entry(is.term).or_insert(judged.id);
            if leader != judged.id {
                return broken(Violation::TwoLeaders(raft.term(), leader, judged.id));
            }
        }
        let from = was.commit.max(raft.first_index().0.saturating_sub(1));
        if is.role == Role::Leader && was.term == is.term && was.commit < is.commit {
            // Raft paper, 5.4.2: only entries of its own term are committed by counting.
            let term = raft.term_at(Index(is.commit)).map_or(0, |term| term.0);
            if term != is.term {
                let (node, index) = (judged.node, is.commit);
                return Err(Broken::CountedOldTerm { scope, node, index });
            }
        }
        for index in from + 1..=is.commit {
            let Some(term) = raft.term_at(Index(index)) else {
                return broken(Violation::Indexes(judged.id));
            };
            match group.committed.get(index as usize - 1) {
                Some(known) if *known == term.0 => {}
                Some(0) => group.committed[index as usize - 1] = term.0,
                Some(_) => return broken(Violation::Diverged(judged.id, Index(index))),
                None => {
                    group.committed.resize(index as usize - 1, 0);
                    group.committed.push(term.0);
                }
            }
        }
        Ok(())
    }

    /// A quorum of durable votes stands behind a new leader; nobody's vote may be forgotten by a crash.
    fn votes_are_kept(&self, scope: Scope, judged: Judged, raft: &Raft) -> Result<(), Broken> {
        let term = raft.term().0;
        let first = judged.node + 1 - judged.id.0 as usize;
        let keeps = |voter: NodeId| {
            let node = first + voter.0 as usize - 1;
            let kept = self.kept.get(&(node, scope.group));
            // Of a replica whose disk was damaged nothing is known until it is asked again.
            kept.is_none_or(|kept| {
                kept.has_lost_votes
                    || kept.term > term
                    || kept.term == term && kept.vote == Some(judged.id)
            })
        };
        if raft.membership().is_election_quorum(keeps) {
            return Ok(());
        }
        let node = judged.node;
        Err(Broken::VotesNotKept { scope, node, term })
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

/// The rare things that a replica's numbers show.
fn cover(raft: &Raft, was: Seen, is: Seen, now: u64, coverage: &mut Coverage) {
    if was.term == 0 {
        return;
    }
    let leads = |seen: Seen| seen.role == Role::Leader;
    sometimes!(coverage, leads(is) && !leads(was) => Elected, now);
    sometimes!(coverage, leads(was) && !leads(is) => Deposed, now);
    sometimes!(coverage, is.last < was.last => Cut, now);
    let committed = raft
        .term_at(Index(is.commit))
        .map_or(is.term, |term| term.0);
    sometimes!(coverage, is.commit > was.commit && committed < is.term => OldTerm, now);
    sometimes!(coverage, is.configuration != was.configuration => Reconfigured, now);
    sometimes!(coverage, raft.membership().is_joint() => Joint, now);
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
        (
            "durable index beyond what the core knows",
            is.held,
            is.durable,
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

/// The replica still has what it knew to be durable.
fn remembers(scope: Scope, node: usize, kept: Kept, raft: &Raft) -> Result<(), Broken> {
    let forgot = |what, before, after| {
        Err(Broken::Forgot {
            scope,
            node,
            what,
            before,
            after,
        })
    };
    if raft.term().0 < kept.term {
        return forgot("term", kept.term, raft.term().0);
    }
    if raft.term().0 == kept.term && kept.vote.is_some() && raft.vote() != kept.vote {
        let number = |vote: Option<NodeId>| vote.map_or(0, |node| u64::from(node.0));
        return forgot("vote", number(kept.vote), number(raft.vote()));
    }
    let (index, term) = kept.last;
    if raft.last_index().0 < index {
        return forgot("last entry", index, raft.last_index().0);
    }
    match raft.term_at(Index(index)) {
        Some(is) if is.0 != term => forgot("last entry's term", term, is.0),
        _ => Ok(()),
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

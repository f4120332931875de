//! Any two quorums that must meet do: every size of a group up to seven voters, every legal change of it.
//!
//! - Changes of sizes, of members, and of both at once; in one step, and through a joint configuration.
//! - The truth is brute force over the sets of nodes, asked of the very object that elections, commits and reads ask.
//! - Sets that differ in the names of like nodes alone are one; where seven nodes are enough, all sets are tried too.
//! - What the core refuses as incompatible really has two quorums that miss each other.

use raft::change::{Change, ChangeError};
use raft::ids::{Index, NodeId};
use raft::membership::Membership;
use raft::quorum::{Quorum, VoteResult, committed};

const VOTERS: usize = 7;

/// All sound sizes for `voters` voters, with the smallest read quorum.
fn sizes(voters: usize) -> Vec<Quorum> {
    let mut found = Vec::new();
    for election in 1..=voters {
        for commit in 1..=voters {
            found.extend(Quorum::new(voters, election, commit, election));
        }
    }
    found
}

/// The voters of two configurations: so many of the first alone, of both, of the second alone.
#[derive(Clone, Copy, Debug)]
struct Sets {
    first: usize,
    common: usize,
    second: usize,
}

impl Sets {
    /// Every pair of voter sets of up to `VOTERS` each, up to names.
    fn all() -> impl Iterator<Item = Self> {
        (0..=VOTERS)
            .flat_map(|first| {
                (0..=VOTERS).flat_map(move |common| {
                    (0..=VOTERS).map(move |second| Self {
                        first,
                        common,
                        second,
                    })
                })
            })
            .filter(|sets| {
                (1..=VOTERS).contains(&(sets.first + sets.common))
                    && (1..=VOTERS).contains(&(sets.second + sets.common))
            })
    }

    fn union(self) -> usize {
        self.first + self.common + self.second
    }

    /// Nodes count from 1: those of the first alone, of both, of the second alone.
    fn old(self, quorum: Quorum) -> Membership {
        let nodes: Vec<NodeId> = (1..=self.first + self.common).map(id).collect();
        let membership = Membership::of_voters(&nodes).expect("voters");
        let voters = membership.members().iter();
        let voters =
            voters.map(|member| (member.node, raft::membership::Kind::Voter, member.place));
        Membership::new(voters, Some(quorum)).expect("sizes for them")
    }

    fn changes(self) -> Vec<Change> {
        let removed = (1..=self.first).map(|at| Change::Remove { node: id(at) });
        let added = (self.first + self.common + 1..=self.union()).map(|at| Change::voter(id(at)));
        removed.chain(added).collect()
    }

    /// One set of nodes for each way to pick some of each kind, as a mask, together with what is left.
    fn picks(self) -> impl Iterator<Item = (u32, u32)> {
        let low = |count: usize| (1_u32 << count) - 1;
        let all = low(self.union());
        (0..=self.first).flat_map(move |x| {
            (0..=self.common).flat_map(move |y| {
                (0..=self.second).map(move |z| {
                    let picked =
                        low(x) | low(y) << self.first | low(z) << (self.first + self.common);
                    (picked, all & !picked)
                })
            })
        })
    }
}

fn id(at: usize) -> NodeId {
    NodeId(at as u32)
}

fn holds(mask: u32) -> impl Fn(NodeId) -> bool {
    move |node| mask >> (node.0 - 1) & 1 == 1
}

fn elects(membership: &Membership, mask: u32) -> bool {
    membership.is_election_quorum(holds(mask))
}

fn commits(membership: &Membership, mask: u32) -> bool {
    membership.is_commit_quorum(holds(mask))
}

fn reads(membership: &Membership, mask: u32) -> bool {
    membership.is_read_quorum(holds(mask))
}

/// No quorum of the one lies beside a quorum of the other, among these sets and what they leave: elections meet
/// elections, commits and reads of the other.
fn meet(one: &Membership, other: &Membership, picks: impl Iterator<Item = (u32, u32)>) -> bool {
    let mut picks = picks;
    picks.all(|(picked, left)| {
        let apart = elects(one, picked) && (elects(other, left) || commits(other, left))
            || commits(one, picked) && (elects(other, left) || reads(other, left))
            || reads(one, picked) && commits(other, left);
        !apart
    })
}

/// Two configurations that follow each other, each of which follows itself.
fn check_pair(sets: Sets, one: &Membership, other: &Membership) -> bool {
    let meets = meet(one, other, sets.picks());
    if sets.union() <= VOTERS {
        let all = (1_u32 << sets.union()) - 1;
        let every = meet(one, other, (0..=all).map(|mask| (mask, all & !mask)));
        assert_eq!(meets, every, "{sets:?}: names do not matter");
    }
    meets
}

#[test]
fn every_legal_change_of_up_to_seven_voters_keeps_quorums_that_meet() {
    let (mut steps, mut refused, mut joint) = (0, 0, 0);
    for sets in Sets::all() {
        for from in sizes(sets.first + sets.common) {
            let old = sets.old(from);
            assert!(check_pair(sets, &old, &old), "{sets:?} {from:?}");
            for to in sizes(sets.second + sets.common) {
                let place = || format!("{sets:?} {from:?} {to:?}");
                match old.simple(&sets.changes(), Some(to)) {
                    Ok(new) => {
                        steps += 1;
                        assert!(sets.first + sets.second <= 1, "{}", place());
                        assert!(check_pair(sets, &old, &new), "{}", place());
                        assert!(check_pair(sets, &new, &new), "{}", place());
                    }
                    Err(ChangeError::TooManyVoters) => {
                        assert!(sets.first + sets.second > 1, "{}", place());
                    }
                    Err(ChangeError::Incompatible) => {
                        refused += 1;
                        let mut new = old.enter_joint(&sets.changes(), Some(to), false);
                        new = new.and_then(|joint| joint.leave_joint());
                        let new = new.expect("the joint way is open");
                        assert!(!check_pair(sets, &old, &new), "{}", place());
                    }
                    Err(other) => panic!("{}: {other}", place()),
                }
                let both = old.enter_joint(&sets.changes(), Some(to), true);
                let both = both.expect("any voters may follow jointly");
                let new = both.leave_joint().expect("joint");
                joint += 1;
                for (one, other) in [(&old, &both), (&both, &both), (&both, &new), (&new, &new)] {
                    assert!(check_pair(sets, one, other), "{}", place());
                }
            }
        }
    }
    println!("{steps} steps, {refused} refused, {joint} joint changes");
    assert!(steps > 500 && refused > 500 && joint > 10_000);
}

/// Every way in which up to seven voters hold one of four indexes, and answer a poll.
#[test]
fn commits_and_polls_are_those_of_brute_force() {
    for voters in 1..=VOTERS {
        let nodes: Vec<NodeId> = (1..=voters).map(id).collect();
        let membership = Membership::of_voters(&nodes).expect("voters");
        for quorum in sizes(voters) {
            let membership = membership.with_quorum(quorum).unwrap_or_else(|_| {
                let voters = nodes.iter();
                let voters =
                    voters.map(|&node| (node, raft::membership::Kind::Voter, Default::default()));
                Membership::new(voters, Some(quorum)).expect("sizes for them")
            });
            for state in 0..3_u32.pow(voters as u32) {
                let value = |at: usize| state / 3_u32.pow(at as u32) % 3;
                let held: Vec<Index> = (0..voters)
                    .map(|at| Index(u64::from(value(at)) * 5))
                    .collect();
                let truth = [10, 5, 0].map(Index).into_iter().find(|index| {
                    held.iter().filter(|held| *held >= index).count() >= quorum.commit()
                });
                let truth = truth.expect("all hold index 0");
                let of = |node: NodeId| held[node.0 as usize - 1];
                assert_eq!(membership.committed(of), truth);
                assert_eq!(committed(&mut held.clone(), quorum.commit()), truth);
                let vote = |at: usize| [None, Some(true), Some(false)][value(at) as usize];
                let count = |wanted| (0..voters).filter(|at| vote(*at) == wanted).count();
                let (yes, open) = (count(Some(true)), count(None));
                let truth = match () {
                    () if yes >= quorum.election() => VoteResult::Won,
                    () if yes + open >= quorum.election() => VoteResult::Pending,
                    () => VoteResult::Lost,
                };
                assert_eq!(membership.election(|node| vote(node.0 as usize - 1)), truth);
            }
        }
    }
}

//! How many voters make an election, a commit or a quorum read valid.
//!
//! - Two elections of one term share a voter: `2 * election > voters`.
//! - An election shares a voter with every commit: `election + commit > voters`.
//! - A quorum read asks at least as many voters as an election: `read >= election`. Fewer would miss
//!   writes while `commit` is being lowered.
//! - A value of `Quorum` satisfies all of this for the number of voters it was made for.
//!
//! Flexible Paxos needs only elections and commits to meet; Raft also needs elections to meet each other,
//! because a term belongs to nobody before it is won.

use crate::ids::Index;

/// The most voters a configuration's half may have.
pub const VOTERS_MAX: usize = 15;

/// Quorum sizes for a known number of voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    voters: u8,
    election: u8,
    commit: u8,
    read: u8,
}

/// Why sizes do not make a quorum system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// A group needs a voter.
    #[error("no voters")]
    NoVoters,
    /// More than `VOTERS_MAX`.
    #[error("too many voters")]
    TooManyVoters,
    /// A size is zero or larger than the number of voters.
    #[error("a quorum size is outside 1..=voters")]
    OutOfRange,
    /// Two candidates could win one term: `2 * election <= voters`.
    #[error("two election quorums need not share a voter")]
    ElectionsDisjoint,
    /// A leader could be elected without a committed entry: `election + commit <= voters`.
    #[error("an election quorum may miss a commit quorum")]
    CommitMissed,
    /// A quorum read could miss a commit made under a neighbouring configuration.
    #[error("a read quorum is smaller than an election quorum")]
    ReadTooSmall,
}

impl Quorum {
    /// Checked sizes for `voters` voters.
    pub fn new(
        voters: usize,
        election: usize,
        commit: usize,
        read: usize,
    ) -> Result<Self, QuorumError> {
        if voters == 0 {
            return Err(QuorumError::NoVoters);
        }
        if voters > VOTERS_MAX {
            return Err(QuorumError::TooManyVoters);
        }
        let sizes = [election, commit, read];
        if sizes.iter().any(|size| !(1..=voters).contains(size)) {
            return Err(QuorumError::OutOfRange);
        }
        if 2 * election <= voters {
            return Err(QuorumError::ElectionsDisjoint);
        }
        if election + commit <= voters {
            return Err(QuorumError::CommitMissed);
        }
        if read < election {
            return Err(QuorumError::ReadTooSmall);
        }
        let [election, commit, read] = sizes.map(|size| size as u8);
        Ok(Self {
            voters: voters as u8,
            election,
            commit,
            read,
        })
    }

    /// Sizes that nobody checked, for planted faults.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub const fn unchecked(voters: u8, election: u8, commit: u8) -> Self {
        Self {
            voters,
            election,
            commit,
            read: election,
        }
    }

    /// The usual system: more than half for everything.
    pub fn majority(voters: usize) -> Result<Self, QuorumError> {
        let half = voters / 2 + 1;
        Self::new(voters, half, half, half)
    }

    /// Voters it was made for.
    #[must_use]
    pub fn voters(self) -> usize {
        usize::from(self.voters)
    }

    /// Votes that win an election.
    #[must_use]
    pub fn election(self) -> usize {
        usize::from(self.election)
    }

    /// Durable copies that commit an entry.
    #[must_use]
    pub fn commit(self) -> usize {
        usize::from(self.commit)
    }

    /// Answers that make a quorum read.
    #[must_use]
    pub fn read(self) -> usize {
        usize::from(self.read)
    }

    /// May configurations with these quorums follow each other in the log directly? `overlap` describes
    /// the two voter sets. Every election of one must meet every commit and every election of the other.
    #[must_use]
    pub fn compatible(self, next: Self, overlap: Overlap) -> bool {
        overlap.meet(self.election(), next.commit())
            && overlap.meet(self.commit(), next.election())
            && overlap.meet(self.election(), next.election())
    }
}

/// Two voter sets, by size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Voters of the first set only.
    pub first_only: usize,
    /// Voters of the second set only.
    pub second_only: usize,
    /// Voters of both.
    pub common: usize,
}

impl Overlap {
    /// Does any choice of `first` voters of the first set share a voter with any choice of `second`
    /// voters of the second? Exact: each side avoids the common voters as long as it can.
    #[must_use]
    pub fn meet(self, first: usize, second: usize) -> bool {
        let first = first.saturating_sub(self.first_only);
        let second = second.saturating_sub(self.second_only);
        first + second > self.common
    }
}

/// The state of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteResult {
    /// Enough said yes.
    Won,
    /// Open.
    Pending,
    /// Too many said no.
    Lost,
}

impl VoteResult {
    /// The result of a poll of `voters`, of whom `need` must say yes. Nobody to ask: won.
    #[must_use]
    pub fn of(voters: usize, need: usize, yes: usize, no: usize) -> Self {
        if yes >= need {
            Self::Won
        } else if voters - no < need {
            Self::Lost
        } else {
            Self::Pending
        }
    }

    /// Both halves of a joint configuration must win.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Lost, _) | (_, Self::Lost) => Self::Lost,
            (Self::Won, Self::Won) => Self::Won,
            _ => Self::Pending,
        }
    }
}

/// The highest index that at least `need` of the voters hold, given what each holds. Sorts `held` in
/// place. Without voters there is no bound: `u64::MAX`.
#[must_use]
pub fn committed(held: &mut [Index], need: usize) -> Index {
    if held.is_empty() {
        return Index(u64::MAX);
    }
    // Insertion sort, descending: a handful of elements, mostly in order.
    for at in 1..held.len() {
        let mut to = at;
        while to > 0 && held[to - 1] < held[to] {
            held.swap(to - 1, to);
            to -= 1;
        }
    }
    held.get(need - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All subsets of `set` (a bit mask) with `size` members.
    fn subsets(set: u32, size: usize) -> impl Iterator<Item = u32> {
        (0..=set)
            .filter(move |subset| subset & !set == 0)
            .filter(move |subset| subset.count_ones() as usize == size)
    }

    fn always_meet(first: u32, x: usize, second: u32, y: usize) -> bool {
        subsets(first, x).all(|a| subsets(second, y).all(|b| a & b != 0))
    }

    #[test]
    fn accepts_exactly_what_brute_force_accepts() {
        for voters in 1..=7_usize {
            let all = (1_u32 << voters) - 1;
            for election in 0..=voters + 1 {
                for commit in 0..=voters + 1 {
                    let sound = (1..=voters).contains(&election)
                        && (1..=voters).contains(&commit)
                        && always_meet(all, election, all, election)
                        && always_meet(all, election, all, commit);
                    let made = Quorum::new(voters, election, commit, election);
                    assert_eq!(made.is_ok(), sound, "{voters} {election} {commit}");
                }
            }
        }
    }

    #[test]
    fn overlap_arithmetic_equals_enumeration() {
        for first_only in 0..=2_usize {
            for second_only in 0..=2_usize {
                for common in 1..=4_usize {
                    let overlap = Overlap {
                        first_only,
                        second_only,
                        common,
                    };
                    let shared = (1_u32 << common) - 1;
                    let first = shared | ((1 << first_only) - 1) << 8;
                    let second = shared | ((1 << second_only) - 1) << 16;
                    for x in 1..=common + first_only {
                        for y in 1..=common + second_only {
                            let first_sets = masks(first, x);
                            let second_sets = masks(second, y);
                            let truth = first_sets
                                .iter()
                                .all(|a| second_sets.iter().all(|b| a & b != 0));
                            assert_eq!(overlap.meet(x, y), truth, "{overlap:?} {x} {y}");
                        }
                    }
                }
            }
        }
    }

    /// Subsets of a sparse mask.
    fn masks(set: u32, size: usize) -> Vec<u32> {
        let mut found = Vec::new();
        let mut subset = set;
        loop {
            if subset.count_ones() as usize == size {
                found.push(subset);
            }
            if subset == 0 {
                return found;
            }
            subset = (subset - 1) & set;
        }
    }

    #[test]
    fn commit_is_the_needth_largest() {
        for (held, need, expected) in [
            (vec![3, 1, 2], 1, 3),
            (vec![3, 1, 2], 2, 2),
            (vec![3, 1, 2], 3, 1),
            (vec![5, 5, 0, 0, 9], 3, 5),
            (vec![7], 1, 7),
            (vec![], 0, u64::MAX),
        ] {
            let mut held: Vec<Index> = held.into_iter().map(Index).collect();
            assert_eq!(committed(&mut held, need), Index(expected));
        }
    }

    #[test]
    fn polls() {
        assert_eq!(VoteResult::of(5, 3, 2, 2), VoteResult::Pending);
        assert_eq!(VoteResult::of(5, 3, 3, 0), VoteResult::Won);
        assert_eq!(VoteResult::of(5, 3, 2, 3), VoteResult::Lost);
        assert_eq!(VoteResult::of(5, 4, 3, 2), VoteResult::Lost);
        assert_eq!(
            VoteResult::Won.and(VoteResult::Pending),
            VoteResult::Pending
        );
        assert_eq!(VoteResult::Pending.and(VoteResult::Lost), VoteResult::Lost);
    }
}

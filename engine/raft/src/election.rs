//! When to campaign, and who has answered.
//!
//! - A rank orders who campaigns first; it never decides a vote.
//! - Delays rise with the rank by a quarter of the election timeout, plus up to a tenth at random.
//! - Lost pre-votes in a row double the delay, up to ten election timeouts.
//! - A voter's first answer in a poll counts.

use core::hash::{Hash, Hasher};

use crate::alarm::Alarms;
use crate::ids::{NodeId, Term, Time};
use crate::membership::Membership;
use crate::quorum::VoteResult;

/// Ranks beyond this wait no longer than it.
const RANK_MAX: u32 = 8;

/// How one replica's campaigns are timed, and the poll it holds.
#[derive(Clone, Debug)]
pub(crate) struct Election {
    /// The order in which to campaign.
    pub(crate) rank: u32,
    /// The present campaign was asked for by the leader.
    pub(crate) transfer: bool,
    /// The leader of this term has resigned; 0 before the first.
    pub(crate) resigned: Term,
    /// Lost pre-votes in a row.
    lost: u32,
    random: u64,
    votes: Vec<(NodeId, bool)>,
}

impl Hash for Election {
    /// The poll alone: clocks and dice do not make two states different.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.transfer, self.resigned, &self.votes).hash(state);
    }
}

impl Election {
    pub(crate) fn new(rank: u32, seed: u64) -> Self {
        Self {
            rank,
            transfer: false,
            resigned: Term(0),
            lost: 0,
            random: seed,
            votes: Vec::new(),
        }
    }

    /// A number below `bound` (splitmix64).
    fn random(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    fn ranked(&mut self, timeout: u64) -> u64 {
        timeout / 4 * u64::from(self.rank.min(RANK_MAX)) + self.random(timeout / 10)
    }

    /// Nobody is known to lead: campaign soon, the first rank at once.
    pub(crate) fn wait_for_anyone(&mut self, now: Time, timeout: u64) -> Alarms {
        let delay = self.ranked(timeout);
        Alarms::campaign(now.plus(self.backed_off(delay, timeout)))
    }

    /// The leader was heard last at `heard`: campaign when it has been silent for too long.
    pub(crate) fn wait_for_silence(&mut self, heard: Time, timeout: u64) -> Alarms {
        let delay = timeout + self.ranked(timeout);
        Alarms::campaign(heard.plus(self.backed_off(delay, timeout)))
    }

    /// A campaign began: repeat it when it brings no result.
    pub(crate) fn wait_for_votes(&mut self, now: Time, timeout: u64) -> Alarms {
        let delay = timeout / 2 + self.ranked(timeout) + self.random(timeout / 2);
        Alarms::campaign(now.plus(self.backed_off(delay, timeout)))
    }

    fn backed_off(&self, delay: u64, timeout: u64) -> u64 {
        let doublings = self.lost.saturating_sub(2).min(8);
        if doublings == 0 {
            delay
        } else {
            (timeout << doublings).min(10 * timeout) + delay
        }
    }

    /// Opens a poll.
    pub(crate) fn open(&mut self) {
        self.votes.clear();
    }

    /// A poll was lost, or ended well.
    pub(crate) fn closed(&mut self, lost: bool) {
        self.lost = if lost { self.lost + 1 } else { 0 };
        self.votes.clear();
    }

    pub(crate) fn record(&mut self, node: NodeId, yes: bool) {
        if self.answer(node).is_none() {
            self.votes.push((node, yes));
        }
    }

    pub(crate) fn answer(&self, node: NodeId) -> Option<bool> {
        self.votes
            .iter()
            .find(|(voter, _)| *voter == node)
            .map(|(_, yes)| *yes)
    }

    pub(crate) fn result(&self, membership: &Membership) -> VoteResult {
        membership.election(|node| self.answer(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_do_not_overlap() {
        for seed in 0..100 {
            let mut latest = 0;
            for rank in 0..5 {
                let mut election = Election::new(rank, seed * 31 + u64::from(rank));
                let alarms = election.wait_for_silence(Time(7), 1000);
                let deadline = alarms.next().time().expect("set").0;
                assert!(deadline >= 1007 && deadline > latest);
                latest = deadline;
            }
        }
    }

    #[test]
    fn lost_polls_back_off() {
        let mut election = Election::new(0, 1);
        for _ in 0..20 {
            election.closed(true);
        }
        let alarms = election.wait_for_votes(Time(0), 1000);
        let deadline = alarms.next().time().expect("set").0;
        assert!((10_000..12_000).contains(&deadline));
    }
}

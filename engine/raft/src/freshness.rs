//! How old a replica's state may be: the numbers for reads of bounded staleness, without synchronised clocks.
//!
//! - A leader's statement "closed at `at`, index `index`": everything that anybody was told is committed before
//!   the leader's clock showed `at` lies at or before `index`. It is a fact about the past and never ceases to hold.
//! - A statement comes from a confirmed round, as of the moment when the round was sent, or from a lease in force.
//! - A node translates the leader's instant into its own clock at once, by what the two clocks showed in their
//!   exchange of signs of life, the bound on their drift, and always to the earlier side.
//! - `reflects` of a living process never falls. It says nothing before the state machine has applied.

use crate::ids::{Index, NodeId, Time};
use crate::liveness::Liveness;
use crate::raft::Raft;

/// Whatever was known to be committed before `at` lies at or before `index`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Closed {
    /// An instant on the clock of who says it.
    pub at: Time,
    /// An index of the log.
    pub index: Index,
}

/// What one replica was told, on its own clock. Three statements are enough: one that is applied, one that is
/// waited for, and the newest, which is waited for next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Freshness {
    reached: Option<Time>,
    awaited: Option<Closed>,
    newest: Option<Closed>,
}

impl Freshness {
    /// Takes in a statement. One that says less than a statement before it changes nothing.
    fn told(&mut self, closed: Closed, applied: Index) {
        self.reached = self.reflects(applied);
        for place in [&mut self.awaited, &mut self.newest] {
            *place = place.filter(|waiting| waiting.index > applied);
        }
        if closed.index <= applied {
            self.reached = self.reached.max(Some(closed.at));
            return;
        }
        if self.awaited.is_none() {
            self.awaited = self.newest.take();
        }
        let latest = self.newest.or(self.awaited).map(|latest| latest.at);
        if latest < Some(closed.at) {
            let place = match self.awaited {
                None => &mut self.awaited,
                Some(_) => &mut self.newest,
            };
            *place = Some(closed);
        }
    }

    /// The latest instant of the statements that state applied up to `applied` bears out.
    fn reflects(&self, applied: Index) -> Option<Time> {
        let waiting = [self.awaited, self.newest].into_iter().flatten();
        waiting
            .filter(|closed| closed.index <= applied)
            .map(|closed| closed.at)
            .max()
            .max(self.reached)
    }
}

impl Raft {
    /// Asks for a round of confirmations although no read waits: it renews the lease and what `closed` says.
    /// For leaders whose followers serve reads of bounded staleness, as often as these are to be fresh. Does
    /// nothing at others, or before an entry of the leader's own term is committed.
    pub fn renew(&mut self, now: Time) {
        self.now = self.now.max(now);
        let commit = self.commit;
        if let Some(leading) = self.leading.as_deref_mut()
            && commit >= leading.first_own
        {
            leading.reads.renew();
        }
    }

    /// What a leader may tell its followers beside its signs of life: see `closed_at`. Its instant is `now` while
    /// a lease is in force, otherwise the moment when the latest confirmed round was sent. `None` when this
    /// replica does not lead, or has nothing to say yet.
    #[must_use]
    pub fn closed(&self, now: Time) -> Option<Closed> {
        let leading = self.leading.as_deref()?;
        let known = self.commit >= leading.first_own;
        if known && self.lease_until().is_some_and(|until| now < until) {
            return Some(Closed {
                at: now,
                index: self.commit,
            });
        }
        #[cfg(feature = "mutants")]
        if known && self.is_mutant(crate::mutants::Mutant::ClosedWithoutRound) {
            return Some(Closed {
                at: now,
                index: self.commit,
            });
        }
        leading.reads.closed()
    }

    /// The leader's node `from` said so, in its process `incarnation`. Nothing is taken in when no drift is
    /// bounded (`Config::lease_drift`), or while `liveness` knows nothing of the clock of that process.
    pub fn closed_at(
        &mut self,
        from: NodeId,
        incarnation: u64,
        closed: Closed,
        liveness: &Liveness,
    ) {
        let Some(drift) = self.config.lease_drift else {
            return;
        };
        if liveness.incarnation(from) != Some(incarnation) {
            return;
        }
        #[cfg(feature = "mutants")]
        let drift = if self.is_mutant(crate::mutants::Mutant::DriftForgotten) {
            0
        } else {
            drift
        };
        let per = self.config.election_timeout;
        if let Some(at) = liveness.own_clock_at(from, closed.at, drift, per) {
            let index = closed.index;
            let freshness = self.freshness.get_or_insert_default();
            freshness.told(Closed { at, index }, self.applied);
        }
    }

    /// An instant on this node's clock such that the state applied here holds everything of which anybody was
    /// told before it that it is committed: a read may be served here if it tolerates the age of that instant.
    /// `None`: not known.
    #[must_use]
    pub fn reflects(&self, now: Time) -> Option<Time> {
        let own = self.closed(now);
        let own = own.filter(|closed| closed.index <= self.applied);
        let told = self.freshness.as_ref();
        told.and_then(|freshness| freshness.reflects(self.applied))
            .max(own.map(|closed| closed.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(at: u64, index: u64) -> Closed {
        Closed {
            at: Time(at),
            index: Index(index),
        }
    }

    #[test]
    fn a_statement_counts_when_its_index_is_applied() {
        let mut freshness = Freshness::default();
        freshness.told(closed(10, 5), Index(4));
        assert_eq!(freshness.reflects(Index(4)), None);
        assert_eq!(freshness.reflects(Index(5)), Some(Time(10)));
        freshness.told(closed(7, 5), Index(5));
        assert_eq!(freshness.reflects(Index(5)), Some(Time(10)), "an old one");
    }

    #[test]
    fn a_state_machine_that_lags_all_the_time_is_not_starved() {
        // A statement every step; the state machine is three steps behind what is closed.
        let mut freshness = Freshness::default();
        for step in 4..100 {
            freshness.told(closed(step, step), Index(step - 3));
            let reflects = freshness.reflects(Index(step - 3));
            if step > 10 {
                let age = reflects.map(|at| step - at.0);
                assert!(age.is_some_and(|age| age <= 6), "{step}: {age:?}");
            }
        }
    }

    /// Against a plain list of everything that was told: never more, and never less than three statements allow.
    #[test]
    fn no_more_is_claimed_than_was_told() {
        let mut freshness = Freshness::default();
        let mut told: Vec<Closed> = Vec::new();
        let (mut applied, mut number, mut before) = (0, 1_u64, None);
        for step in 0..5_000_u64 {
            number = number.wrapping_mul(6_364_136_223_846_793_005) + 1;
            let statement = closed(step + (number >> 33) % 5, applied + (number >> 40) % 4);
            told.push(statement);
            freshness.told(statement, Index(applied));
            applied += (number >> 50) % 3;
            let truth = told.iter().filter(|closed| closed.index.0 <= applied);
            let truth = truth.map(|closed| closed.at).max();
            let claimed = freshness.reflects(Index(applied));
            assert!(claimed <= truth, "{step}: {claimed:?} {truth:?}");
            assert!(claimed >= before, "{step}: it fell");
            before = claimed;
        }
        assert!(before > Some(Time(4_900)));
    }
}

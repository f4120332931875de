//! A follower's work: take entries where the logs agree, cut what conflicts, install snapshots.
//!
//! - Committed entries are never cut.
//! - Entries are taken only behind an entry that both logs hold (Raft paper, 5.3).
//! - What is held already is not written again.
//! - A snapshot is taken only when it reaches beyond the commit index; a log that continues it is kept.

use crate::alarm::Alarms;
use crate::config::Damage;
use crate::effects::Role;
use crate::ids::{EntryId, Index, NodeId, Time};
use crate::membership::Membership;
use crate::message::{Append, AppendOutcome, Body};
use crate::raft::Raft;

impl Raft {
    pub(crate) fn on_append(&mut self, from: NodeId, append: &Append) {
        if !append.makes_sense(self.term) || !self.heed_leader(from) {
            return;
        }
        self.following.round = self.following.round.max(append.round);
        self.following.leader_commit = self.following.leader_commit.max(append.commit);
        let prev = append.prev;
        // What is committed here is the same in every leader's log: there is nothing to compare.
        let held = prev.index < self.commit || self.log.term_at(prev.index) == Some(prev.term);
        #[cfg(feature = "mutants")]
        let held = held
            || prev.index <= self.log.last_index()
                && self.is_mutant(crate::mutants::Mutant::LogUnchecked);
        if !held {
            let hint = self.log.last_not_after(prev.index, prev.term);
            let outcome = AppendOutcome::Rejected {
                prev: prev.index,
                hint,
            };
            let reply = self.append_reply(outcome);
            return self.say(from, reply);
        }
        if !self.take_entries(append) {
            return;
        }
        let verified = append.last.max(self.commit);
        self.following.verified = self.following.verified.max(verified);
        #[cfg(feature = "mutants")]
        if self.is_mutant(crate::mutants::Mutant::CommitUnverified) {
            self.following.verified = self.log.last_index();
        }
        self.raise_commit(self.following.leader_commit.min(self.following.verified));
        if append.repaired && self.is_forgiven(append.last) {
            self.whole_at = Some(verified);
            self.settle_repair();
        }
        self.following.owes |= append.reply || append.last <= self.durable();
        if append.last == prev.index && !append.reply {
            self.following.owes = false;
        }
    }

    /// What a repair up to `last` heals. Votes that may be forgotten matter until a committed configuration, which the
    /// leader had when it spoke, leaves this replica no vote.
    fn is_forgiven(&self, last: Index) -> bool {
        let newest = self.configurations.latest_index();
        match self.damage {
            Damage::None => false,
            Damage::Entries => true,
            Damage::Votes => {
                newest <= self.commit.min(last) && !self.membership().is_voter(self.config.id)
            }
        }
    }

    /// The leader has given everything again: once all of it is durable, nothing is lost any more.
    pub(crate) fn settle_repair(&mut self) {
        if self.damage == Damage::None {
            return;
        }
        let durable = self.durable();
        if self.whole_at.take_if(|at| *at <= durable).is_some() {
            self.damage = Damage::None;
            self.following.owes = true;
        }
    }

    /// The sender leads this term. False when this replica knows better.
    fn heed_leader(&mut self, from: NodeId) -> bool {
        if self.role == Role::Leader {
            // Two leaders of one term cannot be; whoever claims it is not listened to.
            return false;
        }
        if self.role != Role::Follower || self.leader != Some(from) {
            if self.election.resigned == self.term {
                // Said before it resigned. Who followed it again would wait for it for as long as its node lives.
                return false;
            }
            self.follow(self.term, Some(from));
        }
        self.following.hear(self.now);
        self.alarms = Alarms::REST;
        true
    }

    /// Appends what is missing of the entries, behind `prev` which is held. False when they contradict what
    /// is committed here, which no leader's entries do.
    fn take_entries(&mut self, append: &Append) -> bool {
        let runs = append.runs.as_slice();
        if append.prev.index == self.log.last_index()
            && runs.len() == 1
            && append.configurations.is_empty()
        {
            // The usual case: the log's end grows.
            let entries = u32::try_from(append.count()).expect("bounded by the message");
            let taken = self.log.append(runs[0].term, entries);
            self.storage.appended(*taken.start());
            return true;
        }
        let first = append
            .first()
            .max(self.commit.next())
            .max(self.log.first_index());
        if first > append.last {
            return true;
        }
        let Some(missing) = self.log.first_missing(first, append.last, &append.runs) else {
            return true;
        };
        let term = append
            .runs
            .spans(missing, missing)
            .next()
            .map(|(_, term)| term);
        if term < self.log.term_at(missing.prev()) {
            return false;
        }
        if missing <= self.log.last_index() {
            self.cut(missing);
        }
        for (range, term) in append.runs.spans(missing, append.last) {
            let entries = range.end().0 - range.start().0 + 1;
            self.log.append(
                term,
                u32::try_from(entries).expect("bounded by the message"),
            );
        }
        self.storage.appended(missing);
        for (index, membership) in &append.configurations {
            if *index >= missing {
                self.notable = true;
                self.configurations.push(*index, membership.clone());
            }
        }
        true
    }

    /// Forgets an uncommitted conflicting suffix.
    fn cut(&mut self, from: Index) {
        assert!(from > self.commit, "committed entries are never cut");
        self.log.truncate(from);
        self.notable |= self.configurations.truncate(from);
        self.following.verified = self.following.verified.min(from.prev());
        #[cfg(feature = "mutants")]
        if self.config.mutant == Some(crate::mutants::Mutant::StaleAcknowledgement) {
            return;
        }
        self.storage.truncated(from);
    }

    pub(crate) fn on_snapshot(&mut self, from: NodeId, last: EntryId, membership: &Membership) {
        if !self.heed_leader(from) {
            return;
        }
        if last.index <= self.commit || self.log.term_at(last.index) == Some(last.term) {
            // Nothing to install: the log holds what the snapshot covers.
            self.following.verified = self.following.verified.max(last.index).max(self.commit);
            self.raise_commit(last.index.min(self.log.last_index()));
            self.following.owes = true;
            return;
        }
        if self
            .installing
            .as_ref()
            .is_some_and(|offer| offer.1 == last && offer.0 == from)
        {
            return;
        }
        self.install_wanted = true;
        self.installing = Some(Box::new((from, last, membership.clone())));
    }

    /// The snapshot up to `last`, which `Effects::install` asked for, is durable and applied. Returns
    /// false when the log has overtaken it: then nothing has changed.
    pub fn snapshot_installed(&mut self, last: EntryId, now: Time) -> bool {
        self.now = self.now.max(now);
        let Some(offer) = self.installing.take_if(|offer| offer.1 == last) else {
            return false;
        };
        self.install(last, offer.2)
    }

    /// State up to `last`, which some member had committed and applied, is durable and applied here, with the
    /// configuration as of that entry: a snapshot newer than the one that was offered, or from another member.
    /// Returns false when the log has overtaken it: then nothing has changed.
    pub fn state_installed(&mut self, last: EntryId, membership: Membership, now: Time) -> bool {
        self.now = self.now.max(now);
        self.installing = None;
        self.install_wanted = false;
        self.install(last, membership)
    }

    fn install(&mut self, last: EntryId, membership: Membership) -> bool {
        if last.index <= self.commit {
            self.following.owes |= self.leader.is_some();
            return false;
        }
        if self.log.term_at(last.index) == Some(last.term) {
            self.log.compact(last);
            self.configurations.compact(last.index);
        } else {
            self.storage
                .truncated(self.log.first_index().min(last.index));
            self.log.reset(last);
            self.configurations.reset(membership, last.index);
            self.notable = true;
        }
        self.storage.installed(last.index);
        self.commit = last.index;
        // The state holds it already: there is nothing to apply.
        self.told_commit = self.told_commit.max(last.index);
        self.applied = self.applied.max(last.index);
        self.following.verified = self.following.verified.max(last.index);
        self.following.owes = self.leader.is_some();
        true
    }

    /// The snapshot could not be fetched or installed; its sender will offer one again.
    pub fn snapshot_failed(&mut self, last: EntryId) {
        if let Some(offer) = self.installing.take_if(|offer| offer.1 == last)
            && self.leader == Some(offer.0)
        {
            self.say(offer.0, Body::SnapshotRefused { last });
        }
    }

    /// The log up to `upto` is covered by a durable snapshot and given up. False when `upto` is not
    /// applied or not held: then nothing has changed.
    pub fn compacted(&mut self, upto: EntryId) -> bool {
        let held = self.log.term_at(upto.index) == Some(upto.term);
        if !held || upto.index > self.applied || upto.index > self.commit {
            return false;
        }
        self.log.compact(upto);
        self.configurations.compact(upto.index);
        true
    }
}

//! A leader's work: count acknowledgements, commit, keep followers supplied, hand over, step down.
//!
//! - Only entries of the leader's own term are committed by counting (Raft paper, 5.4.2).
//! - Acknowledgements of another term, or beyond the log, count nothing.
//! - A leader that does not hear an election quorum steps down.
//! - A leader that the committed configuration does not allow to lead hands over and steps down.

use crate::alarm::{Alarm, Alarms};
use crate::effects::{Made, Role};
use crate::ids::{EntryId, Index, NodeId, Time};
use crate::leading::Leading;
use crate::liveness::Liveness;
use crate::membership::Membership;
use crate::message::{AppendOutcome, AppendReply, Body, Message, Successors};
use crate::progress::Flow;
use crate::raft::Raft;

impl Raft {
    pub(crate) fn become_leader(&mut self) {
        self.election.closed(false);
        self.alarms = Alarms::REST;
        self.notable = true;
        self.role = Role::Leader;
        self.leader = Some(self.config.id);
        let last = self.log.last_index();
        let leading = Leading::new(self.config.id, self.membership(), last, self.now);
        self.leading = Some(Box::new(leading));
        self.append_made(Made::Empty);
        self.on_own_log_durable();
    }

    /// Appends an entry of the core's own.
    pub(crate) fn append_made(&mut self, made: Made) -> Index {
        let index = *self.log.append(self.term, 1).start();
        self.storage.appended(index);
        let leading = self.leading.as_deref_mut().expect("only leaders append");
        leading.tail.push(index, 0);
        leading.dirty = true;
        if let Made::Configuration(membership) = &made {
            self.notable = true;
            self.configurations.push(index, membership.clone());
            leading.reconfigure(self.config.id, membership, index.prev());
        }
        self.storage.made(index, made);
        index
    }

    /// More of the leader's own log is durable.
    pub(crate) fn on_own_log_durable(&mut self) {
        let durable = self.durable();
        let Some(leading) = self.leading.as_deref_mut() else {
            return;
        };
        let Some(own) = leading.own() else {
            return;
        };
        if durable > own.matched {
            own.matched = durable;
            self.count_commit(durable);
        }
    }

    /// A member holds the log up to `matched`: perhaps a quorum does.
    fn count_commit(&mut self, matched: Index) {
        if matched <= self.commit {
            return;
        }
        let own_term_only = self.counts_own_term_only();
        let Some(leading) = self.leading.as_deref_mut() else {
            return;
        };
        #[cfg(feature = "mutants")]
        if self.config.mutant == Some(crate::mutants::Mutant::CommitQuorumLowered) {
            leading.commit_incoming = 1;
        }
        let upto = leading.committed(matched, self.commit);
        if upto <= self.commit || (upto < leading.first_own && own_term_only) {
            return;
        }
        let reached = self.configurations.latest_index() > self.commit;
        let first_own = self.commit < leading.first_own && upto >= leading.first_own;
        leading.tail.committed(upto);
        leading.dirty = true;
        if first_own {
            leading.reads.commit_known(upto);
        }
        self.raise_commit(upto);
        if (reached || first_own) && self.configurations.latest_index() <= upto {
            self.on_configuration_committed();
        }
    }

    fn leading_first_own(&self) -> Index {
        self.leading
            .as_deref()
            .map_or(Index(u64::MAX), |leading| leading.first_own)
    }

    fn counts_own_term_only(&self) -> bool {
        #[cfg(feature = "mutants")]
        if self.config.mutant == Some(crate::mutants::Mutant::CommitOldTerms) {
            return false;
        }
        true
    }

    /// The configuration in effect is committed, and so is an entry of this term.
    fn on_configuration_committed(&mut self) {
        let membership = self.membership();
        if membership.is_joint() && membership.auto_leave() {
            let next = membership
                .leave_joint()
                .expect("every joint configuration can be left");
            self.append_made(Made::Configuration(next));
        } else if !self.may_lead()
            && let Some(leading) = self.leading.as_deref_mut()
        {
            leading.leaving = true;
            leading.dirty = true;
        }
    }

    /// Leadership ends because the configuration says so: the best placed voter campaigns at once.
    pub(crate) fn hand_over(&mut self) {
        let Some(leading) = self.leading.as_deref() else {
            return;
        };
        let candidates = leading.peers.iter().filter(|progress| {
            let member = self.membership().member(progress.node);
            progress.live
                && !progress.damaged
                && progress.node != self.config.id
                && member.is_some_and(crate::membership::Member::may_lead)
        });
        let best = candidates
            .max_by_key(|progress| progress.matched)
            .map(|found| found.node);
        self.resign();
        if let Some(best) = best {
            self.mail.post(
                best,
                Message {
                    term: self.term,
                    body: Body::TimeoutNow,
                },
            );
        }
    }

    /// Steps down within the term, and tells the members.
    pub(crate) fn resign(&mut self) {
        let Some(leading) = self.leading.as_deref() else {
            return;
        };
        for progress in &leading.peers {
            if progress.node != self.config.id {
                let message = Message {
                    term: self.term,
                    body: Body::Resign,
                };
                self.mail.post(progress.node, message);
            }
        }
        self.follow(self.term, None);
    }

    pub(crate) fn on_append_reply(&mut self, from: NodeId, reply: &AppendReply) {
        let last = self.log.last_index();
        let first_index = self.log.first_index();
        let Some(leading) = self.leading.as_deref_mut() else {
            return;
        };
        let Some(progress) = leading
            .peers
            .iter_mut()
            .find(|progress| progress.node == from)
        else {
            return;
        };
        progress.live = true;
        progress.active = true;
        let healed = progress.damaged && !reply.damaged;
        if let AppendOutcome::Rejected { prev, .. } = reply.outcome
            && reply.damaged
            && prev <= progress.matched
        {
            // It has lost more since.
            progress.damaged = false;
        }
        if reply.damaged || progress.damaged {
            progress.reported(reply.damaged, last);
        }
        progress.commit_acknowledged = progress.commit_acknowledged.max(reply.commit);
        let told = progress.departing && reply.commit >= self.configurations.latest_index();
        let round = reply.round.min(leading.reads.round());
        let confirmed = round > progress.round_acknowledged;
        progress.round_acknowledged = progress.round_acknowledged.max(round);
        match reply.outcome {
            AppendOutcome::Accepted { matched } if matched <= last => {
                leading.dirty = true;
                if progress.accepted(matched, first_index) || healed {
                    self.count_commit(matched);
                    self.continue_transfer(from);
                }
            }
            AppendOutcome::Accepted { .. } => {}
            AppendOutcome::Rejected { prev, hint } => {
                let common = self.log.last_not_after(hint.index, hint.term);
                // Below the snapshot nothing can be compared: it is the snapshot that is needed.
                let below = hint.index < self.log.snapshot().index;
                let common = if below { hint.index } else { common.index };
                leading.dirty |= progress.rejected(prev, common);
            }
        }
        if confirmed {
            self.settle_reads();
        }
        if told && let Some(leading) = self.leading.as_deref_mut() {
            leading.peers.retain(|progress| progress.node != from);
        }
    }

    pub(crate) fn on_snapshot_refused(&mut self, from: NodeId, last: EntryId) {
        let Some(progress) = self
            .leading
            .as_deref_mut()
            .and_then(|leading| leading.peer(from))
        else {
            return;
        };
        if progress.flow() == Flow::Snapshot(last.index) {
            let next = progress.matched.next();
            progress.not_sent(next);
        }
    }

    /// The connection to `node` was re-made, or its process restarted: what was on its way is lost. A
    /// leader asks at once where the logs agree; a follower no longer takes the node's signs of life for
    /// its leader's.
    pub fn peer_reset(&mut self, node: NodeId, now: Time) {
        self.now = self.now.max(now);
        if let Some(leading) = self.leading.as_deref_mut() {
            leading.dirty = true;
            if let Some(progress) = leading.peer(node) {
                progress.live = true;
                if progress.installs() {
                    progress.not_sent(progress.matched.next());
                }
                progress.probe();
            }
        } else if self.leader == Some(node) {
            self.following.unconfirmed = true;
            self.following.heard = self.now;
            if self.may_lead() {
                let timeout = self.config.election_timeout;
                self.alarms = self.election.wait_for_silence(self.now, timeout);
            }
            self.following.owes = true;
        } else {
            self.ask_again(node);
        }
    }

    /// The shard could not send the entries from `first` on to `to`: their bytes are not at hand. They
    /// count as not sent; call `payload_ready` when they are, or after `compacted`.
    pub fn payload_missing(&mut self, to: NodeId, first: Index) {
        if let Some(progress) = self
            .leading
            .as_deref_mut()
            .and_then(|leading| leading.peer(to))
        {
            progress.not_sent(first);
        }
    }

    /// The bytes that were missing for `to` are at hand, or compacted away.
    pub fn payload_ready(&mut self, to: NodeId) {
        if let Some(leading) = self.leading.as_deref_mut() {
            leading.dirty = true;
            if let Some(progress) = leading.peer(to) {
                progress.urge();
            }
        }
    }

    /// Tells the members who should campaign first when this leader falls silent. Leader only.
    pub fn publish_successors(&mut self, ranked: &[NodeId]) {
        let Some(leading) = self.leading.as_deref() else {
            return;
        };
        let ranked = Successors::new(ranked);
        for progress in &leading.peers {
            if progress.node != self.config.id {
                let message = Message {
                    term: self.term,
                    body: Body::Successors { ranked },
                };
                self.mail.post(progress.node, message);
            }
        }
    }

    /// Leader: look after the members' liveness, resend what seems lost, abort a stuck transfer.
    pub(crate) fn tick_leader(&mut self, liveness: &Liveness) {
        let (now, timeout, commit) = (self.now, self.config.election_timeout, self.commit);
        let id = self.config.id;
        let Some(leading) = self.leading.as_deref_mut() else {
            return;
        };
        let since = leading.since;
        let heard = |node: NodeId| liveness.last_heard(node).map_or(since, |at| at.max(since));
        for progress in leading
            .peers
            .iter_mut()
            .filter(|progress| progress.node != id)
        {
            let live = now.since(heard(progress.node)) < timeout;
            if live && !progress.live {
                progress.probe();
                leading.dirty = true;
            }
            progress.live = live;
        }
        leading.expire_transfer(now);
        leading.retry(now, timeout, commit);
        if !self.config.check_quorum {
            return;
        }
        let membership = self.configurations.latest();
        let quorum_within = |age: u64| {
            membership.is_election_quorum(|node| node == id || now.since(heard(node)) < age)
        };
        if !quorum_within(timeout) {
            return self.resign();
        }
        leading.check_at = Alarm::NEVER;
        if !quorum_within(timeout / 2) {
            // Some voter that the quorum needs has been silent for a while: look again when it may be lost.
            let needed = membership.members().iter().map(|member| member.node);
            let oldest = needed
                .filter(|&node| node != id)
                .map(heard)
                .filter(|at| now.since(*at) < timeout);
            let lost = oldest.min().map(|at| Alarm::at(at.plus(timeout)));
            leading.check_at = lost.unwrap_or(Alarm::NEVER);
        }
    }

    /// The membership at the newest configuration entry is committed, and so is an own entry: the next may
    /// be proposed (rule Q2).
    pub(crate) fn may_change_configuration(&self) -> bool {
        #[cfg(feature = "mutants")]
        if self.config.mutant == Some(crate::mutants::Mutant::OverlappingChanges) {
            return true;
        }
        self.configurations.latest_index() <= self.commit && self.commit >= self.leading_first_own()
    }

    pub(crate) fn newest(&self) -> &Membership {
        self.configurations.latest()
    }
}

impl Leading {
    fn expire_transfer(&mut self, now: Time) {
        if self
            .transfer
            .as_ref()
            .is_some_and(|transfer| transfer.deadline <= now)
        {
            self.transfer = None;
        }
    }

    /// Asks again where nothing has been heard for an election timeout.
    fn retry(&mut self, now: Time, timeout: u64, commit: Index) {
        if !self.retry_at.is_due(now) {
            return;
        }
        let me = usize::from(self.me);
        let others = self
            .peers
            .iter_mut()
            .enumerate()
            .filter(|(at, _)| *at != me);
        let mut open = false;
        for (_, progress) in others.filter(|(_, progress)| progress.live) {
            let behind = progress.commit_acknowledged < commit;
            let installs = progress.installs();
            open |= progress.awaits() || behind || installs;
            if !self.retry_fresh && installs {
                // The offer may be lost; an installation under way does not mind hearing it again.
                progress.offer_again();
                self.dirty = true;
            } else if !self.retry_fresh && !progress.active {
                if progress.awaits() {
                    progress.probe();
                    self.dirty = true;
                } else if behind {
                    progress.urge();
                    self.dirty = true;
                }
            }
        }
        if !self.retry_fresh {
            // Who was removed and does not answer is not waited for.
            self.peers
                .retain(|progress| !progress.departing || progress.active);
        }
        for progress in &mut self.peers {
            progress.active = false;
        }
        self.retry_fresh = false;
        self.retry_at = if open {
            Alarm::at(now.plus(timeout))
        } else {
            Alarm::NEVER
        };
    }
}

//! Elections as a replica lives them: waiting, asking, voting, winning or giving way.
//!
//! - A voter gives one vote per term, durably before it says so, and only to a log at least as up to date
//!   as its own (Raft paper, 5.2 and 5.4.1).
//! - A voter whose leader is live stands by it: it ignores campaigns, except one that the leader asked for.
//! - A pre-vote changes nobody's term.
//! - Who does not vote in its newest configuration, is a witness, or has lost promises, never campaigns.

use crate::alarm::{Alarm, Alarms};
use crate::config::Damage;
use crate::effects::{ReadAborted, Role};
use crate::ids::{EntryId, Index, NodeId, Term, Time};
use crate::liveness::Liveness;
use crate::membership::{Member, Membership};
use crate::message::{AppendOutcome, Body, Successors};
use crate::quorum::VoteResult;
use crate::raft::Raft;

impl Raft {
    /// Campaigns at once, for tests and operators: asks first when pre-votes are on. Does nothing when
    /// the replica may not lead or leads.
    pub fn campaign(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.election.transfer = false;
        self.begin_campaign();
    }

    /// Reorders the campaign delays. A hint about timers.
    pub fn set_rank(&mut self, rank: u32) {
        self.election.rank = rank;
    }

    /// May this replica campaign? Its newest configuration decides; while that is not known to be
    /// committed, the one before it is enough: the configuration may have reached this log alone, and then
    /// nobody else can win (thesis, 4.2.2).
    pub(crate) fn may_lead(&self) -> bool {
        let id = self.config.id;
        let leads = |membership: &Membership| membership.member(id).is_some_and(Member::may_lead);
        let at = self.configurations.latest_index();
        let open = at > self.commit;
        let allowed = leads(self.membership()) || open && leads(self.configurations.at(at.prev()));
        allowed && self.damage == Damage::None
    }

    /// Becomes or stays a follower of `term`, of `leader` if known. Everything that belonged to the role or
    /// term before is dropped.
    pub(crate) fn follow(&mut self, term: Term, leader: Option<NodeId>) {
        if term > self.term {
            self.term = term;
            self.vote = None;
            self.storage.hard_state_changed();
        }
        self.notable = true;
        self.abort_reads();
        self.leading = None;
        self.role = Role::Follower;
        self.leader = leader;
        self.election.open();
        self.following.begin(self.commit, self.now);
        self.whole_at = None;
        if leader.is_some() {
            self.alarms = Alarms::REST;
        } else {
            self.wait_for_leader();
        }
    }

    /// Nobody is known to lead.
    pub(crate) fn wait_for_leader(&mut self) {
        if self.may_lead() {
            self.alarms = self
                .election
                .wait_for_anyone(self.now, self.config.election_timeout);
        } else {
            self.alarms = Alarms::REST;
        }
    }

    fn abort_reads(&mut self) {
        let id = self.config.id;
        if let Some(leading) = self.leading.as_deref_mut() {
            for waiting in leading.reads.abort() {
                match waiting.from {
                    None => self
                        .mail
                        .open()
                        .answers
                        .push((waiting.id, Err(ReadAborted))),
                    Some(to) if to != id => {
                        let body = Body::ReadReply {
                            id: waiting.id,
                            index: None,
                        };
                        let message = crate::message::Message {
                            term: self.term,
                            body,
                        };
                        self.mail.post(to, message);
                    }
                    Some(_) => {}
                }
            }
        }
        self.mail.expire(Time(u64::MAX));
    }

    /// Follower and candidates: look after the leader, campaign when it is time.
    pub(crate) fn tick_follower(&mut self, liveness: &Liveness) {
        if !self.may_lead() {
            self.alarms = Alarms::REST;
            return;
        }
        if self.leader.is_some() {
            let timeout = self.config.election_timeout;
            let heard = self.leader_heard(liveness);
            let age = self.now.since(heard);
            if age < timeout && !self.following.unconfirmed {
                self.alarms = Alarms::REST;
                if age >= timeout / 2 {
                    self.alarms.check_at = Alarm::at(heard.plus(timeout));
                }
                return;
            }
            if !self.alarms.campaign_at.is_set() {
                self.alarms = self.election.wait_for_silence(heard, timeout);
            }
        }
        if !self.alarms.campaign_at.is_set() {
            self.wait_for_leader();
        } else if self.alarms.campaign_at.is_due(self.now) {
            self.election.transfer = false;
            self.begin_campaign();
        }
    }

    /// When the leader was heard last: itself, or its node as long as the connection is unbroken.
    fn leader_heard(&self, liveness: &Liveness) -> Time {
        let spoke = self.following.heard;
        match self.leader.and_then(|leader| liveness.last_heard(leader)) {
            Some(heard) if !self.following.unconfirmed => heard.max(spoke),
            _ => spoke,
        }
    }

    /// Does this replica stand by a live leader, perhaps itself?
    fn stands_by_leader(&self, liveness: &Liveness) -> bool {
        if self.now < self.silent_until {
            return true;
        }
        if !self.config.check_quorum {
            return false;
        }
        match self.role {
            Role::Leader => true,
            Role::Follower if self.leader.is_some() => {
                self.now.since(self.leader_heard(liveness)) < self.config.election_timeout
            }
            _ => false,
        }
    }

    fn begin_campaign(&mut self) {
        if !self.may_lead() || self.role == Role::Leader {
            return;
        }
        if !self.config.pre_vote || self.election.transfer {
            return self.become_candidate();
        }
        self.follow(self.term, None);
        self.role = Role::PreCandidate;
        self.alarms = self
            .election
            .wait_for_votes(self.now, self.config.election_timeout);
        self.election.record(self.config.id, true);
        if self.election.result(self.membership()) == VoteResult::Won {
            return self.become_candidate();
        }
        let body = Body::PreVote {
            last: self.log.last_id(),
        };
        self.ask_voters(&body);
    }

    fn become_candidate(&mut self) {
        let transfer = self.election.transfer;
        self.follow(Term(self.term.0 + 1), None);
        self.role = Role::Candidate;
        self.vote = Some(self.config.id);
        self.storage.hard_state_changed();
        self.alarms = self
            .election
            .wait_for_votes(self.now, self.config.election_timeout);
        let body = Body::Vote {
            last: self.log.last_id(),
            transfer,
        };
        self.ask_voters(&body);
    }

    fn ask_voters(&mut self, body: &Body) {
        for at in 0..self.membership().members().len() {
            let member = &self.membership().members()[at];
            let (node, votes) = (member.node, member.votes());
            if votes && node != self.config.id {
                self.ask(node, body.clone());
            }
        }
    }

    fn ask(&mut self, node: NodeId, body: Body) {
        if matches!(body, Body::PreVote { .. }) {
            let message = crate::message::Message {
                term: self.term,
                body,
            };
            self.mail.post(node, message);
        } else {
            self.say(node, body);
        }
    }

    /// A campaign is under way and `node` may not have received its request.
    pub(crate) fn ask_again(&mut self, node: NodeId) {
        if !self.membership().is_voter(node) || self.election.answer(node).is_some() {
            return;
        }
        let last = self.log.last_id();
        match self.role {
            Role::PreCandidate => self.ask(node, Body::PreVote { last }),
            Role::Candidate => {
                let transfer = self.election.transfer;
                self.ask(node, Body::Vote { last, transfer });
            }
            Role::Follower | Role::Leader => {}
        }
    }

    /// The candidate's own vote counts when it is durable.
    pub(crate) fn vote_for_self(&mut self) {
        if self.storage.holds_hard_state() {
            self.on_vote_reply(self.config.id, true);
        }
    }

    pub(crate) fn on_pre_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last: EntryId,
        liveness: &Liveness,
    ) {
        self.notice_campaign(from, term);
        let granted = term >= self.term
            && self.log_is_not_ahead_of(last)
            && self.may_vote()
            && !self.stands_by_leader(liveness);
        if !granted
            && let Some(leading) = self.leading.as_deref_mut()
            && let Some(progress) = leading.peer(from)
        {
            // The sender does not know that it has a leader.
            progress.live = true;
            progress.urge();
            leading.dirty = true;
        }
        let body = Body::PreVoteReply {
            asked: term,
            granted,
            leader: self.leader,
        };
        let message = crate::message::Message {
            term: self.term,
            body,
        };
        self.mail.post(from, message);
    }

    /// Whoever asks to lead does not lead.
    fn notice_campaign(&mut self, from: NodeId, term: Term) {
        if self.leader == Some(from) && term >= self.term && self.role != Role::Leader {
            self.follow(self.term, None);
        }
    }

    pub(crate) fn on_pre_vote_reply(
        &mut self,
        from: NodeId,
        term: Term,
        asked: Term,
        granted: bool,
    ) {
        if term > self.term && !granted {
            return self.follow(term, None);
        }
        if self.role != Role::PreCandidate || asked != self.term {
            return;
        }
        self.election.record(from, granted);
        match self.election.result(self.membership()) {
            VoteResult::Won => self.become_candidate(),
            VoteResult::Lost => self.give_way(),
            VoteResult::Pending => {}
        }
    }

    /// The poll is lost: wait, longer each time.
    fn give_way(&mut self) {
        self.notable = true;
        self.role = Role::Follower;
        self.election.closed(true);
        self.alarms = self
            .election
            .wait_for_votes(self.now, self.config.election_timeout);
    }

    fn log_is_not_ahead_of(&self, last: EntryId) -> bool {
        #[cfg(feature = "mutants")]
        if self.config.mutant == Some(crate::mutants::Mutant::VoteForAnyLog) {
            return true;
        }
        last >= self.log.last_id()
    }

    fn may_vote(&self) -> bool {
        #[cfg(feature = "mutants")]
        if self.config.mutant == Some(crate::mutants::Mutant::DamagedVotes) {
            return true;
        }
        self.damage == Damage::None
    }

    pub(crate) fn on_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last: EntryId,
        transfer: bool,
        liveness: &Liveness,
    ) {
        if term > self.term {
            self.notice_campaign(from, term);
            if !transfer && self.stands_by_leader(liveness) {
                return;
            }
            self.follow(term, None);
        }
        let free = self.vote.is_none() || self.vote == Some(from);
        #[cfg(feature = "mutants")]
        let free = free || self.is_mutant(crate::mutants::Mutant::SecondVote);
        let granted = term == self.term
            && free
            && self.role == Role::Follower
            && self.leader.is_none_or(|leader| leader == from)
            && self.log_is_not_ahead_of(last)
            && self.may_vote()
            && (transfer || self.now >= self.silent_until);
        if granted {
            if self.vote != Some(from) {
                self.vote = Some(from);
                self.storage.hard_state_changed();
            }
            // The candidate gets the time that a leader would get.
            if self.may_lead() {
                self.alarms = self
                    .election
                    .wait_for_silence(self.now, self.config.election_timeout);
            }
        }
        self.say(from, Body::VoteReply { granted });
    }

    pub(crate) fn on_vote_reply(&mut self, from: NodeId, granted: bool) {
        if self.role != Role::Candidate {
            return;
        }
        self.election.record(from, granted);
        #[cfg(feature = "mutants")]
        if granted && self.is_mutant(crate::mutants::Mutant::ElectedByTooFew) {
            let voters = self.membership().members().iter();
            let votes = voters.filter(|member| self.election.answer(member.node) == Some(true));
            if votes.count() + 1 >= self.membership().quorum().election() {
                return self.become_leader();
            }
        }
        match self.election.result(self.membership()) {
            VoteResult::Won => self.become_leader(),
            VoteResult::Lost => self.give_way(),
            VoteResult::Pending => {}
        }
    }

    /// A message of an earlier term. Its sender does not know the present one; a leader must learn it.
    pub(crate) fn on_stale(&mut self, from: NodeId, body: &Body) {
        if let Body::Append(_) | Body::Snapshot { .. } = body {
            let outcome = AppendOutcome::Rejected {
                prev: Index(0),
                hint: EntryId::default(),
            };
            let reply = self.append_reply(outcome);
            self.say(from, reply);
        }
    }

    /// The leader hands over to this replica.
    pub(crate) fn on_timeout_now(&mut self) {
        if self.role != Role::Leader && self.may_lead() {
            self.election.transfer = true;
            self.begin_campaign();
        }
    }

    /// The sender leads this term no more, and nobody else does.
    pub(crate) fn on_resign(&mut self, from: NodeId) {
        if self.role == Role::Leader || self.leader.is_some_and(|leader| leader != from) {
            return;
        }
        self.election.resigned = self.term;
        if self.leader.is_some() {
            self.follow(self.term, None);
        }
    }

    pub(crate) fn on_successors(&mut self, from: NodeId, ranked: &Successors) {
        if self.leader == Some(from) {
            let unlisted = ranked.as_slice().len() as u32;
            self.election.rank = ranked.rank(self.config.id).unwrap_or(unlisted);
        }
    }
}

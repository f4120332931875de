//! What a leader knows about one member's log, and what it may send to it.
//!
//! - `matched < next`; `matched` never falls within a leadership, unless the member reports a loss.
//! - Probe: one append at a time, until one fits. Replicate: appends follow each other without waiting, up
//!   to the window. Snapshot: entries wait until the state is installed.
//! - A member that is not heard is sent nothing; it is probed when it returns.

use crate::config::Config;
use crate::configurations::Configurations;
use crate::ids::{EntryId, Index, NodeId, Term};
use crate::membership::Member;
use crate::message::{Append, Body, Message, Runs};
use crate::ring::Ring;
use crate::tail::Tail;
use crate::term_log::TermLog;

/// How entries flow to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// One append at a time: it is not known where the logs agree.
    Probe,
    /// A stream of appends.
    Replicate,
    /// The state up to this index is on its way.
    Snapshot(Index),
}

/// A leader's view of one member, for status pages and schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The member.
    pub node: NodeId,
    /// How entries flow to it.
    pub flow: Flow,
    /// It durably holds the leader's log up to here.
    pub matched: Index,
    /// The next entry to send.
    pub next: Index,
    /// Its commit index, as it last said.
    pub commit: Index,
    /// Appends on their way.
    pub inflight: usize,
    /// Bytes of entries on their way.
    pub inflight_bytes: u64,
    /// Heard within the election timeout.
    pub live: bool,
    /// Has lost acknowledged entries and is not counted.
    pub damaged: bool,
}

/// A leader's view of one member.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Progress {
    pub(crate) node: NodeId,
    pub(crate) flow: Flow,
    /// Counts in the quorums of the incoming half.
    pub(crate) incoming: bool,
    /// Counts in the quorums of the outgoing half.
    pub(crate) outgoing: bool,
    /// Heard within the election timeout.
    pub(crate) live: bool,
    /// Has lost entries that it had acknowledged: not counted.
    pub(crate) damaged: bool,
    /// Answered since the last retry.
    pub(crate) active: bool,
    /// Probe: an append is out.
    paused: bool,
    /// An append is owed even without anything to say, and an answer to it is wanted.
    urge: bool,
    /// The member has everything again that it may have acknowledged before its loss.
    repaired: bool,
    pub(crate) matched: Index,
    pub(crate) next: Index,
    pub(crate) round_acknowledged: u64,
    round_sent: u64,
    commit_sent: Index,
    pub(crate) commit_acknowledged: Index,
    /// When damaged: what it must hold to be whole again.
    repair: Index,
    inflight_bytes: u64,
    inflight: Ring<(Index, u64), 2>,
}

/// What sending needs of the leader, lent for one drain.
pub(crate) struct View<'a> {
    pub(crate) term: Term,
    pub(crate) commit: Index,
    pub(crate) round: u64,
    pub(crate) log: &'a TermLog,
    pub(crate) configurations: &'a Configurations,
    pub(crate) tail: &'a Tail,
    pub(crate) config: &'a Config,
}

impl Progress {
    /// A member whose log is not known; `last` is the end of the leader's.
    pub(crate) fn new(member: &Member, last: Index) -> Self {
        Self {
            node: member.node,
            flow: Flow::Probe,
            incoming: member.votes_incoming(),
            outgoing: member.outgoing.is_some(),
            live: true,
            damaged: false,
            active: false,
            paused: false,
            urge: false,
            repaired: false,
            matched: Index(0),
            next: last.next(),
            round_acknowledged: 0,
            round_sent: 0,
            commit_sent: Index(0),
            commit_acknowledged: Index(0),
            repair: Index(0),
            inflight_bytes: 0,
            inflight: Ring::default(),
        }
    }

    /// What counts in a commit.
    pub(crate) fn held(&self) -> Index {
        if self.damaged { Index(0) } else { self.matched }
    }

    /// What counts in a round of read confirmations.
    pub(crate) fn confirmed(&self) -> u64 {
        if self.damaged {
            0
        } else {
            self.round_acknowledged
        }
    }

    /// Something is on its way that must be answered.
    pub(crate) fn awaits(&self) -> bool {
        self.inflight.len() > 0 || self.paused || self.round_acknowledged < self.round_sent
    }

    /// What there is to tell about it.
    pub(crate) fn status(&self) -> PeerStatus {
        PeerStatus {
            node: self.node,
            flow: self.flow,
            matched: self.matched,
            next: self.next,
            commit: self.commit_acknowledged,
            inflight: self.inflight.len(),
            inflight_bytes: self.inflight_bytes,
            live: self.live,
            damaged: self.damaged,
        }
    }

    /// Everything on its way is lost, or may be: ask where the logs agree, at once.
    pub(crate) fn probe(&mut self) {
        if !matches!(self.flow, Flow::Snapshot(_)) {
            self.flow = Flow::Probe;
            self.next = self.matched.next();
        }
        self.paused = false;
        self.urge = true;
        self.inflight.clear();
        self.inflight_bytes = 0;
    }

    /// Send something at once, and have it answered.
    pub(crate) fn urge(&mut self) {
        self.urge = true;
        self.paused = false;
    }

    /// The member durably holds the log up to `matched`. True when that is news.
    pub(crate) fn accepted(&mut self, matched: Index, first_index: Index) -> bool {
        let news = matched > self.matched;
        if news {
            self.matched = matched;
            while let Some((_, bytes)) = self
                .inflight
                .front()
                .copied()
                .filter(|(last, _)| *last <= matched)
            {
                self.inflight.pop();
                self.inflight_bytes -= bytes;
            }
        }
        match self.flow {
            Flow::Probe if self.matched.next() >= self.next => self.stream(),
            Flow::Snapshot(_) if self.matched.next() >= first_index => self.stream(),
            _ => {}
        }
        self.next = self.next.max(self.matched.next());
        if self.damaged && self.matched >= self.repair && !self.repaired {
            self.repaired = true;
            self.urge = true;
        }
        news
    }

    fn stream(&mut self) {
        self.flow = Flow::Replicate;
        self.next = self.matched.next();
        self.paused = false;
    }

    /// The member refused an append whose `prev` was at `prev`; the logs may agree up to `common`. True when
    /// the refusal is not an old one.
    pub(crate) fn rejected(&mut self, prev: Index, common: Index) -> bool {
        let stale = match self.flow {
            Flow::Replicate => prev <= self.matched,
            Flow::Probe => prev.next() != self.next,
            Flow::Snapshot(_) => true,
        };
        if stale {
            return false;
        }
        self.flow = Flow::Probe;
        self.next = prev.min(common.next()).max(self.matched.next());
        self.paused = false;
        self.inflight.clear();
        self.inflight_bytes = 0;
        true
    }

    /// The member says whether it has lost acknowledged entries. `last` is the end of the leader's log: all
    /// that it may have acknowledged lies before.
    pub(crate) fn reported(&mut self, damaged: bool, last: Index) {
        if damaged && !self.damaged {
            self.damaged = true;
            self.repaired = false;
            self.repair = last;
            self.matched = Index(0);
            self.flow = Flow::Probe;
            self.paused = false;
            self.inflight.clear();
            self.inflight_bytes = 0;
        } else if !damaged {
            self.damaged = false;
        }
    }

    /// The state could not be installed, or the bytes of `first` could not be sent.
    pub(crate) fn not_sent(&mut self, first: Index) {
        self.flow = Flow::Probe;
        self.next = first.max(self.matched.next());
        self.paused = true;
        self.inflight.clear();
        self.inflight_bytes = 0;
    }

    /// The snapshot may not have arrived: offer it with the next pump.
    pub(crate) fn offer_again(&mut self) {
        self.flow = Flow::Probe;
        self.next = self.matched.next();
        self.paused = false;
    }

    /// Sends whatever the member lacks and the window admits.
    pub(crate) fn pump(&mut self, view: &View<'_>, send: &mut Vec<(NodeId, Message)>) {
        if !self.live {
            return;
        }
        let last = view.log.last_index();
        let mut sent = false;
        match self.flow {
            Flow::Replicate => {
                while self.next <= last && !self.is_full(view.config) {
                    if self.next < view.log.first_index() {
                        self.send_snapshot(view, send);
                        return;
                    }
                    let upto = self.send_entries(view, send);
                    self.next = upto.next();
                    sent = true;
                }
            }
            Flow::Probe if !self.paused => {
                if self.next < view.log.first_index() {
                    self.send_snapshot(view, send);
                    return;
                }
                if self.next <= last {
                    self.send_entries(view, send);
                    sent = true;
                } else {
                    self.urge = true;
                }
                self.paused = true;
            }
            Flow::Probe | Flow::Snapshot(_) => {}
        }
        let due = self.urge || self.round_sent < view.round || self.commit_sent < view.commit;
        if !sent && due {
            self.send_nothing(view, send);
        }
    }

    fn is_full(&self, config: &Config) -> bool {
        self.inflight.len() >= config.max_inflight_messages
            || self.inflight_bytes >= config.max_inflight_bytes
    }

    fn send_entries(&mut self, view: &View<'_>, send: &mut Vec<(NodeId, Message)>) -> Index {
        let first = self.next;
        let most = Index(first.prev().0 + u64::from(view.config.max_append_entries));
        let last = view.log.last_index().min(most);
        let (last, mut bytes) = view.tail.fit(first, last, view.config.max_append_bytes);
        let (runs, described) = view.log.describe(first, last);
        if described < last {
            bytes = view.tail.bytes_of(first, described);
        }
        let last = described;
        let prev = first.prev();
        let prev = EntryId {
            term: view.log.term_at(prev).unwrap_or_default(),
            index: prev,
        };
        if self.flow == Flow::Replicate {
            self.inflight.push((last, bytes));
            self.inflight_bytes += bytes;
        }
        let configurations = view.configurations.within(first, last).to_vec();
        self.send(view, send, prev, last, runs, configurations);
        last
    }

    /// An append without entries, at a place where the logs agree if one is known.
    fn send_nothing(&mut self, view: &View<'_>, send: &mut Vec<(NodeId, Message)>) {
        let at = match self.flow {
            Flow::Probe => self.next.prev(),
            Flow::Replicate | Flow::Snapshot(_) => self.matched,
        };
        let (at, term) = match view.log.term_at(at) {
            Some(term) => (at, term),
            None => {
                let snapshot = view.log.snapshot();
                (snapshot.index, snapshot.term)
            }
        };
        let prev = EntryId { term, index: at };
        self.send(view, send, prev, at, Runs::default(), Vec::new());
    }

    fn send(
        &mut self,
        view: &View<'_>,
        send: &mut Vec<(NodeId, Message)>,
        prev: EntryId,
        last: Index,
        runs: Runs,
        configurations: Vec<(Index, crate::membership::Membership)>,
    ) {
        let append = Append {
            prev,
            last,
            runs,
            commit: view.commit,
            round: view.round,
            reply: self.urge || self.round_sent < view.round,
            repaired: self.damaged && self.repaired,
            configurations,
        };
        self.urge = false;
        self.round_sent = view.round;
        self.commit_sent = view.commit;
        send.push((
            self.node,
            Message {
                term: view.term,
                body: Body::Append(append),
            },
        ));
    }

    fn send_snapshot(&mut self, view: &View<'_>, send: &mut Vec<(NodeId, Message)>) {
        let last = view.log.snapshot();
        let membership = Box::new(view.configurations.at(last.index).clone());
        self.flow = Flow::Snapshot(last.index);
        self.urge = false;
        self.inflight.clear();
        self.inflight_bytes = 0;
        send.push((
            self.node,
            Message {
                term: view.term,
                body: Body::Snapshot { last, membership },
            },
        ));
    }
}

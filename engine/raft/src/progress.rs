//! What a leader knows about one member's log, and what it may send to it.
//!
//! - `matched < next`; `matched` never falls within a leadership, unless the member reports a loss.
//! - Probe: one append at a time, until one fits. Replicate: appends follow each other without waiting, up
//!   to the window, in appends, entries and bytes. Snapshot: entries wait until the state is installed.
//! - A member that is not heard is sent nothing; it is probed when it returns.

use crate::config::Config;
use crate::cut::{Cut, View};
use crate::ids::{EntryId, Index, NodeId};
use crate::membership::Member;
use crate::message::{Append, Body, Message, Runs, push};
use crate::rare::Rare;
use crate::ring::Ring;

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

/// `Flow` without the snapshot's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Probe,
    Replicate,
    Snapshot,
}

/// A leader's view of one member. The fields stand in the order of their heat: an entry touches two cache
/// lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Progress {
    pub(crate) node: NodeId,
    mode: Mode,
    /// Counts in the quorums of the incoming half.
    pub(crate) incoming: bool,
    /// Counts in the quorums of the outgoing half.
    pub(crate) outgoing: bool,
    /// Heard within the election timeout.
    pub(crate) live: bool,
    /// Has lost entries that it had acknowledged: not counted.
    pub(crate) damaged: bool,
    /// Removed, and still to hear of it.
    pub(crate) departing: bool,
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
    inflight_bytes: u64,
    inflight: Ring<(Index, u64), 2>,
    /// When damaged: what it must hold to be whole again.
    repair: Index,
    /// Snapshot: its last index.
    offered: Index,
}

impl Progress {
    /// A member whose log is not known; `last` is the end of the leader's.
    pub(crate) fn new(member: &Member, last: Index) -> Self {
        Self {
            node: member.node,
            mode: Mode::Probe,
            incoming: member.votes_incoming(),
            outgoing: member.outgoing.is_some(),
            live: true,
            damaged: false,
            departing: false,
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
            offered: Index(0),
        }
    }

    /// How entries flow to it.
    pub(crate) fn flow(&self) -> Flow {
        match self.mode {
            Mode::Probe => Flow::Probe,
            Mode::Replicate => Flow::Replicate,
            Mode::Snapshot => Flow::Snapshot(self.offered),
        }
    }

    /// A snapshot is on its way to it.
    pub(crate) fn installs(&self) -> bool {
        self.mode == Mode::Snapshot
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

    /// Where `probe` asks.
    pub(crate) fn asked_from(&self) -> Index {
        match self.mode {
            Mode::Probe | Mode::Snapshot => self.next,
            Mode::Replicate => self.matched.next(),
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
            flow: self.flow(),
            matched: self.matched,
            next: self.next,
            commit: self.commit_acknowledged,
            inflight: self.inflight.len(),
            inflight_bytes: self.inflight_bytes,
            live: self.live,
            damaged: self.damaged,
        }
    }

    /// Everything on its way is lost, or may be: ask where the logs agree, at once. Who was being asked already
    /// is asked at the same place: at the log's end, if it has never answered.
    pub(crate) fn probe(&mut self) {
        if self.mode == Mode::Replicate {
            self.mode = Mode::Probe;
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
        match self.mode {
            Mode::Replicate => {}
            Mode::Probe if self.matched.next() >= self.next => self.stream(),
            Mode::Snapshot if self.matched.next() >= first_index => self.stream(),
            Mode::Probe | Mode::Snapshot => {}
        }
        self.next = self.next.max(self.matched.next());
        if self.damaged && self.matched >= self.repair && !self.repaired {
            self.repaired = true;
            self.urge = true;
        }
        // What it hears next reaches up to here: only then does a learner know that its votes are forgiven.
        self.urge |= self.damaged && self.repaired && news;
        news
    }

    fn stream(&mut self) {
        self.mode = Mode::Replicate;
        self.next = self.matched.next();
        self.paused = false;
    }

    /// The member refused an append whose `prev` was at `prev`; the logs may agree up to `common`. True when
    /// the refusal is not an old one.
    pub(crate) fn rejected(&mut self, prev: Index, common: Index) -> bool {
        let stale = match self.mode {
            Mode::Replicate => prev <= self.matched,
            Mode::Probe => prev.next() != self.next,
            Mode::Snapshot => true,
        };
        if stale {
            return false;
        }
        self.mode = Mode::Probe;
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
            self.mode = Mode::Probe;
            self.paused = false;
            self.inflight.clear();
            self.inflight_bytes = 0;
        } else if !damaged {
            self.damaged = false;
        }
    }

    /// The state could not be installed, or the bytes of `first` could not be sent.
    pub(crate) fn not_sent(&mut self, first: Index) {
        self.mode = Mode::Probe;
        self.next = first.max(self.matched.next());
        self.paused = true;
        self.inflight.clear();
        self.inflight_bytes = 0;
    }

    /// The snapshot may not have arrived: offer it with the next pump.
    pub(crate) fn offer_again(&mut self) {
        self.mode = Mode::Probe;
        self.next = self.matched.next();
        self.paused = false;
    }

    /// Sends whatever the member lacks and the window admits.
    #[inline]
    pub(crate) fn pump(
        &mut self,
        view: &View<'_>,
        cut: &mut Cut,
        send: &mut Vec<(NodeId, Message)>,
    ) {
        if !self.live {
            return;
        }
        let last = view.log.last_index();
        let mut sent = false;
        match self.mode {
            Mode::Replicate => {
                while self.next <= last && !self.is_full(view.config) {
                    if self.next < view.log.first_index() {
                        self.send_snapshot(view, send);
                        return;
                    }
                    let upto = self.send_entries(view, cut, send);
                    self.next = upto.next();
                    sent = true;
                }
            }
            Mode::Probe if !self.paused => {
                if self.next < view.log.first_index() {
                    self.send_snapshot(view, send);
                    return;
                }
                if self.next <= last {
                    self.send_entries(view, cut, send);
                    sent = true;
                } else {
                    self.urge = true;
                }
                self.paused = true;
            }
            Mode::Probe | Mode::Snapshot => {}
        }
        let due = self.urge || self.round_sent < view.round || self.commit_sent < view.commit;
        if !sent && due {
            self.send_nothing(view, send);
        }
    }

    fn is_full(&self, config: &Config) -> bool {
        let entries = self.next.0 - self.matched.0 - 1;
        self.inflight.len() >= config.max_inflight_messages
            || entries >= u64::from(config.max_inflight_entries)
            || self.inflight_bytes >= config.max_inflight_bytes
    }

    fn send_entries(
        &mut self,
        view: &View<'_>,
        cut: &mut Cut,
        send: &mut Vec<(NodeId, Message)>,
    ) -> Index {
        let first = self.next;
        if cut.first != first {
            cut.fill(view, first);
        }
        let (last, bytes) = (cut.last, cut.bytes);
        if self.mode == Mode::Replicate {
            self.inflight.push((last, bytes));
            self.inflight_bytes += bytes;
        }
        let configurations = view.configurations.within(first, last);
        let (reply, repaired) = self.stamp(view);
        push(send, || {
            let append = Append {
                prev: EntryId {
                    term: cut.prev_term,
                    index: first.prev(),
                },
                last,
                runs: cut.runs,
                commit: view.commit,
                round: view.round,
                reply,
                repaired,
                configurations,
            };
            (self.node, Message::append(view.term, append))
        });
        last
    }

    /// An append without entries, at a place where the logs agree if one is known.
    fn send_nothing(&mut self, view: &View<'_>, send: &mut Vec<(NodeId, Message)>) {
        let at = match self.mode {
            Mode::Probe => self.next.prev(),
            Mode::Replicate | Mode::Snapshot => self.matched,
        };
        let (at, term) = match view.log.term_at(at) {
            Some(term) => (at, term),
            None => {
                let snapshot = view.log.snapshot();
                (snapshot.index, snapshot.term)
            }
        };
        let (reply, repaired) = self.stamp(view);
        push(send, || {
            let append = Append {
                prev: EntryId { term, index: at },
                last: at,
                runs: Runs::default(),
                commit: view.commit,
                round: view.round,
                reply,
                repaired,
                configurations: Rare::new(),
            };
            (self.node, Message::append(view.term, append))
        });
    }

    /// An append is about to leave: whether it asks for an answer, and whether it says that all is repaired.
    #[inline]
    fn stamp(&mut self, view: &View<'_>) -> (bool, bool) {
        let reply = self.urge || self.round_sent < view.round;
        self.urge = false;
        self.round_sent = view.round;
        self.commit_sent = view.commit;
        (reply, self.damaged && self.is_repaired(view))
    }

    /// It has everything again that it may have lost. To one that does not vote this forgives lost votes, too: since it
    /// told of the damage this leader has proved that it leads, in a configuration in which its old votes decide nothing.
    #[cold]
    fn is_repaired(&self, view: &View<'_>) -> bool {
        let newest = view.configurations;
        let votes = newest.latest().is_voter(self.node);
        self.repaired
            && (votes || view.commit > self.repair && newest.latest_index() <= view.commit)
    }

    #[cold]
    fn send_snapshot(&mut self, view: &View<'_>, send: &mut Vec<(NodeId, Message)>) {
        let last = view.log.snapshot();
        let membership = Box::new(view.configurations.at(last.index).clone());
        self.mode = Mode::Snapshot;
        self.offered = last.index;
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

//! What replicas of one group say to each other: numbers only, the shard attaches entries' bytes.
//!
//! - `Message::term` is the sender's term, except in `Vote`, where sender's term and asked term are one.
//! - A pre-vote asks for the term after the sender's and never raises anybody's term.
//! - An `Append` speaks of the entries `prev.index + 1 ..= last`; without entries `last == prev.index`.

use core::ops::RangeInclusive;

use crate::ids::{EntryId, Index, NodeId, ReadId, Term};
use crate::membership::Membership;
use crate::rare::Rare;

/// How many term runs one `Append` may describe; more go into the next one.
pub const RUNS_MAX: usize = 2;
/// Terms and indexes beyond this are not reached in a thousand years; who speaks of them is not listened to.
pub const NUMBER_MAX: u64 = (1 << 62) - 1;
/// How many successors a leader names.
pub const SUCCESSORS_MAX: usize = 7;

/// A message of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The sender's term.
    pub term: Term,
    /// The rest.
    pub body: Body,
}

/// Adds a message that is made where it is to stand: one that is written piece by piece and then moved makes the
/// processor wait for the pieces.
#[inline(always)]
pub(crate) fn push(send: &mut Vec<(NodeId, Message)>, make: impl FnOnce() -> (NodeId, Message)) {
    send.extend(core::iter::once_with(make));
}

impl Message {
    #[inline(always)]
    pub(crate) fn append(term: Term, append: Append) -> Self {
        let body = Body::Append(append);
        Self { term, body }
    }

    /// The numbers in it are ones that a group can reach.
    #[must_use]
    #[inline]
    pub fn is_plausible(&self) -> bool {
        // The bound is a mask: numbers are all within it exactly when their union is.
        const { assert!((NUMBER_MAX + 1).is_power_of_two()) };
        let entry = |id: &EntryId| id.term.0 | id.index.0;
        let numbers = match &self.body {
            Body::Append(append) => entry(&append.prev) | append.last.0,
            Body::AppendReply(reply) => match &reply.outcome {
                AppendOutcome::Accepted { matched } => matched.0,
                AppendOutcome::Rejected { prev, hint } => prev.0 | entry(hint),
            },
            Body::PreVote { last } | Body::Vote { last, .. } | Body::SnapshotRefused { last } => {
                entry(last)
            }
            Body::Snapshot { last, .. } if last.term > self.term => return false,
            Body::Snapshot { last, .. } => entry(last),
            _ => 0,
        };
        self.term.0 | numbers <= NUMBER_MAX
    }
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Could I win the term after mine? (thesis, 9.6)
    PreVote {
        /// The last entry of the sender's log.
        last: EntryId,
    },
    /// The answer to a pre-vote.
    PreVoteReply {
        /// The term of the pre-vote's sender when it asked.
        asked: Term,
        /// Yes.
        granted: bool,
        /// The leader that the voter hears, if any.
        leader: Option<NodeId>,
    },
    /// Vote for me in this term.
    Vote {
        /// The last entry of the sender's log.
        last: EntryId,
        /// The leader itself asked the sender to campaign: live leaders do not hinder it.
        transfer: bool,
    },
    /// The answer to a vote request of this term.
    VoteReply {
        /// Yes.
        granted: bool,
    },
    /// Entries, and everything else that a leader tells its followers.
    Append(Append),
    /// The answer to an `Append` or to a snapshot.
    AppendReply(AppendReply),
    /// The follower needs entries that the leader has compacted: install this state.
    Snapshot {
        /// The last entry that the snapshot covers.
        last: EntryId,
        /// The configuration as of that entry.
        membership: Box<Membership>,
    },
    /// The snapshot could not be installed.
    SnapshotRefused {
        /// The last entry that it covered.
        last: EntryId,
    },
    /// Campaign at once (thesis, 3.10).
    TimeoutNow,
    /// The sender leads this term no more.
    Resign,
    /// A follower's read: up to where must it apply?
    Read {
        /// The follower's name for it.
        id: ReadId,
    },
    /// The answer to a follower's read.
    ReadReply {
        /// The follower's name for it.
        id: ReadId,
        /// Apply up to here; `None`: ask again.
        index: Option<Index>,
    },
    /// Who should campaign first when this leader falls silent. A hint about timers alone.
    Successors {
        /// In order of preference.
        ranked: Successors,
    },
}

/// Entries `prev.index + 1 ..= last`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    /// The entry before the first.
    pub prev: EntryId,
    /// The last entry.
    pub last: Index,
    /// The terms of the entries.
    pub runs: Runs,
    /// The leader's commit index.
    pub commit: Index,
    /// The number of the leader's latest round of read confirmations in this term.
    pub round: u64,
    /// Answer even if there is nothing to make durable.
    pub reply: bool,
    /// To a follower that had lost acknowledged entries: it holds all of them again.
    pub repaired: bool,
    /// The configurations among the entries.
    pub configurations: Rare<(Index, Membership)>,
}

/// A follower's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppendReply {
    /// Does the log fit?
    pub outcome: AppendOutcome,
    /// The follower's commit index.
    pub commit: Index,
    /// The latest round of read confirmations seen in this term.
    pub round: u64,
    /// The follower has lost entries that it had acknowledged: do not count it.
    pub damaged: bool,
}

/// Whether the follower's log contained `prev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendOutcome {
    /// The follower durably holds the leader's log up to here.
    Accepted {
        /// The last index of the common, durable prefix.
        matched: Index,
    },
    /// The follower does not hold `prev`.
    Rejected {
        /// The refused append's `prev.index`.
        prev: Index,
        /// Where the logs may begin to agree.
        hint: EntryId,
    },
}

impl Append {
    /// The first entry's index, when there are entries.
    #[must_use]
    pub fn first(&self) -> Index {
        self.prev.index.next()
    }

    /// The entries' indexes; `None` when there are none.
    #[must_use]
    pub fn entries(&self) -> Option<RangeInclusive<Index>> {
        (self.last > self.prev.index).then(|| self.first()..=self.last)
    }

    /// How many entries.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.last.0.saturating_sub(self.prev.index.0)
    }

    /// A leader of `term` may have sent this: the runs describe exactly the entries, their terms rise from
    /// the one before and do not exceed the leader's, the configurations stand among them.
    #[must_use]
    pub fn makes_sense(&self, term: Term) -> bool {
        let runs = self.runs.as_slice();
        if self.last <= self.prev.index {
            return self.last == self.prev.index
                && runs.is_empty()
                && self.configurations.is_empty();
        }
        let first = runs.first().is_some_and(|run| {
            run.index.0 == self.prev.index.0 + 1 && run.term >= self.prev.term && run.term.0 > 0
        });
        let rises = |pair: &[EntryId]| pair[0].term < pair[1].term && pair[0].index < pair[1].index;
        first
            && runs.windows(2).all(rises)
            && runs
                .last()
                .is_some_and(|run| run.index <= self.last && run.term <= term)
            && u32::try_from(self.count()).is_ok()
            && self.configurations_make_sense()
    }

    fn configurations_make_sense(&self) -> bool {
        let mut before = self.prev.index;
        self.configurations.iter().all(|(index, _)| {
            let rises = *index > before && *index <= self.last;
            before = *index;
            rises
        })
    }
}

/// A few term runs, in place: the first index and the term of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Runs {
    len: u8,
    runs: [EntryId; RUNS_MAX],
}

impl Runs {
    /// The runs.
    #[must_use]
    pub fn as_slice(&self) -> &[EntryId] {
        &self.runs[..usize::from(self.len)]
    }

    /// No room for another run.
    #[must_use]
    pub fn is_full(&self) -> bool {
        usize::from(self.len) == RUNS_MAX
    }

    /// No runs.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a run. Callers ask `is_full` first.
    pub fn push(&mut self, run: EntryId) {
        assert!(!self.is_full(), "callers ask is_full first");
        self.runs[usize::from(self.len)] = run;
        self.len += 1;
    }

    /// The runs' index ranges and terms within `first..=last`.
    pub fn spans(
        &self,
        first: Index,
        last: Index,
    ) -> impl Iterator<Item = (RangeInclusive<Index>, Term)> + '_ {
        let runs = self.as_slice();
        runs.iter().enumerate().filter_map(move |(at, run)| {
            let start = run.index.max(first);
            let end = runs
                .get(at + 1)
                .map_or(last, |next| next.index.prev())
                .min(last);
            (start <= end).then_some((start..=end, run.term))
        })
    }

    /// The term of the last run.
    #[must_use]
    pub fn last_term(&self) -> Option<Term> {
        self.as_slice().last().map(|run| run.term)
    }
}

/// A short ranked list of nodes, in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Successors {
    len: u8,
    nodes: [NodeId; SUCCESSORS_MAX],
}

impl Successors {
    /// The first `SUCCESSORS_MAX` of `nodes`.
    #[must_use]
    pub fn new(nodes: &[NodeId]) -> Self {
        let mut list = Self::default();
        for (to, &node) in list.nodes.iter_mut().zip(nodes) {
            *to = node;
            list.len += 1;
        }
        list
    }

    /// In order of preference.
    #[must_use]
    pub fn as_slice(&self) -> &[NodeId] {
        &self.nodes[..usize::from(self.len)]
    }

    /// The node's rank, 0 first.
    #[must_use]
    pub fn rank(&self, node: NodeId) -> Option<u32> {
        self.as_slice()
            .iter()
            .position(|&listed| listed == node)
            .map(|at| at as u32)
    }
}

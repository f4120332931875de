//! Which entries the next append carries: cut once in a drain, for all members that lack the same ones.
//!
//! - A cut begins where it was asked to, is not empty, and stays within the limits of one append.

use crate::config::Config;
use crate::configurations::Configurations;
use crate::ids::{Index, Term};
use crate::message::Runs;
use crate::tail::Tail;
use crate::term_log::TermLog;

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

/// The entries of the last append that was made in a drain: members mostly lack the same ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cut {
    /// 0: nothing was cut yet.
    pub(crate) first: Index,
    pub(crate) last: Index,
    pub(crate) bytes: u64,
    pub(crate) prev_term: Term,
    pub(crate) runs: Runs,
}

impl Cut {
    /// As many entries from `first` on as one append may carry.
    pub(crate) fn fill(&mut self, view: &View<'_>, first: Index) {
        let prev = first.prev();
        let most = Index(prev.0 + u64::from(view.config.max_append_entries));
        let last = view.log.last_index().min(most);
        let (last, mut bytes) = view.tail.fit(first, last, view.config.max_append_bytes);
        let described = view.log.describe(first, last, &mut self.runs);
        if described < last {
            bytes = view.tail.bytes_of(first, described);
        }
        self.first = first;
        self.last = described;
        self.bytes = bytes;
        self.prev_term = view.log.term_at(prev).unwrap_or_default();
    }
}

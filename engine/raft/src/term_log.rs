//! Which term made which entry: a log without contents, as runs of one term each.
//!
//! - Runs are sorted; first indexes and terms rise strictly from run to run.
//! - The first run begins right after the snapshot; there are runs exactly when there are entries.
//! - The snapshot's own term is known, nothing before it is.
//! - Cost grows with the number of terms in the log, never with the number of entries.

use core::ops::RangeInclusive;

use crate::ids::{EntryId, Index, Term};
use crate::message::Runs;

/// The terms of a log. The fields stand in the order of their heat: the newest run is known without a look
/// at the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct TermLog {
    last: Index,
    last_term: Term,
    /// Where the newest run begins; one past `last` when the log is empty.
    run_first: Index,
    snapshot: EntryId,
    runs: Vec<EntryId>,
}

/// Why restored runs do not describe a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Runs are not strictly rising, or do not begin right after the snapshot, or end after the last.
    #[error("the term runs do not describe a log")]
    Runs,
}

impl TermLog {
    /// A log that starts after `snapshot` and consists of `runs` (term, first index) up to `last`.
    pub fn new(snapshot: EntryId, runs: &[EntryId], last: Index) -> Result<Self, LogError> {
        let mut expected = snapshot;
        for (at, run) in runs.iter().enumerate() {
            let begins = if at == 0 {
                run.index == snapshot.index.next() && run.term >= snapshot.term
            } else {
                run.index > expected.index && run.term > expected.term
            };
            if !begins || run.index > last || run.term == Term(0) {
                return Err(LogError::Runs);
            }
            expected = *run;
        }
        if (runs.is_empty() && last != snapshot.index) || last < snapshot.index {
            return Err(LogError::Runs);
        }
        let mut log = Self {
            last,
            snapshot,
            runs: runs.into(),
            ..Self::default()
        };
        log.note_newest();
        Ok(log)
    }

    /// Keeps at hand what the newest run says.
    fn note_newest(&mut self) {
        let newest = self.runs.last();
        self.last_term = newest.map_or(self.snapshot.term, |run| run.term);
        self.run_first = newest.map_or(self.last.next(), |run| run.index);
    }

    /// What the log starts after.
    #[must_use]
    pub fn snapshot(&self) -> EntryId {
        self.snapshot
    }

    /// The first index held; one past `last` when empty.
    #[must_use]
    pub fn first_index(&self) -> Index {
        self.snapshot.index.next()
    }

    /// The last index, the snapshot's when the log is empty.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.last
    }

    /// The last entry's identity.
    #[must_use]
    pub fn last_id(&self) -> EntryId {
        EntryId {
            term: self.last_term,
            index: self.last,
        }
    }

    /// The runs after the snapshot.
    #[must_use]
    pub fn runs(&self) -> &[EntryId] {
        &self.runs
    }

    /// The term of an entry, or of the snapshot's last; `None` when not known.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index > self.last || index < self.snapshot.index {
            return None;
        }
        if index >= self.run_first {
            return Some(self.last_term);
        }
        if index == self.snapshot.index {
            return Some(self.snapshot.term);
        }
        Some(self.runs[self.run_of(index)].term)
    }

    /// The first index from which on all entries up to `index`, which the log holds, are of one term, as far as one look
    /// tells.
    #[must_use]
    pub fn run_begins(&self, index: Index) -> Index {
        if index >= self.run_first {
            return self.run_first;
        }
        if index == self.snapshot.index {
            return index;
        }
        self.runs[self.run_of(index)].index
    }

    /// The run that holds `index`, which the log holds.
    fn run_of(&self, index: Index) -> usize {
        let newest = self.runs.len() - 1;
        if self.runs[newest].index <= index {
            return newest;
        }
        self.runs.partition_point(|run| run.index <= index) - 1
    }

    /// Appends `entries` entries of `term`.
    pub fn append(&mut self, term: Term, entries: u32) -> RangeInclusive<Index> {
        let first = self.last.next();
        assert!(term >= self.last_term, "terms never fall along a log");
        if self.run_first > self.last || self.last_term != term {
            self.runs.push(EntryId { term, index: first });
            self.last_term = term;
            self.run_first = first;
        }
        self.last = Index(self.last.0 + u64::from(entries));
        first..=self.last
    }

    /// Forgets `from` and everything after it.
    pub fn truncate(&mut self, from: Index) {
        assert!(from > self.snapshot.index, "a snapshot is never cut");
        if from > self.last {
            return;
        }
        let keep = self.runs.partition_point(|run| run.index < from);
        self.runs.truncate(keep);
        self.last = from.prev();
        self.note_newest();
    }

    /// The log starts after `upto`, which it holds.
    pub fn compact(&mut self, upto: EntryId) {
        assert_eq!(
            self.term_at(upto.index),
            Some(upto.term),
            "only held entries are compacted"
        );
        if upto.index <= self.snapshot.index {
            return;
        }
        if upto.index == self.last {
            self.runs.clear();
        } else {
            let next = upto.index.next();
            let run = self.run_of(next);
            self.runs.drain(..run);
            self.runs[0].index = next;
        }
        self.snapshot = upto;
        self.note_newest();
    }

    /// The log is replaced by a snapshot.
    pub fn reset(&mut self, snapshot: EntryId) {
        self.runs.clear();
        self.snapshot = snapshot;
        self.last = snapshot.index;
        self.note_newest();
    }

    /// The first of the entries `first..=last`, described by `runs`, that this log does not hold with the
    /// same term; `None` when it holds them all. `first` is at most one past the log's end.
    #[must_use]
    pub fn first_missing(&self, first: Index, last: Index, runs: &Runs) -> Option<Index> {
        for (range, term) in runs.spans(first, last) {
            let mut index = *range.start();
            while index <= *range.end() {
                if self.term_at(index) != Some(term) {
                    return Some(index);
                }
                index = self.run_end(index).next();
            }
        }
        None
    }

    /// The last index of the run that holds `index`.
    fn run_end(&self, index: Index) -> Index {
        if index == self.snapshot.index {
            return index;
        }
        let run = self.run_of(index);
        self.runs
            .get(run + 1)
            .map_or(self.last, |next| next.index.prev())
    }

    /// The last entry at or before `index` whose term is not above `term`: where two logs may begin to
    /// agree. Each exchange of such hints skips a whole term (Raft paper, end of 5.3).
    #[must_use]
    pub fn last_not_after(&self, index: Index, term: Term) -> EntryId {
        let mut index = index.min(self.last);
        while index > self.snapshot.index {
            let run = self.runs[self.run_of(index)];
            if run.term <= term {
                return EntryId {
                    term: run.term,
                    index,
                };
            }
            index = run.index.prev();
        }
        self.snapshot
    }

    /// Describes the entries `first..=last`, which the log holds, or as many from `first` as one message
    /// can describe. Returns the last index described.
    #[must_use]
    #[inline]
    pub fn describe(&self, first: Index, last: Index, runs: &mut Runs) -> Index {
        runs.clear();
        if first >= self.run_first {
            runs.push(EntryId {
                term: self.last_term,
                index: first,
            });
            return last;
        }
        self.describe_older(first, last, runs)
    }

    fn describe_older(&self, first: Index, last: Index, runs: &mut Runs) -> Index {
        let mut at = self.run_of(first);
        let mut index = first;
        loop {
            let end = self
                .runs
                .get(at + 1)
                .map_or(self.last, |next| next.index.prev())
                .min(last);
            runs.push(EntryId {
                term: self.runs[at].term,
                index,
            });
            if end == last || runs.is_full() {
                return end;
            }
            index = end.next();
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> EntryId {
        EntryId {
            term: Term(term),
            index: Index(index),
        }
    }

    /// A log as the list of its entries' terms, after a snapshot.
    fn log(snapshot: EntryId, terms: &[u64]) -> TermLog {
        let mut log = TermLog::new(snapshot, &[], snapshot.index).expect("empty");
        for &term in terms {
            log.append(Term(term), 1);
        }
        log
    }

    #[test]
    fn terms_are_those_of_the_entries() {
        let log = log(id(1, 3), &[1, 1, 2, 4, 4]);
        let terms: Vec<_> = (2..=9)
            .map(|index| log.term_at(Index(index)).map(|t| t.0))
            .collect();
        assert_eq!(
            terms,
            [
                None,
                Some(1),
                Some(1),
                Some(1),
                Some(2),
                Some(4),
                Some(4),
                None
            ]
        );
        assert_eq!(log.last_id(), id(4, 8));
        assert_eq!(log.runs(), [id(1, 4), id(2, 6), id(4, 7)]);
        assert_eq!(TermLog::new(id(1, 3), log.runs(), Index(8)), Ok(log));
    }

    #[test]
    fn damaged_runs_are_refused() {
        for (snapshot, runs, last) in [
            (id(0, 0), vec![id(1, 2)], 2),
            (id(0, 0), vec![id(1, 1), id(1, 2)], 2),
            (id(0, 0), vec![id(2, 1), id(1, 2)], 2),
            (id(0, 0), vec![id(1, 1), id(2, 3)], 2),
            (id(0, 0), vec![], 2),
            (id(3, 5), vec![id(2, 6)], 6),
            (id(3, 5), vec![], 4),
        ] {
            assert_eq!(
                TermLog::new(snapshot, &runs, Index(last)),
                Err(LogError::Runs)
            );
        }
    }

    #[test]
    fn agrees_with_a_plain_list_of_terms() {
        // Every log of four entries over terms 1..=3, cut and compacted everywhere.
        for code in 0..81_u64 {
            let mut terms: Vec<u64> = (0..4)
                .map(|place| code / 3_u64.pow(place) % 3 + 1)
                .collect();
            terms.sort_unstable();
            for cut in 1..=5_u64 {
                for upto in 0..cut {
                    let mut subject = log(id(0, 0), &terms);
                    subject.truncate(Index(cut));
                    let term = subject.term_at(Index(upto)).expect("held");
                    subject.compact(EntryId {
                        term,
                        index: Index(upto),
                    });
                    let model = |index: u64| match index {
                        _ if index < upto || index >= cut.min(5) => None,
                        0 => Some(Term(0)),
                        _ => Some(Term(terms[index as usize - 1])),
                    };
                    for index in 0..6 {
                        assert_eq!(subject.term_at(Index(index)), model(index));
                    }
                    for bound in 0..4 {
                        let hint = subject.last_not_after(Index(9), Term(bound));
                        let expected = (upto + 1..cut.min(5))
                            .rev()
                            .find(|&index| model(index) <= Some(Term(bound)))
                            .unwrap_or(upto);
                        assert_eq!(hint.index, Index(expected));
                    }
                }
            }
        }
    }

    #[test]
    fn finds_the_first_entry_not_held() {
        let subject = log(id(0, 0), &[1, 1, 2, 2]);
        for (terms, expected) in [
            (&[1, 1, 2, 2][..], None),
            (&[1, 1, 2, 2, 2], Some(5)),
            (&[1, 1, 3], Some(3)),
            (&[1, 1, 1], Some(3)),
            (&[2], Some(1)),
        ] {
            let other = log(id(0, 0), terms);
            let last = other.last_index();
            let mut runs = Runs::default();
            let described = other.describe(Index(1), last, &mut runs);
            assert_eq!(described, last);
            assert_eq!(
                subject.first_missing(Index(1), last, &runs),
                expected.map(Index)
            );
        }
    }
}

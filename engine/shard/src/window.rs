//! The newest entries of one group, in memory: what is not yet applied or durable, and a little more
//! for followers that lag a little.
//!
//! - Indexes are contiguous: `first..=last`.
//! - An entry leaves only when it is applied here and in the log; whoever needs it later reads the log.
//! - A conflicting suffix is cut before its replacement is pushed.

use std::collections::VecDeque;

use raft::ids::Index;

use crate::entry::Entry;

/// One per group.
#[derive(Debug)]
pub struct Window {
    /// Index of the front entry, or of the next entry to come when there is none.
    first: Index,
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Window {
    /// An empty window whose first entry will be `first`.
    #[must_use]
    pub fn starting_at(first: Index) -> Self {
        Self {
            first,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Index of the oldest entry held.
    #[must_use]
    pub fn first(&self) -> Index {
        self.first
    }

    /// Index of the newest entry held; one before `first` when there is none.
    #[must_use]
    pub fn last(&self) -> Index {
        Index(self.first.0 + self.entries.len() as u64 - 1)
    }

    /// Bytes held: payloads, and what an entry costs besides.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entry at `index`, when held.
    #[must_use]
    pub fn get(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.first.0)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// Appends the entry that follows the newest one.
    ///
    /// # Panics
    /// When it does not follow: indexes are contiguous.
    pub fn push(&mut self, entry: Entry) {
        if self.entries.is_empty() && entry.index > self.first {
            self.first = entry.index;
        }
        assert_eq!(
            entry.index,
            self.last().next(),
            "entries of a window are contiguous"
        );
        self.bytes += cost(&entry);
        self.entries.push_back(entry);
    }

    /// Forgets `index` and everything after it.
    pub fn cut(&mut self, index: Index) {
        while self.last() >= index {
            let Some(entry) = self.entries.pop_back() else {
                self.first = index;
                break;
            };
            self.bytes -= cost(&entry);
        }
    }

    /// Forgets entries up to `upto`, oldest first, until at most `keep_bytes` are held.
    /// Returns the bytes freed.
    pub fn trim(&mut self, upto: Index, keep_bytes: usize) -> usize {
        let before = self.bytes;
        while self.bytes > keep_bytes && self.first <= upto {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= cost(&entry);
            self.first = entry.index.next();
        }
        before - self.bytes
    }
}

/// Memory that an entry holds.
fn cost(entry: &Entry) -> usize {
    size_of::<Entry>() + entry.payload.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft::ids::Term;

    use super::*;
    use crate::entry::EntryHead;

    fn entry(index: u64, term: u64) -> Entry {
        Entry {
            index: Index(index),
            term: Term(term),
            head: EntryHead::command(Index(0), 0, 0, 0, 1),
            payload: Bytes::from_static(&[7; 100]),
            payload_crc: 0,
        }
    }

    #[test]
    fn keeps_a_contiguous_run() {
        let mut window = Window::starting_at(Index(1));
        assert_eq!(window.last(), Index(0));
        for index in 1..=5 {
            window.push(entry(index, 1));
        }
        let one = cost(&entry(1, 1));
        assert_eq!(
            (window.first(), window.last(), window.bytes()),
            (Index(1), Index(5), 5 * one)
        );
        window.cut(Index(4));
        assert_eq!(window.last(), Index(3));
        window.push(entry(4, 2));
        assert_eq!(window.get(Index(4)).map(|e| e.term), Some(Term(2)));
        assert_eq!(window.trim(Index(2), 0), 2 * one);
        assert_eq!(
            (window.first(), window.get(Index(2)).is_none()),
            (Index(3), true)
        );
        assert_eq!(window.trim(Index(9), one + 50), one);
        assert_eq!(window.first(), Index(4));
    }

    #[test]
    fn cutting_everything_leaves_an_empty_window() {
        let mut window = Window::starting_at(Index(3));
        window.push(entry(3, 1));
        window.cut(Index(2));
        assert_eq!((window.first(), window.bytes()), (Index(2), 0));
        window.push(entry(2, 2));
        assert_eq!(window.last(), Index(2));
    }

    #[test]
    #[should_panic(expected = "contiguous")]
    fn a_gap_is_our_bug() {
        let mut window = Window::starting_at(Index(1));
        window.push(entry(1, 1));
        window.push(entry(3, 1));
    }
}

//! The sizes of a leader's proposals that are not committed yet: what back-pressure and message cuts need.
//!
//! - Spans follow each other without gaps; totals never fall.
//! - Within a proposal, entries are taken to be of equal size; before the tail, of the mean size.

use crate::ids::Index;
use crate::ring::Ring;

/// One proposal: its last index, and the bytes of everything proposed up to its end.
#[derive(Clone, Copy, Debug, Default, Hash)]
struct Span {
    last: Index,
    total: u64,
}

/// Sizes after `start`.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Tail {
    start: Index,
    start_total: u64,
    last: Index,
    total: u64,
    mean: u64,
    spans: Ring<Span, 3>,
}

impl Tail {
    /// Begins after `start`: everything up to there has no known size.
    pub(crate) fn after(start: Index) -> Self {
        Self {
            start,
            last: start,
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, last: Index, bytes: u64) {
        let entries = last.0 - self.last.0;
        self.mean = (self.mean * 7 + bytes / entries.max(1)) / 8;
        self.total += bytes;
        self.last = last;
        self.spans.push(Span {
            last,
            total: self.total,
        });
    }

    /// Everything up to `upto` is committed.
    pub(crate) fn committed(&mut self, upto: Index) {
        while let Some(span) = self.spans.front().copied().filter(|span| span.last <= upto) {
            self.start = span.last;
            self.start_total = span.total;
            self.spans.pop();
        }
    }

    /// Bytes proposed and not committed.
    pub(crate) fn bytes(&self) -> u64 {
        self.total - self.start_total
    }

    /// Bytes of the entries `first..=last`.
    pub(crate) fn bytes_of(&self, first: Index, last: Index) -> u64 {
        let known_before = self.total_upto(first.prev().max(self.start));
        let known = self.total_upto(last.max(self.start)) - known_before;
        let unknown = last.min(self.start).0.saturating_sub(first.prev().0);
        known + unknown * self.mean
    }

    /// The last of the entries `first..=last` such that no more than `max` bytes are sent, at least one; and
    /// the bytes.
    pub(crate) fn fit(&self, first: Index, last: Index, max: u64) -> (Index, u64) {
        let bytes = self.bytes_of(first, last);
        if bytes <= max {
            return (last, bytes);
        }
        let (mut fits, mut too_many) = (first.0, last.0);
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            if self.bytes_of(first, Index(middle)) <= max {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        (Index(fits), self.bytes_of(first, Index(fits)))
    }

    fn total_upto(&self, index: Index) -> u64 {
        if index >= self.last {
            return self.total;
        }
        if index <= self.start {
            return self.start_total;
        }
        let (mut low, mut high) = (0, self.spans.len() - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.spans.get(middle).is_some_and(|span| span.last < index) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let before = match low {
            0 => Span {
                last: self.start,
                total: self.start_total,
            },
            _ => self.spans.get(low - 1).copied().unwrap_or_default(),
        };
        let span = self.spans.get(low).copied().unwrap_or_default();
        let entries = span.last.0 - before.last.0;
        before.total + (span.total - before.total) / entries * (index.0 - before.last.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_proposals() {
        let mut tail = Tail::after(Index(10));
        tail.push(Index(12), 200);
        tail.push(Index(13), 50);
        tail.push(Index(17), 4000);
        tail.push(Index(18), 1);
        assert_eq!(tail.bytes(), 4251);
        assert_eq!(tail.bytes_of(Index(11), Index(11)), 100);
        assert_eq!(tail.bytes_of(Index(12), Index(14)), 100 + 50 + 1000);
        assert_eq!(tail.fit(Index(12), Index(18), 1200), (Index(14), 1150));
        assert_eq!(
            tail.fit(Index(14), Index(18), 10).0,
            Index(14),
            "one entry always fits"
        );
        tail.committed(Index(14));
        assert_eq!(tail.bytes(), 4001);
        tail.committed(Index(18));
        assert_eq!(tail.bytes(), 0);
    }
}

//! The sizes of a leader's proposals that are not committed yet: what back-pressure and message cuts need.
//!
//! - Spans follow each other without gaps; totals never fall.
//! - Within a span, entries are taken to be of equal size; before the tail, of the mean size.
//! - Proposals whose entries are exactly as large as those before them make the newest span longer: a steady
//!   stream is one span, whatever its length.

use crate::ids::Index;
use crate::ring::Ring;

/// A span that another one follows: its last index, and the bytes of everything proposed up to its end.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    last: Index,
    total: u64,
}

/// Sizes after `start`. All but the older spans is in one cache line.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(crate) struct Tail {
    /// Committed up to here; what was proposed up to here.
    start: Index,
    start_total: u64,
    /// The end of the newest span; what was proposed in all.
    last: Index,
    total: u64,
    /// The index before the newest span; what was proposed up to it.
    begin: Index,
    begin_total: u64,
    /// Bytes of each entry of the newest span.
    size: u64,
    /// What an entry of unknown size is taken to have.
    mean: u64,
    older: Ring<Span, 2>,
}

impl Tail {
    /// Begins after `start`: everything up to there has no known size.
    pub(crate) fn after(start: Index) -> Self {
        Self {
            start,
            last: start,
            begin: start,
            ..Self::default()
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, last: Index, bytes: u64) {
        let entries = last.0 - self.last.0;
        let size = if entries <= 1 { bytes } else { bytes / entries };
        self.mean = (self.mean * 7 + size) / 8;
        let alike = size == self.size
            && size * entries == bytes
            && self.begin_total + size * (self.last.0 - self.begin.0) == self.total;
        if !alike {
            if self.last > self.start && self.last > self.begin {
                self.older.push(Span {
                    last: self.last,
                    total: self.total,
                });
            }
            self.begin = self.last;
            self.begin_total = self.total;
            self.size = size;
        }
        self.total += bytes;
        self.last = last;
    }

    /// Everything up to `upto` is committed.
    #[inline]
    pub(crate) fn committed(&mut self, upto: Index) {
        let upto = upto.min(self.last);
        if upto <= self.start {
            return;
        }
        self.start_total = self.total_upto(upto);
        self.start = upto;
        while self.older.front().is_some_and(|span| span.last <= upto) {
            self.older.pop();
        }
    }

    /// Bytes proposed and not committed.
    pub(crate) fn bytes(&self) -> u64 {
        self.total - self.start_total
    }

    /// Bytes of the entries `first..=last`.
    #[inline]
    pub(crate) fn bytes_of(&self, first: Index, last: Index) -> u64 {
        let known_before = self.total_upto(first.prev().max(self.start));
        let known = self.total_upto(last.max(self.start)) - known_before;
        let unknown = last.min(self.start).0.saturating_sub(first.prev().0);
        known + unknown * self.mean
    }

    /// The last of the entries `first..=last` such that no more than `max` bytes are sent, at least one; and
    /// the bytes.
    #[inline]
    pub(crate) fn fit(&self, first: Index, last: Index, max: u64) -> (Index, u64) {
        let bytes = self.bytes_of(first, last);
        if bytes <= max {
            return (last, bytes);
        }
        self.fit_some(first, last, max)
    }

    fn fit_some(&self, first: Index, last: Index, max: u64) -> (Index, u64) {
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

    #[inline]
    fn total_upto(&self, index: Index) -> u64 {
        if index >= self.last {
            self.total
        } else if index <= self.start {
            self.start_total
        } else if index >= self.begin {
            self.begin_total + self.size * (index.0 - self.begin.0)
        } else {
            self.total_upto_older(index)
        }
    }

    /// `index` lies after `start` and before the newest span's begin.
    fn total_upto_older(&self, index: Index) -> u64 {
        let (mut low, mut high) = (0, self.older.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.older.get(middle).is_some_and(|span| span.last < index) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let start = Span {
            last: self.start,
            total: self.start_total,
        };
        let before = match low {
            0 => start,
            _ => self.older.get(low - 1).copied().unwrap_or(start),
        };
        let newest = Span {
            last: self.begin,
            total: self.begin_total,
        };
        let span = self.older.get(low).copied().unwrap_or(newest);
        let entries = (span.last.0 - before.last.0).max(1);
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
        assert_eq!(tail.bytes(), 3001, "half a proposal is given back");
        tail.committed(Index(18));
        assert_eq!(tail.bytes(), 0);
    }

    #[test]
    fn a_steady_stream_is_one_span_and_is_given_back_entry_by_entry() {
        let mut tail = Tail::after(Index(7));
        for index in 8..=1007 {
            tail.push(Index(index), 128);
        }
        tail.push(Index(1017), 1280);
        assert_eq!(tail.older.len(), 0);
        for upto in 8..=1017 {
            tail.committed(Index(upto));
            assert_eq!(tail.bytes(), (1017 - upto) * 128);
            assert_eq!(tail.bytes_of(Index(upto + 1), Index(1017)), tail.bytes());
        }
        tail.committed(Index(2000));
        assert_eq!(tail.bytes(), 0);
    }

    #[test]
    fn totals_are_those_of_a_plain_list() {
        // Proposals of one to three entries, of sizes that change now and then; commits that lag behind.
        let mut tail = Tail::after(Index(0));
        let mut sizes: Vec<u64> = Vec::new();
        let mut committed = 0;
        for step in 0..2_000_u64 {
            let entries = step * 7 % 3 + 1;
            let size = [128, 128, 96, 512][(step / 5 % 4) as usize];
            sizes.extend((0..entries).map(|_| size));
            tail.push(Index(sizes.len() as u64), size * entries);
            if step % 4 == 3 {
                committed += (step % 11).min(sizes.len() as u64 - committed);
                tail.committed(Index(committed));
            }
            let open: u64 = sizes[committed as usize..].iter().sum();
            assert_eq!(tail.bytes(), open);
            let from = committed + (sizes.len() as u64 - committed) / 2;
            let half: u64 = sizes[from as usize..].iter().sum();
            let last = Index(sizes.len() as u64);
            assert_eq!(tail.bytes_of(Index(from + 1), last), half);
        }
    }
}

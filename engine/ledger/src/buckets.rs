//! Buckets of an index, one cache line each, cut from one stretch of huge pages.
//!
//! Parts of an index double one by one; what a part leaves behind serves the next smaller one that
//! doubles.
//!
//! - A run of buckets that is handed out is empty; its length is a power of two, and it begins at a
//!   multiple of it.
//! - Runs never overlap. Those given back join with their other halves, so that parts which double one
//!   after another live on what their neighbours left.

use std::collections::BTreeSet;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::pages::Pages;

/// Entries in a bucket; 4-byte tags and rows make it a cache line.
pub(crate) const WIDTH: usize = 8;

/// Eight tags and their rows: one cache line.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub(crate) struct Bucket {
    /// 0 = free; else 31 bits of the hash and a 1.
    pub(crate) tags: [u32; WIDTH],
    pub(crate) rows: [u32; WIDTH],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    const EMPTY: Self = Self {
        tags: [0; WIDTH],
        rows: [0; WIDTH],
    };

    /// A bit for each entry that has this tag.
    #[inline]
    pub(crate) fn matches(&self, tag: u32) -> u32 {
        let mut mask = 0;
        for (place, other) in self.tags.iter().enumerate() {
            mask |= u32::from(*other == tag) << place;
        }
        mask
    }

    #[inline]
    pub(crate) fn full(&self) -> bool {
        self.tags[WIDTH - 1] != 0
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.tags.iter().map(|tag| usize::from(*tag != 0)).sum()
    }

    /// Adds an entry to a bucket that has room.
    #[inline]
    pub(crate) fn push(&mut self, tag: u32, row: u32) {
        let free = self.len();
        self.tags[free] = tag;
        self.rows[free] = row;
    }

    /// Removes an entry and keeps the rest packed to the left.
    pub(crate) fn remove(&mut self, place: usize) {
        let last = self.len() - 1;
        self.tags[place] = self.tags[last];
        self.rows[place] = self.rows[last];
        self.tags[last] = 0;
        self.rows[last] = 0;
    }
}

/// All buckets of an index.
pub(crate) struct Buckets {
    pages: Pages<Bucket>,
    /// Runs given back, by the logarithm of their length.
    free: [BTreeSet<usize>; usize::BITS as usize],
}

impl Buckets {
    pub(crate) fn new() -> Self {
        Self {
            pages: Pages::new(),
            free: core::array::from_fn(|_| BTreeSet::new()),
        }
    }

    #[inline]
    pub(crate) fn get(&self, bucket: usize) -> &Bucket {
        self.pages.get(bucket)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, bucket: usize) -> &mut Bucket {
        self.pages.get_mut(bucket)
    }

    /// Hands out a run of so many empty buckets, a power of two: the number of the first.
    pub(crate) fn take(&mut self, count: usize) -> usize {
        debug_assert!(count.is_power_of_two());
        if let Some(first) = self.free[count.trailing_zeros() as usize].pop_first() {
            for bucket in first..first + count {
                *self.pages.get_mut(bucket) = Bucket::EMPTY;
            }
            return first;
        }
        // A new run at the end, at a multiple of its length; what is skipped is kept for others.
        while !self.pages.len().is_multiple_of(count) {
            let skipped = 1 << self.pages.len().trailing_zeros();
            let first = self.grow(skipped);
            self.give(first, skipped);
        }
        self.grow(count)
    }

    fn grow(&mut self, count: usize) -> usize {
        let first = self.pages.len();
        for _ in 0..count {
            self.pages.push(Bucket::EMPTY);
        }
        first
    }

    /// Takes a run back, and joins it with its other half if that is free too.
    pub(crate) fn give(&mut self, mut first: usize, mut count: usize) {
        while self.free[count.trailing_zeros() as usize].remove(&(first ^ count)) {
            first &= !count;
            count *= 2;
        }
        self.free[count.trailing_zeros() as usize].insert(first);
    }

    /// Bytes that the buckets occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.pages.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::Buckets;

    #[test]
    fn a_run_given_back_is_handed_out_empty() {
        let mut buckets = Buckets::new();
        let (one, four) = (buckets.take(1), buckets.take(4));
        buckets.get_mut(four + 3).push(7, 9);
        buckets.give(four, 4);
        let eight = buckets.take(8);
        assert_eq!((one, four, eight), (0, 4, 8));
        assert_eq!(buckets.take(4), four);
        assert_eq!(buckets.get(four + 3).len(), 0);
        assert_eq!(
            (buckets.take(2), buckets.take(1), buckets.take(4)),
            (2, 1, 16)
        );
    }

    #[test]
    fn parts_that_double_in_turn_leave_no_more_than_they_use() {
        let mut buckets = Buckets::new();
        let mut parts: Vec<usize> = (0..256).map(|_| buckets.take(1)).collect();
        for doubling in 0..6 {
            for part in &mut parts {
                let wider = buckets.take(2 << doubling);
                buckets.give(*part, 1 << doubling);
                *part = wider;
            }
        }
        assert!(
            buckets.pages.len() <= 256 * 64 * 5 / 4,
            "{} buckets",
            buckets.pages.len()
        );
    }
}

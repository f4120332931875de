//! Rows that go on changing while an image is taken of what they were at one moment.
//!
//! - Freezing copies nothing. A page of rows is copied aside when it is about to change for the first time after the
//!   moment, unless the image has it already. So an image costs at most one copy of the table, spread over the writes.
//! - Rows that were added after the moment are not part of it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::pages::{ChunkSource, Pages};

/// Rows that are copied together.
pub(crate) const PAGE: usize = 32;

/// In `copies`: the page has not changed since the moment.
const AS_IT_WAS: u32 = u32::MAX;

/// Rows of type `T`.
pub(crate) struct Freezing<T> {
    rows: Pages<T>,
    /// Rows of the moment; 0 if there is none.
    frozen: usize,
    /// Rows of the moment before this one were taken.
    taken: usize,
    /// By page: where its copy is.
    copies: Vec<u32>,
    copied: Pages<T>,
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Copy> Freezing<T> {
    pub(crate) const fn new() -> Self {
        Self {
            rows: Pages::new(),
            frozen: 0,
            taken: 0,
            copies: Vec::new(),
            copied: Pages::new(),
        }
    }

    /// See [`Pages::draw_from`]. Copies stay in memory.
    pub(crate) fn draw_from(&mut self, source: ChunkSource) {
        self.rows.draw_from(source);
    }

    /// See [`Pages::fetch`].
    pub(crate) fn fetch(&self, rows: core::ops::Range<usize>) {
        self.rows.fetch(rows);
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    pub(crate) fn get(&self, row: usize) -> &T {
        self.rows.get(row)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, row: usize) -> &mut T {
        if row < self.frozen && row >= self.taken {
            self.keep(row / PAGE);
        }
        self.rows.get_mut(row)
    }

    #[inline]
    pub(crate) fn push(&mut self, row: T) {
        self.rows.push(row);
    }

    /// Takes back the newest row, which was added by the command that is under way.
    pub(crate) fn pop(&mut self) -> Option<T> {
        debug_assert!(
            self.rows.len() > self.frozen,
            "images begin between commands"
        );
        self.rows.pop()
    }

    pub(crate) fn last(&self) -> Option<&T> {
        self.rows.last()
    }

    /// See [`Pages::partition_point`].
    pub(crate) fn partition_point(&self, before: impl Fn(&T) -> bool) -> usize {
        self.rows.partition_point(0, before)
    }

    /// Keeps the rows as they are, until all were taken.
    pub(crate) fn freeze(&mut self) {
        self.thaw();
        self.frozen = self.rows.len();
        self.copies.resize(self.frozen.div_ceil(PAGE), AS_IT_WAS);
    }

    /// Nobody wants the moment any more.
    pub(crate) fn thaw(&mut self) {
        self.frozen = 0;
        self.taken = 0;
        self.copies = Vec::new();
        self.copied = Pages::new();
    }

    /// Asks the system for the `count` rows behind those that [`Self::take_frozen`] takes next.
    pub(crate) fn fetch_frozen(&self, count: usize) {
        let next = self.taken + count;
        self.rows.fetch(next..self.frozen.min(next + count));
    }

    /// The next rows of the moment, at most `count`, each handed to `take`; false if there were none.
    pub(crate) fn take_frozen(&mut self, count: usize, mut take: impl FnMut(&T)) -> bool {
        let end = self.frozen.min(self.taken + count);
        for row in self.taken..end {
            let copy = self.copies[row / PAGE];
            if copy == AS_IT_WAS {
                take(self.rows.get(row));
            } else {
                take(self.copied.get(copy as usize * PAGE + row % PAGE));
            }
        }
        let any = end > self.taken;
        self.taken = end;
        any
    }

    #[cold]
    fn keep(&mut self, page: usize) {
        if self.copies[page] != AS_IT_WAS {
            return;
        }
        let place = self.copied.len() / PAGE;
        self.copies[page] = u32::try_from(place).expect("row numbers have 32 bits");
        for row in page * PAGE..(page + 1) * PAGE {
            // The last page may be short; what fills it is never read.
            let row = row.min(self.rows.len() - 1);
            self.copied.push(*self.rows.get(row));
        }
    }

    /// Bytes that the rows occupy, copies included.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + self.copied_bytes()
    }

    /// Bytes that copies occupy.
    pub(crate) fn copied_bytes(&self) -> usize {
        self.copied.bytes() + self.copies.len() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::Freezing;

    #[test]
    fn a_frozen_table_is_taken_as_it_was_whatever_changes() {
        for step in [1, 7, 32, 1_000] {
            let mut rows: Freezing<u64> = Freezing::new();
            for n in 0..1_000_u64 {
                rows.push(n);
            }
            rows.freeze();
            let mut taken = Vec::new();
            let mut dice = 5_u64;
            while rows.take_frozen(step, |row| taken.push(*row)) {
                for _ in 0..40 {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *rows.get_mut((dice >> 33) as usize % rows.len()) = dice;
                }
                rows.push(dice);
                rows.push(dice);
                assert_eq!(rows.pop(), Some(dice));
            }
            assert_eq!(taken, (0..1_000).collect::<Vec<u64>>(), "step {step}");
            rows.thaw();
            assert_eq!(rows.copied.len(), 0);
        }
    }
}

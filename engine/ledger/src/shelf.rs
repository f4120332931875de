//! The chapters of a group that were shelved, and what is found in them.
//!
//! - Chapters have one sequence of numbers: of tier 0 in order of their rows, and after each 32 of a tier the one of
//!   the next tier that indexes them. What a number means is arithmetic, so every replica agrees.
//! - Searches ask the highest tier that covers a row. What the tiers below say of it is the same and is not read.

use core::ops::{ControlFlow, Range};

use raft::state_machine::RestoreError;

use crate::balances::Both;
use crate::chapter::{Chapter, Name};
use crate::event_row::EventRow;
use crate::find_blocks::{Field, Key, each};
use crate::limits::{FANOUT_BITS, TIERS};

/// How many chapters of each tier there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    tiers: [u64; TIERS],
}

impl Shape {
    /// All that are finished once so many rows exist.
    pub(crate) fn finished(rows: usize, row_bits: Option<u32>) -> Self {
        let mut shape = Self::default();
        if let Some(row_bits) = row_bits {
            let first = (rows >> row_bits) as u64;
            shape.tiers = core::array::from_fn(|tier| first >> (FANOUT_BITS * tier as u32));
        }
        shape
    }

    /// The first `count` of all that are finished once so many rows exist; none if there are not as many.
    pub(crate) fn first(count: u64, rows: usize, row_bits: Option<u32>) -> Option<Self> {
        if count > Self::finished(rows, row_bits).count() {
            return None;
        }
        let mut shape = Self::default();
        while shape.count() < count {
            shape.add(shape.next());
        }
        Some(shape)
    }

    /// Chapters of all tiers.
    pub(crate) fn count(&self) -> u64 {
        self.tiers.iter().sum()
    }

    /// Rows that are in chapters.
    pub(crate) fn rows(&self, row_bits: Option<u32>) -> usize {
        row_bits.map_or(0, |row_bits| (self.tiers[0] as usize) << row_bits)
    }

    /// The chapter that comes next.
    pub(crate) fn next(&self) -> Name {
        for tier in 1..TIERS {
            if self.tiers[tier] < self.tiers[tier - 1] >> FANOUT_BITS {
                return self.name(tier);
            }
        }
        self.name(0)
    }

    fn name(&self, tier: usize) -> Name {
        Name {
            tier,
            ordinal: self.tiers[tier],
        }
    }

    fn add(&mut self, name: Name) {
        self.tiers[name.tier] += 1;
    }
}

/// The number of a chapter: how many there are before it.
pub(crate) fn number(name: Name) -> u64 {
    // It follows the last chapter of tier 0 that it covers, and of each tier between all that this completed.
    let rows = (name.ordinal + u64::from(name.tier > 0)) << (FANOUT_BITS * name.tier as u32);
    let before = |tier: usize| {
        if tier < name.tier {
            rows >> (FANOUT_BITS * tier as u32)
        } else if tier == name.tier {
            name.ordinal
        } else {
            // Higher tiers follow lower ones.
            let last = if name.tier > 0 { rows - 1 } else { rows };
            last >> (FANOUT_BITS * tier as u32)
        }
    };
    (0..TIERS).map(before).sum()
}

/// What of an index is fetched.
#[derive(Clone, Copy)]
pub(crate) enum Fetch {
    /// Where a group begins.
    Group,
    /// The group.
    Entries,
}

/// All chapters that were shelved.
pub(crate) struct Shelf {
    tiers: [Vec<Chapter>; TIERS],
    shape: Shape,
    row_bits: Option<u32>,
    /// The last footer's checksum.
    chain: u128,
    /// No shelved id is above it.
    id_max: u128,
}

impl Shelf {
    pub(crate) const fn new(row_bits: Option<u32>) -> Self {
        Self {
            tiers: [const { Vec::new() }; TIERS],
            shape: Shape { tiers: [0; TIERS] },
            row_bits,
            chain: 0,
            id_max: 0,
        }
    }

    pub(crate) const fn row_bits(&self) -> Option<u32> {
        self.row_bits
    }

    pub(crate) const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The last footer's checksum: it stands for all chapters.
    pub(crate) const fn chain(&self) -> u128 {
        self.chain
    }

    /// Rows that are in chapters: all before this number.
    pub(crate) fn rows(&self) -> usize {
        self.shape.rows(self.row_bits)
    }

    /// Takes over the next chapter.
    ///
    /// # Errors
    /// If it is another one, or does not follow the last.
    pub(crate) fn add(&mut self, chapter: Chapter) -> Result<(), RestoreError> {
        let footer = chapter.footer();
        let fits = chapter.name() == self.shape.next()
            && Some(footer.row_bits.get()) == self.row_bits
            && footer.previous.get() == self.chain;
        if !fits {
            return Err(RestoreError::Malformed(0));
        }
        self.chain = footer.checksum.get();
        self.id_max = self.id_max.max(footer.id_max.get());
        self.shape.add(chapter.name());
        self.tiers[chapter.name().tier].push(chapter);
        Ok(())
    }

    /// Takes over a chapter that is here already.
    ///
    /// # Errors
    /// If it is another one.
    pub(crate) fn replace(&mut self, chapter: Chapter) -> Result<(), RestoreError> {
        let name = chapter.name();
        let place = self.tiers[name.tier].get_mut(name.ordinal as usize);
        let place = place.filter(|one| one.footer() == chapter.footer());
        *place.ok_or(RestoreError::Malformed(0))? = chapter;
        Ok(())
    }

    /// A chapter of a tier.
    pub(crate) fn chapter(&self, name: Name) -> &Chapter {
        &self.tiers[name.tier][name.ordinal as usize]
    }

    /// The chapter of tier 0 that has a row, and the row's place in it.
    #[inline]
    fn home(&self, row: usize) -> (&Chapter, usize) {
        let row_bits = self.row_bits.unwrap_or(0);
        (&self.tiers[0][row >> row_bits], row & ((1 << row_bits) - 1))
    }

    /// A row that is in a chapter.
    #[inline]
    pub(crate) fn row(&self, row: usize) -> &EventRow {
        let (chapter, place) = self.home(row);
        chapter.row(place)
    }

    /// The balances after a row that is in a chapter.
    pub(crate) fn balances(&self, row: usize) -> Both {
        let (chapter, place) = self.home(row);
        chapter.balances(place)
    }

    /// The first shelved row whose timestamp is not before a moment.
    pub(crate) fn first_since(&self, moment: u64) -> usize {
        let chapters = &self.tiers[0];
        let chapter =
            chapters.partition_point(|chapter| chapter.footer().timestamp_last.get() < moment);
        let Some(found) = chapters.get(chapter) else {
            return self.rows();
        };
        let range = found.rows();
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.row(middle).fields().timestamp.get() < moment {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The chapters to ask, in order of their rows.
    fn asked(&self) -> impl DoubleEndedIterator<Item = &Chapter> {
        (0..TIERS).rev().flat_map(|tier| {
            let covered = self.tiers.get(tier + 1).map_or(0, Vec::len) << FANOUT_BITS;
            &self.tiers[tier][covered..]
        })
    }

    /// The row of an id, if a chapter has it among the rows before `end`, and perhaps some after.
    pub(crate) fn find_id(&self, id: u128, end: usize) -> Option<usize> {
        if id > self.id_max || end == 0 {
            return None;
        }
        let id_of = |row: usize| self.row(row).fields().id.get();
        self.may_have(id, end)
            .find_map(|chapter| chapter.find_id(id, id_of))
    }

    /// The chapters to ask for an id, newest first.
    fn may_have(&self, id: u128, end: usize) -> impl Iterator<Item = &Chapter> {
        self.asked()
            .rev()
            .filter(move |chapter| chapter.rows().start < end && chapter.spans(id))
    }

    /// Hints that an id will be looked for, in two steps: what the first one fetches, the second one reads.
    #[inline]
    pub(crate) fn prefetch_id(&self, id: u128, end: usize, step: Fetch) {
        if id > self.id_max || end == 0 {
            return;
        }
        let key = Key::new(Field::Id, id);
        for chapter in self.may_have(id, end) {
            match step {
                Fetch::Group => chapter.ids().prefetch_group(key),
                Fetch::Entries => chapter.ids().prefetch_entries(key),
            }
        }
    }

    /// Rows that a chapter above tier 0 indexes: all before this number.
    pub(crate) fn merged_rows(&self) -> usize {
        self.tiers[1].last().map_or(0, |chapter| chapter.rows().end)
    }

    /// Visits the rows of a range that may have the key, or all of them without one, in order or in reverse, until
    /// told to stop. A row may be visited twice in succession.
    pub(crate) fn visit(
        &self,
        range: Range<usize>,
        key: Option<Key>,
        reversed: bool,
        mut visit: impl FnMut(usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(key) = key else {
            return each(range, reversed, visit);
        };
        let mut of_chapter = |chapter: &Chapter| {
            let all = chapter.rows();
            let (start, end) = (range.start.max(all.start), range.end.min(all.end));
            if start >= end {
                return ControlFlow::Continue(());
            }
            let places = (start - all.start) as u32..(end - all.start) as u32;
            let index = chapter.fields();
            let rows = index.find(key, places).iter();
            let rows = rows.map(|entry| all.start + index.place(entry.get()) as usize);
            each(rows, reversed, &mut visit)
        };
        if reversed {
            self.asked().rev().try_for_each(of_chapter)
        } else {
            self.asked().try_for_each(&mut of_chapter)
        }
    }

    /// Bytes in memory for all of it; the chapters' own bytes are in files.
    pub(crate) fn bytes(&self) -> usize {
        self.tiers
            .iter()
            .map(|tier| tier.capacity() * size_of::<Chapter>())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Shape, number};

    #[test]
    fn numbers_count_chapters_in_the_order_of_their_making() {
        let mut shape = Shape::default();
        for expected in 0..40_000 {
            let name = shape.next();
            assert_eq!(number(name), expected, "{name:?}");
            shape.add(name);
        }
        assert_eq!(shape.count(), 40_000);
        assert_eq!(Shape::first(40_000, usize::MAX >> 8, Some(4)), Some(shape));
        assert_eq!(Shape::first(3, 40, Some(4)), None);
        let rows = shape.rows(Some(4));
        let finished = Shape::finished(rows, Some(4));
        assert!(finished == shape || finished.count() > shape.count());
        assert_eq!(Shape::finished(rows, None).count(), 0);
    }
}

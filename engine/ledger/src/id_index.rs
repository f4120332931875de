//! Finds the row of a 128-bit id among hundreds of millions, with one cache line of work and no pauses.
//!
//! The index keeps 8 bytes for each row: a 31-bit tag of the id's hash, and the row's number. The id
//! itself stands in the row; who asks supplies the comparison. Eight entries share a bucket of one
//! cache line; a full bucket overflows into its neighbour.
//!
//! A single table of that size could only grow in one long stroke. So the index is divided into parts by
//! the top of the hash; each part is small and doubles by itself, in tens of microseconds, and the parts'
//! thresholds are spread over 50 to 80 % load, so that they double one after another.
//!
//! - Entries of a bucket are packed to the left: a bucket has room if and only if its last tag is 0.
//! - An entry whose home is bucket h stands in bucket b >= h only if h to b - 1 are full.
//! - The layout depends on the order of insertion, but no answer does: only presence is observable.
//! - Memory follows the number of entries, at 10 to 20 bytes each.

use crate::prefetch::prefetch;

/// Entries in a bucket; 4-byte tags and rows make it a cache line.
const WIDTH: usize = 8;

/// Rows that one part is meant to hold when the table is at its limit.
const PART_ROWS: usize = 16_384;

/// The most parts: beyond it parts grow larger instead.
const PARTS_MAX: usize = 1 << 14;

/// Sixty-four mixed bits of an id: a fixed function, equal on every machine, for ever.
#[inline]
#[must_use]
pub fn id_hash(id: u128) -> u64 {
    const K0: u64 = 0x9E37_79B9_7F4A_7C15;
    const K1: u64 = 0xC2B2_AE3D_27D4_EB4F;
    const K2: u64 = 0xD6E8_FEB8_6659_FD93;
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let (low, high) = (id as u64, (id >> 64) as u64);
    let folded = fold(low ^ K0, high ^ K1);
    fold(folded ^ low.rotate_left(32), K2)
}

/// The 128-bit product of two words, its halves laid over each other.
#[inline]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let folded = (product as u64) ^ ((product >> 64) as u64);
    folded
}

/// Hashes ids for one ledger's indexes.
///
/// Who knows the hash function can choose ids that meet in one bucket. A seed that clients do not know
/// takes that away; since the layout of an index shows nowhere, every replica may have its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdHasher {
    seed: u128,
}

impl IdHasher {
    pub(crate) const fn new(seed: u128) -> Self {
        Self { seed }
    }

    #[inline]
    pub(crate) fn hash(self, id: u128) -> u64 {
        id_hash(id ^ self.seed)
    }
}

/// Eight tags and their rows: one cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    /// 0 = free; else 31 bits of the hash and a 1.
    tags: [u32; WIDTH],
    rows: [u32; WIDTH],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    const EMPTY: Self = Self {
        tags: [0; WIDTH],
        rows: [0; WIDTH],
    };

    /// A bit for each entry that has this tag.
    #[inline]
    fn matches(&self, tag: u32) -> u32 {
        let mut mask = 0;
        for (place, other) in self.tags.iter().enumerate() {
            mask |= u32::from(*other == tag) << place;
        }
        mask
    }

    #[inline]
    fn full(&self) -> bool {
        self.tags[WIDTH - 1] != 0
    }

    #[inline]
    fn len(&self) -> usize {
        self.tags.iter().map(|tag| usize::from(*tag != 0)).sum()
    }
}

/// A small hash table that doubles by itself.
struct Part {
    buckets: Box<[Bucket]>,
    entries: usize,
    /// Doubles before it holds more than this.
    entries_max: usize,
    /// Load at which it doubles, in 1/1024.
    load: usize,
}

impl Part {
    fn new(load: usize) -> Self {
        Self {
            buckets: Box::new([Bucket::EMPTY]),
            entries: 0,
            entries_max: WIDTH * load / 1024,
            load,
        }
    }

    /// Where the search for a tag begins. The tag's lowest bit is always set, so it chooses nothing.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        (tag >> 1) as usize & (self.buckets.len() - 1)
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        (bucket + 1) & (self.buckets.len() - 1)
    }

    fn place(&mut self, tag: u32, row: u32) {
        let mut at = self.home(tag);
        while self.buckets[at].full() {
            at = self.next(at);
        }
        let bucket = &mut self.buckets[at];
        let free = bucket.len();
        bucket.tags[free] = tag;
        bucket.rows[free] = row;
    }

    #[cold]
    fn double(&mut self) {
        let wider = vec![Bucket::EMPTY; self.buckets.len() * 2].into_boxed_slice();
        let old = core::mem::replace(&mut self.buckets, wider);
        self.entries_max = self.buckets.len() * WIDTH * self.load / 1024;
        for bucket in &old {
            for (tag, row) in bucket.tags.iter().zip(&bucket.rows) {
                if *tag != 0 {
                    self.place(*tag, *row);
                }
            }
        }
    }

    /// Takes entry `place` out of bucket `hole` and pulls an overflowed entry back where that is due.
    fn take(&mut self, mut hole: usize, place: usize) {
        let mut was_full = self.buckets[hole].full();
        self.remove_at(hole, place);
        let mut at = hole;
        while was_full {
            at = self.next(at);
            was_full = self.buckets[at].full();
            let distance =
                |from: usize, to: usize| to.wrapping_sub(from) & (self.buckets.len() - 1);
            let strayed = (0..self.buckets[at].len()).find(|i| {
                // It may move back if its home is not after the hole.
                let home = self.home(self.buckets[at].tags[*i]);
                distance(home, at) >= distance(hole, at)
            });
            if let Some(place) = strayed {
                let (tag, row) = (self.buckets[at].tags[place], self.buckets[at].rows[place]);
                let free = self.buckets[hole].len();
                self.buckets[hole].tags[free] = tag;
                self.buckets[hole].rows[free] = row;
                self.remove_at(at, place);
                hole = at;
            }
        }
    }

    /// Removes an entry and keeps the rest packed to the left.
    fn remove_at(&mut self, at: usize, place: usize) {
        let bucket = &mut self.buckets[at];
        let last = bucket.len() - 1;
        bucket.tags[place] = bucket.tags[last];
        bucket.rows[place] = bucket.rows[last];
        bucket.tags[last] = 0;
        bucket.rows[last] = 0;
    }
}

/// From the hash of an id to the number of its row.
pub(crate) struct IdIndex {
    /// Empty until the first row comes, so that an index that nobody uses costs nothing.
    parts: Vec<Part>,
    rows_max: usize,
}

impl IdIndex {
    /// An index meant for up to `rows_max` rows.
    pub(crate) fn new(rows_max: usize) -> Self {
        Self {
            parts: Vec::new(),
            rows_max,
        }
    }

    #[cold]
    fn divide(&mut self) {
        let count = (self.rows_max / PART_ROWS)
            .clamp(1, PARTS_MAX)
            .next_power_of_two();
        // From 512/1024 to 819/1024 in equal steps; a part of one bucket then always keeps room.
        self.parts
            .extend((0..count).map(|part| Part::new(512 + part * 307 / count)));
    }

    /// The top half of the hash, scaled to the number of parts.
    #[inline]
    fn part(&self, hash: u64) -> usize {
        (((hash >> 32) * self.parts.len() as u64) >> 32) as usize
    }

    #[inline]
    fn tag(hash: u64) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        let tag = hash as u32 | 1;
        tag
    }

    /// Hints that this hash will be looked for soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(part) = self.parts.get(self.part(hash)) {
            prefetch(&part.buckets[part.home(Self::tag(hash))]);
        }
    }

    /// The row with this hash of which `is_it` says yes.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let part = self.parts.get(self.part(hash))?;
        let tag = Self::tag(hash);
        let mut at = part.home(tag);
        loop {
            let bucket = &part.buckets[at];
            let mut matches = bucket.matches(tag);
            while matches != 0 {
                let row = bucket.rows[matches.trailing_zeros() as usize];
                if is_it(row) {
                    return Some(row);
                }
                matches &= matches - 1;
            }
            if !bucket.full() {
                return None;
            }
            at = part.next(at);
        }
    }

    /// Enters a row. The caller has made sure that its id is not there yet.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, row: u32) {
        if self.parts.is_empty() {
            self.divide();
        }
        let at = self.part(hash);
        let part = &mut self.parts[at];
        if part.entries == part.entries_max {
            part.double();
        }
        part.place(Self::tag(hash), row);
        part.entries += 1;
    }

    /// Takes a row out again. The caller has made sure that it is there.
    pub(crate) fn remove(&mut self, hash: u64, row: u32) {
        let at = self.part(hash);
        let part = &mut self.parts[at];
        let tag = Self::tag(hash);
        let mut bucket = part.home(tag);
        loop {
            let entries = &part.buckets[bucket];
            let found = (0..WIDTH).find(|i| entries.tags[*i] == tag && entries.rows[*i] == row);
            if let Some(place) = found {
                part.take(bucket, place);
                part.entries -= 1;
                return;
            }
            assert!(entries.full(), "a row to remove is in the index");
            bucket = part.next(bucket);
        }
    }

    /// Bytes that the index occupies.
    pub(crate) fn bytes(&self) -> usize {
        let buckets: usize = self.parts.iter().map(|part| part.buckets.len()).sum();
        buckets * size_of::<Bucket>() + self.parts.len() * size_of::<Part>()
    }
}

#[cfg(test)]
mod tests {
    use super::{IdIndex, id_hash};
    use std::collections::BTreeMap;

    /// Drives an index and a map with the same steps; few hash values, so that buckets overflow.
    fn drive(rows_max: usize, steps: u32, hash_of: impl Fn(u32) -> u64) {
        let mut index = IdIndex::new(rows_max);
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut dice = 0x1234_5678_u64;
        for step in 0..steps {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let row = (dice >> 40) as u32 % (steps / 3);
            let hash = hash_of(row);
            assert_eq!(
                index.find(hash, |r| r == row).is_some(),
                model.contains_key(&row),
                "step {step}"
            );
            if model.remove(&row).is_some() {
                index.remove(hash, row);
            } else {
                index.insert(hash, row);
                model.insert(row, hash);
            }
        }
        for row in 0..steps / 3 {
            let found = index.find(hash_of(row), |r| r == row);
            assert_eq!(found, model.contains_key(&row).then_some(row));
        }
    }

    #[test]
    fn agrees_with_a_map_when_hashes_spread() {
        drive(1_000_000, 60_000, |row| id_hash(u128::from(row)));
    }

    #[test]
    fn agrees_with_a_map_when_hashes_collide() {
        // 97 homes, and only 13 tags: nearly every bucket overflows.
        drive(1_000, 3_000, |row| {
            u64::from(row % 97) << 57 | u64::from(row % 13) << 1
        });
        drive(1_000, 300, |_| 42);
    }

    #[test]
    fn spreads_ids_that_count_up_and_ids_of_one_millisecond() {
        for base in [1_u128, 1 << 64, 0x0193_1234_5678_u128 << 80] {
            let mut index = IdIndex::new(1_000_000);
            for n in 0..200_000_u32 {
                index.insert(id_hash(base + u128::from(n)), n);
            }
            let fullest = index.parts.iter().map(|p| p.entries).max().unwrap_or(0);
            let mean = 200_000 / index.parts.len();
            assert!(
                fullest < mean + mean / 8,
                "fullest part holds {fullest}, the mean is {mean}"
            );
        }
    }
}

//! An index within a chapter: from a 30-bit hash to places, sorted, read where it lies.
//!
//! An entry is 32 bits: as many of them as a stretch of rows needs tell the place, the others the end of the hash. Its
//! beginning tells the group, so entries of one group stand together, sorted, and a slice of groups carries a table
//! of where each begins.
//!
//! ```text
//! slice 0 | slice 1 | ...      each: where its groups begin (u32 for each, and the end), then its entries (u32)
//! directory                    where each slice begins (u64 for each, and the end)
//! ```
//!
//! - The same entries give the same bytes. Slices are made one by one, so that the work between two is small.
//! - A lookup of what is not there reads the directory, two numbers and mostly no entry.
//! - Nothing that bytes say leads outside of them: what makes no sense is not found.

use core::ops::Range;

use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};

use crate::find_blocks::Key;
use crate::prefetch::prefetch;

/// Bits of a hash.
pub(crate) const HASH_BITS: u32 = 30;

/// Groups of a slice, at most.
const SLICE_GROUPS: usize = 1 << 10;

/// Places that entries may move by for each of them, on the mean, once they were dealt.
const MOVES_MAX: usize = 8;

/// Bits after a group's that entries are dealt by before they are sorted.
const DEAL_BITS: u32 = 3;

/// The shape of an index: how many bits tell the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The stretch has two to this power rows; from 2 to 28.
    pub(crate) place_bits: u32,
}

impl Shape {
    const fn rest_bits(self) -> u32 {
        u32::BITS - self.place_bits
    }

    const fn groups(self) -> usize {
        1 << (HASH_BITS - self.rest_bits())
    }

    const fn slice_groups(self) -> usize {
        if self.groups() < SLICE_GROUPS {
            self.groups()
        } else {
            SLICE_GROUPS
        }
    }

    /// Slices of an index.
    pub(crate) const fn slices(self) -> usize {
        self.groups() / self.slice_groups()
    }

    const fn group(self, hash: u32) -> usize {
        (hash >> self.rest_bits()) as usize
    }

    /// The slice that a hash belongs to.
    #[inline]
    pub(crate) const fn slice_of(self, hash: u32) -> usize {
        self.group(hash) / self.slice_groups()
    }

    /// The hashes of a slice.
    pub(crate) const fn hashes(self, slice: usize) -> Range<u32> {
        let width = (self.slice_groups() as u32) << self.rest_bits();
        slice as u32 * width..(slice as u32 + 1) * width
    }

    const fn entry(self, hash: u32, place: u32) -> u32 {
        // What of the hash does not fit beside the place is told by the group.
        hash << self.place_bits | place
    }

    /// Sorts the entries of a slice, each a hash above a place in one number. Dealing them by the next bits of their hashes
    /// first leaves two or three of each to sort, each beside its place; `spare` is room for as many.
    pub(crate) fn sort(self, slice: usize, entries: &mut Vec<u64>, spare: &mut Vec<u64>) {
        let shift = self.rest_bits() - DEAL_BITS;
        let first = (slice * self.slice_groups()) << DEAL_BITS;
        let heap = |entry: u64| (hash_of(entry) >> shift) as usize - first;
        let mut next = [0_u32; SLICE_GROUPS << DEAL_BITS];
        for entry in entries.iter() {
            next[heap(*entry)] += 1;
        }
        let mut sum = 0;
        for count in &mut next {
            (*count, sum) = (sum, sum + *count);
        }
        spare.clear();
        spare.resize(entries.len(), 0);
        for entry in entries.iter() {
            let place = &mut next[heap(*entry)];
            spare[*place as usize] = *entry;
            *place += 1;
        }
        core::mem::swap(entries, spare);
        if !insert(entries) {
            entries.sort_unstable();
        }
    }

    /// Writes a slice of entries, sorted.
    pub(crate) fn write_slice(self, slice: usize, entries: &[u64], out: &mut Vec<u8>) {
        out.reserve((self.slice_groups() + 1 + entries.len()) * size_of::<u32>());
        let first = slice * self.slice_groups();
        let mut next = entries
            .iter()
            .map(|entry| self.group(hash_of(*entry)))
            .peekable();
        let mut start = 0_u32;
        for group in first..first + self.slice_groups() {
            out.extend_from_slice(&start.to_le_bytes());
            while next.next_if_eq(&group).is_some() {
                start += 1;
            }
        }
        out.extend_from_slice(&start.to_le_bytes());
        for entry in entries {
            let place = *entry as u32;
            out.extend_from_slice(&self.entry(hash_of(*entry), place).to_le_bytes());
        }
    }
}

/// Sorts what is nearly sorted; false if it is not, and then it is left in some order.
fn insert(entries: &mut [u64]) -> bool {
    // Of two or three of each heap one has to move by one place.
    let mut left = entries.len() * MOVES_MAX;
    for next in 1..entries.len() {
        let entry = entries[next];
        let mut place = next;
        while place > 0 && entries[place - 1] > entry {
            entries[place] = entries[place - 1];
            place -= 1;
        }
        entries[place] = entry;
        left = left.saturating_sub(next - place);
        if left == 0 {
            return false;
        }
    }
    true
}

/// A hash above a place, in one number that sorts by both.
#[inline]
pub(crate) const fn joined(hash: u32, place: u32) -> u64 {
    (hash as u64) << 32 | place as u64
}

/// The hash of such a number.
#[inline]
pub(crate) const fn hash_of(joined: u64) -> u32 {
    (joined >> 32) as u32
}

/// Writes the directory of slices that begin at these offsets.
pub(crate) fn write_directory(starts: &[u64], out: &mut Vec<u8>) {
    for start in starts {
        out.extend_from_slice(&start.to_le_bytes());
    }
}

/// An index, read in place.
#[derive(Clone, Copy)]
pub(crate) struct HashIndex<'a> {
    pub(crate) shape: Shape,
    /// Slices and directory.
    pub(crate) bytes: &'a [u8],
}

impl<'a> HashIndex<'a> {
    /// The slice of a group: where its groups begin, and its entries.
    fn slice(&self, group: usize) -> Option<&'a [U32]> {
        let shape = self.shape;
        let directory_bytes = (shape.slices() + 1) * size_of::<u64>();
        let slices_bytes = self.bytes.len().checked_sub(directory_bytes)?;
        let (slices, directory) = self.bytes.split_at(slices_bytes);
        let directory = <[U64]>::ref_from_bytes(directory).ok()?;
        let slice = group / shape.slice_groups();
        let offset = |slice: usize| usize::try_from(directory.get(slice)?.get()).ok();
        let slice_bytes = slices.get(offset(slice)?..offset(slice + 1)?)?;
        <[U32]>::ref_from_bytes(slice_bytes).ok()
    }

    /// The entries of a group.
    fn entries(&self, group: usize) -> Option<&'a [U32]> {
        let shape = self.shape;
        let numbers = self.slice(group)?;
        let in_slice = group % shape.slice_groups();
        let start = numbers.get(in_slice)?.get() as usize;
        let end = numbers.get(in_slice + 1)?.get() as usize;
        numbers.get(shape.slice_groups() + 1..)?.get(start..end)
    }

    /// Hints that a key will be looked for: fetches where its group begins.
    #[inline]
    pub(crate) fn prefetch_group(&self, key: Key) {
        let group = self.shape.group(key.hash());
        let numbers = self.slice(group);
        if let Some(start) = numbers.and_then(|all| all.get(group % self.shape.slice_groups())) {
            prefetch(start);
        }
    }

    /// Hints the same once that is here: fetches the group.
    #[inline]
    pub(crate) fn prefetch_entries(&self, key: Key) {
        let entries = self.entries(self.shape.group(key.hash()));
        if let Some(first) = entries.and_then(<[U32]>::first) {
            prefetch(first);
        }
    }

    /// The entries of a key within a range of places, in their order. `Field::Id` knows its own order: its entries
    /// are asked for with all places.
    pub(crate) fn find(&self, key: Key, places: Range<u32>) -> &'a [U32] {
        let hash = key.hash();
        let Some(entries) = self.entries(self.shape.group(hash)) else {
            return &[];
        };
        let whole = (1_u64 << self.shape.place_bits) as u32;
        let base = u64::from(self.shape.entry(hash, 0));
        let bound = |place: u32| base + u64::from(place.min(whole));
        let (low, high) = (bound(places.start), bound(places.end));
        let start = entries.partition_point(|entry| u64::from(entry.get()) < low);
        let end = entries.partition_point(|entry| u64::from(entry.get()) < high);
        entries.get(start..end).unwrap_or(&[])
    }

    /// The place that an entry tells.
    #[inline]
    pub(crate) const fn place(&self, entry: u32) -> u32 {
        entry & ((1 << self.shape.place_bits) - 1)
    }

    /// Goes through the entries of a range of hashes, in order.
    pub(crate) fn each(&self, hashes: Range<u32>, mut visit: impl FnMut(u32, u32)) {
        if hashes.is_empty() {
            return;
        }
        let shape = self.shape;
        for group in shape.group(hashes.start)..=shape.group(hashes.end - 1) {
            for entry in self.entries(group).unwrap_or(&[]) {
                let entry = entry.get();
                let hash = (group as u32) << shape.rest_bits() | entry >> shape.place_bits;
                if hashes.contains(&hash) {
                    visit(hash, self.place(entry));
                }
            }
        }
    }
}

/// All of an index in one stroke, for tests and for what is small.
#[cfg(test)]
pub(crate) fn write_all(shape: Shape, entries: Vec<u64>) -> Vec<u8> {
    let (mut out, mut spare) = (Vec::new(), Vec::new());
    let mut starts = vec![0_u64];
    for slice in 0..shape.slices() {
        let hashes = shape.hashes(slice);
        let mut of_slice: Vec<u64> = entries
            .iter()
            .copied()
            .filter(|entry| hashes.contains(&hash_of(*entry)))
            .collect();
        let mut sorted = of_slice.clone();
        sorted.sort_unstable();
        shape.sort(slice, &mut of_slice, &mut spare);
        assert_eq!(of_slice, sorted, "slice {slice}");
        shape.write_slice(slice, &of_slice, &mut out);
        starts.push(out.len() as u64);
    }
    write_directory(&starts, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::{HashIndex, Shape, joined, write_all};
    use crate::find_blocks::{Field, Key};

    fn key(n: u64) -> Key {
        Key::new(Field::Account, u128::from(n))
    }

    #[test]
    fn every_entry_is_found_in_order_and_no_other() {
        for place_bits in [4, 8, 16] {
            let shape = Shape { place_bits };
            let rows = 1_u32 << place_bits;
            // A tenth of the rows share one key.
            let of = |place: u32| u64::from(if place % 10 == 3 { 7 } else { place / 2 });
            let entries = (0..rows).map(|place| joined(key(of(place)).hash(), place));
            let bytes = write_all(shape, entries.collect());
            let index = HashIndex {
                shape,
                bytes: &bytes,
            };
            for n in 0..u64::from(rows) / 2 + 40 {
                let (from, to) = (n as u32 / 3, rows - n as u32 / 5);
                let expected: Vec<u32> = (from..to).filter(|place| of(*place) == n).collect();
                let found = index.find(key(n), from..to);
                let found: Vec<u32> = found.iter().map(|e| index.place(e.get())).collect();
                assert_eq!(found, expected, "key {n} of {rows}");
            }
            let mut all = Vec::new();
            for slice in 0..shape.slices() {
                index.each(shape.hashes(slice), |hash, place| {
                    all.push(joined(hash, place))
                });
            }
            assert_eq!(all.len(), rows as usize);
            assert!(all.is_sorted());
        }
    }

    #[test]
    fn entries_that_fall_and_all_meet_in_one_heap_are_sorted_too() {
        let shape = Shape { place_bits: 16 };
        for count in [2, 20, 8_000] {
            let entries = (0..count).map(|place| joined(8_000 - place, place));
            let mut entries: Vec<u64> = entries.collect();
            assert_eq!(super::insert(&mut entries.clone()), count < 20, "{count}");
            let mut sorted = entries.clone();
            sorted.sort_unstable();
            shape.sort(0, &mut entries, &mut Vec::new());
            assert!(entries == sorted, "{count}");
        }
    }

    #[test]
    fn damaged_bytes_lead_nowhere_outside() {
        let shape = Shape { place_bits: 6 };
        let entries = (0..64).map(|place| joined(key(u64::from(place)).hash(), place));
        let bytes = write_all(shape, entries.collect());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x80;
            for cut in [at, damaged.len()] {
                let index = HashIndex {
                    shape,
                    bytes: &damaged[..cut],
                };
                for n in 0..64 {
                    let _ = index.find(key(n), 0..64);
                }
                index.each(0..1 << 30, |_, _| {});
            }
        }
    }
}

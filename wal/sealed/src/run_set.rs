//! The runs of one index together: lookups over all of them, and which of them to merge next.
//!
//! - Runs stand in order of age, the oldest first; a merge takes neighbours and leaves its run in their place.
//! - A key above all keys of all runs is new after one comparison; so ids that rise with time cost nearly nothing.
//! - Which runs to merge depends on their sizes alone, so every replica merges the same.

use core::ops::Range;
use std::sync::Arc;

use crate::damage::Damage;
use crate::key::Key;
use crate::run::read::{Direction, RunReader};

/// Which runs are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiers {
    /// So many neighbours of one tier become one run; at least 2.
    pub fan: usize,
    /// Entries of the runs of the first tier; those of the next are `fan` times as many, and so on.
    pub first_entries: u64,
    /// A merge that would have more entries is not made.
    pub entries_max: u64,
}

impl Tiers {
    /// Eight runs become one, from 64 Ki entries up to 2^32.
    pub const DEFAULT: Self = Self {
        fan: 8,
        first_entries: 1 << 16,
        entries_max: 1 << 32,
    };

    /// The runs to merge next, given the entries of all runs from the oldest on; `None` when all is in order.
    ///
    /// A run counts as large as the largest run that is younger than it, so that a small old run joins its younger
    /// neighbours. In order there are then fewer than `fan` runs of each tier, and an entry is written once a tier.
    #[must_use]
    pub fn plan(&self, entries: &[u64]) -> Option<Range<usize>> {
        let fan = self.fan.max(2);
        let mut tiers: Vec<u32> = entries.iter().map(|entries| self.tier(*entries)).collect();
        for older in (1..tiers.len()).rev() {
            tiers[older - 1] = tiers[older - 1].max(tiers[older]);
        }
        // Tiers fall from the oldest to the youngest: each is one stretch. The smallest merge comes first.
        let mut end = tiers.len();
        while end > 0 {
            let start = tiers.partition_point(|tier| *tier > tiers[end - 1]);
            let chosen = start..start + fan;
            let sum = entries[start..chosen.end.min(end)]
                .iter()
                .fold(0_u64, |sum, entries| sum.saturating_add(*entries));
            if chosen.end <= end && sum <= self.entries_max {
                return Some(chosen);
            }
            end = start;
        }
        None
    }

    fn tier(&self, entries: u64) -> u32 {
        let times = entries / self.first_entries.max(1);
        times
            .checked_ilog(self.fan.max(2) as u64)
            .map_or(0, |log| log + 1)
    }
}

/// All runs of one index, from the oldest on.
pub struct RunSet<K: Key, B> {
    runs: Vec<Arc<RunReader<K, B>>>,
    /// Least and greatest key of each run.
    ranges: Vec<(K, K)>,
    /// The greatest key of all runs.
    greatest: Option<K>,
}

impl<K: Key, B: AsRef<[u8]>> Default for RunSet<K, B> {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            ranges: Vec::new(),
            greatest: None,
        }
    }
}

impl<K: Key, B: AsRef<[u8]>> RunSet<K, B> {
    /// An index without runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the youngest run.
    pub fn push(&mut self, run: Arc<RunReader<K, B>>) {
        self.replace(self.runs.len()..self.runs.len(), Some(run));
    }

    /// Puts a run, or nothing, in the place of others; a range outside of the runs replaces those inside.
    pub fn replace(&mut self, range: Range<usize>, run: Option<Arc<RunReader<K, B>>>) {
        let end = range.end.min(self.runs.len());
        self.runs.splice(range.start.min(end)..end, run);
        self.ranges = self.runs.iter().map(|run| run.key_range()).collect();
        self.greatest = self.ranges.iter().map(|range| range.1).max();
    }

    /// The runs, from the oldest on.
    #[must_use]
    pub fn runs(&self) -> &[Arc<RunReader<K, B>>] {
        &self.runs
    }

    /// Entries of all runs.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.runs.iter().map(|run| run.entries()).sum()
    }

    /// The runs to merge next; see [`Tiers::plan`].
    #[must_use]
    pub fn plan(&self, tiers: &Tiers) -> Option<Range<usize>> {
        let entries: Vec<u64> = self.runs.iter().map(|run| run.entries()).collect();
        tiers.plan(&entries)
    }

    /// Whether a key may be in one of the runs. "No" is certain; reads no block.
    #[inline]
    #[must_use]
    pub fn may_contain(&self, key: K) -> bool {
        if self.greatest.is_none_or(|greatest| key > greatest) {
            return false;
        }
        let hash = key.hash();
        let mut runs = self.runs.iter().zip(&self.ranges);
        runs.any(|(run, range)| range.0 <= key && key <= range.1 && run.may_contain_hash(key, hash))
    }

    /// Appends to `maybe` the numbers of those keys that may be in one of the runs, in order; all others are
    /// certainly new. Reads no block. The way to check a batch: run after run, so that filters stay in the cache.
    pub fn sift(&self, keys: &[K], maybe: &mut Vec<usize>) {
        for (nth, keys) in keys.chunks(64).enumerate() {
            let mut hits = 0_u64;
            let greatest = self.greatest;
            let below = |key: &K| greatest.is_some_and(|greatest| *key <= greatest);
            if !keys.iter().any(below) {
                continue;
            }
            let mut hashes = [0; 64];
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = key.hash();
            }
            for (run, range) in self.runs.iter().zip(&self.ranges) {
                let inside = keys
                    .iter()
                    .enumerate()
                    .filter(|(_, key)| range.0 <= **key && **key <= range.1)
                    .fold(0_u64, |inside, (place, _)| inside | 1 << place);
                hits |= run.sift(keys, &hashes, inside);
            }
            while hits != 0 {
                maybe.push(nth * 64 + hits.trailing_zeros() as usize);
                hits &= hits - 1;
            }
        }
    }

    /// The value of a key, the least one of all runs: what a merge of them would answer.
    ///
    /// # Errors
    /// The number of the run whose block is damaged, and the damage.
    pub fn get(&self, key: K) -> Result<Option<u64>, (usize, Damage)> {
        let mut least = None;
        if self.greatest.is_none_or(|greatest| key > greatest) {
            return Ok(least);
        }
        for (nth, run) in self.runs.iter().enumerate() {
            let value = run.get(key).map_err(|damage| (nth, damage))?;
            least = least.into_iter().chain(value).min();
        }
        Ok(least)
    }

    /// Appends to `out` at most `limit` values of a key over all runs, each value once, from `from` on in the given
    /// direction.
    ///
    /// # Errors
    /// The number of the run whose block is damaged, and the damage; `out` is then as it was.
    pub fn range(
        &self,
        key: K,
        from: u64,
        direction: Direction,
        limit: usize,
        out: &mut Vec<u64>,
    ) -> Result<(), (usize, Damage)> {
        let start = out.len();
        let mut found: Vec<u64> = Vec::new();
        for (nth, run) in self.runs.iter().enumerate() {
            let room = found.len().saturating_add(limit);
            run.range(key, from, direction, room, &mut found)
                .map_err(|damage| (nth, damage))?;
            let before = found.is_sorted_by(|a, b| match direction {
                Direction::Ascending => a < b,
                Direction::Descending => a > b,
            });
            if !before {
                match direction {
                    Direction::Ascending => found.sort_unstable(),
                    Direction::Descending => found.sort_unstable_by(|a, b| b.cmp(a)),
                }
                found.dedup();
            }
            found.truncate(limit);
        }
        out.extend(found);
        debug_assert!(out.len() - start <= limit, "no more than was asked for");
        Ok(())
    }
}

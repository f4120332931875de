//! Finds the rows of ids that rise over time without a hash table: almost nothing to do for a new one.
//!
//! Clients are asked to choose ids that rise with time. Then a new id is above all that came before,
//! and one comparison proves that it is new; recording it is one word at the end of a list. Several
//! clients interleave, so a few such lists ([`RUNS`]) stand side by side. What fits no list is a stray
//! and goes to the hash index; so random ids cost what a hash table costs, and rising ids nothing near
//! it.
//!
//! - A run's ids rise strictly; of every sixteenth the id itself is kept, the others are read from
//!   their rows.
//! - An id is appended to the run whose last id is nearest below it, so that one huge id spoils one run
//!   only.
//! - A run that stays short while strays are many is dissolved into strays, and its place used anew.
//! - Where an id is recorded shows in no answer.
//! - A search begins where the last one of its run ended: a client that lags behind another one asks for one id after the
//!   other, and each lies in the same gap of the other's run, or in the next one.

use core::cell::Cell;

use crate::gap::Gap;
use crate::rows::Rows;

/// Runs side by side.
const RUNS: usize = 4;

/// Of so many ids one is sampled.
const SAMPLED: usize = 16;

/// After so many strays in a row a run no longer than this is dissolved.
const PATIENCE: usize = 4_096;

/// Rows of a chunk: 64 KiB.
const CHUNK: usize = 1 << 14;

/// Samples of a chunk: as many as a chunk of rows has.
const SAMPLES: usize = CHUNK / SAMPLED;

/// Gaps that a search steps through before it begins anew.
const STEPS: usize = 4;

/// A list of rows whose ids rise.
struct Run {
    rows: Rows<u32, CHUNK>,
    samples: Rows<u128, SAMPLES>,
    first: u128,
    last: u128,
    /// Where the last search ended. A hint: its two rows are there.
    gap: Cell<Gap>,
}

impl Run {
    fn new() -> Self {
        Self {
            rows: Rows::new(),
            samples: Rows::new(),
            first: 0,
            last: 0,
            gap: Cell::new(Gap::NONE),
        }
    }

    #[inline]
    fn push(&mut self, id: u128, row: u32) {
        if self.rows.len() == 0 {
            self.first = id;
        }
        if self.rows.len().is_multiple_of(SAMPLED) {
            self.samples.push(id);
        }
        self.rows.push(row);
        self.last = id;
    }

    /// The row of an id, if this run has it.
    #[inline]
    fn find(&self, id: u128, id_of: impl Fn(u32) -> u128) -> Option<u32> {
        if self.rows.last().is_none() || id < self.first || id > self.last {
            return None;
        }
        self.find_near(id, &id_of)
            .unwrap_or_else(|| self.find_anywhere(id, id_of))
    }

    /// Looks in the gap where the last search ended and the next few; none if the id lies in none of them.
    #[inline]
    fn find_near(&self, id: u128, id_of: impl Fn(u32) -> u128) -> Option<Option<u32>> {
        let mut gap = self.gap.get();
        if id < gap.after || gap.before == 0 {
            return None;
        }
        for _ in 0..STEPS {
            if id < gap.before {
                self.gap.set(gap);
                let is_first = id == gap.after;
                return Some(is_first.then(|| *self.rows.get(gap.place)));
            }
            if gap.place + 2 >= self.rows.len() {
                return None;
            }
            gap = Gap {
                place: gap.place + 1,
                after: gap.before,
                before: id_of(*self.rows.get(gap.place + 2)),
            };
        }
        None
    }

    fn find_anywhere(&self, id: u128, id_of: impl Fn(u32) -> u128) -> Option<u32> {
        // Most searches are for what is recent: widen a window from the end, then halve it.
        let (start, end) = (self.samples.start(), self.samples.len());
        let mut width = 1;
        while width < end - start && *self.samples.get(end - width) > id {
            width *= 2;
        }
        let (mut low, mut high) = (end.saturating_sub(width).max(start), end - width / 2);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if *self.samples.get(middle) <= id {
                low = middle;
            } else {
                high = middle;
            }
        }
        let (mut low, mut high) = (low * SAMPLED, self.rows.len().min((low + 1) * SAMPLED));
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if id_of(*self.rows.get(middle)) <= id {
                low = middle;
            } else {
                high = middle;
            }
        }
        let row = *self.rows.get(low);
        let after = id_of(row);
        if low + 1 < self.rows.len() {
            self.gap.set(Gap {
                place: low,
                after,
                before: id_of(*self.rows.get(low + 1)),
            });
        }
        (after == id).then_some(row)
    }

    /// Gives up what names rows before this one, as far as whole chunks of it are left.
    fn release_before(&mut self, row: u32) {
        self.gap.set(Gap::NONE);
        let (mut low, mut high) = (self.rows.start(), self.rows.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if *self.rows.get(middle) < row {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        // A chunk of samples is as long as a chunk of rows, so both go together.
        self.rows.release_before(low);
        self.samples.release_before(low / SAMPLED);
        debug_assert_eq!(self.rows.start(), self.samples.start() * SAMPLED);
        if self.samples.start() > 0 && self.samples.last().is_some() {
            self.first = *self.samples.get(self.samples.start());
        }
    }

    fn pop(&mut self, id_of: impl Fn(u32) -> u128) {
        self.gap.set(Gap::NONE);
        self.rows.pop();
        if self.rows.len().is_multiple_of(SAMPLED) {
            self.samples.pop();
        }
        self.last = self.rows.last().map_or(0, |row| id_of(*row));
    }
}

/// Where an id was recorded, or must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// At the end of a run.
    InRun,
    /// Nowhere: it is for the caller to keep it in the hash index.
    Stray,
}

/// The runs of a table.
pub(crate) struct IdRuns {
    runs: [Run; RUNS],
    /// No recorded id is above this, strays included.
    highest: u128,
    /// Strays since a run last took an id.
    strays: usize,
}

impl IdRuns {
    pub(crate) fn new() -> Self {
        Self {
            runs: core::array::from_fn(|_| Run::new()),
            highest: 0,
            strays: 0,
        }
    }

    /// Is the id above all that were ever recorded, and therefore new?
    #[inline]
    pub(crate) fn surely_new(&self, id: u128) -> bool {
        id > self.highest
    }

    /// The row of an id, if a run has it.
    #[inline]
    pub(crate) fn find(&self, id: u128, id_of: impl Fn(u32) -> u128) -> Option<u32> {
        self.runs.iter().find_map(|run| run.find(id, &id_of))
    }

    /// Names the rows with which searches for ids like this one will compare, after so many more of them.
    #[inline]
    pub(crate) fn coming(&self, id: u128, searches: usize, mut hint: impl FnMut(u32)) {
        for run in &self.runs {
            let place = run.gap.get().place + 1 + searches;
            let is_asked = id >= run.first && id <= run.last;
            if is_asked && place >= run.rows.start() && place < run.rows.len() {
                hint(*run.rows.get(place));
            }
        }
    }

    /// Records a new id, or says that it is a stray.
    #[inline]
    pub(crate) fn record(&mut self, id: u128, row: u32) -> Recorded {
        self.highest = self.highest.max(id);
        let mut nearest: Option<usize> = None;
        for (place, run) in self.runs.iter().enumerate() {
            let nearer = nearest.is_none_or(|other| run.last >= self.runs[other].last);
            if run.last < id && nearer {
                nearest = Some(place);
            }
        }
        match nearest {
            Some(place) => {
                self.runs[place].push(id, row);
                self.strays = 0;
                Recorded::InRun
            }
            None => {
                self.strays += 1;
                Recorded::Stray
            }
        }
    }

    /// The rows of a run to give up, if strays have been many and a run is short. The caller makes
    /// strays of them.
    pub(crate) fn dissolve(&mut self) -> Option<impl Iterator<Item = u32> + use<>> {
        if self.strays < PATIENCE {
            return None;
        }
        self.strays = 0;
        let shortest = self
            .runs
            .iter_mut()
            .min_by_key(|run| run.rows.len() - run.rows.start())?;
        if shortest.rows.len() - shortest.rows.start() > PATIENCE {
            return None;
        }
        let mut run = core::mem::replace(shortest, Run::new());
        Some(core::iter::from_fn(move || run.rows.pop()))
    }

    /// Takes back the id that was recorded last; false if it is a stray.
    pub(crate) fn take_back(&mut self, row: u32, id_of: impl Fn(u32) -> u128) -> bool {
        let run = self
            .runs
            .iter_mut()
            .find(|run| run.rows.last() == Some(&row));
        run.map(|run| run.pop(id_of)).is_some()
    }

    /// No id that was ever recorded is above it.
    pub(crate) fn highest(&self) -> u128 {
        self.highest
    }

    /// Ids up to this one were recorded before, elsewhere.
    pub(crate) fn raise(&mut self, highest: u128) {
        self.highest = self.highest.max(highest);
    }

    /// Gives up what names rows before this one. Some of it may stay.
    pub(crate) fn release_before(&mut self, row: u32) {
        for run in &mut self.runs {
            run.release_before(row);
        }
    }

    /// Bytes that the runs occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.runs
            .iter()
            .map(|run| run.rows.bytes() + run.samples.bytes())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{IdRuns, Recorded};
    use std::collections::BTreeMap;

    /// Records ids, strays in a map beside; then finds each, and none of its neighbours.
    fn check(ids: &[u128]) -> usize {
        let mut runs = IdRuns::new();
        let mut strays: BTreeMap<u128, u32> = BTreeMap::new();
        let id_of = |row: u32| ids[row as usize];
        for (row, id) in ids.iter().enumerate() {
            let row = u32::try_from(row).unwrap();
            assert_eq!(
                runs.find(*id, id_of).or(strays.get(id).copied()),
                None,
                "{id} was new"
            );
            if runs.record(*id, row) == Recorded::Stray {
                strays.insert(*id, row);
                if let Some(rows) = runs.dissolve() {
                    strays.extend(rows.map(|row| (id_of(row), row)));
                }
            }
        }
        let known: BTreeMap<u128, u32> = ids.iter().copied().zip(0..).collect();
        for id in ids {
            for id in [id - 1, *id, id + 1] {
                let found = runs.find(id, id_of).or(strays.get(&id).copied());
                assert_eq!(found, known.get(&id).copied(), "{id}");
                assert!(found.is_none() || !runs.surely_new(id));
            }
        }
        for row in (0..u32::try_from(ids.len()).unwrap()).rev() {
            let stray = strays.remove(&ids[row as usize]).is_some();
            assert_eq!(runs.take_back(row, id_of), !stray, "row {row}");
        }
        strays.len()
    }

    fn strays_of(ids: &[u128]) -> usize {
        let mut runs = IdRuns::new();
        let rows = ids.iter().zip(0..);
        rows.filter(|(id, row)| runs.record(**id, *row) == Recorded::Stray)
            .count()
    }

    fn random(count: u32) -> Vec<u128> {
        let hash = |n: u32| crate::id_index::id_hash(u128::from(n));
        (0..count).map(|n| u128::from(hash(n)) << 3 | 4).collect()
    }

    #[test]
    fn every_id_is_found_and_no_other() {
        let rising: Vec<u128> = (1..3_000).map(|n| n * 3).collect();
        check(&rising);
        check(&rising.iter().rev().copied().collect::<Vec<_>>());
        check(&random(20_000));
        let two_streams: Vec<u128> = (1..3_000)
            .flat_map(|n| [n * 3, (1 << 90) + n * 3])
            .collect();
        check(&two_streams);
        let mixed: Vec<u128> = two_streams
            .iter()
            .zip(random(6_000))
            .flat_map(|(a, b)| [*a, b + 1])
            .collect();
        check(&mixed);
    }

    #[test]
    fn rising_ids_are_no_strays_even_after_a_huge_one() {
        let mut ids: Vec<u128> = (1..1_000).collect();
        ids.push(u128::MAX - 1);
        ids.extend(1_000..100_000);
        assert_eq!(strays_of(&ids), 0);
    }

    #[test]
    fn four_interleaved_streams_are_no_strays() {
        let ids: Vec<u128> = (1..1_000)
            .flat_map(|n| [3, 1, 4, 2].map(|s| (s << 100) + n))
            .collect();
        assert_eq!(strays_of(&ids), 0);
    }

    #[test]
    fn what_was_given_up_is_gone_and_the_rest_is_found() {
        let mut runs = IdRuns::new();
        for row in 0..100_000_u32 {
            assert_eq!(runs.record(u128::from(row) * 2 + 1, row), Recorded::InRun);
        }
        let id_of = |row: u32| u128::from(row) * 2 + 1;
        runs.release_before(70_000);
        for row in 70_000..100_000 {
            assert_eq!(runs.find(id_of(row), id_of), Some(row));
            assert_eq!(runs.find(id_of(row) + 1, id_of), None);
        }
        assert_eq!(runs.find(id_of(100), id_of), None);
        assert!(runs.bytes() < 300_000, "{} bytes", runs.bytes());
        runs.release_before(u32::MAX);
        assert_eq!(runs.record(id_of(100_000), 100_000), Recorded::InRun);
        assert_eq!(runs.find(id_of(100_000), id_of), Some(100_000));
        assert_eq!(runs.highest(), id_of(100_000));
    }
}

//! Which segments to bring back before anybody asks: those behind a run of reads, and those of the same hour of other weeks.
//!
//! - A hint: it may waste work and can never change an answer.
//! - What was brought back for nothing is counted. When it is more than a tenth of what was brought back ahead, nothing
//!   more is guessed until enough guesses have come true again.
//! - Bounded: so many groups and segments are remembered, the least recently read go first.

use std::collections::BTreeMap;

use crate::manifest::Manifest;
use crate::name::Segment;

/// Hours of a week.
pub const HOURS: usize = 168;
/// The furthest that is read ahead.
const AHEAD_MAX: u32 = 8;
/// Groups whose runs are remembered.
const RUNS_MAX: usize = 1_024;
/// Segments whose hours are remembered.
const HABITS_MAX: usize = 4_096;
/// So many weeks must have seen a segment read in an hour.
const HABIT_WEEKS: u32 = 2;
/// Bytes that are guessed before the share of wasted ones counts.
const TRIAL_BYTES: u64 = 256 << 20;

#[derive(Clone, Copy, Debug)]
struct Run {
    last: u64,
    ahead: u32,
    read: u64,
}

#[derive(Clone, Debug)]
struct Habit {
    /// For each hour of the week: in which of the last eight weeks it was read, the newest in bit 0.
    weeks: Box<[u8; HOURS]>,
    week: u64,
    read: u64,
}

/// What came of guessing, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guessed {
    /// Brought back ahead.
    pub fetched: u64,
    /// Of these, asked for since.
    pub used: u64,
    /// Of these, dropped without having been asked for.
    pub wasted: u64,
}

/// The guesses of one core.
#[derive(Debug, Default)]
pub struct Prefetch {
    runs: BTreeMap<u64, Run>,
    habits: BTreeMap<Segment, Habit>,
    guessed: Guessed,
    /// The same over the recent past, halved now and then.
    recent: Guessed,
    reads: u64,
}

impl Prefetch {
    /// Nothing remembered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A segment was read, in this hour since the Unix epoch. The segments to bring back next, in their order.
    pub fn read(&mut self, manifest: &Manifest, segment: &Segment, hour: u64) -> Vec<Segment> {
        self.reads += 1;
        self.remember(segment, hour);
        let run = self.runs.entry(segment.group).or_insert(Run {
            last: 0,
            ahead: 0,
            read: 0,
        });
        run.read = self.reads;
        // Behind the last one: a run, and the further it goes the further it is read ahead.
        run.ahead = if segment.first == run.last + 1 {
            (run.ahead * 2).clamp(1, AHEAD_MAX)
        } else if segment.last == run.last {
            run.ahead
        } else {
            0
        };
        run.last = segment.last;
        let ahead = run.ahead as usize;
        forget_oldest(&mut self.runs, RUNS_MAX, |run| run.read);
        if !self.may_guess() {
            return Vec::new();
        }
        let segments = manifest.segments();
        let behind = segments.partition_point(|stored| stored.segment.first <= segment.last);
        segments[behind..]
            .iter()
            .take(ahead)
            .map(|stored| stored.segment)
            .collect()
    }

    fn remember(&mut self, segment: &Segment, hour: u64) {
        let (week, nth) = (hour / HOURS as u64, hour as usize % HOURS);
        let habit = self.habits.entry(*segment).or_insert_with(|| Habit {
            weeks: Box::new([0; HOURS]),
            week,
            read: 0,
        });
        habit.read = self.reads;
        habit.age(week);
        habit.weeks[nth] |= 1;
        forget_oldest(&mut self.habits, HABITS_MAX, |habit| habit.read);
    }

    /// The segments that earlier weeks read in this hour since the Unix epoch, at most `most`; to be asked shortly before.
    pub fn due(&mut self, hour: u64, most: usize) -> Vec<Segment> {
        if !self.may_guess() {
            return Vec::new();
        }
        let (week, nth) = (hour / HOURS as u64, hour as usize % HOURS);
        let is_due = |habit: &mut Habit| {
            habit.age(week);
            habit.weeks[nth].count_ones() >= HABIT_WEEKS
        };
        self.habits
            .iter_mut()
            .filter_map(|(segment, habit)| is_due(habit).then_some(*segment))
            .take(most)
            .collect()
    }

    /// Whether guesses came true often enough of late.
    #[must_use]
    pub const fn may_guess(&self) -> bool {
        self.recent.fetched < TRIAL_BYTES || self.recent.wasted * 10 <= self.recent.fetched
    }

    fn count(&mut self, add: impl Fn(&mut Guessed)) {
        add(&mut self.guessed);
        add(&mut self.recent);
        if self.recent.fetched > 8 * TRIAL_BYTES {
            let Guessed {
                fetched,
                used,
                wasted,
            } = self.recent;
            self.recent = Guessed {
                fetched: fetched / 2,
                used: used / 2,
                wasted: wasted / 2,
            };
        }
    }

    /// A guess was brought back.
    pub fn fetched(&mut self, bytes: u64) {
        self.count(|guessed| guessed.fetched += bytes);
    }

    /// A guess came true.
    pub fn used(&mut self, bytes: u64) {
        self.count(|guessed| guessed.used += bytes);
    }

    /// A guess was dropped.
    pub fn wasted(&mut self, bytes: u64) {
        self.count(|guessed| guessed.wasted += bytes);
    }

    /// A read came that nothing was guessed for; with time, guessing is tried again.
    pub const fn missed(&mut self, bytes: u64) {
        let forgiven = bytes / 20;
        self.recent.wasted = self.recent.wasted.saturating_sub(forgiven);
    }

    /// What came of guessing since the start.
    #[must_use]
    pub const fn guessed(&self) -> Guessed {
        self.guessed
    }
}

impl Habit {
    /// Moves the weeks on to this one.
    fn age(&mut self, week: u64) {
        let passed = week.saturating_sub(self.week).min(8) as u32;
        if passed > 0 {
            for weeks in self.weeks.iter_mut() {
                *weeks = weeks.checked_shl(passed).unwrap_or(0);
            }
            self.week = week;
        }
    }
}

/// Drops the least recently read entry when there are too many.
fn forget_oldest<K: Copy + Ord, V>(
    entries: &mut BTreeMap<K, V>,
    most: usize,
    read: impl Fn(&V) -> u64,
) {
    if entries.len() <= most {
        return;
    }
    let oldest = entries.iter().min_by_key(|(_, entry)| read(entry));
    if let Some(key) = oldest.map(|(key, _)| *key) {
        entries.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Retention, Stored};
    use crate::name::ContentHash;

    fn segment(nth: u64) -> Segment {
        Segment {
            group: 1,
            first: nth * 10 + 1,
            last: nth * 10 + 10,
            bytes: 64 << 20,
            hash: ContentHash([0; 32]),
            copy: 0,
        }
    }

    fn manifest(count: u64) -> Manifest {
        let mut manifest = Manifest::empty(1);
        for nth in 0..count {
            let stored = Stored {
                segment: segment(nth),
                retention: Retention::Keep,
            };
            manifest.put(stored).expect("they are apart");
        }
        manifest
    }

    #[test]
    fn a_run_is_read_further_and_further_ahead() {
        let (manifest, mut prefetch) = (manifest(40), Prefetch::new());
        let ahead: Vec<usize> = (5..12)
            .map(|nth| prefetch.read(&manifest, &segment(nth), 0).len())
            .collect();
        assert_eq!(ahead, [0, 1, 2, 4, 8, 8, 8]);
        assert_eq!(
            prefetch.read(&manifest, &segment(11), 0)[0],
            segment(12),
            "again the same"
        );
        assert_eq!(
            prefetch.read(&manifest, &segment(30), 0),
            [],
            "a jump ends the run"
        );
        assert_eq!(
            prefetch.read(&manifest, &segment(39), 0),
            [],
            "nothing is behind the last"
        );
    }

    #[test]
    fn what_two_weeks_read_in_an_hour_is_due_in_the_next() {
        let (manifest, mut prefetch) = (manifest(4), Prefetch::new());
        let week = HOURS as u64;
        for hour in [3, week + 3] {
            prefetch.read(&manifest, &segment(2), hour);
        }
        prefetch.read(&manifest, &segment(0), week + 3);
        assert_eq!(prefetch.due(2 * week + 3, 10), [segment(2)]);
        assert_eq!(prefetch.due(2 * week + 4, 10), []);
        assert_eq!(prefetch.due(12 * week + 3, 10), [], "habits are forgotten");
    }

    #[test]
    fn who_wastes_a_tenth_guesses_no_more_until_it_would_have_helped() {
        let (manifest, mut prefetch) = (manifest(9), Prefetch::new());
        prefetch.fetched(TRIAL_BYTES);
        prefetch.used(TRIAL_BYTES / 2);
        prefetch.wasted(TRIAL_BYTES / 8);
        prefetch.read(&manifest, &segment(0), 0);
        assert_eq!(prefetch.read(&manifest, &segment(1), 0), []);
        for _ in 0..20 {
            prefetch.missed(64 << 20);
        }
        assert_eq!(prefetch.read(&manifest, &segment(2), 0).len(), 4);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut prefetch = Prefetch::new();
        for group in 0..(HABITS_MAX as u64 + 100) {
            let mut segment = segment(0);
            segment.group = group;
            prefetch.read(&Manifest::empty(group), &segment, 0);
        }
        assert_eq!(
            (prefetch.runs.len(), prefetch.habits.len()),
            (RUNS_MAX, HABITS_MAX)
        );
    }
}

//! What damage to a core's log took from a group, judged while the log is read.
//!
//! - Whoever lost something it may have acknowledged says so: its group repairs it from its peers.
//! - From the first entry lost on, nothing of the group counts until the log itself has written it anew.
//! - Records lost without their names may be anybody's: every group whose later records do not prove the contrary is
//!   damaged. Only when all that are lost were missed by their own groups is everybody else whole.
//! - A promise that may be lost counts as lost until a later one is read.

use raft::config::Damage;
use raft::ids::Index;
use wal::Lost;

/// The losses of a whole log; one per core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    /// How often records were lost without their names.
    unnamed: u64,
    /// How many they are, as far as anything says.
    records: u64,
    /// Of some of them not even that is known.
    is_uncounted: bool,
    /// How many the groups themselves missed.
    missed: u64,
}

/// One group's losses.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupLosses {
    /// The first entry lost: what follows it waits.
    first: Option<Index>,
    /// The newest promise may be lost.
    promise: bool,
    /// How often records had been lost without their names when the group's last entry was read.
    heard: u64,
}

/// What is to be done with an entry just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Take,
    /// It follows something lost.
    Leave,
    /// It does not follow the last one, and nothing was lost that could explain it.
    Unexplained,
}

impl Losses {
    /// Records were lost whose names are lost, too.
    pub fn unnamed(&mut self, records: Option<u64>) {
        self.unnamed += 1;
        match records {
            Some(records) => self.records += records,
            None => self.is_uncounted = true,
        }
    }

    /// Everything lost without a name was missed by its own group.
    fn is_explained(&self) -> bool {
        !self.is_uncounted && self.records == self.missed
    }
}

impl GroupLosses {
    /// Judges an entry at `index`, when the last one that counts is at `last`.
    pub fn judge(&mut self, index: Index, last: Index, all: &mut Losses) -> Verdict {
        self.heard = all.unnamed;
        if self.first.is_some_and(|first| index > first) {
            return Verdict::Leave;
        }
        if self.first.take().is_none() && index > last.next() {
            if all.unnamed == 0 {
                return Verdict::Unexplained;
            }
            all.missed += index.0 - last.next().0;
            self.first = Some(last.next());
            return Verdict::Leave;
        }
        Verdict::Take
    }

    /// The entry at `index` is lost, and with it what follows.
    pub fn lose(&mut self, index: Index) {
        self.first = Some(self.first.map_or(index, |first| first.min(index)));
    }

    /// A promise of the group may be lost.
    pub fn lose_promise(&mut self) {
        self.promise = true;
    }

    /// A promise was read: what an older one said does not matter any more.
    pub fn found_promise(&mut self) {
        self.promise = false;
    }

    /// What the group is to be told, once everything was read.
    #[must_use]
    pub fn damage(&self, all: &Losses) -> Damage {
        let may_lack_its_end = self.heard < all.unnamed && !all.is_explained();
        if self.promise {
            Damage::Votes
        } else if self.first.is_some() || may_lack_its_end {
            Damage::Entries
        } else {
            Damage::None
        }
    }
}

/// What of a loss concerns a group: the entry lost by name, if it is the group's, whether its promise may be lost,
/// and whether entries that count so far may have been superseded by a lost one.
#[must_use]
pub fn concerns(lost: Lost, group: u64) -> (Option<Index>, bool, bool) {
    match lost {
        Lost::Entry { group: of, index } => ((of == group).then_some(Index(index)), false, false),
        Lost::Metadata { group: of } => (None, of == group, false),
        Lost::Unnamed {
            metadata, turns, ..
        } => (None, metadata, turns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads entries and counts those that are taken; `None` is an unnamed loss of so many records.
    fn read(entries: &[Result<u64, Option<u64>>]) -> (Losses, GroupLosses, Vec<u64>) {
        let (mut all, mut group) = (Losses::default(), GroupLosses::default());
        let mut taken = Vec::new();
        for entry in entries {
            match *entry {
                Ok(index) => {
                    let last = Index(taken.last().copied().unwrap_or(0));
                    if group.judge(Index(index), last, &mut all) == Verdict::Take {
                        taken.retain(|&at| at < index);
                        taken.push(index);
                    }
                }
                Err(records) => all.unnamed(records),
            }
        }
        (all, group, taken)
    }

    #[test]
    fn a_gap_that_explains_all_that_is_lost_spares_the_others() {
        let (all, group, taken) = read(&[Ok(1), Ok(2), Err(Some(2)), Ok(5), Ok(6)]);
        assert_eq!((group.damage(&all), taken), (Damage::Entries, vec![1, 2]));
        let other = GroupLosses::default();
        assert_eq!(other.damage(&all), Damage::None);
        let (all, _, _) = read(&[Ok(1), Ok(2), Err(Some(3)), Ok(5)]);
        assert_eq!(other.damage(&all), Damage::Entries, "the third may be its");
    }

    #[test]
    fn a_later_entry_proves_that_nothing_is_missing_before_it() {
        let (all, group, taken) = read(&[Ok(1), Err(Some(7)), Ok(2)]);
        assert_eq!((group.damage(&all), taken), (Damage::None, vec![1, 2]));
        let (all, group, _) = read(&[Ok(1), Err(None), Ok(2), Err(None)]);
        assert_eq!(group.damage(&all), Damage::Entries, "and nothing after it");
    }

    #[test]
    fn what_was_written_anew_counts_again() {
        let (all, group, taken) = read(&[Ok(1), Err(Some(1)), Ok(3), Ok(2), Ok(3), Ok(4)]);
        assert_eq!(
            (group.damage(&all), taken),
            (Damage::None, vec![1, 2, 3, 4])
        );
    }

    #[test]
    fn a_gap_without_a_loss_is_no_damage() {
        let (mut all, mut group) = (Losses::default(), GroupLosses::default());
        let verdict = group.judge(Index(3), Index(1), &mut all);
        assert_eq!(verdict, Verdict::Unexplained);
    }

    #[test]
    fn a_promise_is_lost_until_a_later_one_is_read() {
        let mut group = GroupLosses::default();
        group.lose_promise();
        group.lose(Index(4));
        assert_eq!(group.damage(&Losses::default()), Damage::Votes);
        group.found_promise();
        assert_eq!(group.damage(&Losses::default()), Damage::Entries);
    }
}

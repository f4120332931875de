//! Chores: what a group's leader does in the store now and then: what has expired goes, small neighbours are joined,
//! what nobody names is swept.
//!
//! ```text
//! expire: an edit takes out what is over -> join: parts brought back, one file stored, an edit puts it in their place
//!     -> sweep: objects that no edit names, older than the grace, are deleted
//! ```
//!
//! - One group at a time, one task at a time, each group at most once in a while: chores never hurry.
//! - What a manifest names is not deleted: an object goes after an edit has taken it out, never before.
//! - Killed at any step, and begun anew by whoever leads then, it loses nothing: parts go only once the whole is named.
//! - What could not be done is counted and left for the next time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::jobs::JobError;
use crate::jobs::publish::Change;
use crate::jobs::sweep::Swept;
use crate::jobs::upload::{File, Resume};
use crate::limits::{CHORES_MAX, JOIN_MAX, JOIN_MIN, JOIN_STAY_SPREAD, NAMED_WITHIN, PACED_MAX};
use crate::manifest::{Manifest, Retention, Stored};
use crate::name::{ContentHash, Segment};
use crate::offload::{GRACE, Offloads};
use crate::reader::Bytes;
use crate::store::ObjectStore;
use crate::tier::{Ending, Finished, JobId, Tier, TierBusy, stored};

/// Joins files of neighbouring segments into one; nothing, when they cannot be.
pub type Weld = Box<dyn Fn(&[Bytes]) -> Option<Vec<u8>> + Send>;

/// How chores are done.
pub struct Plan {
    /// How old an object must be that goes because nobody names it, seconds.
    pub grace: u64,
    /// Each group is looked after once in so many seconds.
    pub every: u64,
    /// Bytes of the largest file that others are joined into; 0 joins nothing.
    pub join_bytes: u64,
    /// How files are joined.
    pub weld: Weld,
}

impl Plan {
    /// Once an hour, with a grace of a day; nothing is joined.
    #[must_use]
    pub fn usual() -> Self {
        Self {
            grace: GRACE,
            every: 3_600,
            join_bytes: 0,
            weld: Box::new(|_| None),
        }
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChoreCounts {
    /// Groups looked after, to the end.
    pub done: u64,
    /// Groups whose chores failed, to be done next time.
    pub failed: u64,
    /// Segments that manifests name no longer because their time was over.
    pub expired: u64,
    /// Segments that others in their place were joined into.
    pub joined: u64,
    /// What sweeps found and deleted.
    pub swept: Swept,
}

enum Stage {
    /// The newest manifest is wanted.
    Read,
    Expire,
    Fetch {
        parts: Vec<Stored>,
        files: Vec<Bytes>,
    },
    Store {
        segment: Segment,
        file: File,
        retention: Retention,
        parts: usize,
    },
    /// In the place of so many.
    Publish(Stored, usize),
    Sweep,
}

struct Doing {
    group: u64,
    /// Segments that the manifest named before some expired.
    named: usize,
    stage: Stage,
    job: Option<JobId>,
    /// The second at which its upload began.
    began: u64,
}

/// What is to be done for which groups; one per store.
pub struct Chores {
    plan: Plan,
    waiting: VecDeque<u64>,
    /// When groups were last looked after; those that are due again are forgotten when it is full.
    last: BTreeMap<u64, u64>,
    doing: Option<Doing>,
    counts: ChoreCounts,
    paced_max: usize,
}

impl Chores {
    /// By this plan.
    #[must_use]
    pub const fn new(plan: Plan) -> Self {
        Self {
            plan,
            waiting: VecDeque::new(),
            last: BTreeMap::new(),
            doing: None,
            paced_max: PACED_MAX,
            counts: ChoreCounts {
                done: 0,
                failed: 0,
                expired: 0,
                joined: 0,
                swept: Swept {
                    named: 0,
                    deleted: 0,
                    young: 0,
                    locked: 0,
                    snapshots: 0,
                },
            },
        }
    }

    /// Whoever leads this group asks to have it looked after, as often as it likes.
    pub fn tend(&mut self, group: u64, second: u64) {
        let last = self.last.get(&group);
        let is_due = last.is_none_or(|last| second >= last.saturating_add(self.plan.every));
        if !is_due || self.waiting.len() >= CHORES_MAX {
            return;
        }
        if self.last.len() >= self.paced_max {
            let every = self.plan.every;
            self.last
                .retain(|_, last| second < last.saturating_add(every));
        }
        // No node has more groups than that; if one had, the others would wait, and nobody come too early.
        if self.last.len() < self.paced_max || self.last.contains_key(&group) {
            self.last.insert(group, second);
            self.waiting.push_back(group);
        }
    }

    /// Begins what is next, at this second since the Unix epoch.
    pub(crate) fn go_on<S: ObjectStore>(&mut self, offloads: &mut Offloads<S>, second: u64) {
        if self.doing.is_none() {
            let waiting = self.waiting.len();
            for _ in 0..waiting {
                let Some(group) = self.waiting.pop_front() else {
                    break;
                };
                // Its files come first.
                if offloads.is_moving(group) {
                    self.waiting.push_back(group);
                    continue;
                }
                self.doing = Some(Doing {
                    group,
                    named: 0,
                    stage: Stage::Read,
                    job: None,
                    began: 0,
                });
                break;
            }
        }
        let Some(doing) = self.doing.as_mut().filter(|doing| doing.job.is_none()) else {
            return;
        };
        let known = offloads.known(doing.group).cloned();
        let known = known.unwrap_or_else(|| Manifest::empty(doing.group));
        // A tier that has its hands full is asked again.
        let resume = match &doing.stage {
            Stage::Store { segment, .. } => offloads.resume_of(segment),
            _ => None,
        };
        doing.job = doing
            .begin(offloads.tier(), known, resume, &self.plan, second)
            .ok();
    }

    /// The job that stores what was joined, while it runs.
    pub(crate) fn upload(&self) -> Option<JobId> {
        let doing = self.doing.as_ref()?;
        let is_stored = matches!(doing.stage, Stage::Store { .. });
        doing.job.filter(|_| is_stored)
    }

    /// A job of the tier has ended; gives it back when it was none of ours.
    pub(crate) fn ended<S: ObjectStore>(
        &mut self,
        offloads: &mut Offloads<S>,
        (id, result): Ending,
        second: u64,
    ) -> Option<Ending> {
        let is_ours = |doing: &mut Doing| doing.job == Some(id);
        let Some(mut doing) = self.doing.take_if(is_ours) else {
            return Some((id, result));
        };
        doing.job = None;
        match self.next(&mut doing, offloads, result, second) {
            Ok(Some(stage)) => {
                doing.stage = stage;
                self.doing = Some(doing);
            }
            Ok(None) => self.counts.done += 1,
            Err(_) => self.counts.failed += 1,
        }
        None
    }

    fn next<S: ObjectStore>(
        &mut self,
        doing: &mut Doing,
        offloads: &mut Offloads<S>,
        result: Result<Finished, JobError>,
        second: u64,
    ) -> Result<Option<Stage>, JobError> {
        let stage = std::mem::replace(&mut doing.stage, Stage::Sweep);
        match (stage, result?) {
            (Stage::Read, Finished::Published(manifest))
                if manifest.segments().iter().any(|one| one.is_over(second)) =>
            {
                doing.named = manifest.segments().len();
                offloads.remember(manifest);
                Ok(Some(Stage::Expire))
            }
            (stage @ (Stage::Read | Stage::Expire), Finished::Published(manifest)) => {
                if matches!(stage, Stage::Expire) {
                    let gone = doing.named.saturating_sub(manifest.segments().len());
                    self.counts.expired += gone as u64;
                }
                let parts = joinable(&manifest, self.plan.join_bytes);
                offloads.remember(manifest);
                if parts.is_empty() {
                    return Ok(Some(Stage::Sweep));
                }
                let files = Vec::new();
                Ok(Some(Stage::Fetch { parts, files }))
            }
            (Stage::Fetch { parts, mut files }, Finished::Downloaded(_, file)) => {
                files.push(Arc::new(file));
                if files.len() < parts.len() {
                    return Ok(Some(Stage::Fetch { parts, files }));
                }
                Ok(Some(self.weld(&parts, &files)))
            }
            (
                Stage::Store {
                    retention, parts, ..
                },
                Finished::Uploaded(segment),
            ) => {
                offloads.note_stored(&segment);
                let is_late = second.saturating_sub(doing.began) > self.plan.grace / NAMED_WITHIN;
                let put = Stored { segment, retention };
                Ok((!is_late).then_some(Stage::Publish(put, parts)))
            }
            (Stage::Publish(put, parts), Finished::Published(manifest)) => {
                if manifest.names(&put.segment) {
                    self.counts.joined += parts as u64;
                }
                offloads.remember(manifest);
                Ok(Some(Stage::Sweep))
            }
            (Stage::Sweep, Finished::Swept(swept)) => {
                let counts = &mut self.counts.swept;
                counts.named += swept.named;
                counts.deleted += swept.deleted;
                counts.young += swept.young;
                counts.locked += swept.locked;
                counts.snapshots += swept.snapshots;
                Ok(None)
            }
            _ => Err(JobError::Confused),
        }
    }

    /// The parts are here: what they become, or a sweep when they cannot be joined.
    fn weld(&self, parts: &[Stored], files: &[Bytes]) -> Stage {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Stage::Sweep;
        };
        let Some(file) = (self.plan.weld)(files) else {
            return Stage::Sweep;
        };
        let segment = Segment {
            group: first.segment.group,
            first: first.segment.first,
            last: last.segment.last,
            bytes: file.len() as u64,
            hash: ContentHash::of(&file),
            copy: 0,
        };
        let ends = parts.iter().filter_map(|part| end(part.retention)).max();
        let retention = match (first.retention, ends) {
            (Retention::Until(_), Some(end)) => Retention::Until(end),
            (Retention::Locked(_), Some(end)) => Retention::Locked(end),
            _ => Retention::Keep,
        };
        Stage::Store {
            segment,
            file: Arc::new(file),
            retention,
            parts: parts.len(),
        }
    }

    /// Nothing is done and nothing waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.doing.is_none() && self.waiting.is_empty()
    }

    /// Counters.
    #[must_use]
    pub const fn counts(&self) -> ChoreCounts {
        self.counts
    }
}

impl Doing {
    fn begin<S: ObjectStore>(
        &mut self,
        tier: &mut Tier<S>,
        known: Manifest,
        resume: Option<Resume>,
        plan: &Plan,
        second: u64,
    ) -> Result<JobId, TierBusy> {
        match &self.stage {
            Stage::Read => tier.publish(Change::Read, known),
            Stage::Expire => tier.publish(Change::Expire(second), known),
            Stage::Fetch { parts, files } => tier.download(parts[files.len()].segment),
            Stage::Store {
                segment,
                file,
                retention,
                ..
            } => {
                self.began = second;
                let fresh_since = second.saturating_sub(plan.grace / NAMED_WITHIN);
                let locked = retention.locked_at(second);
                tier.upload_since(*segment, file.clone(), resume, fresh_since, locked)
            }
            Stage::Publish(put, _) => tier.publish(stored(put.segment, put.retention), known),
            Stage::Sweep => tier.sweep(self.group, second, plan.grace),
        }
    }
}

const fn end(retention: Retention) -> Option<u64> {
    match retention {
        Retention::Keep => None,
        Retention::Until(end) | Retention::Locked(end) => Some(end),
    }
}

/// The first run of small neighbours that make one file of at most `bytes` and stay about as long; may be empty.
fn joinable(manifest: &Manifest, bytes: u64) -> Vec<Stored> {
    let mut run: Vec<Stored> = Vec::new();
    let ends_run = |run: &[Stored], next: &Stored| {
        let Some((first, last)) = run.first().zip(run.last()) else {
            return false;
        };
        let sum: u64 = run.iter().map(|one| one.segment.bytes).sum();
        let stays = match (end(first.retention), end(next.retention)) {
            (Some(one), Some(other)) => one.abs_diff(other) <= JOIN_STAY_SPREAD,
            (None, None) => true,
            _ => false,
        };
        let is_alike =
            std::mem::discriminant(&first.retention) == std::mem::discriminant(&next.retention);
        last.segment.last + 1 != next.segment.first
            || sum + next.segment.bytes > bytes
            || !(stays && is_alike)
            || run.len() == JOIN_MAX
    };
    for one in manifest.segments() {
        let is_small = one.segment.bytes <= bytes / 4;
        if !is_small || ends_run(&run, one) {
            if run.len() >= JOIN_MIN {
                return run;
            }
            run.clear();
        }
        if is_small {
            run.push(*one);
        }
    }
    if run.len() < JOIN_MIN {
        run.clear();
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(parts: &[(u64, u64, Retention)]) -> Manifest {
        let mut manifest = Manifest::empty(1);
        for (nth, &(first, bytes, retention)) in parts.iter().enumerate() {
            let segment = Segment {
                group: 1,
                first,
                last: first + 9,
                bytes,
                hash: ContentHash([nth as u8; 32]),
                copy: 0,
            };
            let put = manifest.put(Stored { segment, retention });
            put.expect("they are apart");
        }
        manifest
    }

    #[test]
    fn only_small_neighbours_that_stay_alike_are_joined() {
        let row = |from: u64, count: u64, retention| {
            (from..from + count).map(move |nth| (nth * 10 + 1, 10, retention))
        };
        let found = |parts: Vec<_>, bytes| -> Vec<u64> {
            let found = joinable(&manifest(&parts), bytes);
            found.iter().map(|one| one.segment.first).collect()
        };
        let (keep, none) = (Retention::Keep, Vec::<u64>::new());
        assert_eq!(found(row(0, 8, keep).collect(), 1_000).len(), 8);
        assert_eq!(found(row(0, 7, keep).collect(), 1_000), none, "too few");
        assert_eq!(found(row(0, 9, keep).collect(), 30), none, "none is small");
        let gap = row(0, 5, keep).chain(row(6, 8, keep));
        assert_eq!(found(gap.collect(), 1_000)[0], 61);
        let mixed = row(0, 5, keep).chain(row(5, 5, Retention::Until(9)));
        assert_eq!(found(mixed.collect(), 1_000), none);
        let spread = row(0, 5, Retention::Until(9));
        let spread = spread.chain(row(5, 5, Retention::Until(9 + 2 * JOIN_STAY_SPREAD)));
        assert_eq!(found(spread.collect(), 1_000), none);
        assert_eq!(found(row(0, 90, keep).collect(), 100_000).len(), JOIN_MAX);
        assert_eq!(found(row(0, 20, keep).collect(), 100).len(), 10);
    }

    /// Every group is tended at every second, in the same order; each is taken once in a while and nobody is left out.
    fn taken(groups: u64, paced_max: usize, seconds: u64) -> BTreeMap<u64, Vec<u64>> {
        let mut chores = Chores::new(Plan {
            every: 100,
            ..Plan::usual()
        });
        chores.paced_max = paced_max;
        let mut taken: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for second in 1_000..1_000 + seconds {
            (0..groups).for_each(|group| chores.tend(group, second));
            assert!(chores.waiting.len() <= CHORES_MAX);
            for group in chores.waiting.drain(..) {
                taken.entry(group).or_default().push(second);
            }
        }
        taken
    }

    #[test]
    fn more_groups_than_wait_at_a_time_are_each_looked_after_once_in_a_while() {
        let groups = 3 * CHORES_MAX as u64 + 5;
        let all = taken(groups, PACED_MAX, 300);
        assert_eq!(all.len() as u64, groups);
        for (group, seconds) in &all {
            assert_eq!(seconds.len(), 3, "group {group}: {seconds:?}");
            assert!(seconds.windows(2).all(|pair| pair[1] - pair[0] >= 100));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_never_lets_a_group_come_too_early() {
        let all = taken(90, 40, 1_000);
        let often = all.values().flat_map(|seconds| seconds.windows(2));
        assert!(often.clone().count() > 100);
        assert!(often.into_iter().all(|pair| pair[1] - pair[0] >= 100));
    }
}

//! Offloading: a sealed file goes into the store, is read back, is named by its group's manifest, and only then told.
//!
//! ```text
//! read the manifest -> upload, read back, compare -> publish -> receipt
//!          └─ it names a part of the file already -> read that back -> receipt for what it names
//!                            └─ it is gone or damaged, and this very file: stored again, as its next copy
//! ```
//!
//! - What the manifest names already is never stored under other cuts: who offered it hears what is there, whole and
//!   read back, and cuts the rest anew.
//! - It may be killed at any step: what is begun anew finds what was done, since names carry what is in them.
//! - A receipt tells how far back the manifest reaches without a gap.
//! - What was stored is named within half the grace of a sweep, or stored again: no sweep can have doomed it meanwhile.

use std::collections::{BTreeMap, VecDeque};

use crate::jobs::JobError;
use crate::jobs::publish::Change;
use crate::jobs::upload::{File, Resume};
use crate::limits::NAMED_WITHIN;
use crate::manifest::{Manifest, ManifestError, Retention};
use crate::name::{ContentHash, Segment};
use crate::store::{ObjectStore, StoreError};
use crate::tier::{Finished, JobId, Tier, TierBusy, stored};
use crate::unfinished::Unfinished;

/// Manifests that are remembered to be spared reading.
const KNOWN_MAX: usize = 1_024;

/// Other writers that may come first before a file is given back.
const RACES_MAX: u32 = 8;

/// How old an object must be that a sweep takes away when nobody names it: a day, in seconds.
pub const GRACE: u64 = 86_400;

/// Files under way at a time.
pub const PARCELS_MAX: usize = 16;

/// How long what is stored stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// For ever.
    #[default]
    Keep,
    /// So many seconds.
    Expire(u64),
    /// So many seconds, and not to be deleted before by anybody.
    Lock(u64),
}

impl Policy {
    /// For what is stored at this second since the Unix epoch.
    #[must_use]
    pub const fn from(self, now: u64) -> Retention {
        match self {
            Self::Keep => Retention::Keep,
            Self::Expire(seconds) => Retention::Until(now.saturating_add(seconds)),
            Self::Lock(seconds) => Retention::Locked(now.saturating_add(seconds)),
        }
    }
}

/// A file that is to be stored.
#[derive(Clone)]
pub struct Parcel {
    /// A number that comes back with its end.
    pub token: u64,
    /// The group.
    pub group: u64,
    /// Index of the first entry.
    pub first: u64,
    /// Index of the last entry.
    pub last: u64,
    /// The file.
    pub file: File,
}

/// What the store holds, read back and named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Everything from here up to the segment's last index is in the store.
    pub since: u64,
    /// The segment: the file that was offered, or one that holds a part of it.
    pub segment: Segment,
    /// The manifest that names it.
    pub number: u64,
}

enum Stage {
    Read,
    Verify(Segment),
    Upload(Segment),
    Publish(Segment),
}

struct Moving {
    parcel: Parcel,
    manifest: Manifest,
    stage: Stage,
    job: Option<JobId>,
    races: u32,
    /// When its upload began: no object older than this and a bit is relied upon.
    began: u64,
    /// How long it stays, reckoned from when its upload began: what the store and the manifest are told is one.
    retention: Retention,
}

/// A parcel's token and its end.
pub type Ending = (u64, Result<Receipt, JobError>);

/// Files on their way, over one tier.
pub struct Offloads<S> {
    tier: Tier<S>,
    policy: Policy,
    grace: u64,
    moving: Vec<Moving>,
    known: BTreeMap<u64, Manifest>,
    ended: VecDeque<Ending>,
    /// Ended jobs of the tier that are none of these files'.
    others: VecDeque<crate::tier::Ending>,
    /// Uploads in parts that are under way, or were when the process before ended.
    unfinished: Unfinished,
}

impl<S: ObjectStore> Offloads<S> {
    /// Over this tier; what else is done with it comes out of [`Offloads::next_other`].
    #[must_use]
    pub fn new(tier: Tier<S>, policy: Policy) -> Self {
        Self {
            tier,
            policy,
            grace: GRACE,
            moving: Vec::new(),
            known: BTreeMap::new(),
            ended: VecDeque::new(),
            others: VecDeque::new(),
            unfinished: Unfinished::default(),
        }
    }

    /// With another grace of sweeps than [`GRACE`], seconds.
    #[must_use]
    pub const fn with_grace(mut self, grace: u64) -> Self {
        self.grace = grace;
        self
    }

    /// Goes on with uploads in parts that a process before had begun.
    #[must_use]
    pub fn with_resumes(mut self, resumes: impl IntoIterator<Item = (Segment, Resume)>) -> Self {
        self.unfinished = Unfinished::of(resumes);
        self
    }

    /// Uploads in parts under way, when they changed since the last call: what to remember beyond the process.
    pub fn changed_resumes(&mut self) -> Option<&BTreeMap<Segment, Resume>> {
        self.unfinished.changed()
    }

    /// Uploads in parts that nobody went on with and that the store was told to forget, since the start.
    #[must_use]
    pub const fn uploads_given_up(&self) -> u64 {
        self.unfinished.given_up()
    }

    /// The upload in parts of this file that was begun and has not ended.
    pub(crate) fn resume_of(&self, segment: &Segment) -> Option<Resume> {
        self.unfinished.get(segment).cloned()
    }

    /// An upload that somebody else began with the tier may be one in parts: it is gone on with after a restart.
    pub(crate) fn note_upload(&mut self, id: JobId, second: u64) {
        if let Some((segment, resume)) = self.tier.resume_of(id) {
            self.unfinished.note(segment, resume, second);
        }
    }

    /// What somebody else began to store is stored.
    pub(crate) fn note_stored(&mut self, segment: &Segment) {
        self.unfinished.stored(segment);
    }

    /// Takes a file.
    ///
    /// # Errors
    /// The parcel, when as many are under way as may be.
    pub fn offer(&mut self, parcel: Parcel) -> Result<(), Parcel> {
        if self.moving.len() >= PARCELS_MAX {
            return Err(parcel);
        }
        let known = self.known.get(&parcel.group).cloned();
        self.moving.push(Moving {
            manifest: known.unwrap_or_else(|| Manifest::empty(parcel.group)),
            parcel,
            stage: Stage::Read,
            job: None,
            races: 0,
            began: 0,
            retention: Retention::Keep,
        });
        Ok(())
    }

    /// Goes on: see [`Tier::turn`]. `second` is the time since the Unix epoch. Hashing a new file is done in one stroke.
    pub fn turn(&mut self, now_ns: u64, second: u64, budget: usize, dice: &mut dyn FnMut() -> u64) {
        self.begin(second);
        self.tier.turn(now_ns, budget, dice);
        while let Some((id, result)) = self.tier.next_finished() {
            if self.unfinished.ended(id, &result, second) {
                continue;
            }
            let Some(nth) = self.moving.iter().position(|one| one.job == Some(id)) else {
                self.others.push_back((id, result));
                continue;
            };
            let moving = &mut self.moving[nth];
            moving.job = None;
            let is_late = second.saturating_sub(moving.began) > self.grace / NAMED_WITHIN;
            if let Ok(Finished::Uploaded(segment)) = &result {
                self.unfinished.stored(segment);
            }
            let end = moving.ended(result, is_late);
            if let Some(end) = end {
                let moving = self.moving.swap_remove(nth);
                self.ended.push_back((moving.parcel.token, end));
                self.remember(moving.manifest);
            }
        }
        self.note_resumes(second);
        self.begin(second);
        let moving = &self.moving;
        let is_used = |segment: &Segment| moving.iter().any(|one| one.uploads(segment));
        self.unfinished
            .go_on(&mut self.tier, second, self.grace, is_used);
    }

    fn begin(&mut self, second: u64) {
        let retention = self.policy.from(second);
        for moving in &mut self.moving {
            moving.begin(
                &mut self.tier,
                retention,
                second,
                self.grace,
                &self.unfinished,
            );
        }
    }

    /// Looks how far the uploads in parts have come.
    fn note_resumes(&mut self, second: u64) {
        for moving in &self.moving {
            if let Some((segment, resume)) = moving.job.and_then(|id| self.tier.resume_of(id)) {
                self.unfinished.note(segment, resume, second);
            }
        }
    }

    /// A file of this group is under way.
    #[must_use]
    pub fn is_moving(&self, group: u64) -> bool {
        self.moving
            .iter()
            .any(|moving| moving.parcel.group == group)
    }

    /// The group's manifest as it was last read.
    #[must_use]
    pub fn known(&self, group: u64) -> Option<&Manifest> {
        self.known.get(&group)
    }

    /// The tier, and the group's manifest as it was last read.
    pub fn tier_and_known(&mut self, group: u64) -> (&mut Tier<S>, Option<&Manifest>) {
        (&mut self.tier, self.known.get(&group))
    }

    /// What is known of the group's manifest is not to be trusted: the next that needs it reads it anew.
    pub fn forget(&mut self, group: u64) {
        self.known.remove(&group);
    }

    /// An ended job of the tier that somebody else began.
    pub fn next_other(&mut self) -> Option<crate::tier::Ending> {
        self.others.pop_front()
    }

    /// Remembers a manifest that was read.
    pub fn remember(&mut self, manifest: Manifest) {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&manifest.group) {
            self.known.pop_first();
        }
        let known = self.known.get(&manifest.group);
        if known.is_none_or(|known| known.number < manifest.number) {
            self.known.insert(manifest.group, manifest);
        }
    }

    /// The next parcel that has ended.
    pub fn next_ended(&mut self) -> Option<Ending> {
        self.ended.pop_front()
    }

    /// Nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let nothing_moves = self.moving.is_empty() && self.unfinished.is_idle();
        nothing_moves && self.ended.is_empty() && self.others.is_empty()
    }

    /// The tier, for its counters and its store.
    pub const fn tier(&mut self) -> &mut Tier<S> {
        &mut self.tier
    }
}

impl Moving {
    /// Asks the tier for what is next, when nothing is under way and it has room.
    fn begin<S: ObjectStore>(
        &mut self,
        tier: &mut Tier<S>,
        retention: Retention,
        second: u64,
        grace: u64,
        unfinished: &Unfinished,
    ) {
        if self.job.is_some() {
            return;
        }
        let known = self.manifest.clone();
        let begun: Result<JobId, TierBusy> = match &self.stage {
            Stage::Read => tier.publish(Change::Read, known),
            Stage::Verify(segment) => tier.verify(*segment),
            Stage::Upload(segment) => {
                (self.began, self.retention) = (second, retention);
                let (file, resume) = (self.parcel.file.clone(), unfinished.get(segment).cloned());
                let fresh_since = second.saturating_sub(grace / NAMED_WITHIN);
                let locked = retention.locked_at(second);
                tier.upload_since(*segment, file, resume, fresh_since, locked)
            }
            Stage::Publish(segment) => tier.publish(stored(*segment, self.retention), known),
        };
        self.job = begun.ok();
    }

    /// This very file is to be uploaded.
    fn uploads(&self, segment: &Segment) -> bool {
        matches!(&self.stage, Stage::Upload(one) if one == segment)
    }

    /// A job has ended: the parcel's end, if that is it.
    fn ended(
        &mut self,
        result: Result<Finished, JobError>,
        is_late: bool,
    ) -> Option<Result<Receipt, JobError>> {
        match (&self.stage, result) {
            (Stage::Read, Ok(Finished::Published(manifest))) => {
                self.manifest = manifest;
                self.decide();
            }
            (Stage::Verify(asked), Ok(Finished::Verified(segment))) if segment == *asked => {
                return Some(Ok(self.receipt(segment)));
            }
            // The store lost what it was given back once, or it rotted there; here is the very file.
            (
                Stage::Verify(asked),
                Err(JobError::Store(StoreError::NotFound) | JobError::Object { .. }),
            ) if asked.is_same_file(&self.segment()) && asked.next_copy().is_some() => {
                self.stage = Stage::Upload(asked.next_copy()?);
            }
            (Stage::Upload(asked), Ok(Finished::Uploaded(segment)))
                if segment.is_same_file(asked) =>
            {
                self.stage = Stage::Publish(segment);
            }
            (Stage::Publish(segment), Ok(Finished::Published(manifest))) => {
                let segment = *segment;
                self.manifest = manifest;
                if is_late && let Some(next) = segment.next_copy() {
                    self.stage = Stage::Upload(next);
                    return None;
                }
                if self.manifest.names(&segment) {
                    return Some(Ok(self.receipt(segment)));
                }
                return self.came_second();
            }
            (
                Stage::Publish(_),
                Err(JobError::Manifest {
                    error: ManifestError::Overlap { .. },
                    ..
                }),
            ) => return self.came_second(),
            (_, Err(error)) => return Some(Err(error)),
            (_, Ok(_)) => return Some(Err(JobError::Confused)),
        }
        None
    }

    /// Somebody else published first: what there is now decides.
    fn came_second(&mut self) -> Option<Result<Receipt, JobError>> {
        self.races += 1;
        self.stage = Stage::Read;
        (self.races > RACES_MAX).then_some(Err(JobError::Confused))
    }

    /// The manifest is fresh: a part of the file is there, or all of it is new.
    fn decide(&mut self) {
        let (first, last) = (self.parcel.first, self.parcel.last);
        let mut segments = self.manifest.segments().iter().map(|one| one.segment);
        let overlapping = segments.find(|one| one.first <= last && first <= one.last);
        self.stage = overlapping.map_or_else(|| Stage::Upload(self.segment()), Stage::Verify);
    }

    fn segment(&self) -> Segment {
        let file = (*self.parcel.file).as_ref();
        Segment {
            group: self.parcel.group,
            first: self.parcel.first,
            last: self.parcel.last,
            bytes: file.len() as u64,
            hash: ContentHash::of(file),
            copy: 0,
        }
    }

    fn receipt(&self, segment: Segment) -> Receipt {
        let before = self.manifest.segments().iter().rev();
        let before = before.map(|stored| stored.segment);
        let mut since = segment.first;
        for other in before.skip_while(|other| other.first >= segment.first) {
            if other.last + 1 != since {
                break;
            }
            since = other.first;
        }
        Receipt {
            since,
            segment,
            number: self.manifest.number,
        }
    }
}

//! Offloading: a sealed file goes into the store, is read back, is named by its group's manifest, and only then told.
//!
//! ```text
//! read the manifest -> upload, read back, compare -> publish -> receipt
//!          └─ it names a part of the file already -> read that back -> receipt for what it names
//! ```
//!
//! - What the manifest names already is never stored under other cuts: who offered it hears what is there, whole and
//!   read back, and cuts the rest anew.
//! - It may be killed at any step: what is begun anew finds what was done, since names carry what is in them.
//! - A receipt tells how far back the manifest reaches without a gap.

use std::collections::{BTreeMap, VecDeque};

use crate::jobs::JobError;
use crate::jobs::publish::Change;
use crate::jobs::upload::File;
use crate::manifest::{Manifest, ManifestError, Retention};
use crate::name::{ContentHash, Segment};
use crate::store::ObjectStore;
use crate::tier::{Finished, JobId, Tier, TierBusy, stored};

/// Manifests that are remembered to be spared reading.
const KNOWN_MAX: usize = 1_024;

/// Other writers that may come first before a file is given back.
const RACES_MAX: u32 = 8;

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
}

/// A parcel's token and its end.
pub type Ending = (u64, Result<Receipt, JobError>);

/// Files on their way, over one tier.
pub struct Offloads<S> {
    tier: Tier<S>,
    policy: Policy,
    moving: Vec<Moving>,
    known: BTreeMap<u64, Manifest>,
    ended: VecDeque<Ending>,
}

impl<S: ObjectStore> Offloads<S> {
    /// Over this tier, which does nothing else.
    #[must_use]
    pub const fn new(tier: Tier<S>, policy: Policy) -> Self {
        Self {
            tier,
            policy,
            moving: Vec::new(),
            known: BTreeMap::new(),
            ended: VecDeque::new(),
        }
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
        });
        Ok(())
    }

    /// Goes on: see [`Tier::turn`]. `second` is the time since the Unix epoch. Hashing a new file is done in one stroke.
    pub fn turn(&mut self, now_ns: u64, second: u64, budget: usize, dice: &mut dyn FnMut() -> u64) {
        let retention = self.policy.from(second);
        for moving in &mut self.moving {
            moving.begin(&mut self.tier, retention);
        }
        self.tier.turn(now_ns, budget, dice);
        while let Some((id, result)) = self.tier.next_finished() {
            let Some(nth) = self.moving.iter().position(|one| one.job == Some(id)) else {
                continue;
            };
            let moving = &mut self.moving[nth];
            moving.job = None;
            if let Some(end) = moving.ended(result) {
                let moving = self.moving.swap_remove(nth);
                self.ended.push_back((moving.parcel.token, end));
                self.remember(moving.manifest);
            }
        }
        for moving in &mut self.moving {
            moving.begin(&mut self.tier, retention);
        }
    }

    fn remember(&mut self, manifest: Manifest) {
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
        self.moving.is_empty() && self.ended.is_empty()
    }

    /// The tier, for its counters and its store.
    pub const fn tier(&mut self) -> &mut Tier<S> {
        &mut self.tier
    }
}

impl Moving {
    /// Asks the tier for what is next, when nothing is under way and it has room.
    fn begin<S: ObjectStore>(&mut self, tier: &mut Tier<S>, retention: Retention) {
        if self.job.is_some() {
            return;
        }
        let known = self.manifest.clone();
        let begun: Result<JobId, TierBusy> = match &self.stage {
            Stage::Read => tier.publish(Change::Read, known),
            Stage::Verify(segment) => tier.verify(*segment),
            Stage::Upload(segment) => tier.upload(*segment, self.parcel.file.clone(), None),
            Stage::Publish(segment) => tier.publish(stored(*segment, retention), known),
        };
        self.job = begun.ok();
    }

    /// A job has ended: the parcel's end, if that is it.
    fn ended(&mut self, result: Result<Finished, JobError>) -> Option<Result<Receipt, JobError>> {
        match (&self.stage, result) {
            (Stage::Read, Ok(Finished::Published(manifest))) => {
                self.manifest = manifest;
                self.decide();
            }
            (Stage::Verify(asked), Ok(Finished::Verified(segment))) if segment == *asked => {
                return Some(Ok(self.receipt(segment)));
            }
            (Stage::Upload(asked), Ok(Finished::Uploaded(segment))) if segment == *asked => {
                self.stage = Stage::Publish(segment);
            }
            (Stage::Publish(segment), Ok(Finished::Published(manifest))) => {
                let segment = *segment;
                self.manifest = manifest;
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

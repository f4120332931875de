//! The cold tier of one core: jobs that store, bring back, publish and sweep, run side by side over one store.
//!
//! - `turn` is called by the core now and then, with the time and a budget; it never waits.
//! - A task that failed for a passing reason is repeated after a wait that doubles; a job that failed is handed back
//!   with its reason, and whoever wanted it may ask again.
//! - Bounded: so many jobs at a time, so many bytes of files in them; more is refused as busy.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::jobs::abort::Abort;
use crate::jobs::download::Download;
use crate::jobs::groups::Groups;
use crate::jobs::inventory::Inventory;
use crate::jobs::lock_of::LockOf;
use crate::jobs::publish::{Change, Publish};
use crate::jobs::sweep::{Sweep, Swept};
use crate::jobs::upload::{File, Resume, Upload};
use crate::jobs::{Job, JobError, Step};
use crate::manifest::{Manifest, Stored};
use crate::name::Segment;
use crate::retry::{self, ATTEMPTS_MAX};
use crate::store::{Ended, Listed, ObjectStore, Task};

/// Jobs at a time.
pub const JOBS_MAX: usize = 32;

/// A job's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// What a job came to.
#[derive(Debug)]
pub enum Finished {
    /// The file is in the store, and was read back whole.
    Uploaded(Segment),
    /// The file.
    Downloaded(Segment, Vec<u8>),
    /// The file is in the store, whole.
    Verified(Segment),
    /// Up to this second the store itself keeps the file; 0: it does not.
    LockedUntil(Segment, u64),
    /// The group's newest manifest, the change in it.
    Published(Manifest),
    /// What a sweep found.
    Swept(Swept),
    /// The groups that have anything in the store, ascending.
    Groups(Vec<u64>),
    /// The store keeps parts of this upload no longer.
    Aborted,
    /// All that lies in the store of a group.
    Inventory(Vec<Listed>),
}

/// A job that has ended, and how.
pub type Ending = (JobId, Result<Finished, JobError>);

/// As many jobs, or bytes in them, as the tier takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the cold tier is busy")]
pub struct TierBusy;

enum Kind {
    Upload(Box<Upload>),
    Download(Box<Download>, bool),
    Publish(Box<Publish>),
    Sweep(Box<Sweep>),
    LockOf(LockOf),
    Groups(Groups),
    Abort(Abort),
    Inventory(Inventory),
}

enum Phase {
    /// To be stepped.
    Ready,
    /// The store has its task.
    Asked(Task),
    /// Its task is to be submitted again, from this instant on.
    Waiting(Task, u64),
}

struct Running {
    kind: Kind,
    phase: Phase,
    failures: u32,
    bytes: u64,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierCounts {
    /// Tasks given to the store.
    pub tasks: u64,
    /// Tasks repeated.
    pub repeated: u64,
    /// Jobs done.
    pub done: u64,
    /// Jobs given back as failed.
    pub failed: u64,
    /// Bytes of files stored.
    pub uploaded_bytes: u64,
    /// Bytes of files brought back.
    pub downloaded_bytes: u64,
}

/// The tier.
pub struct Tier<S> {
    store: S,
    jobs: BTreeMap<JobId, Running>,
    next: u64,
    bytes: u64,
    bytes_max: u64,
    /// Whether what is stored is encrypted.
    is_secret: bool,
    ended: Vec<Ended>,
    finished: Vec<Ending>,
    counts: TierCounts,
    trouble: Option<String>,
}

impl<S: ObjectStore> Tier<S> {
    /// Over this store; files of at most `bytes_max` bytes together are in its hands at a time (one larger file is
    /// taken alone). Encrypts if asked.
    #[must_use]
    pub const fn new(store: S, is_secret: bool, bytes_max: u64) -> Self {
        Self {
            store,
            jobs: BTreeMap::new(),
            next: 0,
            bytes: 0,
            bytes_max,
            is_secret,
            ended: Vec::new(),
            finished: Vec::new(),
            trouble: None,
            counts: TierCounts {
                tasks: 0,
                repeated: 0,
                done: 0,
                failed: 0,
                uploaded_bytes: 0,
                downloaded_bytes: 0,
            },
        }
    }

    fn begin(&mut self, kind: Kind, bytes: u64) -> Result<JobId, TierBusy> {
        let is_full = self.bytes > 0 && self.bytes + bytes > self.bytes_max;
        if self.jobs.len() >= JOBS_MAX || (bytes > 0 && is_full) {
            return Err(TierBusy);
        }
        self.next += 1;
        let id = JobId(self.next);
        self.bytes += bytes;
        let running = Running {
            kind,
            phase: Phase::Ready,
            failures: 0,
            bytes,
        };
        self.jobs.insert(id, running);
        Ok(id)
    }

    /// Stores a file and reads it back.
    ///
    /// # Errors
    /// When the tier has its hands full.
    pub fn upload(
        &mut self,
        segment: Segment,
        file: File,
        resume: Option<Resume>,
    ) -> Result<JobId, TierBusy> {
        self.upload_since(segment, file, resume, 0, None)
    }

    /// The same; an object that is there already counts only when it was written at this second or later. What is
    /// stored may be another copy than asked for. The store keeps it up to second `locked_until`, where it can.
    ///
    /// # Errors
    /// When the tier has its hands full.
    pub fn upload_since(
        &mut self,
        segment: Segment,
        file: File,
        resume: Option<Resume>,
        fresh_since: u64,
        locked_until: Option<u64>,
    ) -> Result<JobId, TierBusy> {
        let upload = Upload::new(segment, file, self.is_secret, resume);
        let upload = upload
            .relying_on_since(fresh_since)
            .locked_until(locked_until);
        self.begin(Kind::Upload(Box::new(upload)), segment.bytes)
    }

    /// Brings a file back.
    ///
    /// # Errors
    /// When the tier has its hands full.
    pub fn download(&mut self, segment: Segment) -> Result<JobId, TierBusy> {
        let download = Download::new(segment, true);
        self.begin(Kind::Download(Box::new(download), true), segment.bytes)
    }

    /// Reads a file to see that it is there and whole.
    ///
    /// # Errors
    /// When the tier has its hands full.
    pub fn verify(&mut self, segment: Segment) -> Result<JobId, TierBusy> {
        self.begin(
            Kind::Download(Box::new(Download::new(segment, false)), false),
            0,
        )
    }

    /// Asks up to when the store itself keeps a file.
    ///
    /// # Errors
    /// When the tier has its hands full.
    pub fn lock_of(&mut self, segment: Segment) -> Result<JobId, TierBusy> {
        self.begin(Kind::LockOf(LockOf::new(segment)), 0)
    }

    /// Changes or reads the manifest of a group, of which `known` was read once ([`Manifest::empty`] if none was). A
    /// segment that is put must have been uploaded.
    ///
    /// # Errors
    /// When the tier has its hands full.
    pub fn publish(&mut self, change: Change, known: Manifest) -> Result<JobId, TierBusy> {
        self.begin(Kind::Publish(Box::new(Publish::new(change, known))), 0)
    }

    /// Deletes what the group's manifest does not name and is older than `grace` seconds at second `now`.
    ///
    /// # Errors
    /// When the tier has its hands full.
    pub fn sweep(&mut self, group: u64, now: u64, grace: u64) -> Result<JobId, TierBusy> {
        self.begin(Kind::Sweep(Box::new(Sweep::new(group, now, grace))), 0)
    }

    /// Finds the groups that have anything in the store.
    ///
    /// # Errors
    /// When the tier has its hands full.
    pub fn groups(&mut self) -> Result<JobId, TierBusy> {
        self.begin(Kind::Groups(Groups::new()), 0)
    }

    /// Lists all that lies in the store of a group, named by its manifest or not.
    ///
    /// # Errors
    /// When the tier has its hands full.
    pub fn inventory(&mut self, group: u64) -> Result<JobId, TierBusy> {
        self.begin(Kind::Inventory(Inventory::new(group)), 0)
    }

    /// Gives up an upload in parts that nobody goes on with.
    ///
    /// # Errors
    /// When the tier has its hands full.
    pub fn abort(&mut self, segment: Segment, upload: String) -> Result<JobId, TierBusy> {
        self.begin(Kind::Abort(Abort::new(segment.object(), upload)), 0)
    }

    /// Goes on: hears from the store, lets jobs compute for about `budget` bytes together, gives the store its tasks.
    /// `dice` gives random numbers.
    pub fn turn(&mut self, now_ns: u64, budget: usize, dice: &mut dyn FnMut() -> u64) {
        let mut ended = std::mem::take(&mut self.ended);
        self.store.poll(&mut ended);
        for Ended { token, result } in ended.drain(..) {
            let id = JobId(token);
            let Some(running) = self.jobs.get_mut(&id) else {
                continue;
            };
            let phase = std::mem::replace(&mut running.phase, Phase::Ready);
            match (phase, result) {
                (Phase::Asked(task), Err(error))
                    if error.is_passing() && running.failures + 1 < ATTEMPTS_MAX =>
                {
                    running.failures += 1;
                    let wait = retry::wait(running.failures, dice());
                    running.phase = Phase::Waiting(task, now_ns + wait);
                    self.counts.repeated += 1;
                    self.trouble = Some(error.to_string());
                }
                (_, result) => {
                    running.failures = 0;
                    running.kind.ended(result);
                }
            }
        }
        self.ended = ended;
        let mut left = budget.max(1);
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            self.advance(id, now_ns, &mut left);
        }
    }

    fn advance(&mut self, id: JobId, now_ns: u64, left: &mut usize) {
        let Some(running) = self.jobs.get_mut(&id) else {
            return;
        };
        loop {
            let phase = std::mem::replace(&mut running.phase, Phase::Ready);
            let task = match phase {
                Phase::Asked(task) => {
                    running.phase = Phase::Asked(task);
                    return;
                }
                Phase::Waiting(task, at) if at > now_ns => {
                    running.phase = Phase::Waiting(task, at);
                    return;
                }
                Phase::Waiting(task, _) => task,
                Phase::Ready if *left == 0 => return,
                Phase::Ready => {
                    let slice = (*left).min(SLICE_BYTES);
                    match running.kind.step(slice) {
                        Stepped::Ask(task) => task,
                        Stepped::Again => {
                            *left -= slice;
                            continue;
                        }
                        Stepped::Finished(result) => {
                            self.finish(id, result);
                            return;
                        }
                    }
                }
            };
            // A job that is refused asks for the same again.
            running.phase = match self.store.submit(id.0, task.clone()) {
                Ok(()) => {
                    self.counts.tasks += 1;
                    Phase::Asked(task)
                }
                Err(_) => Phase::Waiting(task, now_ns),
            };
            return;
        }
    }

    fn finish(&mut self, id: JobId, result: Result<Finished, JobError>) {
        if let Some(running) = self.jobs.remove(&id) {
            self.bytes -= running.bytes;
        }
        match &result {
            Ok(Finished::Uploaded(segment)) => self.counts.uploaded_bytes += segment.bytes,
            Ok(Finished::Downloaded(segment, _)) => self.counts.downloaded_bytes += segment.bytes,
            _ => {}
        }
        match &result {
            Ok(_) => self.counts.done += 1,
            Err(error) => {
                self.counts.failed += 1;
                self.trouble = Some(error.to_string());
            }
        }
        self.finished.push((id, result));
    }

    /// The next job that has ended.
    pub fn next_finished(&mut self) -> Option<Ending> {
        (!self.finished.is_empty()).then(|| self.finished.remove(0))
    }

    /// What to remember of an upload in parts that is under way.
    #[must_use]
    pub fn resume_of(&self, id: JobId) -> Option<(Segment, Resume)> {
        match &self.jobs.get(&id)?.kind {
            Kind::Upload(upload) => Some((*upload.segment(), upload.resume()?.clone())),
            _ => None,
        }
    }

    /// Nothing is under way and nothing waits to be fetched.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.finished.is_empty()
    }

    /// Counters.
    #[must_use]
    pub const fn counts(&self) -> TierCounts {
        self.counts
    }

    /// Why something was last repeated or failed, since the last call.
    pub fn next_trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    /// The store.
    pub const fn store(&mut self) -> &mut S {
        &mut self.store
    }

    /// The store, all jobs forgotten.
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }
}

/// Bytes that a job computes at a time.
const SLICE_BYTES: usize = 256 << 10;

enum Stepped {
    Ask(Task),
    Again,
    Finished(Result<Finished, JobError>),
}

fn stepped<T>(step: Step<T>, finished: impl FnOnce(T) -> Finished) -> Stepped {
    match step {
        Step::Ask(task) => Stepped::Ask(task),
        Step::Again => Stepped::Again,
        Step::Done(value) => Stepped::Finished(Ok(finished(value))),
        Step::Failed(error) => Stepped::Finished(Err(error)),
    }
}

impl Kind {
    fn step(&mut self, budget: usize) -> Stepped {
        match self {
            Self::Upload(job) => stepped(job.step(budget), Finished::Uploaded),
            Self::Download(job, keep) => {
                let (segment, keep) = (*job.segment(), *keep);
                stepped(job.step(budget), |file| match file {
                    Some(file) if keep => Finished::Downloaded(segment, file),
                    _ => Finished::Verified(segment),
                })
            }
            Self::Publish(job) => stepped(job.step(budget), Finished::Published),
            Self::Sweep(job) => stepped(job.step(budget), Finished::Swept),
            Self::LockOf(job) => {
                let segment = *job.segment();
                stepped(job.step(budget), |until| {
                    Finished::LockedUntil(segment, until)
                })
            }
            Self::Groups(job) => stepped(job.step(budget), Finished::Groups),
            Self::Abort(job) => stepped(job.step(budget), |()| Finished::Aborted),
            Self::Inventory(job) => stepped(job.step(budget), Finished::Inventory),
        }
    }

    fn ended(&mut self, result: Result<crate::store::Outcome, crate::store::StoreError>) {
        match self {
            Self::Upload(job) => job.ended(result),
            Self::Download(job, _) => job.ended(result),
            Self::Publish(job) => job.ended(result),
            Self::Sweep(job) => job.ended(result),
            Self::LockOf(job) => job.ended(result),
            Self::Groups(job) => job.ended(result),
            Self::Abort(job) => job.ended(result),
            Self::Inventory(job) => job.ended(result),
        }
    }
}

/// A segment with how long it stays, as a change of its group's manifest.
#[must_use]
pub const fn stored(segment: Segment, retention: crate::manifest::Retention) -> Change {
    Change::Put(Stored { segment, retention })
}

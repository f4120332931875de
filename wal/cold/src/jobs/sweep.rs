//! Deletes what the manifest does not name: objects of expired or merged segments, and of uploads that were given up;
//! and old snapshots of the manifest, which can be made again.
//!
//! - The newest manifest is read first and the objects are listed after it, so that a segment that was published in
//!   between is at worst too young to be touched.
//! - Nothing younger than the grace is touched: its upload may be under way, its manifest about to be written, a reader
//!   of an older manifest about to ask for it.
//! - What the store holds under a lock stays, and is counted.

use super::publish::{Change, Publish};
use super::{Job, JobError, Step};
use crate::manifest::{Manifest, SNAPSHOT_EVERY};
use crate::name;
use crate::store::{Listed, Outcome, StoreError, Task};

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects that the manifest names.
    pub named: u64,
    /// Objects deleted.
    pub deleted: u64,
    /// Objects that nobody names and that are too young to go.
    pub young: u64,
    /// Objects that nobody names and that the store does not let go.
    pub locked: u64,
    /// Old snapshots of the manifest deleted.
    pub snapshots: u64,
}

enum State {
    Manifest(Box<Publish>),
    List,
    Delete,
    Failed(JobError),
}

/// Sweeps one group.
pub struct Sweep {
    group: u64,
    /// Objects written before this second may go.
    before: u64,
    manifest: Manifest,
    /// Segments are swept, snapshots are next.
    at_snapshots: bool,
    /// Snapshots from this name on stay.
    oldest_snapshot: String,
    after: String,
    more: bool,
    doomed: Vec<String>,
    swept: Swept,
    state: State,
}

impl Sweep {
    /// Of this group, at this second by the store's clock; what is younger than `grace` seconds stays.
    #[must_use]
    pub fn new(group: u64, now: u64, grace: u64) -> Self {
        Self {
            group,
            before: now.saturating_sub(grace),
            manifest: Manifest::empty(group),
            at_snapshots: false,
            oldest_snapshot: String::new(),
            after: String::new(),
            more: true,
            doomed: Vec::new(),
            swept: Swept::default(),
            state: State::Manifest(Box::new(Publish::new(Change::Read, Manifest::empty(group)))),
        }
    }

    fn listed(&mut self, listed: &[Listed], more: bool) {
        self.more = more && !listed.is_empty();
        for object in listed {
            let (is_young, name) = (object.written >= self.before, &object.name);
            let is_doomed = if self.at_snapshots {
                !is_young && *name < self.oldest_snapshot
            } else {
                let segments = self.manifest.segments();
                let is_named = segments
                    .binary_search_by(|stored| stored.segment.object().cmp(name))
                    .is_ok();
                self.swept.named += u64::from(is_named);
                self.swept.young += u64::from(is_young && !is_named);
                !is_named && !is_young
            };
            if is_doomed {
                self.doomed.push(name.clone());
            }
            self.after.clone_from(name);
        }
    }

    fn deleted(&mut self, is_locked: bool) {
        self.doomed.pop();
        if self.at_snapshots {
            self.swept.snapshots += u64::from(!is_locked);
        } else {
            self.swept.deleted += u64::from(!is_locked);
            self.swept.locked += u64::from(is_locked);
        }
    }
}

impl Job for Sweep {
    type Output = Swept;

    fn step(&mut self, budget: usize) -> Step<Swept> {
        if let State::Manifest(publish) = &mut self.state {
            match publish.step(budget) {
                Step::Done(manifest) => {
                    let newest = manifest.number - manifest.number % SNAPSHOT_EVERY;
                    let oldest = newest.saturating_sub(SNAPSHOT_EVERY);
                    self.oldest_snapshot = name::snapshot(self.group, oldest);
                    self.manifest = manifest;
                    self.state = State::List;
                }
                Step::Ask(task) => return Step::Ask(task),
                Step::Again => return Step::Again,
                Step::Failed(error) => return Step::Failed(error),
            }
        }
        if let State::Failed(error) = &self.state {
            return Step::Failed(error.clone());
        }
        if let Some(name) = self.doomed.last() {
            self.state = State::Delete;
            return Step::Ask(Task::Delete { name: name.clone() });
        }
        if !self.more && !self.at_snapshots {
            (self.at_snapshots, self.more) = (true, true);
            self.after.clear();
        }
        if self.more {
            self.state = State::List;
            let prefix = if self.at_snapshots {
                name::snapshots_of(self.group)
            } else {
                name::segments_of(self.group)
            };
            return Step::Ask(Task::List {
                prefix,
                after: self.after.clone(),
            });
        }
        Step::Done(self.swept)
    }

    fn ended(&mut self, result: Result<Outcome, StoreError>) {
        match (&mut self.state, result) {
            (State::Manifest(publish), result) => publish.ended(result),
            (State::List, Ok(Outcome::Listed(listed, more))) => self.listed(&listed, more),
            (State::Delete, Ok(Outcome::Done)) => self.deleted(false),
            (State::Delete, Err(StoreError::Denied(_))) => self.deleted(true),
            (_, Err(error)) => self.state = State::Failed(error.into()),
            (_, Ok(_)) => self.state = State::Failed(JobError::Confused),
        }
    }
}

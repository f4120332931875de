//! Changes a group's manifest: finds the newest number, reads what is new, and claims the next number.
//!
//! - Edits are numbered without gaps and never deleted, so the newest is found by asking for numbers, by doubling steps
//!   and then by halving: no listing is relied on, and a number that was claimed once can never be claimed again by a
//!   writer that stood still.
//! - Snapshots only save reading: each can be made again from the edits, and nothing is lost with one.
//! - The order that keeps every segment reachable: an object is whole and verified before an edit names it, and is
//!   deleted only when an edit has taken it out.

use super::{Job, JobError, Step};
use crate::limits::MANIFEST_BYTES_MAX;
use crate::manifest::{Edit, Manifest, ManifestError, Retention, SNAPSHOT_EVERY, Stored};
use crate::name;
use crate::store::{Outcome, StoreError, Task};

/// What is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: the newest manifest is wanted.
    Read,
    /// A segment is in the store, whole and verified.
    Put(Stored),
    /// Those segments go whose time is over at this second.
    Expire(u64),
    /// Everything that lies wholly at or below this index goes, unless it is locked at this second.
    Truncate {
        /// The last index that goes.
        upto: u64,
        /// The second.
        now: u64,
    },
}

impl Change {
    /// What it comes to on this manifest; nothing, when it is so already.
    fn edit(&self, manifest: &Manifest) -> Option<Edit> {
        let gone = |goes: &dyn Fn(&Stored) -> bool| {
            let segments = manifest.segments().iter().filter(|stored| goes(stored));
            let gone: Vec<u64> = segments.map(|stored| stored.segment.first).collect();
            (!gone.is_empty()).then(|| manifest.edit(None, gone))
        };
        match self {
            Self::Read => None,
            Self::Put(stored) if manifest.covers(&stored.segment) => None,
            Self::Put(stored) => Some(manifest.edit(Some(*stored), Vec::new())),
            Self::Expire(now) => gone(&|stored| stored.is_over(*now)),
            Self::Truncate { upto, now } => gone(&|stored| {
                stored.segment.last <= *upto
                    && !matches!(stored.retention, Retention::Locked(end) if end >= *now)
            }),
        }
    }
}

#[derive(Debug)]
enum State {
    /// Asks for the number this far ahead; steps double until one is not there.
    Double(u64),
    /// The newest is at least `newest` and less than this.
    Halve(u64),
    /// Reads the snapshot with this number, to be spared the edits before it.
    Snapshot(u64),
    /// Reads the edit behind what is known.
    Edit,
    /// Claims the next number for this edit; the manifest is what it comes to.
    Claim(Edit, Manifest),
    /// Saves reading to those who come later.
    Save(Manifest),
    Failed(JobError),
    Done(Manifest),
}

/// Changes one group's manifest; its result is the newest one.
#[derive(Debug)]
pub struct Publish {
    change: Change,
    known: Manifest,
    /// A number that is there.
    newest: u64,
    state: State,
}

impl Publish {
    /// Of the group of `known`, a manifest of it that was read once; [`Manifest::empty`] when none was.
    #[must_use]
    pub const fn new(change: Change, known: Manifest) -> Self {
        Self {
            change,
            newest: known.number,
            known,
            state: State::Double(1),
        }
    }

    fn failed(&self, name: String, error: ManifestError) -> State {
        State::Failed(JobError::Manifest { name, error })
    }

    fn edit_name(&self, number: u64) -> String {
        name::edit(self.known.group, number)
    }

    /// Whether a number is there is known: goes on looking, or has found the newest.
    fn probed(&mut self, state: &State, is_there: bool) -> State {
        match (state, is_there) {
            (State::Double(step), true) => {
                self.newest += step;
                State::Double(step.saturating_mul(2))
            }
            (State::Double(step), false) => self.halve(self.newest.saturating_add(*step)),
            (State::Halve(above), true) => {
                self.newest = self.newest.midpoint(*above);
                self.halve(*above)
            }
            (State::Halve(above), false) => self.halve(self.newest.midpoint(*above)),
            _ => State::Failed(JobError::Confused),
        }
    }

    fn halve(&mut self, above: u64) -> State {
        if above - self.newest > 1 {
            return State::Halve(above);
        }
        self.snapshot(self.newest - self.newest % SNAPSHOT_EVERY)
    }

    /// Reads this snapshot if it saves reading, else edit by edit.
    fn snapshot(&mut self, number: u64) -> State {
        if number > self.known.number {
            State::Snapshot(number)
        } else {
            self.follow()
        }
    }

    /// Reads on to the newest, and changes it.
    fn follow(&mut self) -> State {
        if self.known.number < self.newest {
            return State::Edit;
        }
        let Some(edit) = self.change.edit(&self.known) else {
            return State::Done(self.known.clone());
        };
        let mut next = self.known.clone();
        match next.apply(&edit) {
            Ok(()) => State::Claim(edit, next),
            Err(error) => self.failed(self.edit_name(edit.number), error),
        }
    }

    fn read_snapshot(&mut self, number: u64, bytes: &[u8]) -> State {
        match Manifest::decode(bytes, self.known.group, number) {
            Ok(manifest) => {
                self.known = manifest;
                self.follow()
            }
            // A snapshot that cannot be read costs only time.
            Err(ManifestError::Version(version)) => self.failed(
                name::snapshot(self.known.group, number),
                ManifestError::Version(version),
            ),
            Err(_) => self.snapshot(number - SNAPSHOT_EVERY),
        }
    }

    fn read_edit(&mut self, bytes: &[u8]) -> State {
        let number = self.known.number + 1;
        let read =
            Edit::decode(bytes, self.known.group, number).and_then(|edit| self.known.apply(&edit));
        match read {
            Ok(()) => self.follow(),
            Err(error) => self.failed(self.edit_name(number), error),
        }
    }
}

impl Job for Publish {
    type Output = Manifest;

    fn step(&mut self, _budget: usize) -> Step<Manifest> {
        let group = self.known.group;
        let head = |number| Task::Head {
            name: name::edit(group, number),
        };
        let read = |name| Task::Get {
            name,
            range: 0..MANIFEST_BYTES_MAX,
        };
        let task = match &self.state {
            State::Double(step) => head(self.newest.saturating_add(*step)),
            State::Halve(above) => head(self.newest.midpoint(*above)),
            State::Snapshot(number) => read(name::snapshot(group, *number)),
            State::Edit => read(name::edit(group, self.known.number + 1)),
            State::Claim(edit, _) => Task::Create {
                name: name::edit(group, edit.number),
                pieces: vec![edit.encode().into()],
            },
            State::Save(manifest) => Task::Create {
                name: name::snapshot(group, manifest.number),
                pieces: vec![manifest.encode().into()],
            },
            State::Failed(error) => return Step::Failed(error.clone()),
            State::Done(manifest) => return Step::Done(manifest.clone()),
        };
        Step::Ask(task)
    }

    fn ended(&mut self, result: Result<Outcome, StoreError>) {
        let state = std::mem::replace(&mut self.state, State::Double(1));
        self.state = match (state, result) {
            (state @ (State::Double(_) | State::Halve(_)), Ok(Outcome::Length(..))) => {
                self.probed(&state, true)
            }
            (state @ (State::Double(_) | State::Halve(_)), Err(StoreError::NotFound)) => {
                self.probed(&state, false)
            }
            (State::Snapshot(number), Ok(Outcome::Bytes(bytes))) => {
                self.read_snapshot(number, &bytes)
            }
            (State::Snapshot(number), Err(StoreError::NotFound)) => {
                self.snapshot(number - SNAPSHOT_EVERY)
            }
            (State::Edit, Ok(Outcome::Bytes(bytes))) => self.read_edit(&bytes),
            // Somebody was quicker, or our own answer was lost: what stands there tells.
            (State::Claim(edit, _), Err(StoreError::Exists)) => {
                self.newest = edit.number;
                State::Double(1)
            }
            (State::Claim(_, next), Ok(Outcome::Done)) => {
                if next.number.is_multiple_of(SNAPSHOT_EVERY) {
                    State::Save(next)
                } else {
                    State::Done(next)
                }
            }
            (State::Save(next), _) => State::Done(next),
            (_, Err(error)) => State::Failed(error.into()),
            (_, Ok(_)) => State::Failed(JobError::Confused),
        };
    }
}

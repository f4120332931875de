//! A store in memory that fails on command: for tests, and for the simulated world.
//!
//! - Objects are linearizable; listings may be old by a bounded number of changes.
//! - A task that fails by a lost answer may have been done or not; both happen.
//! - Everything is decided by the faults' dice: one seed, one behaviour.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{Busy, Ended, Listed, ObjectStore, Outcome, StoreError, Task};
use crate::key::{KeyError, KeyKeeper};
use crate::limits::{LIST_MAX, TASKS_MAX};

/// How often things go wrong, each in 256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The store is busy: nothing was done.
    pub unavailable: u8,
    /// It was done, and the answer is lost.
    pub lost_answer: u8,
    /// The task never arrived, and nobody says so.
    pub lost_task: u8,
    /// A read gives fewer bytes than asked for.
    pub truncated: u8,
    /// A read gives bytes of which one bit is wrong.
    pub flipped: u8,
    /// A listing is that of a while ago.
    pub stale_listing: u8,
    /// An upload in parts is forgotten.
    pub lost_upload: u8,
    /// A task takes so many polls at the most.
    pub slow: u8,
}

struct Object {
    bytes: Bytes,
    written: u64,
    locked_until: u64,
}

/// Random numbers.
pub type Dice = Box<dyn FnMut() -> u64 + Send>;

/// The store.
pub struct Memory {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, BTreeMap<usize, Bytes>>,
    uploads_begun: u64,
    /// What listings would have said before the last changes.
    past: Vec<Vec<Listed>>,
    waiting: Vec<(u64, Task, u64)>,
    keeper: Option<Box<dyn KeyKeeper>>,
    faults: Faults,
    dice: Dice,
    /// The store's clock, seconds since the Unix epoch.
    pub now: u64,
    /// Objects written from here on cannot be deleted for so many seconds.
    pub lock_seconds: u64,
    /// Whether single objects can be locked.
    pub has_locks: bool,
    /// How many faults of any kind happened.
    pub faults_injected: u64,
    done: BTreeMap<&'static str, u64>,
}

const PAST_MAX: usize = 4;

impl Memory {
    /// An empty store that never fails.
    #[must_use]
    pub fn new() -> Self {
        Self::with_faults(Faults::default(), Box::new(|| 0))
    }

    /// An empty store that fails as its dice fall.
    #[must_use]
    pub fn with_faults(faults: Faults, dice: Dice) -> Self {
        Self {
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            uploads_begun: 0,
            past: Vec::new(),
            waiting: Vec::new(),
            keeper: None,
            faults,
            dice,
            now: 0,
            lock_seconds: 0,
            has_locks: false,
            faults_injected: 0,
            done: BTreeMap::new(),
        }
    }

    /// With a keeper of keys.
    #[must_use]
    pub fn with_keeper(mut self, keeper: Box<dyn KeyKeeper>) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// Other faults from here on.
    pub const fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Forgets every task under way, as when who asked has died. What was under way may be done or not.
    pub fn abandon(&mut self) {
        for (_, task, _) in std::mem::take(&mut self.waiting) {
            if (self.dice)() & 1 == 1 {
                // Whoever asked is gone: nobody hears how it went.
                let _ = self.perform(task);
            }
        }
    }

    /// Names and bytes of all objects.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.objects
            .iter()
            .map(|(name, object)| (name.as_str(), &object.bytes))
    }

    /// How many tasks of a kind were carried out: create, begin, part, complete, abort, get, head, list, delete, lock, key.
    #[must_use]
    pub fn tasks_done(&self, kind: &str) -> u64 {
        self.done.get(kind).copied().unwrap_or(0)
    }

    /// Uploads in parts that were begun and neither completed nor given up.
    #[must_use]
    pub fn uploads_open(&self) -> usize {
        self.uploads.len()
    }

    /// Loses an object.
    pub fn lose(&mut self, name: &str) {
        self.objects.remove(name);
    }

    /// Changes an object's bytes by hand.
    pub fn damage(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(object) = self.objects.get_mut(name) {
            let mut bytes = object.bytes.to_vec();
            change(&mut bytes);
            object.bytes = bytes.into();
        }
    }

    fn strikes(&mut self, chance: u8) -> bool {
        let strikes = chance > 0 && (self.dice)() & 0xff < u64::from(chance);
        self.faults_injected += u64::from(strikes);
        strikes
    }

    fn listing(&self) -> Vec<Listed> {
        self.objects.iter().map(listed).collect()
    }

    fn put(&mut self, name: String, bytes: Bytes) {
        if self.faults.stale_listing > 0 {
            self.past.push(self.listing());
            if self.past.len() > PAST_MAX {
                self.past.remove(0);
            }
        }
        let object = Object {
            bytes,
            written: self.now,
            locked_until: self.now + self.lock_seconds,
        };
        self.objects.insert(name, object);
    }

    fn attempt(&mut self, task: Task) -> Result<Outcome, StoreError> {
        if self.strikes(self.faults.unavailable) {
            return Err(StoreError::Unavailable("injected".into()));
        }
        if self.strikes(self.faults.lost_task) {
            return Err(StoreError::Unknown("injected".into()));
        }
        let result = self.perform(task);
        if self.strikes(self.faults.lost_answer) {
            return Err(StoreError::Unknown("injected".into()));
        }
        result
    }

    fn perform(&mut self, task: Task) -> Result<Outcome, StoreError> {
        *self.done.entry(kind(&task)).or_default() += 1;
        match task {
            Task::Create { name, .. } if self.objects.contains_key(&name) => {
                Err(StoreError::Exists)
            }
            Task::Create { name, pieces } => {
                self.put(name, pieces.concat().into());
                Ok(Outcome::Done)
            }
            Task::Begin { .. } => {
                self.uploads_begun += 1;
                let upload = format!("upload-{}", self.uploads_begun);
                self.uploads.insert(upload.clone(), BTreeMap::new());
                Ok(Outcome::Begun(upload))
            }
            Task::Part {
                upload,
                part,
                pieces,
                ..
            } => self.part(&upload, part, &pieces),
            Task::Complete {
                name,
                upload,
                parts,
            } => self.complete(name, &upload, &parts),
            Task::Abort { upload, .. } => {
                self.uploads.remove(&upload);
                Ok(Outcome::Done)
            }
            Task::Get { name, range } => self.get(&name, range.start, range.end),
            Task::Head { name } => {
                let object = self.objects.get(&name).ok_or(StoreError::NotFound)?;
                Ok(Outcome::Length(object.bytes.len() as u64, object.written))
            }
            Task::List { prefix, after } => Ok(self.list(&prefix, &after)),
            Task::Delete { name } => self.delete(&name),
            Task::Lock { .. } | Task::LockOf { .. } if !self.has_locks => {
                Err(StoreError::Unsupported)
            }
            Task::Lock { name, until } => {
                let object = self.objects.get_mut(&name).ok_or(StoreError::NotFound)?;
                object.locked_until = object.locked_until.max(until);
                Ok(Outcome::Done)
            }
            Task::LockOf { name } => {
                let object = self.objects.get(&name).ok_or(StoreError::NotFound)?;
                Ok(Outcome::LockedUntil(object.locked_until))
            }
            Task::NewKey => {
                let (key, wrapped) = self.keeper()?.generate()?;
                Ok(Outcome::Key(key, wrapped))
            }
            Task::OpenKey(wrapped) => {
                let key = self.keeper()?.open(&wrapped)?;
                Ok(Outcome::Key(key, wrapped))
            }
        }
    }

    fn keeper(&mut self) -> Result<&mut Box<dyn KeyKeeper>, KeyError> {
        self.keeper.as_mut().ok_or(KeyError::NoKeeper)
    }

    fn part(&mut self, upload: &str, part: usize, pieces: &[Bytes]) -> Result<Outcome, StoreError> {
        if self.strikes(self.faults.lost_upload) {
            self.uploads.remove(upload);
        }
        let parts = self.uploads.get_mut(upload).ok_or(StoreError::NotFound)?;
        parts.insert(part, pieces.concat().into());
        Ok(Outcome::Part(format!("{upload}/{part}")))
    }

    fn complete(
        &mut self,
        name: String,
        upload: &str,
        parts: &[String],
    ) -> Result<Outcome, StoreError> {
        let held = self.uploads.get(upload).ok_or(StoreError::NotFound)?;
        let mut bytes = Vec::new();
        for nth in 0..parts.len() {
            bytes.extend_from_slice(held.get(&nth).ok_or(StoreError::NotFound)?);
        }
        self.uploads.remove(upload);
        self.put(name, bytes.into());
        Ok(Outcome::Done)
    }

    fn get(&mut self, name: &str, from: u64, to: u64) -> Result<Outcome, StoreError> {
        let (truncated, flipped) = (
            self.strikes(self.faults.truncated),
            self.strikes(self.faults.flipped),
        );
        let object = self.objects.get(name).ok_or(StoreError::NotFound)?;
        let end = usize::try_from(to)
            .unwrap_or(usize::MAX)
            .min(object.bytes.len());
        let start = usize::try_from(from).unwrap_or(usize::MAX).min(end);
        let mut bytes = object.bytes.slice(start..end);
        if truncated {
            bytes.truncate((self.dice)() as usize % (bytes.len() + 1));
        }
        if flipped && !bytes.is_empty() {
            let at = (self.dice)() as usize % (bytes.len() * 8);
            let mut wrong = bytes.to_vec();
            wrong[at / 8] ^= 1 << (at % 8);
            bytes = wrong.into();
        }
        Ok(Outcome::Bytes(bytes))
    }

    fn list(&mut self, prefix: &str, after: &str) -> Outcome {
        let is_old = self.strikes(self.faults.stale_listing) && !self.past.is_empty();
        let mut found: Vec<Listed> = if is_old {
            let which = (self.dice)() as usize % self.past.len();
            let is_asked =
                |listed: &&Listed| listed.name.starts_with(prefix) && listed.name.as_str() > after;
            self.past[which].iter().filter(is_asked).cloned().collect()
        } else {
            let from = if after < prefix {
                Bound::Included(prefix)
            } else {
                Bound::Excluded(after)
            };
            let objects = self.objects.range::<str, _>((from, Bound::Unbounded));
            let objects = objects.take_while(|(name, _)| name.starts_with(prefix));
            objects.map(listed).collect()
        };
        let more = found.len() > LIST_MAX;
        found.truncate(LIST_MAX);
        Outcome::Listed(found, more)
    }

    fn delete(&mut self, name: &str) -> Result<Outcome, StoreError> {
        match self.objects.get(name) {
            Some(object) if object.locked_until > self.now => {
                Err(StoreError::Denied("the object is locked".into()))
            }
            _ => {
                self.objects.remove(name);
                Ok(Outcome::Done)
            }
        }
    }
}

fn listed((name, object): (&String, &Object)) -> Listed {
    Listed {
        name: name.clone(),
        bytes: object.bytes.len() as u64,
        written: object.written,
    }
}

const fn kind(task: &Task) -> &'static str {
    match task {
        Task::Create { .. } => "create",
        Task::Begin { .. } => "begin",
        Task::Part { .. } => "part",
        Task::Complete { .. } => "complete",
        Task::Abort { .. } => "abort",
        Task::Get { .. } => "get",
        Task::Head { .. } => "head",
        Task::List { .. } => "list",
        Task::Delete { .. } => "delete",
        Task::Lock { .. } | Task::LockOf { .. } => "lock",
        Task::NewKey | Task::OpenKey(_) => "key",
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl ObjectStore for Memory {
    fn submit(&mut self, token: u64, task: Task) -> Result<(), Busy> {
        if self.waiting.len() >= TASKS_MAX {
            return Err(Busy);
        }
        let polls = match self.faults.slow {
            0 => 0,
            most => (self.dice)() % (u64::from(most) + 1),
        };
        self.waiting.push((token, task, polls));
        Ok(())
    }

    fn poll(&mut self, ended: &mut Vec<Ended>) {
        let mut still = Vec::new();
        for (token, task, polls) in std::mem::take(&mut self.waiting) {
            if polls > 0 {
                still.push((token, task, polls - 1));
                continue;
            }
            let result = self.attempt(task);
            ended.push(Ended { token, result });
        }
        self.waiting = still;
    }
}

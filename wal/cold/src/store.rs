//! The door to what is far away: objects, and the keys of their secrets. Submitted and polled, never waited for.
//!
//! - A task is given a token and comes back with it, done or failed; in any order.
//! - What a store answered `Exists` or `Unknown` to may have happened: ask before doing it again.
//! - Nobody relies on a listing being fresh for what was written a moment ago; names that are known are asked for.

mod lock;
pub mod memory;
pub mod remote;

use std::ops::Range;

use bytes::Bytes;
use thiserror::Error;

use crate::key::{DataKey, KeyError, WrappedKey};

/// What a store is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Puts an object unless one of this name is there.
    Create {
        /// Its name.
        name: String,
        /// Its content, in the order of its pieces.
        pieces: Vec<Bytes>,
    },
    /// Begins an upload in parts.
    Begin {
        /// The object's name.
        name: String,
    },
    /// Uploads one part; again, if need be.
    Part {
        /// The object's name.
        name: String,
        /// The upload.
        upload: String,
        /// Number of the part, from 0.
        part: usize,
        /// Its content, in the order of its pieces.
        pieces: Vec<Bytes>,
    },
    /// Makes the object of its parts, in their order.
    Complete {
        /// The object's name.
        name: String,
        /// The upload.
        upload: String,
        /// What each part was answered with.
        parts: Vec<String>,
    },
    /// Gives an upload up.
    Abort {
        /// The object's name.
        name: String,
        /// The upload.
        upload: String,
    },
    /// Reads a stretch of an object; what there is of it, when the object ends earlier.
    Get {
        /// Its name.
        name: String,
        /// The bytes.
        range: Range<u64>,
    },
    /// Asks how long an object is, and how old.
    Head {
        /// Its name.
        name: String,
    },
    /// Lists objects whose names begin with `prefix` and sort behind `after`; at most
    /// [`crate::limits::LIST_MAX`], in the order of their names.
    List {
        /// What names begin with.
        prefix: String,
        /// Behind this one; empty for all.
        after: String,
    },
    /// Deletes an object. One that is not there is deleted already.
    Delete {
        /// Its name.
        name: String,
    },
    /// Has the store itself keep an object up to this second since the Unix epoch: nobody deletes or changes it before,
    /// however entitled. A lock that is longer already stays as it is. `Unsupported` where objects have no locks.
    Lock {
        /// Its name.
        name: String,
        /// The second.
        until: u64,
    },
    /// Asks up to when the store itself keeps an object. `Unsupported` where objects have no locks.
    LockOf {
        /// Its name.
        name: String,
    },
    /// Makes a key for one object's data.
    NewKey,
    /// Opens a key that was wrapped once.
    OpenKey(WrappedKey),
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When it was last written, seconds since the Unix epoch by the store's clock.
    pub written: u64,
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Created, deleted, completed, aborted, locked.
    Done,
    /// The upload's name.
    Begun(String),
    /// What a part was answered with.
    Part(String),
    /// The bytes.
    Bytes(Bytes),
    /// The object's length, and when it was last written, seconds since the Unix epoch by the store's clock.
    Length(u64, u64),
    /// The objects, and whether there are more behind the last.
    Listed(Vec<Listed>, bool),
    /// Up to this second since the Unix epoch the store keeps the object from everybody; 0: it does not.
    LockedUntil(u64),
    /// A data key, open and wrapped.
    Key(DataKey, WrappedKey),
}

/// Why a task was not done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// An object of this name is there.
    #[error("the object exists")]
    Exists,
    /// There is no object of this name, or no such upload.
    #[error("no such object")]
    NotFound,
    /// The store is busy or cannot be reached. Nothing was done, or it can be done again without harm.
    #[error("the store cannot be reached or is busy: {0}")]
    Unavailable(String),
    /// The answer was lost: the task may have been done.
    #[error("no answer; it may have been done: {0}")]
    Unknown(String),
    /// The store refuses: credentials, rights, or an object under a lock.
    #[error("the store refuses: {0}")]
    Denied(String),
    /// The store does not do this.
    #[error("the store does not support this")]
    Unsupported,
    /// The keeper of keys failed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl StoreError {
    /// Whether the same task may be tried again later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_) | Self::Unknown(_) | Self::Key(KeyError::Unavailable)
        )
    }
}

/// A task that ended.
#[derive(Debug)]
pub struct Ended {
    /// The name it was given.
    pub token: u64,
    /// What came of it.
    pub result: Result<Outcome, StoreError>,
}

/// As many tasks are under way as the store takes; try again when one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the store is busy")]
pub struct Busy;

/// A store of objects, and its keys.
pub trait ObjectStore {
    /// Begins a task.
    ///
    /// # Errors
    /// When as many are under way as the store takes.
    fn submit(&mut self, token: u64, task: Task) -> Result<(), Busy>;

    /// Appends the tasks that have ended.
    fn poll(&mut self, ended: &mut Vec<Ended>);
}

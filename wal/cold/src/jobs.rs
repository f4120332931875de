//! Work with the store that takes several tasks: each job asks for one at a time and is told what came of it.
//!
//! - A job is a plain state machine: no clock, no thread, no dice. Who runs it repeats tasks that failed for a
//!   passing reason; a job sees only answers that mean something.
//! - Every job may be given up at any point and begun anew: what it did so far does no harm and is found again.

pub mod abort;
pub mod download;
pub mod groups;
pub mod inventory;
pub mod lock_of;
pub mod publish;
pub mod sweep;
pub mod upload;

use crate::store::{Outcome, StoreError, Task};

use crate::key::KeyError;
use crate::manifest::ManifestError;
use crate::object::ObjectError;

use thiserror::Error;

/// What a job does next.
#[derive(Debug)]
pub enum Step<T> {
    /// It asks for this, and waits.
    Ask(Task),
    /// It has computed for a while; call it again.
    Again,
    /// It is done.
    Done(T),
    /// It has failed.
    Failed(JobError),
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JobError {
    /// The store did not do it, after as many tries as make sense.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object in the store is not what it should be.
    #[error("{name}: {error}")]
    Object {
        /// Its name.
        name: String,
        /// What is wrong.
        error: ObjectError,
    },
    /// The manifest in the store cannot be read, or not be changed so.
    #[error("{name}: {error}")]
    Manifest {
        /// Its name.
        name: String,
        /// What is wrong.
        error: ManifestError,
    },
    /// The store answered something else than it was asked.
    #[error("the store answered something else than it was asked")]
    Confused,
    /// The file to be stored is larger than a file may be.
    #[error("the file has more than {0} bytes")]
    TooLarge(u64),
}

impl From<KeyError> for JobError {
    fn from(error: KeyError) -> Self {
        Self::Store(StoreError::Key(error))
    }
}

/// A state machine over the store.
pub trait Job {
    /// What it results in.
    type Output;

    /// Goes on, computing for about `budget` bytes at most. Called first, and after [`Step::Again`] and
    /// [`Job::ended`].
    fn step(&mut self, budget: usize) -> Step<Self::Output>;

    /// What it asked for has ended.
    fn ended(&mut self, result: Result<Outcome, StoreError>);
}

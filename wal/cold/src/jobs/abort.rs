//! Gives an upload in parts up, so that the store keeps its parts no longer.
//!
//! - An upload that is not there is given up already; a store without parts has none.

use super::{Job, JobError, Step};
use crate::store::{Outcome, StoreError, Task};

/// Gives one upload up.
#[derive(Debug)]
pub struct Abort {
    name: String,
    upload: String,
    ended: Option<Result<(), JobError>>,
}

impl Abort {
    /// Of this object, by the upload's name.
    #[must_use]
    pub const fn new(name: String, upload: String) -> Self {
        Self {
            name,
            upload,
            ended: None,
        }
    }
}

impl Job for Abort {
    type Output = ();

    fn step(&mut self, _budget: usize) -> Step<()> {
        match self.ended.take() {
            Some(Ok(())) => Step::Done(()),
            Some(Err(error)) => Step::Failed(error),
            None => Step::Ask(Task::Abort {
                name: self.name.clone(),
                upload: self.upload.clone(),
            }),
        }
    }

    fn ended(&mut self, result: Result<Outcome, StoreError>) {
        self.ended = Some(match result {
            Ok(Outcome::Done) | Err(StoreError::NotFound | StoreError::Unsupported) => Ok(()),
            Ok(_) => Err(JobError::Confused),
            Err(error) => Err(error.into()),
        });
    }
}

//! Asks up to when the store itself keeps a file.

use super::{Job, JobError, Step};
use crate::name::Segment;
use crate::store::{Outcome, StoreError, Task};

/// Asks for the lock of one file; its result is the second since the Unix epoch, or 0 where there is none.
#[derive(Debug)]
pub struct LockOf {
    segment: Segment,
    until: Option<Result<u64, JobError>>,
}

impl LockOf {
    /// Of this file.
    #[must_use]
    pub const fn new(segment: Segment) -> Self {
        Self {
            segment,
            until: None,
        }
    }

    /// What is asked about.
    #[must_use]
    pub const fn segment(&self) -> &Segment {
        &self.segment
    }
}

impl Job for LockOf {
    type Output = u64;

    fn step(&mut self, _budget: usize) -> Step<u64> {
        match &self.until {
            None => Step::Ask(Task::LockOf {
                name: self.segment.object(),
            }),
            Some(Ok(until)) => Step::Done(*until),
            Some(Err(error)) => Step::Failed(error.clone()),
        }
    }

    fn ended(&mut self, result: Result<Outcome, StoreError>) {
        self.until = Some(match result {
            Ok(Outcome::LockedUntil(until)) => Ok(until),
            Err(StoreError::Unsupported) => Ok(0),
            Err(error) => Err(error.into()),
            Ok(_) => Err(JobError::Confused),
        });
    }
}

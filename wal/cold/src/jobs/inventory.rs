//! Lists all that lies in the store of one group, named by a manifest or not: for whoever compares the two.
//!
//! - A listing may be old by a moment: what it lacks is asked for by name before it is called missing.

use super::{Job, JobError, Step};
use crate::name;
use crate::store::{Listed, Outcome, StoreError, Task};

/// Lists one group's objects.
#[derive(Debug)]
pub struct Inventory {
    prefix: String,
    found: Vec<Listed>,
    is_done: bool,
    failed: Option<JobError>,
}

impl Inventory {
    /// Of this group.
    #[must_use]
    pub fn new(group: u64) -> Self {
        Self {
            prefix: name::all_of(group),
            found: Vec::new(),
            is_done: false,
            failed: None,
        }
    }
}

impl Job for Inventory {
    type Output = Vec<Listed>;

    fn step(&mut self, _budget: usize) -> Step<Vec<Listed>> {
        match &self.failed {
            Some(error) => Step::Failed(error.clone()),
            None if self.is_done => Step::Done(std::mem::take(&mut self.found)),
            None => Step::Ask(Task::List {
                prefix: self.prefix.clone(),
                after: self
                    .found
                    .last()
                    .map_or_else(String::new, |last| last.name.clone()),
            }),
        }
    }

    fn ended(&mut self, result: Result<Outcome, StoreError>) {
        match result {
            Ok(Outcome::Listed(listed, more)) => {
                self.is_done = !more || listed.is_empty();
                self.found.extend(listed);
            }
            Ok(_) => self.failed = Some(JobError::Confused),
            Err(error) => self.failed = Some(error.into()),
        }
    }
}

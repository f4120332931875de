//! Finds the groups that have anything in the store.

use super::{Job, JobError, Step};
use crate::store::{Outcome, StoreError, Task};

/// Finds groups, by jumping from one to the next in a listing.
#[derive(Debug, Default)]
pub struct Groups {
    found: Vec<u64>,
    after: String,
    is_done: bool,
    failed: Option<JobError>,
}

impl Groups {
    /// From the first on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The group that a name belongs to.
fn group_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("v1/")?.get(..16)?;
    u64::from_str_radix(digits, 16).ok()
}

impl Job for Groups {
    type Output = Vec<u64>;

    fn step(&mut self, _budget: usize) -> Step<Vec<u64>> {
        match &self.failed {
            Some(error) => Step::Failed(error.clone()),
            None if self.is_done => Step::Done(std::mem::take(&mut self.found)),
            None => Step::Ask(Task::List {
                prefix: "v1/".to_owned(),
                after: self.after.clone(),
            }),
        }
    }

    fn ended(&mut self, result: Result<Outcome, StoreError>) {
        match result {
            Ok(Outcome::Listed(listed, _)) => {
                let newest = self.found.last().copied();
                let next = listed
                    .iter()
                    .filter_map(|listed| group_of(&listed.name))
                    .find(|group| newest.is_none_or(|newest| *group > newest));
                match next {
                    // `~` sorts behind everything that stands below a group.
                    Some(group) => {
                        self.after = format!("v1/{group:016x}/~");
                        self.found.push(group);
                    }
                    None => self.is_done = true,
                }
            }
            Ok(_) => self.failed = Some(JobError::Confused),
            Err(error) => self.failed = Some(error.into()),
        }
    }
}

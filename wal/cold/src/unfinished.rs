//! Uploads in parts that have not ended: gone on with when their file comes again, given up when nobody goes on with them.
//!
//! - A store keeps the parts of an upload, and asks to be paid for them, until it is completed or given up.
//! - An upload that nobody touched for the grace of a sweep is given up; a file that comes after all is uploaded anew.
//! - It is forgotten only when the store said that it is gone. What a lost process alone knew stays there: buckets have a
//!   rule of their own for that, which the documents advise.

use std::collections::{BTreeMap, VecDeque};

use crate::jobs::JobError;
use crate::jobs::upload::Resume;
use crate::limits::RESUMES_MAX;
use crate::name::Segment;
use crate::store::ObjectStore;
use crate::tier::{Finished, JobId, Tier};

/// All that are known; one per store.
#[derive(Default)]
pub(crate) struct Unfinished {
    resumes: BTreeMap<Segment, Resume>,
    /// When each was last gone on with; absent until the first look.
    touched: BTreeMap<Segment, u64>,
    is_changed: bool,
    /// Those that were superseded: nobody will go on with them.
    orphans: VecDeque<(Segment, String)>,
    giving_up: Option<(JobId, Segment, String)>,
    given_up: u64,
}

impl Unfinished {
    /// What a process before had begun.
    pub(crate) fn of(resumes: impl IntoIterator<Item = (Segment, Resume)>) -> Self {
        Self {
            resumes: resumes.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The upload of this file, if one was begun.
    pub(crate) fn get(&self, segment: &Segment) -> Option<&Resume> {
        self.resumes.get(segment)
    }

    /// All of them, when they changed since the last call.
    pub(crate) fn changed(&mut self) -> Option<&BTreeMap<Segment, Resume>> {
        std::mem::take(&mut self.is_changed).then_some(&self.resumes)
    }

    /// An upload is under way, and has come so far.
    pub(crate) fn note(&mut self, segment: Segment, resume: Resume, second: u64) {
        self.touched.insert(segment, second);
        let known = self.resumes.get(&segment);
        if known == Some(&resume) {
            return;
        }
        if let Some(known) = known.filter(|known| known.upload != resume.upload) {
            self.orphans.push_back((segment, known.upload.clone()));
        }
        self.resumes.insert(segment, resume);
        self.is_changed = true;
        while self.resumes.len() > RESUMES_MAX {
            let longest = |one: &&Segment| self.touched.get(one).copied().unwrap_or(0);
            let Some(oldest) = self.resumes.keys().min_by_key(longest).copied() else {
                break;
            };
            self.orphan(&oldest);
        }
        while self.orphans.len() > RESUMES_MAX {
            self.orphans.pop_front();
        }
    }

    fn orphan(&mut self, segment: &Segment) {
        self.touched.remove(segment);
        if let Some(resume) = self.resumes.remove(segment) {
            self.orphans.push_back((*segment, resume.upload));
            self.is_changed = true;
        }
    }

    /// The file is stored: uploads of its other copies are of no use any more.
    pub(crate) fn stored(&mut self, segment: &Segment) {
        self.is_changed |= self.resumes.remove(segment).is_some();
        self.touched.remove(segment);
        let same = |one: &&Segment| one.is_same_file(segment);
        let others: Vec<Segment> = self.resumes.keys().filter(same).copied().collect();
        others.iter().for_each(|other| self.orphan(other));
    }

    /// Gives up what nobody went on with for `grace` seconds, one at a time; `is_used` tells what somebody has in hand.
    pub(crate) fn go_on<S: ObjectStore>(
        &mut self,
        tier: &mut Tier<S>,
        second: u64,
        grace: u64,
        is_used: impl Fn(&Segment) -> bool,
    ) {
        if self.giving_up.is_some() {
            return;
        }
        if self.orphans.is_empty() {
            for segment in self.resumes.keys() {
                let touched = self.touched.entry(*segment).or_insert(second);
                if is_used(segment) {
                    *touched = second;
                }
            }
            let is_due = |touched: u64| touched.saturating_add(grace) < second;
            let mut due = self.touched.iter().filter(|one| is_due(*one.1));
            if let Some(segment) = due.next().map(|one| *one.0) {
                // Remembered beyond the process until it is gone.
                let upload = self.resumes.get(&segment).map(|one| one.upload.clone());
                self.orphans.extend(upload.map(|upload| (segment, upload)));
            }
        }
        let Some((segment, upload)) = self.orphans.front() else {
            return;
        };
        // A tier that has its hands full is asked again.
        if let Ok(id) = tier.abort(*segment, upload.clone()) {
            self.giving_up = Some((id, *segment, upload.clone()));
            self.orphans.pop_front();
        }
    }

    /// A job of the tier has ended; true if it was one of these.
    pub(crate) fn ended(
        &mut self,
        id: JobId,
        result: &Result<Finished, JobError>,
        second: u64,
    ) -> bool {
        let Some((_, segment, upload)) = self.giving_up.take_if(|one| one.0 == id) else {
            return false;
        };
        let is_known = self.resumes.get(&segment).map(|one| &one.upload) == Some(&upload);
        if result.is_ok() {
            self.given_up += 1;
            if is_known {
                self.resumes.remove(&segment);
                self.touched.remove(&segment);
                self.is_changed = true;
            }
        } else if is_known {
            // Once more after another grace.
            self.touched.insert(segment, second);
        }
        true
    }

    /// Nothing is being given up.
    pub(crate) const fn is_idle(&self) -> bool {
        self.giving_up.is_none()
    }

    /// Uploads given up since the start.
    pub(crate) const fn given_up(&self) -> u64 {
        self.given_up
    }
}

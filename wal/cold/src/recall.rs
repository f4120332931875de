//! Recalling: the stored file that holds an entry is brought back, for whoever reads a group's history.
//!
//! ```text
//! the manifest as it is known -> does not hold the entry -> the newest -> the segment, from the cache or the store
//! ```
//!
//! - An answer is a whole, verified file, or says that no manifest names the entry and where the next named one begins.
//! - A segment that is gone under way was joined or has expired: the manifest is read anew before that is an answer.
//! - Bounded: so many questions at a time; bytes that stay here are the cache's, see [`crate::reader`].

use std::collections::VecDeque;

use crate::jobs::JobError;
use crate::jobs::publish::Change;
use crate::limits::RECALLS_MAX;
use crate::manifest::Manifest;
use crate::name::Segment;
use crate::offload::Offloads;
use crate::prefetch::Guessed;
use crate::reader::{Bytes, Reader, ReaderCounts, Want};
use crate::store::{ObjectStore, StoreError};
use crate::tier::{Ending, Finished, JobId};

/// Seconds of an hour.
const HOUR: u64 = 3_600;
/// So long before an hour begins, what earlier weeks read in it is brought back.
const BEFORE_THE_HOUR: u64 = 300;
/// Segments that are brought back ahead of an hour.
const DUE_MAX: usize = 4;
/// How often the manifest is read anew for one question.
const READS_MAX: u32 = 3;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// A number that comes back with the answer.
    pub token: u64,
    /// The group.
    pub group: u64,
    /// The entry.
    pub index: u64,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The file that holds the entry.
    Here(Segment, Bytes),
    /// The store does not hold it; the next entry that it does hold, if any.
    Nowhere(Option<u64>),
}

enum Stage {
    /// Looks into what is known.
    Look,
    /// The newest manifest is being read.
    Manifest(JobId),
    /// Wants this segment.
    Segment(Segment),
}

struct Asking {
    question: Question,
    stage: Stage,
    /// How often the manifest was read.
    reads: u32,
}

/// Questions and what is remembered of their answers; one per store.
pub struct Recalls {
    reader: Reader,
    asking: Vec<Asking>,
    answered: VecDeque<(u64, Result<Answer, JobError>)>,
    /// The hour that was prepared last.
    prepared: u64,
}

impl Recalls {
    /// With a cache of so many bytes.
    #[must_use]
    pub fn new(cache_bytes: u64) -> Self {
        Self {
            reader: Reader::new(cache_bytes),
            asking: Vec::new(),
            answered: VecDeque::new(),
            prepared: 0,
        }
    }

    /// Takes a question; an answer with its token follows.
    ///
    /// # Errors
    /// The question, when as many are under way as may be.
    pub fn ask(&mut self, question: Question) -> Result<(), Question> {
        if self.asking.len() + self.answered.len() >= RECALLS_MAX {
            return Err(question);
        }
        self.asking.push(Asking {
            question,
            stage: Stage::Look,
            reads: 0,
        });
        Ok(())
    }

    /// Goes on with all questions at this second since the Unix epoch.
    pub(crate) fn go_on<S: ObjectStore>(&mut self, offloads: &mut Offloads<S>, second: u64) {
        let coming = (second + BEFORE_THE_HOUR) / HOUR;
        if coming > self.prepared {
            self.prepared = coming;
            self.reader.prepare(offloads.tier(), coming, DUE_MAX);
        }
        let mut nth = 0;
        while nth < self.asking.len() {
            match step(&mut self.asking[nth], &mut self.reader, offloads, second) {
                Some(answer) => {
                    let asked = self.asking.swap_remove(nth);
                    self.answered.push_back((asked.question.token, Ok(answer)));
                }
                None => nth += 1,
            }
        }
    }

    /// A job of the tier has ended; gives it back when it was none of ours.
    pub(crate) fn ended<S: ObjectStore>(
        &mut self,
        offloads: &mut Offloads<S>,
        (id, result): Ending,
    ) -> Option<Ending> {
        let waits = |one: &Asking| matches!(one.stage, Stage::Manifest(job) if job == id);
        if let Some(nth) = self.asking.iter().position(waits) {
            match result {
                Ok(Finished::Published(manifest)) => {
                    offloads.remember(manifest);
                    self.asking[nth].stage = Stage::Look;
                }
                Ok(_) => self.fail(nth, JobError::Confused),
                Err(error) => self.fail(nth, error),
            }
            return None;
        }
        match self.reader.finished(id, result) {
            Ok(Some(other)) => return Some(other),
            Ok(None) => {
                if let Some((segment, file)) = self.reader.take_arrived() {
                    self.arrived(segment, &file);
                }
            }
            Err(failed) => {
                let (segment, error) = *failed;
                let is_gone = error == JobError::Store(StoreError::NotFound);
                for nth in (0..self.asking.len()).rev() {
                    let wants =
                        matches!(self.asking[nth].stage, Stage::Segment(one) if one == segment);
                    if wants && is_gone && self.asking[nth].reads < READS_MAX {
                        offloads.forget(segment.group);
                        self.asking[nth].stage = Stage::Look;
                    } else if wants {
                        self.fail(nth, error.clone());
                    }
                }
            }
        }
        None
    }

    /// A file is here: whoever waits for it has it, even if it is larger than the cache.
    fn arrived(&mut self, segment: Segment, file: &Bytes) {
        let waits = |one: &Asking| matches!(one.stage, Stage::Segment(wanted) if wanted == segment);
        for nth in (0..self.asking.len()).rev() {
            if waits(&self.asking[nth]) {
                let asked = self.asking.swap_remove(nth);
                let answer = Answer::Here(segment, file.clone());
                self.answered.push_back((asked.question.token, Ok(answer)));
            }
        }
    }

    fn fail(&mut self, nth: usize, error: JobError) {
        let asked = self.asking.swap_remove(nth);
        self.answered.push_back((asked.question.token, Err(error)));
    }

    /// The next answer, with the token of its question.
    pub fn next_answered(&mut self) -> Option<(u64, Result<Answer, JobError>)> {
        self.answered.pop_front()
    }

    /// Nobody waits for anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.asking.is_empty() && self.answered.is_empty()
    }

    /// Reads answered from the cache or not, what came of guessing, and bytes in the cache.
    #[must_use]
    pub fn counts(&self) -> (ReaderCounts, Guessed, u64) {
        let reader = &self.reader;
        (reader.counts(), reader.guessed(), reader.cached_bytes())
    }
}

/// Goes on with one question: its answer, when it is here.
fn step<S: ObjectStore>(
    asking: &mut Asking,
    reader: &mut Reader,
    offloads: &mut Offloads<S>,
    second: u64,
) -> Option<Answer> {
    let Question { group, index, .. } = asking.question;
    if matches!(asking.stage, Stage::Look) {
        let known = offloads.known(group);
        match known.and_then(|manifest| manifest.holding(index)) {
            Some(stored) => asking.stage = Stage::Segment(stored.segment),
            None if asking.reads > 0 => {
                let later = known.into_iter().flat_map(Manifest::segments);
                let later = later.map(|stored| stored.segment.first);
                return Some(Answer::Nowhere(later.filter(|first| *first > index).min()));
            }
            None => {
                let known = known.cloned().unwrap_or_else(|| Manifest::empty(group));
                // A tier that has its hands full is asked again.
                if let Ok(job) = offloads.tier().publish(Change::Read, known) {
                    asking.reads += 1;
                    asking.stage = Stage::Manifest(job);
                }
                return None;
            }
        }
    }
    let Stage::Segment(segment) = asking.stage else {
        return None;
    };
    let (tier, known) = offloads.tier_and_known(group);
    let empty = Manifest::empty(group);
    match reader.want(tier, known.unwrap_or(&empty), &segment, second / HOUR) {
        Ok(Want::Here(file)) => Some(Answer::Here(segment, file)),
        // What is on its way, or finds no room yet, is asked for again.
        Ok(Want::Coming) | Err(_) => None,
    }
}

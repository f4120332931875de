//! Stores one file: encodes it, puts it whole or in parts, reads it back and compares.
//!
//! - Done means that the store gave back the very file. Whoever put it there does not matter: names carry hashes.
//! - A large object goes in parts; an upload that was interrupted is resumed from [`Resume`].
//! - What is to be locked is locked by the store when it was read back, where the store has locks; before anything names it.
//! - An object that was there before counts only when it is young: an old one that nobody names may be swept at any
//!   moment, so the file becomes the next copy of itself, under another name.

use std::sync::Arc;

use bytes::Bytes;

use super::download::Download;
use super::{Job, JobError, Step};
use crate::key::{DataKey, WrappedKey};
use crate::limits::{PART_BYTES, PUT_BYTES_MAX, SEGMENT_BYTES_MAX};
use crate::mutants;
use crate::name::Segment;
use crate::object::Encoder;
use crate::store::{Outcome, StoreError, Task};

/// The file that is to be stored, read in place.
pub type File = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// An upload in parts that was begun: enough to go on with it later, in another process too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The upload's name.
    pub upload: String,
    /// The wrapped key that the parts are encrypted under.
    pub key: Option<WrappedKey>,
    /// What each part so far was answered with.
    pub parts: Vec<String>,
}

enum State {
    Key,
    OpenKey,
    Encode(Box<Encoder>),
    Put,
    Begin,
    Parts,
    Complete,
    /// Asks what is there: an object in the way of ours, or ours, when the answer was lost or the upload is gone. If
    /// nothing is, an upload in parts begins, or the object is put.
    Look {
        in_parts: bool,
    },
    Verify(Box<Download>),
    Lock(u64),
    Done,
    Failed(JobError),
}

/// Stores one file.
pub struct Upload {
    segment: Segment,
    file: File,
    is_secret: bool,
    put_bytes_max: usize,
    part_bytes: usize,
    state: State,
    key: Option<(DataKey, WrappedKey)>,
    pieces: Vec<Bytes>,
    resume: Option<Resume>,
    /// How often it was begun anew after the store lost the upload.
    restarts: u32,
    /// What was written before this second is not relied upon.
    fresh_since: u64,
    locked_until: Option<u64>,
}

/// An upload that the store loses so often is given up for the time being.
const RESTARTS_MAX: u32 = 3;

impl Upload {
    /// Of this file; encrypted if asked; going on with what was begun before, if anything.
    #[must_use]
    pub fn new(segment: Segment, file: File, is_secret: bool, resume: Option<Resume>) -> Self {
        let mut upload = Self {
            segment,
            file,
            is_secret,
            put_bytes_max: PUT_BYTES_MAX,
            part_bytes: PART_BYTES,
            state: State::Key,
            key: None,
            pieces: Vec::new(),
            resume: None,
            restarts: 0,
            fresh_since: 0,
            locked_until: None,
        };
        let bytes = (*upload.file).as_ref().len() as u64;
        if bytes > SEGMENT_BYTES_MAX {
            upload.state = State::Failed(JobError::TooLarge(SEGMENT_BYTES_MAX));
        } else if bytes != segment.bytes {
            upload.state = upload.damaged(crate::object::ObjectError::Length {
                expected: segment.bytes,
                found: bytes,
            });
        } else if let Some(resume) = resume.filter(|resume| resume.key.is_some() == is_secret) {
            upload.state = State::OpenKey;
            upload.resume = Some(resume);
        }
        upload
    }

    /// With other sizes of what goes in one request and of parts; for stores of other habits, and for tests.
    #[must_use]
    pub const fn with_sizes(mut self, put_bytes_max: usize, part_bytes: usize) -> Self {
        (self.put_bytes_max, self.part_bytes) = (put_bytes_max, part_bytes);
        self
    }

    /// What is there already counts only when it was written at this second or later, by the store's clock.
    #[must_use]
    pub const fn relying_on_since(mut self, second: u64) -> Self {
        self.fresh_since = second;
        self
    }

    /// The store is to keep it from everybody up to this second, where it can.
    #[must_use]
    pub const fn locked_until(mut self, second: Option<u64>) -> Self {
        self.locked_until = second;
        self
    }

    /// What to remember so that an upload in parts can go on after a restart.
    #[must_use]
    pub const fn resume(&self) -> Option<&Resume> {
        self.resume.as_ref()
    }

    /// What is stored.
    #[must_use]
    pub const fn segment(&self) -> &Segment {
        &self.segment
    }

    fn damaged(&self, error: crate::object::ObjectError) -> State {
        State::Failed(JobError::Object {
            name: self.segment.object(),
            error,
        })
    }

    fn begin_encoding(&mut self) {
        let key = self.key.as_ref().map(|(key, wrapped)| (key, wrapped));
        self.state = State::Encode(Box::new(Encoder::new(&self.segment, key)));
    }

    fn encoded(&mut self, pieces: Vec<Bytes>) {
        self.pieces = pieces;
        let bytes: usize = self.pieces.iter().map(Bytes::len).sum();
        self.state = if self.resume.is_some() {
            State::Parts
        } else if bytes <= self.put_bytes_max {
            State::Put
        } else {
            State::Look { in_parts: true }
        };
    }

    /// The pieces of one part.
    fn part(&self, number: usize) -> Vec<Bytes> {
        let (mut skip, mut wanted) = (number * self.part_bytes, self.part_bytes);
        let mut part = Vec::new();
        for piece in &self.pieces {
            let from = skip.min(piece.len());
            skip -= from;
            let to = (from + wanted).min(piece.len());
            if from < to {
                wanted -= to - from;
                part.push(piece.slice(from..to));
            }
            if wanted == 0 {
                break;
            }
        }
        part
    }

    /// The object that is there, or will be, is too old to be relied upon.
    fn next_copy(&mut self) -> State {
        self.resume = None;
        self.key = None;
        self.pieces.clear();
        match self.segment.next_copy() {
            Some(next) => {
                self.segment = next;
                State::Key
            }
            None => State::Failed(JobError::Store(StoreError::Exists)),
        }
    }

    fn verify(&self) -> State {
        State::Verify(Box::new(Download::new(self.segment, false)))
    }

    fn ask(&mut self) -> Step<Segment> {
        let name = self.segment.object();
        let upload = self.resume.as_ref().map(|resume| resume.upload.clone());
        match &self.state {
            State::Key if !self.is_secret => {
                self.begin_encoding();
                Step::Again
            }
            State::Key => Step::Ask(Task::NewKey),
            State::OpenKey => match self.resume.as_ref().and_then(|resume| resume.key.clone()) {
                Some(wrapped) => Step::Ask(Task::OpenKey(wrapped)),
                None => {
                    self.begin_encoding();
                    Step::Again
                }
            },
            State::Put => Step::Ask(Task::Create {
                name,
                pieces: self.pieces.clone(),
            }),
            State::Begin => Step::Ask(Task::Begin { name }),
            State::Parts => {
                let parts = self.resume.as_ref().map_or(0, |resume| resume.parts.len());
                let pieces = self.part(parts);
                let upload = upload.unwrap_or_default();
                if pieces.is_empty() {
                    self.state = State::Complete;
                    return Step::Again;
                }
                Step::Ask(Task::Part {
                    name,
                    upload,
                    part: parts,
                    pieces,
                })
            }
            State::Complete => Step::Ask(Task::Complete {
                name,
                upload: upload.unwrap_or_default(),
                parts: self
                    .resume
                    .as_ref()
                    .map(|resume| resume.parts.clone())
                    .unwrap_or_default(),
            }),
            State::Look { .. } => Step::Ask(Task::Head { name }),
            State::Lock(until) => Step::Ask(Task::Lock {
                name,
                until: *until,
            }),
            State::Done => Step::Done(self.segment),
            State::Failed(error) => Step::Failed(error.clone()),
            State::Encode(_) | State::Verify(_) => Step::Again,
        }
    }
}

impl Job for Upload {
    type Output = Segment;

    fn step(&mut self, budget: usize) -> Step<Segment> {
        match &mut self.state {
            State::Encode(encoder) => {
                if encoder.step((*self.file).as_ref(), budget)
                    && let State::Encode(encoder) = std::mem::replace(&mut self.state, State::Put)
                {
                    self.encoded(encoder.finish());
                }
                Step::Again
            }
            State::Verify(download) => match download.step(budget) {
                Step::Done(_) => {
                    self.state = self.locked_until.map_or(State::Done, State::Lock);
                    Step::Again
                }
                Step::Ask(task) => Step::Ask(task),
                Step::Again => Step::Again,
                Step::Failed(error) => Step::Failed(error),
            },
            _ => self.ask(),
        }
    }

    fn ended(&mut self, result: Result<Outcome, StoreError>) {
        let state = std::mem::replace(&mut self.state, State::Put);
        self.state = match (state, result) {
            (State::Verify(mut download), result) => {
                download.ended(result);
                State::Verify(download)
            }
            (State::Key | State::OpenKey, Ok(Outcome::Key(key, wrapped))) => {
                self.key = Some(mutants::of_object(key, wrapped));
                self.begin_encoding();
                return;
            }
            (State::Put, Ok(Outcome::Done)) => self.verify(),
            // Without locks in the store it is Quorate alone that keeps what is locked.
            (State::Lock(_), Ok(Outcome::Done) | Err(StoreError::Unsupported)) => State::Done,
            // Somebody stored it before, perhaps this very upload: what is there is compared.
            (State::Put, Err(StoreError::Exists)) => State::Look { in_parts: false },
            // A store without parts takes everything at once.
            (State::Begin, Err(StoreError::Unsupported)) => State::Put,
            (State::Begin, Ok(Outcome::Begun(upload))) => {
                self.resume = Some(Resume {
                    upload,
                    key: self.key.as_ref().map(|(_, wrapped)| wrapped.clone()),
                    parts: Vec::new(),
                });
                State::Parts
            }
            (State::Parts, Ok(Outcome::Part(part))) => {
                if let Some(resume) = &mut self.resume {
                    resume.parts.push(part);
                }
                State::Parts
            }
            (State::Complete, Ok(Outcome::Done)) => {
                self.resume = None;
                self.verify()
            }
            (State::Parts | State::Complete, Err(StoreError::NotFound)) => {
                self.resume = None;
                self.restarts += 1;
                State::Look { in_parts: true }
            }
            (State::Look { .. }, Ok(Outcome::Length(_, written))) if written < self.fresh_since => {
                self.next_copy()
            }
            (State::Look { .. }, Ok(Outcome::Length(..))) => self.verify(),
            (State::Look { .. }, Err(StoreError::NotFound)) if self.restarts > RESTARTS_MAX => {
                State::Failed(JobError::Store(StoreError::NotFound))
            }
            (State::Look { in_parts: true }, Err(StoreError::NotFound)) => State::Begin,
            (State::Look { in_parts: false }, Err(StoreError::NotFound)) => {
                self.restarts += 1;
                State::Put
            }
            (_, Err(error)) => State::Failed(error.into()),
            (_, Ok(_)) => State::Failed(JobError::Confused),
        };
    }
}

//! Brings one file back, or only reads it to see that it is there and whole.
//!
//! - An object may be replaced under way by another one of the same content and another key: what does not fit is
//!   read once more from its beginning before it is called damaged.

use super::{Job, JobError, Step};
use crate::limits::GET_BYTES;
use crate::name::Segment;
use crate::object::{Decoder, HEAD_BYTES_MAX, Headed, ObjectError, read_head};
use crate::store::{Outcome, StoreError, Task};

enum State {
    Head,
    Key(Vec<u8>),
    Body(Box<Decoder>, u64),
    Failed(JobError),
    Done(Option<Vec<u8>>),
}

/// Brings one file back.
pub struct Download {
    segment: Segment,
    keep: bool,
    state: State,
    wrapped: Option<crate::key::WrappedKey>,
    is_second: bool,
}

impl Download {
    /// Of this file; kept and handed over, or only verified.
    #[must_use]
    pub const fn new(segment: Segment, keep: bool) -> Self {
        Self {
            segment,
            keep,
            state: State::Head,
            wrapped: None,
            is_second: false,
        }
    }

    /// What is brought back.
    #[must_use]
    pub const fn segment(&self) -> &Segment {
        &self.segment
    }

    fn object_error(&mut self, error: ObjectError) -> State {
        if !self.is_second {
            self.is_second = true;
            return State::Head;
        }
        State::Failed(JobError::Object {
            name: self.segment.object(),
            error,
        })
    }

    fn headed(&mut self, start: Vec<u8>) -> State {
        match read_head(&start) {
            Ok(Headed { segment, .. }) if segment != self.segment => {
                self.object_error(ObjectError::Hash)
            }
            Ok(Headed { key: Some(key), .. }) => {
                self.wrapped = Some(key);
                State::Key(start)
            }
            Ok(Headed { key: None, .. }) => self.body(&start, None),
            Err(error) => self.object_error(error),
        }
    }

    fn body(&mut self, start: &[u8], key: Option<&crate::key::DataKey>) -> State {
        match Decoder::new(start, key, self.keep) {
            Ok(decoder) => State::Body(Box::new(decoder), 0),
            Err(error) => self.object_error(error),
        }
    }

    fn bytes(&mut self, mut decoder: Box<Decoder>, at: u64, bytes: &[u8]) -> State {
        if bytes.is_empty() {
            return self.object_error(ObjectError::Length {
                expected: decoder.headed().object_bytes,
                found: at,
            });
        }
        if let Err(error) = decoder.take(bytes) {
            return self.object_error(error);
        }
        let at = at + bytes.len() as u64;
        if at < decoder.headed().object_bytes {
            return State::Body(decoder, at);
        }
        match decoder.finish() {
            Ok(file) => State::Done(file),
            Err(error) => self.object_error(error),
        }
    }
}

impl Job for Download {
    type Output = Option<Vec<u8>>;

    fn step(&mut self, _budget: usize) -> Step<Option<Vec<u8>>> {
        let segment = self.segment;
        match &mut self.state {
            // A store gives what there is when an object is shorter than the range.
            State::Head => Step::Ask(Task::Get {
                name: segment.object(),
                range: 0..HEAD_BYTES_MAX as u64,
            }),
            State::Key(_) => match self.wrapped.clone() {
                Some(wrapped) => Step::Ask(Task::OpenKey(wrapped)),
                None => Step::Failed(JobError::Confused),
            },
            State::Body(decoder, at) => {
                let end = (*at + GET_BYTES).min(decoder.headed().object_bytes);
                Step::Ask(Task::Get {
                    name: segment.object(),
                    range: *at..end,
                })
            }
            State::Failed(error) => Step::Failed(error.clone()),
            State::Done(file) => Step::Done(file.take()),
        }
    }

    fn ended(&mut self, result: Result<Outcome, StoreError>) {
        let state = std::mem::replace(&mut self.state, State::Head);
        self.state = match (state, result) {
            (State::Head, Ok(Outcome::Bytes(start))) => self.headed(start.to_vec()),
            (State::Key(start), Ok(Outcome::Key(key, _))) => self.body(&start, Some(&key)),
            (State::Body(decoder, at), Ok(Outcome::Bytes(bytes))) => {
                self.bytes(decoder, at, &bytes)
            }
            (_, Err(error)) => State::Failed(error.into()),
            (_, Ok(_)) => State::Failed(JobError::Confused),
        };
    }
}

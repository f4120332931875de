//! What the clients saw: every request with what became of it, for the judges at the end.
//!
//! - A request is done, refused for good, or unknown; unknown ones may or may not have happened.
//! - Times are the world's: one clock for all clients.

use bytes::Bytes;
use net::request::Consistency;

use crate::verdict::Scope;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Unique in the run.
    pub number: u64,
    /// Whom it asks.
    pub scope: Scope,
    /// What to do.
    pub operation: u8,
    /// The body.
    pub payload: Bytes,
    /// How fresh a read must be.
    pub consistency: Consistency,
    /// It is asked once: a refusal or silence is the end of it.
    pub is_once: bool,
    /// It was done before, by the same bytes.
    pub is_repeat: bool,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Done {
    /// The request.
    pub request: Request,
    /// Which client.
    pub client: usize,
    /// When it was first asked.
    pub asked_at: u64,
    /// When the answer was there.
    pub answered_at: u64,
    /// The index that the answer names.
    pub index: u64,
    /// The answer.
    pub reply: Bytes,
}

/// A request that was given up.
#[derive(Clone, Debug)]
pub struct GivenUp {
    /// The request.
    pub request: Request,
    /// Which client.
    pub client: usize,
    /// When it was first asked.
    pub asked_at: u64,
    /// When it was given up.
    pub at: u64,
}

/// Everything that clients saw.
#[derive(Debug, Default)]
pub struct History {
    /// Answered, in the order of the answers.
    pub done: Vec<Done>,
    /// Refused for good: no attempt can have happened.
    pub refused: Vec<GivenUp>,
    /// Given up, with attempts whose outcome nobody knows.
    pub unknown: Vec<GivenUp>,
    /// Attempts that were made.
    pub attempts: u64,
    /// Requests that were begun.
    pub begun: u64,
    /// Requests that were asked again though some attempt may have happened.
    pub asked_again: u64,
    /// Requests that were answered and had been done before.
    pub repeated: u64,
    /// Attempts that were not answered in time.
    pub timeouts: u64,
    /// The longest time from a first attempt to the answer.
    pub longest_ns: u64,
}

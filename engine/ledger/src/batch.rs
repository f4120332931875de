//! Runs the events of one command in order: chains, imports, timestamps, and a record for each event.
//!
//! Accounts and transfers share this frame; what is particular to each is a [`Creation`].
//!
//! - Event i is judged at `base + i`, whether it succeeds or not.
//! - A chain is a run of linked events and the one after it. It happens as a whole or not at all: the
//!   event that breaks it has its own status, the others answer `linked_event_failed`.
//! - The first event decides if the whole command imports.

use zerocopy::IntoBytes;

use crate::limits::TIMESTAMP_MAX;
use crate::status::{CreateAccountStatus, CreateResult, CreateTransferStatus};

/// What the frame needs to know of an event.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) linked: bool,
    pub(crate) imported: bool,
    pub(crate) timestamp: u64,
}

/// What came of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome<S> {
    pub(crate) status: S,
    /// The object's timestamp, if the status is created or exists.
    pub(crate) timestamp: u64,
}

/// A status type that has the frame's own statuses.
pub(crate) trait Status: Copy + PartialEq {
    const CREATED: Self;
    const LINKED_EVENT_FAILED: Self;
    const LINKED_EVENT_CHAIN_OPEN: Self;
    const IMPORTED_EVENT_EXPECTED: Self;
    const IMPORTED_EVENT_NOT_EXPECTED: Self;
    const TIMESTAMP_MUST_BE_ZERO: Self;
    const IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE: Self;
    const IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE: Self;

    fn number(self) -> u32;
}

macro_rules! status {
    ($name:ident) => {
        impl Status for $name {
            const CREATED: Self = Self::Created;
            const LINKED_EVENT_FAILED: Self = Self::LinkedEventFailed;
            const LINKED_EVENT_CHAIN_OPEN: Self = Self::LinkedEventChainOpen;
            const IMPORTED_EVENT_EXPECTED: Self = Self::ImportedEventExpected;
            const IMPORTED_EVENT_NOT_EXPECTED: Self = Self::ImportedEventNotExpected;
            const TIMESTAMP_MUST_BE_ZERO: Self = Self::TimestampMustBeZero;
            const IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE: Self =
                Self::ImportedEventTimestampOutOfRange;
            const IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE: Self =
                Self::ImportedEventTimestampMustNotAdvance;

            fn number(self) -> u32 {
                Self::number(self)
            }
        }
    };
}

status!(CreateAccountStatus);
status!(CreateTransferStatus);

/// How one kind of event is created, taken back and refused.
pub(crate) trait Creation {
    type Event;
    type Status: Status;

    fn head(event: &Self::Event) -> Head;

    /// Event `place` is next: a chance to fetch what later ones need.
    fn look_ahead(&mut self, place: usize);

    /// Judges the event by all rules but the frame's; carries it out if none is broken.
    fn create(&mut self, place: usize, event: &Self::Event, at: u64) -> Outcome<Self::Status>;

    /// A chain begins: what happens from here on may be taken back.
    fn chain_begins(&mut self);

    /// A chain ends well, or (`broken`) all that happened since it began is taken back.
    fn chain_ends(&mut self, broken: bool);

    /// The event was refused, after its chain was taken back.
    fn refused(&mut self, event: &Self::Event, status: Self::Status);
}

/// Where the frame stands in a chain.
#[derive(Clone, Copy)]
enum Chain {
    None,
    /// Began with event `first`.
    Whole {
        first: usize,
    },
    Broken,
}

/// Runs all events and appends one record for each to `reply`.
#[inline]
pub(crate) fn run<C: Creation>(
    creation: &mut C,
    events: &[C::Event],
    base: u64,
    reply: &mut Vec<u8>,
) {
    let records_start = reply.len();
    reply.reserve(events.len() * size_of::<CreateResult>());
    let imports = events.first().is_some_and(|event| C::head(event).imported);
    let mut chain = Chain::None;
    for (place, event) in events.iter().enumerate() {
        creation.look_ahead(place);
        let at = base + place as u64;
        let head = C::head(event);
        if head.linked && matches!(chain, Chain::None) {
            chain = Chain::Whole { first: place };
            creation.chain_begins();
        }
        let last = place + 1 == events.len();
        let outcome =
            match envelope::<C::Status>(head, chain, last, imports, base + events.len() as u64 - 1)
            {
                Some(status) => Outcome {
                    status,
                    timestamp: at,
                },
                None => creation.create(place, event, at),
            };
        if outcome.status != C::Status::CREATED {
            if let Chain::Whole { first } = chain {
                creation.chain_ends(true);
                let records = &mut reply[records_start..];
                fail_records(
                    &mut records[first * size_of::<CreateResult>()..],
                    C::Status::LINKED_EVENT_FAILED,
                );
                chain = Chain::Broken;
            }
            creation.refused(event, outcome.status);
        }
        let record = CreateResult::new(outcome.timestamp, outcome.status.number());
        reply.extend_from_slice(record.as_bytes());
        if !head.linked || last {
            if let Chain::Whole { .. } = chain {
                creation.chain_ends(false);
            }
            chain = Chain::None;
        }
    }
}

/// The frame's own rules, in order of precedence.
#[inline]
fn envelope<S: Status>(head: Head, chain: Chain, last: bool, imports: bool, now: u64) -> Option<S> {
    if head.linked && last {
        return Some(S::LINKED_EVENT_CHAIN_OPEN);
    }
    if matches!(chain, Chain::Broken) {
        return Some(S::LINKED_EVENT_FAILED);
    }
    if head.imported != imports {
        let unexpected = if imports {
            S::IMPORTED_EVENT_EXPECTED
        } else {
            S::IMPORTED_EVENT_NOT_EXPECTED
        };
        return Some(unexpected);
    }
    if !head.imported {
        return (head.timestamp != 0).then_some(S::TIMESTAMP_MUST_BE_ZERO);
    }
    if head.timestamp == 0 || head.timestamp > TIMESTAMP_MAX {
        return Some(S::IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE);
    }
    (head.timestamp >= now).then_some(S::IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE)
}

/// Rewrites the records of a broken chain's earlier events.
#[cold]
fn fail_records<S: Status>(records: &mut [u8], status: S) {
    for record in records.chunks_exact_mut(size_of::<CreateResult>()) {
        record[8..12].copy_from_slice(&status.number().to_le_bytes());
    }
}

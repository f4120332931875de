//! Remembers what each client was last answered, so that a request is carried out once however often it arrives.
//!
//! [`Sessions`] is a state machine around another one. What it remembers is part of the group's state: it goes through
//! the log, into the digest and into images, so a new leader knows it as well as the old one.
//!
//! | operation | | body | reply |
//! |---:|---|---|---|
//! | 240 | register | nothing, or where the client comes from, u32 | verdict |
//! | 241 | session of (a read) | client, u128 | session, last request and origin, u32 each; nothing if there is none |
//! | a [`Once`]'s `operation` | once | batches of the inner operation's elements | batches of its results, and the verdict |
//! | a [`Once`]'s `told` | once | the same, and the session's origin, u32, behind them | the same |
//!
//! Everything else goes to the inner machine as it is. The client and `session << 32 | request` stand in the entry's
//! head, where every request has its client and number. Group 0 gives sessions their numbers and origins; every other
//! group learns of a session, and of its origin, by its first request there.
//!
//! - A request number is carried out at most once in a group, and its reply is repeated byte for byte.
//! - A forgotten session is never taken for a new one: of an origin's sessions below the highest that was ever forgotten, a
//!   group answers only the ones that it still knows.
//! - At most [`SESSIONS_MAX`] sessions. The origin that has the most of them makes room, with the one that was quiet for
//!   longest.

pub mod image;
pub mod table;

use std::sync::Arc;

use net::tigerbeetle::batches::{self, Batches};
use raft::state_machine::{
    Admission, Asker, Command, Refusal, RestoreError, Shelved, StateMachine,
};
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits::SESSIONS_MAX;
use crate::sessions::image::Restoring;
use crate::sessions::table::{Asked, Found, Table};

/// Opens a session. Only group 0 takes it.
pub const REGISTER: u8 = 240;
/// Which session a client has.
pub const SESSION_OF: u8 = 241;

/// An operation that is carried out once per request number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// Its number; no operation of the inner machine has it.
    pub operation: u8,
    /// Its number where the session's origin stands behind the batches; another one.
    pub told: u8,
    /// The inner machine's operation for each batch.
    pub inner: u8,
    /// Bytes of an element of the request.
    pub event_bytes: usize,
    /// Bytes of an element of the reply.
    pub result_bytes: usize,
}

/// What became of a request of a session; stands behind the body of its reply.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Verdict {
    /// Index of the entry that carried it out.
    pub index: U64,
    /// The moment that the entry's leader gave it, ns since the Unix epoch, not 0.
    pub time: U64,
    /// The session.
    pub session: U32,
    /// An [`Outcome`].
    pub outcome: U32,
}

/// Bytes of a verdict.
pub const VERDICT_BYTES: usize = size_of::<Verdict>();

/// How a request of a session fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// Carried out, now or before.
    Done = 0,
    /// The session is not known.
    NoSession = 1,
    /// A later request of the session was carried out: nobody waits for this one.
    Past = 2,
    /// The client has a newer session.
    Superseded = 3,
}

/// Which session, which of its requests: the number in an entry's head.
#[must_use]
pub fn number(session: u32, request: u32) -> u64 {
    u64::from(session) << 32 | u64::from(request)
}

/// Takes the verdict off the end of a reply.
#[must_use]
pub fn verdict(reply: &[u8]) -> Option<(&[u8], Verdict, Outcome)> {
    let (body, verdict) = Verdict::read_from_suffix(reply).ok()?;
    let outcome = match verdict.outcome.get() {
        0 => Outcome::Done,
        1 => Outcome::NoSession,
        2 => Outcome::Past,
        3 => Outcome::Superseded,
        _ => return None,
    };
    Some((body, verdict, outcome))
}

/// A machine that remembers its clients.
#[derive(Debug)]
pub struct Sessions<M> {
    inner: M,
    table: Table,
    once: &'static [Once],
    restoring: Option<Restoring>,
}

impl<M: StateMachine> Sessions<M> {
    /// Around `inner`, which is empty. `registers` in group 0 alone.
    #[must_use]
    pub fn new(inner: M, once: &'static [Once], registers: bool) -> Self {
        Self {
            inner,
            table: Table::new(SESSIONS_MAX, registers),
            once,
            restoring: None,
        }
    }

    /// The machine within.
    #[must_use]
    pub fn inner(&self) -> &M {
        &self.inner
    }

    /// Sessions that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Is none known?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Which of them an operation is, its batches, and the session's origin where it is told.
    fn once<'a>(&self, operation: u8, payload: &'a [u8]) -> Option<(Once, &'a [u8], Option<u32>)> {
        let mut all = self.once.iter();
        let once = *all.find(|once| [once.operation, once.told].contains(&operation))?;
        if operation == once.operation {
            return Some((once, payload, None));
        }
        // Without an origin it is no list of batches either.
        let told = U32::read_from_suffix(payload).ok();
        Some(told.map_or((once, &[], None), |(batches, origin)| {
            (once, batches, Some(origin.get()))
        }))
    }

    fn register(&mut self, asker: Asker, command: Command<'_>, reply: &mut Vec<u8>) {
        let origin = U32::read_from_bytes(command.payload).map_or(0, U32::get);
        match self.table.register(asker.client, origin, command.index.0) {
            Found::New(session) => {
                let start = reply.len();
                judge(reply, command, session, Outcome::Done);
                self.table
                    .keep(asker.client, 0, command.index.0, &reply[start..]);
            }
            Found::Repeated(kept) => reply.extend_from_slice(kept),
            Found::Refused(outcome) => judge(reply, command, 0, outcome),
        }
    }

    fn carry_out(
        &mut self,
        (once, origin): (Once, Option<u32>),
        asker: Asker,
        command: Command<'_>,
        reply: &mut Vec<u8>,
    ) {
        let (session, request) = ((asker.number >> 32) as u32, asker.number as u32);
        let asked = Asked {
            client: asker.client,
            session,
            request,
            origin,
        };
        match self.table.find(&asked, command.index.0) {
            Found::New(session) => {
                let start = reply.len();
                self.run(once, command, reply);
                judge(reply, command, session, Outcome::Done);
                self.table
                    .keep(asker.client, request, command.index.0, &reply[start..]);
            }
            Found::Repeated(kept) => reply.extend_from_slice(kept),
            Found::Refused(outcome) => judge(reply, command, session, outcome),
        }
    }

    /// Each batch is a command of its own; an entry that is no list of batches was never admitted here.
    fn run(&mut self, once: Once, command: Command<'_>, reply: &mut Vec<u8>) {
        let Ok(batches) = Batches::parse(command.payload, once.event_bytes) else {
            return;
        };
        let start = reply.len();
        let mut counts = Vec::with_capacity(batches.len());
        for payload in batches.iter() {
            let before = reply.len();
            let operation = once.inner;
            self.inner.apply(
                Command {
                    operation,
                    payload,
                    ..command
                },
                reply,
            );
            let results = (reply.len() - before) / once.result_bytes;
            counts.push(u16::try_from(results).expect("no batch has more results than events"));
        }
        batches::close(reply, start, &counts, once.result_bytes);
    }
}

fn judge(reply: &mut Vec<u8>, command: Command<'_>, session: u32, outcome: Outcome) {
    let verdict = Verdict {
        index: command.index.0.into(),
        time: command.time.max(1).into(),
        session: session.into(),
        outcome: (outcome as u32).into(),
    };
    reply.extend_from_slice(verdict.as_bytes());
}

impl<M: StateMachine> StateMachine for Sessions<M> {
    fn admit(&self, operation: u8, payload: &[u8]) -> Result<Admission, Refusal> {
        let fits = |fits: bool, admission| fits.then_some(admission).ok_or(Refusal::MalformedBody);
        match operation {
            REGISTER => fits(
                payload.is_empty() || payload.len() == size_of::<U32>(),
                Admission::Write,
            ),
            SESSION_OF => fits(payload.len() == size_of::<U128>(), Admission::Read),
            _ => match self.once(operation, payload) {
                None => self.inner.admit(operation, payload),
                Some((once, payload, _)) => {
                    let batches = Batches::parse(payload, once.event_bytes)
                        .map_err(|_| Refusal::MalformedBody)?;
                    for batch in batches.iter() {
                        match self.inner.admit(once.inner, batch) {
                            // A request of a session is answered event for event, by a full machine too.
                            Ok(_) | Err(Refusal::Full) => {}
                            Err(refusal) => return Err(refusal),
                        }
                    }
                    Ok(Admission::Write)
                }
            },
        }
    }

    fn apply(&mut self, command: Command<'_>, reply: &mut Vec<u8>) {
        self.apply_for(Asker::default(), command, reply);
    }

    fn apply_for(&mut self, asker: Asker, command: Command<'_>, reply: &mut Vec<u8>) {
        if command.operation == REGISTER {
            self.register(asker, command, reply);
        } else if let Some((once, payload, origin)) = self.once(command.operation, command.payload)
        {
            let command = Command { payload, ..command };
            self.carry_out((once, origin), asker, command, reply);
        } else {
            self.inner.apply_for(asker, command, reply);
        }
    }

    fn due(&self) -> Option<(u64, u8)> {
        self.inner.due()
    }

    fn query(&self, operation: u8, payload: &[u8], reply: &mut Vec<u8>) {
        if operation != SESSION_OF {
            return self.inner.query(operation, payload, reply);
        }
        if let Ok(client) = U128::read_from_bytes(payload)
            && let Some(of) = self.table.session_of(client.get())
        {
            for number in of {
                reply.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    fn digest(&self) -> u128 {
        self.table.digest(self.inner.digest())
    }

    fn begin_image(&mut self) -> bool {
        self.table.freeze();
        let begun = self.inner.begin_image();
        if !begun {
            self.table.thaw();
        }
        begun
    }

    fn next_image_piece(&mut self, budget: usize, piece: &mut Vec<u8>) -> bool {
        if self.table.next_frozen_piece(budget, piece) {
            return false;
        }
        self.inner.next_image_piece(budget, piece)
    }

    fn abandon_image(&mut self) {
        self.table.thaw();
        self.inner.abandon_image();
    }

    fn begin_restore(&mut self) {
        self.table.clear();
        self.restoring = Some(Restoring::default());
        self.inner.begin_restore();
    }

    fn restore_piece(&mut self, piece: &[u8]) -> Result<(), RestoreError> {
        let restoring = self.restoring.as_mut().ok_or(RestoreError::Incomplete)?;
        let rest = restoring.take(piece, &mut self.table)?;
        if rest.is_empty() {
            return Ok(());
        }
        self.inner.restore_piece(rest)
    }

    fn end_restore(&mut self) -> Result<(), RestoreError> {
        match self.restoring.take() {
            Some(restoring) if restoring.is_done() => self.inner.end_restore(),
            _ => Err(RestoreError::Incomplete),
        }
    }

    fn due_chapter(&self) -> Option<u64> {
        self.inner.due_chapter()
    }

    fn next_chapter_piece(&mut self, budget: usize, piece: &mut Vec<u8>) -> bool {
        self.inner.next_chapter_piece(budget, piece)
    }

    fn shelve(&mut self, chapter: u64, bytes: Arc<dyn Shelved>) -> Result<(), RestoreError> {
        self.inner.shelve(chapter, bytes)
    }

    fn reshelve(&mut self, chapter: u64, bytes: Arc<dyn Shelved>) -> Result<(), RestoreError> {
        self.inner.reshelve(chapter, bytes)
    }

    fn chapters(&self) -> u64 {
        self.inner.chapters()
    }
}

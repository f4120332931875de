//! The teller's thread: takes calls from a queue, puts them into requests of some sessions, and gives each its results.
//!
//! - It is the door's desk without a door: the same splitting, repeating and joining, for callers in this process.
//! - A session has one request under way; several sessions keep several requests on their way at once.
//! - Calls leave in the order they came; calls of one kind that wait together leave together.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use net::request::ReplyHead;
use net::tigerbeetle::Release;
use net::tigerbeetle::batches::{self, Batches};
use net::tigerbeetle::message::{Announced, Envelope, Message, Reason, Request};
use net::tigerbeetle::operation::{BODY_BYTES_MAX, REGISTER, REGISTER_BYTES, Shape};
use raft::ids::Time;

use crate::clock::SystemClock;
use crate::config::Layout;
use crate::door::counters::Counters;
use crate::door::desk::{Desk, Effect, GuestId};
use crate::door::lines::{Lines, Question};
use crate::teller::slot::{Pending, Slot};
use crate::teller::{QUEUE_BYTES_MAX, TellerError};

const WAKER: Token = Token(usize::MAX);
const EVENTS: usize = 256;
/// Sessions, and so requests under way at once.
const LANES: usize = 4;
/// While requests are under way the clerk looks so often whether one has to be repeated.
const LOOK: Duration = Duration::from_millis(50);

/// One call.
#[derive(Debug)]
pub(super) struct Ask {
    operation: u8,
    elements: Vec<u8>,
    slot: Arc<Slot>,
}

impl Ask {
    pub(super) fn new<R>(operation: u8, elements: Vec<u8>) -> (Self, Pending<R>) {
        let slot = Arc::new(Slot::default());
        let pending = Pending::of(Arc::clone(&slot));
        let ask = Self {
            operation,
            elements,
            slot,
        };
        (ask, pending)
    }
}

/// Calls that wait to be sent.
#[derive(Debug, Default)]
struct Queue {
    asks: VecDeque<Ask>,
    bytes: usize,
    closed: bool,
}

/// What callers and the clerk's thread share.
#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    stop: AtomicBool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code that may panic runs under this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The callers' side. Dropping it ends the thread; what still waits is told that the teller is closed.
#[derive(Debug)]
pub(super) struct Clerk {
    shared: Arc<Shared>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Clerk {
    pub(super) fn start(layout: Layout) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let shared = Arc::new(Shared::default());
        let identity = identity()?;
        let work = Work::new(poll, layout, identity, Arc::clone(&shared));
        let thread = thread::Builder::new().name("quorate-teller".to_owned());
        Ok(Self {
            shared,
            waker,
            thread: Some(thread.spawn(move || work.run())?),
        })
    }

    pub(super) fn room(&self) -> usize {
        QUEUE_BYTES_MAX.saturating_sub(self.shared.queue().bytes)
    }

    pub(super) fn take(&self, ask: Ask) -> Result<(), TellerError> {
        let mut queue = self.shared.queue();
        if queue.closed {
            return Err(TellerError::Closed);
        }
        if queue.bytes + ask.elements.len() > QUEUE_BYTES_MAX {
            return Err(TellerError::Busy);
        }
        queue.bytes += ask.elements.len();
        queue.asks.push_back(ask);
        let first = queue.asks.len() == 1;
        drop(queue);
        if first {
            // It fails only when the counter in the kernel is at its end: then the thread wakes in any case.
            let _ = self.waker.wake();
        }
        Ok(())
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            // A thread that panicked has answered nothing more: callers learn it below.
            drop(ended);
        }
        close(&self.shared);
    }
}

/// Nobody is answered from here on.
fn close(shared: &Shared) {
    let mut queue = shared.queue();
    queue.closed = true;
    let asks = std::mem::take(&mut queue.asks);
    drop(queue);
    for ask in asks {
        ask.slot.put(Err(TellerError::Closed));
    }
}

/// What no other client has.
fn identity() -> io::Result<u128> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes).max(1))
}

/// One session and what it is asking.
#[derive(Debug)]
struct Lane {
    id: GuestId,
    client: u128,
    session: u64,
    number: u32,
    asks: Vec<Ask>,
    busy: bool,
}

/// The thread's side.
struct Work {
    poll: Poll,
    desk: Desk,
    lines: Lines,
    lanes: Vec<Lane>,
    cluster: u128,
    shared: Arc<Shared>,
    effects: Vec<Effect>,
    /// For identities of lanes that have to register again.
    identity: u128,
}

impl Work {
    fn new(poll: Poll, layout: Layout, identity: u128, shared: Arc<Shared>) -> Self {
        let lane = |place: usize| Lane {
            id: GuestId {
                place: place as u32,
                turn: 0,
                origin: 0,
            },
            client: identity.wrapping_add(place as u128).max(1),
            session: 0,
            number: 0,
            asks: Vec::new(),
            busy: false,
        };
        Self {
            lines: Lines::new(&layout, 0),
            cluster: layout.cluster.into(),
            desk: Desk::of_client(layout, Arc::<Counters>::default()),
            lanes: (0..LANES).map(lane).collect(),
            poll,
            shared,
            effects: Vec::new(),
            identity: identity.wrapping_add(LANES as u128),
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        while !self.shared.stop.load(Ordering::Acquire) {
            let polled = self.poll.poll(&mut events, self.timeout());
            if polled.is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
                break;
            }
            let now = SystemClock.now();
            self.desk.wall_is(SystemClock.wall());
            for event in &events {
                if let Some(line) = self.lines.by_token(event.token()) {
                    self.read(line, now);
                }
            }
            self.desk.tick(false, now, &mut self.effects);
            self.desk.sweep(now);
            self.send(now);
            self.act(now);
        }
        for ask in self.lanes.iter_mut().flat_map(|lane| lane.asks.drain(..)) {
            ask.slot.put(Err(TellerError::Closed));
        }
        close(&self.shared);
    }

    fn timeout(&self) -> Option<Duration> {
        let busy = self.lanes.iter().filter(|lane| lane.busy).count();
        if busy < LANES && !self.shared.queue().asks.is_empty() {
            return Some(Duration::ZERO);
        }
        if busy == 0 {
            return None;
        }
        let now = SystemClock.now();
        let due = self.desk.next_due();
        Some(due.map_or(LOOK, |due| Duration::from_nanos(due.since(now)).min(LOOK)))
    }

    fn read(&mut self, line: usize, now: Time) {
        let mut answers: Vec<(ReplyHead, bytes::Bytes)> = Vec::new();
        let lives = self.lines.read(line, now, &mut answers);
        for (head, body) in answers {
            self.desk.answer(&head, body, now, &mut self.effects);
        }
        if !lives {
            self.lose(line, now);
        }
        self.act(now);
    }

    fn lose(&mut self, line: usize, now: Time) {
        let (place, core) = self.lines.end_of(line);
        self.lines.lose(line, now);
        self.desk.line_lost(place, core, now);
    }

    /// Gives the lanes that are free what waits.
    fn send(&mut self, now: Time) {
        for at in 0..self.lanes.len() {
            if self.lanes[at].busy {
                continue;
            }
            if self.shared.queue().asks.is_empty() {
                return;
            }
            if self.lanes[at].session == 0 {
                self.request(at, REGISTER, vec![0; REGISTER_BYTES], now);
                continue;
            }
            let asks = self.next_asks();
            let Some(operation) = asks.first().map(|ask| ask.operation) else {
                return;
            };
            let shape = Shape::of(operation).expect("a call is one of these");
            let mut body = Vec::with_capacity(BODY_BYTES_MAX.min(asks.len() * 1024));
            let mut counts = Vec::with_capacity(asks.len());
            for ask in &asks {
                body.extend_from_slice(&ask.elements);
                counts.push((ask.elements.len() / shape.event_bytes) as u16);
            }
            batches::close(&mut body, 0, &counts, shape.event_bytes);
            self.lanes[at].asks = asks;
            self.request(at, operation, body, now);
        }
    }

    /// Calls of one kind, as many as fit into a request together with their results.
    fn next_asks(&mut self) -> Vec<Ask> {
        let mut queue = self.shared.queue();
        let mut asks: Vec<Ask> = Vec::new();
        let (mut events, mut results) = (0, 0);
        while let Some(next) = queue.asks.front() {
            let shape = Shape::of(next.operation).expect("a call is one of these");
            let count = next.elements.len() / shape.event_bytes;
            let more = if shape.filters {
                limit_of(&next.elements).min(shape.results_max())
            } else {
                count
            };
            let trailer = |bytes| batches::trailer_bytes(asks.len() + 1, bytes);
            let fits = (events + count) * shape.event_bytes + trailer(shape.event_bytes)
                <= BODY_BYTES_MAX
                && (results + more) * shape.result_bytes + trailer(shape.result_bytes)
                    <= BODY_BYTES_MAX;
            let same = asks
                .first()
                .is_none_or(|first| first.operation == next.operation);
            if !(asks.is_empty() || fits && same) {
                break;
            }
            (events, results) = (events + count, results + more);
            let ask = queue.asks.pop_front().expect("it was there");
            queue.bytes -= ask.elements.len();
            asks.push(ask);
        }
        asks
    }

    fn request(&mut self, at: usize, operation: u8, body: Vec<u8>, now: Time) {
        let lane = &mut self.lanes[at];
        lane.busy = true;
        let (session, number) = match operation {
            REGISTER => (0, 0),
            _ => {
                lane.number += 1;
                (lane.session, lane.number)
            }
        };
        let request = Request {
            parent: 0,
            client: lane.client,
            session,
            timestamp: 0,
            number,
            operation,
            latency: 0,
            checksum: 0,
        };
        let envelope = Envelope {
            cluster: self.cluster,
            view: 0,
            release: Release::MAX,
            replica: 0,
        };
        let (id, body) = (lane.id, body.into());
        self.desk
            .request(id, envelope, request, body, now, &mut self.effects);
        self.act(now);
    }

    /// Does what the desk wants.
    fn act(&mut self, now: Time) {
        let mut touched = Vec::new();
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Ask {
                        place,
                        core,
                        head,
                        body,
                        crc,
                    } => {
                        let line = self.lines.of(place, core);
                        let question = Question { head, body, crc };
                        if self.lines.ask(line, question, self.poll.registry(), now) {
                            touched.push(line);
                        } else {
                            self.desk.unreachable(head.id, now);
                        }
                    }
                    Effect::Say {
                        guest,
                        header,
                        body,
                    } => self.told(guest.place as usize, &header, &body),
                    Effect::Close(_) => {}
                }
            }
        }
        for line in touched {
            if !self.lines.write(line, now) {
                self.lose(line, now);
            }
        }
    }

    /// A lane's request is answered.
    fn told(&mut self, at: usize, header: &[u8; 256], body: &[u8]) {
        let announced = Announced::parse(header).expect("the desk writes what it means");
        let lane = &mut self.lanes[at];
        lane.busy = false;
        let asks = std::mem::take(&mut lane.asks);
        match announced.message {
            Message::Reply(reply) if reply.operation == REGISTER => lane.session = reply.commit,
            Message::Reply(reply) => {
                let shape = Shape::of(reply.operation).expect("a call was one of these");
                let results = Batches::parse(body, shape.result_bytes);
                let results = results.expect("the desk writes lists of batches");
                for (ask, rows) in asks.into_iter().zip(results.iter()) {
                    ask.slot.put(Ok(rows.to_vec()));
                }
            }
            Message::Eviction(eviction) => {
                // Another identity: the old one is spent.
                self.identity = self.identity.wrapping_add(1).max(1);
                (lane.client, lane.session, lane.number) = (self.identity, 0, 0);
                let forgotten =
                    matches!(eviction.reason, Reason::NoSession | Reason::SessionTooLow);
                for ask in asks {
                    ask.slot.put(Err(match forgotten {
                        true => TellerError::Forgotten,
                        false => TellerError::Refused(eviction.reason),
                    }));
                }
            }
            Message::Ping(_) | Message::Pong(_) | Message::Request(_) => {}
        }
    }
}

/// The limit of a filter: the last but one number of both kinds.
fn limit_of(filter: &[u8]) -> usize {
    let limit = filter
        .len()
        .checked_sub(8)
        .and_then(|at| filter[at..].first_chunk());
    limit.map_or(0, |limit| u32::from_le_bytes(*limit) as usize)
}

//! One connection and the sessions that share it, each with a bounded number of requests in flight, each sent until it
//! is answered for good.
//!
//! - A request is sent again with the same ids after "busy", after a change of leader and after a lost
//!   connection; `exists` is then success. So an answer is never taken for granted nor given up.
//! - Requests are drawn from the workload whenever they leave; nothing but their keys is remembered.

use crate::acks::{Positions, StreamLog};
use crate::clock::Clock;
use crate::connection::{Connection, Lost, Pool};
use crate::error::ProtocolFault;
use crate::tally::{Departure, Tally};
use crate::target::Target;
use crate::wire::request_frame_bytes;
use crate::workload::{BatchKey, RECORD_SIZE, Workload};
use ledger::instruction::operation::CREATE_TRANSFERS;
use ledger::status::{CreateResult, CreateTransferStatus};
use mio::{Registry, Token};
use net::frame::Kind;
use net::request::{Consistency, ReplyHead, RequestHead, Status};
use std::collections::VecDeque;
use zerocopy::FromBytes;

/// Small requests are written together up to this many bytes.
const WRITE_BYTES: usize = 64 * 1024;
/// First and longest pause before a request is tried again.
const PAUSE_NS_MIN: u64 = 100_000;
const PAUSE_NS_MAX: u64 = 50_000_000;

/// What all carriers of a thread share.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    pub(crate) target: &'a Target,
    pub(crate) workload: &'a Workload,
    pub(crate) clock: Clock,
    pub(crate) registry: Registry,
    pub(crate) pool: Pool,
    pub(crate) tally: Tally,
    /// What became of the batches, by stream.
    pub(crate) logs: Vec<StreamLog>,
    pub(crate) acknowledged: u64,
}

/// What the poll says of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    /// The kernel takes more bytes.
    pub(crate) writable: bool,
    /// The other end has closed its side.
    pub(crate) ended: bool,
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
struct Flight {
    sequence: u32,
    /// Its session.
    client: u32,
    departure: Departure,
    left: u64,
    tries: u32,
}

/// Sessions that share a connection: the first, how many, and how many requests each may have in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Party {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) window: u32,
}

/// A connection and its sessions.
#[derive(Debug)]
pub(crate) struct Carrier {
    token: Token,
    group: u32,
    node: usize,
    connection: Option<Connection>,
    connected_before: bool,
    /// In order of sequence.
    flights: VecDeque<Flight>,
    unsent: VecDeque<u32>,
    /// A session's number for each request that may still be begun.
    free: Vec<u32>,
    failures: u32,
    /// Nothing is sent before this instant, and no connection is made.
    paused_until: u64,
    pause_told: u64,
    /// Position of its stream's log.
    stream: usize,
}

impl Carrier {
    /// One for these sessions of this stream, that first turns to the node at this position.
    pub(crate) fn new(token: Token, stream: usize, group: u32, node: usize, party: Party) -> Self {
        let sessions = party.first..party.first + party.count;
        let free: Vec<u32> = (0..party.window).flat_map(|_| sessions.clone()).collect();
        Self {
            token,
            group,
            node,
            connection: None,
            connected_before: false,
            flights: VecDeque::with_capacity(free.len()),
            unsent: VecDeque::with_capacity(free.len()),
            free,
            failures: 0,
            paused_until: 0,
            pause_told: 0,
            stream,
        }
    }

    /// Requests that may still be begun.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Whether every request has its answer.
    pub(crate) fn is_settled(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether requests can be sent at all.
    pub(crate) fn is_greeted(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_greeted)
    }

    /// The instant at which it wants to be pumped, told once for each pause.
    pub(crate) fn take_pause(&mut self) -> Option<u64> {
        let news = self.paused_until > self.pause_told;
        self.pause_told = self.pause_told.max(self.paused_until);
        news.then_some(self.paused_until)
    }

    /// The node it talks to.
    pub(crate) fn node(&self) -> usize {
        self.node
    }

    /// Begins a request; it leaves with the next `pump`.
    pub(crate) fn begin(&mut self, departure: Departure, logs: &mut [StreamLog]) {
        let client = self.free.pop().expect("the caller asked before");
        let BatchKey { sequence, .. } = logs[self.stream].begin();
        self.flights.push_back(Flight {
            sequence,
            client,
            departure,
            left: 0,
            tries: 0,
        });
        self.unsent.push_back(sequence);
    }

    /// Does what can be done at this instant: connects, and sends what has to be sent.
    pub(crate) fn pump(&mut self, now: u64, shared: &mut Shared) -> Result<(), ProtocolFault> {
        if now < self.paused_until {
            return Ok(());
        }
        self.paused_until = 0;
        let Some(connection) = &self.connection else {
            self.connect(now, shared);
            return Ok(());
        };
        if connection.is_writable() {
            let sent = self.send(shared);
            self.settle(sent, now, shared)?;
        }
        Ok(())
    }

    /// The poll says that its connection can be read or written.
    pub(crate) fn ready(
        &mut self,
        readiness: Readiness,
        now: u64,
        shared: &mut Shared,
    ) -> Result<(), ProtocolFault> {
        let done = self.advance(readiness, shared);
        self.settle(done, now, shared)?;
        self.pump(now, shared)
    }

    fn advance(&mut self, readiness: Readiness, shared: &mut Shared) -> Result<(), Lost> {
        if readiness.writable
            && let Some(connection) = &mut self.connection
        {
            connection.writable(&mut shared.pool)?;
        }
        loop {
            let Some(connection) = &mut self.connection else {
                return Ok(());
            };
            let more = connection.fill(readiness.ended)?;
            while let Some(found) = self
                .connection
                .as_mut()
                .map_or(Ok(None), Connection::take)?
            {
                if found.kind != Kind::REPLY {
                    return Err(Lost::Fault(ProtocolFault::Kind(found.kind)));
                }
                self.failures = 0;
                self.replied(found.head, found.bulk, shared)?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn connect(&mut self, now: u64, shared: &mut Shared) {
        let core = shared.target.core_of(self.group);
        let address = shared.target.address(self.node, core);
        match Connection::open(address, shared.target.cluster, &shared.registry, self.token) {
            Ok(connection) => {
                self.connection = Some(connection);
                shared.tally.reconnects += u64::from(self.connected_before);
                self.connected_before = true;
            }
            Err(_) => self.pause(now),
        }
    }

    /// Sends all that waits, small requests many at a time.
    fn send(&mut self, shared: &mut Shared) -> Result<(), Lost> {
        let bulk = shared.workload.batch() as usize * RECORD_SIZE;
        let at_a_time = (WRITE_BYTES / request_frame_bytes(bulk)).max(1);
        while !self.unsent.is_empty() {
            let Some(connection) = &mut self.connection else {
                return Ok(());
            };
            if !connection.is_writable() {
                return Ok(());
            }
            let now = shared.clock.now();
            let mut outbox = shared.pool.take();
            for _ in 0..at_a_time {
                let Some(sequence) = self.unsent.pop_front() else {
                    break;
                };
                let place = find(&self.flights, sequence).expect("only flights wait to be sent");
                let flight = &mut self.flights[place];
                if flight.tries == 0 {
                    shared.tally.departs(flight.departure, now);
                }
                flight.left = now;
                flight.tries += 1;
                let head = RequestHead {
                    id: sequence.into(),
                    group: self.group.into(),
                    operation: CREATE_TRANSFERS,
                    consistency: Consistency::Linearizable,
                    sent_at: now,
                    // Zero names nobody.
                    client: u128::from(flight.client) + 1,
                    number: sequence.into(),
                };
                let key = shared.logs[self.stream].key(sequence);
                outbox.push_request(shared.target.cluster, &head, bulk, |records| {
                    shared.workload.fill(self.group, key, records);
                });
            }
            connection.send(outbox, &mut shared.pool)?;
        }
        Ok(())
    }

    /// Takes a reply that lies in the connection's inbox.
    fn replied(
        &mut self,
        head: std::ops::Range<usize>,
        bulk: std::ops::Range<usize>,
        shared: &mut Shared,
    ) -> Result<(), Lost> {
        let connection = self.connection.as_ref().expect("the reply lies in it");
        let head = &connection.bytes()[head];
        let reply = ReplyHead::decode(head).map_err(|_| Lost::Fault(ProtocolFault::Head))?;
        let unknown = Lost::Fault(ProtocolFault::UnknownReply(reply.id));
        let sequence = u32::try_from(reply.id).ok();
        let Some((sequence, place)) =
            sequence.and_then(|sequence| Some((sequence, find(&self.flights, sequence)?)))
        else {
            return Err(unknown);
        };
        let now = shared.clock.now();
        let transfers = u64::from(shared.workload.batch());
        match reply.status {
            Status::Ok => {
                let results = &connection.bytes()[bulk];
                let acknowledged = judge(
                    results,
                    sequence,
                    now,
                    &mut shared.logs[self.stream],
                    &mut shared.tally,
                    transfers,
                )?;
                shared.acknowledged += acknowledged;
                shared.tally.accepts(acknowledged, now);
                self.land(place, now, Some(&reply), shared);
            }
            Status::Busy | Status::Unavailable => {
                shared.tally.busy += 1;
                self.unsent.push_back(sequence);
                self.pause(now);
            }
            Status::NotLeader | Status::ShuttingDown => {
                shared.tally.not_leader += 1;
                self.turn_to(reply.leader, now, shared);
            }
            refusal => {
                // Nothing was done this time; an earlier try whose answer was lost may have been.
                if self.flights[place].tries == 1 {
                    shared.logs[self.stream].refused(sequence);
                }
                shared.tally.refuses_request(refusal as u8, transfers, now);
                self.land(place, now, None, shared);
            }
        }
        Ok(())
    }

    /// The request has its answer.
    fn land(&mut self, place: usize, now: u64, reply: Option<&ReplyHead>, shared: &mut Shared) {
        let flight = self.flights.remove(place).expect("found above");
        self.free.push(flight.client);
        if let Some(reply) = reply {
            let server_ns = reply.replied_at.saturating_sub(reply.arrived_at);
            shared
                .tally
                .answered(flight.departure, flight.left, now, server_ns);
        }
    }

    /// Leaves this node for the one that leads, or for the next one where nobody knows.
    fn turn_to(&mut self, leader: u32, now: u64, shared: &mut Shared) {
        let told = shared
            .target
            .position(leader)
            .filter(|&node| node != self.node);
        self.disconnect(shared);
        match told {
            Some(node) => self.node = node,
            None => {
                self.node = shared.target.next_node(self.node);
                self.pause(now);
            }
        }
    }

    /// Closes the connection: whatever was not answered on it will be sent again.
    fn disconnect(&mut self, shared: &mut Shared) {
        if let Some(connection) = self.connection.take() {
            connection.close(&shared.registry, &mut shared.pool);
        }
        self.unsent.clear();
        self.unsent
            .extend(self.flights.iter().map(|flight| flight.sequence));
    }

    fn settle(
        &mut self,
        done: Result<(), Lost>,
        now: u64,
        shared: &mut Shared,
    ) -> Result<(), ProtocolFault> {
        match done {
            Ok(()) => Ok(()),
            Err(Lost::Fault(fault)) => Err(fault),
            Err(Lost::Closed) => {
                self.disconnect(shared);
                // The same node first: it may have dropped the connection only.
                if self.failures > 0 {
                    self.node = shared.target.next_node(self.node);
                }
                self.pause(now);
                Ok(())
            }
        }
    }

    /// Waits a little before the next try, longer from time to time, and never in step with the others.
    fn pause(&mut self, now: u64) {
        let longest = (PAUSE_NS_MIN << self.failures.min(16)).min(PAUSE_NS_MAX);
        let spread = crate::workload::mix(now ^ self.token.0 as u64) % (longest / 2 + 1);
        self.paused_until = now + longest / 2 + spread;
        self.failures += 1;
    }
}

/// Where the flight with this sequence is.
fn find(flights: &VecDeque<Flight>, sequence: u32) -> Option<usize> {
    flights
        .binary_search_by_key(&sequence, |flight| flight.sequence)
        .ok()
}

/// Reads the results of a batch: how many transfers were acknowledged.
fn judge(
    results: &[u8],
    sequence: u32,
    now: u64,
    log: &mut StreamLog,
    tally: &mut Tally,
    transfers: u64,
) -> Result<u64, Lost> {
    let batch = u32::try_from(transfers).expect("it came from 32 bits");
    let wanted = transfers as usize * size_of::<CreateResult>();
    let results = match <[CreateResult]>::ref_from_bytes(results) {
        Ok(whole) if whole.len() == batch as usize => whole,
        _ => {
            return Err(Lost::Fault(ProtocolFault::Length {
                found: results.len(),
                wanted,
            }));
        }
    };
    let created =
        |result: &CreateResult| result.status.get() == CreateTransferStatus::Created.number();
    if results.iter().all(created) {
        log.acknowledged(sequence);
        return Ok(transfers);
    }
    let mut refused = Positions::none(batch);
    for (position, result) in (0u32..).zip(results) {
        let status = result.status.get();
        if !created(result) && status != CreateTransferStatus::Exists.number() {
            refused.insert(position);
            tally.refuses(status, now);
        }
    }
    let acknowledged = transfers - refused.len();
    match acknowledged {
        0 => log.refused(sequence),
        all if all == transfers => log.acknowledged(sequence),
        _ => log.split(sequence, refused),
    }
    Ok(acknowledged)
}

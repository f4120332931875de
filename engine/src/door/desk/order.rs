//! One client's request on its way: what it still waits for, and the reply when nothing is missing.
//!
//! - An order goes from phase to phase; each phase ends when all its parts are answered.
//! - The reply to a write is what the group remembers: the same bytes for every repetition.

use bytes::Bytes;
use ledger::transfer::Transfer;
use net::request::{Consistency, ReplyHead};
use net::tigerbeetle::Release;
use net::tigerbeetle::batches::Batches;
use net::tigerbeetle::message::{Message, Reason, Reply, Request};
use net::tigerbeetle::operation::{self, Shape};
use raft::ids::Time;
use rustc_hash::FxHashMap;
use shard::sessions::{self, Outcome};
use zerocopy::FromBytes;

use crate::door::desk::plan::{self, Ask, Phase};
use crate::door::desk::{Desk, Effect, GuestId, Known};
use crate::door::limits;
use crate::door::origins::Origin;
use crate::door::route::{self, Spread};

/// A part of an order, asked of one group.
#[derive(Debug)]
pub(super) struct Errand {
    /// The order; 0 for the desk's own question.
    pub(super) order: u64,
    pub(super) part: usize,
    pub(super) group: u64,
    pub(super) operation: u8,
    pub(super) consistency: Consistency,
    /// Client and number, as the entry's head has them.
    pub(super) asker: (u128, u64),
    pub(super) body: Bytes,
    pub(super) crc: u32,
    pub(super) tries: u32,
    pub(super) state: State,
}

/// Where an errand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// With the node at this place, since then.
    Asked(usize, Time),
    /// To be asked then.
    Waits(Time),
}

/// A request that was taken up.
#[derive(Debug)]
pub(super) struct Order {
    /// Who is answered.
    pub(super) guest: GuestId,
    /// In whose account it stands.
    pub(super) opened_by: GuestId,
    pub(super) request: Request,
    pub(super) body: Bytes,
    /// What is under way for it.
    pub(super) errands: Vec<u64>,
    release: Release,
    shape: Option<Shape>,
    /// Of the session.
    origin: Origin,
    phase: Phase,
    answers: Vec<Option<Bytes>>,
    left: usize,
    /// Of the answers, the latest.
    index: u64,
    time: u64,
}

impl Order {
    pub(super) fn new(
        guest: GuestId,
        release: Release,
        request: Request,
        shape: Option<Shape>,
        body: Bytes,
    ) -> Self {
        Self {
            guest,
            opened_by: guest,
            request,
            body,
            errands: Vec::new(),
            release,
            shape,
            origin: 0,
            phase: Phase::Session,
            answers: Vec::new(),
            left: 0,
            index: 0,
            time: 0,
        }
    }

    fn session(&self) -> u32 {
        u32::try_from(self.request.session).unwrap_or(u32::MAX)
    }

    fn answers(&self) -> Vec<Bytes> {
        let answers = self.answers.iter();
        answers
            .map(|answer| answer.clone().expect("every part is answered"))
            .collect()
    }
}

impl Desk {
    /// The first phase of an order.
    pub(super) fn begin(&mut self, id: u64, now: Time, out: &mut Vec<Effect>) {
        let order = &self.orders[&id];
        let request = &order.request;
        if request.operation == operation::REGISTER {
            return self.enter(
                id,
                Phase::Register,
                vec![plan::register(order.guest.origin)],
                now,
                out,
            );
        }
        let known = self.known.get_mut(&request.client).filter(|known| {
            u64::from(known.session) == request.session
                && now.since(known.checked_at) < limits::KNOWN_NS
        });
        match known {
            Some(known) => {
                known.number = request.number;
                let origin = known.origin;
                self.carry_out(id, origin, now, out);
            }
            None => {
                let ask = plan::session_of(request.client);
                self.enter(id, Phase::Session, vec![ask], now, out);
            }
        }
    }

    /// The session is known: what is to be done, and where.
    fn carry_out(&mut self, id: u64, origin: Origin, now: Time, out: &mut Vec<Effect>) {
        let order = self.orders.get_mut(&id).expect("it is under way");
        order.origin = origin;
        let shape = order.shape.expect("an operation that was not objected to");
        let (operation, groups) = (order.request.operation, self.layout.groups);
        let (phase, asks) = plan::parts(operation, shape, &order.body, groups, origin);
        self.enter(id, phase, asks, now, out);
    }

    fn enter(&mut self, id: u64, phase: Phase, asks: Vec<Ask>, now: Time, out: &mut Vec<Effect>) {
        let order = self.orders.get_mut(&id).expect("it is under way");
        order.phase = phase;
        order.left = asks.len();
        order.answers = vec![None; asks.len()];
        order.errands = (1..).map(|at| self.next + at).take(asks.len()).collect();
        let (client, session) = (order.request.client, order.session());
        let number = match order.request.operation {
            operation::REGISTER => 0,
            _ => sessions::number(session, order.request.number),
        };
        let is_empty = asks.is_empty();
        for (part, ask) in asks.into_iter().enumerate() {
            self.next += 1;
            let errand = Errand {
                order: id,
                part,
                group: ask.group,
                operation: ask.operation,
                consistency: Consistency::Linearizable,
                asker: (client, number),
                crc: net::checksum::crc(&ask.body),
                body: ask.body,
                tries: 0,
                state: State::Asked(0, now),
            };
            self.errands.insert(self.next, errand);
            self.ask(self.next, now, out);
        }
        if is_empty {
            self.phase_done(id, now, out);
        }
    }

    /// A part was answered.
    pub(super) fn part_done(
        &mut self,
        id: u64,
        part: usize,
        head: &ReplyHead,
        body: Bytes,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        let Some(order) = self.orders.get_mut(&id) else {
            return;
        };
        let answer = if order.phase.judges() {
            let Some((results, verdict, outcome)) = sessions::verdict(&body) else {
                return self.end_with(id, Reason::InvalidBody, out);
            };
            match outcome {
                Outcome::Done => {}
                Outcome::NoSession => return self.end_with(id, Reason::NoSession, out),
                Outcome::Superseded => return self.end_with(id, Reason::SessionTooLow, out),
                Outcome::Past => {
                    self.counters.ignored.add(1);
                    self.close(id);
                    return;
                }
            }
            order.time = order.time.max(verdict.time.get());
            order.index = match order.phase {
                Phase::Register => verdict.session.get().into(),
                _ => order.index.max(verdict.index.get()),
            };
            body.slice(..results.len())
        } else {
            order.index = order.index.max(head.index);
            body
        };
        order.answers[part] = Some(answer);
        order.left -= 1;
        if order.left == 0 {
            self.phase_done(id, now, out);
        }
    }

    fn phase_done(&mut self, id: u64, now: Time, out: &mut Vec<Effect>) {
        let order = &self.orders[&id];
        let answers = order.answers();
        match &order.phase {
            Phase::Session => self.session_told(id, &answers[0], now, out),
            Phase::Register => {
                let known = Known {
                    session: u32::try_from(order.index).unwrap_or(u32::MAX),
                    origin: order.guest.origin,
                    release: order.release,
                    checked_at: now,
                    number: 0,
                };
                // Another door may have registered it first, from elsewhere: where groups are told, group 0 is asked.
                if self.layout.groups == 1 {
                    self.remember(id, known);
                }
                self.reply(id, plan::registered(), out);
            }
            Phase::Ledgers => {
                let mut ledgers = FxHashMap::default();
                for answer in &answers {
                    let Ok(transfers) = <[Transfer]>::ref_from_bytes(answer) else {
                        return self.end_with(id, Reason::InvalidBody, out);
                    };
                    let known = transfers.iter();
                    ledgers.extend(known.map(|known| (known.id.get(), known.ledger.get())));
                }
                let batches = Batches::parse(&order.body, size_of::<Transfer>());
                let batches = batches.expect("it was not objected to");
                let spread =
                    route::transfers(&order.body, &batches, self.layout.groups, |pending| {
                        ledgers.get(&pending).copied()
                    });
                let (phase, asks) = plan::spread(order.request.operation, spread, order.origin);
                self.enter(id, phase, asks, now, out);
            }
            Phase::Whole => self.reply_created(id, Some(answers[0].clone()), out),
            Phase::Spread(spread) => {
                let joined = Spread::join(spread, &answers);
                self.reply_created(id, joined, out);
            }
            Phase::Read(reading) => {
                let joined = reading.join(&order.body, &answers);
                self.reply_joined(id, joined, out);
            }
        }
    }

    /// A client ends its process at a status that it does not know: where a table is full its session ends.
    fn reply_created(&mut self, id: u64, joined: Option<Bytes>, out: &mut Vec<Effect>) {
        match joined {
            Some(body) if self.place.is_some() && route::is_full(&body) => {
                self.end_with(id, Reason::InvalidBody, out)
            }
            joined => self.reply_joined(id, joined, out),
        }
    }

    fn reply_joined(&mut self, id: u64, joined: Option<Bytes>, out: &mut Vec<Effect>) {
        match joined {
            Some(body) => self.reply(id, body, out),
            // Answers to another request under this number: the client has used it twice.
            None => self.end_with(id, Reason::NoSession, out),
        }
    }

    fn session_told(&mut self, id: u64, told: &[u8], now: Time, out: &mut Vec<Effect>) {
        let order = &self.orders[&id];
        let (release, number, asked) = (order.release, order.request.number, order.request.session);
        let number_at = |at: usize| {
            let bytes = told.get(at..at + 4)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*bytes))
        };
        // Session, last request, origin; a node of an older version does not say the last.
        let (session, origin) = (number_at(0), number_at(8).unwrap_or(0));
        match session {
            Some(session) if u64::from(session) == asked => {
                let known = Known {
                    session,
                    origin,
                    release,
                    checked_at: now,
                    number,
                };
                self.remember(id, known);
                self.carry_out(id, origin, now, out);
            }
            Some(session) if u64::from(session) > asked => {
                self.end_with(id, Reason::SessionTooLow, out);
            }
            _ => self.end_with(id, Reason::NoSession, out),
        }
    }

    fn remember(&mut self, id: u64, known: Known) {
        if self.known.len() >= limits::KNOWN_MAX {
            self.known.clear();
        }
        let client = self.orders[&id].request.client;
        self.known.insert(client, known);
    }

    /// The session of this order is over.
    pub(super) fn end_with(&mut self, id: u64, reason: Reason, out: &mut Vec<Effect>) {
        if let Some(order) = self.close(id) {
            self.evict(order.guest, order.request.client, reason, out);
        }
    }

    fn reply(&mut self, id: u64, body: Bytes, out: &mut Vec<Effect>) {
        let Some(order) = self.close(id) else {
            return;
        };
        let Request {
            checksum: request_checksum,
            client,
            number,
            operation,
            ..
        } = order.request;
        let reply = Reply {
            request_checksum,
            context: 0,
            client,
            commit: order.index.max(1),
            timestamp: if order.time == 0 {
                self.wall
            } else {
                order.time
            },
            number,
            operation,
        };
        let header = Message::encode_reply(reply, &self.envelope(order.release), &body);
        self.counters.replies.add(1);
        let guest = order.guest;
        out.push(Effect::Say {
            guest,
            header,
            body,
        });
    }
}

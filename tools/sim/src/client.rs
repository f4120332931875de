//! A client: one request at a time, over real sessions, asked again with the same bytes at another node when there is
//! no answer.
//!
//! - An attempt that ended in silence, or in "another node leads", may have happened: only a clear refusal of every
//!   attempt is a refusal.
//! - Answers to earlier attempts of the same request count; answers to requests that were given up do not.

use std::collections::BTreeMap;

use net::frame::{Codec, Kind};
use net::inbound::Inbound;
use net::pool::Pool;
use net::request::{ReplyHead, RequestHead, Status};
use net::session::Session;
use net::transport::Frame;

use crate::chance::Chance;
use crate::door;
use crate::errands::Errands;
use crate::history::{Done, GivenUp, History, Request};
use crate::moods::Mood;
use crate::network::{End, Machine, Network, Place, Taken};
use crate::trace::{Trace, What, Who};

const MILLISECOND: u64 = 1_000_000;
/// Before an attempt is given up.
const ATTEMPT_NS: u64 = 1_200 * MILLISECOND;
/// Before a request is given up.
const PATIENCE_NS: u64 = 15_000 * MILLISECOND;
/// After a refusal, before the next attempt.
const PAUSE_NS: u64 = 20 * MILLISECOND;

/// What a client is told at the beginning.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Its number among all clients.
    pub number: usize,
    /// Its cluster's number, for the handshake.
    pub cluster_id: u64,
    /// Its place in the network.
    pub place: Place,
    /// Its machine.
    pub machine: Machine,
    /// The cluster's nodes, in order of their ids.
    pub nodes: Vec<Machine>,
    /// Cores of each.
    pub cores: u16,
    /// Mean time between an answer and the next request.
    pub think_ns: u64,
    /// The round trips of its map may be long: added to every time limit.
    pub slack_ns: u64,
    /// How often, in permille, it asks a node at random though it knows the leader.
    pub roaming_permille: u64,
    /// Requests of all clients together at most.
    pub requests_max: u64,
    /// Sends everything twice.
    pub stutters: bool,
}

/// One per client.
#[derive(Debug)]
pub struct Client {
    seat: Seat,
    network: Network,
    chance: Chance,
    pool: Pool,
    /// Where requests come from.
    pub teller: Errands,
    wires: BTreeMap<(usize, u16), Wire>,
    leaders: BTreeMap<u64, usize>,
    current: Option<Current>,
    next_at: u64,
    attempts: u64,
    /// No new requests.
    pub is_closing: bool,
    /// Requests are never given up.
    pub is_patient: bool,
    /// To be asked before anything else.
    pub errands: Vec<Request>,
    /// How it is just now.
    pub mood: Mood,
}

#[derive(Debug)]
struct Wire {
    end: End,
    session: Session,
}

#[derive(Debug)]
struct Current {
    request: Request,
    asked_at: u64,
    /// First and last attempt's id.
    attempts: (u64, u64),
    /// The node asked last, until that attempt is over.
    node: Option<usize>,
    /// The request of the last attempt is on the wire.
    is_sent: bool,
    until: u64,
    /// Some attempt may have happened.
    is_unclear: bool,
}

impl Client {
    /// A client that begins at `now`.
    #[must_use]
    pub fn new(seat: Seat, teller: Errands, network: &Network, seed: u64, now: u64) -> Self {
        let chance = Chance::named(seed.wrapping_add(seat.number as u64), "client");
        Self {
            network: network.clone(),
            chance,
            pool: Pool::new(Session::POOL_BYTES),
            teller,
            wires: BTreeMap::new(),
            leaders: BTreeMap::new(),
            current: None,
            next_at: now,
            attempts: (seat.number as u64 + 1) << 40,
            is_closing: false,
            is_patient: false,
            errands: Vec::new(),
            mood: Mood::Usual,
            seat,
        }
    }

    /// The request that waits for an answer.
    #[must_use]
    pub fn waits_for(&self) -> Option<&Request> {
        self.current.as_ref().map(|current| &current.request)
    }

    /// Looks at everything that is due; answers when it wants to be called again, arrivals apart.
    pub fn turn(&mut self, now: u64, history: &mut History, trace: &Trace) -> u64 {
        let mut frames = Vec::new();
        let keys: Vec<_> = self.wires.keys().copied().collect();
        for key in keys {
            let wire = self.wires.get_mut(&key).expect("just listed");
            if !wire.drive(&self.network, now, &mut frames) {
                self.hang_up(key, trace, now);
            }
        }
        for frame in frames {
            self.receive(&frame, now, history, trace);
        }
        self.pass(now, history, trace);
        self.begin(now, history);
        self.attempt(now, history, trace);
        match &self.current {
            Some(current) => current.until,
            None if (self.is_closing || self.mood == Mood::Idle) && self.errands.is_empty() => {
                u64::MAX
            }
            None if history.begun >= self.seat.requests_max && self.errands.is_empty() => u64::MAX,
            None => self.next_at,
        }
    }

    fn who(&self) -> Who {
        Who::Client(self.seat.number)
    }

    fn hang_up(&mut self, key: (usize, u16), trace: &Trace, now: u64) {
        if let Some(wire) = self.wires.remove(&key) {
            self.network.close(wire.end, false);
            trace.note(now, self.who(), What::Hung);
        }
        if let Some(current) = &mut self.current
            && current.node == Some(key.0)
        {
            current.node = None;
            current.is_unclear |= current.is_sent;
            current.until = now + PAUSE_NS;
            self.leaders.remove(&current.request.scope.group);
        }
    }

    fn receive(&mut self, frame: &Frame, now: u64, history: &mut History, trace: &Trace) {
        if frame.kind != Kind::REPLY {
            return;
        }
        let Ok(head) = ReplyHead::decode(&frame.head) else {
            return;
        };
        let Some(current) = &mut self.current else {
            return;
        };
        if head.id < current.attempts.0 || head.id > current.attempts.1 {
            return;
        }
        trace.note(
            now,
            Who::Client(self.seat.number),
            What::Answered(current.request.number, head.status as u8, head.index),
        );
        let group = current.request.scope.group;
        if head.status == Status::Ok {
            self.answered(&head, frame, now, history);
            return;
        }
        if head.id != current.attempts.1 || current.node.is_none() {
            return;
        }
        current.is_unclear |= !is_clear(head.status);
        current.node = None;
        let pause = if head.status == Status::NotLeader && head.leader != 0 {
            1
        } else {
            PAUSE_NS
        };
        current.until = now + self.chance.around(pause);
        self.leaders.remove(&group);
        if head.leader != 0 {
            self.leaders.insert(group, head.leader as usize - 1);
        }
        if current.request.is_once {
            self.give_up(now, history);
        }
    }

    fn answered(&mut self, head: &ReplyHead, frame: &Frame, now: u64, history: &mut History) {
        let current = self.current.take().expect("somebody waits for this answer");
        history.longest_ns = history.longest_ns.max(now - current.asked_at);
        if let Some(node) = current.node {
            self.leaders.insert(current.request.scope.group, node);
        }
        let done = Done {
            request: current.request,
            client: self.seat.number,
            asked_at: current.asked_at,
            answered_at: now,
            index: head.index,
            reply: bytes::Bytes::copy_from_slice(&frame.bulk),
        };
        history.repeated += u64::from(done.request.is_repeat);
        self.teller.learn(&done);
        history.done.push(done);
        self.next_at = now + self.pause();
    }

    /// Attempts and requests whose time is up.
    fn pass(&mut self, now: u64, history: &mut History, trace: &Trace) {
        let Some(current) = &mut self.current else {
            return;
        };
        if now < current.until {
            return;
        }
        if let Some(node) = current.node.take() {
            trace.note(
                now,
                Who::Client(self.seat.number),
                What::TimedOut(current.request.number),
            );
            history.timeouts += 1;
            current.is_unclear |= current.is_sent;
            let group = current.request.scope.group;
            self.leaders.remove(&group);
            let (is_once, core) = (current.request.is_once, self.core_of(group));
            // Sometimes the connection is kept, and its answer comes late.
            if self.chance.permille(600)
                && let Some(wire) = self.wires.remove(&(node, core))
            {
                self.network.close(wire.end, false);
            }
            if is_once {
                self.give_up(now, history);
                return;
            }
        }
        let current = self.current.as_ref().expect("it was there");
        if !self.is_patient && now - current.asked_at > PATIENCE_NS + 4 * self.seat.slack_ns {
            self.give_up(now, history);
        }
    }

    /// Until the next request.
    fn pause(&mut self) -> u64 {
        let think_ns = match self.mood {
            Mood::Rush => self.seat.think_ns / 50,
            _ => self.seat.think_ns,
        };
        self.chance.around(think_ns)
    }

    fn give_up(&mut self, now: u64, history: &mut History) {
        let current = self.current.take().expect("there is something to give up");
        let given_up = GivenUp {
            request: current.request,
            client: self.seat.number,
            asked_at: current.asked_at,
            at: now,
        };
        if current.is_unclear {
            history.unknown.push(given_up);
        } else {
            history.refused.push(given_up);
        }
        self.next_at = now + self.pause();
    }

    fn begin(&mut self, now: u64, history: &mut History) {
        if self.current.is_some() {
            return;
        }
        let request = match self.errands.pop() {
            Some(errand) => errand,
            None if self.is_closing
                || self.mood == Mood::Idle
                || now < self.next_at
                || history.begun >= self.seat.requests_max =>
            {
                return;
            }
            None => match self.mood {
                Mood::Crowd(group) => self.teller.next_for(group),
                _ => self.teller.next_request(),
            },
        };
        history.begun += 1;
        let next = self.attempts + 1;
        self.current = Some(Current {
            request,
            asked_at: now,
            attempts: (next, next - 1),
            node: None,
            is_sent: false,
            until: now,
            is_unclear: false,
        });
    }

    /// Begins an attempt if none is under way, and sends it as soon as the session is open.
    fn attempt(&mut self, now: u64, history: &mut History, trace: &Trace) {
        let Some(current) = &mut self.current else {
            return;
        };
        let group = current.request.scope.group;
        let core = u16::try_from(group % u64::from(self.seat.cores)).expect("a remainder of a u16");
        if current.node.is_none() {
            if now < current.until {
                return;
            }
            let hint = self
                .leaders
                .get(&group)
                .copied()
                .filter(|_| !self.chance.permille(self.seat.roaming_permille));
            let is_local = current.request.consistency == net::request::Consistency::Local;
            let node = match hint.filter(|_| !is_local) {
                Some(node) if node < self.seat.nodes.len() => node,
                _ => self.chance.place(self.seat.nodes.len()),
            };
            self.attempts += 1;
            current.attempts.1 = self.attempts;
            current.node = Some(node);
            current.is_sent = false;
            current.until = now + ATTEMPT_NS + 2 * self.seat.slack_ns;
            history.attempts += 1;
            history.asked_again += u64::from(current.is_unclear);
        }
        let node = current.node.expect("an attempt is under way");
        if current.is_sent {
            return;
        }
        let key = (node, core);
        if !self.wires.contains_key(&key) {
            let address = door::address(self.seat.nodes[node], core);
            let Some(end) = self
                .network
                .dial(self.seat.place, self.seat.machine, address)
            else {
                return;
            };
            let session = Session::new(self.seat.cluster_id, Codec::None, self.pool.clone());
            let mut wire = Wire { end, session };
            wire.write(&self.network);
            self.wires.insert(key, wire);
        }
        let wire = self.wires.get_mut(&key).expect("just made");
        if wire.session.welcome().is_none() {
            return;
        }
        let times = 1 + u8::from(self.seat.stutters);
        for _ in 0..times {
            let _ = wire.ask(self.seat.number, &current.request, current.attempts.1, now);
        }
        wire.write(&self.network);
        current.is_sent = true;
        let request = &current.request;
        let what = What::Asked(
            request.number,
            group,
            request.operation,
            self.seat.nodes[node],
        );
        trace.note(now, Who::Client(self.seat.number), what);
    }

    fn core_of(&self, group: u64) -> u16 {
        u16::try_from(group % u64::from(self.seat.cores)).expect("a remainder of a u16")
    }
}

/// Does this refusal say that nothing was done?
fn is_clear(status: Status) -> bool {
    !matches!(status, Status::Ok | Status::Unavailable | Status::NotLeader)
}

impl Wire {
    fn ask(
        &mut self,
        client: usize,
        request: &Request,
        id: u64,
        now: u64,
    ) -> Result<(), net::transport::SendError> {
        let head = RequestHead {
            id,
            group: request.scope.group,
            operation: request.operation,
            consistency: request.consistency,
            sent_at: now,
            client: client as u128 + 1,
            number: request.number,
        };
        let crc = crc32fast::hash(&request.payload);
        let bulk = if request.payload.is_empty() {
            &[][..]
        } else {
            std::slice::from_ref(&request.payload)
        };
        self.session.request(&head, bulk, crc)
    }

    fn write(&mut self, network: &Network) {
        while !self.session.outbound.is_empty() {
            let written = network.write(self.end, self.session.outbound.next_chunk());
            if written == 0 {
                return;
            }
            self.session.outbound.wrote(written);
        }
    }

    /// Moves bytes both ways; false if the connection is over.
    fn drive(&mut self, network: &Network, now: u64, frames: &mut Vec<Frame>) -> bool {
        self.write(network);
        while network.is_ready(self.end) {
            let inbound: &mut Inbound = &mut self.session.inbound;
            let Ok(space) = inbound.space() else {
                return true;
            };
            match network.read(self.end, space) {
                Taken::Bytes(count) => inbound.filled(count, now),
                Taken::Nothing => break,
                Taken::Ended => return false,
            }
            loop {
                match self.session.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(_) => return false,
                }
            }
        }
        self.session.inbound.rest();
        self.write(network);
        true
    }
}

//! The door's ways to cores: a hatch to each core of its own node, else a connection, made when it is asked for and again when it breaks.
//!
//! - Speaks the client's part of our own protocol, as any client does.
//! - What waits for a connection or for its turn on one waits in order, and is given back when the connection breaks.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;

use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use net::frame::{Codec, Kind};
use net::pool::Pool;
use net::request::{ReplyHead, RequestHead};
use net::session::Session;
use net::transport::Frame;
use raft::ids::{NodeId, Time};
use rustc_hash::FxHashMap;

use crate::config::Layout;
use crate::door::limits;
use crate::driver::hatch::Hatch;

/// Pieces handed to one system call.
const SLICES: usize = 64;

/// A question to a core.
#[derive(Debug)]
pub struct Question {
    /// Its head.
    pub head: RequestHead,
    /// Its body.
    pub body: Bytes,
    /// The body's CRC-32.
    pub crc: u32,
}

impl Question {
    /// As a core takes it.
    fn frame(self, now: Time) -> Frame {
        Frame {
            kind: Kind::REQUEST,
            head: Bytes::copy_from_slice(&self.head.encode()),
            bulk: self.body,
            bulk_crc: self.crc,
            began_at: now.0,
            arrived_at: now.0,
        }
    }
}

/// A connection that was made or is being made.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    session: Session,
}

/// The way to one core of one node.
#[derive(Debug)]
pub struct Line {
    /// The node's place in the layout.
    pub place: usize,
    /// The core.
    pub core: u16,
    address: SocketAddr,
    connection: Option<Connection>,
    /// To a core of this node, in whose place no connection is made.
    hatch: Option<Hatch>,
    redial_at: Time,
    waiting: VecDeque<Question>,
    in_flight: usize,
    /// Bytes of the questions that a hatch has taken and not answered, by id.
    behind: FxHashMap<u64, usize>,
    /// No receive buffer was free: try again without a word from the kernel.
    pub starved: bool,
}

/// All of them.
#[derive(Debug)]
pub struct Lines {
    lines: Vec<Line>,
    cluster: u64,
    base: usize,
    pool: Pool,
}

impl Lines {
    /// A line for each core of each node, none connected; their tokens begin at `base`.
    #[must_use]
    pub fn new(layout: &Layout, base: usize) -> Self {
        Self::with_hatches(layout, base, 0, &[])
    }

    /// The same from within the node at `here`, whose cores are behind these hatches, in order.
    #[must_use]
    pub fn with_hatches(layout: &Layout, base: usize, here: usize, hatches: &[Hatch]) -> Self {
        let places = 0..layout.nodes.len();
        let all = places.flat_map(|place| (0..layout.cores).map(move |core| (place, core)));
        let line = |(place, core): (usize, u16)| Line {
            place,
            core,
            address: layout
                .address_of(NodeId(layout.nodes[place].id), core)
                .expect("the layout was checked"),
            connection: None,
            hatch: hatches
                .get(usize::from(core))
                .filter(|_| place == here)
                .cloned(),
            redial_at: Time(0),
            waiting: VecDeque::new(),
            in_flight: 0,
            behind: FxHashMap::default(),
            starved: false,
        };
        Self {
            lines: all.map(line).collect(),
            cluster: layout.cluster,
            base,
            pool: Pool::new(limits::LINE_POOL_BYTES),
        }
    }

    /// How many tokens they use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The line with this token.
    #[must_use]
    pub fn by_token(&self, token: Token) -> Option<usize> {
        let at = token.0.checked_sub(self.base)?;
        (at < self.lines.len()).then_some(at)
    }

    /// The line to a core of the node at a place.
    #[must_use]
    pub fn of(&self, place: usize, core: u16) -> usize {
        let found = self
            .lines
            .iter()
            .position(|line| line.place == place && line.core == core);
        found.expect("every core of every node has a line")
    }

    /// Which core of which node.
    #[must_use]
    pub fn end_of(&self, at: usize) -> (usize, u16) {
        (self.lines[at].place, self.lines[at].core)
    }

    /// Lines that have to be read again although the kernel says nothing.
    pub fn starved(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.lines.len()).filter(|&at| self.lines[at].starved)
    }

    /// Asks; the answer comes from `read`. False when there is no connection and it is too early for a new one.
    pub fn ask(&mut self, at: usize, question: Question, registry: &Registry, now: Time) -> bool {
        let token = Token(self.base + at);
        let line = &mut self.lines[at];
        let is_there = line.hatch.is_some() || line.connection.is_some();
        if !is_there && !line.dial(self.cluster, &self.pool, token, registry, now) {
            return false;
        }
        line.waiting.push_back(question);
        true
    }

    /// Hands over what may leave now, and writes it; false when the connection is lost.
    pub fn write(&mut self, at: usize, now: Time) -> bool {
        self.lines[at].write(now)
    }

    /// Takes the answers that came through hatches.
    pub fn hear(&mut self, now: Time, answers: &mut Vec<(ReplyHead, Bytes)>) {
        for line in &mut self.lines {
            line.hear(answers);
            line.hand_over(now);
        }
    }

    /// True when no hatch has news; then the first that has some wakes the door.
    #[must_use]
    pub fn may_sleep(&self) -> bool {
        let mut hatches = self.lines.iter().filter_map(|line| line.hatch.as_ref());
        hatches.all(Hatch::door_may_sleep)
    }

    /// Reads what came; answers go to `answers`. False when the connection is lost.
    pub fn read(&mut self, at: usize, now: Time, answers: &mut Vec<(ReplyHead, Bytes)>) -> bool {
        let line = &mut self.lines[at];
        let before = answers.len();
        let lives = line.read(now, answers);
        line.in_flight = line.in_flight.saturating_sub(answers.len() - before);
        lives && line.write(now)
    }

    /// Forgets a connection that is lost, with what waits for it.
    pub fn lose(&mut self, at: usize, now: Time) {
        let line = &mut self.lines[at];
        line.connection = None;
        line.waiting.clear();
        line.in_flight = 0;
        line.starved = false;
        line.redial_at = now.plus(limits::REDIAL_NS);
    }
}

impl Line {
    fn dial(
        &mut self,
        cluster: u64,
        pool: &Pool,
        token: Token,
        registry: &Registry,
        now: Time,
    ) -> bool {
        if now < self.redial_at {
            return false;
        }
        self.redial_at = now.plus(limits::REDIAL_NS);
        let Ok(mut stream) = TcpStream::connect(self.address) else {
            return false;
        };
        let _ = stream.set_nodelay(true);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if registry.register(&mut stream, token, interest).is_err() {
            return false;
        }
        let session = Session::new(cluster, Codec::None, pool.clone());
        self.connection = Some(Connection { stream, session });
        true
    }

    /// Hands questions to a core of this node.
    fn hand_over(&mut self, now: Time) {
        let Some(hatch) = &self.hatch else {
            return;
        };
        let mut bytes: usize = self.behind.values().sum();
        let mut count = 0;
        for Question { head, body, .. } in &self.waiting {
            let is_full = bytes > 0 && bytes + body.len() > limits::HATCH_BYTES_MAX;
            if is_full || self.behind.len() >= limits::IN_FLIGHT_PER_LINE {
                break;
            }
            // A question that is asked again takes the place of itself.
            bytes += body.len() - self.behind.insert(head.id, body.len()).unwrap_or(0);
            count += 1;
        }
        if count > 0 {
            hatch.ask(
                self.waiting
                    .drain(..count)
                    .map(|question| question.frame(now)),
            );
        }
    }

    fn hear(&mut self, answers: &mut Vec<(ReplyHead, Bytes)>) {
        let Some(hatch) = &self.hatch else {
            return;
        };
        hatch.hear(|mut answer| {
            let head = ReplyHead::decode(&answer.head).expect("a core of this node has encoded it");
            self.behind.remove(&head.id);
            let body = match answer.bulk.len() {
                0 | 1 => answer.bulk.pop().unwrap_or_default(),
                _ => answer.bulk.concat().into(),
            };
            answers.push((head, body));
        });
    }

    fn write(&mut self, now: Time) -> bool {
        self.hand_over(now);
        let Some(connection) = &mut self.connection else {
            return true;
        };
        if connection.session.welcome().is_some() {
            while self.in_flight < limits::IN_FLIGHT_PER_LINE
                && let Some(Question { head, body, crc }) = self.waiting.front()
            {
                let bulk = if body.is_empty() {
                    &[][..]
                } else {
                    std::slice::from_ref(body)
                };
                if connection.session.request(head, bulk, *crc).is_err() {
                    break;
                }
                self.waiting.pop_front();
                self.in_flight += 1;
            }
        }
        connection.write()
    }

    fn read(&mut self, now: Time, answers: &mut Vec<(ReplyHead, Bytes)>) -> bool {
        let Some(connection) = &mut self.connection else {
            return true;
        };
        self.starved = false;
        loop {
            match connection.session.next_frame() {
                Ok(Some(frame)) if frame.kind == Kind::REPLY => {
                    match ReplyHead::decode(&frame.head) {
                        Ok(head) => answers.push((head, frame.bulk)),
                        Err(_) => return false,
                    }
                    continue;
                }
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(_) => return false,
            }
            let Ok(space) = connection.session.inbound.space() else {
                self.starved = true;
                return true;
            };
            match connection.stream.read(space) {
                Ok(0) => return false,
                Ok(count) => connection.session.inbound.filled(count, now.0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.session.inbound.rest();
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::NotConnected => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}

impl Connection {
    fn write(&mut self) -> bool {
        while !self.session.outbound.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.session.outbound.slices(&mut slices);
            match self.stream.write_vectored(&slices[..count]) {
                Ok(written) => self.session.outbound.wrote(written),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::NotConnected
                    ) =>
                {
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        while self.session.outbound.next_sent().is_some() {}
        true
    }
}

//! A network in memory: many cores of many nodes, joined by wires that fate can delay, cut, clog, damage or tear.
//!
//! - Deterministic: the same seed, calls and instants give the same bytes at the same instants.
//! - Time is told by `advance`; nothing moves by itself.
//! - Every byte goes through the very endpoint that production uses: frames are split, joined, damaged and lost as
//!   a stream's are. A wire keeps order and loses nothing but its tail when it is torn, as TCP does.
//! - In flight on one wire and direction are at most `window_bytes`: a clogged one makes its sender `Busy`.
//!
//! For tests and the simulator; one thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Buf, Bytes};

use crate::dice::Dice;
use crate::endpoint::{ConfigError, Endpoint, Order, TransportConfig};
use crate::handshake::Refusal;
use crate::limits::{KIB, MIB};
use crate::session::{Session, SessionError};
use crate::transport::{ConnectionId, Event, Frame, Outgoing, SendError, Transport};

/// How one direction between two addresses behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// From the sender's kernel to the receiver's, ns.
    pub delay_ns: u64,
    /// Up to this much is added to the delay, by chance, ns. Order is kept.
    pub jitter_ns: u64,
    /// Bytes per second; 0 is without bound.
    pub bytes_per_second: u64,
    /// Whether nothing arrives for now. What is in flight arrives when the link is whole again.
    pub is_cut: bool,
    /// Bytes in flight at most; a sender has to wait beyond.
    pub window_bytes: usize,
    /// Longest piece that travels, and may arrive, by itself.
    pub chunk_bytes_max: usize,
    /// One in so many pieces has a bit flipped; 0 is none.
    pub flip_one_in: u64,
    /// At one in so many pieces the connection is torn; 0 is none.
    pub tear_one_in: u64,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            delay_ns: 0,
            jitter_ns: 0,
            bytes_per_second: 0,
            is_cut: false,
            window_bytes: MIB,
            chunk_bytes_max: 64 * KIB,
            flip_one_in: 0,
            tear_one_in: 0,
        }
    }
}

/// The network. Cloning clones the handle.
#[derive(Clone, Debug)]
pub struct MemoryNetwork {
    world: Rc<RefCell<World>>,
}

/// One core's place in the network. Dropping it is a crash: its connections tear, its address falls silent.
#[derive(Debug)]
pub struct MemoryTransport {
    world: Rc<RefCell<World>>,
    endpoint: Endpoint,
    address: SocketAddr,
    /// The wire each connection runs over.
    ends: BTreeMap<ConnectionId, WireEnd>,
}

/// A bare end of a connection, for clients and for whoever wants to send what no client would.
#[derive(Debug)]
pub struct MemoryStream {
    world: Rc<RefCell<World>>,
    end: WireEnd,
}

/// One end of a wire: side 0 is the dialler's, side 1 the acceptor's.
#[derive(Clone, Copy, Debug)]
struct WireEnd {
    wire: u64,
    side: usize,
}

#[derive(Debug)]
struct World {
    now: u64,
    dice: Dice,
    links: BTreeMap<(SocketAddr, SocketAddr), Link>,
    link: Link,
    /// Places that listen, with the wires that are being made to them.
    doors: BTreeMap<SocketAddr, VecDeque<u64>>,
    wires: BTreeMap<u64, Wire>,
    next_wire: u64,
}

#[derive(Debug)]
struct Wire {
    /// The dialler's end, then the acceptor's.
    addresses: [SocketAddr; 2],
    /// Bytes towards each end.
    pipes: [Pipe; 2],
    /// Which ends were let go.
    is_closed: [bool; 2],
    is_torn: bool,
}

#[derive(Debug, Default)]
struct Pipe {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// When the last piece is through: the next one is not faster.
    last_at: u64,
    /// When the line is free again, bandwidth considered.
    free_at: u64,
    /// Whether nothing will follow.
    is_shut: bool,
}

#[derive(Debug)]
struct Piece {
    arrives_at: u64,
    bytes: Bytes,
}

/// What a read finds.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Bytes(usize),
    Nothing,
    End,
}

impl MemoryNetwork {
    /// An empty network at instant 0.
    pub fn new(seed: u64) -> MemoryNetwork {
        let world = World {
            now: 0,
            dice: Dice::new(seed),
            links: BTreeMap::new(),
            link: Link::default(),
            doors: BTreeMap::new(),
            wires: BTreeMap::new(),
            next_wire: 1,
        };
        MemoryNetwork {
            world: Rc::new(RefCell::new(world)),
        }
    }

    /// An address for a core of a node, to be used in configurations: 10.0.0.0/8 by node, port by core.
    pub fn address(node: u32, core: u16) -> SocketAddr {
        let [_, a, b, c] = node.to_be_bytes();
        SocketAddr::from(([10, a, b, c], 1000 + core))
    }

    /// A core takes its place at `config.listen`. Whoever was there before has to have been dropped.
    pub fn join(&self, config: TransportConfig) -> Result<MemoryTransport, ConfigError> {
        let address = config.listen;
        let now = self.world.borrow().now;
        let endpoint = Endpoint::new(config, now)?;
        let before = self
            .world
            .borrow_mut()
            .doors
            .insert(address, VecDeque::new());
        assert!(before.is_none(), "two cores at one address");
        let world = self.world.clone();
        Ok(MemoryTransport {
            world,
            endpoint,
            address,
            ends: BTreeMap::new(),
        })
    }

    /// A bare connection from `from` to the core at `to`; `None` if nobody listens.
    pub fn connect(&self, from: SocketAddr, to: SocketAddr) -> Option<MemoryStream> {
        let wire = self.world.borrow_mut().dial(from, to)?;
        Some(MemoryStream {
            world: self.world.clone(),
            end: WireEnd { wire, side: 0 },
        })
    }

    /// Time goes on to `now`; it never goes back.
    pub fn advance(&self, now: u64) {
        let mut world = self.world.borrow_mut();
        assert!(now >= world.now, "time goes one way");
        world.now = now;
    }

    /// The instant told last.
    pub fn now(&self) -> u64 {
        self.world.borrow().now
    }

    /// When the next piece arrives on a link that is whole; at once if one waits to be taken.
    pub fn next_arrival_at(&self) -> Option<u64> {
        let world = self.world.borrow();
        let ends = world.wires.values().flat_map(|wire| [(wire, 0), (wire, 1)]);
        ends.filter_map(|(wire, end)| {
            let is_cut = world
                .link(wire.addresses[1 - end], wire.addresses[end])
                .is_cut;
            wire.pipes[end]
                .pieces
                .front()
                .filter(|_| !is_cut)
                .map(|piece| piece.arrives_at)
        })
        .min()
    }

    /// How all links behave that nothing else was said of.
    pub fn set_links(&self, link: Link) {
        self.world.borrow_mut().link = link;
    }

    /// How the direction `from`, `to` behaves from here on.
    pub fn set_link(&self, from: SocketAddr, to: SocketAddr, link: Link) {
        self.world.borrow_mut().links.insert((from, to), link);
    }

    /// How the direction `from`, `to` behaves.
    pub fn link(&self, from: SocketAddr, to: SocketAddr) -> Link {
        self.world.borrow().link(from, to)
    }

    /// Nothing arrives at `to` from `from` until `heal`; senders fill their window and then wait.
    pub fn cut(&self, from: SocketAddr, to: SocketAddr) {
        self.change(from, to, |link| link.is_cut = true);
    }

    /// What was cut is whole again.
    pub fn heal(&self, from: SocketAddr, to: SocketAddr) {
        self.change(from, to, |link| link.is_cut = false);
    }

    /// Tears all connections between the two; what is in flight is lost.
    pub fn tear(&self, one: SocketAddr, other: SocketAddr) {
        let mut world = self.world.borrow_mut();
        for wire in world.wires.values_mut() {
            wire.is_torn |= wire.addresses == [one, other] || wire.addresses == [other, one];
        }
    }

    fn change(&self, from: SocketAddr, to: SocketAddr, change: impl FnOnce(&mut Link)) {
        let mut world = self.world.borrow_mut();
        let mut link = world.link(from, to);
        change(&mut link);
        world.links.insert((from, to), link);
    }
}

impl World {
    fn link(&self, from: SocketAddr, to: SocketAddr) -> Link {
        self.links.get(&(from, to)).copied().unwrap_or(self.link)
    }

    fn dial(&mut self, from: SocketAddr, to: SocketAddr) -> Option<u64> {
        let door = self.doors.get_mut(&to)?;
        let number = self.next_wire;
        self.next_wire += 1;
        door.push_back(number);
        let addresses = [from, to];
        let wire = Wire {
            addresses,
            pipes: Default::default(),
            is_closed: [false; 2],
            is_torn: false,
        };
        self.wires.insert(number, wire);
        Some(number)
    }

    /// Takes bytes into the pipe from `end` to the other side, as many as the window has room for.
    fn write(&mut self, end: WireEnd, bytes: &[u8]) -> usize {
        let Some(wire) = self.wires.get(&end.wire) else {
            return bytes.len();
        };
        let (from, to) = (end.side, 1 - end.side);
        if wire.is_torn || wire.is_closed[to] {
            // The kernel takes them and finds out later.
            return bytes.len();
        }
        let link = self.link(wire.addresses[from], wire.addresses[to]);
        let wire = self.wires.get_mut(&end.wire).expect("found above");
        let pipe = &mut wire.pipes[to];
        let mut written = 0;
        for piece in bytes.chunks(link.chunk_bytes_max.max(1)) {
            let room = link.window_bytes.saturating_sub(pipe.bytes);
            let mut piece = piece[..piece.len().min(room)].to_vec();
            if piece.is_empty() {
                break;
            }
            wire.is_torn |= self.dice.one_in(link.tear_one_in);
            if self.dice.one_in(link.flip_one_in) {
                let bit = self.dice.below(piece.len() as u64 * 8) as usize;
                piece[bit / 8] ^= 1 << (bit % 8);
            }
            let on_line = (piece.len() as u64 * 1_000_000_000)
                .checked_div(link.bytes_per_second)
                .unwrap_or(0);
            pipe.free_at = pipe.free_at.max(self.now) + on_line;
            let delay = link.delay_ns + self.dice.below(link.jitter_ns);
            pipe.last_at = pipe.last_at.max(pipe.free_at + delay);
            written += piece.len();
            pipe.bytes += piece.len();
            pipe.pieces.push_back(Piece {
                arrives_at: pipe.last_at,
                bytes: piece.into(),
            });
        }
        written
    }

    /// Takes what has arrived at `end` out of its pipe, one piece at most.
    fn read(&mut self, end: WireEnd, space: &mut [u8]) -> Taken {
        let Some(wire) = self.wires.get(&end.wire).filter(|wire| !wire.is_torn) else {
            return Taken::End;
        };
        if self
            .link(wire.addresses[1 - end.side], wire.addresses[end.side])
            .is_cut
        {
            return Taken::Nothing;
        }
        let now = self.now;
        let pipe = &mut self.wires.get_mut(&end.wire).expect("found above").pipes[end.side];
        match pipe.pieces.front_mut() {
            Some(piece) if piece.arrives_at <= now => {
                let count = piece.bytes.len().min(space.len());
                piece.bytes.copy_to_slice(&mut space[..count]);
                if piece.bytes.is_empty() {
                    pipe.pieces.pop_front();
                }
                pipe.bytes -= count;
                Taken::Bytes(count)
            }
            None if pipe.is_shut => Taken::End,
            _ => Taken::Nothing,
        }
    }

    /// Nothing will follow from `end`.
    fn shut(&mut self, end: WireEnd) {
        if let Some(wire) = self.wires.get_mut(&end.wire) {
            wire.pipes[1 - end.side].is_shut = true;
        }
    }

    /// `end` lets go. The other side gets what is in flight, then the end.
    fn close(&mut self, end: WireEnd) {
        self.shut(end);
        let Some(wire) = self.wires.get_mut(&end.wire) else {
            return;
        };
        wire.is_closed[end.side] = true;
        wire.pipes[end.side] = Pipe::default();
        if wire.is_closed == [true; 2] {
            self.wires.remove(&end.wire);
        }
    }
}

impl MemoryTransport {
    /// The endpoint, for reports.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When it wants to be polled at the latest, arrivals apart.
    pub fn next_tick_at(&self) -> u64 {
        self.endpoint.next_tick_at()
    }

    /// Ends a connection with a word why.
    pub fn close_because(&mut self, connection: ConnectionId, why: Refusal) {
        self.endpoint.close(connection, why);
    }

    fn accept(&mut self, now: u64) {
        let mut world = self.world.borrow_mut();
        let waiting = world
            .doors
            .get_mut(&self.address)
            .map(std::mem::take)
            .unwrap_or_default();
        for wire in waiting {
            let end = WireEnd { wire, side: 1 };
            let Some(from) = world.wires.get(&wire).map(|wire| wire.addresses[0]) else {
                continue;
            };
            if world.link(from, self.address).is_cut {
                world.doors.entry(self.address).or_default().push_back(wire);
                continue;
            }
            match self.endpoint.accept(Some(from.ip()), now) {
                Ok(id) => {
                    self.ends.insert(id, end);
                }
                Err(refusal) => {
                    world.write(
                        end,
                        &refusal.to_bytes(self.endpoint.house().identity.cluster),
                    );
                    world.close(end);
                }
            }
        }
    }

    fn read_all(&mut self, now: u64) {
        let ends: Vec<_> = self.ends.iter().map(|(id, end)| (*id, *end)).collect();
        for (id, end) in ends {
            loop {
                let Ok(space) = self.endpoint.space(id) else {
                    self.endpoint.resume(id, now);
                    break;
                };
                let taken = self.world.borrow_mut().read(end, space);
                match taken {
                    Taken::Bytes(count) => self.endpoint.filled(id, count, now),
                    Taken::Nothing => {
                        self.endpoint.rest(id);
                        break;
                    }
                    Taken::End => {
                        self.endpoint.lost(id, now);
                        self.forget(id);
                        break;
                    }
                }
            }
        }
    }

    fn write_all(&mut self, now: u64) {
        while let Some(order) = self.endpoint.next_order() {
            match order {
                Order::Dial(id, address) => {
                    let wire = self.world.borrow_mut().dial(self.address, address);
                    match wire {
                        Some(wire) => drop(self.ends.insert(id, WireEnd { wire, side: 0 })),
                        None => self.endpoint.lost(id, now),
                    }
                }
                // All that is queued is written below.
                Order::Write(_) => {}
                Order::Shutdown(id) => {
                    if let Some(&end) = self.ends.get(&id) {
                        self.world.borrow_mut().shut(end);
                    }
                }
                Order::Close(id) => self.forget(id),
            }
        }
        for (&id, &end) in &self.ends {
            loop {
                let mut slices = [IoSlice::new(&[])];
                if self.endpoint.slices(id, &mut slices) == 0 {
                    break;
                }
                let written = self.world.borrow_mut().write(end, &slices[0]);
                if written == 0 {
                    break;
                }
                self.endpoint.wrote(id, written, now);
            }
        }
    }

    fn forget(&mut self, id: ConnectionId) {
        if let Some(end) = self.ends.remove(&id) {
            self.world.borrow_mut().close(end);
        }
    }
}

impl Transport for MemoryTransport {
    fn poll(&mut self, events: &mut Vec<Event>) {
        let now = self.world.borrow().now;
        self.endpoint.tick(now);
        self.accept(now);
        self.read_all(now);
        // Twice: what was written may end a connection, which is an order again.
        self.write_all(now);
        self.write_all(now);
        self.endpoint.drain_events(events);
    }

    fn send(&mut self, to: ConnectionId, frame: Outgoing) -> Result<(), SendError> {
        self.endpoint.send(to, frame)
    }

    fn flush(&mut self) {
        let now = self.world.borrow().now;
        self.write_all(now);
    }

    fn close(&mut self, connection: ConnectionId) {
        self.endpoint.close(connection, Refusal::ShuttingDown);
    }

    fn spare(&mut self) -> Outgoing {
        self.endpoint.spare()
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        let waiting = world.doors.remove(&self.address).unwrap_or_default();
        let waiting = waiting.into_iter().map(|wire| WireEnd { wire, side: 1 });
        for end in self.ends.values().copied().chain(waiting) {
            if let Some(wire) = world.wires.get_mut(&end.wire) {
                wire.is_torn = true;
            }
            world.close(end);
        }
    }
}

impl MemoryStream {
    /// Sends bytes; answers how many the window had room for.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        self.world.borrow_mut().write(self.end, bytes)
    }

    /// Receives what has arrived: `Some(0)` is nothing yet, `None` the end.
    pub fn read(&mut self, space: &mut [u8]) -> Option<usize> {
        match self.world.borrow_mut().read(self.end, space) {
            Taken::Bytes(count) => Some(count),
            Taken::Nothing => Some(0),
            Taken::End => None,
        }
    }

    /// Moves bytes between a client's session and the wire, both ways, and takes the frames that are there. Answers
    /// whether the connection is still there; a session that is over is an error.
    pub fn drive(
        &mut self,
        session: &mut Session,
        frames: &mut Vec<Frame>,
    ) -> Result<bool, SessionError> {
        let now = self.world.borrow().now;
        loop {
            while !session.outbound.is_empty() {
                let written = self.write(session.outbound.next_chunk());
                if written == 0 {
                    break;
                }
                session.outbound.wrote(written);
            }
            while let Some(frame) = session.next_frame()? {
                frames.push(frame);
            }
            let Ok(space) = session.inbound.space() else {
                return Ok(true);
            };
            match self.world.borrow_mut().read(self.end, space) {
                Taken::Bytes(count) => session.inbound.filled(count, now),
                Taken::Nothing => return Ok(true),
                Taken::End => return Ok(false),
            }
        }
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.world.borrow_mut().close(self.end);
    }
}

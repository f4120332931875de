//! A network in memory: many cores of many nodes, joined by wires that fate can delay, cut, clog, damage or tear.
//!
//! - Deterministic: the same seed, calls and instants give the same bytes at the same instants.
//! - Time is told by `advance`; nothing moves by itself.
//! - Every byte goes through the very endpoint that production uses: frames are split, joined, damaged and lost as
//!   a stream's are.
//! - In flight on one wire and direction are at most `window_bytes`: a clogged one makes its sender `Busy`.
//!
//! For tests and the simulator; one thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::config::{ConfigError, TransportConfig};
use crate::counters::Counters;
use crate::endpoint::{Endpoint, Order};
use crate::refusal::Refusal;
use crate::session::{Session, SessionError};
use crate::transport::{ConnectionId, Event, Frame, Outgoing, SendError, Transport};

mod wire;

pub use wire::Link;
use wire::{Taken, WireEnd, World};

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

impl MemoryNetwork {
    /// An empty network at instant 0.
    pub fn new(seed: u64) -> MemoryNetwork {
        MemoryNetwork {
            world: Rc::new(RefCell::new(World::new(seed))),
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
        self.world.borrow().next_arrival_at()
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

    fn offer(&mut self, to: ConnectionId, frame: &mut Outgoing) -> Result<(), SendError> {
        self.endpoint.offer(to, frame)
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

    fn counters(&self) -> Counters {
        self.endpoint.counters().clone()
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

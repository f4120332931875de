//! All connections of one core without their sockets: who is there, what arrived, what to write, whom to dial.
//!
//! - Whatever moves the bytes (sockets, an executor's tasks, simulated wires) decides nothing: it reads into `space`,
//!   tells `filled`, writes `slices`, tells `wrote` or `lost`, and carries out orders.
//! - One open connection per peer: a newer one takes the place of an older one, whose end is told first.
//! - At most `clients_max` clients; strangers (handshakes, and refused ones being told so) are bounded apart, and half
//!   of their places are kept for the addresses of peers: a flood of clients does not keep a peer out.
//! - `Opened` comes before and `Closed` after everything else of a connection, each once.
//! - A slot is used again only after the order to close its socket was handed out.
//!
//! One per core. Hot path: no allocation per frame in steady state.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::config::{ConfigError, TransportConfig};
use crate::connection::{Arrival, Connection, End, House};
use crate::counters::Counters;
use crate::dialer::{Dialer, PeerReport};
use crate::handshake::Identity;
use crate::inbound::Lent;
use crate::limits::KIB;
use crate::pool::{Pool, PoolExhausted};
use crate::refusal::Refusal;
use crate::slots::Slots;
use crate::transport::{ConnectionId, Event, Outgoing, Remote, SendError};

/// How often standing connections are looked for.
const TICK_NS: u64 = 250_000_000;
/// What a parting remote still sends goes here, to be forgotten.
const DISCARD_BYTES: usize = 4 * KIB;
/// Emptied frames kept for the shard to build new ones in.
const SPARES_MAX: usize = 64;

/// What whoever moves the bytes has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Connect a socket to this address; once it is connected, write what is queued. If it fails, tell `lost`.
    Dial(ConnectionId, SocketAddr),
    /// Something is queued to be written.
    Write(ConnectionId),
    /// All was written and nothing will follow: shut down writing, go on reading until the end.
    Shutdown(ConnectionId),
    /// Close the socket. The id is not known any more; `lost` need not be told.
    Close(ConnectionId),
}

/// All connections of one core.
#[derive(Debug)]
pub struct Endpoint {
    house: House,
    peer_addresses: Vec<IpAddr>,
    slots: Slots<Entry>,
    dialer: Dialer,
    peers: BTreeMap<u32, ConnectionId>,
    clients: usize,
    /// Accepted connections that are not open.
    strangers: usize,
    events: Vec<Event>,
    orders: VecDeque<Order>,
    counters: Counters,
    spares: Vec<Outgoing>,
    discard: Box<[u8]>,
    next_tick_at: u64,
    is_closing: bool,
    now: u64,
}

#[derive(Debug)]
struct Entry {
    connection: Connection,
    /// The node we dialled.
    dialled: Option<u32>,
    /// Whether an order to write is in the queue.
    is_ordered: bool,
    /// Whether an order to close is in the queue.
    is_doomed: bool,
}

impl Endpoint {
    /// The endpoint of a core; its peers are due to be dialled at `now`.
    pub fn new(config: TransportConfig, now: u64) -> Result<Endpoint, ConfigError> {
        config.check()?;
        let TransportConfig {
            cluster,
            node,
            core,
            cores,
            incarnation,
            layout_digest,
            codec,
            ..
        } = config;
        let TransportConfig { peers, limits, .. } = config;
        let mut members: Vec<u32> = peers.iter().map(|peer| peer.0).chain([node]).collect();
        members.sort_unstable();
        let seed = incarnation ^ (u64::from(node) << 16) ^ u64::from(core);
        let dialer = Dialer::new(node, &peers, &limits, seed, now);
        let identity = Identity {
            cluster,
            node,
            core,
            cores,
            incarnation,
            layout_digest,
            codec,
        };
        let house = House {
            identity,
            members,
            peer_pool: Pool::new(limits.peer_pool_bytes_max),
            client_pool: Pool::new(limits.client_pool_bytes_max),
            limits,
        };
        Ok(Endpoint {
            house,
            peer_addresses: peers
                .iter()
                .map(|peer| peer.1.ip().to_canonical())
                .collect(),
            slots: Slots::new(),
            dialer,
            peers: BTreeMap::new(),
            clients: 0,
            strangers: 0,
            events: Vec::new(),
            orders: VecDeque::new(),
            counters: Counters::default(),
            spares: Vec::new(),
            discard: vec![0; DISCARD_BYTES].into(),
            next_tick_at: now,
            is_closing: false,
            now,
        })
    }

    // ---- Connections come and go.

    /// Someone connected from `from`. A refusal means: close the socket; nothing is kept of it.
    pub fn accept(&mut self, from: Option<IpAddr>, now: u64) -> Result<ConnectionId, Refusal> {
        self.now = now;
        self.counters.accepted += 1;
        let is_peer_address =
            from.is_some_and(|from| self.peer_addresses.contains(&from.to_canonical()));
        let most = self.house.limits.handshakes_max;
        let most = if is_peer_address {
            most
        } else {
            most.div_ceil(2)
        };
        if self.strangers >= most || self.is_closing {
            let full = Refusal::TooManyConnections(most as u64);
            let refusal = if self.is_closing {
                Refusal::ShuttingDown
            } else {
                full
            };
            self.counters.refused[usize::from(refusal.code())] += 1;
            return Err(refusal);
        }
        self.strangers += 1;
        Ok(self.insert(Connection::accepted(&self.house, now), None))
    }

    /// The socket of a connection is gone, or never came to be.
    pub fn lost(&mut self, id: ConnectionId, now: u64) {
        self.now = now;
        if self
            .slots
            .get(id)
            .is_some_and(|entry| !entry.connection.is_parting())
        {
            self.leave(id);
        }
        self.remove(id);
    }

    /// Ends a connection with a word why.
    pub fn close(&mut self, id: ConnectionId, why: Refusal) {
        if self
            .slots
            .get(id)
            .is_some_and(|entry| !entry.connection.is_parting())
        {
            self.end(id, End::Refused(why));
        }
    }

    /// Ends all connections with a word why; dials and accepts no more.
    pub fn close_all(&mut self, why: Refusal) {
        self.is_closing = true;
        let all: Vec<_> = self.slots.iter().map(|(id, _)| id).collect();
        all.into_iter().for_each(|id| self.close(id, why));
        self.dialer = Dialer::new(u32::MAX, &[], &self.house.limits, 0, self.now);
    }

    /// `node` is found at another address from the next dial on.
    pub fn moved(&mut self, node: u32, address: SocketAddr) {
        self.dialer.moved(node, address);
    }

    // ---- Bytes come and go.

    /// Where received bytes go; never empty. `PoolExhausted`: read again later, after `resume`.
    pub fn space(&mut self, id: ConnectionId) -> Result<&mut [u8], PoolExhausted> {
        let Some(entry) = living(&mut self.slots, id) else {
            return Ok(&mut self.discard);
        };
        let space = entry.connection.inbound.space();
        space.inspect_err(|_| self.counters.starved += 1)
    }

    /// As [`Endpoint::space`], for a read that outlives the borrow. `None`: the connection is at its end, read no more.
    pub fn lend(&mut self, id: ConnectionId) -> Result<Option<Lent>, PoolExhausted> {
        let Some(entry) = living(&mut self.slots, id) else {
            return Ok(None);
        };
        let lent = entry.connection.inbound.lend();
        lent.map(Some).inspect_err(|_| self.counters.starved += 1)
    }

    /// Takes back what was lent, with `count` bytes received into it.
    pub fn restore(&mut self, id: ConnectionId, lent: Lent, count: usize, now: u64) {
        if let Some(entry) = living(&mut self.slots, id) {
            entry.connection.inbound.restore(lent, count, now);
            self.counters.bytes_received += count as u64;
            self.resume(id, now);
        }
    }

    /// `count` bytes were received into the space.
    pub fn filled(&mut self, id: ConnectionId, count: usize, now: u64) {
        if let Some(entry) = living(&mut self.slots, id) {
            entry.connection.inbound.filled(count, now);
            self.counters.bytes_received += count as u64;
            self.resume(id, now);
        }
    }

    /// Takes out the frames that are there: to be called again when a read was put off for want of a buffer.
    pub fn resume(&mut self, id: ConnectionId, now: u64) {
        self.now = now;
        let is_full = self.clients >= self.house.limits.clients_max;
        while let Some(entry) = living(&mut self.slots, id) {
            match entry.connection.next_arrival(&self.house, is_full) {
                Ok(Some(Arrival::Frame(frame))) => {
                    self.counters.frames_received += 1;
                    self.events.push(Event::Received(id, frame));
                }
                Ok(Some(Arrival::Opened(remote))) => self.opened(id, remote),
                Ok(None) => return,
                Err(end) => self.end(id, end),
            }
        }
    }

    /// Nothing more to read for now: no buffer is kept.
    pub fn rest(&mut self, id: ConnectionId) {
        if let Some(entry) = self.slots.get_mut(id) {
            entry.connection.inbound.rest();
        }
    }

    /// Fills `out` with the next pieces to write, in order; answers how many.
    pub fn slices<'a>(&'a self, id: ConnectionId, out: &mut [IoSlice<'a>]) -> usize {
        self.slots
            .get(id)
            .map_or(0, |entry| entry.connection.outbound.slices(out))
    }

    /// The next piece to write, shared: for a write that outlives the borrow.
    pub fn lend_chunk(&mut self, id: ConnectionId) -> Option<Bytes> {
        self.slots.get_mut(id)?.connection.outbound.lend_chunk()
    }

    /// `count` bytes were written.
    pub fn wrote(&mut self, id: ConnectionId, count: usize, now: u64) {
        self.now = now;
        let Some(entry) = self.slots.get_mut(id) else {
            return;
        };
        entry.connection.wrote(count, now);
        self.counters.bytes_written += count as u64;
        while let Some(token) = entry.connection.outbound.next_sent() {
            if !entry.connection.is_parting() {
                self.events.push(Event::Sent(id, token, now));
            }
        }
        if entry.connection.is_parting() && entry.connection.outbound.is_empty() {
            self.orders.push_back(Order::Shutdown(id));
        }
    }

    /// Whether something is left to write.
    pub fn has_output(&self, id: ConnectionId) -> bool {
        self.slots
            .get(id)
            .is_some_and(|entry| !entry.connection.outbound.is_empty())
    }

    /// Queues a frame, whole or not at all; one that is not queued stays as it was.
    pub fn offer(&mut self, id: ConnectionId, frame: &mut Outgoing) -> Result<(), SendError> {
        let Some(entry) = self.slots.get_mut(id) else {
            return Err(SendError::Closed);
        };
        let result = entry.connection.offer(frame, self.now);
        match result {
            Ok(()) => {
                self.counters.frames_queued += 1;
                order_write(id, entry, &mut self.orders);
                if self.spares.len() < SPARES_MAX {
                    self.spares.extend(entry.connection.outbound.spare());
                }
            }
            Err(SendError::Busy) => self.counters.busy += 1,
            Err(SendError::Closed) => {}
        }
        result
    }

    // ---- The turn of whoever moves the bytes.

    /// Ends what stands still and dials what is due.
    pub fn tick(&mut self, now: u64) {
        self.now = now;
        while let Some((node, address)) = self.dialer.next_due(now) {
            self.counters.dialled += 1;
            let id = self.insert(Connection::dialled(&self.house, node, now), Some(node));
            self.orders.push_back(Order::Dial(id, address));
        }
        if now < self.next_tick_at {
            return;
        }
        self.next_tick_at = now + TICK_NS;
        let limits = &self.house.limits;
        let is_late = |entry: &Entry| !entry.is_doomed && entry.connection.is_late(limits, now);
        let late = self.slots.iter().filter(|(_, entry)| is_late(entry));
        let late: Vec<_> = late
            .map(|(id, entry)| {
                let is_dialling = entry.dialled.is_some() && entry.connection.is_greeting();
                (id, entry.connection.is_parting(), is_dialling)
            })
            .collect();
        for (id, is_parting, is_dialling) in late {
            if !is_parting {
                self.end(id, End::Refused(Refusal::TooSlow));
            }
            // Whoever did not answer a dial will not hear a goodbye either: the next dial need not wait for it.
            if is_parting || is_dialling {
                self.doom(id);
            }
        }
    }

    /// When `tick` is due at the latest.
    pub fn next_tick_at(&self) -> u64 {
        let is_alone = self.slots.iter().next().is_none();
        let standing = if is_alone {
            u64::MAX
        } else {
            self.next_tick_at
        };
        self.dialer
            .next_due_at()
            .map_or(standing, |due| due.min(standing))
    }

    /// The next order.
    pub fn next_order(&mut self) -> Option<Order> {
        while let Some(order) = self.orders.pop_front() {
            let (Order::Dial(id, _) | Order::Write(id) | Order::Shutdown(id) | Order::Close(id)) =
                order;
            // An order for a connection that is gone since is void.
            let Some(entry) = self.slots.get_mut(id) else {
                continue;
            };
            match order {
                Order::Write(_) => entry.is_ordered = false,
                Order::Close(_) => self.remove(id),
                Order::Dial(..) | Order::Shutdown(_) => {}
            }
            return Some(order);
        }
        None
    }

    /// Moves the events since the last call to `events`.
    pub fn drain_events(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.events);
    }

    /// Whether there are events to drain.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// A frame that was sent, emptied.
    pub fn spare(&mut self) -> Outgoing {
        self.spares.pop().unwrap_or_default()
    }

    // ---- For reports.

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The open connection to a peer.
    pub fn peer(&self, node: u32) -> Option<ConnectionId> {
        self.peers.get(&node).copied()
    }

    /// Clients connected.
    pub fn clients(&self) -> usize {
        self.clients
    }

    /// How it stands with the peers this core dials.
    pub fn peer_reports(&self) -> impl Iterator<Item = PeerReport> {
        self.dialer.report()
    }

    /// Bytes that are held for the connections: receive buffers, lent frames included, and what is queued to be written.
    pub fn memory(&self) -> usize {
        let queued = self.slots.iter();
        let queued = queued.map(|(_, entry)| entry.connection.outbound.bytes_queued());
        let pools = [&self.house.peer_pool, &self.house.client_pool];
        queued.sum::<usize>()
            + pools
                .map(|pool| pool.bytes_allocated())
                .iter()
                .sum::<usize>()
    }

    /// Who we are, the limits, the pools.
    pub fn house(&self) -> &House {
        &self.house
    }

    // ---- Inside.

    fn insert(&mut self, connection: Connection, dialled: Option<u32>) -> ConnectionId {
        self.slots.insert(Entry {
            connection,
            dialled,
            is_ordered: false,
            is_doomed: false,
        })
    }

    fn remove(&mut self, id: ConnectionId) {
        let Some(entry) = self.slots.remove(id) else {
            return;
        };
        match entry.dialled {
            // Only with the old socket gone: a peer never holds more than one of our slots.
            Some(node) => self.dialer.lost(node, self.now),
            // An open one left before it was removed: it is counted as a stranger.
            None => self.strangers -= 1,
        }
    }

    fn opened(&mut self, id: ConnectionId, remote: Remote) {
        let entry = self.slots.get_mut(id).expect("it has just opened");
        order_write(id, entry, &mut self.orders);
        self.strangers -= usize::from(entry.dialled.is_none());
        match remote {
            Remote::Client => {
                self.clients += 1;
                self.counters.clients_opened += 1;
            }
            Remote::Peer { node, .. } => {
                self.dialer.opened(node);
                self.counters.peers_opened += 1;
                if let Some(older) = self.peers.get(&node).copied() {
                    self.end(older, End::Refused(Refusal::Superseded));
                }
                self.peers.insert(node, id);
            }
        }
        self.events.push(Event::Opened(id, remote));
    }

    /// The end of a connection is decided: it leaves, and is told why if it can be.
    fn end(&mut self, id: ConnectionId, end: End) {
        self.leave(id);
        let entry = self.slots.get_mut(id).expect("whoever is ended is there");
        let is_told = matches!(end, End::Told(_));
        match end {
            End::Refused(refusal) => self.counters.refused[usize::from(refusal.code())] += 1,
            End::Told(refusal) => self.counters.told[usize::from(refusal.code())] += 1,
            End::Damaged(error) => self.counters.damaged[usize::from(error.number())] += 1,
        }
        if let (Some(node), End::Refused(refusal) | End::Told(refusal)) = (entry.dialled, end) {
            self.dialer.refused(node, refusal);
        }
        entry.connection.part(&self.house, end, self.now);
        if is_told || entry.connection.outbound.is_empty() {
            self.doom(id);
        } else {
            order_write(id, entry, &mut self.orders);
        }
    }

    /// Whatever the connection was to others, it is no more.
    fn leave(&mut self, id: ConnectionId) {
        let entry = self.slots.get_mut(id).expect("whoever leaves is there");
        let Some(remote) = entry.connection.remote() else {
            return;
        };
        self.strangers += usize::from(entry.dialled.is_none());
        match remote {
            Remote::Client => self.clients -= 1,
            Remote::Peer { node, .. } => {
                self.peers.remove(&node);
            }
        }
        self.counters.closed += 1;
        self.events.push(Event::Closed(id));
    }

    fn doom(&mut self, id: ConnectionId) {
        if let Some(entry) = self.slots.get_mut(id)
            && !entry.is_doomed
        {
            entry.is_doomed = true;
            self.orders.push_back(Order::Close(id));
        }
    }
}

/// The entry, unless its end is decided.
fn living(slots: &mut Slots<Entry>, id: ConnectionId) -> Option<&mut Entry> {
    slots
        .get_mut(id)
        .filter(|entry| !entry.connection.is_parting())
}

fn order_write(id: ConnectionId, entry: &mut Entry, orders: &mut VecDeque<Order>) {
    if !entry.is_ordered {
        entry.is_ordered = true;
        orders.push_back(Order::Write(id));
    }
}

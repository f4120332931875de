//! A core's network door: the endpoint that production uses, over streams of the made-up network.
//!
//! - Every byte of every frame goes through the endpoint: handshakes, limits, timeouts and redials are the real ones.
//! - The door decides nothing; it moves bytes and carries out the endpoint's orders.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};

use net::config::{ConfigError, TransportConfig};
use net::counters::Counters;
use net::endpoint::{Endpoint, Order};
use net::refusal::Refusal;
use net::transport::{ConnectionId, Event, Outgoing, SendError, Transport};

use crate::network::{End, Machine, Network, Place, Taken};

/// One per core and life of its process. Dropping it is the end of the process: its streams are reset.
#[derive(Debug)]
pub struct Door {
    network: Network,
    endpoint: Endpoint,
    address: SocketAddr,
    place: Place,
    machine: Machine,
    /// In order of the connections' ids.
    ends: Vec<(ConnectionId, End)>,
    /// Connections with something to write, as far as is known.
    dirty: Vec<ConnectionId>,
    /// Connections for whose next bytes there was no buffer.
    stalled: BTreeSet<ConnectionId>,
    ready: Vec<(ConnectionId, End)>,
    /// The instant of the turn, on the node's clock.
    now: u64,
}

/// The address of a core of a machine.
#[must_use]
pub fn address(machine: Machine, core: u16) -> SocketAddr {
    let [_, a, b, c] = u32::try_from(machine + 1)
        .expect("machines are few")
        .to_be_bytes();
    SocketAddr::from(([10, a, b, c], 1000 + core))
}

fn ip_of(machine: Machine) -> IpAddr {
    address(machine, 0).ip()
}

impl Door {
    /// A core takes its place.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn open(
        network: &Network,
        place: Place,
        machine: Machine,
        config: TransportConfig,
        now: u64,
    ) -> Result<Self, ConfigError> {
        let address = config.listen;
        let endpoint = Endpoint::new(config, now)?;
        network.listen(address, place, machine);
        Ok(Self {
            network: network.clone(),
            endpoint,
            address,
            place,
            machine,
            ends: Vec::new(),
            dirty: Vec::new(),
            stalled: BTreeSet::new(),
            ready: Vec::new(),
            now,
        })
    }

    /// The turn that follows takes place at this instant of the node's clock.
    pub fn turn_at(&mut self, now: u64) {
        self.now = now;
    }

    /// When the door wants to be polled at the latest, on the node's clock; arrivals apart.
    #[must_use]
    pub fn next_tick_at(&self) -> u64 {
        self.endpoint.next_tick_at()
    }

    /// A turn made events itself: it is owed another poll.
    #[must_use]
    pub fn owes_poll(&self) -> bool {
        self.endpoint.has_events()
    }

    /// Bytes that are held for the connections.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.endpoint.memory()
    }

    fn end_of(&self, id: ConnectionId) -> Option<End> {
        let at = self.ends.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.ends[at].1)
    }

    fn keep(&mut self, id: ConnectionId, end: End) {
        match self.ends.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => self.ends[at].1 = end,
            Err(at) => self.ends.insert(at, (id, end)),
        }
    }

    fn accept(&mut self) {
        while let Some((end, from)) = self.network.accept(self.address) {
            match self.endpoint.accept(Some(ip_of(from)), self.now) {
                Ok(id) => self.keep(id, end),
                Err(refusal) => {
                    self.network.write(
                        end,
                        &refusal.to_bytes(self.endpoint.house().identity.cluster),
                    );
                    self.network.close(end, false);
                }
            }
        }
    }

    fn read_all(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        while let Some(id) = self.stalled.pop_first() {
            ready.extend(self.end_of(id).map(|end| (id, end)));
        }
        self.network.ready(&self.ends, &mut ready);
        for (id, end) in ready.drain(..) {
            self.read_one(id, end);
        }
        self.ready = ready;
    }

    fn read_one(&mut self, id: ConnectionId, end: End) {
        while self.network.is_ready(end) {
            let Ok(space) = self.endpoint.space(id) else {
                self.endpoint.resume(id, self.now);
                self.stalled.insert(id);
                return;
            };
            match self.network.read(end, space) {
                Taken::Bytes(count) => self.endpoint.filled(id, count, self.now),
                Taken::Nothing => break,
                Taken::Ended => {
                    self.endpoint.lost(id, self.now);
                    self.forget(id);
                    return;
                }
            }
        }
        self.endpoint.rest(id);
    }

    fn write_all(&mut self) {
        while let Some(order) = self.endpoint.next_order() {
            match order {
                Order::Dial(id, address) => {
                    match self.network.dial(self.place, self.machine, address) {
                        Some(end) => {
                            self.keep(id, end);
                            self.dirty.push(id);
                        }
                        None => self.endpoint.lost(id, self.now),
                    }
                }
                Order::Write(id) => self.dirty.push(id),
                Order::Shutdown(id) => {
                    if let Some(end) = self.end_of(id) {
                        self.network.shut(end);
                    }
                }
                Order::Close(id) => self.forget(id),
            }
        }
        if self.dirty.is_empty() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        dirty.retain(|&id| match self.end_of(id) {
            Some(end) => !self.write_one(id, end),
            None => false,
        });
        self.dirty = dirty;
    }

    /// Writes what is queued; false if there was no room for all of it.
    fn write_one(&mut self, id: ConnectionId, end: End) -> bool {
        loop {
            let mut slices = [IoSlice::new(&[]); 8];
            let count = self.endpoint.slices(id, &mut slices);
            if count == 0 {
                return true;
            }
            let written = self.network.write_all(end, &slices[..count]);
            if written == 0 {
                return false;
            }
            self.endpoint.wrote(id, written, self.now);
        }
    }

    fn forget(&mut self, id: ConnectionId) {
        if let Ok(at) = self.ends.binary_search_by_key(&id, |(id, _)| *id) {
            let (_, end) = self.ends.remove(at);
            self.network.close(end, false);
        }
    }
}

impl Transport for Door {
    fn poll(&mut self, events: &mut Vec<Event>) {
        self.endpoint.tick(self.now);
        self.accept();
        self.read_all();
        // Twice: what was written may end a connection, which is an order again.
        self.write_all();
        self.write_all();
        self.endpoint.drain_events(events);
    }

    fn offer(&mut self, to: ConnectionId, frame: &mut Outgoing) -> Result<(), SendError> {
        self.endpoint.offer(to, frame)
    }

    fn flush(&mut self) {
        self.write_all();
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

impl Drop for Door {
    fn drop(&mut self) {
        self.network.deafen(self.address);
        for (_, end) in &self.ends {
            self.network.close(*end, true);
        }
    }
}

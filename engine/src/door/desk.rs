//! What the door decides: requests become orders, orders become parts for groups, the parts' answers become replies.
//!
//! ```text
//!  request --> is the session known? --> where do unnamed ledgers lie? --> parts --> answers --> reply
//!                 (a read, group 0)         (a read, all groups)
//! ```
//!
//! - Sans-IO: messages and answers in, effects out; `now` is an argument.
//! - A part is asked again until it is answered. That is safe: writes are carried out once per session and number.
//! - A part's answer is taken once; what comes later for it is nobody's.
//! - One per node.

mod errands;
mod order;
mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use net::request::RequestHead;
use net::tigerbeetle::Release;
use net::tigerbeetle::message::{Envelope, Eviction, Message, Pong, Reason, Request};
use net::tigerbeetle::operation::{REGISTER, Shape};
use net::tigerbeetle::reader::Frame;
use raft::ids::Time;
use rustc_hash::FxHashMap;

use crate::config::Layout;
use crate::door::counters::Counters;
use crate::door::desk::order::{Errand, Order, State};
use crate::door::limits;
use crate::door::origins::{Allowances, Origin};

/// A client's connection, by its place and how often that was taken; and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestId {
    /// The place.
    pub place: u32,
    /// Which guest in this place.
    pub turn: u64,
    /// Where it comes from.
    pub origin: Origin,
}

/// What the desk asks for.
#[derive(Debug)]
pub enum Effect {
    /// Ask a core of the node at this place of the layout.
    Ask {
        /// The node's place.
        place: usize,
        /// Its core.
        core: u16,
        /// The request.
        head: RequestHead,
        /// Its body.
        body: Bytes,
        /// The body's CRC-32.
        crc: u32,
    },
    /// Say this to a client.
    Say {
        /// Who.
        guest: GuestId,
        /// The header.
        header: [u8; 256],
        /// The body.
        body: Bytes,
    },
    /// End a client's connection: it does not keep to the protocol.
    Close(GuestId),
}

/// What the door knows of a client's session.
#[derive(Clone, Copy, Debug)]
struct Known {
    session: u32,
    /// Where it was registered from, as group 0 says.
    origin: Origin,
    release: Release,
    checked_at: Time,
    /// The newest request seen here.
    number: u32,
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    layout: Layout,
    /// Of the node whose door this is; none in a client's own process.
    place: Option<usize>,
    counters: Arc<Counters>,
    orders: FxHashMap<u64, Order>,
    errands: FxHashMap<u64, Errand>,
    /// Errands that wait for their moment, soonest first.
    due: BTreeSet<(Time, u64)>,
    /// What each client waits for.
    under_way: FxHashMap<u128, u64>,
    per_guest: FxHashMap<GuestId, (usize, u32)>,
    allowances: Allowances,
    known: FxHashMap<u128, Known>,
    /// Requests that were left to the leader: which, and when first.
    heard: FxHashMap<u128, (u32, Time)>,
    /// Who leads, by place; of groups that were asked.
    leaders: FxHashMap<u64, usize>,
    view: u32,
    bytes: usize,
    next: u64,
    looked_at: Option<Time>,
    is_looking: bool,
    /// The wall clock, ns since the Unix epoch: the moment of an answer that has none of its own.
    wall: u64,
}

impl Desk {
    /// The desk of the node at `place` of the layout.
    #[must_use]
    pub fn new(layout: Layout, place: usize, counters: Arc<Counters>) -> Self {
        assert!(place < layout.nodes.len());
        Self::at(layout, Some(place), counters)
    }

    /// A desk without a door, in the process of a client: it asks all nodes itself.
    #[must_use]
    pub fn of_client(layout: Layout, counters: Arc<Counters>) -> Self {
        Self::at(layout, None, counters)
    }

    fn at(layout: Layout, place: Option<usize>, counters: Arc<Counters>) -> Self {
        Self {
            layout,
            place,
            counters,
            orders: FxHashMap::default(),
            errands: FxHashMap::default(),
            due: BTreeSet::new(),
            under_way: FxHashMap::default(),
            per_guest: FxHashMap::default(),
            allowances: Allowances::default(),
            known: FxHashMap::default(),
            heard: FxHashMap::default(),
            leaders: FxHashMap::default(),
            view: 0,
            bytes: 0,
            next: 0,
            looked_at: None,
            is_looking: false,
            wall: 1,
        }
    }

    /// What the wall clock says, ns since the Unix epoch.
    pub fn wall_is(&mut self, wall: u64) {
        self.wall = wall.max(1);
    }

    /// Are more requests welcome?
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.bytes < limits::ORDER_BYTES_MAX
    }

    /// When `tick` has something to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A client has sent a message.
    pub fn message(&mut self, guest: GuestId, frame: Frame, now: Time, out: &mut Vec<Effect>) {
        let announced = frame.announced;
        let envelope = announced.envelope;
        if envelope.cluster != u128::from(self.layout.cluster) {
            out.push(Effect::Close(guest));
            return;
        }
        match announced.message {
            Message::Ping(ping) => {
                let pong = Message::Pong(Pong {
                    sent_at: ping.sent_at,
                });
                let header = pong.encode(&self.envelope(Release::MAX), &[]);
                let body = Bytes::new();
                out.push(Effect::Say {
                    guest,
                    header,
                    body,
                });
            }
            Message::Request(request) => {
                self.request(guest, envelope, request, frame.body, now, out);
            }
            // What only replicas say.
            Message::Pong(_) | Message::Reply(_) | Message::Eviction(_) => {
                out.push(Effect::Close(guest));
            }
        }
    }

    /// A client is gone: nobody waits for its replies.
    pub fn gone(&mut self, guest: GuestId) {
        self.per_guest.remove(&guest);
        let of = |order: &Order| order.guest == guest;
        let gone: Vec<u64> = self
            .orders
            .iter()
            .filter(|(_, order)| of(order))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.close(id);
        }
    }

    /// A client asks for something. In a client's own process there is no other way in.
    pub fn request(
        &mut self,
        guest: GuestId,
        envelope: Envelope,
        request: Request,
        body: Bytes,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        if self.is_the_leaders(&envelope, &request, now) {
            return;
        }
        if let Some(reason) = self.objection(&envelope, &request, &body) {
            self.evict(guest, request.client, reason, out);
            return;
        }
        let open = self.per_guest.entry(guest).or_default();
        let registers = u32::from(request.operation == REGISTER);
        if let Some(order) = self.under_way.get(&request.client).copied() {
            let order = self.orders.get_mut(&order).expect("it is under way");
            if order.request.number >= request.number {
                // The reply goes to where it was asked for last.
                if order.request.checksum == request.checksum {
                    order.guest = guest;
                }
                self.counters.ignored.add(1);
                return;
            }
            let superseded = self.under_way[&request.client];
            self.close(superseded);
        } else if self.place.is_some()
            && (open.0 >= limits::ORDERS_PER_GUEST
                || open.1 + registers > limits::REGISTERS_PER_GUEST)
        {
            self.counters.ignored.add(1);
            return;
        }
        if let Some(known) = self.known.get(&request.client).copied()
            && request.operation != REGISTER
        {
            if known.release != envelope.release {
                self.evict(guest, request.client, Reason::ReleaseMismatch, out);
                return;
            }
            if request.number < known.number {
                self.counters.ignored.add(1);
                return;
            }
        }
        if registers > 0 && self.place.is_some() && !self.allowances.take(guest.origin, now) {
            self.counters.flooded.add(1);
            return;
        }
        let open = self.per_guest.entry(guest).or_default();
        *open = (open.0 + 1, open.1 + registers);
        self.counters.requests.add(1);
        self.bytes += body.len();
        self.next += 1;
        let id = self.next;
        let shape = Shape::of(request.operation);
        self.orders.insert(
            id,
            Order::new(guest, envelope.release, request, shape, body),
        );
        self.under_way.insert(request.client, id);
        self.update_open();
        self.begin(id, now, out);
    }

    /// Is this request better left to the leader's door, which the client has asked as well?
    fn is_the_leaders(&mut self, envelope: &Envelope, request: &Request, now: Time) -> bool {
        let Some(place) = self.place.filter(|_| self.layout.nodes.len() > 1) else {
            return false;
        };
        let elsewhere = self.leaders.get(&0).is_some_and(|&at| at != place);
        if !elsewhere || envelope.view < self.view {
            return false;
        }
        if self.heard.len() >= limits::KNOWN_MAX {
            self.heard.clear();
        }
        let heard = self
            .heard
            .entry(request.client)
            .or_insert((request.number, now));
        if heard.0 == request.number && now.since(heard.1) >= limits::SECOND_TIME_NS {
            return false;
        }
        if heard.0 != request.number {
            *heard = (request.number, now);
        }
        self.counters.left_to_leader.add(1);
        true
    }

    /// Why this request ends its session, as far as can be told without asking a group.
    fn objection(&self, envelope: &Envelope, request: &Request, body: &[u8]) -> Option<Reason> {
        if envelope.release < Release::MIN {
            return Some(Reason::ReleaseTooLow);
        }
        if envelope.release > Release::MAX {
            return Some(Reason::ReleaseTooHigh);
        }
        if request.operation == REGISTER {
            return plan::register_objection(body);
        }
        let Some(shape) = Shape::of(request.operation) else {
            return Some(Reason::InvalidOperation);
        };
        plan::objection(request.operation, shape, body, self.layout.groups)
    }

    fn evict(&mut self, guest: GuestId, client: u128, reason: Reason, out: &mut Vec<Effect>) {
        self.counters.evictions.add(1);
        self.known.remove(&client);
        let eviction = Message::Eviction(Eviction { client, reason });
        let header = eviction.encode(&self.envelope(Release::MAX), &[]);
        let body = Bytes::new();
        out.push(Effect::Say {
            guest,
            header,
            body,
        });
    }

    fn envelope(&self, release: Release) -> Envelope {
        Envelope {
            cluster: self.layout.cluster.into(),
            view: self.view,
            release,
            replica: u8::try_from(self.place.unwrap_or(0)).expect("a layout has at most 128 nodes"),
        }
    }

    /// Ends an order, answered or not; its errands are nobody's then.
    fn close(&mut self, id: u64) -> Option<Order> {
        let order = self.orders.remove(&id)?;
        self.bytes -= order.body.len();
        if self.under_way.get(&order.request.client) == Some(&id) {
            self.under_way.remove(&order.request.client);
        }
        if let Some(open) = self.per_guest.get_mut(&order.opened_by) {
            open.0 = open.0.saturating_sub(1);
        }
        for errand in &order.errands {
            if let Some(Errand {
                state: State::Waits(due),
                ..
            }) = self.errands.remove(errand)
            {
                self.due.remove(&(due, *errand));
            }
        }
        self.update_open();
        Some(order)
    }

    fn update_open(&self) {
        self.counters.requests_open.set(self.orders.len() as u64);
        self.counters.request_bytes_open.set(self.bytes as u64);
    }
}

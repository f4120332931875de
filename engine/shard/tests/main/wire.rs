//! A network of frames in virtual time: every node's core and every test client has one door to it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use net::counters::Counters;
use net::transport::{ConnectionId, Event, Frame, Outgoing, Remote, SendError, Transport};

/// One way through the network, nanoseconds.
pub(crate) const DELAY_NS: u64 = 100_000;

#[derive(Default)]
pub(crate) struct Net {
    pub(crate) now: u64,
    queues: BTreeMap<u32, VecDeque<(u64, Event)>>,
    /// Connection -> (owner, the other end's node, the other end's connection).
    ends: BTreeMap<ConnectionId, (u32, u32, ConnectionId)>,
    next: u64,
    /// Pairs that hear nothing of each other.
    cut: BTreeSet<(u32, u32)>,
    /// Nodes whose connections take nothing more.
    pub(crate) deaf: BTreeSet<u32>,
}

/// Shared by everybody in the world.
#[derive(Clone, Default)]
pub(crate) struct Wire(pub(crate) Rc<RefCell<Net>>);

/// One node's end.
pub(crate) struct Door {
    pub(crate) wire: Wire,
    pub(crate) node: u32,
}

impl Wire {
    /// Connects two ends, each given with what it is; each learns what the other is.
    pub(crate) fn connect(
        &self,
        a: (u32, Remote),
        b: (u32, Remote),
    ) -> (ConnectionId, ConnectionId) {
        let mut net = self.0.borrow_mut();
        let (left, right) = (ConnectionId(net.next + 1), ConnectionId(net.next + 2));
        net.next += 2;
        net.ends.insert(left, (a.0, b.0, right));
        net.ends.insert(right, (b.0, a.0, left));
        let now = net.now;
        net.queue(a.0, now, Event::Opened(left, b.1));
        net.queue(b.0, now, Event::Opened(right, a.1));
        (left, right)
    }

    /// Every connection of the node breaks; what is under way to and from it is lost.
    pub(crate) fn isolate(&self, node: u32) {
        let mut net = self.0.borrow_mut();
        let gone: Vec<_> = net
            .ends
            .iter()
            .filter(|(_, (owner, other, _))| *owner == node || *other == node)
            .map(|(connection, (owner, _, _))| (*connection, *owner))
            .collect();
        let now = net.now;
        for (connection, owner) in gone {
            net.ends.remove(&connection);
            if owner != node {
                net.queue(owner, now, Event::Closed(connection));
            }
        }
        net.queues.remove(&node);
    }

    /// Frames between the two vanish, in both directions, until healed.
    pub(crate) fn cut(&self, a: u32, b: u32) {
        let mut net = self.0.borrow_mut();
        net.cut.insert((a, b));
        net.cut.insert((b, a));
    }

    /// The two hear each other again.
    pub(crate) fn heal(&self, a: u32, b: u32) {
        let mut net = self.0.borrow_mut();
        net.cut.remove(&(a, b));
        net.cut.remove(&(b, a));
    }

    /// When the next event is due anywhere.
    pub(crate) fn next_event(&self) -> Option<u64> {
        self.0
            .borrow()
            .queues
            .values()
            .filter_map(|queue| queue.front().map(|(at, _)| *at))
            .min()
    }

    /// Something is due at this node.
    pub(crate) fn is_due(&self, node: u32) -> bool {
        let net = self.0.borrow();
        net.queues
            .get(&node)
            .and_then(VecDeque::front)
            .is_some_and(|(at, _)| *at <= net.now)
    }
}

impl Net {
    fn queue(&mut self, node: u32, at: u64, event: Event) {
        self.queues.entry(node).or_default().push_back((at, event));
    }
}

impl Transport for Door {
    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn poll(&mut self, events: &mut Vec<Event>) {
        let mut net = self.wire.0.borrow_mut();
        let now = net.now;
        let Some(queue) = net.queues.get_mut(&self.node) else {
            return;
        };
        while queue.front().is_some_and(|(at, _)| *at <= now) {
            events.extend(queue.pop_front().map(|(_, event)| event));
        }
    }

    fn offer(&mut self, to: ConnectionId, frame: &mut Outgoing) -> Result<(), SendError> {
        let mut net = self.wire.0.borrow_mut();
        let Some((owner, other, remote)) = net.ends.get(&to).copied() else {
            return Err(SendError::Closed);
        };
        assert_eq!(owner, self.node, "a node sends on its own connections");
        if net.deaf.contains(&other) {
            return Err(SendError::Busy);
        }
        let frame = std::mem::take(frame);
        let at = net.now + DELAY_NS;
        let bulk = Bytes::from(frame.bulk.concat());
        assert_eq!(
            crc32fast::hash(&bulk),
            frame.bulk_crc,
            "the sender knows its bulk's checksum"
        );
        if frame.token != 0 {
            let now = net.now;
            net.queue(owner, now, Event::Sent(to, frame.token, now));
        }
        if !net.cut.contains(&(owner, other)) {
            let frame = Frame {
                kind: frame.kind,
                head: Bytes::from(frame.head),
                bulk,
                bulk_crc: frame.bulk_crc,
                began_at: at,
                arrived_at: at,
            };
            net.queue(other, at, Event::Received(remote, frame));
        }
        Ok(())
    }

    fn flush(&mut self) {}

    fn close(&mut self, connection: ConnectionId) {
        let mut net = self.wire.0.borrow_mut();
        let now = net.now;
        if let Some((owner, other, remote)) = net.ends.remove(&connection) {
            net.ends.remove(&remote);
            net.queue(owner, now, Event::Closed(connection));
            net.queue(other, now + DELAY_NS, Event::Closed(remote));
        }
    }
}

//! What the tests of whole networks share: configurations, frames, and a way to let time go on.

use std::net::SocketAddr;

use bytes::Bytes;
use net::checksum::crc;
use net::config::TransportConfig;
use net::envelope::{Beat, Envelope, EnvelopeBuilder};
use net::frame::{Codec, Kind};
use net::limits::{Limits, MIB};
use net::request::{ReplyHead, RequestHead, Status};
use net::transport::memory::{MemoryNetwork, MemoryTransport};
use net::transport::{ConnectionId, Event, Frame, Outgoing, Remote, SendError, Transport};

pub(crate) const CLUSTER: u64 = 0xC1;
pub(crate) const MILLISECOND: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MILLISECOND;

/// Bounds that a test can reach.
pub(crate) fn limits() -> Limits {
    Limits {
        clients_max: 8,
        handshakes_max: 8,
        client_pool_bytes_max: 4 * MIB,
        peer_pool_bytes_max: 16 * MIB,
        client_queue_bytes_max: MIB,
        peer_queue_bytes_max: 8 * MIB,
        queue_frames_max: 64,
        ..Limits::default()
    }
}

/// Node `node` of a cluster of `nodes`, in a network in memory.
pub(crate) fn config(node: u32, nodes: u32) -> TransportConfig {
    let peers = (1..=nodes).filter(|&peer| peer != node);
    TransportConfig {
        cluster: CLUSTER,
        node,
        core: 0,
        cores: 1,
        incarnation: u64::from(node) * 100,
        layout_digest: 0xD1,
        codec: Codec::None,
        listen: MemoryNetwork::address(node, 0),
        peers: peers
            .map(|peer| (peer, MemoryNetwork::address(peer, 0)))
            .collect(),
        limits: limits(),
    }
}

pub(crate) fn client_address(number: u16) -> SocketAddr {
    SocketAddr::from(([192, 168, 0, 1], 5000 + number))
}

/// An envelope of one message, its content following from `sequence` and `bulk_len`.
pub(crate) fn envelope(sequence: u64, bulk_len: usize) -> Outgoing {
    let mut builder = EnvelopeBuilder::new();
    builder.begin(Beat {
        sequence,
        ..Beat::default()
    });
    let bulk = bulk(sequence, bulk_len);
    let sum = crc(&bulk);
    assert!(builder.push(sequence % 7, &sequence.to_le_bytes(), [(bulk, sum)]));
    builder.finish()
}

pub(crate) fn bulk(sequence: u64, len: usize) -> Bytes {
    (0..len)
        .map(|at| (at as u64 * 31 + sequence) as u8)
        .collect()
}

/// Checks an envelope made by [`envelope`] and answers its sequence.
pub(crate) fn check_envelope(frame: &Frame) -> u64 {
    assert_eq!(frame.kind, Kind::ENVELOPE);
    let envelope = Envelope::parse(frame).expect("what was built");
    let sequence = envelope.beat.sequence;
    let letter = envelope.letters().next().expect("one message");
    assert_eq!(&letter.message[..], sequence.to_le_bytes());
    assert_eq!(letter.bulk, bulk(sequence, letter.bulk.len()));
    sequence
}

/// Answers a request with its own bulk.
pub(crate) fn echo(
    transport: &mut impl Transport,
    to: ConnectionId,
    frame: &Frame,
) -> Result<(), SendError> {
    let request = RequestHead::decode(&frame.head).expect("a client's request");
    let reply = ReplyHead {
        arrived_at: frame.arrived_at,
        ..request.reply(Status::Ok)
    };
    let outgoing = Outgoing {
        kind: Kind::REPLY,
        head: reply.encode().to_vec(),
        bulk: vec![frame.bulk.clone()],
        bulk_crc: frame.bulk_crc,
        token: request.id,
    };
    transport.send(to, outgoing)
}

/// Nodes in a network in memory, with all that happened to them.
pub(crate) struct World {
    pub(crate) network: MemoryNetwork,
    pub(crate) nodes: Vec<Option<MemoryTransport>>,
    pub(crate) log: Vec<(u32, Event)>,
}

impl World {
    pub(crate) fn new(seed: u64, nodes: u32) -> World {
        let network = MemoryNetwork::new(seed);
        let join = |node| {
            Some(
                network
                    .join(config(node, nodes))
                    .expect("a good configuration"),
            )
        };
        World {
            nodes: (1..=nodes).map(join).collect(),
            network,
            log: Vec::new(),
        }
    }

    pub(crate) fn node(&mut self, node: u32) -> &mut MemoryTransport {
        self.nodes[node as usize - 1]
            .as_mut()
            .expect("the node runs")
    }

    /// Every node polls once; then time goes on by `step`.
    pub(crate) fn step(&mut self, step: u64) {
        for (node, transport) in (1..).zip(&mut self.nodes) {
            let Some(transport) = transport else { continue };
            let mut events = Vec::new();
            transport.poll(&mut events);
            self.log
                .extend(events.into_iter().map(|event| (node, event)));
        }
        self.network.advance(self.network.now() + step);
    }

    pub(crate) fn run(&mut self, span: u64) {
        for _ in 0..span / MILLISECOND {
            self.step(MILLISECOND);
        }
    }

    /// What happened at a node since the last call for it, frames put into words.
    pub(crate) fn story(&mut self, node: u32) -> Vec<String> {
        let (mine, others) = std::mem::take(&mut self.log)
            .into_iter()
            .partition(|(at, _)| *at == node);
        self.log = others;
        let tell = |(_, event): (u32, Event)| match event {
            Event::Opened(_, Remote::Peer { node, incarnation }) => {
                format!("opened {node} of {incarnation}")
            }
            Event::Opened(_, Remote::Client) => "opened a client".into(),
            Event::Received(_, frame) => format!("received {}", check_envelope(&frame)),
            Event::Sent(_, token, _) => format!("sent {token}"),
            Event::Closed(_) => "closed".into(),
        };
        Vec::<(u32, Event)>::into_iter(mine).map(tell).collect()
    }
}

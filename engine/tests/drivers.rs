//! Both drivers under the echoing shard: nothing is lost, nothing sleeps through news, nothing is left behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use engine::clock::SystemClock;
use engine::config::Io;
use engine::core::Cores;
use engine::driver::Seat;
use engine::error::EngineError;
use net::client::{ClientConnection, ClientError, ClientOptions};
use net::config::TransportConfig;
use net::frame::{Codec, Kind};
use net::limits::{CLIENT_BULK_BYTES_MAX, Limits};
use net::refusal::Refusal;
use net::request::{ReplyHead, RequestHead, Status};
use net::session::SessionError;
use raft::ids::Time;

use crate::echo::{ECHO, EchoBuild, LATER, PANIC, PEERS, WRITE};
use crate::ports::free_address;

const CLUSTER: u64 = 77;

/// Runs each test under each driver.
macro_rules! on_both_drivers {
    ($($name:ident)*) => {
        mod glommio {
            $(#[test] fn $name() { super::$name(engine::config::Io::Glommio); })*
        }
        mod threads {
            $(#[test] fn $name() { super::$name(engine::config::Io::Threads); })*
        }
    };
}

on_both_drivers! {
    a_burst_of_small_requests_is_echoed
    frames_of_every_size_are_echoed
    many_connections_are_served_side_by_side
    a_finished_write_wakes_an_idle_core
    an_instant_wakes_an_idle_core
    peers_find_each_other_again_after_a_restart
    a_stopped_core_leaves_its_port_at_once
    a_panic_stops_all_cores_and_is_reported
    an_address_in_use_is_told
    a_failing_build_is_told
    a_flood_of_connections_is_refused_by_name
    those_who_do_not_shake_hands_are_shown_out
    a_client_that_stops_reading_does_not_hurt_others
    what_is_no_frame_ends_its_connection_only
}

/// Tests end in minutes even when something is lost.
const PATIENCE: Duration = Duration::from_secs(120);

fn deadline() -> Time {
    SystemClock.now().plus(120_000_000_000)
}

/// What the node told before it closed the connection.
macro_rules! refused {
    ($refusal:pat) => {
        ClientError::Session(SessionError::ToldOff($refusal))
    };
}

fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    [(); N].map(|()| free_address(1))
}

fn seat(address: SocketAddr, node: u32, peers: &[(u32, SocketAddr)], limits: Limits) -> Seat {
    let network = TransportConfig {
        cluster: CLUSTER,
        node,
        core: 0,
        cores: 1,
        incarnation: SystemClock.now().0,
        layout_digest: 5,
        codec: Codec::None,
        listen: address,
        peers: peers
            .iter()
            .copied()
            .filter(|peer| peer.0 != node)
            .collect(),
        limits,
    };
    Seat {
        core: 0,
        cpu: None,
        network,
        awake_ns: 200_000,
        hatch: None,
    }
}

/// One echoing core, alone.
pub(crate) struct Alone {
    cores: Cores,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Alone {
    pub(crate) fn start(io: Io, limits: Limits) -> Self {
        let [address] = free_addresses();
        Self::start_at(io, limits, address).expect("a core")
    }

    fn start_at(io: Io, limits: Limits, address: SocketAddr) -> Result<Self, EngineError> {
        let dir = tempfile::tempdir().expect("a folder");
        let build = EchoBuild {
            io,
            dir: Some(dir.path().join("log")),
            fails: false,
        };
        let cores = Cores::start(io, vec![(seat(address, 1, &[(1, address)], limits), build)])?;
        Ok(Self {
            cores,
            address,
            _dir: dir,
        })
    }

    pub(crate) fn wire(&self) -> ClientConnection {
        connect(self.address, CLUSTER).expect("a connection")
    }

    pub(crate) fn stop(self) {
        self.cores.stopper().stop();
        self.cores.wait().expect("an orderly end");
    }
}

/// Connects with a patience that outlasts every test.
fn connect(address: SocketAddr, cluster: u64) -> Result<ClientConnection, ClientError> {
    let options = ClientOptions {
        timeout: PATIENCE,
        clock: || SystemClock.now().0,
        ..ClientOptions::new(cluster)
    };
    ClientConnection::connect_with(address, options)
}

/// Queues a request; it leaves with the next flush.
pub(crate) fn queue(wire: &mut ClientConnection, operation: u8, group: u64, id: u64, bulk: Bytes) {
    let crc = net::checksum::crc(&bulk);
    queue_with(wire, operation, group, id, bulk, crc);
}

fn queue_with(
    wire: &mut ClientConnection,
    operation: u8,
    group: u64,
    id: u64,
    bulk: Bytes,
    crc: u32,
) {
    let head = RequestHead {
        id,
        group,
        operation,
        ..RequestHead::default()
    };
    wire.queue(&head, &[bulk], crc).expect("room");
}

pub(crate) fn reply(wire: &mut ClientConnection, id: u64) -> Bytes {
    let frame = wire.receive(PATIENCE).expect("a reply");
    assert_eq!(frame.kind, Kind::REPLY);
    let head = ReplyHead::decode(&frame.head).expect("a reply's head");
    assert_eq!((head.id, head.status), (id, Status::Ok));
    frame.bulk
}

/// The ids of the next replies, in order of number.
fn reply_ids(wire: &mut ClientConnection, count: usize) -> Vec<u64> {
    let next = |_| {
        let frame = wire.receive(PATIENCE).expect("a reply");
        ReplyHead::decode(&frame.head).expect("a reply's head").id
    };
    let mut ids: Vec<u64> = (0..count).map(next).collect();
    ids.sort_unstable();
    ids
}

pub(crate) fn ask(wire: &mut ClientConnection, operation: u8, group: u64, bulk: Bytes) -> Bytes {
    queue(wire, operation, group, 1, bulk);
    wire.flush().expect("the node reads");
    reply(wire, 1)
}

pub(crate) fn content(len: usize, salt: u64) -> Bytes {
    (0..len as u64)
        .map(|at| (at.wrapping_mul(salt | 1) >> 3) as u8)
        .collect::<Vec<u8>>()
        .into()
}

fn a_burst_of_small_requests_is_echoed(io: Io) {
    const REQUESTS: u64 = 100_000;
    const WINDOW: u64 = 500;
    let alone = Alone::start(io, Limits::default());
    let mut wire = alone.wire();
    let bulk = content(128, 3);
    for first in (0..REQUESTS).step_by(WINDOW as usize) {
        // The queue of a wire is bounded in frames.
        for id in first..first + WINDOW {
            queue(&mut wire, ECHO, 0, id, bulk.clone());
            if id % 50 == 49 {
                wire.flush().expect("the node reads");
            }
        }
        for id in first..first + WINDOW {
            assert_eq!(reply(&mut wire, id), bulk);
        }
    }
    alone.stop();
}

fn frames_of_every_size_are_echoed(io: Io) {
    let alone = Alone::start(io, Limits::default());
    let mut wire = alone.wire();
    for step in 0..21 {
        for near in [-1, 0, 1] {
            let len = ((1_i64 << step) + near) as usize;
            let bulk = content(len.min(CLIENT_BULK_BYTES_MAX), step);
            assert!(ask(&mut wire, ECHO, 0, bulk.clone()) == bulk, "{len} bytes");
        }
    }
    let bulk = content(CLIENT_BULK_BYTES_MAX, 9);
    for round in 0..64 {
        assert!(
            ask(&mut wire, ECHO, 0, bulk.clone()) == bulk,
            "round {round}"
        );
    }
    alone.stop();
}

fn many_connections_are_served_side_by_side(io: Io) {
    const CONNECTIONS: usize = 64;
    let alone = Alone::start(io, Limits::default());
    let mut wires: Vec<ClientConnection> = (0..CONNECTIONS).map(|_| alone.wire()).collect();
    for round in 0..200 {
        let bulk = |index: usize| content(128 + 100 * index, round);
        for (index, wire) in wires.iter_mut().enumerate() {
            queue(wire, ECHO, 0, round, bulk(index));
            wire.flush().expect("the node reads");
        }
        for (index, wire) in wires.iter_mut().enumerate() {
            assert_eq!(reply(wire, round), bulk(index));
        }
    }
    drop(wires);
    alone.stop();
}

/// One write at a time: between request and completion the core has nothing to do and sleeps.
fn a_finished_write_wakes_an_idle_core(io: Io) {
    let alone = Alone::start(io, Limits::default());
    let mut wire = alone.wire();
    for salt in 0..200 {
        let bulk = content(64, salt);
        assert_eq!(ask(&mut wire, WRITE, 0, bulk.clone()), bulk);
    }
    // Many at once: completions come together and out of step with the wake-ups.
    for id in 0..50 {
        queue(&mut wire, WRITE, 0, id, content(64, id));
    }
    wire.flush().expect("the node reads");
    assert_eq!(reply_ids(&mut wire, 50), (0..50).collect::<Vec<u64>>());
    alone.stop();
}

fn an_instant_wakes_an_idle_core(io: Io) {
    let alone = Alone::start(io, Limits::default());
    let mut wire = alone.wire();
    for milliseconds in [3, 1, 5, 0, 2, 1] {
        let before = SystemClock.now();
        ask(&mut wire, LATER, milliseconds, Bytes::new());
        assert!(SystemClock.now().since(before) >= milliseconds * 1_000_000);
    }
    // The later of two is not forgotten when the earlier one fires.
    queue(&mut wire, LATER, 6, 6, Bytes::new());
    queue(&mut wire, LATER, 2, 2, Bytes::new());
    wire.flush().expect("the node reads");
    assert_eq!(reply_ids(&mut wire, 2), [2, 6]);
    alone.stop();
}

fn peers_find_each_other_again_after_a_restart(io: Io) {
    let addresses: [SocketAddr; 3] = free_addresses();
    let peers: Vec<(u32, SocketAddr)> = (1..).zip(addresses).collect();
    let start = |node: u32| {
        let address = addresses[node as usize - 1];
        let build = EchoBuild {
            io,
            dir: None,
            fails: false,
        };
        Cores::start(
            io,
            vec![(seat(address, node, &peers, Limits::default()), build)],
        )
        .expect("a core")
    };
    // Each end of a connection sends one envelope when it opens.
    let met = |node: u32, expected: u64| {
        let mut wire = connect(addresses[node as usize - 1], CLUSTER).expect("a connection");
        let until = deadline();
        loop {
            let count = ask(&mut wire, PEERS, 0, Bytes::new());
            let count = u64::from_le_bytes(count[..].try_into().expect("eight bytes"));
            if count == expected {
                return;
            }
            assert!(
                count < expected && SystemClock.now() < until,
                "node {node}: {count} of {expected}"
            );
            thread::yield_now();
        }
    };
    let mut nodes = [1, 2, 3].map(|node| Some(start(node)));
    (1..=3).for_each(|node| met(node, 2));
    let second = nodes[1].take().expect("it runs");
    second.stopper().stop();
    second.wait().expect("an orderly end");
    nodes[1] = Some(start(2));
    met(2, 2);
    met(1, 3);
    met(3, 3);
    for node in nodes.into_iter().flatten() {
        node.stopper().stop();
        node.wait().expect("an orderly end");
    }
}

fn a_stopped_core_leaves_its_port_at_once(io: Io) {
    let [address] = free_addresses();
    for _ in 0..5 {
        let alone = Alone::start_at(io, Limits::default(), address).expect("the port is free");
        let mut wires = [alone.wire(), alone.wire()];
        for wire in &mut wires {
            ask(wire, ECHO, 0, content(128, 1));
        }
        // Connections are open, one request is in the middle of nothing: none of it holds the port.
        queue(&mut wires[0], LATER, 1_000_000, 1, Bytes::new());
        wires[0].flush().expect("the node reads");
        alone.stop();
        assert!(wires[1].receive(PATIENCE).is_err());
    }
}

/// A node of two cores, some of which cannot be built.
fn two_seats(
    io: Io,
    addresses: [SocketAddr; 2],
    fails: impl Fn(u16) -> bool,
) -> [(Seat, EchoBuild); 2] {
    [0, 1].map(|core: u16| {
        let address = addresses[usize::from(core)];
        let mut seat = seat(address, 1, &[(1, address)], Limits::default());
        seat.core = core;
        let build = EchoBuild {
            io,
            dir: None,
            fails: fails(core),
        };
        (seat, build)
    })
}

fn a_panic_stops_all_cores_and_is_reported(io: Io) {
    let addresses: [SocketAddr; 2] = free_addresses();
    let seats = two_seats(io, addresses, |_| false);
    let cores = Cores::start(io, Vec::from(seats)).expect("two cores");
    let mut wire = connect(addresses[1], CLUSTER).expect("a connection");
    queue(&mut wire, PANIC, 0, 1, Bytes::new());
    wire.flush().expect("the node reads");
    match cores.wait() {
        Err(EngineError::Panicked { core: 1, report }) => assert_eq!(report, "asked to panic"),
        other => panic!("a panic was expected: {other:?}"),
    }
}

fn an_address_in_use_is_told(io: Io) {
    let alone = Alone::start(io, Limits::default());
    match Alone::start_at(io, Limits::default(), alone.address) {
        Err(EngineError::Listen {
            core: 0,
            address,
            source,
        }) => {
            assert_eq!(address, alone.address);
            assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
        }
        other => panic!("the address is in use: {:?}", other.map(|_| "started")),
    }
    ask(&mut alone.wire(), ECHO, 0, content(10, 1));
    alone.stop();
}

fn a_failing_build_is_told(io: Io) {
    let addresses: [SocketAddr; 2] = free_addresses();
    let seats = two_seats(io, addresses, |core| core == 1);
    let started = Cores::start(io, Vec::from(seats));
    assert!(
        matches!(started, Err(EngineError::Start { core: 1, .. })),
        "{:?}",
        started.map(|_| "started")
    );
    // Both ports are free again.
    for address in addresses {
        Alone::start_at(io, Limits::default(), address)
            .expect("the port is free")
            .stop();
    }
}

fn a_flood_of_connections_is_refused_by_name(io: Io) {
    let limits = Limits {
        clients_max: 4,
        ..Limits::default()
    };
    let alone = Alone::start(io, limits);
    let mut kept: Vec<ClientConnection> = (0..4).map(|_| alone.wire()).collect();
    for _ in 0..200 {
        match connect(alone.address, CLUSTER) {
            Err(refused!(Refusal::TooManyConnections(4))) => {}
            other => panic!("the house is full: {:?}", other.map(|_| "connected")),
        }
    }
    for wire in &mut kept {
        ask(wire, ECHO, 0, content(128, 1));
    }
    // A place that becomes free is given away again.
    drop(kept.pop());
    let until = deadline();
    while let Err(error) = connect(alone.address, CLUSTER) {
        assert!(
            matches!(error, refused!(Refusal::TooManyConnections(4))),
            "{error}"
        );
        assert!(SystemClock.now() < until, "the place stays taken");
    }
    alone.stop();
}

fn those_who_do_not_shake_hands_are_shown_out(io: Io) {
    let limits = Limits {
        handshake_timeout_ns: 20_000_000,
        handshakes_max: 8,
        ..Limits::default()
    };
    let alone = Alone::start(io, limits);
    let silent: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(alone.address).expect("a connection"))
        .collect();
    for mut stream in silent {
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .expect("a socket");
        let mut said = Vec::new();
        // It ends, with a last word or without; what counts is that it ends.
        if let Err(error) = stream.read_to_end(&mut said) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
    // Places become free again. On a loaded machine even an honest client may be too slow for so short
    // a timeout, and tries again.
    let until = deadline();
    let mut wire = loop {
        match connect(alone.address, CLUSTER) {
            Ok(wire) => break wire,
            Err(error) => assert!(SystemClock.now() < until, "no place becomes free: {error}"),
        }
    };
    ask(&mut wire, ECHO, 0, content(128, 1));
    alone.stop();
}

fn a_client_that_stops_reading_does_not_hurt_others(io: Io) {
    let alone = Alone::start(io, Limits::default());
    let mut deaf = alone.wire();
    let bulk = content(CLIENT_BULK_BYTES_MAX, 5);
    // Far more than kernel buffers and queues hold; it ends with an error when the node has had enough.
    let limit = Duration::from_secs(120);
    deaf.stream()
        .set_write_timeout(Some(limit))
        .expect("a socket");
    let mut sent = 0;
    let ended = loop {
        queue(&mut deaf, ECHO, 0, sent, bulk.clone());
        if let Err(error) = deaf.flush() {
            break error;
        }
        sent += 1;
        assert!(sent < 10_000, "a deaf client is never shown out");
        if sent % 16 == 0 {
            ask(&mut alone.wire(), ECHO, 0, content(128, sent));
        }
    };
    assert!(matches!(ended, ClientError::Io(_) | refused!(_)), "{ended}");
    ask(&mut alone.wire(), ECHO, 0, bulk);
    alone.stop();
}

fn what_is_no_frame_ends_its_connection_only(io: Io) {
    let alone = Alone::start(io, Limits::default());
    let mut good = alone.wire();
    match connect(alone.address, CLUSTER + 1) {
        Err(refused!(Refusal::WrongCluster(CLUSTER))) => {}
        other => panic!(
            "another cluster is refused: {:?}",
            other.map(|_| "connected")
        ),
    }
    let mut stranger = TcpStream::connect(alone.address).expect("a connection");
    stranger
        .set_read_timeout(Some(Duration::from_secs(120)))
        .expect("a socket");
    stranger
        .write_all(&content(4096, 11))
        .expect("the node listens");
    let mut said = Vec::new();
    if let Err(error) = stranger.read_to_end(&mut said) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    // Damaged in the middle of a session: one wrong bit in a bulk.
    let mut damaged = alone.wire();
    let bulk = content(100, 1);
    let wrong = net::checksum::crc(&bulk) ^ 1;
    queue_with(&mut damaged, ECHO, 0, 1, bulk, wrong);
    damaged.flush().expect("the node reads");
    assert!(matches!(
        damaged.receive(PATIENCE),
        Err(refused!(Refusal::Malformed(_)))
    ));
    ask(&mut good, ECHO, 0, content(128, 1));
    alone.stop();
}

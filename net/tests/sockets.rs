//! The portable transport and the client over real loopback sockets, on ports the kernel chooses.
//!
//! Nothing here depends on how long things take: loops go on until a fact is there, and give up after many turns.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use net::checksum::crc;
use net::client::{ClientConnection, ClientError, ClientOptions};
use net::config::{ConfigError, TransportConfig};
use net::frame::{Codec, FrameError, Header, Kind};
use net::handshake::Hello;
use net::limits::{FrameLimits, MIB, READ_BYTES};
use net::outbound::Outbound;
use net::refusal::Refusal;
use net::request::{ReplyHead, RequestHead, Status};
use net::session::SessionError;
use net::transport::tcp::{TcpError, TcpTransport};
use net::transport::{ConnectionId, Event, Outgoing, Remote, SendError, Transport};

use crate::world::{CLUSTER, bulk, check_envelope, config, echo, envelope};

const TURNS_MAX: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(100);

#[expect(
    clippy::disallowed_methods,
    reason = "sockets live in real time; the stamps are not asserted"
)]
fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    Instant::now().duration_since(*start).as_nanos() as u64
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("it listens");
    (listener, address)
}

/// The nodes of a cluster on loopback, turned by one thread.
struct Nodes {
    transports: Vec<TcpTransport>,
    events: Vec<(usize, Event)>,
}

impl Nodes {
    fn start(nodes: u32, change: impl Fn(&mut TransportConfig)) -> Nodes {
        let doors: Vec<_> = (0..nodes).map(|_| listen()).collect();
        let addresses: Vec<_> = doors.iter().map(|door| door.1).collect();
        let start = |(node, (listener, address)): (u32, (TcpListener, SocketAddr))| {
            let mut config = TransportConfig {
                listen: address,
                ..config(node, nodes)
            };
            config
                .peers
                .iter_mut()
                .for_each(|peer| peer.1 = addresses[peer.0 as usize - 1]);
            // Slow machines are no part of these tests.
            config.limits.handshake_timeout_ns = PATIENCE.as_nanos() as u64;
            change(&mut config);
            TcpTransport::on(listener, config, clock).expect("a good configuration")
        };
        Nodes {
            transports: (1..).zip(doors).map(start).collect(),
            events: Vec::new(),
        }
    }

    /// One turn of all nodes.
    fn turn(&mut self) {
        for (at, transport) in self.transports.iter_mut().enumerate() {
            transport.flush();
            transport
                .wait(Some(Duration::from_millis(1)))
                .expect("polling works");
            let mut events = Vec::new();
            transport.poll(&mut events);
            self.events
                .extend(events.into_iter().map(|event| (at, event)));
        }
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Nodes) -> bool) {
        for _ in 0..TURNS_MAX {
            if is_so(self) {
                return;
            }
            self.turn();
        }
        panic!("never happened: {what}");
    }

    fn peer(&self, at: usize, node: u32) -> Option<ConnectionId> {
        self.transports[at].endpoint().peer(node)
    }
}

/// Runs a node that echoes requests while `client` talks to it from another thread; answers the node.
fn serve<T: Send>(
    change: impl Fn(&mut TransportConfig),
    client: impl FnOnce(SocketAddr) -> T + Send,
) -> (T, TcpTransport) {
    let mut nodes = Nodes::start(1, change);
    let address = nodes.transports[0].local_addr();
    let waker = nodes.transports[0].waker();
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let result = client(address);
            waker.wake().expect("the transport is there");
            result
        });
        // A client that does not read its replies gets no more until it does.
        let mut unanswered = VecDeque::new();
        while !thread.is_finished() {
            nodes.turn();
            for (_, event) in std::mem::take(&mut nodes.events) {
                if let Event::Received(id, frame) = event {
                    unanswered.push_back((id, frame));
                }
            }
            while let Some((id, frame)) = unanswered.pop_front() {
                if echo(&mut nodes.transports[0], id, &frame) == Err(SendError::Busy) {
                    unanswered.push_front((id, frame));
                    break;
                }
            }
        }
        thread.join().expect("the client's asserts hold")
    });
    (result, nodes.transports.remove(0))
}

fn connect(address: SocketAddr) -> ClientConnection {
    ClientConnection::connect(address, CLUSTER, PATIENCE).expect("the node answers")
}

#[test]
fn frames_of_all_sizes_go_both_ways_between_three_nodes() {
    for codec in [Codec::None, Codec::Lz4] {
        let mut nodes = Nodes::start(3, |config| config.codec = codec);
        nodes.until("all open", |nodes| {
            (0..3).all(|at| {
                (1..=3)
                    .filter(|&node| nodes.peer(at, node).is_some())
                    .count()
                    == 2
            })
        });
        nodes.events.clear();
        let sizes = [0, 100, 5000, 65_400, 300_000, MIB, 3 * MIB];
        let mut sent = 0;
        for (at, to) in [(0, 2), (1, 1), (2, 1), (2, 2), (0, 3), (1, 3)] {
            for (sequence, size) in (1..).zip(sizes) {
                let connection = nodes.peer(at, to).expect("open");
                let frame = Outgoing {
                    token: sequence,
                    ..envelope(sequence, size)
                };
                assert_eq!(nodes.transports[at].send(connection, frame), Ok(()));
                sent += 1;
            }
        }
        let mut newest = [[0; 3]; 3];
        let (mut received, mut left) = (0, 0);
        nodes.until("all arrived", |nodes| {
            for (at, event) in std::mem::take(&mut nodes.events) {
                match event {
                    Event::Received(id, frame) => {
                        let from = (1..=3)
                            .find(|&node| nodes.peer(at, node) == Some(id))
                            .expect("still open");
                        let sequence = check_envelope(&frame);
                        assert_eq!(sequence, newest[at][from as usize - 1] + 1);
                        newest[at][from as usize - 1] = sequence;
                        assert!(frame.began_at <= frame.arrived_at);
                        received += 1;
                    }
                    Event::Sent(_, token, _) => {
                        assert!((1..=7).contains(&token));
                        left += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            received == sent && left == sent
        });
        let written: u64 = nodes
            .transports
            .iter()
            .map(|node| node.counters().bytes_written)
            .sum();
        let plain = 6 * sizes.iter().sum::<usize>() as u64;
        assert_eq!(
            written < plain,
            codec == Codec::Lz4,
            "{written} bytes for {plain}"
        );
    }
}

#[test]
fn a_client_is_answered_blocking_and_polling() {
    let ((), node) = serve(
        |_| (),
        |address| {
            let mut client = connect(address);
            assert_eq!((client.welcome().node, client.welcome().cores), (1, 1));
            for (id, len) in [(1, 0), (2, 128), (3, 8190 * 128)] {
                let bulk = bulk(id, len);
                let head = RequestHead {
                    id,
                    group: 9,
                    sent_at: clock(),
                    ..RequestHead::default()
                };
                client
                    .send(&head, std::slice::from_ref(&bulk), crc(&bulk))
                    .expect("room");
                let frame = client.receive(PATIENCE).expect("an answer");
                let reply = ReplyHead::decode(&frame.head).expect("a reply");
                assert_eq!((reply.id, reply.group, reply.status), (id, 9, Status::Ok));
                assert_eq!(frame.bulk, bulk);
            }
            let nothing = client.receive(Duration::from_millis(1));
            assert!(matches!(nothing, Err(ClientError::TimedOut)), "{nothing:?}");
            client.set_nonblocking(true).expect("a socket can");
            assert!(client.as_raw_fd() >= 0);
            assert!(matches!(client.try_receive(), Ok(None)));
            let bulk = bulk(1, 700_000);
            let (mut sent, mut received) = (0, 0);
            while received < 20 {
                if sent < 20 {
                    let head = RequestHead {
                        id: sent,
                        ..RequestHead::default()
                    };
                    match client.try_send(&head, std::slice::from_ref(&bulk), crc(&bulk)) {
                        Ok(()) => sent += 1,
                        Err(ClientError::Busy) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                client.try_flush().expect("the node is there");
                while let Some(frame) = client.try_receive().expect("the node is there") {
                    assert_eq!(
                        ReplyHead::decode(&frame.head).expect("a reply").id,
                        received
                    );
                    received += 1;
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        },
    );
    assert_eq!(
        (
            node.counters().clients_opened,
            node.counters().frames_received
        ),
        (1, 23)
    );
}

#[test]
fn packed_bulk_travels_both_ways_where_the_client_wishes_it() {
    let ((), node) = serve(
        |_| (),
        |address| {
            let options = ClientOptions {
                codec: Codec::Lz4,
                clock,
                ..ClientOptions::new(CLUSTER)
            };
            let mut client =
                ClientConnection::connect_with(address, options).expect("the node answers");
            let bulk = bulk(1, MIB);
            client
                .send(
                    &RequestHead::default(),
                    std::slice::from_ref(&bulk),
                    crc(&bulk),
                )
                .expect("room");
            let frame = client.receive(PATIENCE).expect("an answer");
            assert_eq!(frame.bulk, bulk);
            assert!(frame.arrived_at > 0);
        },
    );
    assert!(
        node.counters().bytes_received < MIB as u64 / 2
            && node.counters().bytes_written < MIB as u64 / 2
    );
}

#[test]
fn a_client_of_another_cluster_learns_why() {
    let ((), node) = serve(
        |_| (),
        |address| {
            let error =
                ClientConnection::connect(address, 5, PATIENCE).expect_err("another cluster");
            let expected = SessionError::ToldOff(Refusal::WrongCluster(CLUSTER));
            assert!(
                matches!(error, ClientError::Session(told) if told == expected),
                "{error}"
            );
        },
    );
    assert_eq!(node.counters().refused_for(Refusal::WrongCluster(0)), 1);
}

#[test]
fn nonsense_lies_and_damage_end_a_connection_with_a_word() {
    let greeting = || bytes_of(Hello::from_client(CLUSTER, Codec::None).encode());
    let bulk = bulk(1, 5000);
    let request = bytes_of(Outgoing {
        kind: Kind::REQUEST,
        head: RequestHead::default().encode().to_vec(),
        bulk_crc: crc(&bulk),
        bulk: vec![bulk],
        token: 0,
    });
    let with = |at: usize| {
        let mut bytes = request.clone();
        bytes[at] ^= 0x10;
        [greeting(), bytes].concat()
    };
    let huge = Header {
        version: 1,
        kind: Kind::REQUEST,
        codec: Codec::None,
        cluster: CLUSTER,
        head_len: 64,
        bulk_len: u32::MAX,
        raw_bulk_len: u32::MAX,
        bulk_crc: 0,
        head_crc: 0,
    };
    let malformed = |error: FrameError| Refusal::Malformed(error.number().into());
    let cases = [
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html, */*\r\n\r\n      ".to_vec(),
            malformed(FrameError::NotAFrame),
        ),
        (with(20), malformed(FrameError::HeaderChecksum)),
        (with(70), malformed(FrameError::HeadChecksum)),
        (with(3000), malformed(FrameError::BulkChecksum)),
        (
            [greeting(), huge.encode().to_vec()].concat(),
            malformed(FrameError::BulkTooLong(0)),
        ),
        (
            [greeting(), bytes_of(envelope(1, 1))].concat(),
            Refusal::Malformed(0),
        ),
    ];
    let refusals = cases.clone().map(|case| case.1);
    let ((), node) = serve(
        |_| (),
        move |address| {
            for (bytes, refusal) in cases {
                let mut stream = TcpStream::connect(address).expect("the node listens");
                stream.write_all(&bytes).expect("the node reads");
                let mut answer = Vec::new();
                stream
                    .read_to_end(&mut answer)
                    .expect("it ends in order, not with a reset");
                let goodbye = &answer[answer.len() - 80..];
                assert_eq!(Refusal::decode(&goodbye[64..]), Ok(refusal));
            }
        },
    );
    assert_eq!(node.counters().damaged.iter().sum::<u64>(), 5);
    assert_eq!(node.counters().damaged_by(FrameError::BulkChecksum), 1);
    assert_eq!(node.counters().refused_for(refusals[5]), 1);
    assert_eq!(node.counters().frames_received, 0);
}

fn bytes_of(frame: Outgoing) -> Vec<u8> {
    let mut outbound = Outbound::new(CLUSTER, FrameLimits::PEER, MIB, 1);
    outbound.push(frame).expect("room");
    let mut bytes = Vec::new();
    while !outbound.is_empty() {
        let chunk = outbound.next_chunk();
        bytes.extend_from_slice(chunk);
        outbound.wrote(chunk.len());
    }
    bytes
}

#[test]
fn a_flood_of_connections_is_turned_away_and_peers_are_heard() {
    let mut nodes = Nodes::start(2, |config| {
        // On loopback all have the peers' address, so that only the bound of all strangers is felt.
        config.limits.clients_max = 4;
        config.limits.handshakes_max = 6;
    });
    nodes.until("the pair is open", |nodes| {
        nodes.peer(0, 2).is_some() && nodes.peer(1, 1).is_some()
    });
    nodes.events.clear();
    let address = nodes.transports[0].local_addr();
    let flood: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(address).expect("the backlog takes it"))
        .collect();
    let full = Refusal::TooManyConnections(0);
    nodes.until("most are refused", |nodes| {
        nodes.transports[0].counters().refused_for(full) == 94
    });
    let house = nodes.transports[0].endpoint().house().clone();
    assert_eq!(
        house.client_pool.bytes_allocated(),
        READ_BYTES,
        "silence costs no buffer"
    );
    let connection = nodes.peer(0, 2).expect("still open");
    assert_eq!(
        nodes.transports[0].send(connection, envelope(1, MIB)),
        Ok(())
    );
    nodes.until("the peer hears us", |nodes| {
        nodes
            .events
            .iter()
            .any(|(at, event)| *at == 1 && matches!(event, Event::Received(..)))
    });
    drop(flood);
    nodes.until("clients fit again", |nodes| {
        // A refused one is told, or cut off with its HELLO unread: both are ends.
        let hello = bytes_of(Hello::from_client(CLUSTER, Codec::None).encode());
        let mut stream = TcpStream::connect(address).expect("the backlog takes it");
        let _ = stream.write_all(&hello);
        nodes.turn();
        nodes.turn();
        nodes.transports[0].endpoint().clients() == 1
    });
}

#[test]
fn a_client_that_does_not_read_is_bounded_and_others_are_served() {
    let mut nodes = Nodes::start(1, |_| ());
    let address = nodes.transports[0].local_addr();
    let mut deaf = TcpStream::connect(address).expect("the node listens");
    deaf.write_all(&bytes_of(Hello::from_client(CLUSTER, Codec::None).encode()))
        .expect("the node reads");
    let opened = |nodes: &mut Nodes| {
        nodes.events.drain(..).find_map(|(_, event)| match event {
            Event::Opened(id, Remote::Client) => Some(id),
            _ => None,
        })
    };
    let mut id = None;
    nodes.until("it is there", |nodes| {
        id = id.or(opened(nodes));
        id.is_some()
    });
    let id = id.expect("found above");
    let reply = |len| {
        let bulk = bulk(1, len);
        let head = RequestHead::default().reply(Status::Ok).encode().to_vec();
        Outgoing {
            kind: Kind::REPLY,
            head,
            bulk_crc: crc(&bulk),
            bulk: vec![bulk],
            token: 1,
        }
    };
    let mut taken = 0u64;
    nodes.until("its queue is full", |nodes| {
        let answer = nodes.transports[0].send(id, reply(MIB / 2));
        taken += u64::from(answer.is_ok());
        assert!(
            taken < 200,
            "the kernel and the queue take this much at most"
        );
        answer == Err(SendError::Busy)
    });
    assert!(nodes.transports[0].counters().busy > 0);
    // Another one is served meanwhile; then the deaf one hears all of it, unharmed.
    let other = std::thread::spawn(move || {
        let mut client = connect(address);
        client.send(&RequestHead::default(), &[], 0).expect("room");
        client
            .receive(PATIENCE)
            .map(|frame| frame.kind)
            .expect("an answer")
    });
    nodes.until("the other is served", |nodes| {
        for (_, event) in std::mem::take(&mut nodes.events) {
            if let Event::Received(id, frame) = event {
                echo(&mut nodes.transports[0], id, &frame).expect("room");
            }
        }
        other.is_finished()
    });
    assert_eq!(other.join().expect("it was served"), Kind::REPLY);
    let frame_bytes = 64 + 64 + MIB / 2;
    let total = frame_bytes * taken as usize + 64 + 48;
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; total];
        deaf.read_exact(&mut bytes).map(|()| bytes)
    });
    nodes.until("it reads again", |_| reader.is_finished());
    let bytes = reader.join().expect("no panic").expect("all arrives");
    assert_eq!(bytes[total - MIB / 2..], bulk(1, MIB / 2));
}

#[test]
fn reading_stops_when_buffers_are_held_and_goes_on_when_they_are_dropped() {
    let mut nodes = Nodes::start(2, |config| {
        config.limits.peer_pool_bytes_max = 4 * MIB;
        config.limits.poll_bytes_max = MIB;
    });
    nodes.until("the pair is open", |nodes| {
        nodes.peer(0, 2).is_some() && nodes.peer(1, 1).is_some()
    });
    let connection = nodes.peer(0, 2).expect("open");
    let (mut sent, mut received, mut held) = (0, 0, Vec::new());
    nodes.until("all arrived", |nodes| {
        if sent < 40
            && nodes.transports[0]
                .send(connection, envelope(sent + 1, MIB / 2))
                .is_ok()
        {
            sent += 1;
        }
        for (_, event) in std::mem::take(&mut nodes.events) {
            if let Event::Received(_, frame) = event {
                received += 1;
                assert_eq!(check_envelope(&frame), received);
                held.push(frame);
            }
        }
        let node = nodes.transports[1].endpoint();
        assert!(node.house().peer_pool.bytes_allocated() <= 4 * MIB);
        if node.counters().starved > held.len() as u64 {
            held.clear();
        }
        received == 40
    });
    assert!(
        nodes.transports[1].counters().starved > 0,
        "the bound was felt"
    );
}

#[test]
fn a_peer_that_restarts_on_its_port_is_found_again() {
    let mut nodes = Nodes::start(2, |_| ());
    nodes.until("the pair is open", |nodes| {
        nodes.peer(0, 2).is_some() && nodes.peer(1, 1).is_some()
    });
    let first = nodes.peer(0, 2);
    let second = nodes.transports.pop().expect("two nodes");
    let address = second.local_addr();
    let peers = vec![(1, nodes.transports[0].local_addr())];
    drop(second);
    nodes.until("it is missed", |nodes| nodes.peer(0, 2).is_none());
    let restarted = TransportConfig {
        incarnation: 201,
        listen: address,
        peers,
        ..config(2, 2)
    };
    nodes
        .transports
        .push(TcpTransport::bind(restarted, clock).expect("the port is free again"));
    nodes.events.clear();
    nodes.until("it is back", |nodes| {
        nodes.peer(0, 2).is_some() && nodes.peer(1, 1).is_some()
    });
    assert_ne!(nodes.peer(0, 2), first);
    let opened = nodes.events.iter().find_map(|(at, event)| match event {
        Event::Opened(_, remote) if *at == 0 => Some(*remote),
        _ => None,
    });
    assert_eq!(
        opened,
        Some(Remote::Peer {
            node: 2,
            incarnation: 201
        })
    );
}

#[test]
fn a_node_that_shuts_down_says_so() {
    let mut nodes = Nodes::start(1, |_| ());
    let address = nodes.transports[0].local_addr();
    let client = std::thread::spawn(move || {
        // The word may come right behind the WELCOME.
        let client = ClientConnection::connect(address, CLUSTER, PATIENCE);
        let answer = client.and_then(|mut client| client.receive(PATIENCE));
        answer.expect_err("nothing was asked")
    });
    nodes.until("the client is there", |nodes| {
        nodes.transports[0].endpoint().clients() == 1
    });
    nodes.transports[0].shut_down();
    nodes.until("all is said", |nodes| nodes.transports[0].is_quiet());
    let error = client.join().expect("no panic");
    let expected = SessionError::ToldOff(Refusal::ShuttingDown);
    assert!(
        matches!(error, ClientError::Session(told) if told == expected),
        "{error}"
    );
}

#[test]
fn a_wait_ends_when_the_waker_rings() {
    let mut nodes = Nodes::start(1, |_| ());
    let transport = &mut nodes.transports[0];
    transport.poll(&mut Vec::new());
    let waker = transport.waker();
    let ringer = std::thread::spawn(move || waker.wake());
    // Without a bell this wait would not end: there is no timeout and nothing is due.
    transport.wait(None).expect("polling works");
    ringer
        .join()
        .expect("no panic")
        .expect("the transport is there");
}

#[test]
fn transports_and_clients_may_be_moved_between_threads() {
    fn moves<T: Send>() {}
    moves::<TcpTransport>();
    moves::<ClientConnection>();
}

#[test]
fn what_cannot_be_started_says_why() {
    let (_taken, address) = listen();
    let taken = TcpTransport::bind(
        TransportConfig {
            listen: address,
            ..config(1, 1)
        },
        clock,
    );
    assert!(matches!(taken, Err(TcpError::Listen { address: at, .. }) if at == address));
    let (_, address) = listen();
    let wrong = TcpTransport::bind(
        TransportConfig {
            listen: address,
            ..config(0, 1)
        },
        clock,
    );
    assert!(matches!(
        wrong,
        Err(TcpError::Config(
            ConfigError::NodeTwice(_) | ConfigError::NodeZero
        ))
    ));
}

//! Connections in a network in memory: who opens, who is refused, what is bounded, what fate can and cannot do.

use bytes::Bytes;
use net::checksum::crc;
use net::config::{ConfigError, TransportConfig};
use net::frame::{Codec, FrameError, HEADER_CRC_AT, Header, Kind};
use net::handshake::{Hello, Identity};
use net::inspect::{InspectHead, Topic};
use net::limits::{FrameLimits, Limits, MIB};
use net::outbound::Outbound;
use net::pool::Pool;
use net::refusal::Refusal;
use net::request::{ReplyHead, RequestHead, Status};
use net::session::{Session, SessionError};
use net::transport::memory::{Link, MemoryNetwork, MemoryStream};
use net::transport::{Event, Outgoing, Remote, SendError, Transport};

use crate::world::*;

fn session() -> Session {
    Session::new(CLUSTER, Codec::None, Pool::new(Session::POOL_BYTES))
}

fn client(world: &World, number: u16) -> MemoryStream {
    world
        .network
        .connect(client_address(number), MemoryNetwork::address(1, 0))
        .expect("node 1 listens")
}

/// The bytes of frames, as a connection of `cluster` would send them.
fn stream_of(cluster: u64, frames: impl IntoIterator<Item = Outgoing>) -> Vec<u8> {
    let mut outbound = Outbound::new(cluster, FrameLimits::PEER, 64 * MIB, 1000);
    let mut bytes = Vec::new();
    for frame in frames {
        outbound.push(frame).expect("room");
        while !outbound.is_empty() {
            let chunk = outbound.next_chunk().len();
            bytes.extend_from_slice(outbound.next_chunk());
            outbound.wrote(chunk);
        }
    }
    bytes
}

/// Sends `bytes` to node 1 and answers what a client there is told.
fn told(world: &mut World, bytes: &[u8]) -> (Option<SessionError>, bool) {
    let mut stream = client(world, 99);
    let mut written = stream.write(bytes);
    // A session that says nothing itself.
    let mut session = session();
    let hello = session.outbound.bytes_queued();
    session.outbound.wrote(hello);
    let mut answer = None;
    for _ in 0..100 {
        world.step(MILLISECOND);
        written += stream.write(&bytes[written..]);
        match stream.drive(&mut session, &mut Vec::new()) {
            Ok(true) => {}
            Ok(false) => return (answer, true),
            Err(error) => answer = Some(error),
        }
        if answer.is_some() {
            return (
                answer,
                stream.read(&mut [0; 10]).is_none_or(|count| count == 0),
            );
        }
    }
    (answer, false)
}

#[test]
fn a_pair_has_one_connection_and_frames_go_both_ways() {
    let mut world = World::new(1, 3);
    world.run(10 * MILLISECOND);
    assert_eq!(world.story(1), ["opened 2 of 200", "opened 3 of 300"]);
    assert_eq!(world.story(2), ["opened 1 of 100", "opened 3 of 300"]);
    assert_eq!(world.story(3), ["opened 1 of 100", "opened 2 of 200"]);
    for (from, to, sequence) in [(1, 2, 1), (2, 1, 2), (3, 1, 3), (1, 3, 4)] {
        let connection = world.node(from).endpoint().peer(to).expect("open");
        let token = sequence + 10;
        let sent = world.node(from).send(
            connection,
            Outgoing {
                token,
                ..envelope(sequence, 100_000)
            },
        );
        assert_eq!(sent, Ok(()));
    }
    world.run(10 * MILLISECOND);
    let sorted = |mut story: Vec<String>| {
        story.sort();
        story
    };
    assert_eq!(
        sorted(world.story(1)),
        ["received 2", "received 3", "sent 11", "sent 14"]
    );
    assert_eq!(sorted(world.story(2)), ["received 1", "sent 12"]);
    assert_eq!(sorted(world.story(3)), ["received 4", "sent 13"]);
}

/// Random traffic over bad links. Whatever arrives is what was sent, in order, and after each reopening a later part.
fn traffic(seed: u64, link: Link, codec: Codec) -> (Vec<String>, u64) {
    let mut world = World::new(seed, 0);
    world.network.set_links(link);
    for node in 1..=3 {
        let config = TransportConfig {
            codec,
            ..config(node, 3)
        };
        world.nodes.push(Some(
            world.network.join(config).expect("a good configuration"),
        ));
    }
    let mut story = Vec::new();
    let mut newest = [[0u64; 4]; 4];
    let mut sequence = 0;
    for round in 0..300 {
        for from in 1..=3 {
            for to in (1..=3).filter(|&to| to != from) {
                let Some(connection) = world.node(from).endpoint().peer(to) else {
                    continue;
                };
                sequence += 1;
                let len = [0, 10, 5000, 70_000, 300_000][(sequence * 7 + round) as usize % 5];
                match world.node(from).send(connection, envelope(sequence, len)) {
                    Ok(()) | Err(SendError::Busy) => {}
                    Err(SendError::Closed) => panic!("an open connection takes frames"),
                }
            }
        }
        world.step(MILLISECOND);
        for (node, event) in std::mem::take(&mut world.log) {
            match event {
                Event::Received(id, frame) => {
                    let sequence = check_envelope(&frame);
                    let from =
                        (1..=3).find(|&peer| world.node(node).endpoint().peer(peer) == Some(id));
                    if let Some(from) = from {
                        let newest = &mut newest[node as usize][from as usize];
                        assert!(*newest < sequence, "order is kept");
                        *newest = sequence;
                    }
                    story.push(format!("{round} {node} {sequence}"));
                }
                Event::Opened(..) => story.push(format!("{round} {node} opened")),
                Event::Closed(_) => story.push(format!("{round} {node} closed")),
                Event::Sent(..) => {}
            }
        }
    }
    let damaged = |node: usize| {
        world.nodes[node]
            .as_ref()
            .expect("runs")
            .endpoint()
            .counters()
            .damaged
            .iter()
            .sum::<u64>()
    };
    (story, (0..3).map(damaged).sum())
}

#[test]
fn over_good_links_everything_arrives() {
    let link = Link {
        delay_ns: 3 * MILLISECOND,
        jitter_ns: 4 * MILLISECOND,
        chunk_bytes_max: 1009,
        ..Link::default()
    };
    for codec in [Codec::None, Codec::Lz4] {
        let (story, damaged) = traffic(5, link, codec);
        assert_eq!(
            story.iter().filter(|line| line.ends_with("opened")).count(),
            6
        );
        assert!(story.iter().all(|line| !line.ends_with("closed")));
        assert!(story.len() > 500, "{} frames", story.len());
        assert_eq!(damaged, 0);
    }
}

#[test]
fn flipped_bits_are_found_and_connections_come_back() {
    let link = Link {
        delay_ns: MILLISECOND,
        flip_one_in: 200,
        chunk_bytes_max: 5000,
        ..Link::default()
    };
    let (story, damaged) = traffic(6, link, Codec::None);
    assert!(damaged > 5, "{damaged} streams were damaged");
    assert!(story.iter().filter(|line| line.ends_with("opened")).count() > 10);
}

#[test]
fn torn_connections_come_back() {
    let link = Link {
        delay_ns: MILLISECOND,
        tear_one_in: 300,
        ..Link::default()
    };
    let (story, damaged) = traffic(7, link, Codec::None);
    assert_eq!(damaged, 0);
    assert!(story.iter().filter(|line| line.ends_with("opened")).count() > 10);
}

#[test]
fn one_seed_one_story() {
    let link = Link {
        jitter_ns: 5 * MILLISECOND,
        flip_one_in: 300,
        tear_one_in: 300,
        ..Link::default()
    };
    let stories = [8, 8, 9].map(|seed| traffic(seed, link, Codec::None));
    assert_eq!(stories[0], stories[1]);
    assert_ne!(stories[0], stories[2]);
}

#[test]
fn nodes_that_do_not_belong_together_tell_each_other_why() {
    let check = |change: &dyn Fn(&mut TransportConfig), refusal: Refusal| {
        let mut world = World::new(1, 0);
        let mut second = config(2, 2);
        change(&mut second);
        for config in [config(1, 2), second] {
            world.nodes.push(Some(
                world.network.join(config).expect("a good configuration"),
            ));
        }
        world.run(100 * MILLISECOND);
        assert!(world.log.is_empty(), "{refusal:?}: nothing opened");
        assert!(
            world.node(2).endpoint().counters().refused_for(refusal) > 0,
            "{refusal:?}: refused"
        );
        assert!(
            world.node(1).endpoint().counters().told_for(refusal) > 0,
            "{refusal:?}: told"
        );
        let report = world
            .node(1)
            .endpoint()
            .peer_reports()
            .next()
            .expect("node 1 dials node 2");
        assert_eq!(report.refusal, Some(refusal));
        assert!(report.failures > 1, "it goes on trying");
    };
    check(&|config| config.cluster = 9, Refusal::WrongCluster(9));
    check(
        &|config| config.layout_digest = 9,
        Refusal::LayoutDiffers(9),
    );
    check(
        &|config| config.cores = 2,
        Refusal::WrongCore { core: 0, cores: 2 },
    );
    check(&|config| config.node = 3, Refusal::NotExpected(3));
    check(&|config| config.peers[0].0 = 4, Refusal::UnknownNode(1));
    check(
        &|config| (config.node, config.peers[0].0) = (1, 2),
        Refusal::SelfConnection,
    );
}

#[test]
fn streams_of_nonsense_are_told_what_is_wrong() {
    let mut world = World::new(1, 1);
    let hello = Hello::from_client(CLUSTER, Codec::None);
    let greeting = stream_of(CLUSTER, [hello.encode()]);
    let mut forged = |at: usize, value: u8, refusal| {
        let mut bytes = greeting.clone();
        bytes[at] = value;
        let sum = crc(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..64].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(
            told(&mut world, &bytes),
            (Some(SessionError::ToldOff(refusal)), true),
            "byte {at}"
        );
    };
    forged(4, 7, Refusal::UnknownVersion { min: 1, max: 1 });
    forged(
        26,
        1,
        Refusal::Malformed(FrameError::HeadTooLong(0).number().into()),
    );
    forged(
        30,
        1,
        Refusal::Malformed(FrameError::BulkTooLong(0).number().into()),
    );
    forged(6, Kind::REQUEST, Refusal::Malformed(0));
    forged(6, Kind::WELCOME, Refusal::Malformed(0));
    let mut check = |bytes: &[u8], refusal| {
        assert_eq!(
            told(&mut world, bytes),
            (Some(SessionError::ToldOff(refusal)), true)
        );
    };
    check(
        &[b'G'; 64],
        Refusal::Malformed(FrameError::NotAFrame.number().into()),
    );
    let mut damaged = greeting.clone();
    damaged[70] ^= 1;
    check(
        &damaged,
        Refusal::Malformed(FrameError::HeadChecksum.number().into()),
    );
    let versions = Hello {
        version_min: 5,
        version_max: 6,
        ..hello
    };
    check(
        &stream_of(CLUSTER, [versions.encode()]),
        Refusal::UnknownVersion { min: 1, max: 1 },
    );
    let elsewhere = Hello {
        cluster: 5,
        ..hello
    };
    check(
        &stream_of(5, [elsewhere.encode()]),
        Refusal::WrongCluster(CLUSTER),
    );
    assert!(world.log.is_empty(), "nobody opened");
    // Opened, and then out of order.
    let wrong = [
        (stream_of(CLUSTER, [envelope(1, 10)]), Refusal::Malformed(0)),
        (stream_of(CLUSTER, [hello.encode()]), Refusal::Malformed(0)),
        (
            stream_of(6, [envelope(1, 10)]),
            Refusal::WrongCluster(CLUSTER),
        ),
        (
            stream_of(CLUSTER, [envelope(1, MIB + 1)]),
            Refusal::Malformed(FrameError::BulkTooLong(0).number().into()),
        ),
    ];
    for (bytes, refusal) in wrong {
        let answer = told(&mut world, &[greeting.clone(), bytes].concat());
        assert_eq!(answer, (Some(SessionError::ToldOff(refusal)), true));
    }
    assert_eq!(world.story(1), ["opened a client", "closed"].repeat(4));
    assert_eq!(
        world
            .node(1)
            .endpoint()
            .counters()
            .damaged_by(FrameError::NotAFrame),
        1
    );
}

#[test]
fn a_client_asks_and_is_answered() {
    let mut world = World::new(1, 1);
    let (mut stream, mut session, mut frames) = (client(&world, 1), session(), Vec::new());
    let head = RequestHead {
        id: 7,
        group: 3,
        operation: 4,
        sent_at: 99,
        ..RequestHead::default()
    };
    assert_eq!(
        session.request(&head, &[], 0),
        Err(SendError::Closed),
        "not before the WELCOME"
    );
    while session.welcome().is_none() {
        assert_eq!(stream.drive(&mut session, &mut frames), Ok(true));
        world.step(MILLISECOND);
    }
    let bulk = bulk(1, 8190 * 128);
    session
        .request(&head, &[bulk.slice(..5000), bulk.slice(5000..)], crc(&bulk))
        .expect("room");
    session
        .inspect(&InspectHead {
            id: 8,
            topic: Topic::Status,
            argument: 0,
        })
        .expect("room");
    while frames.is_empty() {
        assert_eq!(stream.drive(&mut session, &mut frames), Ok(true));
        world.step(MILLISECOND);
        for (_, event) in std::mem::take(&mut world.log) {
            match event {
                Event::Received(id, frame) if frame.kind == Kind::REQUEST => {
                    echo(world.node(1), id, &frame).expect("room")
                }
                Event::Received(_, frame) => {
                    assert_eq!(frame.kind, Kind::INSPECT);
                    assert_eq!(InspectHead::decode(&frame.head).map(|head| head.id), Ok(8));
                }
                _ => {}
            }
        }
    }
    let reply = ReplyHead::decode(&frames[0].head).expect("a reply");
    assert_eq!(
        (reply.id, reply.group, reply.status, reply.sent_at),
        (7, 3, Status::Ok, 99)
    );
    assert_eq!(frames[0].bulk, bulk);
}

#[test]
fn a_full_house_turns_clients_away_and_peers_still_come_in() {
    let mut world = World::new(1, 2);
    world.nodes[1] = None;
    world.run(5 * MILLISECOND);
    let mut guests = Vec::new();
    for number in 0..20 {
        let mut guest = (client(&world, number), session());
        assert_eq!(guest.0.drive(&mut guest.1, &mut Vec::new()), Ok(true));
        guests.push(guest);
        world.step(MILLISECOND);
    }
    let mut refused = 0;
    for _ in 0..200 {
        guests.retain_mut(
            |(stream, session)| match stream.drive(session, &mut Vec::new()) {
                Ok(true) => true,
                Ok(false) => panic!("turned away without a word"),
                Err(SessionError::ToldOff(Refusal::TooManyConnections(_))) => {
                    refused += 1;
                    false
                }
                Err(other) => panic!("{other}"),
            },
        );
        world.step(MILLISECOND);
    }
    assert_eq!((guests.len(), refused), (8, 12));
    assert_eq!(world.node(1).endpoint().clients(), 8);
    // Strangers that never shake hands take half of the places for strangers; the peer gets in.
    let _silent: Vec<_> = (0..10).map(|number| client(&world, 100 + number)).collect();
    world.step(MILLISECOND);
    let peer = Identity {
        cluster: CLUSTER,
        node: 2,
        core: 0,
        cores: 1,
        incarnation: 1,
        layout_digest: 0xD1,
        codec: Codec::None,
    };
    assert!(
        Hello::from_peer(&peer, 1)
            .answer(&Identity { node: 1, ..peer }, |_| true)
            .is_err(),
        "2 does not dial 1"
    );
    world.nodes[1] = Some(
        world
            .network
            .join(config(2, 2))
            .expect("a good configuration"),
    );
    world.run(3 * SECOND);
    assert!(world.node(1).endpoint().peer(2).is_some());
    // Room again when a client goes.
    guests.truncate(7);
    world.run(3 * SECOND);
    let mut late = (client(&world, 50), session());
    while late.1.welcome().is_none() {
        assert_eq!(late.0.drive(&mut late.1, &mut Vec::new()), Ok(true));
        world.step(MILLISECOND);
    }
}

#[test]
fn a_peer_that_does_not_read_makes_us_busy_and_is_given_up() {
    let mut world = World::new(1, 2);
    world.run(5 * MILLISECOND);
    let connection = world.node(1).endpoint().peer(2).expect("open");
    let (one, two) = (MemoryNetwork::address(1, 0), MemoryNetwork::address(2, 0));
    world.network.cut(one, two);
    let frame = envelope(1, MIB);
    let mut taken = 0;
    while world.node(1).send(connection, frame.clone()) == Ok(()) {
        taken += 1;
        world.step(MILLISECOND);
    }
    assert_eq!(taken, 8, "one in flight, seven in a queue of 8 MiB");
    assert_eq!(world.node(1).send(connection, frame), Err(SendError::Busy));
    assert_eq!(world.node(1).endpoint().counters().busy, 2);
    world.network.heal(one, two);
    world.run(100 * MILLISECOND);
    assert_eq!(world.story(2)[1..], ["received 1"; 8]);
    // And if it never reads again, the connection is given up.
    world.network.cut(one, two);
    world
        .node(1)
        .send(connection, envelope(2, 2 * MIB))
        .expect("room");
    world.run(31 * SECOND);
    assert_eq!(
        world
            .node(1)
            .endpoint()
            .counters()
            .refused_for(Refusal::TooSlow),
        1
    );
    assert_eq!(world.node(1).endpoint().peer(2), None);
    world.network.heal(one, two);
    world.run(5 * SECOND);
    assert!(world.node(1).endpoint().peer(2).is_some());
}

#[test]
fn whoever_stops_in_the_middle_is_ended() {
    let mut world = World::new(1, 1);
    let greeting = stream_of(CLUSTER, [Hello::from_client(CLUSTER, Codec::None).encode()]);
    let request = Outgoing {
        kind: Kind::REQUEST,
        head: vec![0; 64],
        ..Outgoing::default()
    };
    let half = stream_of(CLUSTER, [request])[..100].to_vec();
    let (mut silent, mut slow, mut idle) =
        (client(&world, 1), client(&world, 2), client(&world, 3));
    silent.write(&greeting[..30]);
    slow.write(&[greeting.clone(), half].concat());
    idle.write(&greeting);
    world.run(SECOND);
    assert_eq!(world.story(1), ["opened a client", "opened a client"]);
    world.run(3 * SECOND);
    assert_eq!(
        world
            .node(1)
            .endpoint()
            .counters()
            .refused_for(Refusal::TooSlow),
        1,
        "no handshake in time"
    );
    world.run(40 * SECOND);
    assert_eq!(
        world
            .node(1)
            .endpoint()
            .counters()
            .refused_for(Refusal::TooSlow),
        2,
        "no frame in time"
    );
    assert_eq!(world.story(1), ["closed"]);
    assert_eq!(
        world.node(1).endpoint().clients(),
        1,
        "whoever is merely idle stays"
    );
    drop((silent, slow, idle));
    world.run(SECOND);
    assert_eq!(world.node(1).endpoint().clients(), 0);
}

#[test]
fn a_peer_that_cannot_be_reached_is_dialled_again_and_again() {
    let mut world = World::new(1, 0);
    let (one, two) = (MemoryNetwork::address(1, 0), MemoryNetwork::address(2, 0));
    world.network.cut(one, two);
    for node in [1, 2] {
        world.nodes.push(Some(
            world
                .network
                .join(config(node, 2))
                .expect("a good configuration"),
        ));
    }
    world.run(20 * SECOND);
    let dialled = world.node(1).endpoint().counters().dialled;
    assert!(
        (5..=10).contains(&dialled),
        "a dial each timeout and pause: {}",
        dialled
    );
    let report = world
        .node(1)
        .endpoint()
        .peer_reports()
        .next()
        .expect("node 1 dials node 2");
    assert_eq!(
        (u64::from(report.failures) + 1, report.refusal),
        (dialled, Some(Refusal::TooSlow))
    );
    assert_eq!(world.story(1), [""; 0]);
    world.network.heal(one, two);
    world.run(5 * SECOND);
    assert_eq!(world.story(1), ["opened 2 of 200"]);
    let report = world
        .node(1)
        .endpoint()
        .peer_reports()
        .next()
        .expect("node 1 dials node 2");
    assert_eq!((report.failures, report.refusal), (0, None));
}

#[test]
fn a_restarted_peer_shows_a_new_incarnation() {
    let mut world = World::new(1, 2);
    world.run(10 * MILLISECOND);
    world.nodes[0] = None;
    world.run(10 * MILLISECOND);
    assert_eq!(world.story(2), ["opened 1 of 100", "closed"]);
    let config = TransportConfig {
        incarnation: 101,
        ..config(1, 2)
    };
    world.nodes[0] = Some(world.network.join(config).expect("a good configuration"));
    world.run(10 * MILLISECOND);
    assert_eq!(world.story(2), ["opened 1 of 101"]);
    // The one that is dialled restarts: the dialer comes back by itself.
    world.nodes[1] = None;
    world.run(SECOND);
    world.nodes[1] = Some(
        world
            .network
            .join(crate::world::config(2, 2))
            .expect("a good configuration"),
    );
    world.run(2 * SECOND);
    assert_eq!(
        world.story(1).last().map(String::as_str),
        Some("opened 2 of 200")
    );
}

#[test]
fn a_newer_connection_of_a_peer_takes_the_place() {
    let mut world = World::new(1, 0);
    world.nodes.push(Some(
        world
            .network
            .join(config(2, 2))
            .expect("a good configuration"),
    ));
    let to = MemoryNetwork::address(2, 0);
    let first = Identity {
        cluster: CLUSTER,
        node: 1,
        core: 0,
        cores: 1,
        incarnation: 1,
        layout_digest: 0xD1,
        codec: Codec::None,
    };
    let mut dial = |incarnation| {
        let mut stream = world
            .network
            .connect(client_address(1), to)
            .expect("node 2 listens");
        stream.write(&stream_of(
            CLUSTER,
            [Hello::from_peer(
                &Identity {
                    incarnation,
                    ..first
                },
                2,
            )
            .encode()],
        ));
        world.step(MILLISECOND);
        world.step(MILLISECOND);
        stream
    };
    let (_older, _newer) = (dial(1), dial(2));
    assert_eq!(world.story(1), ["opened 1 of 1", "closed", "opened 1 of 2"]);
    let counters = world.nodes[0].as_ref().expect("runs").endpoint().counters();
    assert_eq!(
        (counters.refused_for(Refusal::Superseded), counters.closed),
        (1, 1)
    );
}

#[test]
fn memory_of_clients_is_bounded_and_peers_have_their_own() {
    let mut world = World::new(1, 2);
    world.run(5 * MILLISECOND);
    let (mut stream, mut session, mut held) = (client(&world, 1), session(), Vec::new());
    let bulk = bulk(1, MIB);
    for _ in 0..400 {
        assert_eq!(stream.drive(&mut session, &mut Vec::new()), Ok(true));
        if session.welcome().is_some() {
            let _ = session.request(
                &RequestHead::default(),
                std::slice::from_ref(&bulk),
                crc(&bulk),
            );
        }
        world.step(MILLISECOND);
        held.extend(std::mem::take(&mut world.log).into_iter().filter_map(
            |(_, event)| match event {
                Event::Received(_, frame) => Some(frame),
                _ => None,
            },
        ));
    }
    assert_eq!(held.len(), 3, "as many as fit into 4 MiB");
    let house = world.node(1).endpoint().house().clone();
    assert!(house.client_pool.bytes_allocated() <= 4 * MIB);
    assert!(world.node(1).endpoint().counters().starved > 0);
    let connection = world.node(2).endpoint().peer(1).expect("open");
    world
        .node(2)
        .send(connection, envelope(5, MIB))
        .expect("room");
    world.run(10 * MILLISECOND);
    assert_eq!(
        world.story(1),
        ["received 5"],
        "the peer is heard all the same"
    );
    held.clear();
    for _ in 0..20 {
        assert_eq!(stream.drive(&mut session, &mut Vec::new()), Ok(true));
        world.step(MILLISECOND);
    }
    assert!(
        world
            .log
            .iter()
            .any(|(_, event)| matches!(event, Event::Received(..))),
        "and reading goes on"
    );
}

#[test]
fn a_closed_connection_says_why_and_takes_no_more() {
    let mut world = World::new(1, 2);
    world.run(5 * MILLISECOND);
    world.log.clear();
    let connection = world.node(1).endpoint().peer(2).expect("open");
    world.node(1).close(connection);
    assert_eq!(
        world.node(1).send(connection, envelope(1, 1)),
        Err(SendError::Closed)
    );
    world.run(5 * MILLISECOND);
    assert_eq!(world.story(1), ["closed"]);
    assert_eq!(world.story(2), ["closed"]);
    assert_eq!(
        world
            .node(2)
            .endpoint()
            .counters()
            .told_for(Refusal::ShuttingDown),
        1
    );
    world.run(SECOND);
    assert_eq!(world.story(1), ["opened 2 of 200"], "and is dialled again");
    assert_ne!(
        world.node(1).endpoint().peer(2),
        Some(connection),
        "under another id"
    );
}

#[test]
fn configurations_that_cannot_work_are_named() {
    let network = MemoryNetwork::new(1);
    let check = |change: &dyn Fn(&mut TransportConfig), error| {
        let mut config = config(1, 3);
        change(&mut config);
        assert_eq!(network.join(config).err(), Some(error));
    };
    check(&|config| config.node = 0, ConfigError::NodeZero);
    check(&|config| config.node = 2, ConfigError::NodeTwice(2));
    check(&|config| config.peers[0].0 = 3, ConfigError::NodeTwice(3));
    check(
        &|config| config.core = 1,
        ConfigError::NoSuchCore { core: 1, cores: 1 },
    );
    let limits = Limits {
        clients_max: 70_000,
        ..limits()
    };
    check(
        &|config| config.limits = limits.clone(),
        ConfigError::TooManyConnections(70_014),
    );
}

#[test]
fn remotes_are_told_apart() {
    let mut world = World::new(1, 2);
    world.run(5 * MILLISECOND);
    let mut stream = client(&world, 1);
    stream.write(&stream_of(
        CLUSTER,
        [Hello::from_client(CLUSTER, Codec::None).encode()],
    ));
    world.step(MILLISECOND);
    let remotes = world.log.iter().filter_map(|(node, event)| match event {
        Event::Opened(_, remote) if *node == 1 => Some(*remote),
        _ => None,
    });
    let expected = [
        Remote::Peer {
            node: 2,
            incarnation: 200,
        },
        Remote::Client,
    ];
    assert_eq!(remotes.collect::<Vec<_>>(), expected);
    let request = Outgoing {
        kind: Kind::REQUEST,
        head: RequestHead::default().encode().to_vec(),
        bulk: vec![Bytes::from_static(b"records")],
        bulk_crc: crc(b"records"),
        token: 0,
    };
    let bytes = stream_of(CLUSTER, [request]);
    assert_eq!(
        Header::decode(
            bytes.first_chunk().expect("a header"),
            FrameLimits::CLIENT,
            CLUSTER
        )
        .map(|h| h.kind),
        Ok(4)
    );
    stream.write(&bytes);
    world.log.clear();
    world.step(MILLISECOND);
    assert!(matches!(&world.log[0].1, Event::Received(_, frame) if frame.bulk == b"records"[..]));
}

//! The TigerBeetle protocol's frames: any stream however cut, each damaged byte, and the example of the document.

use bytes::Bytes;
use net::pool::Pool;
use net::tigerbeetle::header::{BadMessage, HEADER_BYTES};
use net::tigerbeetle::message::{
    Announced, Envelope, Eviction, Message, Ping, Pong, Reason, Reply, Request,
};
use net::tigerbeetle::operation::{self, MESSAGE_BYTES_MAX, REGISTERED_BYTES};
use net::tigerbeetle::reader::{Reader, check};
use net::tigerbeetle::{Release, batches};
use proptest::prelude::*;

fn envelope(replica: u8) -> Envelope {
    Envelope {
        cluster: 7,
        view: 0,
        release: Release::MAX,
        replica,
    }
}

fn request(number: u32) -> Message {
    Message::Request(Request {
        parent: 11,
        client: 0xc11e,
        session: 3,
        timestamp: 0,
        number,
        operation: operation::CREATE_TRANSFERS,
        latency: 5,
        checksum: 0,
    })
}

/// One of each, with a body where one is due.
fn samples() -> Vec<Vec<u8>> {
    let reply = Message::Reply(Reply {
        request_checksum: 1,
        context: 2,
        client: 3,
        commit: 4,
        timestamp: 5,
        number: 0,
        operation: operation::REGISTER,
    });
    let mut body = vec![9; 256];
    batches::close(&mut body, 0, &[2], 128);
    let ping = Message::Ping(Ping {
        client: 1,
        sent_at: 2,
        session: 3,
    });
    let eviction = Message::Eviction(Eviction {
        client: 1,
        reason: Reason::NoSession,
    });
    [
        (ping, 0, vec![]),
        (Message::Pong(Pong { sent_at: 2 }), 1, vec![]),
        (request(4), 0, body),
        (reply, 2, vec![1; REGISTERED_BYTES]),
        (eviction, 2, vec![]),
    ]
    .into_iter()
    .map(|(message, replica, body)| {
        let mut bytes = message.encode(&envelope(replica), &body).to_vec();
        bytes.extend_from_slice(&body);
        bytes
    })
    .collect()
}

#[test]
fn every_message_survives_the_round_trip() {
    for bytes in samples() {
        let header = bytes.first_chunk().expect("a header");
        let announced = Announced::parse(header).expect("own bytes");
        assert_eq!(announced.body_bytes, bytes.len() - HEADER_BYTES);
        announced.prove(&bytes[HEADER_BYTES..]).expect("own body");
        for cut in [1, 100, 255, 256, 257, 4096] {
            check(&bytes, cut);
        }
    }
    let all = samples().concat();
    for cut in [1, 300, 1 << 20] {
        check(&all, cut);
    }
}

/// Reads all of `bytes`, at most `cut` at a time, and takes what is whole.
fn read(reader: &mut Reader, mut bytes: &[u8], cut: usize) -> Vec<Bytes> {
    let mut bodies = Vec::new();
    while !bytes.is_empty() {
        let space = reader.space();
        let count = space.len().min(bytes.len()).min(cut);
        space[..count].copy_from_slice(&bytes[..count]);
        reader.filled(count);
        bytes = &bytes[count..];
        while let Some(frame) = reader.next_frame().expect("it is right") {
            bodies.push(frame.body);
        }
    }
    bodies
}

#[test]
fn a_long_message_lies_in_the_pool_and_its_memory_comes_back() {
    let body = |byte: u8| Bytes::from(vec![byte; 128 * 8189]);
    let message = |number: u32, body: &Bytes| {
        let mut bytes = request(number).encode(&envelope(0), body).to_vec();
        bytes.extend_from_slice(body);
        bytes
    };
    let bodies = [body(1), Bytes::from_static(&[2; 32]), body(3), body(4)];
    let all: Vec<Vec<u8>> = (1..)
        .zip(&bodies)
        .map(|(number, body)| message(number, body))
        .collect();
    let pool = Pool::new(2 << 20);
    let mut reader = Reader::new(pool.clone());
    let came = read(&mut reader, &all.concat(), 100_000);
    assert_eq!(came, bodies);
    assert!(!reader.is_midway());
    // Room for one long message: those that follow while it is held have memory of their own.
    let held = pool.bytes_allocated();
    assert!((1 << 20..2 << 20).contains(&held));
    assert!(pool.exhausted() > 0);
    let address = came[0].as_ptr();
    drop(came);
    let again = read(&mut reader, &all[3], usize::MAX);
    assert_eq!((again[0].as_ptr(), &again[0]), (address, &bodies[3]));
    assert_eq!(pool.bytes_allocated(), held);
}

#[test]
fn no_damaged_byte_is_accepted() {
    for bytes in samples() {
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let mut reader = Reader::default();
            let mut rest = &damaged[..];
            let mut seen = Ok(None);
            while !rest.is_empty() && matches!(seen, Ok(None)) {
                let space = reader.space();
                let count = space.len().min(rest.len());
                space[..count].copy_from_slice(&rest[..count]);
                reader.filled(count);
                rest = &rest[count..];
                seen = reader.next_frame();
            }
            assert!(seen.is_err(), "byte {at} of {} was damaged", bytes.len());
        }
    }
}

/// A header whose checksum fits, with one field changed.
fn changed(at: usize, to: &[u8]) -> Result<Announced, BadMessage> {
    let mut bytes = request(1).encode(&envelope(0), &[]);
    bytes[at..at + to.len()].copy_from_slice(to);
    let checksum = net::tigerbeetle::checksum::checksum(&bytes[16..]);
    bytes[..16].copy_from_slice(&checksum.to_le_bytes());
    Announced::parse(&bytes)
}

#[test]
fn a_proven_header_may_still_be_wrong() {
    assert!(changed(96, &256_u32.to_le_bytes()).is_ok());
    for size in [0_u32, 255, MESSAGE_BYTES_MAX as u32 + 1, u32::MAX] {
        let expected = Err(BadMessage::Size(size));
        assert_eq!(changed(96, &size.to_le_bytes()), expected);
    }
    for reserved in [16, 48, 64, 100, 116, 144, 197, 204] {
        let expected = Err(BadMessage::Reserved);
        assert_eq!(changed(reserved, &[1]), expected, "byte {reserved}");
    }
    assert_eq!(changed(112, &[1]), Err(BadMessage::Protocol(1)));
    for command in [0, 1, 2, 6, 7, 9, 17, 19, 255] {
        assert_eq!(changed(114, &[command]), Err(BadMessage::Command(command)));
    }
    for (at, to) in [
        (108, &[0; 4][..]), // release
        (115, &[1]),        // replica of a client
        (160, &[0; 16]),    // client
        (176, &[0; 8]),     // session
        (192, &[0; 4]),     // number
        (196, &[127]),      // an operation of the protocol's own
        (196, &[2]),        // REGISTER with a session
    ] {
        assert_eq!(changed(at, to), Err(BadMessage::Field), "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_stream_however_cut(
        order in proptest::collection::vec(0..5_usize, 1..6),
        damage in proptest::option::of((any::<prop::sample::Index>(), 1..=255_u8)),
        cut in 1..5000_usize,
    ) {
        let samples = samples();
        let mut stream: Vec<u8> = order.iter().flat_map(|&at| samples[at].clone()).collect();
        if let Some((at, by)) = damage {
            let at = at.index(stream.len());
            stream[at] ^= by;
        }
        check(&stream, cut);
    }

    #[test]
    fn any_trailer(body in proptest::collection::vec(prop_oneof![0..3_u8, Just(255)], 0..80), element in 1..9_usize) {
        batches::check(&body, 2 * element);
    }
}

/// The example of docs/formats-tigerbeetle.md, byte for byte.
#[test]
fn the_document_shows_these_bytes() {
    let text = include_str!("../../docs/formats-tigerbeetle.md");
    let dump: String = text
        .split("```hex")
        .skip(1)
        .map(|block| block.split("```").next().expect("a block ends"))
        .collect();
    let shown: Vec<u8> = dump
        .lines()
        .filter_map(|line| line.split('|').next())
        .flat_map(|line| {
            line.split_whitespace()
                .skip(1)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .map(|byte| u8::from_str_radix(&byte, 16).expect("two digits"))
        .collect();
    let mut body = Vec::new();
    for id in [1_u128, 2] {
        body.extend_from_slice(&id.to_le_bytes());
    }
    batches::close(&mut body, 0, &[2], 16);
    let message = Message::Request(Request {
        parent: 0x0a,
        client: 0x0b,
        session: 0x0c,
        timestamp: 0,
        number: 1,
        operation: operation::LOOKUP_ACCOUNTS,
        latency: 0,
        checksum: 0,
    });
    let mut bytes = message.encode(&envelope(0), &body).to_vec();
    bytes.extend_from_slice(&body);
    assert_eq!(shown, bytes, "the document should show:\n{}", hex(&bytes));
    let mut reader = Reader::default();
    let space = reader.space();
    space[..bytes.len()].copy_from_slice(&bytes);
    reader.filled(bytes.len());
    let frame = reader
        .next_frame()
        .expect("it is right")
        .expect("it is whole");
    assert_eq!(frame.body, Bytes::from(body));
}

fn hex(bytes: &[u8]) -> String {
    let line = |(at, line): (usize, &[u8])| {
        let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:04x}  {}\n", 16 * at, bytes.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

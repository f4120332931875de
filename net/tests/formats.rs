//! The worked examples of `docs/formats-net.md`: the code writes these bytes and reads them back, and the page shows
//! exactly them. A difference here is a change of the protocol.

use bytes::Bytes;
use net::checksum::crc;
use net::envelope::{Beat, Envelope, EnvelopeBuilder};
use net::frame::{Codec, Kind};
use net::handshake::{Hello, Identity};
use net::inbound::Inbound;
use net::inspect::{InspectHead, ReportHead, Topic};
use net::limits::{FrameLimits, MIB};
use net::outbound::Outbound;
use net::pool::Pool;
use net::refusal::Refusal;
use net::request::{Consistency, ReplyHead, RequestHead, Status};
use net::transport::{Frame, Outgoing};

const CLUSTER: u64 = 0x0102_0304_0506_0708;
const PAGE: &str = include_str!("../../docs/formats-net.md");

fn identity() -> Identity {
    Identity {
        cluster: CLUSTER,
        node: 2,
        core: 1,
        cores: 4,
        incarnation: 0xA1A2_A3A4_A5A6_A7A8,
        layout_digest: 0xD1D2_D3D4_D5D6_D7D8,
        codec: Codec::None,
    }
}

fn hello() -> Hello {
    Hello::from_peer(
        &Identity {
            node: 1,
            incarnation: 0xB1B2_B3B4_B5B6_B7B8,
            ..identity()
        },
        2,
    )
}

fn request() -> RequestHead {
    RequestHead {
        id: 7,
        group: 3,
        operation: 0x82,
        consistency: Consistency::Local,
        sent_at: 1000,
        client: 0xC1C2_C3C4_C5C6_C7C8_C9CA_CBCC_CDCE_CFD0,
        number: 41,
    }
}

fn reply() -> ReplyHead {
    ReplyHead {
        status: Status::NotLeader,
        core: 1,
        leader: 3,
        index: 500,
        term: 9,
        arrived_at: 2000,
        replied_at: 2500,
        ..request().reply(Status::Ok)
    }
}

fn with_bulk(kind: u8, head: &[u8], bulk: &'static [u8]) -> Outgoing {
    Outgoing {
        bulk: vec![Bytes::from_static(bulk)],
        bulk_crc: crc(bulk),
        ..Outgoing::bare(kind, head)
    }
}

fn envelope() -> Outgoing {
    let mut builder = EnvelopeBuilder::new();
    builder.begin(Beat {
        sequence: 5,
        sent_at: 1000,
        echo: 900,
        echo_delay: 20,
        is_full: false,
    });
    assert!(builder.push(3, b"vote", []));
    let payload = Bytes::from_static(b"entry");
    assert!(builder.push(4, b"append", [(payload.clone(), crc(&payload))]));
    builder.finish()
}

/// Every frame of the page, by its heading.
fn examples() -> Vec<(&'static str, Outgoing)> {
    let welcome = hello()
        .answer(&identity(), |_| true)
        .expect("they belong together");
    let inspect = InspectHead {
        id: 8,
        topic: Topic::Digests,
        argument: u64::MAX,
    };
    let report = ReportHead {
        id: 8,
        status: Status::Ok,
    };
    vec![
        ("HELLO", hello().encode()),
        ("WELCOME", welcome.encode()),
        ("ENVELOPE", envelope()),
        (
            "REQUEST",
            with_bulk(Kind::REQUEST, &request().encode(), b"record"),
        ),
        ("REPLY", Outgoing::bare(Kind::REPLY, &reply().encode())),
        ("INSPECT", Outgoing::bare(Kind::INSPECT, &inspect.encode())),
        ("REPORT", with_bulk(Kind::REPORT, &report.encode(), b"{}")),
        ("GOODBYE", Refusal::WrongCore { core: 1, cores: 4 }.encode()),
    ]
}

fn encode(frame: Outgoing) -> Vec<u8> {
    let mut outbound = Outbound::new(CLUSTER, FrameLimits::PEER, MIB, 1);
    outbound.push(frame).expect("an empty queue takes a frame");
    outbound.next_chunk().to_vec()
}

fn decode(bytes: &[u8]) -> Frame {
    let mut inbound = Inbound::new(Pool::new(MIB), FrameLimits::PEER, CLUSTER);
    inbound.space().expect("room")[..bytes.len()].copy_from_slice(bytes);
    inbound.filled(bytes.len(), 1);
    inbound.next_frame().expect("a frame").expect("whole")
}

/// As the page shows bytes: sixteen to a line, after the offset.
fn dump(bytes: &[u8]) -> String {
    let line = |(at, chunk): (usize, &[u8])| {
        let hex: Vec<_> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:04x}  {}\n", at * 16, hex.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

/// The example under a heading of the page, without the notes at the ends of its lines.
fn shown(name: &str) -> String {
    let (_, section) = PAGE
        .split_once(&format!("### {name} "))
        .unwrap_or_else(|| panic!("no heading for {name}"));
    let (_, example) = section
        .split_once("```hex\n")
        .expect("an example in each section");
    let (example, _) = example.split_once("```").expect("an end of the example");
    let bytes = |line: &str| {
        line.split('|')
            .next()
            .map(|bytes| format!("{}\n", bytes.trim_end()))
            .expect("a line")
    };
    example.lines().map(bytes).collect()
}

#[test]
fn the_page_shows_what_the_code_writes() {
    for (name, frame) in examples() {
        assert_eq!(shown(name), dump(&encode(frame)), "{name}");
    }
}

#[test]
fn what_the_page_shows_is_read_back() {
    for (name, frame) in examples() {
        let hex = shown(name);
        let bytes: Vec<u8> = hex
            .lines()
            .flat_map(|line| line.split_whitespace().skip(1))
            .map(|byte| u8::from_str_radix(byte, 16).expect("two digits"))
            .collect();
        let read = decode(&bytes);
        assert_eq!(
            (read.kind, &read.head[..]),
            (frame.kind, &frame.head[..]),
            "{name}"
        );
        assert_eq!(read.bulk, frame.bulk.concat(), "{name}");
        match read.kind {
            Kind::HELLO => assert_eq!(Hello::decode(&read.head), Ok(hello())),
            Kind::REQUEST => assert_eq!(RequestHead::decode(&read.head), Ok(request())),
            Kind::REPLY => assert_eq!(ReplyHead::decode(&read.head), Ok(reply())),
            Kind::ENVELOPE => {
                let envelope = Envelope::parse(&read).expect("an envelope");
                let letters: Vec<_> = envelope
                    .letters()
                    .map(|letter| (letter.group, letter.message))
                    .collect();
                assert_eq!(letters, [(3, "vote".into()), (4, "append".into())]);
            }
            _ => {}
        }
    }
}

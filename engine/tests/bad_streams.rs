//! Bytes that break the rules, sent to a whole node under each driver: told by name, counted by name, and nobody else notices.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use engine::Io;
use net::checksum::crc;
use net::frame::{Codec, FrameError, HEADER_CRC_AT, Header, Kind};
use net::handshake::Hello;
use net::limits::{FrameLimits, MIB};
use net::outbound::Outbound;
use net::refusal::Refusal;
use net::request::RequestHead;
use net::transport::Outgoing;
use raft::ids::NodeId;

use crate::full_disks::status;
use crate::refusals::{Cluster, add};

/// Of the clusters that these tests make.
const CLUSTER: u64 = 77;

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

/// A request of 5,000 bytes after a client's greeting.
fn session(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let bulk = Bytes::from(vec![7; 5000]);
    let mut request = bytes_of(Outgoing {
        kind: Kind::REQUEST,
        head: RequestHead::default().encode().to_vec(),
        bulk_crc: crc(&bulk),
        bulk: vec![bulk],
        token: 0,
    });
    change(&mut request);
    let mut bytes = bytes_of(Hello::from_client(CLUSTER, Codec::None).encode());
    bytes.append(&mut request);
    bytes
}

/// The header's own checksum, after a change that is no damage but a lie.
fn sign(frame: &mut [u8]) {
    let sum = crc(&frame[..HEADER_CRC_AT]);
    frame[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&sum.to_le_bytes());
}

fn cases() -> Vec<(Vec<u8>, FrameError)> {
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
    vec![
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html, */*\r\n\r\n      ".to_vec(),
            FrameError::NotAFrame,
        ),
        (session(|frame| frame[20] ^= 1), FrameError::HeaderChecksum),
        (session(|frame| frame[70] ^= 1), FrameError::HeadChecksum),
        (session(|frame| frame[3000] ^= 1), FrameError::BulkChecksum),
        (
            session(|frame| {
                frame[4] = 9;
                sign(frame);
            }),
            FrameError::UnknownVersion(9),
        ),
        (
            session(|frame| {
                frame[6] = 99;
                sign(frame);
            }),
            FrameError::UnknownKind(99),
        ),
        (
            session(|frame| *frame = huge.encode().to_vec()),
            FrameError::BulkTooLong(u32::MAX),
        ),
    ]
}

/// What the node says before it closes.
fn told(cluster: &Cluster, bytes: &[u8]) -> Refusal {
    let address = cluster
        .layout
        .address_of(NodeId(1), 0)
        .expect("the node is there");
    let mut stream = TcpStream::connect(address).expect("the node listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a socket");
    stream.write_all(bytes).expect("the node reads");
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("it ends in order, not with a reset");
    let goodbye = answer.len() - 16;
    Refusal::decode(&answer[goodbye..]).expect("a goodbye comes last")
}

fn streams_that_break_the_rules_are_told_and_counted(io: Io) {
    let mut cluster = Cluster::new(io, 1, 1, 1);
    cluster.start_all();
    let mut client = cluster.client();
    let mut damaged: BTreeMap<&str, u64> = BTreeMap::new();
    let mut sum = 0;
    for (bytes, error) in cases() {
        let refusal = match error {
            FrameError::UnknownVersion(_) => Refusal::UnknownVersion { min: 1, max: 1 },
            other => Refusal::Malformed(other.number().into()),
        };
        assert_eq!(told(&cluster, &bytes), refusal, "{error}");
        *damaged
            .entry(FrameError::NAMES[usize::from(error.number())])
            .or_default() += 1;
        sum += 1;
        assert_eq!(add(&mut client, 0, 1).expect("others are served"), sum);
    }
    let mut newer = Hello::from_client(CLUSTER, Codec::None);
    (newer.version_min, newer.version_max) = (7, 9);
    assert!(matches!(
        told(&cluster, &bytes_of(newer.encode())),
        Refusal::UnknownVersion { .. }
    ));
    let stranger = Hello::from_client(CLUSTER + 1, Codec::None);
    assert_eq!(
        told(&cluster, &bytes_of(stranger.encode())),
        Refusal::WrongCluster(CLUSTER)
    );
    let status: serde_json::Value =
        serde_json::from_str(&status(&cluster, 1)).expect("a status is JSON");
    let network = &status["network"];
    assert_eq!(network["damaged"], serde_json::json!(damaged), "{network}");
    let refused = &network["refused"];
    assert_eq!(refused["unknown_version"], 1, "{network}");
    assert_eq!(refused["wrong_cluster"], 1, "{network}");
    assert_eq!(add(&mut client, 0, 1).expect("nothing was lost"), sum + 1);
}

#[test]
fn streams_that_break_the_rules_are_told_and_counted_under_glommio() {
    streams_that_break_the_rules_are_told_and_counted(Io::Glommio);
}

#[test]
fn streams_that_break_the_rules_are_told_and_counted_under_threads() {
    streams_that_break_the_rules_are_told_and_counted(Io::Threads);
}

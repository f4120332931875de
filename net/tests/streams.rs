//! Frames through a stream: any chunking gives the same frames, damage is found, arbitrary bytes never panic.

use std::io::IoSlice;

use bytes::Bytes;
use net::checksum::crc;
use net::frame::{Codec, FrameError, HEADER_CRC_AT, Header, Kind, VERSION_MAX};
use net::inbound::Inbound;
use net::limits::{ALIGNMENT, FrameLimits, MIB, READ_BYTES};
use net::outbound::Outbound;
use net::pool::{Pool, PoolExhausted};
use net::transport::{Frame, Outgoing, SendError};
use proptest::prelude::*;

const CLUSTER: u64 = 0xC1;

/// A frame whose content follows from its lengths.
fn outgoing(head_len: usize, pieces: &[usize]) -> Outgoing {
    let content = |len: usize| {
        (0..len)
            .map(|i| (i * 31 / 7 + len) as u8)
            .collect::<Vec<u8>>()
    };
    let bulk: Vec<Bytes> = pieces
        .iter()
        .map(|&len| Bytes::from(content(len)))
        .collect();
    let bulk_crc = crc(&bulk.concat());
    Outgoing {
        kind: Kind::ENVELOPE,
        head: content(head_len),
        bulk,
        bulk_crc,
        token: 0,
    }
}

fn outbound(codec: Codec) -> Outbound {
    let mut outbound = Outbound::new(CLUSTER, FrameLimits::PEER, 64 * MIB, 1000);
    outbound.agree(VERSION_MAX, codec, FrameLimits::PEER, 64 * MIB);
    outbound
}

fn inbound() -> Inbound {
    Inbound::new(Pool::new(64 * MIB), FrameLimits::PEER, CLUSTER)
}

/// All that is queued, written in steps of `step` bytes over at most `slots` slices.
fn drain(outbound: &mut Outbound, step: usize, slots: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    while !outbound.is_empty() {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = outbound.slices(&mut slices[..slots]);
        let mut left = step;
        for slice in &slices[..count] {
            let taken = left.min(slice.len());
            stream.extend_from_slice(&slice[..taken]);
            left -= taken;
        }
        assert!(
            step > left,
            "a queue that is not empty has something to write"
        );
        outbound.wrote(step - left);
    }
    stream
}

/// Feeds `stream` in chunks of the given sizes, over and over, and collects the frames.
fn feed(inbound: &mut Inbound, stream: &[u8], chunks: &[usize]) -> Result<Vec<Frame>, FrameError> {
    let mut frames = Vec::new();
    let mut rest = stream;
    for (now, &chunk) in (1..).zip(chunks.iter().cycle()) {
        while let Some(frame) = inbound.next_frame()? {
            frames.push(frame);
        }
        if rest.is_empty() {
            return Ok(frames);
        }
        let space = inbound.space().expect("the pool is large enough");
        let count = chunk.clamp(1, space.len().min(rest.len()));
        space[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        inbound.filled(count, now);
    }
    unreachable!("chunks repeat for ever")
}

fn assert_same(sent: &[Outgoing], received: &[Frame]) {
    assert_eq!(sent.len(), received.len());
    for (sent, received) in sent.iter().zip(received) {
        assert_eq!(sent.kind, received.kind);
        assert_eq!(sent.head, received.head);
        assert_eq!(sent.bulk.concat(), received.bulk);
        assert_eq!(sent.bulk_crc, received.bulk_crc);
        assert!(received.began_at <= received.arrived_at);
        for part in [&received.head, &received.bulk] {
            assert_eq!(
                part.as_ptr().align_offset(ALIGNMENT) * usize::from(!part.is_empty()),
                0
            );
        }
    }
}

fn frame_lengths() -> impl Strategy<Value = (usize, Vec<usize>)> {
    let length = prop_oneof![
        4 => 0..200usize,
        2 => 200..9000usize,
        1 => Just(READ_BYTES - 64),
        1 => 60_000..70_000usize,
    ];
    (0..300usize, proptest::collection::vec(length, 0..4))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_chunking_gives_the_same_frames(
        lengths in proptest::collection::vec(frame_lengths(), 1..12),
        chunks in proptest::collection::vec(prop_oneof![1..100usize, 1..100_000usize], 1..8),
        step in prop_oneof![1..300usize, 1..100_000usize],
        slots in 1..=8usize,
        packed in any::<bool>(),
    ) {
        let sent: Vec<_> = lengths.iter().map(|(head, pieces)| outgoing(*head, pieces)).collect();
        let mut queue = outbound(if packed { Codec::Lz4 } else { Codec::None });
        for frame in &sent {
            queue.push(frame.clone()).expect("the queue is long enough");
        }
        let stream = drain(&mut queue, step.max(50), slots);
        let mut receiver = inbound();
        let received = feed(&mut receiver, &stream, &chunks).expect("an undamaged stream");
        assert_same(&sent, &received);
        assert_eq!(receiver.unfinished_since(), None);
        // Half a frame is not a frame.
        let cut = stream.len() - 1;
        let received = feed(&mut inbound(), &stream[..cut], &chunks).expect("an undamaged stream");
        assert_same(&sent[..sent.len() - 1], &received);
    }

    /// Or says nothing: a packed block's last token has four bits that no decoder reads.
    #[test]
    fn a_flipped_bit_is_found(
        lengths in proptest::collection::vec(frame_lengths(), 1..4),
        packed in any::<bool>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u32,
    ) {
        let mut queue = outbound(if packed { Codec::Lz4 } else { Codec::None });
        let sent: Vec<_> = lengths.iter().map(|(head, pieces)| outgoing(*head, pieces)).collect();
        for frame in &sent {
            queue.push(frame.clone()).expect("the queue is long enough");
        }
        let mut stream = drain(&mut queue, 1 << 20, 8);
        let at = at.index(stream.len());
        stream[at] ^= 1u8 << bit;
        match feed(&mut inbound(), &stream, &[50_000]) {
            Err(error) => assert!(!matches!(error, FrameError::WrongCluster(_)), "damage is told apart: {error}"),
            Ok(received) => {
                assert!(packed, "one bit differs");
                assert_same(&sent, &received);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut noise in proptest::collection::vec(any::<u8>(), 0..600),
        lengths in (0..100u32, 0..300u32, 0..300u32),
        (kind, codec) in (0..10u8, 0..3u8),
        honest in 0..4,
        chunk in 1..100usize,
    ) {
        // One time in four plain noise; else a header with a right checksum before it, so that the noise gets far.
        if honest > 0 && noise.len() >= 64 {
            let header = Header {
                version: 1, kind, codec: Codec::None, cluster: CLUSTER,
                head_len: lengths.0, bulk_len: lengths.1, raw_bulk_len: lengths.2,
                bulk_crc: 0, head_crc: 0,
            };
            let mut bytes = header.encode();
            bytes[8] = codec;
            if honest > 1 {
                let head_end = noise.len().min(64 + lengths.0 as usize);
                bytes[56..60].copy_from_slice(&crc(&noise[64..head_end]).to_le_bytes());
            }
            let sum = crc(&bytes[..HEADER_CRC_AT]);
            bytes[HEADER_CRC_AT..].copy_from_slice(&sum.to_le_bytes());
            noise[..64].copy_from_slice(&bytes);
        }
        let mut receiver = inbound();
        if let Ok(frames) = feed(&mut receiver, &noise, &[chunk]) {
            // What is accepted as it is encodes to the same bytes again.
            if codec == 0 {
                let mut queue = outbound(Codec::None);
                for frame in frames {
                    let Frame { kind, head, bulk, bulk_crc, .. } = frame;
                    queue.push(Outgoing { kind, head: head.to_vec(), bulk: vec![bulk], bulk_crc, token: 0 })
                        .expect("the queue is long enough");
                }
                let again = drain(&mut queue, 100, 8);
                assert_eq!(again, noise[..again.len()]);
            }
        }
    }
}

#[test]
fn a_long_frame_is_received_where_it_stays() {
    let sent = [outgoing(64, &[MIB]), outgoing(64, &[MIB])];
    let mut queue = outbound(Codec::None);
    for frame in &sent {
        queue.push(frame.clone()).expect("room");
    }
    let stream = drain(&mut queue, 1 << 20, 8);
    let mut receiver = inbound();
    let mut asked = Vec::new();
    let mut rest = &stream[..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let space = receiver.space().expect("room");
        let count = space.len().min(rest.len());
        asked.push(space.len());
        space[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        receiver.filled(count, 1);
        while let Some(frame) = receiver.next_frame().expect("undamaged") {
            frames.push(frame);
        }
    }
    // A short read, then exactly the rest; behind a long frame only a look ahead is moved.
    let frame_bytes = 64 + 64 + MIB;
    assert_eq!(
        asked,
        [
            READ_BYTES,
            frame_bytes - READ_BYTES,
            4096,
            frame_bytes - 4096
        ]
    );
    assert_same(&sent, &frames);
}

#[test]
fn an_exhausted_pool_stops_reading_and_goes_on_when_frames_are_dropped() {
    for codec in [Codec::None, Codec::Lz4] {
        let pool = Pool::new(320 * 1024);
        let mut receiver = Inbound::new(pool.clone(), FrameLimits::PEER, CLUSTER);
        let mut queue = outbound(codec);
        for _ in 0..20 {
            queue.push(outgoing(0, &[100_000])).expect("room");
        }
        let stream = drain(&mut queue, 1 << 20, 8);
        let mut rest = &stream[..];
        let (mut held, mut received, mut stops) = (Vec::new(), 0, 0);
        while received < 20 {
            while let Some(frame) = receiver.next_frame().expect("undamaged") {
                assert_eq!(frame.bulk, outgoing(0, &[100_000]).bulk[0]);
                held.push(frame);
                received += 1;
            }
            match receiver.space() {
                Ok(space) => {
                    let count = space.len().min(rest.len());
                    space[..count].copy_from_slice(&rest[..count]);
                    rest = &rest[count..];
                    receiver.filled(count, 1);
                }
                Err(PoolExhausted) => {
                    assert!(!held.is_empty(), "{codec:?}: stuck with nothing to drop");
                    held.clear();
                    stops += 1;
                }
            }
            assert!(pool.bytes_allocated() <= 320 * 1024);
        }
        assert!(stops > 0, "{codec:?}: the bound was never felt");
    }
}

#[test]
fn a_lent_buffer_comes_back_with_what_was_read() {
    let sent = outgoing(10, &[100]);
    let mut queue = outbound(Codec::None);
    queue.push(sent.clone()).expect("room");
    let mut receiver = inbound();
    while let Some(chunk) = queue.lend_chunk() {
        let mut lent = receiver.lend().expect("room");
        lent.as_mut()[..chunk.len()].copy_from_slice(&chunk);
        receiver.restore(lent, chunk.len(), 5);
        queue.wrote(chunk.len());
    }
    let frame = receiver.next_frame().expect("undamaged").expect("whole");
    assert_same(&[sent], &[frame]);
}

#[test]
fn a_full_queue_is_busy_and_tokens_come_out_when_written() {
    let mut queue = Outbound::new(CLUSTER, FrameLimits::PEER, 1000, 3);
    let frame = |token, len| Outgoing {
        token,
        ..outgoing(0, &[len])
    };
    queue
        .push(frame(1, 5000))
        .expect("an empty queue takes any frame");
    assert_eq!(
        queue.push(frame(2, 0)),
        Err(SendError::Busy),
        "full by bytes"
    );
    assert_eq!(queue.next_chunk().len(), 64);
    queue.wrote(64 + 5007);
    assert_eq!(queue.next_sent(), None, "one byte of padding is missing");
    queue.wrote(1);
    assert_eq!((queue.next_sent(), queue.next_sent()), (Some(1), None));
    for token in [3, 0, 5] {
        queue.push(frame(token, 1)).expect("room");
    }
    assert_eq!(
        queue.push(frame(6, 1)),
        Err(SendError::Busy),
        "full by frames"
    );
    assert_eq!((queue.frames_queued(), queue.bytes_queued()), (3, 240));
    queue.wrote(240);
    assert_eq!(
        (queue.next_sent(), queue.next_sent(), queue.next_sent()),
        (Some(3), Some(5), None)
    );
    assert!(queue.is_empty() && queue.spare().is_some_and(|spare| spare.head.is_empty()));
}

#[test]
fn an_error_is_for_ever() {
    let mut receiver = inbound();
    assert_eq!(
        feed(&mut receiver, &[0; 64], &[64]).err(),
        Some(FrameError::NotAFrame)
    );
    assert_eq!(receiver.next_frame().err(), Some(FrameError::NotAFrame));
}

//! What must hold whatever bytes come in, of every reader of this crate: called by property tests and fuzz targets.
//!
//! - Nothing panics, and what is accepted is written back the same: there is one way to say a thing.
//! - The door's readers have checks of their own, `tigerbeetle::reader::check` and `tigerbeetle::batches::check`.

use bytes::Bytes;

use crate::checksum::crc;
use crate::envelope::{Envelope, EnvelopeBuilder};
use crate::fetch::{FetchHead, PartHead};
use crate::frame::Kind;
use crate::handshake::{Hello, Welcome};
use crate::inbound::Inbound;
use crate::inspect::{InspectHead, ReportHead};
use crate::limits::FrameLimits;
use crate::pool::Pool;
use crate::refusal::Refusal;
use crate::request::{ReplyHead, RequestHead};
use crate::transport::Frame;

/// Receive buffers of a checked stream.
const POOL_BYTES: usize = 64 << 20;

/// Reads some bytes as every kind of head; how many kinds accepted them.
///
/// # Panics
/// If what was accepted is written back in another way.
#[must_use]
pub fn check_head(head: &[u8]) -> usize {
    let again = [
        Hello::decode(head).ok().map(|hello| hello.encode().head),
        Welcome::decode(head)
            .ok()
            .map(|welcome| welcome.encode().head),
        Refusal::decode(head)
            .ok()
            .map(|refusal| refusal.encode().head),
        RequestHead::decode(head)
            .ok()
            .map(|request| request.encode().to_vec()),
        ReplyHead::decode(head)
            .ok()
            .map(|reply| reply.encode().to_vec()),
        InspectHead::decode(head)
            .ok()
            .map(|inspect| inspect.encode().to_vec()),
        ReportHead::decode(head)
            .ok()
            .map(|report| report.encode().to_vec()),
    ];
    let accepted = again.iter().flatten();
    accepted.clone().for_each(|again| assert_eq!(again, head));
    let others =
        usize::from(FetchHead::decode(head).is_ok()) + usize::from(PartHead::decode(head).is_ok());
    accepted.count() + others
}

/// Reads a head and a bulk as an envelope; was it one?
///
/// # Panics
/// If what was accepted is written back in another way.
#[must_use]
pub fn check_envelope(head: Bytes, bulk: Bytes) -> bool {
    let bulk_crc = crc(&bulk);
    let frame = Frame {
        kind: Kind::ENVELOPE,
        head,
        bulk,
        bulk_crc,
        began_at: 0,
        arrived_at: 0,
    };
    let Ok(envelope) = Envelope::parse(&frame) else {
        return false;
    };
    let mut builder = EnvelopeBuilder::new();
    builder.begin(envelope.beat);
    for letter in envelope.letters() {
        let sum = crc(&letter.bulk);
        assert!(builder.push(letter.group, &letter.message, [(letter.bulk, sum)]));
    }
    let again = builder.finish();
    assert_eq!(
        (Bytes::from(again.head), Bytes::from(again.bulk.concat())),
        (frame.head, frame.bulk)
    );
    assert_eq!(again.bulk_crc, bulk_crc);
    true
}

/// Reads a stream of frames, cut anywhere, and the head of each.
///
/// # Panics
/// If a lost stream goes on, or a head is written back in another way.
pub fn check_stream(stream: &[u8], cut: usize) {
    let mut inbound = Inbound::new(Pool::new(POOL_BYTES), FrameLimits::PEER, 0);
    for piece in stream.chunks(cut.max(1)) {
        let mut piece = piece;
        while !piece.is_empty() {
            let Ok(space) = inbound.space() else { return };
            let count = space.len().min(piece.len());
            space[..count].copy_from_slice(&piece[..count]);
            inbound.filled(count, 0);
            piece = &piece[count..];
            loop {
                match inbound.next_frame() {
                    Ok(Some(frame)) => {
                        let _ = check_head(&frame.head);
                        let _ = check_envelope(frame.head, frame.bulk);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(inbound.next_frame().err(), Some(error));
                        return;
                    }
                }
            }
        }
    }
}

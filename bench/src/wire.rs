//! Frames as the benchmark sends and receives them: laid out in one buffer, read where they lie.
//!
//! - A frame is written once, in place: the records first, then the header over them.
//! - Nothing is taken from a frame whose checksums do not match.

use crate::error::ProtocolFault;
use net::checksum::crc;
use net::frame::{Codec, Header, Kind, VERSION_MAX, padded};
use net::handshake::Hello;
use net::limits::{FrameLimits, HEADER_BYTES};
use net::request::{REQUEST_HEAD_BYTES, RequestHead};
use std::ops::Range;

/// Bytes of a request or reply with so many bytes of records.
pub const fn request_frame_bytes(bulk: usize) -> usize {
    HEADER_BYTES + padded(REQUEST_HEAD_BYTES) + padded(bulk)
}

/// Frames to send, one behind the other. Its room is kept from use to use.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    len: usize,
}

impl Outbox {
    /// The frames.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Forgets the frames, not the room.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends a request whose `bulk` bytes of records are written by `fill`, which must write them all.
    pub fn push_request(
        &mut self,
        cluster: u64,
        head: &RequestHead,
        bulk: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        self.push(Kind::REQUEST, cluster, &head.encode(), bulk, fill);
    }

    /// Appends the first frame of a connection.
    pub fn push_hello(&mut self, cluster: u64) {
        let hello = Hello::from_client(cluster, Codec::None).encode();
        self.push(hello.kind, cluster, &hello.head, 0, |_| {});
    }

    /// Appends a frame.
    pub fn push(
        &mut self,
        kind: u8,
        cluster: u64,
        head: &[u8],
        bulk: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let head_at = self.len + HEADER_BYTES;
        let bulk_at = head_at + padded(head.len());
        let end = bulk_at + padded(bulk);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[head_at..bulk_at].fill(0);
        self.bytes[head_at..head_at + head.len()].copy_from_slice(head);
        self.bytes[bulk_at + bulk..end].fill(0);
        let records = &mut self.bytes[bulk_at..bulk_at + bulk];
        fill(records);
        let length = |bytes: usize| u32::try_from(bytes).expect("the options bound every frame");
        let header = Header {
            version: VERSION_MAX,
            kind,
            codec: Codec::None,
            cluster,
            head_len: length(head.len()),
            bulk_len: length(bulk),
            raw_bulk_len: length(bulk),
            bulk_crc: crc(records),
            head_crc: crc(head),
        };
        self.bytes[self.len..head_at].copy_from_slice(&header.encode());
        self.len = end;
    }
}

/// A whole frame in a receive buffer, verified.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it is.
    pub kind: u8,
    /// Its head, in the buffer.
    pub head: Range<usize>,
    /// Its records, in the buffer.
    pub bulk: Range<usize>,
    /// Where the next frame begins.
    pub end: usize,
}

/// What a receive buffer holds.
#[derive(Clone, Debug)]
pub enum Next {
    /// A whole frame.
    Frame(Found),
    /// A beginning; the frame will end at this offset, as far as is known.
    Wanting(usize),
}

/// Looks for a frame at `from`.
pub fn next(bytes: &[u8], from: usize, cluster: u64) -> Result<Next, ProtocolFault> {
    let rest = &bytes[from..];
    let Some(header) = rest.first_chunk::<HEADER_BYTES>() else {
        return Ok(Next::Wanting(from + HEADER_BYTES));
    };
    let header =
        Header::decode(header, FrameLimits::CLIENT, cluster).map_err(ProtocolFault::Frame)?;
    if header.codec != Codec::None {
        return Err(ProtocolFault::Codec);
    }
    let end = header.frame_bytes();
    if rest.len() < end {
        return Ok(Next::Wanting(from + end));
    }
    let (head, bulk) = (header.head_range(), header.bulk_range());
    if crc(&rest[head.clone()]) != header.head_crc || crc(&rest[bulk.clone()]) != header.bulk_crc {
        return Err(ProtocolFault::Checksum);
    }
    let shift = |range: Range<usize>| range.start + from..range.end + from;
    Ok(Next::Frame(Found {
        kind: header.kind,
        head: shift(head),
        bulk: shift(bulk),
        end: from + end,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_found() {
        let mut outbox = Outbox::default();
        outbox.push_request(9, &RequestHead::default(), 31, |records| records.fill(255));
        outbox.clear();
        let head = RequestHead {
            id: 7,
            ..RequestHead::default()
        };
        outbox.push_request(9, &head, 20, |records| records.fill(3));
        assert_eq!(outbox.as_bytes().len(), request_frame_bytes(20));
        outbox.push(Kind::INSPECT, 9, &[1; 32], 0, |_| {});
        let bytes = outbox.as_bytes();
        assert_eq!(
            bytes[64 + 64 + 20..64 + 64 + 32],
            [0; 12],
            "padding is zero in a used buffer"
        );
        let Ok(Next::Frame(first)) = next(bytes, 0, 9) else {
            panic!("a whole frame")
        };
        assert_eq!(RequestHead::decode(&bytes[first.head]), Ok(head));
        assert_eq!(bytes[first.bulk], [3; 20]);
        let Ok(Next::Frame(second)) = next(bytes, first.end, 9) else {
            panic!("a whole frame")
        };
        assert_eq!((second.kind, second.end), (Kind::INSPECT, bytes.len()));
    }

    #[test]
    fn a_part_of_a_frame_tells_how_much_is_wanting_and_a_damaged_one_is_an_error() {
        let mut outbox = Outbox::default();
        outbox.push_request(9, &RequestHead::default(), 20, |records| records.fill(3));
        let bytes = outbox.as_bytes();
        for len in 0..bytes.len() {
            let Ok(Next::Wanting(end)) = next(&bytes[..len], 0, 9) else {
                panic!("cut at {len}")
            };
            assert!(end > len && end <= bytes.len());
        }
        // The last twelve bytes are padding.
        for at in 0..bytes.len() - 12 {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert!(next(&damaged, 0, 9).is_err(), "damaged at {at}");
        }
    }
}

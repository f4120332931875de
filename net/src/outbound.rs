//! The sending half of a connection: a bounded queue of frames, handed out as pieces of memory to write.
//!
//! - A frame is queued whole or not at all; beyond the bounds the answer is `Busy`.
//! - Headers, heads and short pieces of bulk are gathered side by side; long pieces are lent, never copied.
//! - An empty queue takes any frame within the limits, so that no frame is unsendable.
//! - A frame's token comes out once, when its last byte was written, in the order of queueing.
//!
//! Hot path. Usage: `push` frames; write `slices` (or `next_chunk`); tell `wrote`; ask `next_sent`.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::checksum::crc;
use crate::codec::Packer;
use crate::frame::{Codec, Header, Kind, VERSION_HANDSHAKE, padded};
use crate::limits::{
    ALIGNMENT, COMPRESS_BYTES_MIN, COPY_BYTES_MAX, FrameLimits, HEADER_BYTES, KIB,
};
use crate::transport::{Outgoing, SendError};

/// Gathered bytes are allocated in pieces of this size and reused.
const GATHER_BYTES: usize = 64 * KIB;
/// Emptied frames kept for reuse.
const SPARES_MAX: usize = 8;
/// A spare's head longer than this is not kept.
const SPARE_HEAD_BYTES_MAX: usize = 64 * KIB;

/// The sending half of a connection.
#[derive(Debug)]
pub struct Outbound {
    cluster: u64,
    version: u16,
    limits: FrameLimits,
    bytes_max: usize,
    frames_max: usize,
    packer: Option<Packer>,
    /// Sealed pieces, in order; the first may be written in part.
    pieces: VecDeque<Bytes>,
    /// Gathered bytes behind the last piece.
    gathered: BytesMut,
    /// Bytes ever queued and ever written: their difference is in the queue.
    queued: u64,
    written: u64,
    /// Where each queued frame ends, counted as `queued`, and its token.
    ends: VecDeque<(u64, u64)>,
    sent: VecDeque<u64>,
    spares: Vec<Outgoing>,
}

impl Outbound {
    /// A queue of at most `bytes_max` bytes and `frames_max` frames for `cluster`.
    pub fn new(cluster: u64, limits: FrameLimits, bytes_max: usize, frames_max: usize) -> Outbound {
        Outbound {
            cluster,
            version: VERSION_HANDSHAKE,
            limits,
            bytes_max,
            frames_max,
            packer: None,
            pieces: VecDeque::new(),
            gathered: BytesMut::new(),
            queued: 0,
            written: 0,
            ends: VecDeque::new(),
            sent: VecDeque::new(),
            spares: Vec::new(),
        }
    }

    /// What the handshake agreed on holds from the next frame on.
    pub fn agree(&mut self, version: u16, codec: Codec, limits: FrameLimits, bytes_max: usize) {
        self.version = version;
        self.packer = (codec == Codec::Lz4).then(Packer::default);
        self.limits = limits;
        self.bytes_max = bytes_max;
    }

    /// Queues a frame, whole or not at all.
    ///
    /// # Panics
    /// If the frame is over the limits of this connection: whoever builds frames keeps to them.
    pub fn push(&mut self, mut frame: Outgoing) -> Result<(), SendError> {
        self.offer(&mut frame)
    }

    /// As [`Outbound::push`], but a frame that is not queued stays as it was; of one that is nothing is left.
    ///
    /// # Panics
    /// If the frame is over the limits of this connection: whoever builds frames keeps to them.
    pub fn offer(&mut self, frame: &mut Outgoing) -> Result<(), SendError> {
        let raw_len: usize = frame.bulk.iter().map(Bytes::len).sum();
        assert!(
            frame.head.len() <= self.limits.head_bytes_max,
            "a head over the limit"
        );
        assert!(
            raw_len <= self.limits.bulk_bytes_max,
            "a bulk over the limit"
        );
        let bytes = HEADER_BYTES + padded(frame.head.len()) + padded(raw_len);
        let full =
            self.bytes_queued() + bytes > self.bytes_max || self.ends.len() >= self.frames_max;
        if full && !self.is_empty() {
            return Err(SendError::Busy);
        }
        let packed = match &mut self.packer {
            Some(packer) if raw_len >= COMPRESS_BYTES_MIN => packer.pack(&frame.bulk),
            _ => None,
        };
        let codec = if packed.is_some() {
            Codec::Lz4
        } else {
            Codec::None
        };
        let bulk_len = packed.as_ref().map_or(raw_len, Bytes::len);
        let length = |len: usize| u32::try_from(len).expect("within the limits");
        let header = Header {
            version: if Kind::is_handshake(frame.kind) {
                VERSION_HANDSHAKE
            } else {
                self.version
            },
            kind: frame.kind,
            codec,
            cluster: self.cluster,
            head_len: length(frame.head.len()),
            bulk_len: length(bulk_len),
            raw_bulk_len: length(raw_len),
            bulk_crc: frame.bulk_crc,
            head_crc: crc(&frame.head),
        };
        self.append(&header.encode());
        self.append_head(&mut frame.head);
        match packed {
            Some(packed) => {
                self.append_piece(packed);
                frame.bulk.clear();
            }
            None => frame
                .bulk
                .drain(..)
                .for_each(|piece| self.append_piece(piece)),
        }
        self.append_padding(bulk_len);
        self.ends.push_back((self.queued, frame.token));
        self.keep_spare(std::mem::take(frame));
        Ok(())
    }

    /// Fills `out` with the next pieces to write, in order; answers how many.
    pub fn slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let gathered = Some(&self.gathered[..]).filter(|bytes| !bytes.is_empty());
        let pieces = self.pieces.iter().map(|piece| &piece[..]).chain(gathered);
        out.iter_mut()
            .zip(pieces)
            .map(|(slot, piece)| *slot = IoSlice::new(piece))
            .count()
    }

    /// The next piece to write; empty if there is none.
    pub fn next_chunk(&self) -> &[u8] {
        self.pieces
            .front()
            .map_or(&self.gathered[..], |piece| &piece[..])
    }

    /// As [`Outbound::next_chunk`], but shared: for a write that outlives the borrow, as an async one does.
    pub fn lend_chunk(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.seal();
        }
        self.pieces.front().cloned()
    }

    /// `count` bytes were written, from the start of what was handed out.
    pub fn wrote(&mut self, count: usize) {
        assert!(
            count <= self.bytes_queued(),
            "more bytes written than were queued"
        );
        self.written += count as u64;
        let mut left = count;
        while left > 0 {
            let Some(first) = self.pieces.front_mut() else {
                self.gathered.advance(left);
                break;
            };
            let step = left.min(first.len());
            first.advance(step);
            left -= step;
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
        if self.is_empty() && self.gathered.capacity() < GATHER_BYTES {
            // From the start of the buffer again, whose cache lines are at hand.
            let _ = self.gathered.try_reclaim(GATHER_BYTES);
        }
        while let Some((_, token)) = self.ends.pop_front_if(|&mut (end, _)| end <= self.written) {
            if token != 0 {
                self.sent.push_back(token);
            }
        }
    }

    /// The token of the next frame whose last byte was written.
    pub fn next_sent(&mut self) -> Option<u64> {
        self.sent.pop_front()
    }

    /// Bytes in the queue.
    pub fn bytes_queued(&self) -> usize {
        usize::try_from(self.queued - self.written).expect("bounded by the queue")
    }

    /// Frames in the queue.
    pub fn frames_queued(&self) -> usize {
        self.ends.len()
    }

    /// Whether everything was written.
    pub fn is_empty(&self) -> bool {
        self.queued == self.written
    }

    /// Bytes ever written: standing still while not empty means that the other end does not read.
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    /// A frame that was sent, emptied, its memory to be used again.
    pub fn spare(&mut self) -> Option<Outgoing> {
        self.spares.pop()
    }

    fn append_head(&mut self, head: &mut Vec<u8>) {
        let len = head.len();
        if len < GATHER_BYTES / 4 {
            self.append(head);
        } else {
            self.append_piece(Bytes::from(std::mem::take(head)));
        }
        self.append_padding(len);
    }

    fn append_piece(&mut self, piece: Bytes) {
        if piece.len() < COPY_BYTES_MAX {
            self.append(&piece);
        } else {
            self.seal();
            self.queued += piece.len() as u64;
            self.pieces.push_back(piece);
        }
    }

    fn append_padding(&mut self, len: usize) {
        self.append(&[0; ALIGNMENT][..padded(len) - len]);
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.gathered.capacity() - self.gathered.len() < bytes.len() {
            self.seal();
            self.gathered.reserve(GATHER_BYTES.max(bytes.len()));
        }
        self.gathered.extend_from_slice(bytes);
        self.queued += bytes.len() as u64;
    }

    fn seal(&mut self) {
        if !self.gathered.is_empty() {
            self.pieces.push_back(self.gathered.split().freeze());
        }
    }

    fn keep_spare(&mut self, mut frame: Outgoing) {
        if self.spares.len() < SPARES_MAX && frame.head.capacity() <= SPARE_HEAD_BYTES_MAX {
            frame.head.clear();
            self.spares.push(Outgoing {
                kind: 0,
                bulk_crc: 0,
                token: 0,
                ..frame
            });
        }
    }
}

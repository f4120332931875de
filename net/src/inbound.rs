//! The receiving half of a connection: bytes in, whole verified frames out, without copying long ones.
//!
//! - Short frames are slices of a shared buffer. A long one gets a buffer of its size as soon as its header is
//!   there; from then on exactly its own bytes are asked for, so the kernel writes them where they stay.
//! - No buffer is held between frames: ten thousand idle connections hold nothing.
//! - After an error the stream is lost: the same error is answered for ever.
//! - Head and bulk of every frame begin at an address divisible by 16.
//!
//! Hot path. Usage: until `next_frame` answers `None`, take frames; then read into `space` and tell `filled`.

use std::ops::Range;

use bytes::Bytes;

use crate::checksum::Checksum;
use crate::codec::unpack;
use crate::frame::{Codec, FrameError, Header, padded};
use crate::limits::{FrameLimits, HEADER_BYTES, LOOKAHEAD_BYTES, READ_BYTES};
use crate::pool::{Buffer, Pool, PoolExhausted};
use crate::transport::Frame;

/// The receiving half of a connection.
#[derive(Debug)]
pub struct Inbound {
    pool: Pool,
    limits: FrameLimits,
    cluster: u64,
    buffer: Option<Buffer>,
    filled: usize,
    /// Of the frame at the start of the buffer, once its header is there.
    header: Option<Header>,
    /// Over the bulk as far as it is there; only of an unpacked one.
    checksum: Checksum,
    /// Where a packed bulk will be unpacked to.
    unpacked: Option<Buffer>,
    began_at: u64,
    filled_at: u64,
    /// Whether the last frame was a long one.
    long: bool,
    failed: Option<FrameError>,
}

/// A receive buffer lent out for a read that outlives the borrow of its [`Inbound`], as an async one does.
#[derive(Debug)]
pub struct Lent {
    buffer: Buffer,
    space: Range<usize>,
}

impl AsMut<[u8]> for Lent {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.space.clone()]
    }
}

impl Inbound {
    /// Receives frames of `cluster` within `limits` into buffers of `pool`.
    pub fn new(pool: Pool, limits: FrameLimits, cluster: u64) -> Inbound {
        Inbound {
            pool,
            limits,
            cluster,
            buffer: None,
            filled: 0,
            header: None,
            checksum: Checksum::new(),
            unpacked: None,
            began_at: 0,
            filled_at: 0,
            long: false,
            failed: None,
        }
    }

    /// From the next header on, other limits and another pool apply: the handshake told what the remote is.
    pub fn set_limits(&mut self, limits: FrameLimits, pool: Pool) {
        self.limits = limits;
        self.pool = pool;
    }

    /// Where the next received bytes go; never empty. Call [`Inbound::next_frame`] until it answers `None` before.
    ///
    /// `PoolExhausted`: stop reading, and try again when frames were dropped.
    pub fn space(&mut self) -> Result<&mut [u8], PoolExhausted> {
        let space = self.ready_space()?;
        Ok(&mut self.buffer.as_mut().expect("made ready above")[space])
    }

    /// As [`Inbound::space`], but the buffer leaves until [`Inbound::restore`] brings it back.
    pub fn lend(&mut self) -> Result<Lent, PoolExhausted> {
        let space = self.ready_space()?;
        Ok(Lent {
            buffer: self.buffer.take().expect("made ready above"),
            space,
        })
    }

    /// Takes a lent buffer back, with `count` bytes received into it.
    pub fn restore(&mut self, lent: Lent, count: usize, now: u64) {
        assert!(
            self.buffer.is_none(),
            "a buffer is restored once, to where it came from"
        );
        self.buffer = Some(lent.buffer);
        self.filled(count, now);
    }

    /// `count` bytes were received into the space at `now` (monotonic, ns).
    pub fn filled(&mut self, count: usize, now: u64) {
        let len = self.buffer.as_ref().map_or(0, |buffer| buffer.len());
        assert!(
            self.filled + count <= len,
            "more bytes than there was space for"
        );
        if self.filled == 0 {
            self.began_at = now;
        }
        self.filled += count;
        self.filled_at = now;
        if self.filled == 0 {
            self.buffer = None;
        }
    }

    /// The next whole frame, its checksums verified; `None` until more bytes are there.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.parse().inspect_err(|&error| {
            self.failed = Some(error);
            self.abandon();
        })
    }

    /// Gives an unused buffer back to the pool: nothing more to read for now.
    pub fn rest(&mut self) {
        if self.filled == 0 {
            self.buffer = None;
        }
    }

    /// Drops what was received: no more frames are wanted.
    pub fn abandon(&mut self) {
        self.buffer = None;
        self.unpacked = None;
        self.header = None;
        self.filled = 0;
    }

    /// When the first byte of an unfinished frame was there; `None` between frames.
    pub fn unfinished_since(&self) -> Option<u64> {
        (self.filled > 0).then_some(self.began_at)
    }

    /// Makes the buffer fit for the frame at hand and says which part of it may be filled.
    fn ready_space(&mut self) -> Result<Range<usize>, PoolExhausted> {
        let needed = self
            .header
            .map_or(HEADER_BYTES, |header| header.frame_bytes());
        if self.header.is_some() && self.filled >= needed {
            // Whole, but there was no buffer to unpack it to: `next_frame` tries again.
            return Err(PoolExhausted);
        }
        if let Some(header) = self.header.filter(|header| header.codec == Codec::Lz4)
            && self.unpacked.is_none()
        {
            self.unpacked = Some(self.pool.take(padded(header.raw_bulk_len as usize))?);
        }
        let len = self.buffer.as_ref().map_or(0, |buffer| buffer.len());
        if len < needed {
            let mut fresh = match self.header {
                Some(_) => self.pool.take(needed)?,
                None => self.pool.take_for_reading()?,
            };
            if let Some(old) = &self.buffer {
                fresh[..self.filled].copy_from_slice(&old[..self.filled]);
            }
            self.buffer = Some(fresh);
        }
        let len = self.buffer.as_ref().map_or(0, |buffer| buffer.len());
        let end = match self.header {
            Some(_) if needed > READ_BYTES => needed,
            None if self.long => len.min(LOOKAHEAD_BYTES),
            _ => len,
        };
        assert!(
            self.filled < end,
            "a whole frame is taken before more is read"
        );
        Ok(self.filled..end)
    }

    fn parse(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(buffer) = &self.buffer else {
            return Ok(None);
        };
        let received = &buffer[..self.filled];
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(bytes) = received.first_chunk() else {
                    return Ok(None);
                };
                *self
                    .header
                    .insert(Header::decode(bytes, self.limits, self.cluster)?)
            }
        };
        let bulk = header.bulk_range();
        if header.codec == Codec::None {
            let hashed =
                bulk.start + usize::try_from(self.checksum.len()).expect("within the buffer");
            let there = self.filled.min(bulk.end);
            if hashed < there {
                self.checksum.update(&received[hashed..there]);
            }
        }
        if self.filled < header.frame_bytes() {
            return Ok(None);
        }
        if header.codec == Codec::Lz4 && self.unpacked.is_none() {
            match self.pool.take(padded(header.raw_bulk_len as usize)) {
                Ok(buffer) => self.unpacked = Some(buffer),
                Err(PoolExhausted) => return Ok(None),
            }
        }
        self.finish(header).map(Some)
    }

    /// The whole frame is there: verifies it and cuts it off the buffer.
    fn finish(&mut self, header: Header) -> Result<Frame, FrameError> {
        let buffer = self.buffer.as_mut().expect("the frame is in it");
        let (head, bulk) = (header.head_range(), header.bulk_range());
        let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        if crate::checksum::crc(&buffer[head.clone()]) != header.head_crc {
            return Err(FrameError::HeadChecksum);
        }
        if !is_zero(&buffer[head.end..bulk.start])
            || !is_zero(&buffer[bulk.end..header.frame_bytes()])
        {
            return Err(FrameError::Padding);
        }
        let raw = match (header.codec, self.unpacked.take()) {
            (Codec::None, _) => None,
            (Codec::Lz4, unpacked) => {
                let mut unpacked = unpacked.expect("taken before");
                let len = header.raw_bulk_len as usize;
                unpack(&buffer[bulk.clone()], &mut unpacked[..len])?;
                self.checksum.update(&unpacked[..len]);
                // Padded, so that what follows in a shared buffer begins aligned too.
                Some(unpacked.split_to(padded(len)).slice(..len))
            }
        };
        if self.checksum.value() != header.bulk_crc {
            return Err(FrameError::BulkChecksum);
        }
        let frame_bytes = header.frame_bytes();
        let bytes = buffer.split_to(frame_bytes);
        let slice = |range: Range<usize>| {
            if range.is_empty() {
                Bytes::new()
            } else {
                bytes.slice(range)
            }
        };
        let frame = Frame {
            kind: header.kind,
            head: slice(head),
            bulk: raw.unwrap_or_else(|| slice(bulk)),
            bulk_crc: header.bulk_crc,
            began_at: self.began_at,
            arrived_at: self.filled_at,
        };
        self.filled -= frame_bytes;
        self.began_at = self.filled_at;
        self.header = None;
        self.checksum = Checksum::new();
        self.long = frame_bytes > READ_BYTES;
        if self.filled == 0 && (self.long || !buffer.has_room()) {
            self.buffer = None;
        }
        Ok(frame)
    }
}

//! A stream of bytes, cut into messages: the header is proven before its body is awaited, the body before it is lent.
//!
//! - Memory: one buffer, as long as the longest message and what was read beyond its end. A frame is lent from it and
//!   the buffer is used again when the frame was dropped.
//! - After the first error nothing more comes: whoever sent that is not to be trusted with a next frame.

use bytes::{Bytes, BytesMut};

use crate::tigerbeetle::header::{BadMessage, HEADER_BYTES};
use crate::tigerbeetle::message::Announced;
use crate::tigerbeetle::operation::MESSAGE_BYTES_MAX;

/// Least room for a read.
const READ_BYTES: usize = 16 << 10;

/// A whole message.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its header.
    pub announced: Announced,
    /// Its body, proven.
    pub body: Bytes,
}

/// What has arrived on one connection and was not taken yet.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: BytesMut,
    /// How many of `bytes` hold something; the others are zeros to read into.
    filled: usize,
    announced: Option<Announced>,
    failed: Option<BadMessage>,
}

impl Reader {
    /// Where to read to: as much as the rest of the message that is under way, and something in any case.
    pub fn space(&mut self) -> &mut [u8] {
        let whole = match &self.announced {
            Some(announced) => HEADER_BYTES + announced.body_bytes,
            None => HEADER_BYTES,
        };
        let wanted = whole.saturating_sub(self.filled).max(READ_BYTES);
        self.bytes.resize(self.filled + wanted, 0);
        &mut self.bytes[self.filled..]
    }

    /// So many bytes were read into `space`.
    pub fn filled(&mut self, count: usize) {
        self.filled += count;
        assert!(
            self.filled <= self.bytes.len(),
            "more than there was space for"
        );
    }

    /// Bytes that wait here.
    #[must_use]
    pub fn held(&self) -> usize {
        self.filled
    }

    /// Is the beginning of a message here and not its end?
    #[must_use]
    pub fn is_midway(&self) -> bool {
        self.filled > 0
    }

    /// The next whole message; `None` until more bytes have come.
    ///
    /// # Errors
    /// The first thing that is wrong with the stream, from then on for ever.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, BadMessage> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        self.advance()
            .inspect_err(|&error| self.failed = Some(error))
    }

    fn advance(&mut self) -> Result<Option<Frame>, BadMessage> {
        let announced = match self.announced {
            Some(announced) => announced,
            None => {
                let Some(header) = self.bytes[..self.filled].first_chunk::<HEADER_BYTES>() else {
                    return Ok(None);
                };
                *self.announced.insert(Announced::parse(header)?)
            }
        };
        let whole = HEADER_BYTES + announced.body_bytes;
        if self.filled < whole {
            return Ok(None);
        }
        self.announced = None;
        announced.prove(&self.bytes[HEADER_BYTES..whole])?;
        let mut frame = self.bytes.split_to(whole).freeze();
        self.filled -= whole;
        let body = frame.split_off(HEADER_BYTES);
        Ok(Some(Frame { announced, body }))
    }
}

const _: () = assert!(READ_BYTES < MESSAGE_BYTES_MAX);

/// What holds for any stream however it is cut; shared by the property test and the fuzz target.
///
/// # Panics
/// If a promise of this file or of the codec is broken.
pub fn check(stream: &[u8], cut: usize) {
    let cut = cut.max(1);
    let (mut reader, mut offset) = (Reader::default(), 0);
    for piece in stream.chunks(cut) {
        let mut piece = piece;
        while !piece.is_empty() {
            let space = reader.space();
            let count = space.len().min(piece.len());
            space[..count].copy_from_slice(&piece[..count]);
            reader.filled(count);
            piece = &piece[count..];
        }
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    let Announced {
                        envelope, message, ..
                    } = frame.announced;
                    let header = message.encode(&envelope, &frame.body);
                    let end = offset + HEADER_BYTES + frame.body.len();
                    assert_eq!(header[..], stream[offset..offset + HEADER_BYTES]);
                    assert_eq!(frame.body[..], stream[offset + HEADER_BYTES..end]);
                    offset = end;
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next_frame().err(), Some(error));
                    return;
                }
            }
        }
        assert!(reader.held() <= MESSAGE_BYTES_MAX + cut + READ_BYTES);
    }
}

//! A stream of bytes, cut into messages: the header is proven before its body is awaited, the body before it is lent.
//!
//! - Memory: one small buffer, out of which short messages are copied, and a pool's for a long one, which is lent and never
//!   copied: the kernel writes its bytes where they stay. When the pool has none, the message gets memory of its own.
//! - After the first error nothing more comes: whoever sent that is not to be trusted with a next frame.

use bytes::{Bytes, BytesMut};

use crate::pool::{Buffer, Pool};
use crate::tigerbeetle::header::{BadMessage, HEADER_BYTES};
use crate::tigerbeetle::message::Announced;
use crate::tigerbeetle::operation::MESSAGE_BYTES_MAX;

/// Bytes of the small buffer. A message that is longer gets a buffer of its own.
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
#[derive(Debug)]
pub struct Reader {
    pool: Pool,
    /// Empty until something is read for the first time.
    small: Box<[u8]>,
    /// Where in `small` the next message begins, and where what was read ends.
    held: (usize, usize),
    announced: Option<Announced>,
    /// The long message that is under way.
    long: Option<Long>,
    failed: Option<BadMessage>,
}

#[derive(Debug)]
struct Long {
    room: Room,
    filled: usize,
    whole: usize,
}

#[derive(Debug)]
enum Room {
    Pooled(Buffer),
    Own(BytesMut),
}

impl Long {
    fn room(&mut self) -> &mut [u8] {
        match &mut self.room {
            Room::Pooled(buffer) => &mut buffer[..self.whole],
            Room::Own(bytes) => &mut bytes[..self.whole],
        }
    }

    fn into_bytes(self) -> Bytes {
        match self.room {
            Room::Pooled(mut buffer) => buffer.split_to(self.whole),
            Room::Own(bytes) => bytes.freeze(),
        }
    }
}

impl Default for Reader {
    /// A reader without a pool.
    fn default() -> Self {
        Self::new(Pool::new(0))
    }
}

impl Reader {
    /// Nothing read yet; long messages are read into buffers of `pool`.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self {
            pool,
            small: Box::default(),
            held: (0, 0),
            announced: None,
            long: None,
            failed: None,
        }
    }

    /// Where to read to: the rest of the long message that is under way and not a byte more, else what is free of the small
    /// buffer. Never empty when `next_frame` was asked until it said `None`.
    pub fn space(&mut self) -> &mut [u8] {
        if let Some(long) = &mut self.long {
            let filled = long.filled;
            return &mut long.room()[filled..];
        }
        if self.small.is_empty() {
            self.small = vec![0; READ_BYTES].into();
        }
        let (start, end) = self.held;
        self.small.copy_within(start..end, 0);
        self.held = (0, end - start);
        &mut self.small[end - start..]
    }

    /// So many bytes were read into `space`.
    pub fn filled(&mut self, count: usize) {
        let (filled, most) = match &mut self.long {
            Some(long) => (&mut long.filled, long.whole),
            None => (&mut self.held.1, self.small.len()),
        };
        *filled += count;
        assert!(*filled <= most, "more than there was space for");
    }

    /// Bytes that wait here.
    #[must_use]
    pub fn held(&self) -> usize {
        let long = self.long.as_ref().map_or(0, |long| long.filled);
        long + self.held.1 - self.held.0
    }

    /// Is the beginning of a message here and not its end?
    #[must_use]
    pub fn is_midway(&self) -> bool {
        self.held() > 0
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
        if self.long.is_some() {
            return self.advance_long();
        }
        let (start, end) = self.held;
        let held = &self.small[start..end];
        let announced = match self.announced {
            Some(announced) => announced,
            None => {
                let Some(header) = held.first_chunk::<HEADER_BYTES>() else {
                    return Ok(None);
                };
                *self.announced.insert(Announced::parse(header)?)
            }
        };
        let whole = HEADER_BYTES + announced.body_bytes;
        if whole > READ_BYTES {
            self.begin_long(whole);
            return self.advance_long();
        }
        if held.len() < whole {
            return Ok(None);
        }
        let body = &held[HEADER_BYTES..whole];
        self.announced = None;
        announced.prove(body)?;
        let body = Bytes::copy_from_slice(body);
        self.held.0 += whole;
        Ok(Some(Frame { announced, body }))
    }

    /// Moves what is here of a long message to a place of its own.
    fn begin_long(&mut self, whole: usize) {
        let room = match self.pool.take(whole) {
            Ok(buffer) => Room::Pooled(buffer),
            Err(_) => Room::Own(BytesMut::zeroed(whole)),
        };
        let (start, end) = self.held;
        let filled = (end - start).min(whole);
        let long = self.long.insert(Long {
            room,
            filled,
            whole,
        });
        long.room()[..filled].copy_from_slice(&self.small[start..start + filled]);
        self.held.0 += filled;
    }

    fn advance_long(&mut self) -> Result<Option<Frame>, BadMessage> {
        let Some(mut long) = self.long.take_if(|long| long.filled == long.whole) else {
            return Ok(None);
        };
        let announced = self.announced.take();
        let announced = announced.expect("a long message was announced");
        announced.prove(&long.room()[HEADER_BYTES..])?;
        let body = long.into_bytes().split_off(HEADER_BYTES);
        Ok(Some(Frame { announced, body }))
    }
}

const _: () = assert!(READ_BYTES < MESSAGE_BYTES_MAX);

/// What holds for any stream however it is cut; shared by the property test and the fuzz target.
///
/// # Panics
/// If a promise of this file or of the codec is broken.
pub fn check(stream: &[u8], cut: usize) {
    for pool_bytes in [0, 4 * MESSAGE_BYTES_MAX] {
        check_with(Reader::new(Pool::new(pool_bytes)), stream, cut.max(1));
    }
}

fn check_with(mut reader: Reader, stream: &[u8], cut: usize) {
    let mut offset = 0;
    for piece in stream.chunks(cut) {
        let mut piece = piece;
        while !piece.is_empty() {
            let space = reader.space();
            let count = space.len().min(piece.len());
            space[..count].copy_from_slice(&piece[..count]);
            assert!(count > 0, "there is always space for something");
            reader.filled(count);
            piece = &piece[count..];
            if !take_all(&mut reader, stream, &mut offset) {
                return;
            }
            assert!(reader.held() < MESSAGE_BYTES_MAX + READ_BYTES);
        }
    }
}

/// Takes what is whole and compares it with `stream`; false after the first error.
fn take_all(reader: &mut Reader, stream: &[u8], offset: &mut usize) -> bool {
    loop {
        let frame = match reader.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return true,
            Err(error) => {
                assert_eq!(reader.next_frame().err(), Some(error));
                return false;
            }
        };
        let Announced {
            envelope, message, ..
        } = frame.announced;
        let header = message.encode(&envelope, &frame.body);
        let (body, end) = (
            *offset + HEADER_BYTES,
            *offset + HEADER_BYTES + frame.body.len(),
        );
        assert_eq!(header[..], stream[*offset..body]);
        assert_eq!(frame.body[..], stream[body..end]);
        *offset = end;
    }
}

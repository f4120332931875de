//! The envelope: all groups' messages from one core to its peer in one frame, with a beat that keeps the pair alive.
//!
//! ```text
//! head: beat (32) | count u32 | zero u32 | zeros (8) | entry | entry | ..
//! entry: group u64 | message_len u32 | bulk_len u32 | message | zeros to 16
//! bulk: the bulk of each entry, in order, with nothing between
//! ```
//!
//! - Liveness is per pair of cores, not per group: a thousand idle groups send one beat.
//! - Bulk is lent to the frame, its checksum combined from those of its pieces: no pass over payloads.
//! - A received envelope is checked as a whole before its first message is seen.
//! - What a message means is not known here.

use bytes::Bytes;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Checksum;
use crate::frame::{BadHead, Kind, padded};
use crate::limits::{HEAD_BYTES_MAX, MESSAGE_BYTES_MAX, PEER_BULK_BYTES_MAX};
use crate::transport::{Frame, Outgoing};

/// A sign of life, and a round-trip time without comparing clocks: `now - echo - echo_delay`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Counts the envelopes of this connection.
    pub sequence: u64,
    /// The sender's monotonic clock when the envelope was begun, ns.
    pub sent_at: u64,
    /// The newest `sent_at` the sender has seen from its peer; 0 if none.
    pub echo: u64,
    /// How long ago it saw it, ns.
    pub echo_delay: u64,
    /// The sender's log has no room: it can neither acknowledge nor lead.
    pub is_full: bool,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireStart {
    sequence: U64,
    sent_at: U64,
    echo: U64,
    echo_delay: U64,
    count: U32,
    flags: u8,
    reserved: [u8; 11],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireEntry {
    group: U64,
    message_len: U32,
    bulk_len: U32,
}

const FLAG_FULL: u8 = 1;
const START_BYTES: usize = size_of::<WireStart>();
const ENTRY_BYTES: usize = size_of::<WireEntry>();
const _: () = assert!(START_BYTES == 48 && ENTRY_BYTES == 16);
const _: () = assert!(START_BYTES + ENTRY_BYTES + MESSAGE_BYTES_MAX <= HEAD_BYTES_MAX);

/// Collects the messages of a turn to one peer. One per peer and core; its memory is reused.
#[derive(Debug, Default)]
pub struct EnvelopeBuilder {
    start: Option<Beat>,
    head: Vec<u8>,
    bulk: Vec<Bytes>,
    bulk_bytes: usize,
    checksum: Checksum,
    count: u32,
}

impl EnvelopeBuilder {
    /// An empty builder.
    pub fn new() -> EnvelopeBuilder {
        EnvelopeBuilder::default()
    }

    /// Takes over the memory of a frame that was sent (`Transport::spare`).
    pub fn reuse(&mut self, spare: Outgoing) {
        if self.start.is_none() && self.head.capacity() < spare.head.capacity() {
            self.head = spare.head;
            self.bulk = spare.bulk;
        }
    }

    /// It has no memory to build the next envelope in: [`EnvelopeBuilder::reuse`] would spare it an allocation.
    pub fn is_bare(&self) -> bool {
        self.start.is_none() && self.head.capacity() == 0
    }

    /// Begins an envelope; one that was begun and not finished is dropped.
    pub fn begin(&mut self, beat: Beat) {
        self.start = Some(beat);
        self.head.clear();
        self.head.resize(START_BYTES, 0);
        self.bulk.clear();
        self.bulk_bytes = 0;
        self.checksum = Checksum::new();
        self.count = 0;
    }

    /// Adds a message of `group` with its bulk, given as pieces and their CRC-32s. `false`: it does not fit, nothing
    /// was added; finish this envelope and begin another.
    ///
    /// # Panics
    /// If no envelope was begun, or if the message or its bulk would not fit into an empty one.
    pub fn push(
        &mut self,
        group: u64,
        message: &[u8],
        bulk: impl IntoIterator<Item = (Bytes, u32)>,
    ) -> bool {
        assert!(
            self.start.is_some(),
            "an envelope is begun before a message is added"
        );
        assert!(
            message.len() <= MESSAGE_BYTES_MAX,
            "a message over the limit"
        );
        if self.head.len() + ENTRY_BYTES + padded(message.len()) > HEAD_BYTES_MAX {
            return false;
        }
        let before = (self.bulk.len(), self.bulk_bytes, self.checksum.clone());
        for (piece, crc) in bulk {
            if self.bulk_bytes + piece.len() > PEER_BULK_BYTES_MAX {
                assert!(
                    before.1 > 0,
                    "the bulk of one message over the limit of a frame"
                );
                self.bulk.truncate(before.0);
                (self.bulk_bytes, self.checksum) = (before.1, before.2);
                return false;
            }
            self.checksum.append(&piece, crc);
            self.bulk_bytes += piece.len();
            if !piece.is_empty() {
                self.bulk.push(piece);
            }
        }
        let length = |len: usize| U32::new(u32::try_from(len).expect("within the limits"));
        let entry = WireEntry {
            group: group.into(),
            message_len: length(message.len()),
            bulk_len: length(self.bulk_bytes - before.1),
        };
        self.head.extend_from_slice(entry.as_bytes());
        self.head.extend_from_slice(message);
        self.head.resize(padded(self.head.len()), 0);
        self.count += 1;
        true
    }

    /// Messages in the envelope at hand.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of bulk in the envelope at hand.
    pub fn bulk_bytes(&self) -> usize {
        self.bulk_bytes
    }

    /// The envelope as a frame; with no message it is a bare beat.
    ///
    /// # Panics
    /// If no envelope was begun.
    pub fn finish(&mut self) -> Outgoing {
        let beat = self
            .start
            .take()
            .expect("an envelope is begun before it is finished");
        let start = WireStart {
            sequence: beat.sequence.into(),
            sent_at: beat.sent_at.into(),
            echo: beat.echo.into(),
            echo_delay: beat.echo_delay.into(),
            count: self.count.into(),
            flags: if beat.is_full { FLAG_FULL } else { 0 },
            reserved: [0; 11],
        };
        self.head[..START_BYTES].copy_from_slice(start.as_bytes());
        Outgoing {
            kind: Kind::ENVELOPE,
            head: std::mem::take(&mut self.head),
            bulk: std::mem::take(&mut self.bulk),
            bulk_crc: self.checksum.value(),
            token: 0,
        }
    }
}

/// A received envelope, checked as a whole.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The sender's beat.
    pub beat: Beat,
    /// Messages in it.
    pub count: u32,
    head: Bytes,
    bulk: Bytes,
}

/// One message of an envelope; both parts share the receive buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The group it is for.
    pub group: u64,
    /// The message; begins at an address divisible by 16.
    pub message: Bytes,
    /// The bulk that belongs to it.
    pub bulk: Bytes,
}

impl Envelope {
    /// Checks a received frame's head and bulk from end to end.
    pub fn parse(frame: &Frame) -> Result<Envelope, BadHead> {
        let (start, mut rest) = WireStart::read_from_prefix(&frame.head).map_err(|_| BadHead)?;
        if start.flags & !FLAG_FULL != 0 || start.reserved != [0; 11] {
            return Err(BadHead);
        }
        let mut bulk_bytes = 0u64;
        for _ in 0..start.count.get() {
            let (entry, tail) = WireEntry::read_from_prefix(rest).map_err(|_| BadHead)?;
            let message_len = entry.message_len.get() as usize;
            if message_len > MESSAGE_BYTES_MAX || padded(message_len) > tail.len() {
                return Err(BadHead);
            }
            if tail[message_len..padded(message_len)]
                .iter()
                .any(|&byte| byte != 0)
            {
                return Err(BadHead);
            }
            rest = &tail[padded(message_len)..];
            bulk_bytes += u64::from(entry.bulk_len.get());
        }
        if !rest.is_empty() || bulk_bytes != frame.bulk.len() as u64 {
            return Err(BadHead);
        }
        let beat = Beat {
            sequence: start.sequence.get(),
            sent_at: start.sent_at.get(),
            echo: start.echo.get(),
            echo_delay: start.echo_delay.get(),
            is_full: start.flags & FLAG_FULL != 0,
        };
        Ok(Envelope {
            beat,
            count: start.count.get(),
            head: frame.head.clone(),
            bulk: frame.bulk.clone(),
        })
    }

    /// The messages in order.
    pub fn letters(&self) -> Letters<'_> {
        Letters {
            envelope: self,
            left: self.count,
            head_at: START_BYTES,
            bulk_at: 0,
        }
    }
}

/// Iterates over the messages of an [`Envelope`].
#[derive(Clone, Debug)]
pub struct Letters<'a> {
    envelope: &'a Envelope,
    left: u32,
    head_at: usize,
    bulk_at: usize,
}

impl Iterator for Letters<'_> {
    type Item = Letter;

    fn next(&mut self) -> Option<Letter> {
        self.left = self.left.checked_sub(1)?;
        let Envelope { head, bulk, .. } = self.envelope;
        let (entry, _) =
            WireEntry::read_from_prefix(&head[self.head_at..]).expect("checked by parse");
        let message = self.head_at + ENTRY_BYTES
            ..self.head_at + ENTRY_BYTES + entry.message_len.get() as usize;
        let bulk_end = self.bulk_at + entry.bulk_len.get() as usize;
        let letter = Letter {
            group: entry.group.get(),
            message: head.slice(message.clone()),
            bulk: bulk.slice(self.bulk_at..bulk_end),
        };
        self.head_at = message.start + padded(message.len());
        self.bulk_at = bulk_end;
        Some(letter)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::crc;

    fn received(frame: Outgoing) -> Frame {
        let bulk = Bytes::from(frame.bulk.concat());
        assert_eq!(frame.bulk_crc, crc(&bulk));
        Frame {
            kind: frame.kind,
            head: frame.head.into(),
            bulk,
            bulk_crc: frame.bulk_crc,
            began_at: 0,
            arrived_at: 0,
        }
    }

    fn piece(byte: u8, len: usize) -> (Bytes, u32) {
        let piece = Bytes::from(vec![byte; len]);
        let sum = crc(&piece);
        (piece, sum)
    }

    const BEAT: Beat = Beat {
        sequence: 1,
        sent_at: 2,
        echo: 3,
        echo_delay: 4,
        is_full: true,
    };

    #[test]
    fn messages_of_many_groups_round_trip() {
        let mut builder = EnvelopeBuilder::new();
        for round in 0..3 {
            builder.begin(BEAT);
            assert!(builder.push(7, b"vote", []));
            assert!(builder.push(8, b"", [piece(1, 5), piece(2, 0), piece(3, 20_000)]));
            assert!(builder.push(u64::MAX, &[9; 33], [piece(4, 9000)]));
            let frame = received(builder.finish());
            let envelope = Envelope::parse(&frame).expect("what was built");
            assert_eq!((envelope.beat, envelope.count), (BEAT, 3), "round {round}");
            let letters: Vec<_> = envelope.letters().collect();
            assert_eq!(
                letters[0],
                Letter {
                    group: 7,
                    message: "vote".into(),
                    bulk: Bytes::new()
                }
            );
            assert_eq!((letters[1].group, letters[1].bulk.len()), (8, 20_005));
            assert_eq!(&letters[2].message[..], &[9; 33]);
            assert_eq!(&letters[2].bulk[..], &[4; 9000]);
            builder.reuse(Outgoing {
                head: vec![0; 99],
                ..Outgoing::default()
            });
        }
    }

    #[test]
    fn what_does_not_fit_leaves_no_trace() {
        let mut builder = EnvelopeBuilder::new();
        builder.begin(BEAT);
        assert!(builder.push(1, b"a", [piece(1, PEER_BULK_BYTES_MAX - 10)]));
        assert!(!builder.push(2, b"b", [piece(2, 5), piece(3, 6)]));
        assert!(builder.push(3, b"c", [piece(4, 10)]));
        let frame = received(builder.finish());
        let groups: Vec<_> = Envelope::parse(&frame)
            .expect("built")
            .letters()
            .map(|letter| letter.group)
            .collect();
        assert_eq!(groups, [1, 3]);
        builder.begin(BEAT);
        let pushed = (0..10)
            .take_while(|&group| builder.push(group, &[0; MESSAGE_BYTES_MAX], []))
            .count();
        assert_eq!(pushed, 3, "heads are bounded too");
        Envelope::parse(&received(builder.finish())).expect("built");
    }

    #[test]
    fn a_lying_head_is_refused() {
        let mut builder = EnvelopeBuilder::new();
        builder.begin(BEAT);
        assert!(builder.push(7, b"vote", [piece(1, 16)]));
        let good = received(builder.finish());
        let check = |change: &dyn Fn(&mut Vec<u8>), what: &str| {
            let mut head = good.head.to_vec();
            change(&mut head);
            let bad = Frame {
                head: head.into(),
                ..good.clone()
            };
            assert!(Envelope::parse(&bad).is_err(), "{what}");
        };
        check(&|head| head[32] = 2, "more entries than there are");
        check(&|head| head[32] = 0, "fewer entries than there are");
        check(&|head| head[36] = 2, "an unknown flag");
        check(&|head| head[37] = 1, "reserved bytes");
        check(&|head| head[56] = 200, "a message beyond the end");
        check(&|head| head[59] = 255, "a message beyond all limits");
        check(&|head| head[60] = 15, "bulk left over");
        check(&|head| head[63] = 255, "bulk beyond the end");
        check(&|head| head[79] = 1, "padding");
        check(&|head| head.truncate(40), "half a beat");
        check(&|head| head.truncate(70), "half an entry");
        check(&|head| head.extend([0; 16]), "something behind the end");
    }
}

//! The frame: a fixed header, a small head and a large bulk, each with its own checksum.
//!
//! ```text
//! header (64) | head | zeros to 16 | bulk | zeros to 16
//! ```
//!
//! - All numbers are little-endian. The layout of the header never changes; `version` says how the head is read.
//! - The header's checksum covers its lengths: a damaged length is found before a byte is allocated for it.
//! - Encoding is canonical: what is accepted without compression encodes to the same bytes again.
//! - HELLO, WELCOME and GOODBYE are read across clusters and versions, so that a mismatch can be told.

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::crc;
use crate::limits::{ALIGNMENT, FrameLimits, HEADER_BYTES};

/// The first four bytes of every frame.
pub const MAGIC: [u8; 4] = *b"QRM\x01";
/// Oldest version of the protocol this build speaks.
pub const VERSION_MIN: u16 = 1;
/// Newest version of the protocol this build speaks.
pub const VERSION_MAX: u16 = 1;
/// The version that HELLO, WELCOME and GOODBYE are always written in.
pub const VERSION_HANDSHAKE: u16 = 1;

/// What a frame is, as the byte in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {}

impl Kind {
    /// First frame of whoever dials; see `handshake`.
    pub const HELLO: u8 = 1;
    /// First frame of whoever accepts; see `handshake`.
    pub const WELCOME: u8 = 2;
    /// All groups' messages from one node's core to its peer; see `envelope`.
    pub const ENVELOPE: u8 = 3;
    /// An operation of a client; see `request`.
    pub const REQUEST: u8 = 4;
    /// Its answer; see `request`.
    pub const REPLY: u8 = 5;
    /// A question about the node itself; see `inspect`.
    pub const INSPECT: u8 = 6;
    /// Its answer; see `inspect`.
    pub const REPORT: u8 = 7;
    /// Why the sender is about to close; see `handshake`.
    pub const GOODBYE: u8 = 8;
    /// A peer asks for part of a file; see `fetch`.
    pub const FETCH: u8 = 9;
    /// Its answer; see `fetch`.
    pub const PART: u8 = 10;

    /// Whether a frame of this kind is read whatever cluster and version it names.
    pub const fn is_handshake(kind: u8) -> bool {
        matches!(kind, Kind::HELLO | Kind::WELCOME | Kind::GOODBYE)
    }
}

/// How the bulk is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    #[default]
    None = 0,
    /// One LZ4 block. Used only where it is smaller than the raw bytes.
    Lz4 = 1,
}

impl TryFrom<u8> for Codec {
    type Error = FrameError;

    fn try_from(byte: u8) -> Result<Codec, FrameError> {
        match byte {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Lz4),
            other => Err(FrameError::UnknownCodec(other)),
        }
    }
}

/// Why received bytes are not a frame. The stream cannot be read on after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The magic is missing: the other end speaks another protocol.
    #[error("not a frame of this protocol")]
    NotAFrame,
    /// The header was damaged on the way.
    #[error("checksum of the header does not match")]
    HeaderChecksum,
    /// A version this build does not speak.
    #[error("unknown protocol version {0}")]
    UnknownVersion(u16),
    /// A kind this version does not have.
    #[error("unknown kind {0}")]
    UnknownKind(u8),
    /// A flag this version does not have.
    #[error("unknown flags {0:#04x}")]
    UnknownFlags(u8),
    /// A codec this version does not have.
    #[error("unknown codec {0}")]
    UnknownCodec(u8),
    /// Reserved bytes that are not zero.
    #[error("reserved bytes are not zero")]
    Reserved,
    /// The head is announced longer than allowed here.
    #[error("a head of {0} bytes is over the limit")]
    HeadTooLong(u32),
    /// The bulk is announced longer than allowed here.
    #[error("a bulk of {0} bytes is over the limit")]
    BulkTooLong(u32),
    /// The lengths of the bulk contradict its codec.
    #[error("lengths of the bulk contradict its codec")]
    CodecLengths,
    /// The frame belongs to another cluster.
    #[error("frame of cluster {0:#x}")]
    WrongCluster(u64),
    /// The head was damaged on the way.
    #[error("checksum of the head does not match")]
    HeadChecksum,
    /// The bulk was damaged on the way, or by the sender.
    #[error("checksum of the bulk does not match")]
    BulkChecksum,
    /// Padding that is not zero.
    #[error("padding is not zero")]
    Padding,
    /// The packed bulk does not unpack to the announced length.
    #[error("bulk does not unpack to its announced length")]
    Unpack,
}

impl FrameError {
    /// One more than the highest number.
    pub const NUMBERS: usize = 16;

    /// A short name for each number, for counters and reports; none has the number 0.
    pub const NAMES: [&str; FrameError::NUMBERS] = [
        "",
        "not_a_frame",
        "header_checksum",
        "unknown_version",
        "unknown_kind",
        "unknown_flags",
        "unknown_codec",
        "reserved",
        "head_too_long",
        "bulk_too_long",
        "codec_lengths",
        "wrong_cluster",
        "head_checksum",
        "bulk_checksum",
        "padding",
        "unpack",
    ];

    /// A number for a GOODBYE's detail and for counters: the position in the list of `docs/formats-net.md`.
    pub const fn number(self) -> u16 {
        match self {
            FrameError::NotAFrame => 1,
            FrameError::HeaderChecksum => 2,
            FrameError::UnknownVersion(_) => 3,
            FrameError::UnknownKind(_) => 4,
            FrameError::UnknownFlags(_) => 5,
            FrameError::UnknownCodec(_) => 6,
            FrameError::Reserved => 7,
            FrameError::HeadTooLong(_) => 8,
            FrameError::BulkTooLong(_) => 9,
            FrameError::CodecLengths => 10,
            FrameError::WrongCluster(_) => 11,
            FrameError::HeadChecksum => 12,
            FrameError::BulkChecksum => 13,
            FrameError::Padding => 14,
            FrameError::Unpack => 15,
        }
    }
}

/// A head that is not what its kind promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the head is not what its kind promises")]
pub struct BadHead;

/// A checked header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Protocol version the head is written in.
    pub version: u16,
    /// See [`Kind`].
    pub kind: u8,
    /// How the bulk is packed.
    pub codec: Codec,
    /// The cluster the sender belongs to.
    pub cluster: u64,
    /// Bytes of the head, padding not counted.
    pub head_len: u32,
    /// Bytes of the bulk as sent, padding not counted.
    pub bulk_len: u32,
    /// Bytes of the bulk once unpacked.
    pub raw_bulk_len: u32,
    /// CRC-32 of the unpacked bulk.
    pub bulk_crc: u32,
    /// CRC-32 of the head.
    pub head_crc: u32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireHeader {
    magic: [u8; 4],
    version: U16,
    kind: u8,
    flags: u8,
    codec: u8,
    reserved: [u8; 7],
    cluster: U64,
    head_len: U32,
    bulk_len: U32,
    raw_bulk_len: U32,
    reserved_too: [u8; 16],
    bulk_crc: U32,
    head_crc: U32,
    header_crc: U32,
}

const _: () = assert!(size_of::<WireHeader>() == HEADER_BYTES);
/// Where the checksum of the header stands, over all bytes before it.
pub const HEADER_CRC_AT: usize = HEADER_BYTES - 4;

impl Header {
    /// The bytes of this header, its checksum included.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let wire = WireHeader {
            magic: MAGIC,
            version: self.version.into(),
            kind: self.kind,
            flags: 0,
            codec: self.codec as u8,
            reserved: [0; 7],
            cluster: self.cluster.into(),
            head_len: self.head_len.into(),
            bulk_len: self.bulk_len.into(),
            raw_bulk_len: self.raw_bulk_len.into(),
            reserved_too: [0; 16],
            bulk_crc: self.bulk_crc.into(),
            head_crc: self.head_crc.into(),
            header_crc: U32::ZERO,
        };
        let mut bytes: [u8; HEADER_BYTES] = zerocopy::transmute!(wire);
        let header_crc = crc(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..].copy_from_slice(&header_crc.to_le_bytes());
        bytes
    }

    /// Reads a header and checks all that can be known from it alone.
    pub fn decode(
        bytes: &[u8; HEADER_BYTES],
        limits: FrameLimits,
        cluster: u64,
    ) -> Result<Header, FrameError> {
        let wire: WireHeader = zerocopy::transmute!(*bytes);
        if wire.magic != MAGIC {
            return Err(FrameError::NotAFrame);
        }
        if wire.header_crc.get() != crc(&bytes[..HEADER_CRC_AT]) {
            return Err(FrameError::HeaderChecksum);
        }
        let version = wire.version.get();
        if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return Err(FrameError::UnknownVersion(version));
        }
        if !(Kind::HELLO..=Kind::PART).contains(&wire.kind) {
            return Err(FrameError::UnknownKind(wire.kind));
        }
        if wire.flags != 0 {
            return Err(FrameError::UnknownFlags(wire.flags));
        }
        if wire.reserved != [0; 7] || wire.reserved_too != [0; 16] {
            return Err(FrameError::Reserved);
        }
        let header = Header {
            version,
            kind: wire.kind,
            codec: Codec::try_from(wire.codec)?,
            cluster: wire.cluster.get(),
            head_len: wire.head_len.get(),
            bulk_len: wire.bulk_len.get(),
            raw_bulk_len: wire.raw_bulk_len.get(),
            bulk_crc: wire.bulk_crc.get(),
            head_crc: wire.head_crc.get(),
        };
        header.check_lengths(limits)?;
        if header.cluster != cluster && !Kind::is_handshake(header.kind) {
            return Err(FrameError::WrongCluster(header.cluster));
        }
        Ok(header)
    }

    fn check_lengths(&self, limits: FrameLimits) -> Result<(), FrameError> {
        // LZ4 cannot shrink more than 255 to 1: a header that claims it lies.
        const LZ4_RATIO_MAX: u64 = 255;
        if self.head_len as usize > limits.head_bytes_max {
            return Err(FrameError::HeadTooLong(self.head_len));
        }
        let longest = self.bulk_len.max(self.raw_bulk_len);
        if longest as usize > limits.bulk_bytes_max {
            return Err(FrameError::BulkTooLong(longest));
        }
        let lengths_fit = match self.codec {
            Codec::None => self.bulk_len == self.raw_bulk_len,
            Codec::Lz4 => {
                self.bulk_len < self.raw_bulk_len
                    && u64::from(self.raw_bulk_len) <= u64::from(self.bulk_len) * LZ4_RATIO_MAX
            }
        };
        if lengths_fit {
            Ok(())
        } else {
            Err(FrameError::CodecLengths)
        }
    }

    /// Where the head begins and ends in the frame.
    pub fn head_range(&self) -> std::ops::Range<usize> {
        HEADER_BYTES..HEADER_BYTES + self.head_len as usize
    }

    /// Where the bulk, as sent, begins and ends in the frame.
    pub fn bulk_range(&self) -> std::ops::Range<usize> {
        let start = HEADER_BYTES + padded(self.head_len as usize);
        start..start + self.bulk_len as usize
    }

    /// Bytes of the whole frame on the wire.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + padded(self.head_len as usize) + padded(self.bulk_len as usize)
    }
}

/// `bytes` and the zeros after them.
pub const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            version: 1,
            kind: Kind::REQUEST,
            codec: Codec::None,
            cluster: 7,
            head_len: 64,
            bulk_len: 128,
            raw_bulk_len: 128,
            bulk_crc: 0x1234_5678,
            head_crc: 0x9ABC_DEF0,
        }
    }

    fn decode(bytes: &[u8; 64]) -> Result<Header, FrameError> {
        Header::decode(bytes, FrameLimits::CLIENT, 7)
    }

    /// Changes one byte and makes the checksum right again: what a wrong or wicked sender would write.
    fn forged(at: usize, value: u8) -> [u8; 64] {
        let mut bytes = header().encode();
        bytes[at] = value;
        let sum = crc(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn round_trip() {
        assert_eq!(decode(&header().encode()), Ok(header()));
        assert_eq!(header().frame_bytes(), 256);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = header().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 32 {
                FrameError::NotAFrame
            } else {
                FrameError::HeaderChecksum
            };
            assert_eq!(decode(&bytes), Err(expected), "bit {bit}");
        }
    }

    #[test]
    fn every_lie_has_its_name() {
        let check = |bytes: [u8; 64], error| assert_eq!(decode(&bytes), Err(error));
        check(forged(4, 9), FrameError::UnknownVersion(9));
        check(forged(4, 0), FrameError::UnknownVersion(0));
        check(forged(6, 0), FrameError::UnknownKind(0));
        check(forged(6, 11), FrameError::UnknownKind(11));
        check(forged(7, 1), FrameError::UnknownFlags(1));
        check(forged(8, 2), FrameError::UnknownCodec(2));
        check(forged(9, 1), FrameError::Reserved);
        check(forged(51, 1), FrameError::Reserved);
        check(forged(16, 8), FrameError::WrongCluster(8));
        check(forged(27, 0x80), FrameError::HeadTooLong(0x8000_0040));
        check(forged(31, 0x80), FrameError::BulkTooLong(0x8000_0080));
        check(forged(35, 0x80), FrameError::BulkTooLong(0x8000_0080));
        check(forged(32, 0x81), FrameError::CodecLengths);
    }

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        let bomb = Header {
            codec: Codec::Lz4,
            bulk_len: 100,
            raw_bulk_len: 25_501,
            ..header()
        };
        assert_eq!(decode(&bomb.encode()), Err(FrameError::CodecLengths));
        let grown = Header {
            codec: Codec::Lz4,
            bulk_len: 100,
            raw_bulk_len: 100,
            ..header()
        };
        assert_eq!(decode(&grown.encode()), Err(FrameError::CodecLengths));
        let honest = Header {
            codec: Codec::Lz4,
            bulk_len: 100,
            raw_bulk_len: 25_500,
            ..header()
        };
        assert_eq!(decode(&honest.encode()), Ok(honest));
    }

    #[test]
    fn a_goodbye_crosses_clusters() {
        let goodbye = Header {
            kind: Kind::GOODBYE,
            cluster: 9,
            ..header()
        };
        assert_eq!(decode(&goodbye.encode()), Ok(goodbye));
    }
}

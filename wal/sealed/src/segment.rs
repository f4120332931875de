//! A sealed segment: the entries of one group from one index to another, in one immutable file.
//!
//! ```text
//! header      64 bytes
//! block 0 | block 1 | ...   56 bytes of header each, then the stored bytes, compressed or not
//! footer      an archive (rkyv): where blocks and terms begin, times, the Merkle tree
//! envelope    64 bytes: how long the footer and the file are, and the footer's checksum
//! ```
//!
//! - The entries are one canonical stream of records, cut into blocks of equal size; an entry larger than what is
//!   left of a block goes on in the next. So a block is one bounded piece of work, however large an entry is.
//! - Checksums cover the stored bytes, and the canonical bytes; each starts from the header's and the block's
//!   number, so that a block of another place or file fails.
//! - The archive is reached only after its length and its checksum were checked.
//! - The same entries and settings give the same bytes.

use thiserror::Error;
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::damage::{Damage, DamageKind, Part};
use crate::limits::{
    KEY_IDS_MAX, SEGMENT_BLOCK_BYTES, SEGMENT_BLOCK_BYTES_LEAST, SEGMENT_BLOCK_BYTES_MOST,
};

pub(crate) mod block;
pub(crate) mod columns;
pub(crate) mod entries;
pub(crate) mod footer;
pub(crate) mod merge;
pub(crate) mod open;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod write;

/// The version of the format that this program writes, and the newest that it reads.
pub const SEGMENT_VERSION: u32 = 1;

/// Bytes of the file's header.
pub const SEGMENT_HEADER_BYTES: usize = 64;

/// Bytes of the envelope behind the footer.
pub const SEGMENT_ENVELOPE_BYTES: usize = 64;

pub(crate) const HEADER_MAGIC: [u8; 8] = *b"QUORSEG\0";
pub(crate) const ENVELOPE_MAGIC: [u8; 8] = *b"QSEGFOOT";

/// How the footer is archived: rkyv 0.8, little-endian, unaligned, pointers of 32 bits.
const ARCHIVE_FORMAT: u8 = 1;

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    Plain,
    /// LZ4: cheap both ways.
    Lz4,
    /// Zstandard at a level from 1 to 19.
    Zstd(u8),
}

impl Codec {
    pub(crate) const fn code(self) -> (u8, u8) {
        match self {
            Self::Plain => (0, 0),
            Self::Lz4 => (1, 0),
            Self::Zstd(level) => (2, level),
        }
    }

    pub(crate) const fn from_code(code: u8, level: u8) -> Option<Self> {
        match (code, level) {
            (0, 0) => Some(Self::Plain),
            (1, 0) => Some(Self::Lz4),
            (2, 1..=19) => Some(Self::Zstd(level)),
            _ => None,
        }
    }
}

/// What a segment is and how it is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSpec {
    /// The cluster.
    pub cluster: u128,
    /// The group whose entries these are.
    pub group: u64,
    /// How blocks are compressed.
    pub codec: Codec,
    /// Whether payloads that are arrays of 128-byte records are turned into columns before they are compressed.
    pub columns: bool,
    /// Bytes of a block before compression.
    pub block_bytes: u32,
    /// The keys with which payloads are encrypted, as the caller names them.
    pub key_ids: Vec<u128>,
}

impl SegmentSpec {
    /// A segment with the usual layout: blocks of 64 KiB, columns, Zstandard at its quickest level.
    #[must_use]
    pub const fn new(cluster: u128, group: u64) -> Self {
        Self {
            cluster,
            group,
            codec: Codec::Zstd(1),
            columns: true,
            block_bytes: SEGMENT_BLOCK_BYTES,
            key_ids: Vec::new(),
        }
    }

    fn check(&self) -> Result<(), SegmentError> {
        let (code, level) = self.codec.code();
        let sound = Codec::from_code(code, level).is_some()
            && (SEGMENT_BLOCK_BYTES_LEAST..=SEGMENT_BLOCK_BYTES_MOST).contains(&self.block_bytes)
            && self.key_ids.len() <= KEY_IDS_MAX;
        if sound {
            Ok(())
        } else {
            Err(SegmentError::Settings)
        }
    }
}

/// Why a segment was not begun, or an entry not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SegmentError {
    /// A setting is out of its bounds.
    #[error(
        "settings out of bounds: zstd levels 1 to 19, blocks of 1 KiB to 1 MiB, at most {KEY_IDS_MAX} keys"
    )]
    Settings,
    /// Entries come one after the other.
    #[error("entry {found} where {expected} is next")]
    Order {
        /// The entry that is next.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// Terms do not fall.
    #[error("entry {index} is of term {found}, the one before of term {before}")]
    Term {
        /// The entry.
        index: u64,
        /// The term before it.
        before: u64,
        /// Its term.
        found: u64,
    },
    /// A part of the entry is larger than an entry's may be.
    #[error("a part of entry {index} is too large")]
    TooLarge {
        /// The entry.
        index: u64,
    },
    /// The payload is not what its checksum says: read it again, or from a peer.
    #[error("the payload of entry {index} does not match its checksum")]
    Payload {
        /// The entry.
        index: u64,
    },
    /// The segment has as many blocks or runs of terms as it may: finish it and begin another.
    #[error("the segment is full")]
    Full,
    /// A segment holds at least one entry.
    #[error("no entries")]
    Empty,
}

/// The first 64 bytes of a segment.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    magic: [u8; 8],
    version: U32,
    /// CRC-32 of the magic and the version.
    prefix_crc: U32,
    cluster: U128,
    group: U64,
    first: U64,
    block_bytes: U32,
    codec: u8,
    level: u8,
    columns: u8,
    archive: u8,
    reserved: U32,
    /// CRC-32 of the 60 bytes before; the seed of all checksums behind it.
    header_crc: U32,
}

/// The last 64 bytes of a segment.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Envelope {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) footer_bytes: U32,
    pub(crate) file_bytes: U64,
    pub(crate) last: U64,
    pub(crate) blocks: U32,
    /// CRC-32 of the footer.
    pub(crate) footer_crc: U32,
    pub(crate) reserved: [u8; 20],
    /// CRC-32 of the 60 bytes before.
    pub(crate) envelope_crc: U32,
}

const _: () = assert!(size_of::<Header>() == SEGMENT_HEADER_BYTES, "as drawn");
const _: () = assert!(size_of::<Envelope>() == SEGMENT_ENVELOPE_BYTES, "as drawn");

/// CRC-32 of `bytes`, started from `seed`.
pub(crate) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Where the checksums of one file start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) const fn new(header_crc: u32) -> Self {
        Self(header_crc)
    }

    pub(crate) const fn block_header(self, block: u32) -> u32 {
        self.0 ^ block
    }

    pub(crate) const fn stored(self, block: u32) -> u32 {
        !self.0 ^ block
    }

    pub(crate) const fn decoded(self, block: u32) -> u32 {
        self.0.rotate_left(16) ^ block
    }

    pub(crate) const fn footer(self) -> u32 {
        self.0.rotate_left(8)
    }

    pub(crate) const fn envelope(self) -> u32 {
        self.0.rotate_left(24)
    }
}

impl Header {
    pub(crate) fn new(spec: &SegmentSpec, first: u64) -> Self {
        let (codec, level) = spec.codec.code();
        let mut header = Self {
            magic: HEADER_MAGIC,
            version: SEGMENT_VERSION.into(),
            prefix_crc: 0.into(),
            cluster: spec.cluster.into(),
            group: spec.group.into(),
            first: first.into(),
            block_bytes: spec.block_bytes.into(),
            codec,
            level,
            columns: u8::from(spec.columns),
            archive: ARCHIVE_FORMAT,
            reserved: 0.into(),
            header_crc: 0.into(),
        };
        header.prefix_crc = checksum(0, &header.as_bytes()[..12]).into();
        header.header_crc = checksum(0, &header.as_bytes()[..SEGMENT_HEADER_BYTES - 4]).into();
        header
    }

    pub(crate) fn seed(&self) -> Seed {
        Seed(self.header_crc.get())
    }

    pub(crate) const fn first(&self) -> u64 {
        self.first.get()
    }

    pub(crate) const fn group(&self) -> u64 {
        self.group.get()
    }

    /// Checks the header of a file; answers what the segment is, but for its keys.
    pub(crate) fn check(bytes: &[u8]) -> Result<(Self, SegmentSpec), Damage> {
        let damage = |kind| Damage {
            part: Part::Header,
            offset: 0,
            bytes: SEGMENT_HEADER_BYTES as u64,
            kind,
            group: None,
            first: None,
            last: None,
        };
        let (header, _) = Self::read_from_prefix(bytes).map_err(|_| {
            let expected = (SEGMENT_HEADER_BYTES + SEGMENT_ENVELOPE_BYTES) as u64;
            damage(DamageKind::Length {
                found: bytes.len() as u64,
                expected,
            })
        })?;
        // A segment whose first bytes are damaged still ends as a segment does.
        let end = bytes.len().saturating_sub(SEGMENT_ENVELOPE_BYTES);
        if header.magic != HEADER_MAGIC && !bytes[end..].starts_with(&ENVELOPE_MAGIC) {
            return Err(damage(DamageKind::Foreign));
        }
        if checksum(0, &bytes[..12]) != header.prefix_crc.get() {
            return Err(damage(DamageKind::Checksum));
        }
        if header.version.get() > SEGMENT_VERSION {
            return Err(damage(DamageKind::Newer {
                found: header.version.get(),
                supported: SEGMENT_VERSION,
            }));
        }
        if checksum(0, &bytes[..SEGMENT_HEADER_BYTES - 4]) != header.header_crc.get() {
            return Err(damage(DamageKind::Checksum));
        }
        let contradiction = || damage(DamageKind::Contradiction);
        let codec = Codec::from_code(header.codec, header.level).ok_or_else(contradiction)?;
        let spec = SegmentSpec {
            cluster: header.cluster.get(),
            group: header.group.get(),
            codec,
            columns: header.columns == 1,
            block_bytes: header.block_bytes.get(),
            key_ids: Vec::new(),
        };
        let sound = header.magic == HEADER_MAGIC
            && header.version.get() == SEGMENT_VERSION
            && header.archive == ARCHIVE_FORMAT
            && header.columns <= 1
            && spec.check().is_ok();
        if sound {
            Ok((header, spec))
        } else {
            Err(contradiction())
        }
    }
}

impl Envelope {
    pub(crate) fn new(seed: Seed, footer: &[u8], file_bytes: u64, last: u64, blocks: u32) -> Self {
        let mut envelope = Self {
            magic: ENVELOPE_MAGIC,
            version: SEGMENT_VERSION.into(),
            footer_bytes: (footer.len() as u32).into(),
            file_bytes: file_bytes.into(),
            last: last.into(),
            blocks: blocks.into(),
            footer_crc: checksum(seed.footer(), footer).into(),
            reserved: [0; 20],
            envelope_crc: 0.into(),
        };
        envelope.envelope_crc = envelope.crc(seed).into();
        envelope
    }

    pub(crate) fn crc(&self, seed: Seed) -> u32 {
        checksum(
            seed.envelope(),
            &self.as_bytes()[..SEGMENT_ENVELOPE_BYTES - 4],
        )
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.magic == ENVELOPE_MAGIC && self.version.get() == SEGMENT_VERSION
    }
}

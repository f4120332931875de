//! A record: one entry, or the newest metadata, of one group, as it lies in a block.
//!
//! ```text
//!  0  u64 group        24  u32 payload_bytes     36  u32 header_crc (bytes 0..36 and the head,
//!  8  u64 index        28  u32 payload_crc                seeded with the record's place)
//! 16  u64 term         32  u16 head_bytes        40  head, padded with zeros to 8
//!                      34  u8 kind  35  u8 flags  ..  payload, padded with zeros to 8
//! ```
//!
//! - Every length is under `header_crc`, so a record that passes is framed right.
//! - `payload_crc` is the CRC-32 (IEEE) of the payload alone, computed by whoever made the payload and
//!   carried along unchanged: it travels from the client to the reader.

use bytes::Bytes;
use crc32fast::Hasher;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::identity::Seeds;
use crate::limits::{HEAD_BYTES_MAX, RECORD_PAYLOAD_MAX};
use crate::mutants::{Mutant, is_planted};

/// Bytes of a record's fixed header.
pub const RECORD_HEADER_BYTES: usize = 40;

/// Bytes of the header that `header_crc` covers, before the head.
const COVERED_BYTES: usize = 36;

/// Heads up to this size are checksummed together with the header.
const SMALL_HEAD_BYTES: usize = 64;

/// Bytes copied at once.
const COPY_BYTES: usize = 1024;

/// Flag: the group's entries begin anew here; whatever came before it was dropped on purpose.
pub(crate) const FLAG_RESTART: u8 = 1;

/// Flag: entries of the group at this index and above were superseded by it.
pub(crate) const FLAG_SUPERSEDES: u8 = 2;

/// What a record is to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An entry at its index; a later one at the same or a lower index supersedes it.
    Entry,
    /// The group's metadata; the newest replaces all older ones. `index` and `term` are the caller's.
    Meta,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::Meta => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Entry),
            2 => Some(Self::Meta),
            _ => None,
        }
    }
}

/// A record to append; borrowed, since it is copied once into the block.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The group it belongs to.
    pub group: u64,
    /// Its index in the group's log; the caller's own number for metadata.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Entry or metadata.
    pub kind: Kind,
    /// A small opaque part of at most [`HEAD_BYTES_MAX`] bytes, under the header's checksum.
    pub head: &'a [u8],
    /// The large opaque part, at most [`RECORD_PAYLOAD_MAX`] bytes.
    pub payload: &'a [u8],
    /// CRC-32 (IEEE) of `payload`, from whoever made it. Checked when read back, not on append.
    pub payload_crc: u32,
}

/// A record read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// The group it belongs to.
    pub group: u64,
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Entry or metadata.
    pub kind: Kind,
    /// The small opaque part.
    pub head: Bytes,
    /// The payload, verified against `payload_crc`.
    pub payload: Bytes,
    /// CRC-32 (IEEE) of the payload.
    pub payload_crc: u32,
}

impl OwnedRecord {
    /// The same record, its bytes lent.
    #[must_use]
    pub fn lent(&self) -> Record<'_> {
        Record {
            group: self.group,
            index: self.index,
            term: self.term,
            kind: self.kind,
            head: &self.head,
            payload: &self.payload,
            payload_crc: self.payload_crc,
        }
    }
}

/// The fixed header of a record on disk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RecordHeader {
    pub(crate) group: U64,
    pub(crate) index: U64,
    pub(crate) term: U64,
    pub(crate) payload_bytes: U32,
    pub(crate) payload_crc: U32,
    pub(crate) head_bytes: U16,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) header_crc: U32,
}

const _: () = assert!(
    size_of::<RecordHeader>() == RECORD_HEADER_BYTES,
    "the format is 40 bytes"
);

/// Bytes a record takes in a block.
pub(crate) const fn record_bytes(head: usize, payload: usize) -> usize {
    RECORD_HEADER_BYTES + head.next_multiple_of(8) + payload.next_multiple_of(8)
}

/// Writes a record at the start of `into` and returns its `header_crc`. The one copy of the payload.
#[inline(always)]
pub(crate) fn encode(
    record: &Record<'_>,
    flags: u8,
    seeds: Seeds,
    offset: u32,
    into: &mut [u8],
) -> u32 {
    let (head, payload) = (record.head, record.payload);
    let mut header = RecordHeader {
        group: record.group.into(),
        index: record.index.into(),
        term: record.term.into(),
        payload_bytes: (payload.len() as u32).into(),
        payload_crc: record.payload_crc.into(),
        head_bytes: (head.len() as u16).into(),
        kind: record.kind.code(),
        flags,
        header_crc: 0.into(),
    };
    let crc = header_crc(&header, head, seeds, offset);
    header.header_crc = crc.into();
    let (fixed, rest) = into.split_at_mut(RECORD_HEADER_BYTES);
    fixed.copy_from_slice(header.as_bytes());
    let (head_into, payload_into) = rest.split_at_mut(head.len().next_multiple_of(8));
    fill(head_into, head);
    fill(
        &mut payload_into[..payload.len().next_multiple_of(8)],
        payload,
    );
    crc
}

/// Copies `from` and clears the padding behind it.
fn fill(into: &mut [u8], from: &[u8]) {
    let (body, padding) = into.split_at_mut(from.len());
    // In pieces that are copied by vector registers: the string instruction that large copies are made of crawls
    // on some machines when source and target lie unluckily.
    for (into, from) in body.chunks_mut(COPY_BYTES).zip(from.chunks(COPY_BYTES)) {
        into.copy_from_slice(from);
    }
    padding.fill(0);
}

#[inline(always)]
fn header_crc(header: &RecordHeader, head: &[u8], seeds: Seeds, offset: u32) -> u32 {
    let mut hasher = Hasher::new_with_initial(seeds.record(offset));
    let fixed = &header.as_bytes()[..COVERED_BYTES];
    if head.len() <= SMALL_HEAD_BYTES {
        // One call over a few bytes more costs less than two.
        let mut covered = [0; COVERED_BYTES + SMALL_HEAD_BYTES];
        covered[..COVERED_BYTES].copy_from_slice(fixed);
        covered[COVERED_BYTES..COVERED_BYTES + head.len()].copy_from_slice(head);
        hasher.update(&covered[..COVERED_BYTES + head.len()]);
    } else {
        hasher.update(fixed);
        hasher.update(head);
    }
    hasher.finalize()
}

/// A record found in a block: its header has passed its checksum, its payload is judged by `intact`.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The record as it was appended.
    pub record: Record<'a>,
    /// Whether the payload matches `payload_crc`.
    pub intact: bool,
    /// Whether the group's entries begin anew with it.
    pub restart: bool,
    /// Whether it does more than follow on the group's last entry: begins anew, or supersedes.
    pub turn: bool,
    /// Offset of the record in its segment, in bytes.
    pub offset: u32,
    /// Bytes it takes in the block.
    pub bytes: u32,
    /// Its header's checksum.
    pub header_crc: u32,
}

impl Found<'_> {
    /// The flags that it was written with.
    pub(crate) const fn flags(&self) -> u8 {
        if self.restart {
            FLAG_RESTART
        } else if self.turn {
            FLAG_SUPERSEDES
        } else {
            0
        }
    }
}

/// Reads the record at the start of `from`, which lies at `offset` of its segment. `None` when the header fails.
pub(crate) fn decode(from: &[u8], seeds: Seeds, offset: u32) -> Option<Found<'_>> {
    let proof = prove(from, seeds, offset)?;
    let found = decode_trusting(from, offset)?;
    Some(Found {
        intact: proof.intact,
        ..found
    })
}

/// What the checksums of a record say of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proof {
    /// Whether the payload matches `payload_crc`.
    pub(crate) intact: bool,
    /// Bytes it takes in the block.
    pub(crate) bytes: u32,
    pub(crate) header_crc: u32,
}

/// Judges the record at the start of `from`, which lies at `offset` of its segment. `None` when the header fails.
#[inline]
pub(crate) fn prove(from: &[u8], seeds: Seeds, offset: u32) -> Option<Proof> {
    let frame = Frame::read(from)?;
    let crc = if frame.head.len() <= SMALL_HEAD_BYTES {
        frame.small_crc(from, seeds, offset)
    } else {
        header_crc(frame.header, frame.head, seeds, offset)
    };
    let header_crc = frame.header.header_crc.get();
    let is_payload_intact = || {
        crc32fast::hash(frame.payload) == frame.header.payload_crc.get()
            || is_planted(Mutant::ChecksumNotVerified)
            || is_planted(Mutant::TornTailAccepted)
    };
    (crc == header_crc).then(|| Proof {
        intact: is_payload_intact(),
        bytes: frame.bytes as u32,
        header_crc,
    })
}

/// The parts of a record of which every length fits.
struct Frame<'a> {
    header: &'a RecordHeader,
    head: &'a [u8],
    payload: &'a [u8],
    bytes: usize,
    kind: Kind,
}

impl<'a> Frame<'a> {
    #[inline]
    fn read(from: &'a [u8]) -> Option<Self> {
        let (header, rest) = RecordHeader::ref_from_prefix(from).ok()?;
        let head_bytes = usize::from(header.head_bytes.get());
        let payload_bytes = header.payload_bytes.get() as usize;
        if head_bytes > HEAD_BYTES_MAX || payload_bytes > RECORD_PAYLOAD_MAX {
            return None;
        }
        let bytes = record_bytes(head_bytes, payload_bytes);
        if bytes > from.len() {
            return None;
        }
        let (head_padded, rest) = rest.split_at(head_bytes.next_multiple_of(8));
        Some(Self {
            header,
            head: &head_padded[..head_bytes],
            payload: &rest[..payload_bytes],
            bytes,
            kind: Kind::from_code(header.kind)?,
        })
    }

    /// [`header_crc`] of a small head: copies of a fixed length, where there are as many bytes, are a few instructions.
    #[inline]
    fn small_crc(&self, from: &[u8], seeds: Seeds, offset: u32) -> u32 {
        let rest = from.get(RECORD_HEADER_BYTES..);
        let Some(behind) = rest.and_then(<[u8]>::first_chunk::<SMALL_HEAD_BYTES>) else {
            return header_crc(self.header, self.head, seeds, offset);
        };
        let mut covered = [0; COVERED_BYTES + SMALL_HEAD_BYTES];
        covered[..COVERED_BYTES].copy_from_slice(&self.header.as_bytes()[..COVERED_BYTES]);
        covered[COVERED_BYTES..].copy_from_slice(behind);
        let mut hasher = Hasher::new_with_initial(seeds.record(offset));
        hasher.update(&covered[..COVERED_BYTES + self.head.len()]);
        hasher.finalize()
    }
}

/// Like [`decode`], for a record that passed all its checksums a moment ago.
#[inline]
pub(crate) fn decode_trusting(from: &[u8], offset: u32) -> Option<Found<'_>> {
    let frame = Frame::read(from)?;
    let header = frame.header;
    let record = Record {
        group: header.group.get(),
        index: header.index.get(),
        term: header.term.get(),
        kind: frame.kind,
        head: frame.head,
        payload: frame.payload,
        payload_crc: header.payload_crc.get(),
    };
    Some(Found {
        record,
        intact: true,
        restart: header.flags & FLAG_RESTART != 0,
        turn: header.flags & (FLAG_RESTART | FLAG_SUPERSEDES) != 0,
        offset,
        bytes: frame.bytes as u32,
        header_crc: header.header_crc.get(),
    })
}

impl Record<'_> {
    /// A copy that owns its bytes.
    #[must_use]
    pub fn to_owned_record(&self) -> OwnedRecord {
        OwnedRecord {
            group: self.group,
            index: self.index,
            term: self.term,
            kind: self.kind,
            head: Bytes::copy_from_slice(self.head),
            payload: Bytes::copy_from_slice(self.payload),
            payload_crc: self.payload_crc,
        }
    }
}

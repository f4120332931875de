//! An entry, and its record in the canonical stream of a segment.
//!
//! ```text
//!  0  u64 index   8  u64 term   16  u64 time   24  u32 payload_bytes   28  u32 payload_crc
//! 32  u16 head_bytes   34  6 zeros   40  head   ..  payload
//! ```
//!
//! - A record's header and head lie in one block; its payload may go on in the next ones.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits::{ENTRY_HEAD_MAX, ENTRY_PAYLOAD_MAX};

/// Bytes of a record's header.
pub(crate) const RECORD_BYTES: usize = 40;

/// An entry to seal; borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its index in the group's log.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// When it was proposed, as the caller counts time; 0 if that is not known.
    pub time: u64,
    /// The small opaque part, at most [`ENTRY_HEAD_MAX`] bytes.
    pub head: &'a [u8],
    /// The large opaque part, at most [`ENTRY_PAYLOAD_MAX`] bytes.
    pub payload: &'a [u8],
    /// CRC-32 (IEEE) of `payload`, from whoever made it.
    pub payload_crc: u32,
}

/// An entry read back from a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedEntry {
    /// Its index in the group's log.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// When it was proposed, as whoever sealed it counted time.
    pub time: u64,
    /// The small opaque part.
    pub head: Vec<u8>,
    /// The large opaque part, verified against `payload_crc`.
    pub payload: Vec<u8>,
    /// CRC-32 (IEEE) of the payload.
    pub payload_crc: u32,
}

impl OwnedEntry {
    /// The entry to seal again.
    #[must_use]
    pub fn borrow(&self) -> Entry<'_> {
        Entry {
            index: self.index,
            term: self.term,
            time: self.time,
            head: &self.head,
            payload: &self.payload,
            payload_crc: self.payload_crc,
        }
    }
}

/// A record's header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RecordHeader {
    pub(crate) index: U64,
    pub(crate) term: U64,
    pub(crate) time: U64,
    pub(crate) payload_bytes: U32,
    pub(crate) payload_crc: U32,
    pub(crate) head_bytes: U16,
    reserved: [u8; 6],
}

const _: () = assert!(size_of::<RecordHeader>() == RECORD_BYTES, "as drawn");

impl RecordHeader {
    /// The header of an entry whose parts are within their bounds.
    pub(crate) fn new(entry: &Entry<'_>) -> Self {
        Self {
            index: entry.index.into(),
            term: entry.term.into(),
            time: entry.time.into(),
            payload_bytes: (entry.payload.len() as u32).into(),
            payload_crc: entry.payload_crc.into(),
            head_bytes: (entry.head.len() as u16).into(),
            reserved: [0; 6],
        }
    }

    /// Reads the header and the head at the start of `bytes`, if they are whole and within their bounds.
    pub(crate) fn read(bytes: &[u8]) -> Option<(&Self, &[u8])> {
        let (header, rest) = Self::ref_from_prefix(bytes).ok()?;
        let head_bytes = usize::from(header.head_bytes.get());
        let sound = head_bytes <= ENTRY_HEAD_MAX && header.payload() <= ENTRY_PAYLOAD_MAX;
        let head = rest.get(..head_bytes).filter(|_| sound)?;
        Some((header, head))
    }

    /// Bytes of the payload.
    pub(crate) const fn payload(&self) -> usize {
        self.payload_bytes.get() as usize
    }

    /// Bytes of header and head.
    pub(crate) fn before_payload(&self) -> usize {
        RECORD_BYTES + usize::from(self.head_bytes.get())
    }
}

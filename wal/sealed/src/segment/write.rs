//! Writes a segment from its entries, a bounded slice at a time.
//!
//! - A slice ends after about as many canonical bytes as the caller allows; a large entry is taken in pieces.
//! - The payload's checksum is checked before the first piece is taken: what is rotten is not sealed.

use zerocopy::IntoBytes as _;

use crate::limits::{ENTRY_HEAD_MAX, ENTRY_PAYLOAD_MAX, SEGMENT_BLOCKS_MAX, TERM_RUNS_MAX};
use crate::merkle::{self, Hash};
use crate::segment::block::{BLOCK_HEADER_BYTES, Packer, Raw, is_array};
use crate::segment::columns::RECORD;
use crate::segment::footer::{BlockRow, Footer, TermRun, archive};
use crate::segment::record::{Entry, RecordHeader};
use crate::segment::{Envelope, Header, SEGMENT_ENVELOPE_BYTES, SegmentError, SegmentSpec};

/// How much of an entry was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// All of it: go on with the next.
    Whole,
    /// A part of it: offer the same entry again.
    Part,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSummary {
    /// First index.
    pub first: u64,
    /// Last index.
    pub last: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of all payloads.
    pub payload_bytes: u64,
    /// Root of the Merkle tree over the blocks.
    pub root: Hash,
}

/// A segment being written.
pub struct SegmentWriter {
    spec: SegmentSpec,
    header: Header,
    packer: Packer,
    raw: Raw,
    time_least: u64,
    time_most: u64,
    /// Bytes of the entry's payload that were taken, when a part of it was.
    part: Option<usize>,
    next: u64,
    offset: u64,
    footer: Footer,
    /// What is left to write when the entries are complete.
    tail: Option<(Vec<u8>, usize)>,
}

impl SegmentWriter {
    /// Begins a segment with the entry at `first`.
    ///
    /// # Errors
    /// [`SegmentError::Settings`] when a setting is out of its bounds.
    pub fn new(spec: SegmentSpec, first: u64) -> Result<Self, SegmentError> {
        spec.check()?;
        Ok(Self {
            header: Header::new(&spec, first),
            packer: Packer::new(spec.codec, spec.columns),
            raw: Raw::default(),
            time_least: u64::MAX,
            time_most: 0,
            part: None,
            next: first,
            offset: 0,
            footer: Footer {
                group: spec.group,
                first,
                last: first,
                time_least: u64::MAX,
                time_most: 0,
                payload_bytes: 0,
                decoded_bytes: 0,
                root: [0; 32],
                terms: Vec::new(),
                blocks: Vec::new(),
                key_ids: spec.key_ids.clone(),
            },
            tail: None,
            spec,
        })
    }

    /// The index of the entry that is next, or of the one of which a part was taken.
    #[must_use]
    pub const fn next_index(&self) -> u64 {
        self.next
    }

    /// Bytes of the file so far; what is gathered for the next block is not among them.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.offset
    }

    /// Takes an entry, or a part of it of about `budget` bytes, and appends what is ready of the file to `out`.
    ///
    /// # Errors
    /// Why the entry was not taken; the segment is as it was, and can be finished unless a part of the entry had
    /// been taken.
    pub fn append(
        &mut self,
        entry: &Entry<'_>,
        budget: usize,
        out: &mut Vec<u8>,
    ) -> Result<Taken, SegmentError> {
        let mut at = match self.part {
            Some(at) if entry.index == self.next => at,
            _ => self.begin(entry, out)?,
        };
        let array = is_array(entry.payload.len());
        let mut room = budget.clamp(self.spec.block_bytes as usize, ENTRY_PAYLOAD_MAX);
        while at < entry.payload.len() {
            if room == 0 {
                self.part = Some(at);
                return Ok(Taken::Part);
            }
            let space = self.spec.block_bytes as usize - self.raw.bytes.len();
            let left = entry.payload.len() - at;
            let mut piece = left.min(space).min(room.next_multiple_of(RECORD));
            if piece < left {
                piece -= piece % RECORD;
            }
            if piece == 0 {
                self.write_block(out);
                (self.raw.first, self.raw.lead_array) = (entry.index, array);
                continue;
            }
            self.raw.put(&entry.payload[at..at + piece], array);
            (at, room) = (at + piece, room.saturating_sub(piece));
        }
        self.part = None;
        self.footer.last = self.next;
        self.next += 1;
        Ok(Taken::Whole)
    }

    /// Checks an entry and puts its header and head into a block.
    fn begin(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) -> Result<usize, SegmentError> {
        let index = entry.index;
        if index != self.next || self.part.is_some() || self.tail.is_some() {
            let expected = self.next;
            return Err(SegmentError::Order {
                expected,
                found: index,
            });
        }
        let term = self.footer.terms.last().map(|run| run.term);
        if let Some(before) = term.filter(|before| *before > entry.term) {
            let found = entry.term;
            return Err(SegmentError::Term {
                index,
                before,
                found,
            });
        }
        if entry.head.len() > ENTRY_HEAD_MAX || entry.payload.len() > ENTRY_PAYLOAD_MAX {
            return Err(SegmentError::TooLarge { index });
        }
        let blocks = entry.payload.len() / self.spec.block_bytes as usize + 2;
        let full = self.footer.blocks.len() + blocks > SEGMENT_BLOCKS_MAX as usize
            || self.footer.terms.len() == TERM_RUNS_MAX
            || index == u64::MAX;
        if full {
            return Err(SegmentError::Full);
        }
        if crc32fast::hash(entry.payload) != entry.payload_crc {
            return Err(SegmentError::Payload { index });
        }
        let record = RecordHeader::new(entry);
        let space = self.spec.block_bytes as usize - self.raw.bytes.len();
        if record.before_payload() + entry.payload.len().min(RECORD) > space {
            self.write_block(out);
        }
        if self.raw.bytes.is_empty() {
            self.raw.first = index;
        }
        self.raw.begins += 1;
        self.raw
            .begins_at
            .get_or_insert(self.raw.bytes.len() as u32);
        self.raw.put(record.as_bytes(), false);
        self.raw.put(entry.head, false);
        if term != Some(entry.term) {
            let (first, term) = (index, entry.term);
            self.footer.terms.push(TermRun { first, term });
        }
        self.time_least = self.time_least.min(entry.time);
        self.time_most = self.time_most.max(entry.time);
        self.footer.payload_bytes += entry.payload.len() as u64;
        Ok(0)
    }

    fn write_block(&mut self, out: &mut Vec<u8>) {
        if self.offset == 0 {
            out.extend_from_slice(self.header.as_bytes());
            self.offset = self.header.as_bytes().len() as u64;
        }
        let start = out.len();
        let number = self.footer.blocks.len() as u32;
        let header = self.packer.pack(&self.raw, number, self.header.seed(), out);
        let bytes = (BLOCK_HEADER_BYTES + header.stored_bytes.get() as usize) as u32;
        self.footer.blocks.push(BlockRow {
            offset: self.offset,
            first: self.raw.first,
            begins: self.raw.begins,
            continues: u8::from(self.raw.begins_at != Some(0)),
            bytes,
            decoded_bytes: header.decoded_bytes.get(),
            stored_crc: header.stored_crc(),
            time_least: self.time_least,
            time_most: self.time_most,
            leaf: merkle::leaf(&[self.header.as_bytes(), &out[start..]]),
        });
        self.offset += u64::from(bytes);
        let footer = &mut self.footer;
        footer.decoded_bytes += self.raw.bytes.len() as u64;
        footer.time_least = footer.time_least.min(self.time_least);
        footer.time_most = footer.time_most.max(self.time_most);
        (self.time_least, self.time_most) = (u64::MAX, 0);
        self.raw.clear();
    }

    /// Completes the file, about `budget` bytes at a time; true when it is complete.
    ///
    /// # Errors
    /// [`SegmentError::Empty`] when no entry was taken, [`SegmentError::Order`] when only a part of the last was.
    pub fn finish(&mut self, budget: usize, out: &mut Vec<u8>) -> Result<bool, SegmentError> {
        if self.next == self.header.first() && self.part.is_none() {
            return Err(SegmentError::Empty);
        }
        if self.part.is_some() {
            let (expected, found) = (self.next, self.next + 1);
            return Err(SegmentError::Order { expected, found });
        }
        let Some((tail, written)) = &mut self.tail else {
            if !self.raw.bytes.is_empty() {
                self.write_block(out);
            }
            let leaves: Vec<Hash> = self.footer.blocks.iter().map(|row| row.leaf).collect();
            self.footer.root = merkle::root(&leaves);
            let mut tail = archive(&self.footer);
            let bytes = self.offset + (tail.len() + SEGMENT_ENVELOPE_BYTES) as u64;
            let (seed, last) = (self.header.seed(), self.footer.last);
            let envelope = Envelope::new(seed, &tail, bytes, last, leaves.len() as u32);
            tail.extend_from_slice(envelope.as_bytes());
            self.tail = Some((tail, 0));
            return Ok(false);
        };
        let slice = &tail[*written..];
        let slice = &slice[..slice.len().min(budget.max(SEGMENT_ENVELOPE_BYTES))];
        out.extend_from_slice(slice);
        *written += slice.len();
        self.offset += slice.len() as u64;
        Ok(*written == tail.len())
    }

    /// What was written, once the file is complete.
    #[must_use]
    pub const fn summary(&self) -> SegmentSummary {
        SegmentSummary {
            first: self.footer.first,
            last: self.footer.last,
            bytes: self.offset,
            payload_bytes: self.footer.payload_bytes,
            root: self.footer.root,
        }
    }
}

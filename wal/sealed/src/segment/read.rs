//! Reads a sealed segment in place: entries by index or in order, terms, times, and proofs of inclusion.
//!
//! - Every block is checked each time it is read: its header against the footer, its stored bytes, and the canonical
//!   bytes. What fails is named by block and by the entries that have a byte in it.

use std::sync::Arc;

use crate::damage::{Damage, DamageKind, Part};
use crate::merkle::{self, Hash};
use crate::segment::block::{BlockHeader, Unpacker};
use crate::segment::entries::SegmentEntries;
use crate::segment::footer::{ArchivedBlockRow, ArchivedFooter, FooterArchive, TermRun};
use crate::segment::record::{OwnedEntry, RecordHeader};
use crate::segment::{SEGMENT_HEADER_BYTES, Seed, SegmentSpec, open};

/// A sealed segment that was opened; the bytes are a mapped file, or memory.
pub struct SegmentReader<B> {
    pub(crate) bytes: B,
    pub(crate) spec: SegmentSpec,
    pub(crate) seed: Seed,
    pub(crate) footer: FooterArchive,
}

/// That a block belongs to the segment with a given root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// The block, counted from 0.
    pub block: u32,
    /// Blocks of the segment.
    pub blocks: u32,
    /// The hashes beside the way from the block to the root.
    pub path: Vec<Hash>,
}

impl InclusionProof {
    /// Whether the block with these bytes, of a segment with this header, belongs to the segment with this root.
    #[must_use]
    pub fn holds(&self, root: &Hash, header: &[u8], block: &[u8]) -> bool {
        let leaf = merkle::leaf(&[header, block]);
        let (nth, leaves) = (self.block as usize, self.blocks as usize);
        header.len() == SEGMENT_HEADER_BYTES
            && merkle::root_of(leaf, nth, leaves, &self.path) == Some(*root)
    }
}

impl<B: AsRef<[u8]>> SegmentReader<B> {
    /// Opens a segment. The work is in proportion to its number of blocks.
    ///
    /// # Errors
    /// What is wrong with header, footer or envelope.
    pub fn open(bytes: B) -> Result<Self, Damage> {
        open::open(bytes)
    }

    /// What the segment is and how it is laid out.
    #[must_use]
    pub const fn spec(&self) -> &SegmentSpec {
        &self.spec
    }

    /// The footer, in place.
    pub(crate) fn footer(&self) -> &ArchivedFooter {
        self.footer.get()
    }

    /// First index.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.footer().first.to_native()
    }

    /// Last index.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.footer().last.to_native()
    }

    /// Earliest and latest time of an entry.
    #[must_use]
    pub fn time_range(&self) -> (u64, u64) {
        let footer = self.footer();
        (footer.time_least.to_native(), footer.time_most.to_native())
    }

    /// Root of the Merkle tree over the blocks.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.footer().root
    }

    /// Number of blocks.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.footer().blocks.len() as u32
    }

    /// Bytes of all payloads.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.footer().payload_bytes.to_native()
    }

    /// Bytes of all blocks before compression.
    #[must_use]
    pub fn decoded_bytes(&self) -> u64 {
        self.footer().decoded_bytes.to_native()
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.bytes.as_ref().len() as u64
    }

    /// Bytes of memory that the footer occupies.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.footer.bytes()
    }

    /// Where terms begin.
    pub fn terms(&self) -> impl Iterator<Item = TermRun> + '_ {
        self.footer().terms.iter().map(|run| TermRun {
            first: run.first.to_native(),
            term: run.term.to_native(),
        })
    }

    /// The term of an entry; `None` outside of the segment.
    #[must_use]
    pub fn term_at(&self, index: u64) -> Option<u64> {
        let footer = self.footer();
        if index < self.first() || index > self.last() {
            return None;
        }
        let past = footer
            .terms
            .partition_point(|run| run.first.to_native() <= index);
        Some(footer.terms.get(past.checked_sub(1)?)?.term.to_native())
    }

    /// An index at or before the first entry whose time is not before `time`, at a block's beginning; `None` when
    /// all entries are before it. Times of entries need not rise.
    #[must_use]
    pub fn seek_time(&self, time: u64) -> Option<u64> {
        let mut blocks = self.footer().blocks.iter();
        let row =
            blocks.find(|row| row.begins.to_native() > 0 && row.time_most.to_native() >= time);
        row.map(ArchivedBlockRow::first_begin)
    }

    /// The entry at an index; `None` outside of the segment.
    ///
    /// # Errors
    /// The damage of a block in which a part of it lies.
    pub fn entry(&self, index: u64) -> Result<Option<OwnedEntry>, Damage> {
        if index < self.first() || index > self.last() {
            return Ok(None);
        }
        self.entries(index).next().transpose()
    }

    /// The entries from an index on, in order; from the first one if the index is below it.
    #[must_use]
    pub fn entries(&self, from: u64) -> SegmentEntries<&Self, B> {
        SegmentEntries::new(self, from)
    }

    /// The entries from an index on, in order, of a segment that is shared with whoever walks.
    #[must_use]
    pub fn walk(segment: Arc<Self>, from: u64) -> SegmentEntries<Arc<Self>, B> {
        SegmentEntries::new(segment, from)
    }

    /// Checks about `budget` canonical bytes of blocks from block `from` on, down to every record; answers where
    /// to go on, `None` at the end.
    ///
    /// # Errors
    /// The damage of the first block that does not pass.
    pub fn verify(&self, from: u32, budget: usize) -> Result<Option<u32>, Damage> {
        if from == 0 && merkle::root(&self.leaves()) != self.root() {
            let kind = DamageKind::Contradiction;
            return Err(self.damage(Part::Footer, 0, self.file_bytes(), kind, None));
        }
        let mut unpacker = Unpacker::new();
        let (mut number, mut spent) = (from, 0);
        while number < self.blocks() && spent < budget.max(1) {
            let header = self.unpack(number, &mut unpacker)?;
            let row = self.row(number);
            let bytes = self.block_bytes(number).unwrap_or_default();
            let leaf = row.map_or([0; 32], |row| row.leaf);
            let sound = merkle::leaf(&[self.header_bytes(), bytes]) == leaf
                && are_records_in_order(&header, unpacker.decoded());
            if !sound {
                return Err(self.block_damage(number, DamageKind::Contradiction));
            }
            (number, spent) = (number + 1, spent + unpacker.decoded().len());
        }
        Ok((number < self.blocks()).then_some(number))
    }

    /// The file's header, which every leaf of the Merkle tree covers.
    #[must_use]
    pub fn header_bytes(&self) -> &[u8] {
        let bytes = self.bytes.as_ref();
        &bytes[..bytes.len().min(SEGMENT_HEADER_BYTES)]
    }

    /// A block as it is stored, header included.
    #[must_use]
    pub fn block_bytes(&self, number: u32) -> Option<&[u8]> {
        let row = self.row(number)?;
        let start = usize::try_from(row.offset.to_native()).ok()?;
        let end = start.checked_add(row.bytes.to_native() as usize)?;
        self.bytes.as_ref().get(start..end)
    }

    /// The block in which an entry begins; `None` outside of the segment.
    #[must_use]
    pub fn block_of(&self, index: u64) -> Option<u32> {
        if index < self.first() || index > self.last() {
            return None;
        }
        let blocks = &self.footer().blocks;
        let past = blocks.partition_point(|row| row.first_begin() <= index);
        Some(past.checked_sub(1)? as u32)
    }

    /// The proof that a block belongs to the segment; `None` if there is no such block.
    #[must_use]
    pub fn prove(&self, block: u32) -> Option<InclusionProof> {
        Some(InclusionProof {
            block,
            blocks: self.blocks(),
            path: merkle::path(&self.leaves(), block as usize)?,
        })
    }

    fn leaves(&self) -> Vec<Hash> {
        self.footer().blocks.iter().map(|row| row.leaf).collect()
    }

    fn row(&self, number: u32) -> Option<&ArchivedBlockRow> {
        self.footer().blocks.get(number as usize)
    }

    fn damage(
        &self,
        part: Part,
        offset: u64,
        bytes: u64,
        kind: DamageKind,
        entries: Option<(u64, u64)>,
    ) -> Damage {
        let (first, last) = entries.unwrap_or((self.first(), self.last()));
        Damage {
            part,
            offset,
            bytes,
            kind,
            group: Some(self.spec.group),
            first: Some(first),
            last: Some(last),
        }
    }

    pub(crate) fn block_damage(&self, number: u32, kind: DamageKind) -> Damage {
        let row = self.row(number);
        let (offset, bytes) = row.map_or((0, 0), |row| {
            (row.offset.to_native(), u64::from(row.bytes.to_native()))
        });
        let entries = row.map(|row| (row.first.to_native(), row.last()));
        self.damage(Part::Block(number), offset, bytes, kind, entries)
    }

    /// Checks and unpacks a block.
    pub(crate) fn unpack(
        &self,
        number: u32,
        unpacker: &mut Unpacker,
    ) -> Result<BlockHeader, Damage> {
        let damage = |kind| self.block_damage(number, kind);
        let contradiction = || damage(DamageKind::Contradiction);
        let row = self.row(number).ok_or_else(contradiction)?;
        let bytes = self.block_bytes(number).ok_or_else(contradiction)?;
        let (header, stored) = BlockHeader::check(bytes, number, self.seed).map_err(damage)?;
        let expected = header.first.get() == row.first.to_native()
            && header.begins.get() == row.begins.to_native()
            && (header.begins_at.get() == 0) == (row.continues == 0)
            && header.decoded_bytes.get() == row.decoded_bytes.to_native()
            && header.stored_crc() == row.stored_crc.to_native();
        if !expected {
            return Err(damage(DamageKind::Misplaced));
        }
        unpacker
            .unpack(&header, stored, self.seed)
            .map_err(damage)?;
        Ok(header)
    }
}

/// Whether a block's records begin where its header says, follow each other and fill it.
fn are_records_in_order(header: &BlockHeader, decoded: &[u8]) -> bool {
    let mut at = header.begins_at.get() as usize;
    let mut index = header.first.get().saturating_add(u64::from(at > 0));
    let mut begins = 0;
    while at < decoded.len() {
        let record = RecordHeader::read(&decoded[at..]);
        let Some((record, _)) = record.filter(|(record, _)| record.index.get() == index) else {
            return false;
        };
        at += record.before_payload();
        at += record.payload().min(decoded.len().saturating_sub(at));
        (index, begins) = (index.saturating_add(1), begins + 1);
    }
    begins == header.begins.get() && at == decoded.len()
}

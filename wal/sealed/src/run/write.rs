//! Writes a run from its entries in order: blocks as they fill, then the filters, the index and the footer.
//!
//! - What is kept until the end is 20 bytes for each block and about 10 bits for each key.
//! - A partition ends with a block; a key that goes on in the next partition is in both filters.

use xorf::DmaSerializable as _;
use zerocopy::IntoBytes as _;

use crate::key::Key;
use crate::limits::{PARTITION_KEYS, RUN_BLOCK_BYTES};
use crate::run::block::Filling;
use crate::run::{
    Duplicates, Footer, Header, PartitionRow, RUN_FOOTER_BYTES, RUN_VERSION, RunSpec, Seed,
    checksum, filter,
};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSummary {
    /// Entries of the run.
    pub entries: u64,
    /// Distinct keys of the run.
    pub keys: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A run being written; entries come in ascending order.
pub(crate) struct RunWriter<K> {
    spec: RunSpec,
    header: Header,
    filling: Filling<K>,
    blocks: u32,
    /// First and last entry.
    ends: Option<((K, u64), (K, u64))>,
    entries: u64,
    keys: u64,
    value_least: u64,
    value_most: u64,
    /// Hashes of the keys of the partition being filled.
    hashes: Vec<u64>,
    partition_last: Option<K>,
    partition_first_block: u32,
    index: Vec<u8>,
    filters: Vec<u8>,
    partitions: Vec<PartitionRow>,
    tail: Option<Tail>,
}

/// How much of what stands behind the blocks has been written.
struct Tail {
    filters: usize,
    index: usize,
}

impl<K: Key> RunWriter<K> {
    pub(crate) fn new(spec: RunSpec) -> Self {
        Self {
            spec,
            header: Header::new::<K>(&spec),
            filling: Filling::new(),
            blocks: 0,
            ends: None,
            entries: 0,
            keys: 0,
            value_least: u64::MAX,
            value_most: 0,
            hashes: Vec::with_capacity(PARTITION_KEYS + RUN_BLOCK_BYTES),
            partition_last: None,
            partition_first_block: 0,
            index: Vec::new(),
            filters: Vec::new(),
            partitions: Vec::new(),
            tail: None,
        }
    }

    fn seed(&self) -> Seed {
        self.header.seed()
    }

    /// Adds an entry, which is not below the one before; writes a block when one is full.
    pub(crate) fn push(&mut self, key: K, value: u64, out: &mut Vec<u8>) {
        let (first, last) = self.ends.unwrap_or(((key, value), (key, value)));
        assert!(last <= (key, value), "entries come in ascending order");
        let again = self.ends.is_some() && last.0 == key;
        if again && (self.spec.duplicates == Duplicates::Once || last.1 == value) {
            return;
        }
        if !self.filling.push(self.blocks, key, value) {
            self.write_block(out);
            let room = self.filling.push(self.blocks, key, value);
            assert!(room, "an empty block has room for an entry");
        }
        if self.partition_last != Some(key) {
            self.hashes.push(key.hash());
            self.partition_last = Some(key);
        }
        self.ends = Some((first, (key, value)));
        self.entries += 1;
        self.keys += u64::from(!again);
        self.value_least = self.value_least.min(value);
        self.value_most = self.value_most.max(value);
    }

    fn write_block(&mut self, out: &mut Vec<u8>) {
        let header = (self.blocks == 0).then(|| self.header.as_bytes());
        let (first, crc) = self
            .filling
            .write(self.blocks, self.header.seed(), header, out);
        let first = first.widen().to_le_bytes();
        self.index.extend_from_slice(&first[..K::BYTES]);
        self.index.extend_from_slice(&crc.to_le_bytes());
        self.blocks = self.blocks.checked_add(1).expect("a run is below 16 TiB");
        if self.hashes.len() >= PARTITION_KEYS {
            self.close_partition();
        }
    }

    fn close_partition(&mut self) {
        let mut row = PartitionRow {
            first_block: self.partition_first_block.into(),
            filter_bytes: 0.into(),
            seed: 0.into(),
            segment_length: 0.into(),
            segment_count_length: 0.into(),
            filter_crc: 0.into(),
            reserved: 0.into(),
        };
        if let Some(filter) = filter::build(&mut self.hashes) {
            let bytes = filter.dma_fingerprints();
            let seed = self.seed().filter(self.partitions.len() as u32);
            row.filter_bytes = (bytes.len() as u32).into();
            row.seed = filter.descriptor.seed.into();
            row.segment_length = filter.descriptor.segment_length.into();
            row.segment_count_length = filter.descriptor.segment_count_length.into();
            row.filter_crc = checksum(seed, bytes).into();
            self.filters.extend_from_slice(bytes);
        }
        self.partitions.push(row);
        self.hashes.clear();
        self.partition_last = None;
        self.partition_first_block = self.blocks;
    }

    /// Writes what stands behind the blocks, about `budget` bytes of it; true when the file is complete.
    pub(crate) fn finish(&mut self, budget: usize, out: &mut Vec<u8>) -> bool {
        let Some(tail) = &mut self.tail else {
            if !self.filling.is_empty() {
                self.write_block(out);
            }
            if !self.hashes.is_empty() {
                self.close_partition();
            }
            self.tail = Some(Tail {
                filters: 0,
                index: 0,
            });
            return false;
        };
        let budget = budget.max(RUN_BLOCK_BYTES);
        let filters = &self.filters[tail.filters..];
        if !filters.is_empty() {
            let slice = &filters[..filters.len().min(budget)];
            out.extend_from_slice(slice);
            tail.filters += slice.len();
            return false;
        }
        let index = &self.index[tail.index..];
        if !index.is_empty() {
            let slice = &index[..index.len().min(budget)];
            out.extend_from_slice(slice);
            tail.index += slice.len();
            return false;
        }
        out.extend_from_slice(self.partitions.as_bytes());
        out.extend_from_slice(self.footer().as_bytes());
        true
    }

    fn footer(&self) -> Footer {
        let (first, last) = self.ends.expect("a run has entries");
        let rows = checksum(self.seed().index(), &self.index);
        let mut footer = Footer {
            magic: Footer::magic(),
            version: RUN_VERSION.into(),
            blocks: self.blocks.into(),
            entries: self.entries.into(),
            keys: self.keys.into(),
            first_key: first.0.widen().into(),
            last_key: last.0.widen().into(),
            value_least: self.value_least.into(),
            value_most: self.value_most.into(),
            filter_bytes: (self.filters.len() as u64).into(),
            file_bytes: self.file_bytes().into(),
            partitions: (self.partitions.len() as u32).into(),
            index_crc: checksum(rows, self.partitions.as_bytes()).into(),
            reserved: [0; 20],
            footer_crc: 0.into(),
        };
        footer.footer_crc = footer.crc(self.seed()).into();
        footer
    }

    fn file_bytes(&self) -> u64 {
        u64::from(self.blocks) * RUN_BLOCK_BYTES as u64
            + self.filters.len() as u64
            + self.index.len() as u64
            + self.partitions.as_bytes().len() as u64
            + RUN_FOOTER_BYTES as u64
    }

    /// What was written, once the file is complete.
    pub(crate) fn summary(&self) -> RunSummary {
        RunSummary {
            entries: self.entries,
            keys: self.keys,
            bytes: self.file_bytes(),
        }
    }
}

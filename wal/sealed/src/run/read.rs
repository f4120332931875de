//! Reads a run in place: lookups, the values of a key in either direction, all entries in order.
//!
//! - Every block is checked each time it is read, against the checksum in the index; what fails is named.

use xorf::BinaryFuse8;

use crate::damage::{Damage, DamageKind, Part};
use crate::key::Key;
use crate::limits::RUN_BLOCK_BYTES;
use crate::run::block::{Block, first_not};
use crate::run::cursor::{Cursor, Entries};
use crate::run::open::{Place, RunOpening};
use crate::run::{Duplicates, Footer, RunSpec, Seed, filter};

/// Which way a range of values is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the given value upwards.
    Ascending,
    /// From the given value downwards.
    Descending,
}

/// An index run that was opened; the bytes are a mapped file, or memory.
pub struct RunReader<K, B> {
    pub(crate) bytes: B,
    pub(crate) spec: RunSpec,
    pub(crate) seed: Seed,
    pub(crate) footer: Footer,
    pub(crate) first_key: K,
    pub(crate) last_key: K,
    /// First key of each block, and its checksum.
    pub(crate) fences: Vec<K>,
    pub(crate) crcs: Vec<u32>,
    /// First key of each partition, its first block and its filter.
    pub(crate) partition_fences: Vec<K>,
    pub(crate) first_blocks: Vec<u32>,
    pub(crate) filters: Vec<Option<BinaryFuse8>>,
}

impl<K: Key, B: AsRef<[u8]>> RunReader<K, B> {
    /// Opens a run in one stroke; [`RunOpening`] does the same in slices.
    ///
    /// # Errors
    /// What is wrong with anything but the blocks.
    pub fn open(bytes: B) -> Result<Self, Damage> {
        RunOpening::new(bytes)?.finish()
    }

    /// What the run is.
    #[must_use]
    pub const fn spec(&self) -> &RunSpec {
        &self.spec
    }

    /// Entries of the run.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.footer.entries.get()
    }

    /// Distinct keys of the run.
    #[must_use]
    pub const fn keys(&self) -> u64 {
        self.footer.keys.get()
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        self.footer.file_bytes.get()
    }

    /// Bytes of memory that filters and index occupy.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let filters = self.footer.filter_bytes.get() as usize;
        filters + self.fences.len() * (K::BYTES + 4) + self.filters.len() * (K::BYTES + 64)
    }

    /// The least and the greatest key.
    #[must_use]
    pub const fn key_range(&self) -> (K, K) {
        (self.first_key, self.last_key)
    }

    /// The least and the greatest value.
    #[must_use]
    pub const fn value_range(&self) -> (u64, u64) {
        (self.footer.value_least.get(), self.footer.value_most.get())
    }

    /// Blocks of the run.
    #[must_use]
    pub const fn blocks(&self) -> u32 {
        self.footer.blocks.get()
    }

    /// Whether a key may be there. "No" is certain; reads no block.
    #[inline]
    #[must_use]
    pub fn may_contain(&self, key: K) -> bool {
        self.may_contain_hash(key, key.hash())
    }

    #[inline]
    pub(crate) fn may_contain_hash(&self, key: K, hash: u64) -> bool {
        if key < self.first_key || key > self.last_key {
            return false;
        }
        let partition = self.partition_fences.partition_point(|fence| *fence <= key);
        filter::may_contain(self.filters[partition - 1].as_ref(), hash)
    }

    /// Of the keys named by the bits of `inside`, which lie in the run's range: those that may be there. Searches
    /// for all of them in step, so that they wait for memory together.
    pub(crate) fn sift(&self, keys: &[K], hashes: &[u64; 64], inside: u64) -> u64 {
        let mut places = [0_u8; 64];
        let mut partitions = [0_u32; 64];
        let (mut count, mut rest) = (0, inside);
        while rest != 0 {
            places[count] = rest.trailing_zeros() as u8;
            (count, rest) = (count + 1, rest & (rest - 1));
        }
        let mut width = self.partition_fences.len();
        while width > 1 {
            let half = width / 2;
            for (partition, place) in partitions[..count].iter_mut().zip(&places) {
                let middle = *partition as usize + half;
                let above = self.partition_fences[middle] <= keys[usize::from(*place)];
                *partition += u32::from(above) * half as u32;
            }
            width -= half;
        }
        let mut hits = 0;
        for (partition, place) in partitions[..count].iter().zip(&places) {
            let filter = self.filters[*partition as usize].as_ref();
            let hit = filter::may_contain(filter, hashes[usize::from(*place)]);
            hits |= u64::from(hit) << place;
        }
        hits
    }

    /// The value of a key, the least one if there are several.
    ///
    /// # Errors
    /// The damage of the block in which it should be.
    pub fn get(&self, key: K) -> Result<Option<u64>, Damage> {
        if !self.may_contain(key) {
            return Ok(None);
        }
        for number in self.first_block_of(key)..self.blocks() {
            let block = self.block(number)?;
            let (span, found) = block.find(key);
            if span.start < block.count() {
                return Ok(found.then(|| block.value(span.start)));
            }
        }
        Ok(None)
    }

    /// Appends to `out` the values of a key from `from` on, `from` included, in the given direction, until `out`
    /// holds `limit` values.
    ///
    /// # Errors
    /// The damage of a block in which they should be; what `out` got before it is right.
    pub fn range(
        &self,
        key: K,
        from: u64,
        direction: Direction,
        limit: usize,
        out: &mut Vec<u64>,
    ) -> Result<(), Damage> {
        if out.len() >= limit || !self.may_contain(key) {
            return Ok(());
        }
        // Blocks that begin with the key; the one before may end with it.
        let begin = self.fences.partition_point(|fence| *fence < key) as u32;
        let end = self.fences.partition_point(|fence| *fence <= key) as u32;
        let (mut low, mut high) = (begin, end);
        while low < high {
            let middle = u32::midpoint(low, high);
            if self.block(middle)?.value(0) <= from {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut number = low.saturating_sub(1);
        loop {
            let block = self.block(number)?;
            let (span, found) = block.find(key);
            let span = if found { span } else { span.start..span.start };
            let room = limit - out.len();
            match direction {
                Direction::Ascending => {
                    let start = first_not(span.clone(), |entry| block.value(entry) < from);
                    out.extend((start..span.end).take(room).map(|entry| block.value(entry)));
                    number += 1;
                    if out.len() == limit || span.end < block.count() || number >= end {
                        return Ok(());
                    }
                }
                Direction::Descending => {
                    let past = first_not(span.clone(), |entry| block.value(entry) <= from);
                    let values = (span.start..past).rev().take(room);
                    out.extend(values.map(|entry| block.value(entry)));
                    if out.len() == limit || span.start > 0 || number == 0 {
                        return Ok(());
                    }
                    number -= 1;
                }
            }
        }
    }

    /// All entries in order.
    #[must_use]
    pub fn iter(&self) -> Entries<'_, K, B> {
        Entries::new(Cursor::new(self))
    }

    /// The entries whose keys are not below `key`, in order.
    ///
    /// # Errors
    /// The damage of the block where they begin.
    pub fn iter_from(&self, key: K) -> Result<Entries<'_, K, B>, Damage> {
        Ok(Entries::new(Cursor::seek(self, key)?))
    }

    /// Checks about `budget` bytes of blocks from block `from` on; answers where to go on, `None` at the end.
    ///
    /// # Errors
    /// The damage of the first block that does not pass.
    pub fn verify(&self, from: u32, budget: usize) -> Result<Option<u32>, Damage> {
        let count = (budget / RUN_BLOCK_BYTES).max(1) as u32;
        let end = from.saturating_add(count).min(self.blocks());
        let mut entries = Vec::new();
        for number in from..end {
            self.decode(number, &mut entries)?;
        }
        Ok((end < self.blocks()).then_some(end))
    }

    /// The first block in which a key can be: by way of its partition, whose few fences fit the cache.
    pub(crate) fn first_block_of(&self, key: K) -> u32 {
        let before = |fence: &K| match self.spec.duplicates {
            Duplicates::Once => *fence <= key,
            Duplicates::Many => *fence < key,
        };
        let partition = self.partition_fences.partition_point(before);
        let Some(start) = partition.checked_sub(1).map(|nth| self.first_blocks[nth]) else {
            return 0;
        };
        let end = self.first_blocks.get(partition).copied();
        let end = end.unwrap_or(self.blocks());
        let fences = &self.fences[start as usize..end as usize];
        start + (fences.partition_point(before) as u32).saturating_sub(1)
    }

    pub(crate) fn damage(&self, block: u32, kind: DamageKind) -> Damage {
        let place = Place {
            group: self.spec.group,
        };
        let bytes = RUN_BLOCK_BYTES as u64;
        place.damage(Part::Block(block), u64::from(block) * bytes, bytes, kind)
    }

    pub(crate) fn block(&self, number: u32) -> Result<Block<'_>, Damage> {
        let start = number as usize * RUN_BLOCK_BYTES;
        let bytes = self.bytes.as_ref().get(start..start + RUN_BLOCK_BYTES);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        let crc = self.crcs.get(number as usize).copied();
        bytes
            .ok_or(DamageKind::Contradiction)
            .and_then(|bytes| Block::check(bytes, number, self.seed, crc))
            .map_err(|kind| self.damage(number, kind))
    }

    /// Decodes a whole block, and checks that it keeps the order that the index promises.
    pub(crate) fn decode(&self, number: u32, entries: &mut Vec<(K, u64)>) -> Result<(), Damage> {
        let block = self.block(number)?;
        entries.clear();
        for nth in 0..block.keys() {
            let key = block.key(nth);
            entries.extend(block.span(nth).map(|entry| (key, block.value(entry))));
        }
        let at = number as usize;
        let next = self.fences.get(at + 1).copied().unwrap_or(self.last_key);
        let sound = entries.len() == block.count()
            && entries.first().map(|entry| entry.0) == self.fences.get(at).copied()
            && entries.last().is_some_and(|last| last.0 <= next)
            && entries.is_sorted_by(|a, b| a < b);
        if sound {
            Ok(())
        } else {
            Err(self.damage(number, DamageKind::Contradiction))
        }
    }
}

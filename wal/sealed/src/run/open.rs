//! Opens a run in bounded slices: header, footer and index first, then filter after filter.
//!
//! - Filters and index are copied into memory, so that a lookup of an absent key touches no page of the file, and
//!   nothing that rots later on the disk can say that a key is not there.
//! - A run that has been opened has passed every check but those of its blocks, which are made at each reading.

use core::marker::PhantomData;

use xorf::BinaryFuse8;
use zerocopy::FromBytes as _;

use crate::damage::{Damage, DamageKind, Part};
use crate::key::Key;
use crate::limits::RUN_BLOCK_BYTES;
use crate::run::read::RunReader;
use crate::run::{
    Footer, Header, PartitionRow, RUN_FOOTER_BYTES, RUN_VERSION, RunSpec, Seed, checksum, filter,
    index_row_bytes,
};

/// What `Damage` needs to know of the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) group: u64,
}

impl Place {
    pub(crate) const fn damage(
        self,
        part: Part,
        offset: u64,
        bytes: u64,
        kind: DamageKind,
    ) -> Damage {
        Damage {
            part,
            offset,
            bytes,
            kind,
            group: Some(self.group),
            first: None,
            last: None,
        }
    }
}

/// A run being opened.
pub struct RunOpening<K, B> {
    bytes: B,
    spec: RunSpec,
    seed: Seed,
    footer: Footer,
    fences: Vec<K>,
    crcs: Vec<u32>,
    rows: Vec<PartitionRow>,
    filters: Vec<Option<BinaryFuse8>>,
    filter_offset: u64,
    width: PhantomData<K>,
}

impl<K: Key, B: AsRef<[u8]>> RunOpening<K, B> {
    /// Checks header, footer and index.
    ///
    /// # Errors
    /// What is wrong with them, or [`DamageKind::OtherKind`] when the keys are of another width.
    pub fn new(bytes: B) -> Result<Self, Damage> {
        let file = bytes.as_ref();
        let (header, key_bytes, spec) = Header::check(file)?;
        let place = Place { group: spec.group };
        let seed = header.seed();
        if key_bytes != K::BYTES {
            let bytes = file.len() as u64;
            return Err(place.damage(Part::File, 0, bytes, DamageKind::OtherKind));
        }
        let footer = check_footer::<K>(file, seed, place)?;
        let blocks = footer.blocks.get() as usize;
        let filter_offset = blocks * RUN_BLOCK_BYTES;
        let index_offset = filter_offset + footer.filter_bytes.get() as usize;
        let index = &file[index_offset..file.len() - RUN_FOOTER_BYTES];
        let damage =
            |kind| place.damage(Part::Index, index_offset as u64, index.len() as u64, kind);
        if checksum(seed.index(), index) != footer.index_crc.get() {
            return Err(damage(DamageKind::Checksum));
        }
        let (rows, partitions) = index.split_at(blocks * index_row_bytes::<K>());
        let (mut fences, mut crcs) = (Vec::with_capacity(blocks), Vec::with_capacity(blocks));
        for row in rows.chunks_exact(index_row_bytes::<K>()) {
            let (key, crc) = row.split_at(K::BYTES);
            let mut wide = [0; 16];
            wide[..K::BYTES].copy_from_slice(key);
            fences.push(K::narrow(u128::from_le_bytes(wide)));
            crcs.push(u32::from_le_bytes(crc.try_into().unwrap_or_default()));
        }
        let rows = <[PartitionRow]>::ref_from_bytes(partitions).map(<[PartitionRow]>::to_vec);
        let rows = rows.map_err(|_| damage(DamageKind::Contradiction))?;
        if !are_in_order(&fences, &rows, &footer) {
            return Err(damage(DamageKind::Contradiction));
        }
        Ok(Self {
            bytes,
            spec,
            seed,
            footer,
            fences,
            crcs,
            filters: Vec::with_capacity(rows.len()),
            rows,
            filter_offset: filter_offset as u64,
            width: PhantomData,
        })
    }

    /// Loads about `budget` bytes of filters; true when all are loaded.
    ///
    /// # Errors
    /// What is wrong with a filter.
    pub fn step(&mut self, budget: usize) -> Result<bool, Damage> {
        let mut spent = 0;
        while let Some(row) = self.rows.get(self.filters.len()) {
            if spent >= budget.max(1) {
                return Ok(false);
            }
            let (start, bytes) = (self.filter_offset as usize, row.filter_bytes.get() as usize);
            let partition = self.filters.len() as u32;
            let place = Place {
                group: self.spec.group,
            };
            let damage =
                |kind| place.damage(Part::Filter(partition), start as u64, bytes as u64, kind);
            // The rows were seen to fill the region exactly.
            let stored = &self.bytes.as_ref()[start..start + bytes];
            if bytes == 0 {
                self.filters.push(None);
                continue;
            }
            if checksum(self.seed.filter(partition), stored) != row.filter_crc.get() {
                return Err(damage(DamageKind::Checksum));
            }
            let filter = filter::load(row, stored);
            self.filters
                .push(Some(filter.ok_or(damage(DamageKind::Contradiction))?));
            self.filter_offset += bytes as u64;
            spent += bytes;
        }
        Ok(true)
    }

    /// The run, when all its filters are loaded.
    ///
    /// # Errors
    /// What is wrong with the filters that were not loaded yet.
    pub fn finish(mut self) -> Result<RunReader<K, B>, Damage> {
        while !self.step(usize::MAX)? {}
        let first_blocks: Vec<u32> = self.rows.iter().map(|row| row.first_block.get()).collect();
        let partition_fences = first_blocks
            .iter()
            .map(|block| self.fences[*block as usize]);
        Ok(RunReader {
            partition_fences: partition_fences.collect(),
            bytes: self.bytes,
            spec: self.spec,
            seed: self.seed,
            footer: self.footer,
            first_key: K::narrow(self.footer.first_key.get()),
            last_key: K::narrow(self.footer.last_key.get()),
            fences: self.fences,
            crcs: self.crcs,
            first_blocks,
            filters: self.filters,
        })
    }
}

/// Checks the footer, and that the parts that it names fill the file.
fn check_footer<K: Key>(file: &[u8], seed: Seed, place: Place) -> Result<Footer, Damage> {
    let found = file.len() as u64;
    let start = file.len().saturating_sub(RUN_FOOTER_BYTES);
    let damage = |kind| {
        let bytes = (file.len() - start) as u64;
        place.damage(Part::Footer, start as u64, bytes, kind)
    };
    let least = (RUN_BLOCK_BYTES + RUN_FOOTER_BYTES) as u64;
    if found < least {
        let expected = least;
        return Err(place.damage(Part::File, 0, found, DamageKind::Length { found, expected }));
    }
    let Ok(footer) = Footer::read_from_bytes(&file[start..]) else {
        return Err(damage(DamageKind::Contradiction));
    };
    if footer.crc(seed) != footer.footer_crc.get() {
        return Err(damage(DamageKind::Checksum));
    }
    let expected = footer.file_bytes.get();
    if expected != found {
        return Err(place.damage(Part::File, 0, found, DamageKind::Length { found, expected }));
    }
    let rows = u64::from(footer.blocks.get()) * index_row_bytes::<K>() as u64;
    let partitions = u64::from(footer.partitions.get()) * size_of::<PartitionRow>() as u64;
    let blocks = u64::from(footer.blocks.get()) * RUN_BLOCK_BYTES as u64;
    let parts = blocks + rows + partitions + RUN_FOOTER_BYTES as u64;
    let sound = footer.magic == Footer::magic()
        && footer.version.get() == RUN_VERSION
        && footer.blocks.get() > 0
        && footer.partitions.get() > 0
        && parts.checked_add(footer.filter_bytes.get()) == Some(found);
    if !sound {
        return Err(damage(DamageKind::Contradiction));
    }
    Ok(footer)
}

/// Whether fences rise, partitions begin with the first block and rise, and filters fill their region.
fn are_in_order<K: Key>(fences: &[K], rows: &[PartitionRow], footer: &Footer) -> bool {
    let ends = (footer.first_key.get(), footer.last_key.get());
    let filters: u64 = rows
        .iter()
        .map(|row| u64::from(row.filter_bytes.get()))
        .sum();
    let first_blocks = || rows.iter().map(|row| row.first_block.get());
    fences.is_sorted()
        && fences.first().map(|key| key.widen()) == Some(ends.0)
        && fences.last().is_some_and(|key| key.widen() <= ends.1)
        && K::narrow(ends.1).widen() == ends.1
        && first_blocks().next() == Some(0)
        && first_blocks().is_sorted_by(|a, b| a < b)
        && first_blocks()
            .next_back()
            .is_some_and(|last| last < footer.blocks.get())
        && filters == footer.filter_bytes.get()
}

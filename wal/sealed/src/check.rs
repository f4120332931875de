//! Asks everything of bytes that may be anything: what property tests and fuzz targets share.
//!
//! - No reader may panic, whatever the bytes are, also behind right checksums: [`reseal_run`] and [`reseal_segment`]
//!   make the checksums right, so that contradictions are met that chance would never reach.

use std::sync::Arc;

use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::key::Key;
use crate::limits::RUN_BLOCK_BYTES;
use crate::run::merge::Merge;
use crate::run::read::{Direction, RunReader};
use crate::run::{self, Footer, PartitionRow, RUN_FOOTER_BYTES, RUN_HEADER_BYTES};
use crate::segment::merge::Join;
use crate::segment::read::SegmentReader;
use crate::segment::{self, Envelope, SEGMENT_ENVELOPE_BYTES, SEGMENT_HEADER_BYTES, block, footer};

/// Most entries that are asked for one by one.
const ASKED_MAX: usize = 64;

/// Asks everything of bytes as an index run.
pub fn run(bytes: &[u8]) {
    run_of::<u64>(bytes);
    run_of::<u128>(bytes);
}

fn run_of<K: Key>(bytes: &[u8]) {
    let Ok(run) = RunReader::<K, _>::open(bytes) else {
        return;
    };
    let run = Arc::new(run);
    let entries = run.iter().map_while(Result::ok).take(ASKED_MAX);
    let ends = [run.key_range().0, run.key_range().1].map(|key| (key, 0));
    for (key, value) in entries.chain(ends) {
        let _ = run.get(key);
        let _ = run.iter_from(key).map(|mut entries| entries.next());
        for direction in [Direction::Ascending, Direction::Descending] {
            let mut out = Vec::new();
            let _ = run.range(key, value, direction, ASKED_MAX, &mut out);
            assert!(out.len() <= ASKED_MAX, "no more than was asked for");
        }
    }
    let keys = [run.key_range().0; ASKED_MAX];
    run.sift(&keys, &[keys[0].hash(); 64], u64::MAX);
    let _ = run.verify(0, usize::MAX);
    if let Ok(mut merge) = Merge::new(&[Arc::clone(&run), run]) {
        let mut out = Vec::new();
        while merge.step(1 << 20, &mut out) == Ok(false) {}
    }
}

/// Asks everything of bytes as a sealed segment.
pub fn segment(bytes: &[u8]) {
    let Ok(segment) = SegmentReader::open(bytes) else {
        return;
    };
    let segment = Arc::new(segment);
    let middle = segment.first().midpoint(segment.last());
    for index in [0, segment.first(), middle, segment.last(), u64::MAX] {
        let _ = segment.entry(index);
        let _ = segment.term_at(index);
        let _ = segment.seek_time(index);
        let _ = segment.block_of(index).map(|block| segment.prove(block));
    }
    let _ = segment.verify(0, usize::MAX);
    let layout = segment.spec().clone();
    if let Ok(mut join) = Join::new(&[segment], layout) {
        let mut out = Vec::new();
        while matches!(join.step(1 << 20, &mut out), Ok(false)) {}
    }
}

/// Makes the checksums of a run right, as far as its parts can be found.
pub fn reseal_run(bytes: &mut [u8]) {
    let Some(start) = bytes.len().checked_sub(RUN_FOOTER_BYTES) else {
        return;
    };
    let key_bytes = usize::from(bytes[48]);
    let Some(seed) = reseal_header::<RUN_HEADER_BYTES>(bytes) else {
        return;
    };
    let seed = run::Seed::new(seed);
    let Ok(mut footer) = Footer::read_from_bytes(&bytes[start..]) else {
        return;
    };
    let blocks = (footer.blocks.get() as usize).min(start / RUN_BLOCK_BYTES);
    let row_bytes = key_bytes + 4;
    let rows = blocks * RUN_BLOCK_BYTES + footer.filter_bytes.get() as usize;
    for block in 0..blocks {
        let at = block * RUN_BLOCK_BYTES;
        let end = at + RUN_BLOCK_BYTES - 4;
        let crc = run::checksum(seed.block(block as u32), &bytes[at..end]).to_le_bytes();
        bytes[end..end + 4].copy_from_slice(&crc);
        let row = rows.saturating_add(block * row_bytes + key_bytes);
        if let Some(row) = bytes[..start].get_mut(row..row.saturating_add(4)) {
            row.copy_from_slice(&crc);
        }
    }
    let partitions = rows.saturating_add(blocks * row_bytes);
    let mut filter = blocks * RUN_BLOCK_BYTES;
    for nth in 0..footer.partitions.get().min(1_000) {
        let at = partitions.saturating_add(nth as usize * size_of::<PartitionRow>());
        let Some(Ok((mut row, _))) = bytes[..start].get(at..).map(PartitionRow::read_from_prefix)
        else {
            break;
        };
        let end = filter.saturating_add(row.filter_bytes.get() as usize);
        let Some(stored) = bytes.get(filter..end) else {
            break;
        };
        row.filter_crc = run::checksum(seed.filter(nth), stored).into();
        bytes[at..at + size_of::<PartitionRow>()].copy_from_slice(row.as_bytes());
        filter = end;
    }
    if let Some(index) = bytes[..start].get(rows..) {
        footer.index_crc = run::checksum(seed.index(), index).into();
    }
    footer.footer_crc = footer.crc(seed).into();
    bytes[start..].copy_from_slice(footer.as_bytes());
}

/// Makes the checksums of a segment right, as far as its parts can be found.
pub fn reseal_segment(bytes: &mut [u8]) {
    let Some(start) = bytes.len().checked_sub(SEGMENT_ENVELOPE_BYTES) else {
        return;
    };
    let Some(seed) = reseal_header::<SEGMENT_HEADER_BYTES>(bytes) else {
        return;
    };
    let seed = segment::Seed::new(seed);
    let Ok(mut envelope) = Envelope::read_from_bytes(&bytes[start..]) else {
        return;
    };
    let footer_at = start.checked_sub(envelope.footer_bytes.get() as usize);
    let Some(footer_at) = footer_at.filter(|at| *at >= SEGMENT_HEADER_BYTES) else {
        return;
    };
    let (blocks, footer_bytes) = bytes.split_at_mut(footer_at);
    let mut at = SEGMENT_HEADER_BYTES;
    let mut number = 0;
    while let Some(taken) = block::reseal(&mut blocks[at..], number, seed) {
        (at, number) = (at + taken, number + 1);
    }
    footer::copy_stored_crcs(blocks, &mut footer_bytes[..start - footer_at]);
    envelope.footer_crc = segment::checksum(seed.footer(), &bytes[footer_at..start]).into();
    envelope.envelope_crc = envelope.crc(seed).into();
    bytes[start..].copy_from_slice(envelope.as_bytes());
}

/// Makes the two checksums of a header right; answers the second.
fn reseal_header<const BYTES: usize>(bytes: &mut [u8]) -> Option<u32> {
    let prefix = run::checksum(0, bytes.get(..12)?);
    bytes
        .get_mut(12..16)?
        .copy_from_slice(&prefix.to_le_bytes());
    let crc = run::checksum(0, bytes.get(..BYTES - 4)?);
    bytes[BYTES - 4..BYTES].copy_from_slice(&crc.to_le_bytes());
    Some(crc)
}

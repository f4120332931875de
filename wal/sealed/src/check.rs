//! Asks everything of bytes that may be anything: what property tests and fuzz targets share.
//!
//! - No reader may panic, whatever the bytes are, also behind right checksums: [`reseal_segment`] makes the
//!   checksums right, so that contradictions are met that chance would never reach.

use std::sync::Arc;

use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::segment::merge::Join;
use crate::segment::read::SegmentReader;
use crate::segment::{self, Envelope, SEGMENT_ENVELOPE_BYTES, SEGMENT_HEADER_BYTES, block, footer};

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
    let prefix = segment::checksum(0, bytes.get(..12)?);
    bytes
        .get_mut(12..16)?
        .copy_from_slice(&prefix.to_le_bytes());
    let crc = segment::checksum(0, bytes.get(..BYTES - 4)?);
    bytes[BYTES - 4..BYTES].copy_from_slice(&crc.to_le_bytes());
    Some(crc)
}

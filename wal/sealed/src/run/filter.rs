//! The filter of a partition: says that a key is not there, or that it may be.
//!
//! - A binary fuse filter with eight bits for each fingerprint (`xorf`): one key in 256 that is not there may be.
//! - Built without dice from the sorted hashes, so it is the same bytes everywhere.
//! - A partition whose filter cannot be built has none, and every key may be there.

use xorf::{BinaryFuse8, Descriptor, Filter as _};

use crate::limits::FILTER_BYTES_MAX;
use crate::run::PartitionRow;

/// Builds the filter of these hashes, which it sorts and rids of duplicates.
pub(crate) fn build(hashes: &mut Vec<u64>) -> Option<BinaryFuse8> {
    hashes.sort_unstable();
    hashes.dedup();
    BinaryFuse8::try_from(&*hashes)
        .ok()
        .filter(|filter| filter.fingerprints.len() <= FILTER_BYTES_MAX as usize)
}

/// Puts a filter together from its row and its bytes; `None` if they would lead outside of each other.
pub(crate) fn load(row: &PartitionRow, bytes: &[u8]) -> Option<BinaryFuse8> {
    let (length, count_length) = (row.segment_length.get(), row.segment_count_length.get());
    let fits = length.is_power_of_two()
        && count_length <= FILTER_BYTES_MAX
        && length <= FILTER_BYTES_MAX
        && count_length >= length
        && count_length.is_multiple_of(length)
        && u64::from(count_length) + 2 * u64::from(length) == bytes.len() as u64;
    fits.then(|| BinaryFuse8 {
        descriptor: Descriptor {
            seed: row.seed.get(),
            segment_length: length,
            segment_length_mask: length - 1,
            segment_count_length: count_length,
        },
        fingerprints: bytes.into(),
    })
}

/// Whether a key with this hash may be there.
#[inline]
pub(crate) fn may_contain(filter: Option<&BinaryFuse8>, hash: u64) -> bool {
    filter.is_none_or(|filter| filter.contains(&hash))
}

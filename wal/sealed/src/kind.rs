//! Whether some bytes are a sealed file, by what they begin with, or end with when the beginning is damaged.

use crate::segment;

/// Whether a file is a sealed segment, given its first and its last bytes, at least 128 of each if it has as many.
#[must_use]
pub fn is_sealed(first: &[u8], last: &[u8]) -> bool {
    let start = last.len().checked_sub(segment::SEGMENT_ENVELOPE_BYTES);
    first.starts_with(&segment::HEADER_MAGIC)
        || start.is_some_and(|start| last[start..].starts_with(&segment::ENVELOPE_MAGIC))
}

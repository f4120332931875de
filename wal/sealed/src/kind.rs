//! Which kind of sealed file some bytes are, by what they begin with, or end with when the beginning is damaged.

use crate::{run, segment};

/// A kind of sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A stretch of a group's log: [`crate::SegmentReader`].
    Segment,
    /// An index run: [`crate::RunReader`].
    Run,
}

impl FileKind {
    /// The kind of a file, given its first and its last bytes, at least 128 of each if it has as many; `None` if
    /// it is none of ours.
    #[must_use]
    pub fn of(first: &[u8], last: &[u8]) -> Option<Self> {
        let ends = |bytes: usize, magic: &[u8]| {
            let start = last.len().checked_sub(bytes);
            start.is_some_and(|start| last[start..].starts_with(magic))
        };
        let is_segment = first.starts_with(&segment::HEADER_MAGIC)
            || ends(segment::SEGMENT_ENVELOPE_BYTES, &segment::ENVELOPE_MAGIC);
        let is_run = first.starts_with(&run::HEADER_MAGIC)
            || ends(run::RUN_FOOTER_BYTES, &run::FOOTER_MAGIC);
        if is_segment {
            Some(Self::Segment)
        } else {
            is_run.then_some(Self::Run)
        }
    }
}

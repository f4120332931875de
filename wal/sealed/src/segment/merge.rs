//! Joins small neighbouring segments of a group into one, a bounded slice at a time.
//!
//! - The result is the segment that sealing all the entries at once would have made, byte by byte.
//! - A damaged segment ends the merge with its damage.

use std::sync::Arc;

use thiserror::Error;

use crate::damage::Damage;
use crate::limits::MERGE_SEGMENTS_MAX;
use crate::segment::entries::SegmentEntries;
use crate::segment::read::SegmentReader;
use crate::segment::record::OwnedEntry;
use crate::segment::write::{SegmentSummary, SegmentWriter, Taken};
use crate::segment::{SegmentError, SegmentSpec};

/// Why segments were not joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JoinError {
    /// There is nothing to join, or too much.
    #[error("{given} segments, from 1 to {MERGE_SEGMENTS_MAX} can be joined")]
    Count {
        /// How many were given.
        given: usize,
    },
    /// The segments are not of one group, or one does not begin where the one before ended.
    #[error("segment {nth} does not follow the one before")]
    NotNeighbours {
        /// The segment, counted from 0.
        nth: usize,
    },
    /// A segment is damaged.
    #[error("segment {nth} is damaged")]
    Damaged {
        /// The segment, counted from 0.
        nth: usize,
        /// Its damage.
        #[source]
        damage: Damage,
    },
    /// The new segment cannot be written so.
    #[error("the joined segment cannot be written")]
    Segment(#[from] SegmentError),
}

/// A join of neighbouring segments into one.
pub struct Join<B: AsRef<[u8]>> {
    segments: Vec<Arc<SegmentReader<B>>>,
    nth: usize,
    entries: SegmentEntries<Arc<SegmentReader<B>>, B>,
    /// An entry of which the writer took a part.
    entry: Option<OwnedEntry>,
    writer: SegmentWriter,
    read: bool,
}

impl<B: AsRef<[u8]>> Join<B> {
    /// Begins to join segments, the oldest first, into one with this layout. The keys that it names are those of
    /// all segments, in order.
    ///
    /// # Errors
    /// When there are none or too many, they are not neighbours, or the layout is out of bounds.
    pub fn new(
        segments: &[Arc<SegmentReader<B>>],
        mut layout: SegmentSpec,
    ) -> Result<Self, JoinError> {
        let given = segments.len();
        let first = segments.first().filter(|_| given <= MERGE_SEGMENTS_MAX);
        let first = first.ok_or(JoinError::Count { given })?;
        for (nth, segment) in segments.iter().enumerate() {
            let own =
                (segment.spec().cluster, segment.spec().group) == (layout.cluster, layout.group);
            let before = nth.checked_sub(1).map(|before| segments[before].last());
            if !own || before.is_some_and(|last| last.checked_add(1) != Some(segment.first())) {
                return Err(JoinError::NotNeighbours { nth });
            }
            layout.key_ids.extend(&segment.spec().key_ids);
        }
        layout.key_ids.sort_unstable();
        layout.key_ids.dedup();
        Ok(Self {
            nth: 0,
            entries: SegmentEntries::new(Arc::clone(first), 0),
            entry: None,
            writer: SegmentWriter::new(layout, first.first())?,
            read: false,
            segments: segments.to_vec(),
        })
    }

    /// Goes on by about `budget` bytes and appends to `out` what is ready of the new file; true when it is complete.
    /// One entry is always read whole.
    ///
    /// # Errors
    /// The damage of a segment, or why the new one cannot be written; the join is then over.
    pub fn step(&mut self, budget: usize, out: &mut Vec<u8>) -> Result<bool, JoinError> {
        let mut spent = 0;
        while spent < budget.max(1) {
            if self.read {
                return Ok(self.writer.finish(budget, out)?);
            }
            let entry = match self.entry.take() {
                Some(entry) => entry,
                None => match self.next()? {
                    Some(entry) => entry,
                    None => {
                        self.read = true;
                        continue;
                    }
                },
            };
            spent += entry.head.len() + entry.payload.len() + 40;
            if self.writer.append(&entry.borrow(), budget, out)? == Taken::Part {
                self.entry = Some(entry);
            }
        }
        Ok(false)
    }

    fn next(&mut self) -> Result<Option<OwnedEntry>, JoinError> {
        loop {
            match self.entries.next() {
                Some(Ok(entry)) => return Ok(Some(entry)),
                Some(Err(damage)) => {
                    let nth = self.nth;
                    return Err(JoinError::Damaged { nth, damage });
                }
                None => {
                    self.nth += 1;
                    let Some(segment) = self.segments.get(self.nth) else {
                        return Ok(None);
                    };
                    self.entries = SegmentEntries::new(Arc::clone(segment), 0);
                }
            }
        }
    }

    /// What was written, once the file is complete.
    #[must_use]
    pub const fn summary(&self) -> SegmentSummary {
        self.writer.summary()
    }
}

//! Which of a group's segments are in the store: a log of numbered edits, and now and then the whole of it as text.
//!
//! Everything is text, so that it can be read in ten years with nothing but a pager: a line that says what it is, a line
//! for each segment, and a line with the BLAKE3 hash of all bytes before it.
//!
//! - Edits are numbered from 1 without gaps, created only if they are not there, and never deleted: who claimed a number
//!   knows that nobody else did or ever will. The manifest is what all edits in their order come to.
//! - After every 64th edit the whole manifest is saved as a snapshot, which spares reading and is no truth of its own.
//! - Segments do not overlap. One that covers others takes their place.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::MANIFEST_SEGMENTS_MAX;
use crate::name::{ContentHash, Segment};

const FORMAT: &str = "quorate-cold-manifest";
const EDIT_FORMAT: &str = "quorate-cold-manifest-edit";
const VERSION: u32 = 1;

/// Edits from one snapshot to the next.
pub const SNAPSHOT_EVERY: u64 = 64;

/// How long a segment stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    /// For ever.
    #[default]
    Keep,
    /// It goes after this second since the Unix epoch.
    Until(u64),
    /// It cannot go before this second, whoever asks; then it goes.
    Locked(u64),
}

/// A segment that is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The file.
    #[serde(flatten)]
    pub segment: Segment,
    /// How long it stays.
    #[serde(default)]
    pub retention: Retention,
}

impl Retention {
    /// The second up to which nobody may take it away, while that is still to come.
    #[must_use]
    pub const fn locked_at(self, now: u64) -> Option<u64> {
        match self {
            Self::Locked(end) if end > now => Some(end),
            _ => None,
        }
    }
}

impl Stored {
    /// Whether it may go at this second.
    #[must_use]
    pub fn is_over(&self, now: u64) -> bool {
        match self.retention {
            Retention::Keep => false,
            Retention::Until(end) | Retention::Locked(end) => now > end,
        }
    }
}

/// A group's manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The group.
    pub group: u64,
    /// Its number; 0 is the empty one that was never written.
    pub number: u64,
    segments: Vec<Stored>,
}

/// What is wrong with a manifest, or with a change to one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// It is not text of this form.
    #[error("line {0} of the manifest cannot be read")]
    Line(usize),
    /// It ends early, or its hash is another.
    #[error("the manifest is damaged: its hash does not fit")]
    Hash,
    /// It is another format or version.
    #[error("the manifest has version {0}, which is not known; use a newer program")]
    Version(u32),
    /// It belongs to another group or has another number than its name.
    #[error("the manifest is of group {group}, number {number}")]
    Misplaced {
        /// Its group.
        group: u64,
        /// Its number.
        number: u64,
    },
    /// Segments overlap in part.
    #[error("segment {first}..={last} overlaps another")]
    Overlap {
        /// First index.
        first: u64,
        /// Last index.
        last: u64,
    },
    /// It is full.
    #[error("the manifest holds as many segments as it may; merge some")]
    Full,
}

#[derive(Serialize, Deserialize)]
struct FirstLine {
    format: String,
    version: u32,
    group: u64,
    number: u64,
    segments: usize,
}

#[derive(Serialize, Deserialize)]
struct LastLine {
    blake3: ContentHash,
}

impl Manifest {
    /// The manifest of a group that has nothing in the store.
    #[must_use]
    pub const fn empty(group: u64) -> Self {
        Self {
            group,
            number: 0,
            segments: Vec::new(),
        }
    }

    /// The segments, in the order of their indexes.
    #[must_use]
    pub fn segments(&self) -> &[Stored] {
        &self.segments
    }

    /// The segment that holds an index.
    #[must_use]
    pub fn holding(&self, index: u64) -> Option<&Stored> {
        let nth = self
            .segments
            .partition_point(|stored| stored.segment.last < index);
        self.segments
            .get(nth)
            .filter(|stored| stored.segment.first <= index)
    }

    /// Whether this file, or one that covers it, is named already.
    #[must_use]
    pub fn covers(&self, segment: &Segment) -> bool {
        self.holding(segment.first).is_some_and(|stored| {
            let other = stored.segment;
            let is_wider = other.last - other.first > segment.last.saturating_sub(segment.first);
            other == *segment || (other.last >= segment.last && is_wider)
        })
    }

    /// Whether it names this very file.
    #[must_use]
    pub fn names(&self, segment: &Segment) -> bool {
        self.holding(segment.first)
            .is_some_and(|stored| stored.segment == *segment)
    }

    /// Adds a segment, in place of those that it covers.
    ///
    /// # Errors
    /// When it overlaps one in part, is of another group, or there are too many.
    pub fn put(&mut self, stored: Stored) -> Result<(), ManifestError> {
        let Segment {
            group, first, last, ..
        } = stored.segment;
        let overlap = ManifestError::Overlap { first, last };
        if group != self.group {
            return Err(ManifestError::Misplaced { group, number: 0 });
        }
        if first > last {
            return Err(overlap);
        }
        let from = self
            .segments
            .partition_point(|other| other.segment.last < first);
        let to = self
            .segments
            .partition_point(|other| other.segment.first <= last);
        let is_covered =
            |other: &Stored| other.segment.first >= first && other.segment.last <= last;
        if !self.segments[from..to].iter().all(is_covered) {
            return Err(overlap);
        }
        self.segments.splice(from..to, [stored]);
        if self.segments.len() > MANIFEST_SEGMENTS_MAX {
            return Err(ManifestError::Full);
        }
        Ok(())
    }

    /// The next edit: these segments go, this one comes.
    #[must_use]
    pub const fn edit(&self, put: Option<Stored>, gone: Vec<u64>) -> Edit {
        Edit {
            group: self.group,
            number: self.number + 1,
            gone,
            put,
        }
    }

    /// Carries out the next edit.
    ///
    /// # Errors
    /// When it is not the next, or does not fit; the manifest may be changed in part then.
    pub fn apply(&mut self, edit: &Edit) -> Result<(), ManifestError> {
        if (edit.group, edit.number) != (self.group, self.number + 1) {
            return Err(ManifestError::Misplaced {
                group: edit.group,
                number: edit.number,
            });
        }
        self.segments
            .retain(|stored| !edit.gone.contains(&stored.segment.first));
        if let Some(stored) = edit.put {
            self.put(stored)?;
        }
        self.number = edit.number;
        Ok(())
    }

    /// Its text.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let first = FirstLine {
            format: FORMAT.to_owned(),
            version: VERSION,
            group: self.group,
            number: self.number,
            segments: self.segments.len(),
        };
        let mut text = to_line(&first);
        for stored in &self.segments {
            text += &to_line(stored);
        }
        sign(text)
    }

    /// Reads the manifest that stands under this number.
    ///
    /// # Errors
    /// When it is damaged, of another version, or stands in another's place.
    pub fn decode(bytes: &[u8], group: u64, number: u64) -> Result<Self, ManifestError> {
        let mut lines = verified(bytes)?.lines();
        let first: FirstLine = lines
            .next()
            .and_then(|line| serde_json::from_str(line).ok())
            .ok_or(ManifestError::Line(1))?;
        if first.format != FORMAT || first.version != VERSION {
            return Err(ManifestError::Version(first.version));
        }
        if (first.group, first.number) != (group, number) {
            return Err(ManifestError::Misplaced {
                group: first.group,
                number: first.number,
            });
        }
        let mut manifest = Self::empty(group);
        for (nth, line) in lines.enumerate() {
            let stored = serde_json::from_str(line).map_err(|_| ManifestError::Line(nth + 2))?;
            manifest.put(stored)?;
        }
        if manifest.segments.len() != first.segments {
            return Err(ManifestError::Hash);
        }
        manifest.number = number;
        Ok(manifest)
    }
}

/// One change of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The group.
    pub group: u64,
    /// Its number.
    pub number: u64,
    /// First indexes of the segments that go.
    pub gone: Vec<u64>,
    /// The segment that comes, in place of those that it covers.
    pub put: Option<Stored>,
}

#[derive(Serialize, Deserialize)]
struct EditLine {
    format: String,
    version: u32,
    group: u64,
    number: u64,
    gone: Vec<u64>,
}

impl Edit {
    /// Its text.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let first = EditLine {
            format: EDIT_FORMAT.to_owned(),
            version: VERSION,
            group: self.group,
            number: self.number,
            gone: self.gone.clone(),
        };
        sign(to_line(&first) + &self.put.iter().map(to_line).collect::<String>())
    }

    /// Reads the edit that stands under this number.
    ///
    /// # Errors
    /// When it is damaged, of another version, or stands in another's place.
    pub fn decode(bytes: &[u8], group: u64, number: u64) -> Result<Self, ManifestError> {
        let mut lines = verified(bytes)?.lines();
        let first: EditLine = lines
            .next()
            .and_then(|line| serde_json::from_str(line).ok())
            .ok_or(ManifestError::Line(1))?;
        if first.format != EDIT_FORMAT || first.version != VERSION {
            return Err(ManifestError::Version(first.version));
        }
        if (first.group, first.number) != (group, number) {
            return Err(ManifestError::Misplaced {
                group: first.group,
                number: first.number,
            });
        }
        let put = lines.next().map(serde_json::from_str);
        let put = put.transpose().map_err(|_| ManifestError::Line(2))?;
        if lines.next().is_some() {
            return Err(ManifestError::Line(3));
        }
        Ok(Self {
            group,
            number,
            gone: first.gone,
            put,
        })
    }
}

/// The text with the line of its hash.
fn sign(text: String) -> Vec<u8> {
    let hash = ContentHash::of(text.as_bytes());
    (text + &to_line(&LastLine { blake3: hash })).into_bytes()
}

/// The text without the line of its hash, which fits.
fn verified(bytes: &[u8]) -> Result<&str, ManifestError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::Hash)?;
    let body = text.strip_suffix('\n').ok_or(ManifestError::Hash)?;
    let (lines, last) = body.rsplit_once('\n').ok_or(ManifestError::Hash)?;
    let last: LastLine = serde_json::from_str(last).map_err(|_| ManifestError::Hash)?;
    if ContentHash::of(&bytes[..=lines.len()]) == last.blake3 {
        Ok(lines)
    } else {
        Err(ManifestError::Hash)
    }
}

fn to_line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).expect("numbers and short strings");
    let _ = writeln!(line);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(first: u64, last: u64) -> Stored {
        Stored {
            segment: Segment {
                group: 5,
                first,
                last,
                bytes: 100,
                hash: ContentHash::of(&first.to_le_bytes()),
                copy: 0,
            },
            retention: Retention::Until(first),
        }
    }

    fn manifest() -> Manifest {
        let mut manifest = Manifest::empty(5);
        for (first, last) in [(11, 20), (1, 10), (31, 40)] {
            manifest.put(stored(first, last)).expect("they are apart");
        }
        manifest.number = 3;
        manifest
    }

    #[test]
    fn it_is_read_back_and_every_damaged_byte_is_told() {
        let manifest = manifest();
        let text = manifest.encode();
        assert_eq!(Manifest::decode(&text, 5, 3), Ok(manifest));
        assert_eq!(
            Manifest::decode(&text, 5, 4),
            Err(ManifestError::Misplaced {
                group: 5,
                number: 3
            })
        );
        for nth in 0..text.len() {
            let mut damaged = text.clone();
            damaged[nth] ^= 1;
            assert!(Manifest::decode(&damaged, 5, 3).is_err(), "byte {nth}");
            assert!(
                Manifest::decode(&text[..nth], 5, 3).is_err(),
                "cut at {nth}"
            );
        }
    }

    #[test]
    fn a_larger_segment_takes_the_place_of_those_it_covers() {
        let mut manifest = manifest();
        assert_eq!(manifest.holding(20), Some(&stored(11, 20)));
        assert_eq!(manifest.holding(25), None);
        let overlap = ManifestError::Overlap {
            first: 15,
            last: 31,
        };
        assert_eq!(manifest.put(stored(15, 31)), Err(overlap));
        manifest.put(stored(1, 20)).expect("it covers two");
        let firsts: Vec<u64> = manifest
            .segments()
            .iter()
            .map(|s| s.segment.first)
            .collect();
        assert_eq!(firsts, [1, 31]);
        assert!(manifest.names(&stored(1, 20).segment) && !manifest.names(&stored(1, 10).segment));
        assert!(
            manifest.covers(&stored(1, 10).segment) && !manifest.covers(&stored(31, 50).segment)
        );
    }

    #[test]
    fn edits_in_their_order_come_to_the_manifest() {
        let mut manifest = manifest();
        let edit = manifest.edit(Some(stored(41, 50)), vec![1, 31]);
        let text = edit.encode();
        assert_eq!(Edit::decode(&text, 5, 4).as_ref(), Ok(&edit));
        for nth in 0..text.len() {
            let mut damaged = text.clone();
            damaged[nth] ^= 1;
            assert!(Edit::decode(&damaged, 5, 4).is_err(), "byte {nth}");
        }
        manifest.apply(&edit).expect("it is the next");
        let misplaced = ManifestError::Misplaced {
            group: 5,
            number: 4,
        };
        assert_eq!(manifest.apply(&edit), Err(misplaced), "only once");
        let firsts: Vec<u64> = manifest
            .segments()
            .iter()
            .map(|s| s.segment.first)
            .collect();
        assert_eq!((firsts, manifest.number), (vec![11, 41], 4));
    }
}

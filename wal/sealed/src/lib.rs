//! Immutable files: sealed segments, written in slices and read in place.
//!
//! The crate holds formats and algorithms and does no I/O: a writer appends the next bytes of its file to a
//! buffer, about as many as it is told to, and says when the file is complete; a reader looks into bytes that are a
//! mapped file in production and a `Vec` in the simulator. No reader panics on bytes, whatever they are, and none
//! answers from bytes that did not pass a checksum. The same input gives the same bytes on every replica.
//!
//! | file | holds |
//! |---|---|
//! | `limits` | every bound, with the relations between them |
//! | `damage` | what is wrong with a file, and what to do |
//! | `check` | everything asked of bytes that may be anything, for tests and fuzzing |
//! | `kind` | whether some bytes are a sealed file |
//! | `segment` | a stretch of a group's log: its header and envelope |
//! | `segment/record`, `segment/block`, `segment/columns` | entries in checked, compressed blocks |
//! | `segment/footer`, `merkle` | the archive that says where all is, and the tree that proves it |
//! | `segment/write`, `segment/merge` | entries, or neighbouring segments, become one segment |
//! | `segment/open`, `segment/read`, `segment/entries` | and back |
//!
//! The crate knows no log, no disk, no clock and no thread.
//!
//! # A stretch of a group's log
//!
//! ```
//! use sealed::{Entry, SegmentReader, SegmentSpec, SegmentWriter, Taken};
//!
//! let mut writer = SegmentWriter::new(SegmentSpec::new(1, 7), 100)?;
//! let mut file = Vec::new();
//! for index in 100..200 {
//!     let payload = [index as u8; 1_280];
//!     let payload_crc = crc32fast::hash(&payload);
//!     let entry = Entry { index, term: 3, time: index * 10, head: &[1; 48], payload: &payload, payload_crc };
//!     // About 64 KiB of an entry at a time: a large one is offered again until it is taken.
//!     while writer.append(&entry, 64 << 10, &mut file)? == Taken::Part {}
//! }
//! while !writer.finish(64 << 10, &mut file)? {}
//!
//! let segment = SegmentReader::open(file)?;
//! assert_eq!((segment.first(), segment.last(), segment.term_at(150)), (100, 199, Some(3)));
//! let entry = segment.entry(150)?.expect("an entry of the segment");
//! assert_eq!((entry.time, entry.payload), (1_500, vec![150; 1_280]));
//! assert_eq!(segment.entries(190).count(), 10);
//! let block = segment.block_of(150).expect("an entry of the segment");
//! let (proof, bytes) = (segment.prove(block), segment.block_bytes(block));
//! let (proof, bytes) = (proof.expect("a block"), bytes.expect("a block"));
//! assert!(proof.holds(&segment.root(), segment.header_bytes(), bytes));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod check;
pub mod damage;
pub mod kind;
pub mod limits;
pub mod merkle;
pub mod segment;

pub use crate::damage::{Damage, DamageKind, Part, Remedy};
pub use crate::kind::is_sealed;
pub use crate::segment::entries::SegmentEntries;
pub use crate::segment::footer::TermRun;
pub use crate::segment::merge::{Join, JoinError};
pub use crate::segment::read::{InclusionProof, SegmentReader};
pub use crate::segment::record::{Entry, OwnedEntry};
pub use crate::segment::write::{SegmentSummary, SegmentWriter, Taken};
pub use crate::segment::{Codec, SegmentError, SegmentSpec};

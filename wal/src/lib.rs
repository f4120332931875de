//! The log: makes records durable, one log for all groups of a core, and finds them again.
//!
//! A *record* is one entry (or the newest metadata) of one group. Records that arrive while writes are in
//! flight are gathered in one *block*; a block is one durable write. Blocks fill *segments*, files of
//! equal size that are written with zeros before use and recycled for ever. Opening reads the segments
//! and hands back every record that survived, cuts a torn tail and names what is damaged.
//!
//! | file | holds |
//! |---|---|
//! | `limits` | every bound, with the relations between them |
//! | `identity` | whose log it is, and the seeds that put placement under every checksum |
//! | `record`, `block`, `segment` | the three formats, drawn in docs/formats.md |
//! | `index` | where each live record lies, per group |
//! | `space` | which segments are used, retired, free or being made |
//! | `wal` | append, submit, poll |
//! | `filling`, `flight` | the block being filled, the blocks being written |
//! | `reading` | the way back: entries for a follower that lags |
//! | `recovery`, `damage` | opening: what survived, what was cut, what is damaged |
//! | `scrub`, `inspect` | looking for rot while running, looking at a stopped folder |
//! | `repair` | rotten blocks made whole where they lie |
//! | `device` | the disk door and its three implementations: io_uring, plain threads, memory |
//! | `archive` | the door to immutable files beside the log: images, chapters, sealed stretches |
//!
//! The log knows no Raft, no network and no meaning of a group.

pub mod archive;
pub mod block;
pub mod damage;
pub mod device;
pub mod error;
pub mod identity;
pub mod index;
pub mod inspect;
pub mod limits;
#[cfg(feature = "mutants")]
pub mod mutants;
#[cfg(not(feature = "mutants"))]
mod mutants;
pub mod record;
pub mod recovery;
pub mod segment;
pub mod stats;
pub mod wal;

mod filling;
mod flight;
mod reading;
mod repair;
mod scrub;
mod space;

pub use crate::damage::{Damage, DamageKind};
pub use crate::device::{Device, DeviceError};
pub use crate::error::{AppendError, Failure, ReadError, WalError};
pub use crate::identity::Identity;
pub use crate::limits::{HEAD_BYTES_MAX, META_BYTES_MAX, Options, RECORD_PAYLOAD_MAX};
pub use crate::record::{Kind, OwnedRecord, Record};
pub use crate::recovery::{Cut, Lost, Opening, Recovered, Visit};
pub use crate::repair::Rotten;
pub use crate::stats::{Progress, Stats};
pub use crate::wal::{Lsn, Wal};

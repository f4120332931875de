//! What can go wrong with a log, as values: at opening, at appending, at reading, and for good.

use thiserror::Error;

use crate::device::DeviceError;
use crate::identity::Identity;
use crate::limits::SEGMENTS_MIN;

/// Why the log ended its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Failure {
    /// A durable write failed: what the disk holds there is not known.
    #[error("a durable write failed")]
    Write(#[source] DeviceError),
}

/// Why a log could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WalError {
    /// The disk failed or is full.
    #[error("the disk could not be used")]
    Device(#[from] DeviceError),
    /// The folder holds another log.
    #[error("the log belongs to {found:?}, not to {expected:?}")]
    WrongIdentity {
        /// Whose log it is.
        found: Identity,
        /// Whose log was asked for.
        expected: Identity,
    },
    /// A newer program wrote this log.
    #[error("file {slot} has format {found}; this program reads up to {supported}")]
    NewerFormat {
        /// The file.
        slot: u32,
        /// Its format.
        found: u32,
        /// The newest format this program reads.
        supported: u32,
    },
    /// Files of two logs of one identity lie in one folder.
    #[error("file {slot} belongs to a log made at another time than that of the others")]
    MixedLogs {
        /// A file that differs from the others.
        slot: u32,
    },
    /// No file can be read as a segment, but they hold data.
    #[error("file {slot} holds data, and no file of the folder can be read as a segment")]
    Unreadable {
        /// A file that holds data.
        slot: u32,
    },
    /// The options do not fit each other or the device.
    #[error(
        "segments of {segment_bytes} bytes do not fit the options: {least} to {most} bytes, at least {SEGMENTS_MIN} of them"
    )]
    Options {
        /// Size of the device's segments.
        segment_bytes: u64,
        /// The smallest size.
        least: u64,
        /// The largest size.
        most: u64,
    },
}

/// Why a record was not appended. Nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AppendError {
    /// All blocks are full or in flight, or the next segment is being made: try again after a poll.
    #[error("the log is busy")]
    Busy,
    /// The disk, or the log's share of it, is full: release entries or make space; no restart is needed.
    #[error("the log's storage is full")]
    StorageFull,
    /// The record is larger than a block takes.
    #[error("a record part of {bytes} bytes, at most {most} allowed")]
    TooLarge {
        /// Size of the part that is too large.
        bytes: usize,
        /// The largest size.
        most: usize,
    },
    /// The log has failed and accepts nothing.
    #[error("the log has failed")]
    Failed(#[source] Failure),
}

/// Why entries were not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// As many reads as allowed are waiting: try again after a poll.
    #[error("too many reads are waiting")]
    Busy,
    /// The log holds nothing of this group.
    #[error("nothing is held of group {group}")]
    Unknown {
        /// The group.
        group: u64,
    },
    /// The log holds other entries of this group.
    #[error("entries {first} to before {end} are held")]
    OutOfRange {
        /// First index held.
        first: u64,
        /// Index behind the last one held.
        end: u64,
    },
    /// The first entry asked for is not durable yet.
    #[error("the entry is not durable yet")]
    NotDurable,
    /// The entry was durable once and cannot be read: repair it from a peer.
    #[error("entry {index} of group {group} is damaged")]
    Damaged {
        /// The group.
        group: u64,
        /// The entry.
        index: u64,
    },
    /// The disk failed.
    #[error("the disk could not be read")]
    Device(#[from] DeviceError),
    /// The log has failed.
    #[error("the log has failed")]
    Failed(#[source] Failure),
}

//! The disk door: durable writes and reads of aligned blocks, submitted and polled, never waited for.
//!
//! A device holds *slots*: files of one size, numbered from zero, each holding one segment at a time.
//!
//! - Functions ending in `_now` wait for the disk; the log calls them only while it is being opened.
//! - All others return at once. Memory is lent by giving the [`Buffer`] away; it comes back with the completion.
//! - A write that completed without an error is durable. Completions come in any order.
//! - Every offset and length is a multiple of [`ALIGNMENT`].

pub mod file;
pub mod memory;
#[cfg(target_os = "linux")]
pub mod uring;

pub(crate) mod folder;

mod ahead;
mod filler;
mod sparse;

use std::fmt;

use thiserror::Error;

use crate::block::buffer::Buffer;

/// Every offset, length and buffer address given to a device is a multiple of this many bytes.
pub const ALIGNMENT: usize = 4096;

/// What a device was asked to do when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Open the folder or a file in it.
    Open,
    /// List the files.
    List,
    /// Make a file and fill it with zeros.
    Create,
    /// Read.
    Read,
    /// Write durably.
    Write,
    /// Make what was written durable.
    Sync,
    /// Set up the ring.
    Ring,
}

/// An error number of the operating system.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

impl std::error::Error for Errno {}

/// Why a device could not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// No space is left. Nothing of the request may be taken as done; it may be made again later.
    #[error("the disk is full")]
    Full,
    /// Another process holds the folder.
    #[error("the folder is in use by another process")]
    Locked,
    /// The machine or its rules do not allow io_uring; the file device works there.
    #[error("io_uring cannot be used here")]
    Barred(#[source] Errno),
    /// A file of the log has another size than the device was opened with.
    #[error("file {slot} holds {found} bytes, {expected} expected")]
    SegmentBytes {
        /// The file.
        slot: u32,
        /// Its size.
        found: u64,
        /// The size asked for.
        expected: u64,
    },
    /// Fewer bytes were read or written than asked for.
    #[error("{action:?} of file {slot:?} ended early")]
    Short {
        /// What was tried.
        action: Action,
        /// The file.
        slot: Option<u32>,
    },
    /// The operating system reported an error.
    #[error("{action:?} of file {slot:?} failed")]
    Io {
        /// What was tried.
        action: Action,
        /// The file, when it was about one.
        slot: Option<u32>,
        /// The error.
        #[source]
        errno: Errno,
    },
}

const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

impl DeviceError {
    /// From an error number: a full disk or quota is [`DeviceError::Full`].
    #[must_use]
    pub const fn from_errno(action: Action, slot: Option<u32>, errno: i32) -> Self {
        match errno {
            ENOSPC | EDQUOT => Self::Full,
            _ => Self::Io {
                action,
                slot,
                errno: Errno(errno),
            },
        }
    }

    pub(crate) fn from_io(action: Action, slot: Option<u32>, error: &std::io::Error) -> Self {
        const EIO: i32 = 5;
        Self::from_errno(action, slot, error.raw_os_error().unwrap_or(EIO))
    }
}

/// One read or write: `bytes` of `buffer`, from its start, at `offset` of `slot`.
#[derive(Debug)]
pub struct Operation {
    /// The caller's name for it; comes back with the completion.
    pub token: u64,
    /// The file.
    pub slot: u32,
    /// Offset in the file in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: usize,
    /// The memory; the device's until the completion.
    pub buffer: Buffer,
}

/// What has happened since the last poll.
#[derive(Debug)]
pub enum Completion {
    /// A write ended; without an error it is durable.
    Written(Operation, Result<(), DeviceError>),
    /// A read ended.
    Read(Operation, Result<(), DeviceError>),
    /// A file was made, or not.
    Created(u32, Result<(), DeviceError>),
}

/// What a device found out about itself when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traits {
    /// Short name: `uring`, `threads` or `memory`.
    pub name: &'static str,
    /// Files are written past the page cache.
    pub direct: bool,
    /// The kernel accepted the buffers for registration.
    pub buffers_registered: bool,
    /// The kernel accepted the files for registration.
    pub files_registered: bool,
}

/// What recovery needs of a disk: slots to list and to read, waiting.
pub trait Source {
    /// Size of every slot in bytes.
    fn segment_bytes(&self) -> u64;

    /// Numbers of the slots that exist, ascending.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn slots_now(&mut self) -> Result<Vec<u32>, DeviceError>;

    /// Reads into the first `bytes` of `buffer`.
    ///
    /// # Errors
    /// When the disk cannot read there.
    fn read_now(
        &mut self,
        slot: u32,
        offset: u64,
        bytes: usize,
        buffer: &mut Buffer,
    ) -> Result<(), DeviceError>;

    /// Begins to read while something else is done, a few at a time. Gives the operation back where that cannot be
    /// done: it is read when it is needed then.
    ///
    /// # Errors
    /// The operation itself, untouched.
    fn read_ahead(&mut self, operation: Operation) -> Result<(), Operation> {
        Err(operation)
    }

    /// Waits for any of what was begun to be read ahead; nothing when nothing was.
    fn await_ahead(&mut self) -> Option<(Operation, Result<(), DeviceError>)> {
        None
    }
}

/// The disk as the log sees it; one per core.
pub trait Device: Source {
    /// What the device is and what it was granted.
    fn traits(&self) -> Traits;

    /// Makes a slot filled with zeros, durably.
    ///
    /// # Errors
    /// When the disk is full or fails.
    fn create_now(&mut self, slot: u32) -> Result<(), DeviceError>;

    /// Writes the first `bytes` of `buffer` durably.
    ///
    /// # Errors
    /// When the write is not known to be durable.
    fn write_now(
        &mut self,
        slot: u32,
        offset: u64,
        bytes: usize,
        buffer: &Buffer,
    ) -> Result<(), DeviceError>;

    /// Makes everything written to the slot durable, also by a process that has died.
    ///
    /// # Errors
    /// When that is not known to have happened.
    fn sync_now(&mut self, slot: u32) -> Result<(), DeviceError>;

    /// Makes the memory that reads and writes will use; called once, while opening.
    fn allocate(&mut self, count: usize, bytes: usize) -> Vec<Buffer>;

    /// Begins to make a slot filled with zeros; at most one at a time.
    fn create(&mut self, now_ns: u64, slot: u32);

    /// Begins a durable write; gives it back when as many are in flight as the device takes.
    ///
    /// # Errors
    /// The operation itself, untouched.
    fn write(&mut self, now_ns: u64, operation: Operation) -> Result<(), Operation>;

    /// Begins a read; gives it back when as many are in flight as the device takes.
    ///
    /// # Errors
    /// The operation itself, untouched.
    fn read(&mut self, now_ns: u64, operation: Operation) -> Result<(), Operation>;

    /// Hands what was begun to the system.
    fn submit(&mut self, now_ns: u64);

    /// Sleeps until something that was begun has completed, if anything was: for owners that wait for nothing else.
    /// A device whose time is made up returns at once.
    fn wait(&mut self);

    /// Appends what has happened to `completions`.
    fn poll(&mut self, now_ns: u64, completions: &mut Vec<Completion>);
}

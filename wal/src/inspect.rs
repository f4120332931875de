//! A look at a stopped log, without writing a byte: its files, its records, and what opening would report.
//!
//! The walk is the very one that opens a log, so what is said here is what opening would do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::block::buffer::Buffer;
use crate::device::folder::{self, LOCK_NAME};
use crate::device::{Action, DeviceError, Source};
use crate::error::WalError;
use crate::identity::Identity;
use crate::limits::Options;
use crate::recovery::{self, Opening, Recovered, ShownOnly};
use crate::segment::{self, Read, SEGMENT_HEADER_BYTES};

/// Why a folder could not be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InspectError {
    /// The folder could not be read, or a process is using it.
    #[error("the folder could not be read")]
    Device(#[from] DeviceError),
    /// What it holds is not a log that this program can read.
    #[error("the log could not be read")]
    Wal(#[from] WalError),
    /// No file of the folder has a readable header: whose log it is cannot be known.
    #[error("no file of the folder has a readable header")]
    NoHeader,
}

/// What a file's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileStatus {
    /// Made, never used.
    Blank,
    /// Its header passes.
    Sound {
        /// Whose log it is.
        identity: Identity,
        /// Sequence number of the segment.
        segment: u64,
        /// Which opening of the log began it.
        incarnation: u32,
        /// Sequence of its first block.
        first_block: u64,
        /// Number of its first record.
        first_lsn: u64,
        /// When it was begun, in nanoseconds of the writer's clock.
        created_ns: u64,
    },
    /// A newer program wrote it.
    Newer(u32),
    /// Its header does not pass, or belongs to a file of another number or size.
    Damaged,
}

/// One file of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Where it is.
    pub path: PathBuf,
    /// Its number.
    pub slot: u32,
    /// Its size in bytes.
    pub bytes: u64,
    /// What its header says.
    pub status: FileStatus,
}

/// The files of a folder, opened for reading.
struct ReadOnly {
    files: Vec<(u32, File)>,
    segment_bytes: u64,
    _lock: Option<File>,
}

impl ReadOnly {
    fn open(path: &Path) -> Result<(Self, Vec<FileInfo>), DeviceError> {
        let fail = |error: std::io::Error| DeviceError::from_io(Action::List, None, &error);
        let lock = File::open(path.join(LOCK_NAME)).ok();
        if let Some(lock) = &lock {
            flock(lock, FlockOperation::NonBlockingLockExclusive)
                .map_err(|_| DeviceError::Locked)?;
        }
        let mut found = Self {
            files: Vec::new(),
            segment_bytes: 0,
            _lock: lock,
        };
        let mut infos = Vec::new();
        let mut slots = Vec::new();
        for entry in fs::read_dir(path).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            slots.extend(name.to_str().and_then(folder::slot_of));
        }
        slots.sort_unstable();
        for slot in slots {
            let path = path.join(folder::file_name(slot));
            let file = File::open(&path).map_err(fail)?;
            let bytes = file.metadata().map_err(fail)?.len();
            let mut page = vec![0; SEGMENT_HEADER_BYTES];
            let read = folder::read_exact(&file, slot, 0, &mut page);
            let status = read.map_or(FileStatus::Damaged, |()| status(&page, slot, bytes));
            infos.push(FileInfo {
                path,
                slot,
                bytes,
                status,
            });
            found.segment_bytes = found.segment_bytes.max(bytes);
            found.files.push((slot, file));
        }
        Ok((found, infos))
    }
}

fn status(page: &[u8], slot: u32, bytes: u64) -> FileStatus {
    match segment::decode_header(page) {
        Read::Blank => FileStatus::Blank,
        Read::Newer(version) => FileStatus::Newer(version),
        Read::Header(header) if header.slot == slot && header.segment_bytes == bytes => {
            FileStatus::Sound {
                identity: header.life().identity,
                segment: header.segment.get(),
                incarnation: header.incarnation.get(),
                first_block: header.first_block.get(),
                first_lsn: header.first_lsn.get(),
                created_ns: header.created_ns.get(),
            }
        }
        Read::Header(_) | Read::Damaged => FileStatus::Damaged,
    }
}

impl Source for ReadOnly {
    fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    fn slots_now(&mut self) -> Result<Vec<u32>, DeviceError> {
        Ok(self.files.iter().map(|&(slot, _)| slot).collect())
    }

    fn read_now(
        &mut self,
        slot: u32,
        offset: u64,
        bytes: usize,
        buffer: &mut Buffer,
    ) -> Result<(), DeviceError> {
        let nth = self.files.binary_search_by_key(&slot, |&(slot, _)| slot);
        let nth = nth.map_err(|_| DeviceError::Short {
            action: Action::Read,
            slot: Some(slot),
        })?;
        folder::read_exact(&self.files[nth].1, slot, offset, &mut buffer[..bytes])
    }
}

/// What the file of this number is called, be it there or not.
#[must_use]
pub fn file_name(slot: u32) -> String {
    folder::file_name(slot)
}

/// The files of a stopped log, by number.
///
/// # Errors
/// When the folder cannot be read or is in use.
pub fn files(path: &Path) -> Result<Vec<FileInfo>, InspectError> {
    let (_, infos) = ReadOnly::open(path)?;
    Ok(infos)
}

/// Shows every record that opening would show, with its place, and returns what opening would report. Whose log it is, is
/// taken from the first header that can be read.
///
/// # Errors
/// When the folder cannot be read, is in use, or holds no log that this program can read.
pub fn records(
    path: &Path,
    visit: &mut dyn FnMut(&Recovered<'_>),
) -> Result<Opening, InspectError> {
    let (source, infos) = ReadOnly::open(path)?;
    let identity = infos.iter().find_map(|info| match info.status {
        FileStatus::Sound { identity, .. } => Some(identity),
        _ => None,
    });
    if let (None, Some(newer)) = (
        identity,
        infos
            .iter()
            .find(|info| matches!(info.status, FileStatus::Newer(_))),
    ) {
        let FileStatus::Newer(found) = newer.status else {
            return Err(InspectError::NoHeader);
        };
        let supported = segment::SEGMENT_VERSION;
        return Err(WalError::NewerFormat {
            slot: newer.slot,
            found,
            supported,
        }
        .into());
    }
    shown(source, identity.ok_or(InspectError::NoHeader)?, visit)
}

/// The same of a log that should be this one's.
///
/// # Errors
/// As [`records`], and when it is another's.
pub fn records_of(
    path: &Path,
    identity: Identity,
    visit: &mut dyn FnMut(&Recovered<'_>),
) -> Result<Opening, InspectError> {
    shown(ReadOnly::open(path)?.0, identity, visit)
}

fn shown(
    mut source: ReadOnly,
    identity: Identity,
    visit: &mut dyn FnMut(&Recovered<'_>),
) -> Result<Opening, InspectError> {
    let options = Options::new(identity);
    Ok(recovery::recover(&mut source, &options, 0, &mut ShownOnly(visit))?.opening)
}

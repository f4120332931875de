//! The folder of a log: its files by number, opened once, held by one process.
//!
//! - A file gets its final name only when it is full of durable zeros: a half-made one is never seen.
//! - The folder is locked as long as it is open.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use crate::block::buffer::Buffer;
use crate::device::{Action, DeviceError};

/// Bytes of zeros written at once when a file is made.
const FILL_BYTES: usize = 1 << 20;

/// Name of the file whose lock says that the folder is in use.
pub(crate) const LOCK_NAME: &str = "lock";
const UNFINISHED: &str = "unfinished";

/// Name of a slot's file in the folder.
pub(crate) fn file_name(slot: u32) -> String {
    format!("segment-{slot:08}.log")
}

/// The number in a slot's file name.
pub(crate) fn slot_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    (digits.len() == 8).then(|| digits.parse().ok())?
}

/// An open folder with its files.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    segment_bytes: u64,
    /// Whether files are opened past the page cache.
    pub(crate) direct: bool,
    files: Vec<Option<Arc<File>>>,
    lock: File,
}

impl Folder {
    /// The locked file, for a ring that must hold the lock as long as it writes.
    pub(crate) fn lock_fd(&self) -> RawFd {
        self.lock.as_raw_fd()
    }

    /// Opens or makes the folder, locks it, opens its files and removes half-made ones.
    pub(crate) fn open(path: &Path, segment_bytes: u64, direct: bool) -> Result<Self, DeviceError> {
        let open = |error: io::Error| DeviceError::from_io(Action::Open, None, &error);
        fs::create_dir_all(path).map_err(open)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_NAME))
            .map_err(open)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            rustix::io::Errno::WOULDBLOCK => DeviceError::Locked,
            _ => DeviceError::from_errno(Action::Open, None, errno.raw_os_error()),
        })?;
        let mut folder = Self {
            path: path.to_path_buf(),
            segment_bytes,
            direct,
            files: Vec::new(),
            lock,
        };
        for slot in folder.list()? {
            folder.open_slot(slot)?;
        }
        Ok(folder)
    }

    /// Size of every file in bytes.
    pub(crate) const fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    fn list(&self) -> Result<Vec<u32>, DeviceError> {
        let fail = |error: io::Error| DeviceError::from_io(Action::List, None, &error);
        let mut slots = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(slot) = slot_of(name) {
                slots.push(slot);
            } else if name.ends_with(UNFINISHED) {
                fs::remove_file(entry.path()).map_err(fail)?;
            }
        }
        slots.sort_unstable();
        Ok(slots)
    }

    /// Numbers of the open files, ascending.
    pub(crate) fn slots(&self) -> Vec<u32> {
        (0..self.files.len() as u32)
            .filter(|&slot| self.files[slot as usize].is_some())
            .collect()
    }

    /// The file of a slot.
    pub(crate) fn file(&self, slot: u32) -> Option<&Arc<File>> {
        self.files.get(slot as usize)?.as_ref()
    }

    /// Opens the file of a slot and keeps it.
    pub(crate) fn open_slot(&mut self, slot: u32) -> Result<&Arc<File>, DeviceError> {
        let path = self.path.join(file_name(slot));
        let (file, direct) = open_file(&path, OFlags::RDWR, self.direct)
            .map_err(|error| DeviceError::from_io(Action::Open, Some(slot), &error))?;
        self.direct = direct;
        let found = file
            .metadata()
            .map_err(|error| DeviceError::from_io(Action::Open, Some(slot), &error))?
            .len();
        if found != self.segment_bytes {
            return Err(DeviceError::SegmentBytes {
                slot,
                found,
                expected: self.segment_bytes,
            });
        }
        if self.files.len() <= slot as usize {
            self.files.resize(slot as usize + 1, None);
        }
        Ok(self.files[slot as usize].insert(Arc::new(file)))
    }

    /// What the making of a file needs, apart from this folder.
    pub(crate) fn maker(&self) -> Maker {
        Maker {
            path: self.path.clone(),
            segment_bytes: self.segment_bytes,
            direct: self.direct,
        }
    }
}

/// Makes files of zeros; may do so on another thread.
#[derive(Debug, Clone)]
pub(crate) struct Maker {
    path: PathBuf,
    segment_bytes: u64,
    direct: bool,
}

impl Maker {
    /// Makes the file of a slot: written with zeros, durable, then named.
    pub(crate) fn make(&self, slot: u32) -> Result<(), DeviceError> {
        let unfinished = self.path.join(format!("{}.{UNFINISHED}", file_name(slot)));
        let made = self.fill(&unfinished).and_then(|()| {
            fs::rename(&unfinished, self.path.join(file_name(slot)))?;
            File::open(&self.path)?.sync_all()
        });
        made.map_err(|error| {
            // Whatever is left of the attempt must not fill a disk that is full already.
            let _ = fs::remove_file(&unfinished);
            DeviceError::from_io(Action::Create, Some(slot), &error)
        })
    }

    fn fill(&self, path: &Path) -> io::Result<()> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
        let (file, _) = open_file(path, flags, self.direct)?;
        let allocated = rustix::fs::fallocate(
            &file,
            rustix::fs::FallocateFlags::empty(),
            0,
            self.segment_bytes,
        );
        match allocated {
            // Where the file system cannot reserve, the writes below find out whether there is space.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let zeros = Buffer::new(FILL_BYTES);
        let mut offset = 0;
        while offset < self.segment_bytes {
            let bytes = (self.segment_bytes - offset).min(FILL_BYTES as u64);
            file.write_all_at(&zeros[..bytes as usize], offset)?;
            offset += bytes;
        }
        file.sync_all()
    }
}

/// Opens a file past the page cache if wanted and if the file system takes it; says whether it did.
fn open_file(path: &Path, flags: OFlags, direct: bool) -> io::Result<(File, bool)> {
    let flags = flags | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    #[cfg(target_os = "linux")]
    if direct {
        match rustix::fs::open(path, flags | OFlags::DIRECT, mode) {
            Err(rustix::io::Errno::INVAL) => {}
            opened => return Ok((opened?.into(), true)),
        }
    }
    let _ = direct;
    Ok((rustix::fs::open(path, flags, mode)?.into(), false))
}

/// Reads exactly `into.len()` bytes.
pub(crate) fn read_exact(
    file: &File,
    slot: u32,
    offset: u64,
    into: &mut [u8],
) -> Result<(), DeviceError> {
    file.read_exact_at(into, offset)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => DeviceError::Short {
                action: Action::Read,
                slot: Some(slot),
            },
            _ => DeviceError::from_io(Action::Read, Some(slot), &error),
        })
}

/// Writes all of `bytes` and returns when they are durable.
pub(crate) fn write_durably(
    file: &File,
    slot: u32,
    offset: u64,
    bytes: &[u8],
) -> Result<(), DeviceError> {
    write_synced(file, offset, bytes)
        .map_err(|error| DeviceError::from_io(Action::Write, Some(slot), &error))
}

#[cfg(target_os = "linux")]
fn write_synced(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    use rustix::io::{Errno, ReadWriteFlags, pwritev2};
    let mut done = 0;
    while done < bytes.len() {
        let slices = [io::IoSlice::new(&bytes[done..])];
        match pwritev2(file, &slices, offset + done as u64, ReadWriteFlags::DSYNC) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP) => {
                file.write_all_at(&bytes[done..], offset + done as u64)?;
                return file.sync_data();
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn write_synced(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, offset)?;
    file.sync_data()
}

//! Room for accounts beyond memory: unnamed files, mapped, of which the system keeps in memory what is in use.
//!
//! - A file has no name from the beginning: nothing of it is left after a kill, and nobody else can open it.
//! - It is nothing durable: log and images are. A node that starts fills new ones.
//! - Its room on the disk is taken when it is made; without room the chunk lies in memory, and the node goes on.
//! - A device that cannot read a page back ends the process (SIGBUS); the replica comes back from image and log.
#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe because others might change it"
)]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::ledger::ChunkSource;
use memmap2::{MmapMut, MmapOptions};
use rustix::fs::{FallocateFlags, Mode, OFlags};

/// Bytes of the file that is tried first: a page.
const TRIED_BYTES: usize = 4096;

/// Chunks in this folder, once it was tried.
///
/// # Errors
/// If no unnamed file can be made, filled and mapped there: no such folder, no right to write to it, no room, or a file
/// system that has no unnamed files (`O_TMPFILE`) or cannot reserve their room (`fallocate`).
pub fn source(folder: &Path) -> io::Result<ChunkSource> {
    let mut tried = chunk(folder, TRIED_BYTES)?;
    tried[0] = 1;
    let folder: PathBuf = folder.to_path_buf();
    Ok(Arc::new(move |bytes| {
        chunk(&folder, bytes)
            .inspect_err(|error| {
                log::warn!(
                    "accounts go on in memory, there is no room for them in {}: {error}",
                    folder.display()
                );
            })
            .ok()
    }))
}

fn chunk(folder: &Path, bytes: usize) -> io::Result<MmapMut> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::EXCL;
    let file: File = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?.into();
    // With its room taken no write to the mapping can find the disk full.
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes as u64)?;
    // SAFETY: the file never had a name and can be given none (O_EXCL), and its only descriptor is closed below, so that
    // this mapping is the only way to its bytes and to its length.
    unsafe { MmapOptions::new().len(bytes).map_mut(&file) }
}

#[cfg(test)]
mod tests {
    use super::source;

    #[test]
    fn a_chunk_is_of_zeroes_keeps_what_is_written_and_leaves_no_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = source(folder.path()).expect("it can be used");
        let (mut one, other) = (source(1 << 20).expect("room"), source(1 << 20));
        assert!(one.iter().all(|&byte| byte == 0) && one.len() == 1 << 20);
        one.fill(7);
        one.flush().expect("the disk takes it");
        assert!(one.iter().all(|&byte| byte == 7));
        assert!(other.expect("room").iter().all(|&byte| byte == 0));
        let names = std::fs::read_dir(folder.path()).expect("it is there");
        assert_eq!(names.count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_hold_files_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let missing = source(&folder.path().join("missing"));
        assert_eq!(
            missing.err().map(|error| error.kind()),
            Some(std::io::ErrorKind::NotFound)
        );
        assert!(source(std::path::Path::new("/proc")).is_err());
    }
}

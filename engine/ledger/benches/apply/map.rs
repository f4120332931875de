//! A file of the benchmark, mapped; with the allocator the only unsafe of the benchmark.
#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe because others might change it"
)]

use std::fs::{self, File};
use std::path::Path;

use memmap2::{Mmap, MmapMut};

/// The bytes of a file.
pub(crate) struct Map(Mmap);

impl Map {
    pub(crate) fn of(file: &File) -> std::io::Result<Self> {
        // SAFETY: the file lies in a folder of this process alone, and nobody writes to it once it is mapped.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self(map))
    }
}

/// Zeroes in a file of this folder that has lost its name.
pub(crate) fn unnamed(folder: &Path, bytes: usize) -> std::io::Result<MmapMut> {
    let path = folder.join("accounts");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    fs::remove_file(&path)?;
    file.set_len(bytes as u64)?;
    // SAFETY: the file has no name any more, and this process has no other way to it.
    unsafe { MmapMut::map_mut(&file) }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

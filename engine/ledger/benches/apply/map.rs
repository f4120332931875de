//! A file of the benchmark, mapped; with the allocator the only unsafe of the benchmark.
#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe because others might change it"
)]

use std::fs::File;

use memmap2::Mmap;

/// The bytes of a file.
pub(crate) struct Map(Mmap);

impl Map {
    pub(crate) fn of(file: &File) -> std::io::Result<Self> {
        // SAFETY: the file lies in a folder of this process alone, and nobody writes to it once it is mapped.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self(map))
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

//! Memory whose address and size suit a disk that is read and written without the page cache.
#![expect(
    unsafe_code,
    reason = "aligned memory is asked of the allocator by hand, or cut out of a mapping"
)]
//!
//! - The address never changes while the buffer lives, also when the buffer is moved.
//! - All bytes are initialised: the memory starts as zeros.
//! - Buffers of one device lie side by side in one mapping of large pages where the system has them: a write of a block
//!   is then one stretch of memory to the disk, not one for every 4 KiB.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use memmap2::MmapMut;

use crate::device::ALIGNMENT;

/// Bytes of a large page.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Whom the memory came from, and with whom it goes.
enum Owner {
    Allocator(Layout),
    /// The buffers beside it have parts of their own of the same mapping; the last one unmaps it.
    Mapping(#[expect(dead_code, reason = "held, not read")] Arc<MmapMut>),
}

/// Bytes at an address that is a multiple of 4,096; lent to a device by giving it away.
pub struct Buffer {
    address: NonNull<u8>,
    bytes: usize,
    owner: Owner,
    /// The number under which a device registered this memory.
    pub(crate) registered: Option<u16>,
}

// SAFETY: the buffer alone uses its memory and has no interior mutability.
unsafe impl Send for Buffer {}
// SAFETY: shared access is read-only.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Zeroed memory of this many bytes, rounded up to the alignment; at least one unit.
    ///
    /// # Panics
    /// When the size overflows the address space.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.max(1).next_multiple_of(ALIGNMENT);
        let layout =
            Layout::from_size_align(bytes, ALIGNMENT).expect("sizes are bounded by the options");
        // SAFETY: the layout has a size above zero.
        let address = unsafe { alloc_zeroed(layout) };
        let Some(address) = NonNull::new(address) else {
            handle_alloc_error(layout)
        };
        Self {
            address,
            bytes,
            owner: Owner::Allocator(layout),
            registered: None,
        }
    }

    /// As many buffers of this many bytes, like [`Buffer::new`] each, in large pages where the system gives them.
    ///
    /// # Panics
    /// When the sizes overflow the address space.
    #[must_use]
    pub fn row(count: usize, bytes: usize) -> Vec<Self> {
        let bytes = bytes.max(1).next_multiple_of(ALIGNMENT);
        let needed = count * bytes;
        let large = needed.next_multiple_of(LARGE_PAGE_BYTES);
        // For less than a large page it is not worth one.
        let mapping = (needed >= LARGE_PAGE_BYTES)
            .then(|| MmapMut::map_anon(large + LARGE_PAGE_BYTES).ok())
            .flatten();
        let Some(mut mapping) = mapping else {
            return (0..count).map(|_| Self::new(bytes)).collect();
        };
        let skipped = mapping.as_ptr().align_offset(LARGE_PAGE_BYTES);
        // A system without them goes on with small ones.
        #[cfg(target_os = "linux")]
        let _ = mapping.advise_range(memmap2::Advice::HugePage, skipped, large);
        let start = mapping[skipped..skipped + large].as_mut_ptr();
        let mapping = Arc::new(mapping);
        let cut = |nth: usize| {
            // SAFETY: the mapping holds `count` times `bytes` behind `start`.
            let address = unsafe { start.add(nth * bytes) };
            Self {
                address: NonNull::new(address).expect("a mapping is not at zero"),
                bytes,
                owner: Owner::Mapping(Arc::clone(&mapping)),
                registered: None,
            }
        };
        (0..count).map(cut).collect()
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the memory is this buffer's alone, initialised, and as long as it says.
        unsafe { slice::from_raw_parts(self.address.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; the exclusive borrow rules out other views.
        unsafe { slice::from_raw_parts_mut(self.address.as_ptr(), self.bytes) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Owner::Allocator(layout) = self.owner {
            // SAFETY: allocated in `new` with this very layout, freed once.
            unsafe { dealloc(self.address.as_ptr(), layout) }
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Buffer({} bytes, registered {:?})",
            self.bytes, self.registered
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_a_row_are_zero_aligned_and_apart() {
        // With large pages, and too few bytes for one.
        for (count, bytes) in [(3, (1 << 20) + 1), (5, 4096), (0, 4096)] {
            let mut row = Buffer::row(count, bytes);
            assert_eq!(row.len(), count, "{bytes}");
            for (nth, buffer) in row.iter_mut().enumerate() {
                assert_eq!(buffer.len(), bytes.next_multiple_of(ALIGNMENT));
                assert_eq!(buffer.as_ptr().align_offset(ALIGNMENT), 0);
                assert!(buffer.iter().all(|&byte| byte == 0), "{nth} of {bytes}");
                buffer.fill(nth as u8 + 1);
            }
            // Each keeps its own, also when the others are gone.
            while let Some(buffer) = row.pop() {
                let own = row.len() as u8 + 1;
                assert!(buffer.iter().all(|&byte| byte == own), "{own} of {bytes}");
            }
        }
    }
}

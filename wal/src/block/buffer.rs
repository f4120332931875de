//! Memory whose address and size suit a disk that is read and written without the page cache.
#![expect(
    unsafe_code,
    reason = "aligned memory is asked of the allocator by hand"
)]
//!
//! - The address never changes while the buffer lives, also when the buffer is moved.
//! - All bytes are initialised: the memory starts as zeros.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use crate::device::ALIGNMENT;

/// Bytes at an address that is a multiple of 4,096; lent to a device by giving it away.
pub struct Buffer {
    address: NonNull<u8>,
    layout: Layout,
    /// The number under which a device registered this memory.
    pub(crate) registered: Option<u16>,
}

// SAFETY: the buffer alone owns its memory and has no interior mutability.
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
            layout,
            registered: None,
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the memory is owned, initialised and as long as the layout says.
        unsafe { slice::from_raw_parts(self.address.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; the exclusive borrow rules out other views.
        unsafe { slice::from_raw_parts_mut(self.address.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, freed once.
        unsafe { dealloc(self.address.as_ptr(), self.layout) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Buffer({} bytes, registered {:?})",
            self.layout.size(),
            self.registered
        )
    }
}

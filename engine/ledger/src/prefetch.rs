//! Asks the processor to fetch a cache line that will be needed soon; the only unsafe file of this crate.
#![expect(
    unsafe_code,
    reason = "prefetching has no safe interface; it reads nothing and cannot fault"
)]

/// Bytes that memory moves at once.
const LINE: usize = 64;

/// Hints that `value` will be read or written soon. Costs one instruction per line, changes nothing.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = core::ptr::from_ref(value).cast::<i8>();
        let mut offset = 0;
        while offset < size_of::<T>() {
            // SAFETY: the address lies inside `value`, which is borrowed, and the instruction only
            // hints: it never faults, reads into no register and writes nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.wrapping_add(offset)) };
            offset += LINE;
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (value, LINE);
    }
}

//! Asks the processor to fetch a replica's hot state before its turn comes; the only unsafe file of this crate.
//!
//! - A hint: it reads nothing, changes nothing and cannot fault.
//! - Two steps: a replica's own lines first; what it points to when those have arrived.

#![expect(
    unsafe_code,
    reason = "prefetching has no safe interface; it reads nothing and cannot fault"
)]

use core::mem::offset_of;

use crate::config::Config;
use crate::leading::Leading;
use crate::raft::Raft;

/// Bytes that memory moves at once.
const LINE: usize = 64;

/// What every entry touches of a replica, at its beginning.
const REPLICA: usize = 5 * LINE;
/// What an entry touches of a leadership, at its beginning.
const LEADING: usize = 3 * LINE;
/// What an entry touches of a member's progress, at its beginning.
const PROGRESS: usize = 2 * LINE;

// The fields lie as the comments beside them say.
const _: () = assert!(offset_of!(Raft, log) == LINE);
const _: () = assert!(offset_of!(Raft, following) == 2 * LINE);
const _: () = assert!(offset_of!(Raft, storage) == 3 * LINE);
const _: () = assert!(offset_of!(Raft, vote) == REPLICA);
const _: () =
    assert!((offset_of!(Raft, config) + offset_of!(Config, election_timeout)).is_multiple_of(LINE));
const _: () = assert!((offset_of!(Raft, configurations) + 8).is_multiple_of(LINE));
const _: () = assert!(offset_of!(Leading, tail) == LINE);
const _: () = assert!(offset_of!(Leading, reads) <= LEADING - 16);

/// Hints that `bytes` bytes from `value` on will be read or written soon; no more than it has.
#[inline(always)]
fn prefetch<T>(value: &T, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = core::ptr::from_ref(value).cast::<i8>();
        let mut offset = 0;
        while offset < bytes.min(size_of::<T>()) {
            // SAFETY: the address lies inside `value`, which is borrowed, and the instruction only
            // hints: it never faults, reads into no register and writes nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.wrapping_add(offset)) };
            offset += LINE;
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (value, bytes, LINE);
    }
}

impl Raft {
    /// First: the replica itself. Three groups ahead is a good distance.
    #[inline]
    pub fn prefetch(&self) {
        prefetch(self, REPLICA);
    }

    /// Second, two groups ahead: the replica's own lines are here; a leader has more.
    #[inline]
    pub fn prefetch_leading(&self) {
        if let Some(leading) = self.leading.as_deref() {
            prefetch(&self.config.election_timeout, LINE);
            prefetch(leading, LEADING);
        }
    }

    /// Third, for the next group: what a leader knows of its members.
    #[inline]
    pub fn prefetch_peers(&self) {
        if let Some(leading) = self.leading.as_deref() {
            for progress in &leading.peers {
                prefetch(progress, PROGRESS);
            }
        }
    }
}

//! Receive buffers: a bounded stock of memory that frames are sliced from and that finds its way back by itself.
//!
//! - The bytes of all buffers, free, being filled or lent to frames, never exceed the bound given at the start.
//! - A frame is a slice of a buffer and may be dropped on any core; the pool keeps a handle on every buffer
//!   and takes it back once no slice is left. No one has to return anything.
//! - Small buffers take at most half of the bytes: beginnings of long frames cannot keep all room from their rests.
//! - Every buffer begins at an address divisible by 64.
//! - The lock is taken once per buffer, not per frame, by the one core that owns the pool.
//!
//! One per core and kind of remote (peers, clients): a flood of clients cannot take the peers' memory.

#![expect(
    unsafe_code,
    reason = "buffers are zeroed once and reused without zeroing again"
)]

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use crate::limits::{FrameLimits, KIB, READ_BYTES};

const ADDRESS_ALIGNMENT: usize = 64;
/// Room beyond the round size: a frame whose bulk is a power of two brings its heads too.
const SLACK_BYTES: usize = 16 * KIB;
/// Sizes: 64 KiB doubled up to 4 MiB and the slack, and one for the longest frame.
const CLASSES: usize = 8;
/// A used buffer with this much room left serves another connection's short frames.
const ROOM_BYTES_MIN: usize = 16 * KIB;
/// Lent buffers looked at before a new one is made.
const LOOKS: usize = 8;

const fn class_bytes(class: usize) -> usize {
    if class + 1 == CLASSES {
        FrameLimits::PEER
            .frame_bytes_max()
            .next_multiple_of(ADDRESS_ALIGNMENT)
    } else if class == 0 {
        READ_BYTES
    } else {
        (READ_BYTES << class) + SLACK_BYTES
    }
}

const _: () = assert!(class_bytes(CLASSES - 1) > class_bytes(CLASSES - 2));
const _: () = assert!(ROOM_BYTES_MIN < READ_BYTES);

/// All buffers are in use: stop reading until frames are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("all receive buffers are in use")]
pub struct PoolExhausted;

/// A bounded stock of receive buffers. Cloning clones the handle.
#[derive(Clone, Debug)]
pub struct Pool {
    shelves: Arc<Mutex<Shelves>>,
}

/// A buffer being filled. Goes back to its pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: BytesMut,
    class: usize,
    pool: Pool,
}

#[derive(Debug)]
struct Shelves {
    shelf: [Shelf; CLASSES],
    bytes_max: usize,
    bytes_allocated: usize,
    /// Of those, bytes of the smallest class.
    bytes_small: usize,
    exhausted: u64,
}

#[derive(Debug, Default)]
struct Shelf {
    /// Whole and unshared.
    free: Vec<BytesMut>,
    /// Used in part, with room left for short frames.
    roomy: Vec<BytesMut>,
    /// Shared with frames that are still alive.
    lent: VecDeque<BytesMut>,
}

impl Pool {
    /// A pool that never holds more than `bytes_max` bytes. Memory is allocated as needed, and kept.
    pub fn new(bytes_max: usize) -> Pool {
        let shelves = Shelves {
            shelf: std::array::from_fn(|_| Shelf::default()),
            bytes_max,
            bytes_allocated: 0,
            bytes_small: 0,
            exhausted: 0,
        };
        Pool {
            shelves: Arc::new(Mutex::new(shelves)),
        }
    }

    /// A buffer of at least `bytes` bytes, its content arbitrary.
    pub fn take(&self, bytes: usize) -> Result<Buffer, PoolExhausted> {
        let class = (0..CLASSES)
            .find(|&class| class_bytes(class) >= bytes)
            .expect("limits were checked: no frame is longer than the largest class");
        let taken = self.lock().take(class, bytes)?;
        Ok(Buffer {
            bytes: taken,
            class,
            pool: self.clone(),
        })
    }

    /// A buffer for a read of unknown length: the rest of a used one, or a small one.
    pub fn take_for_reading(&self) -> Result<Buffer, PoolExhausted> {
        self.take(ROOM_BYTES_MIN)
    }

    /// Bytes of all buffers that exist.
    pub fn bytes_allocated(&self) -> usize {
        self.lock().bytes_allocated
    }

    /// How often a buffer was refused.
    pub fn exhausted(&self) -> u64 {
        self.lock().exhausted
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn take(&mut self, class: usize, bytes: usize) -> Result<BytesMut, PoolExhausted> {
        let shelf = &mut self.shelf[class];
        if let Some(mut found) = shelf.roomy.pop_if(|buffer| buffer.len() >= bytes) {
            // From its start again if nobody holds a part of it: those cache lines are at hand.
            reclaimed(&mut found, class);
            return Ok(found);
        }
        if let Some(found) = shelf.free.pop() {
            return Ok(found);
        }
        shelf.reclaim(class, LOOKS);
        if let Some(found) = shelf.free.pop() {
            return Ok(found);
        }
        if !self.has_room(class) {
            self.make_room(class);
        }
        if let Some(found) = self.shelf[class].free.pop() {
            return Ok(found);
        }
        if !self.has_room(class) {
            self.exhausted += 1;
            return Err(PoolExhausted);
        }
        self.bytes_allocated += class_bytes(class);
        self.bytes_small += if class == 0 { class_bytes(0) } else { 0 };
        let whole = BytesMut::zeroed(class_bytes(class) + ADDRESS_ALIGNMENT);
        assert_eq!(
            whole.capacity(),
            class_bytes(class) + ADDRESS_ALIGNMENT,
            "no byte beyond the zeroed ones"
        );
        Ok(aligned(whole))
    }

    /// Whether one more buffer of the class may be made.
    fn has_room(&self, class: usize) -> bool {
        let may_grow = class > 0 || self.bytes_small + class_bytes(0) <= self.bytes_max / 2;
        may_grow && self.bytes_allocated + class_bytes(class) <= self.bytes_max
    }

    /// Takes back whatever no frame holds, then gives up free buffers of other classes.
    fn make_room(&mut self, class: usize) {
        for (each, shelf) in self.shelf.iter_mut().enumerate() {
            shelf.reclaim(each, usize::MAX);
        }
        if !self.shelf[class].free.is_empty() {
            return;
        }
        for each in (0..CLASSES).rev() {
            while !self.has_room(class) && self.shelf[each].free.pop().is_some() {
                self.bytes_allocated -= class_bytes(each);
                self.bytes_small -= if each == 0 { class_bytes(0) } else { 0 };
            }
        }
    }

    fn put(&mut self, class: usize, mut bytes: BytesMut) {
        let shelf = &mut self.shelf[class];
        // Only in the smallest class: a short frame must not hold a long buffer.
        if class == 0 && bytes.len() >= ROOM_BYTES_MIN && bytes.len() < class_bytes(class) {
            shelf.roomy.push(bytes);
        } else if reclaimed(&mut bytes, class) {
            shelf.free.push(bytes);
        } else {
            shelf.lent.push_back(bytes);
        }
    }
}

impl Shelf {
    fn reclaim(&mut self, class: usize, looks: usize) {
        for _ in 0..looks.min(self.lent.len()) {
            let mut bytes = self.lent.pop_front().expect("counted above");
            if reclaimed(&mut bytes, class) {
                self.free.push(bytes);
            } else {
                self.lent.push_back(bytes);
            }
        }
        if looks == usize::MAX {
            for at in (0..self.roomy.len()).rev() {
                if reclaimed(&mut self.roomy[at], class) {
                    self.free.push(self.roomy.swap_remove(at));
                }
            }
        }
    }
}

/// Makes the buffer whole again if no frame holds a part of it; leaves it as it is otherwise.
fn reclaimed(bytes: &mut BytesMut, class: usize) -> bool {
    let whole = class_bytes(class) + ADDRESS_ALIGNMENT;
    let len = bytes.len();
    bytes.clear();
    let unshared = bytes.try_reclaim(whole);
    let len = if unshared { whole } else { len };
    // SAFETY: the allocation has exactly `whole` bytes, all zeroed when it was made, and initialised bytes stay
    // initialised: `aligned` and `split_to` only move the start of the handle, nothing reallocates. If reclaimed, the
    // handle spans the whole allocation; if not, its start and capacity are as they were when it had `len` bytes.
    unsafe { bytes.set_len(len) };
    if unshared {
        let whole = std::mem::take(bytes);
        *bytes = aligned(whole);
    }
    unshared
}

/// Moves the start to an address divisible by `ADDRESS_ALIGNMENT` and cuts the end to the class's size.
fn aligned(mut bytes: BytesMut) -> BytesMut {
    let usable = bytes.len() - ADDRESS_ALIGNMENT;
    bytes.advance(bytes.as_ptr().align_offset(ADDRESS_ALIGNMENT));
    bytes.truncate(usable);
    bytes
}

impl Buffer {
    /// Cuts off the first `bytes` bytes as a frame that shares the memory.
    pub fn split_to(&mut self, bytes: usize) -> Bytes {
        self.bytes.split_to(bytes).freeze()
    }

    /// Whether there is room for another read.
    pub fn has_room(&self) -> bool {
        self.bytes.len() >= ROOM_BYTES_MIN
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.pool.lock().put(self.class, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_the_last_slice_is_dropped() {
        let pool = Pool::new(2 * class_bytes(0));
        let mut buffer = pool.take(READ_BYTES).expect("the first fits");
        let address = buffer.as_ptr();
        assert_eq!(address.align_offset(ADDRESS_ALIGNMENT), 0);
        buffer[..3].copy_from_slice(b"abc");
        let frame = buffer.split_to(3);
        let copy = frame.clone();
        drop(buffer);
        assert_eq!(pool.take(READ_BYTES).err(), Some(PoolExhausted));
        drop(frame);
        assert_eq!(pool.take(READ_BYTES).err(), Some(PoolExhausted));
        assert_eq!(&copy[..], b"abc");
        std::thread::spawn(move || drop(copy))
            .join()
            .expect("dropping does not panic");
        let again = pool.take(READ_BYTES).expect("the memory is back");
        assert_eq!((again.as_ptr(), again.len()), (address, READ_BYTES));
        assert_eq!(
            (pool.bytes_allocated(), pool.exhausted()),
            (class_bytes(0), 2)
        );
    }

    #[test]
    fn short_frames_of_many_connections_share_a_buffer() {
        let pool = Pool::new(2 * class_bytes(0));
        let mut frames = Vec::new();
        for _ in 0..48 {
            let mut buffer = pool.take_for_reading().expect("there is room left");
            frames.push(buffer.split_to(1024));
        }
        assert_eq!(pool.bytes_allocated(), class_bytes(0));
        let mut buffer = pool.take_for_reading().expect("the last 16 KiB");
        frames.push(buffer.split_to(1));
        drop(buffer);
        assert!(pool.take_for_reading().is_err());
        frames.clear();
        assert!(pool.take_for_reading().is_ok());
    }

    #[test]
    fn free_buffers_of_one_size_make_room_for_another() {
        let pool = Pool::new(class_bytes(4) + class_bytes(0));
        drop(pool.take(class_bytes(4)).expect("the first fits"));
        let small: Vec<_> = (0..4)
            .map(|_| pool.take(READ_BYTES).expect("the large one gave way"))
            .collect();
        assert_eq!(pool.bytes_allocated(), 4 * class_bytes(0));
        assert!(pool.take(class_bytes(4)).is_err());
        drop(small);
        let large = pool.take(class_bytes(4)).expect("the small ones gave way");
        assert!(pool.bytes_allocated() <= class_bytes(4) + class_bytes(0));
        assert_eq!(large.len(), class_bytes(4));
    }

    #[test]
    fn small_buffers_leave_half_of_the_room() {
        let pool = Pool::new(16 * class_bytes(0));
        let small: Vec<_> = std::iter::from_fn(|| pool.take(READ_BYTES).ok()).collect();
        assert_eq!(small.len(), 8);
        let long = pool.take(2 * READ_BYTES).expect("the other half");
        drop(small);
        let small: Vec<_> = std::iter::from_fn(|| pool.take(READ_BYTES).ok()).collect();
        assert_eq!(small.len(), 8);
        drop((small, long));
        assert!(
            pool.take(class_bytes(3)).is_ok(),
            "room given up is counted back"
        );
        assert!(pool.take(READ_BYTES).is_ok());
    }

    #[test]
    fn every_frame_within_limits_has_a_class() {
        let pool = Pool::new(usize::MAX);
        let longest = pool
            .take(FrameLimits::PEER.frame_bytes_max())
            .expect("unbounded");
        assert!(longest.len() >= FrameLimits::PEER.frame_bytes_max());
        let batch = pool.take(HEADERS_AND_BATCH).expect("unbounded");
        assert_eq!(
            batch.len(),
            class_bytes(4),
            "a full client batch does not spill into 2 MiB"
        );
    }

    const HEADERS_AND_BATCH: usize = 64 + 64 + 8190 * 128;
}

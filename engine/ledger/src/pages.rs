//! Numbered rows that grow without ever moving, in memory that the system backs with huge pages.
//!
//! Rows of accounts and transfers are reached at random. With pages of 4 KiB nearly every such access
//! first walks the page tables, which costs more than the access; pages of 2 MiB make that rare.
//!
//! - The first [`HEAD_BYTES`] of a table for which nothing was reserved are a list on the heap: a group that holds little
//!   occupies little and asks the system for nothing. That list alone moves while it grows.
//! - Chunks are [`CHUNK_BYTES`], anonymous memory, all but the first with the wish for huge pages; where the
//!   system does not grant it, everything works the same, more slowly.
//! - A chunk is mapped when its first row is written, and its pages are committed as they are written.
//! - A row's address in a chunk stays the same. Rows are taken back from the end; whole chunks are given up from the front,
//!   and serve again at the end, so that a table that gives up as much as it takes asks the system for nothing. As many
//!   are kept for that as were reserved or drawn from a stock, two at least.
//! - A table may be given a stock of chunks that somebody touched before; while that is empty, chunks are mapped as without one.
//! - A table may be given another source of chunks: files, of which the system keeps in memory what is in use. Where the source
//!   has none, memory serves.

use core::ops::Range;
use std::sync::Arc;

use memmap2::{Advice, MmapMut};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a chunk after the first: four huge pages.
pub const CHUNK_BYTES: usize = 8 << 20;

/// Bytes of the list before the first chunk, whose part for the same rows is never touched.
const HEAD_BYTES: usize = 128 << 10;

/// Chunks kept for use again, at least.
const SPARE_CHUNKS_MIN: usize = 2;

/// Where rows lie that need not stay in memory: gives so many bytes of zeroes, in a mapping that nothing else writes to,
/// or nothing if there is no room.
pub type ChunkSource = Arc<dyn Fn(usize) -> Option<MmapMut> + Send + Sync>;

/// Rows of type `T`, whose size is a power of two.
pub(crate) struct Pages<T> {
    /// The rows before `head_rows`.
    head: Vec<T>,
    /// As many rows are in the list, or will be.
    head_rows: usize,
    source: Option<ChunkSource>,
    stock: Option<ChunkSource>,
    chunks: Vec<MmapMut>,
    /// Chunks given up at the front.
    given_up: usize,
    /// Given up, and not in use again.
    spare: Vec<MmapMut>,
    /// Chunks that are not given back to the system, in use or spare.
    kept: usize,
    /// The first row that is here.
    start: usize,
    len: usize,
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Pages<T> {
    /// Rows of a chunk.
    const CHUNK: usize = CHUNK_BYTES / size_of::<T>();

    pub(crate) const fn new() -> Self {
        const { assert!(size_of::<T>().is_power_of_two() && align_of::<T>() <= 4096) };
        Self {
            head: Vec::new(),
            head_rows: HEAD_BYTES / size_of::<T>(),
            source: None,
            stock: None,
            chunks: Vec::new(),
            given_up: 0,
            spare: Vec::new(),
            kept: SPARE_CHUNKS_MIN,
            start: 0,
            len: 0,
        }
    }

    /// Chunks come from there from now on.
    pub(crate) fn draw_from(&mut self, source: ChunkSource) {
        self.source = Some(source);
        if self.len == 0 {
            self.head_rows = 0;
        }
    }

    /// Chunks come from there as long as it has some, and are kept for use again.
    pub(crate) fn draw_on(&mut self, stock: ChunkSource) {
        self.stock = Some(stock);
    }

    /// Asks the system to read these rows into memory, without waiting for it.
    pub(crate) fn fetch(&self, rows: Range<usize>) {
        // Rows of the list are in memory.
        let first = rows.start.max(self.start).max(self.head_rows);
        let (mut next, end) = (first, rows.end.min(self.len));
        while next < end {
            let chunk = next / Self::CHUNK;
            let until = end.min((chunk + 1) * Self::CHUNK);
            let (start, bytes) = (next % Self::CHUNK, (until - next) * size_of::<T>());
            let chunk = &self.chunks[chunk - self.given_up];
            // Only a wish: without it who needs a row waits for it.
            #[cfg(target_os = "linux")]
            let _ = chunk.advise_range(Advice::WillNeed, start * size_of::<T>(), bytes);
            next = until;
        }
    }

    /// Rows from `row` on, of which there are none yet; those before it are never asked for.
    pub(crate) fn start_at(&mut self, row: usize) {
        let (source, stock) = (self.source.take(), self.stock.take());
        *self = Self::new();
        if row > 0 || source.is_some() {
            self.head_rows = 0;
        }
        (self.source, self.stock) = (source, stock);
        self.given_up = row / Self::CHUNK;
        self.start = row;
        self.len = row;
    }

    /// Gives up rows before `row`, as far as whole chunks of them are left.
    pub(crate) fn release_before(&mut self, row: usize) {
        let chunks = (row.min(self.len) / Self::CHUNK).saturating_sub(self.given_up);
        let used = self.chunks.len() - chunks + self.spare.len();
        let kept = SPARE_CHUNKS_MIN
            .saturating_sub(self.spare.len())
            .max(self.kept.saturating_sub(used));
        self.spare.extend(self.chunks.drain(..chunks).take(kept));
        self.given_up += chunks;
        if self.given_up > 0 {
            (self.head, self.head_rows) = (Vec::new(), 0);
        }
        self.start = self.start.max(self.given_up * Self::CHUNK);
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The row with this number; panics if there is none, since numbers come from the tables alone.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> &T {
        if row < self.head_rows {
            return &self.head[row];
        }
        let start = row % Self::CHUNK * size_of::<T>();
        let chunk = &self.chunks[row / Self::CHUNK - self.given_up];
        let bytes = &chunk[start..start + size_of::<T>()];
        T::ref_from_bytes(bytes).expect("chunks are page-aligned and rows a power of two")
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, row: usize) -> &mut T {
        if row < self.head_rows {
            return &mut self.head[row];
        }
        let start = row % Self::CHUNK * size_of::<T>();
        let chunk = &mut self.chunks[row / Self::CHUNK - self.given_up];
        let bytes = &mut chunk[start..start + size_of::<T>()];
        T::mut_from_bytes(bytes).expect("chunks are page-aligned and rows a power of two")
    }

    #[inline]
    pub(crate) fn push(&mut self, row: T) {
        if self.len < self.head_rows {
            self.head.push(row);
            self.len += 1;
            return;
        }
        if self.len / Self::CHUNK == self.given_up + self.chunks.len() {
            self.add_chunk();
        }
        self.len += 1;
        *self.get_mut(self.len - 1) = row;
    }

    /// Maps one more chunk. Like every allocation here it stops the process if there is no memory at all.
    #[cold]
    fn add_chunk(&mut self) {
        if let Some(chunk) = self.spare.pop() {
            self.chunks.push(chunk);
            return;
        }
        let elsewhere = self.source.as_ref().and_then(|source| source(CHUNK_BYTES));
        if let Some(chunk) = elsewhere {
            #[cfg(target_os = "linux")]
            // Only a wish: without it the system reads neighbours along that nobody asked for.
            let _ = chunk.advise(Advice::Random);
            self.chunks.push(chunk);
            return;
        }
        if let Some(chunk) = self.stock.as_ref().and_then(|stock| stock(CHUNK_BYTES)) {
            self.kept += 1;
            self.chunks.push(chunk);
            return;
        }
        let chunk =
            MmapMut::map_anon(CHUNK_BYTES).expect("the system has memory for one more chunk");
        #[cfg(target_os = "linux")]
        if self.given_up + self.chunks.len() > 0 {
            // Only a wish: without it pages are small.
            let _ = chunk.advise(Advice::HugePage);
        }
        self.chunks.push(chunk);
    }

    /// Has the memory of the first `rows` rows at hand before they are written: mapped, and touched. As much stays at
    /// hand when rows are given up at the front.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.kept = self.kept.max(rows.div_ceil(Self::CHUNK));
        if rows <= self.head_rows {
            self.head
                .reserve_exact(rows.saturating_sub(self.head.len()));
            return;
        }
        if self.len == 0 {
            self.head_rows = 0;
        }
        while (self.given_up + self.chunks.len()) * Self::CHUNK < rows {
            self.add_chunk();
            #[cfg(target_os = "linux")]
            if let Some(chunk) = self.chunks.last() {
                // Only a wish: without it pages are touched when they are written.
                let _ = chunk.advise(Advice::PopulateWrite);
            }
        }
    }

    /// Takes back the newest row.
    pub(crate) fn pop(&mut self) -> Option<T>
    where
        T: Copy,
    {
        let last = *self.last()?;
        self.len -= 1;
        if self.len < self.head_rows {
            self.head.pop();
        }
        Some(last)
    }

    /// The newest row, if it was not given up.
    pub(crate) fn last(&self) -> Option<&T> {
        (self.len > self.start).then(|| self.get(self.len - 1))
    }

    /// The number of the first row from `start` on of which `before` says no. Those with a yes must come first.
    pub(crate) fn partition_point(&self, start: usize, before: impl Fn(&T) -> bool) -> usize {
        let (mut low, mut high) = (start, self.len);
        while low < high {
            let middle = usize::midpoint(low, high);
            if before(self.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Bytes that the rows occupy; pages of a chunk that were not reached yet are not counted.
    pub(crate) fn bytes(&self) -> usize {
        (self.len - self.start) * size_of::<T>() + self.spare.len() * CHUNK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    use memmap2::MmapMut;

    use super::{ChunkSource, Pages, SPARE_CHUNKS_MIN};

    #[test]
    fn rows_come_back_across_chunks() {
        let mut rows: Pages<[u64; 512]> = Pages::new();
        for n in 0..5_000_u64 {
            rows.push([n; 512]);
        }
        rows.get_mut(4_095)[7] = 1;
        assert_eq!(
            (rows.len(), rows.get(2_047)[3], rows.get(2_048)[511]),
            (5_000, 2_047, 2_048)
        );
        assert_eq!((rows.get(4_095)[7], rows.get(4_095)[8]), (1, 4_095));
        assert_eq!(rows.partition_point(0, |row| row[0] < 3_000), 3_000);
        for n in (0..5_000_u64).rev() {
            assert_eq!(rows.pop().map(|row| row[0]), Some(n));
        }
        assert_eq!((rows.pop(), rows.last(), rows.len()), (None, None, 0));
        rows.reserve(9_000);
        assert_eq!((rows.last().is_none(), rows.len()), (true, 0));
        rows.push([9; 512]);
        assert_eq!(rows.last().map(|row| row[0]), Some(9));
    }

    #[test]
    fn few_rows_map_nothing_and_go_on_in_the_first_chunk() {
        let mut rows: Pages<u64> = Pages::new();
        let head = rows.head_rows as u64;
        for n in 0..head {
            rows.push(n);
        }
        assert_eq!((rows.chunks.len(), rows.len() as u64), (0, head));
        rows.push(head);
        *rows.get_mut(5) = 50;
        assert_eq!((rows.chunks.len(), rows.last()), (1, Some(&head)));
        assert_eq!((*rows.get(5), *rows.get(6)), (50, 6));
        assert_eq!((rows.pop(), rows.pop()), (Some(head), Some(head - 1)));
        rows.push(1);
        rows.push(2);
        assert_eq!(
            (rows.pop(), rows.pop(), rows.pop()),
            (Some(2), Some(1), Some(head - 2))
        );
        assert_eq!(rows.partition_point(6, |row| *row < 100), 100);
        rows.start_at(3);
        rows.push(7);
        assert_eq!((*rows.get(3), rows.chunks.len()), (7, 1));
        let mut rows: Pages<u64> = Pages::new();
        rows.reserve(head as usize + 1);
        rows.push(4);
        assert_eq!((*rows.get(0), rows.head.len()), (4, 0));
    }

    #[test]
    fn chunks_given_up_at_the_front_serve_again_at_the_end() {
        let mut rows: Pages<[u64; 512]> = Pages::new();
        for n in 0..7_000_u64 {
            rows.push([n; 512]);
        }
        rows.release_before(5_000);
        assert_eq!((rows.given_up, rows.spare.len(), rows.len()), (2, 2, 7_000));
        for n in 7_000..12_000_u64 {
            rows.push([n; 512]);
        }
        assert!((4_096..12_000).all(|row| rows.get(row)[9] == row as u64));
        assert_eq!(rows.partition_point(4_096, |row| row[0] < 9_000), 9_000);
        rows.reserve(12_000 + 4 * 2_048);
        rows.release_before(12_000);
        let (chunks, spare) = (rows.chunks.len(), rows.spare.len());
        assert_eq!(chunks + spare, 8, "what was reserved stays");
        for n in 12_000..24_000_u64 {
            rows.push([n; 512]);
            rows.release_before(n as usize - 5_000);
        }
        assert_eq!(rows.chunks.len() + rows.spare.len(), 8);
        rows.start_at(5_000);
        assert!(rows.last().is_none());
        rows.push([1; 512]);
        assert_eq!((rows.len(), rows.get(5_000)[0]), (5_001, 1));
    }

    #[test]
    fn chunks_of_a_stock_come_first_and_stay_and_without_them_it_goes_on() {
        let left = AtomicUsize::new(3);
        let stock: ChunkSource = Arc::new(move |bytes| {
            let took = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
            took.ok().and_then(|_| MmapMut::map_anon(bytes).ok())
        });
        let mut rows: Pages<[u64; 512]> = Pages::new();
        rows.draw_on(stock);
        rows.start_at(100);
        for n in 100..12_000_u64 {
            rows.push([n; 512]);
        }
        assert!((100..12_000).all(|row| rows.get(row)[9] == row as u64));
        assert_eq!((rows.chunks.len(), rows.kept), (6, SPARE_CHUNKS_MIN + 3));
        rows.release_before(12_000);
        assert_eq!(rows.chunks.len() + rows.spare.len(), SPARE_CHUNKS_MIN + 3);
    }
}

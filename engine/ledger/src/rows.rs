//! Numbered rows that grow without moving: a list of chunks.
//!
//! - Chunks do not move, so growth pauses nobody; the first one alone begins small and is copied while it grows, so that a
//!   short list occupies little.
//! - A chunk is allocated when the first row in it is written; the system commits its pages one by one.
//! - Rows are taken back from the end; whole chunks are given up from the front.

/// Rows for which the first chunk begins.
const FIRST: usize = 64;

/// Rows of type `T` in chunks of `CHUNK`, a power of two.
pub(crate) struct Rows<T, const CHUNK: usize> {
    chunks: Vec<Vec<T>>,
    /// Chunks given up at the front.
    given_up: usize,
    len: usize,
}

impl<T, const CHUNK: usize> Rows<T, CHUNK> {
    pub(crate) const fn new() -> Self {
        const { assert!(CHUNK.is_power_of_two()) };
        Self {
            chunks: Vec::new(),
            given_up: 0,
            len: 0,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The row with this number; panics if there is none, since numbers come from the tables alone.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> &T {
        &self.chunks[row / CHUNK - self.given_up][row % CHUNK]
    }

    #[inline]
    pub(crate) fn push(&mut self, row: T) {
        let chunk = self.len / CHUNK - self.given_up;
        if chunk == self.chunks.len() {
            self.add_chunk();
        }
        self.chunks[chunk].push(row);
        self.len += 1;
    }

    #[cold]
    fn add_chunk(&mut self) {
        let is_first = self.given_up == 0 && self.chunks.is_empty();
        let rows = if is_first { CHUNK.min(FIRST) } else { CHUNK };
        self.chunks.push(Vec::with_capacity(rows));
    }

    /// The first row that was not given up.
    #[inline]
    pub(crate) fn start(&self) -> usize {
        self.given_up * CHUNK
    }

    /// Gives up rows before `row`, as far as whole chunks of them are left.
    pub(crate) fn release_before(&mut self, row: usize) {
        let chunks = (row.min(self.len) / CHUNK).saturating_sub(self.given_up);
        self.chunks.drain(..chunks);
        self.given_up += chunks;
    }

    /// The newest row, if it was not given up.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let row = self.chunks.last_mut()?.pop()?;
        if self.len % CHUNK == 1 {
            self.chunks.pop();
        }
        self.len -= 1;
        Some(row)
    }

    pub(crate) fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    /// Bytes that the rows occupy.
    pub(crate) fn bytes(&self) -> usize {
        let rows: usize = self.chunks.iter().map(Vec::capacity).sum();
        rows * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn rows_come_back_in_order_across_chunks() {
        let mut rows: Rows<usize, 4> = Rows::new();
        for n in 0..21 {
            rows.push(n * 10);
        }
        assert_eq!(
            (rows.len(), rows.last(), *rows.get(17)),
            (21, Some(&200), 170)
        );
        for n in (0..21).rev() {
            assert_eq!(rows.pop(), Some(n * 10));
        }
        assert_eq!((rows.pop(), rows.last(), rows.len()), (None, None, 0));
        rows.push(1);
        assert_eq!(rows.last(), Some(&1));
    }

    #[test]
    fn chunks_are_given_up_at_the_front() {
        let mut rows: Rows<usize, 4> = Rows::new();
        for n in 0..21 {
            rows.push(n * 10);
        }
        rows.release_before(11);
        assert_eq!((rows.start(), *rows.get(8), rows.len()), (8, 80, 21));
        rows.push(210);
        rows.release_before(100);
        assert_eq!((rows.start(), rows.last()), (20, Some(&210)));
        while rows.pop().is_some() {}
        assert_eq!((rows.len(), rows.last()), (20, None));
        rows.push(5);
        assert_eq!(*rows.get(20), 5);
    }
}

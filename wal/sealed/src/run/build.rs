//! Builds a run from entries in any order, within a bound of memory and without a long stroke.
//!
//! - Entries are sorted in chunks as they come; chunks that follow each other in order are one source.
//! - What comes in order is therefore only copied.

use thiserror::Error;

use crate::damage::Damage;
use crate::key::Key;
use crate::limits::SORTED_CHUNK;
use crate::run::RunSpec;
use crate::run::merge::{Merged, Source};
use crate::run::write::{RunSummary, RunWriter};

/// The builder holds as many entries as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the builder holds {entries_max} entries, as many as it may")]
pub struct BuilderFull {
    /// The bound that it was given.
    pub entries_max: usize,
}

/// Gathers the entries of a run.
pub struct RunBuilder<K> {
    spec: RunSpec,
    entries_max: usize,
    entries: usize,
    chunk: Vec<(K, u64)>,
    sorted: Vec<Chunks<K>>,
}

/// Sorted chunks, each not below the one before.
struct Chunks<K> {
    chunks: Vec<Vec<(K, u64)>>,
    /// Where the next entry is.
    chunk: usize,
    entry: usize,
}

impl<K: Key> RunBuilder<K> {
    /// A builder of at most `entries_max` entries, each of which takes 16 bytes with keys of 8 bytes, 32 with
    /// keys of 16.
    #[must_use]
    pub fn new(spec: RunSpec, entries_max: usize) -> Self {
        Self {
            spec,
            entries_max,
            entries: 0,
            chunk: Vec::new(),
            sorted: Vec::new(),
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// When the builder is full: the entry was not taken.
    pub fn push(&mut self, key: K, value: u64) -> Result<(), BuilderFull> {
        if self.entries == self.entries_max {
            let entries_max = self.entries_max;
            return Err(BuilderFull { entries_max });
        }
        if self.chunk.capacity() == 0 {
            let room = SORTED_CHUNK.min(self.entries_max - self.entries);
            self.chunk.reserve_exact(room);
        }
        self.chunk.push((key, value));
        self.entries += 1;
        if self.chunk.len() == SORTED_CHUNK {
            self.sort();
        }
        Ok(())
    }

    fn sort(&mut self) {
        let mut chunk = core::mem::take(&mut self.chunk);
        if !chunk.is_sorted() {
            chunk.sort_unstable();
        }
        let Some(first) = chunk.first().copied() else {
            return;
        };
        let follows = |chunks: &&mut Chunks<K>| {
            let last = chunks.chunks.last().and_then(|chunk| chunk.last());
            last.is_some_and(|last| *last <= first)
        };
        match self.sorted.last_mut().filter(follows) {
            Some(chunks) => chunks.chunks.push(chunk),
            None => self.sorted.push(Chunks {
                chunks: vec![chunk],
                chunk: 0,
                entry: 0,
            }),
        }
    }

    /// Entries taken so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Begins to write the run; `None` when there are no entries, since a run has at least one.
    #[must_use]
    pub fn finish(mut self) -> Option<RunWriting<K>> {
        self.sort();
        if self.sorted.is_empty() {
            return None;
        }
        Some(RunWriting {
            merged: Merged::new(self.sorted).unwrap_or_else(|_| unreachable!("memory reads")),
            writer: RunWriter::new(self.spec),
        })
    }
}

impl<K: Key> Source<K> for Chunks<K> {
    #[inline]
    fn next(&mut self) -> Result<Option<(K, u64)>, Damage> {
        while let Some(chunk) = self.chunks.get_mut(self.chunk) {
            if let Some(entry) = chunk.get(self.entry) {
                self.entry += 1;
                return Ok(Some(*entry));
            }
            // Its memory is given back before the file is complete.
            *chunk = Vec::new();
            (self.chunk, self.entry) = (self.chunk + 1, 0);
        }
        Ok(None)
    }
}

/// A run being written from a builder's entries.
pub struct RunWriting<K: Key> {
    merged: Merged<K, Chunks<K>>,
    writer: RunWriter<K>,
}

impl<K: Key> RunWriting<K> {
    /// Goes on by about `budget` bytes of entries and appends to `out` what is ready of the file; true when it is
    /// complete. `out` grows by at most the budget, a block and what lies at the end.
    pub fn step(&mut self, budget: usize, out: &mut Vec<u8>) -> bool {
        self.merged
            .step(&mut self.writer, budget, out)
            .unwrap_or_else(|_| unreachable!("memory reads"))
    }

    /// What was written, once the file is complete.
    #[must_use]
    pub fn summary(&self) -> RunSummary {
        self.writer.summary()
    }
}

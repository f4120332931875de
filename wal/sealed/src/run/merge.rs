//! Merges sorted sources into one run, a bounded slice at a time.
//!
//! - Sources are read once, in order; what is kept is one entry of each, and one block of each run.
//! - The result does not depend on the order of the sources.
//! - A damaged source ends the merge with its damage: nothing is left out in silence.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use thiserror::Error;

use crate::damage::Damage;
use crate::key::Key;
use crate::limits::MERGE_RUNS_MAX;
use crate::run::cursor::Cursor;
use crate::run::read::RunReader;
use crate::run::write::{RunSummary, RunWriter};

/// Sorted entries, one after the other.
pub(crate) trait Source<K> {
    /// The next entry, if there is one.
    fn next(&mut self) -> Result<Option<(K, u64)>, Damage>;
}

/// The entries of all sources in one order.
pub(crate) struct Merged<K, S> {
    sources: Vec<S>,
    heads: BinaryHeap<Reverse<(K, u64, usize)>>,
}

impl<K: Key, S: Source<K>> Merged<K, S> {
    pub(crate) fn new(mut sources: Vec<S>) -> Result<Self, Damage> {
        let mut heads = BinaryHeap::with_capacity(sources.len());
        for (nth, source) in sources.iter_mut().enumerate() {
            if let Some((key, value)) = source.next()? {
                heads.push(Reverse((key, value, nth)));
            }
        }
        Ok(Self { sources, heads })
    }

    #[inline]
    fn next(&mut self) -> Result<Option<(K, u64)>, Damage> {
        let Some(mut head) = self.heads.peek_mut() else {
            return Ok(None);
        };
        let Reverse((key, value, nth)) = *head;
        match self.sources[nth].next()? {
            Some((key, value)) => *head = Reverse((key, value, nth)),
            None => {
                PeekMut::pop(head);
            }
        }
        Ok(Some((key, value)))
    }

    /// Writes entries worth about `budget` bytes into the run; true when the file is complete.
    pub(crate) fn step(
        &mut self,
        writer: &mut RunWriter<K>,
        budget: usize,
        out: &mut Vec<u8>,
    ) -> Result<bool, Damage> {
        let entries = (budget / (K::BYTES + 8)).max(1);
        for _ in 0..entries {
            match self.next()? {
                Some((key, value)) => writer.push(key, value, out),
                None => return Ok(writer.finish(budget, out)),
            }
        }
        Ok(false)
    }
}

/// Why runs cannot be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MergeError {
    /// There is nothing to merge.
    #[error("no runs were given")]
    Nothing,
    /// More runs than one merge reads.
    #[error("{given} runs at once, at most {MERGE_RUNS_MAX} allowed")]
    TooMany {
        /// How many were given.
        given: usize,
    },
    /// The runs are not of one index of one group.
    #[error("the runs belong to different indexes")]
    Strangers,
    /// A run is damaged.
    #[error("run {run} is damaged")]
    Damaged {
        /// Which of the runs, counted from 0.
        run: usize,
        /// Its damage.
        #[source]
        damage: Damage,
    },
}

/// A merge of runs into one.
pub struct Merge<K: Key, B> {
    merged: Merged<K, Numbered<K, B>>,
    writer: RunWriter<K>,
}

/// A cursor that knows which of the runs it reads.
struct Numbered<K: Key, B>(Cursor<K, Arc<RunReader<K, B>>, B>);

impl<K: Key, B: AsRef<[u8]>> Source<K> for Numbered<K, B> {
    #[inline]
    fn next(&mut self) -> Result<Option<(K, u64)>, Damage> {
        self.0.next()
    }
}

impl<K: Key, B: AsRef<[u8]>> Merge<K, B> {
    /// Begins to merge runs of one index.
    ///
    /// # Errors
    /// When there are no runs or too many, when they are not of one index, and when a first block is damaged.
    pub fn new(runs: &[Arc<RunReader<K, B>>]) -> Result<Self, MergeError> {
        let spec = *runs.first().ok_or(MergeError::Nothing)?.spec();
        if runs.len() > MERGE_RUNS_MAX {
            return Err(MergeError::TooMany { given: runs.len() });
        }
        if runs.iter().any(|run| *run.spec() != spec) {
            return Err(MergeError::Strangers);
        }
        let sources = runs
            .iter()
            .map(|run| Numbered(Cursor::new(Arc::clone(run))));
        let merged = Merged::new(sources.collect());
        Ok(Self {
            merged: merged.map_err(|damage| named(runs, damage))?,
            writer: RunWriter::new(spec),
        })
    }

    /// Goes on by about `budget` bytes of entries and appends to `out` what is ready of the new file; true when it
    /// is complete. `out` grows by at most the budget, a block and what lies at the end.
    ///
    /// # Errors
    /// The damage of a run that cannot be read; the merge is then over.
    pub fn step(&mut self, budget: usize, out: &mut Vec<u8>) -> Result<bool, Damage> {
        self.merged.step(&mut self.writer, budget, out)
    }

    /// What was written, once the file is complete.
    #[must_use]
    pub fn summary(&self) -> RunSummary {
        self.writer.summary()
    }
}

/// Which of the runs has this damage in its first block.
fn named<K: Key, B: AsRef<[u8]>>(runs: &[Arc<RunReader<K, B>>], damage: Damage) -> MergeError {
    let run = runs
        .iter()
        .position(|run| run.verify(0, 1) == Err(damage))
        .unwrap_or_default();
    MergeError::Damaged { run, damage }
}

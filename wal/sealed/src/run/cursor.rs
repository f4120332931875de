//! Walks over a run's entries in order, one decoded block at a time.

use core::borrow::Borrow;
use core::marker::PhantomData;

use crate::damage::{Damage, DamageKind};
use crate::key::Key;
use crate::run::read::RunReader;

/// A place in a run.
pub(crate) struct Cursor<K: Key, R, B> {
    run: R,
    next_block: u32,
    entries: Vec<(K, u64)>,
    entry: usize,
    reads: PhantomData<B>,
}

impl<K: Key, R: Borrow<RunReader<K, B>>, B: AsRef<[u8]>> Cursor<K, R, B> {
    /// Before the first entry.
    pub(crate) fn new(run: R) -> Self {
        Self {
            run,
            next_block: 0,
            entries: Vec::new(),
            entry: 0,
            reads: PhantomData,
        }
    }

    /// Before the first entry whose key is not below this one.
    pub(crate) fn seek(run: R, key: K) -> Result<Self, Damage> {
        let mut cursor = Self::new(run);
        let run: &RunReader<K, B> = cursor.run.borrow();
        cursor.next_block = run.first_block_of(key);
        cursor.load()?;
        let before = cursor.entries.partition_point(|entry| entry.0 < key);
        cursor.entry = before;
        Ok(cursor)
    }

    /// Decodes the next block, if there is one.
    fn load(&mut self) -> Result<bool, Damage> {
        let run: &RunReader<K, B> = self.run.borrow();
        if self.next_block >= run.blocks() {
            return Ok(false);
        }
        let before = self.entries.last().copied();
        run.decode(self.next_block, &mut self.entries)?;
        // The index knows only keys: that values go on rising over the end of a block is seen here.
        if before.is_some_and(|before| self.entries.first() <= Some(&before)) {
            return Err(run.damage(self.next_block, DamageKind::Contradiction));
        }
        (self.next_block, self.entry) = (self.next_block + 1, 0);
        Ok(true)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(K, u64)>, Damage> {
        if self.entry == self.entries.len() && !self.load()? {
            return Ok(None);
        }
        let entry = self.entries[self.entry];
        self.entry += 1;
        Ok(Some(entry))
    }
}

/// A run's entries in order.
pub struct Entries<'a, K: Key, B> {
    cursor: Cursor<K, &'a RunReader<K, B>, B>,
    over: bool,
}

impl<'a, K: Key, B: AsRef<[u8]>> Entries<'a, K, B> {
    pub(crate) const fn new(cursor: Cursor<K, &'a RunReader<K, B>, B>) -> Self {
        Self {
            cursor,
            over: false,
        }
    }
}

impl<K: Key, B: AsRef<[u8]>> Iterator for Entries<'_, K, B> {
    type Item = Result<(K, u64), Damage>;

    /// The next entry; after damage nothing.
    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let entry = self.cursor.next().transpose();
        self.over = !matches!(entry, Some(Ok(_)));
        entry
    }
}

//! The keeper of keys of a cluster's object store, and the judge of nonces: under one key no nonce serves twice.
//!
//! - Keys are drawn from the seed; a wrapped key is the key's number, which says nothing to whoever has no keeper.
//! - An object numbers its chunks from zero, so a key that serves two different objects repeats its nonces.

use std::collections::BTreeMap;

use bytes::Bytes;
use cold::key::{DataKey, KeyError, KeyKeeper, WrappedKey};
use cold::name::Segment;
use cold::object::read_head;

use crate::chance::Chance;

/// One per cluster with secrets; it cannot be lost.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    seed: u64,
    keys: u64,
    /// Gives the first key again and again; planted by the exam.
    repeats: bool,
}

impl Keeper {
    /// With keys of this seed.
    pub(crate) const fn new(seed: u64, repeats: bool) -> Self {
        Self {
            seed,
            keys: 0,
            repeats,
        }
    }

    fn key(&self, number: u64) -> DataKey {
        let mut chance = Chance::named(self.seed.wrapping_add(number), "keys");
        let mut key = [0; 32];
        for part in key.chunks_mut(8) {
            part.copy_from_slice(&chance.roll().to_le_bytes());
        }
        DataKey(key)
    }

    /// Of two different objects that are encrypted under one key, the second.
    pub(crate) fn repeated<'a>(&self, objects: impl Iterator<Item = &'a Bytes>) -> Option<Segment> {
        let mut keeper = self.clone();
        let mut seen: BTreeMap<[u8; 32], Segment> = BTreeMap::new();
        for object in objects {
            let Ok(head) = read_head(object) else {
                continue;
            };
            let Some(Ok(key)) = head.key.map(|wrapped| keeper.open(&wrapped)) else {
                continue;
            };
            // The same file stored twice under one key is the same bytes twice.
            let known = *seen.entry(key.0).or_insert(head.segment);
            if (known.hash, known.copy) != (head.segment.hash, head.segment.copy) {
                return Some(head.segment);
            }
        }
        None
    }
}

impl KeyKeeper for Keeper {
    fn generate(&mut self) -> Result<(DataKey, WrappedKey), KeyError> {
        if !self.repeats || self.keys == 0 {
            self.keys += 1;
        }
        let wrapped = WrappedKey(self.keys.to_le_bytes().to_vec());
        Ok((self.key(self.keys), wrapped))
    }

    fn open(&mut self, wrapped: &WrappedKey) -> Result<DataKey, KeyError> {
        let number: [u8; 8] = (*wrapped.0).try_into().map_err(|_| KeyError::Damaged)?;
        Ok(self.key(u64::from_le_bytes(number)))
    }
}

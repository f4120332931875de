//! Reads of cold segments: through a bounded cache, with one download for all who want the same, and guesses ahead.
//!
//! - What is here is whole and verified; what is not is brought back by the tier, whole.
//! - The cache is bounded by bytes and lets a single scan not empty it (S3-FIFO).
//! - Guesses take only what room the tier has left, and are never waited for.

use std::collections::BTreeMap;
use std::sync::Arc;

use quick_cache::unsync::Cache;
use quick_cache::{Lifecycle, Weighter};
use rustc_hash::FxBuildHasher;

use crate::jobs::JobError;
use crate::manifest::Manifest;
use crate::name::Segment;
use crate::prefetch::{Guessed, Prefetch};
use crate::store::ObjectStore;
use crate::tier::{Ending, Finished, JobId, Tier, TierBusy};

/// A segment's file in memory.
pub type Bytes = Arc<Vec<u8>>;

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// It is here.
    Here(Bytes),
    /// It is on its way; ask again.
    Coming,
}

#[derive(Clone)]
struct Held {
    file: Bytes,
    /// It was guessed, and nobody has asked for it yet.
    is_guess: bool,
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Segment, Held> for Weigh {
    fn weight(&self, _: &Segment, held: &Held) -> u64 {
        held.file.len().max(1) as u64
    }
}

#[derive(Clone)]
struct CountWasted;

impl Lifecycle<Segment, Held> for CountWasted {
    type RequestState = u64;

    fn on_evict(&self, wasted: &mut u64, _: Segment, held: Held) {
        if held.is_guess {
            *wasted += held.file.len() as u64;
        }
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderCounts {
    /// Reads answered from the cache.
    pub hits: u64,
    /// Reads that had to wait.
    pub misses: u64,
}

/// Reads of one core.
pub struct Reader {
    cache: Cache<Segment, Held, Weigh, FxBuildHasher, CountWasted>,
    coming: BTreeMap<JobId, (Segment, bool)>,
    prefetch: Prefetch,
    counts: ReaderCounts,
    /// What came last, for those who wait for it.
    arrived: Option<(Segment, Bytes)>,
}

impl Reader {
    /// With a cache of so many bytes.
    #[must_use]
    pub fn new(cache_bytes: u64) -> Self {
        let items = usize::try_from(cache_bytes >> 20)
            .unwrap_or(usize::MAX)
            .max(16);
        Self {
            cache: Cache::with(items, cache_bytes, Weigh, FxBuildHasher, CountWasted),
            coming: BTreeMap::new(),
            prefetch: Prefetch::new(),
            counts: ReaderCounts::default(),
            arrived: None,
        }
    }

    /// Wants a segment that the manifest names, in this hour since the Unix epoch.
    ///
    /// # Errors
    /// When the tier has its hands full; ask again later.
    pub fn want<S: ObjectStore>(
        &mut self,
        tier: &mut Tier<S>,
        manifest: &Manifest,
        segment: &Segment,
        hour: u64,
    ) -> Result<Want, TierBusy> {
        if let Some(mut held) = self.cache.get_mut(segment) {
            let file = Arc::clone(&held.file);
            let was_guess = std::mem::take(&mut held.is_guess);
            drop(held);
            self.counts.hits += 1;
            if was_guess {
                self.prefetch.used(segment.bytes);
            }
            self.guess(tier, manifest, segment, hour);
            return Ok(Want::Here(file));
        }
        let coming = self.coming.values_mut().find(|(other, _)| other == segment);
        if let Some((_, is_guess)) = coming {
            if std::mem::take(is_guess) {
                self.prefetch.used(segment.bytes);
            }
            return Ok(Want::Coming);
        }
        let id = tier.download(*segment)?;
        self.coming.insert(id, (*segment, false));
        self.counts.misses += 1;
        self.prefetch.missed(segment.bytes);
        self.guess(tier, manifest, segment, hour);
        Ok(Want::Coming)
    }

    fn guess<S: ObjectStore>(
        &mut self,
        tier: &mut Tier<S>,
        manifest: &Manifest,
        segment: &Segment,
        hour: u64,
    ) {
        for ahead in self.prefetch.read(manifest, segment, hour) {
            self.bring(tier, ahead);
        }
    }

    /// Brings back what earlier weeks read in the hour that is about to begin.
    pub fn prepare<S: ObjectStore>(&mut self, tier: &mut Tier<S>, hour: u64, most: usize) {
        for segment in self.prefetch.due(hour, most) {
            self.bring(tier, segment);
        }
    }

    fn bring<S: ObjectStore>(&mut self, tier: &mut Tier<S>, segment: Segment) {
        let is_coming = self.coming.values().any(|(other, _)| *other == segment);
        if is_coming || self.cache.contains_key(&segment) {
            return;
        }
        // A guess that finds no room is none.
        if let Ok(id) = tier.download(segment) {
            self.coming.insert(id, (segment, true));
            self.prefetch.fetched(segment.bytes);
        }
    }

    /// A job of the tier has ended. Gives it back if it was none of the reader's; an error is that of a wanted segment.
    ///
    /// # Errors
    /// When a segment that somebody waits for could not be brought back.
    pub fn finished(
        &mut self,
        id: JobId,
        result: Result<Finished, JobError>,
    ) -> Result<Option<Ending>, Box<(Segment, JobError)>> {
        let Some((segment, is_guess)) = self.coming.remove(&id) else {
            return Ok(Some((id, result)));
        };
        match result {
            Ok(Finished::Downloaded(segment, file)) => {
                let file = Arc::new(file);
                self.arrived = Some((segment, Arc::clone(&file)));
                let held = Held { file, is_guess };
                let mut wasted = 0;
                self.cache.insert_with_lifecycle(segment, held, &mut wasted);
                self.prefetch.wasted(wasted);
                Ok(None)
            }
            Ok(_) => Err(Box::new((segment, JobError::Confused))),
            Err(_) if is_guess => {
                self.prefetch.wasted(segment.bytes);
                Ok(None)
            }
            Err(error) => Err(Box::new((segment, error))),
        }
    }

    /// What the last job to have ended brought back, once.
    pub const fn take_arrived(&mut self) -> Option<(Segment, Bytes)> {
        self.arrived.take()
    }

    /// Bytes in the cache.
    #[must_use]
    pub fn cached_bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// Counters.
    #[must_use]
    pub const fn counts(&self) -> ReaderCounts {
        self.counts
    }

    /// What came of guessing.
    #[must_use]
    pub const fn guessed(&self) -> Guessed {
        self.prefetch.guessed()
    }
}

//! What all tests share: files, keys, dice, and a loop that turns a tier until a job has ended.

use std::sync::Arc;

use cold::jobs::JobError;
use cold::key::{DataKey, FileKeeper, KeyError, KeyKeeper, WrappedKey};
use cold::manifest::{Manifest, Retention};
use cold::name::{ContentHash, Segment};
use cold::store::ObjectStore;
use cold::tier::{Finished, JobId, Tier, stored};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

pub(crate) const GROUP: u64 = 7;

/// Dice by seed.
pub(crate) fn dice(seed: u64) -> Box<dyn FnMut() -> u64 + Send> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    Box::new(move || random.next_u64())
}

/// The file of segment `nth`: `bytes` bytes that no other segment has.
pub(crate) fn file(nth: u64, bytes: usize) -> (Segment, Arc<Vec<u8>>) {
    let mut random = ChaCha8Rng::seed_from_u64(nth);
    let mut content = vec![0; bytes];
    random.fill_bytes(&mut content);
    let segment = Segment {
        group: GROUP,
        first: nth * 10 + 1,
        last: nth * 10 + 10,
        bytes: bytes as u64,
        hash: ContentHash::of(&content),
        copy: 0,
    };
    (segment, Arc::new(content))
}

/// Keys that are the same for the same seed, so that runs repeat.
pub(crate) struct SeededKeeper {
    inner: FileKeeper,
    given: u64,
}

impl SeededKeeper {
    pub(crate) fn new() -> Self {
        let text = format!("test {}", "5a".repeat(32));
        Self {
            inner: FileKeeper::parse(&text).expect("a key"),
            given: 0,
        }
    }
}

impl KeyKeeper for SeededKeeper {
    fn generate(&mut self) -> Result<(DataKey, WrappedKey), KeyError> {
        self.given += 1;
        self.inner.generate()
    }

    fn open(&mut self, wrapped: &WrappedKey) -> Result<DataKey, KeyError> {
        self.inner.open(wrapped)
    }
}

/// One tier and its time.
pub(crate) struct Driven<S> {
    pub(crate) tier: Tier<S>,
    pub(crate) now: u64,
    dice: Box<dyn FnMut() -> u64 + Send>,
}

impl<S: ObjectStore> Driven<S> {
    pub(crate) fn new(store: S, is_secret: bool, seed: u64) -> Self {
        Self {
            tier: Tier::new(store, is_secret, 64 << 20),
            now: 0,
            dice: dice(seed),
        }
    }

    /// One turn; time passes in it.
    pub(crate) fn turn(&mut self) {
        self.now += 50_000_000;
        self.tier.turn(self.now, 128 << 10, &mut self.dice);
    }

    /// Turns until the job has ended; `between` is called after each turn.
    pub(crate) fn finish(
        &mut self,
        id: JobId,
        between: &mut dyn FnMut(),
    ) -> Result<Finished, JobError> {
        for _ in 0..1_000_000 {
            self.turn();
            if let Some((ended, result)) = self.tier.next_finished() {
                assert_eq!(ended, id, "one job at a time");
                return result;
            }
            between();
        }
        panic!("the job never ends");
    }

    /// Stores a segment and names it in the manifest.
    pub(crate) fn offload(&mut self, nth: u64, bytes: usize) -> Result<Segment, JobError> {
        let (segment, file) = file(nth, bytes);
        let id = self.tier.upload(segment, file, None).expect("it is idle");
        self.finish(id, &mut || {})?;
        let change = stored(segment, Retention::Keep);
        let id = self
            .tier
            .publish(change, Manifest::empty(GROUP))
            .expect("it is idle");
        self.finish(id, &mut || {})?;
        Ok(segment)
    }

    /// Brings a segment back.
    pub(crate) fn fetch(&mut self, segment: Segment) -> Result<Vec<u8>, JobError> {
        let id = self.tier.download(segment).expect("it is idle");
        match self.finish(id, &mut || {})? {
            Finished::Downloaded(_, file) => Ok(file),
            other => panic!("a download gives a file, not {other:?}"),
        }
    }
}

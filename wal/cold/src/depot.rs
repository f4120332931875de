//! Everything that a node does with its store, over one tier: files go out, entries are read back, chores are done.
//!
//! - What goes out comes first, what is read back next, chores last.
//! - It never waits: who turns it brings time, budget and dice, and sleeps in between.

use crate::chores::{ChoreCounts, Chores, Plan};
use crate::jobs::JobError;
use crate::offload::{self, Offloads};
use crate::prefetch::Guessed;
use crate::reader::ReaderCounts;
use crate::recall::{Answer, Question, Recalls};
use crate::store::ObjectStore;
use crate::tier::TierCounts;

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DepotCounts {
    /// Of the tier.
    pub tier: TierCounts,
    /// Of reads.
    pub reader: ReaderCounts,
    /// Of guesses, bytes.
    pub guessed: Guessed,
    /// Bytes in the cache.
    pub cached_bytes: u64,
    /// Of chores.
    pub chores: ChoreCounts,
    /// Uploads in parts that nobody went on with and that were given up.
    pub uploads_given_up: u64,
}

/// One per store.
pub struct Depot<S> {
    offloads: Offloads<S>,
    recalls: Recalls,
    chores: Chores,
}

impl<S: ObjectStore> Depot<S> {
    /// Of these files under way, with a cache of so many bytes, and chores by this plan, whose grace holds for all.
    #[must_use]
    pub fn new(offloads: Offloads<S>, cache_bytes: u64, plan: Plan) -> Self {
        Self {
            offloads: offloads.with_grace(plan.grace),
            recalls: Recalls::new(cache_bytes),
            chores: Chores::new(plan),
        }
    }

    /// Takes a file: see [`Offloads::offer`].
    ///
    /// # Errors
    /// The parcel, when as many are under way as may be.
    pub fn offer(&mut self, parcel: offload::Parcel) -> Result<(), offload::Parcel> {
        self.offloads.offer(parcel)
    }

    /// Takes a question: see [`Recalls::ask`].
    ///
    /// # Errors
    /// The question, when as many are under way as may be.
    pub fn ask(&mut self, question: Question) -> Result<(), Question> {
        self.recalls.ask(question)
    }

    /// A group is to be looked after now and then: see [`Chores::tend`].
    pub fn tend(&mut self, group: u64, second: u64) {
        self.chores.tend(group, second);
    }

    /// Goes on: see [`Offloads::turn`].
    pub fn turn(&mut self, now_ns: u64, second: u64, budget: usize, dice: &mut dyn FnMut() -> u64) {
        self.recalls.go_on(&mut self.offloads, second);
        self.chores.go_on(&mut self.offloads, second);
        if let Some(id) = self.chores.upload() {
            self.offloads.note_upload(id, second);
        }
        self.offloads.turn(now_ns, second, budget, dice);
        while let Some(ending) = self.offloads.next_other() {
            let Some(ending) = self.recalls.ended(&mut self.offloads, ending) else {
                continue;
            };
            // What is nobody's was begun by somebody who has given up since.
            let _ = self.chores.ended(&mut self.offloads, ending, second);
        }
        self.recalls.go_on(&mut self.offloads, second);
        self.chores.go_on(&mut self.offloads, second);
    }

    /// The next parcel that has ended.
    pub fn next_ended(&mut self) -> Option<offload::Ending> {
        self.offloads.next_ended()
    }

    /// The next answer, with the token of its question.
    pub fn next_answered(&mut self) -> Option<(u64, Result<Answer, JobError>)> {
        self.recalls.next_answered()
    }

    /// The files under way, for what else is known of them.
    pub const fn offloads(&mut self) -> &mut Offloads<S> {
        &mut self.offloads
    }

    /// Nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.offloads.is_idle() && self.recalls.is_idle() && self.chores.is_idle()
    }

    /// Counters.
    pub fn counts(&mut self) -> DepotCounts {
        let (reader, guessed, cached_bytes) = self.recalls.counts();
        DepotCounts {
            tier: self.offloads.tier().counts(),
            reader,
            guessed,
            cached_bytes,
            chores: self.chores.counts(),
            uploads_given_up: self.offloads.uploads_given_up(),
        }
    }
}

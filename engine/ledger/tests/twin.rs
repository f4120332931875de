//! A second machine that lives differently: its history leaves memory as soon as it may, in pieces of any size, and
//! now and then it is replaced by one that was restored from its image, its chapters and the commands since.
//!
//! Its accounts lie in chunks that it is given, as those of a node that keeps them in files do, its transfers in chunks of a stock
//! that has one for every second asked for.
//!
//! Whoever compares it with a machine that does none of this proves that nothing of it shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ledger::ledger::Ledger;
use ledger::limits::Limits;
use raft::ids::Index;
use raft::state_machine::{Command, StateMachine};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// A command that came after an image was begun.
struct Later {
    time: u64,
    operation: u8,
    payload: Vec<u8>,
}

/// An image on its way.
struct Taking {
    bytes: Vec<u8>,
    since: Vec<Later>,
}

/// The machine, and what its shard would keep.
pub(crate) struct Twin {
    pub(crate) ledger: Ledger,
    limits: Limits,
    dice: ChaCha8Rng,
    chapters: Vec<Arc<Vec<u8>>>,
    /// The chapter that is being written.
    chapter: Vec<u8>,
    image: Option<Taking>,
    pub(crate) restored: usize,
}

impl Twin {
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        let ledger = Ledger::with_seed(limits, u128::from(seed));
        let mut ledger = ledger.expect("limits of a test are sound");
        ledger.draw_accounts_from(Arc::new(|bytes| memmap2::MmapMut::map_anon(bytes).ok()));
        let asked = AtomicUsize::new(0);
        ledger.draw_transfers_from(Arc::new(move |bytes| {
            let has_one = asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
            has_one.then(|| memmap2::MmapMut::map_anon(bytes).ok())?
        }));
        Self {
            ledger,
            limits,
            dice: ChaCha8Rng::seed_from_u64(seed),
            chapters: Vec::new(),
            chapter: Vec::new(),
            image: None,
            restored: 0,
        }
    }

    fn below(&mut self, bound: u64) -> usize {
        (self.dice.next_u64() % bound) as usize
    }

    /// Applies a command, and does some of the other work.
    pub(crate) fn apply(&mut self, command: Command<'_>) -> Vec<u8> {
        let mut reply = Vec::new();
        self.ledger.apply(command, &mut reply);
        if let Some(image) = &mut self.image {
            image.since.push(Later {
                time: command.time,
                operation: command.operation,
                payload: command.payload.to_vec(),
            });
        }
        for _ in 0..self.below(12) {
            self.write_chapter();
        }
        self.take_image();
        reply
    }

    fn write_chapter(&mut self) {
        let Some(due) = self.ledger.due_chapter() else {
            return;
        };
        let budget = 1 + self.below(5_000);
        let before = self.chapter.len();
        let last = self.ledger.next_chapter_piece(budget, &mut self.chapter);
        assert!(self.chapter.len() - before <= budget);
        if self.below(2_000) == 0 {
            // It was lost before it was durable.
            self.ledger.begin_image();
            self.image = Some(Taking {
                bytes: Vec::new(),
                since: Vec::new(),
            });
        }
        if last {
            let bytes = Arc::new(core::mem::take(&mut self.chapter));
            assert_eq!(due, self.chapters.len() as u64);
            let shelved: Arc<Vec<u8>> = Arc::clone(&bytes);
            self.ledger
                .shelve(due, shelved)
                .expect("the machine knows its own chapter");
            self.chapters.push(bytes);
        }
    }

    fn take_image(&mut self) {
        if self.image.is_none() && self.below(12) == 0 {
            assert!(self.ledger.begin_image());
            self.image = Some(Taking {
                bytes: Vec::new(),
                since: Vec::new(),
            });
        }
        let budget = 1 + self.below(20_000);
        let Some(image) = &mut self.image else {
            return;
        };
        if self.ledger.next_image_piece(budget, &mut image.bytes) {
            let image = self.image.take().expect("it was there");
            self.restore(&image);
        }
    }

    /// Goes on with a machine that was restored.
    fn restore(&mut self, image: &Taking) {
        let seed = u128::from(self.dice.next_u64());
        let mut other = Ledger::with_seed(self.limits, seed).expect("limits of a test are sound");
        other.begin_restore();
        let mut rest = &image.bytes[..];
        let mut chapters: Vec<usize> = (0..self.chapters.len()).collect();
        while !rest.is_empty() || !chapters.is_empty() {
            if !chapters.is_empty() && self.below(2) == 0 {
                let chapter = chapters.swap_remove(self.below(chapters.len() as u64));
                let bytes: Arc<Vec<u8>> = Arc::clone(&self.chapters[chapter]);
                other
                    .shelve(chapter as u64, bytes)
                    .expect("a whole chapter");
            }
            let take = self.below(4_000).min(rest.len());
            other.restore_piece(&rest[..take]).expect("a whole image");
            rest = &rest[take..];
        }
        other.end_restore().expect("everything is there");
        for later in &image.since {
            let command = Command {
                index: Index(1),
                time: later.time,
                operation: later.operation,
                payload: &later.payload,
            };
            other.apply(command, &mut Vec::new());
        }
        assert_eq!(
            other.digest(),
            self.ledger.digest(),
            "image and tail are full replay"
        );
        assert_eq!(other.audit(), self.ledger.audit());
        // Chapters since the image were shelved by the old machine, not by this one; it knows them by their bytes.
        while let Some(due) = other.due_chapter() {
            let Some(bytes) = self.chapters.get(due as usize) else {
                break;
            };
            let bytes: Arc<Vec<u8>> = Arc::clone(bytes);
            other.shelve(due, bytes).expect("the same chapter");
        }
        self.chapter.clear();
        self.ledger = other;
        self.restored += 1;
    }

    /// The chapters and the image of another machine with the same past are the same bytes.
    pub(crate) fn check_bytes(&self, other: &mut Ledger) {
        let mut number = 0;
        while let Some(due) = other.due_chapter() {
            assert_eq!(due, number);
            let mut bytes = Vec::new();
            while !other.next_chapter_piece(1 << 20, &mut bytes) {}
            if let Some(own) = self.chapters.get(number as usize) {
                assert!(**own == bytes, "chapter {number} differs");
            }
            other.shelve(due, Arc::new(bytes)).expect("its own chapter");
            number += 1;
        }
        assert!(number >= self.chapters.len() as u64);
    }
}

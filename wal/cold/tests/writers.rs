//! Several writers, killed at any step: no segment that was told to be stored is ever unreachable.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use cold::jobs::publish::Change;
use cold::manifest::{Manifest, Retention};
use cold::name::Segment;
use cold::store::memory::{Faults, Memory};
use cold::tier::{Finished, Tier, stored};

use crate::driving::{Driven, GROUP, dice, file};
use crate::sharing::{Shared, newest};

/// A writer that stores segment after segment, and is killed and begun anew now and then.
struct Writer {
    tier: Tier<Shared>,
    next: u64,
    uploaded: Option<Segment>,
    is_busy: bool,
    told: Vec<Segment>,
}

impl Writer {
    fn turn(&mut self, now: u64, random: &mut dyn FnMut() -> u64) {
        if !self.is_busy {
            let begun = match self.uploaded {
                None => {
                    let (segment, content) = file(self.next, 2_000);
                    self.tier.upload(segment, content, None)
                }
                Some(segment) => self
                    .tier
                    .publish(stored(segment, Retention::Keep), Manifest::empty(GROUP)),
            };
            begun.expect("one job at a time");
            self.is_busy = true;
        }
        self.tier.turn(now, 1 << 20, random);
        if let Some((_, result)) = self.tier.next_finished() {
            self.is_busy = false;
            match result {
                Ok(Finished::Uploaded(segment)) => self.uploaded = Some(segment),
                Ok(Finished::Published(manifest)) => {
                    let segment = self.uploaded.take().expect("it was uploaded");
                    assert!(manifest.names(&segment), "what is told is named");
                    self.told.push(segment);
                    self.next += 8;
                }
                Ok(other) => panic!("not asked for: {other:?}"),
                // Tried again with the next turn.
                Err(_) => {}
            }
        }
    }

    fn kill(&mut self, shared: Shared) {
        self.tier = Tier::new(shared, false, 1 << 30);
        self.uploaded = None;
        self.is_busy = false;
    }
}

#[test]
fn no_writer_loses_what_another_or_itself_was_told() {
    let mut told_in_all = 0;
    for seed in 0..60 {
        let faults = Faults {
            unavailable: 10,
            lost_answer: 25,
            stale_listing: 80,
            slow: 4,
            ..Faults::default()
        };
        let store = Rc::new(RefCell::new(Memory::with_faults(faults, dice(seed))));
        let heard = Rc::new(RefCell::new(BTreeMap::new()));
        let mut random = dice(seed + 1_000);
        let mut lives = 0;
        let mut shared = || {
            lives += 1;
            Shared {
                who: lives,
                store: Rc::clone(&store),
                heard: Rc::clone(&heard),
            }
        };
        let mut writers: Vec<Writer> = (0..3)
            .map(|nth| Writer {
                tier: Tier::new(shared(), false, 1 << 30),
                next: nth,
                uploaded: None,
                is_busy: false,
                told: Vec::new(),
            })
            .collect();
        for step in 1..2_500_u64 {
            let which = random() as usize % writers.len();
            if random().is_multiple_of(60) {
                writers[which].kill(shared());
            }
            writers[which].turn(step * 40_000_000, &mut random);
        }
        let manifest = newest(&store);
        for writer in &writers {
            told_in_all += writer.told.len();
            for segment in &writer.told {
                assert!(
                    manifest.names(segment),
                    "seed {seed}: {segment:?} was told and is lost"
                );
            }
        }
        for stored in manifest.segments() {
            let object = stored.segment.object();
            let store = store.borrow();
            let is_there = store.objects().any(|(name, _)| name == object);
            assert!(
                is_there,
                "seed {seed}: the manifest names what is not there"
            );
        }
    }
    println!("{told_in_all} segments told");
    assert!(told_in_all > 600, "writers get on: {told_in_all}");
}

#[test]
fn a_writer_that_stood_still_for_long_does_not_write_beside_the_newest_manifest() {
    let store = Rc::new(RefCell::new(Memory::new()));
    let heard = Rc::new(RefCell::new(BTreeMap::new()));
    let shared = |who| Shared {
        who,
        store: Rc::clone(&store),
        heard: Rc::clone(&heard),
    };
    let mut quick = Driven::new(shared(1), false, 1);
    let mut slow = Driven::new(shared(2), false, 2);
    quick.offload(0, 100).expect("no faults");
    let (segment, content) = file(50, 100);
    let id = slow.tier.upload(segment, content, None).expect("idle");
    slow.finish(id, &mut || {}).expect("no faults");
    let change = stored(segment, Retention::Keep);
    let id = slow
        .tier
        .publish(change, Manifest::empty(GROUP))
        .expect("idle");
    // It finds number 1, sees that there is no number 2, and stands still before it claims that.
    for _ in 0..3 {
        slow.turn();
    }
    for nth in 1..30 {
        quick.offload(nth, 100).expect("no faults");
    }
    let Ok(Finished::Published(manifest)) = slow.finish(id, &mut || {}) else {
        panic!("it gets on in the end");
    };
    assert_eq!((manifest.segments().len(), manifest.number), (31, 31));
    let newest = newest(&store);
    assert!(newest.names(&segment) && newest.names(&file(29, 100).0));
    let id = quick.tier.sweep(GROUP, 10_000, 10).expect("idle");
    quick.finish(id, &mut || {}).expect("no faults");
    let store = store.borrow();
    let count = |folder| {
        store
            .objects()
            .filter(|(name, _)| name.contains(folder))
            .count()
    };
    assert_eq!((count("/manifest/"), count("/snapshots/")), (31, 0));
}

#[test]
fn a_sweep_deletes_only_what_nobody_names() {
    let mut driven = Driven::new(Memory::new(), false, 1);
    driven.tier.store().now = 1_000;
    let segments: Vec<Segment> = (0..4)
        .map(|nth| driven.offload(nth, 100).expect("no faults"))
        .collect();
    // One that was uploaded and never published, and one that is merged away.
    let (orphan, content) = file(9, 100);
    let id = driven.tier.upload(orphan, content, None).expect("idle");
    driven.finish(id, &mut || {}).expect("no faults");
    let (mut merged, content) = file(8, 300);
    (merged.first, merged.last) = (segments[0].first, segments[1].last);
    let id = driven.tier.upload(merged, content, None).expect("idle");
    driven.finish(id, &mut || {}).expect("no faults");
    let change = stored(merged, Retention::Keep);
    let id = driven
        .tier
        .publish(change, Manifest::empty(GROUP))
        .expect("idle");
    driven.finish(id, &mut || {}).expect("no faults");
    let mut sweep = |now| {
        let id = driven.tier.sweep(GROUP, now, 3_600).expect("idle");
        match driven.finish(id, &mut || {}) {
            Ok(Finished::Swept(swept)) => swept,
            other => panic!("{other:?}"),
        }
    };
    let young = sweep(2_000);
    assert_eq!((young.named, young.deleted, young.young), (3, 0, 3));
    let swept = sweep(10_000);
    assert_eq!(
        (swept.named, swept.deleted, swept.young, swept.locked),
        (3, 3, 0, 0)
    );
    for segment in [merged, segments[2], segments[3]] {
        assert!(driven.fetch(segment).is_ok());
    }
}

#[test]
fn what_is_kept_for_a_time_goes_after_it_and_what_is_locked_stays() {
    let mut driven = Driven::new(Memory::new(), false, 1);
    driven.tier.store().lock_seconds = 500;
    for (nth, retention) in [
        (0, Retention::Until(100)),
        (1, Retention::Locked(500)),
        (2, Retention::Keep),
    ] {
        let (segment, content) = file(nth, 100);
        let id = driven.tier.upload(segment, content, None).expect("idle");
        driven.finish(id, &mut || {}).expect("no faults");
        let id = driven
            .tier
            .publish(stored(segment, retention), Manifest::empty(GROUP))
            .expect("idle");
        driven.finish(id, &mut || {}).expect("no faults");
    }
    let mut count_after = |change| {
        let id = driven
            .tier
            .publish(change, Manifest::empty(GROUP))
            .expect("idle");
        match driven.finish(id, &mut || {}) {
            Ok(Finished::Published(manifest)) => manifest.segments().len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(count_after(Change::Expire(100)), 3);
    assert_eq!(count_after(Change::Expire(101)), 2);
    let truncate = |now| Change::Truncate { upto: 1_000, now };
    assert_eq!(
        count_after(truncate(500)),
        1,
        "the lock holds, the kept one goes"
    );
    assert_eq!(count_after(Change::Expire(501)), 0);
    let mut sweep = |now| {
        driven.tier.store().now = now;
        let id = driven.tier.sweep(GROUP, now, 10).expect("idle");
        match driven.finish(id, &mut || {}) {
            Ok(Finished::Swept(swept)) => swept,
            other => panic!("{other:?}"),
        }
    };
    let held = sweep(400);
    assert_eq!(
        (held.deleted, held.locked),
        (0, 3),
        "the store's own lock is respected"
    );
    assert_eq!(sweep(501).deleted, 3);
}

#[test]
fn snapshots_spare_reading_and_are_no_truth_of_their_own() {
    let mut driven = Driven::new(Memory::new(), false, 1);
    let segments: Vec<Segment> = (0..200)
        .map(|nth| driven.offload(nth, 10).expect("no faults"))
        .collect();
    let read = |driven: &mut Driven<Memory>| {
        let before = driven.tier.counts().tasks;
        let change = Change::Read;
        let id = driven
            .tier
            .publish(change, Manifest::empty(GROUP))
            .expect("idle");
        let Ok(Finished::Published(manifest)) = driven.finish(id, &mut || {}) else {
            panic!("it reads");
        };
        assert_eq!((manifest.number, manifest.segments().len()), (200, 200));
        assert!(segments.iter().all(|segment| manifest.names(segment)));
        driven.tier.counts().tasks - before
    };
    let quick = read(&mut driven);
    // 17 questions for the newest number, the snapshot after 192 edits, and 8 edits.
    assert!(quick < 30, "{quick} requests");
    let snapshots = [64, 128, 192].map(|number| cold::name::snapshot(GROUP, number));
    driven
        .tier
        .store()
        .damage(&snapshots[2], |bytes| bytes[9] ^= 1);
    let slower = read(&mut driven);
    assert!(slower > quick + 60, "{slower} requests");
    driven.tier.store().now = 10_000;
    let id = driven.tier.sweep(GROUP, 10_000, 10).expect("idle");
    assert!(matches!(
        driven.finish(id, &mut || {}),
        Ok(Finished::Swept(swept)) if swept.snapshots == 1 && swept.deleted == 0
    ));
}

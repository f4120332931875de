//! Two writers that cut the same log differently, killed at any step: what is told is there, and nothing is there twice.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use cold::jobs::publish::Change;
use cold::manifest::{Manifest, Retention};
use cold::name::Segment;
use cold::offload::{Offloads, Parcel, Policy, Receipt};
use cold::store::memory::{Faults, Memory};
use cold::store::{Busy, Ended, ObjectStore, Task};
use cold::tier::{Finished, Tier};

use crate::driving::{Driven, GROUP, dice};

/// A store that outlives the tiers over it.
#[derive(Clone)]
struct Lasting(Rc<RefCell<Memory>>);

impl ObjectStore for Lasting {
    fn submit(&mut self, token: u64, task: Task) -> Result<(), Busy> {
        self.0.borrow_mut().submit(token, task)
    }

    fn poll(&mut self, ended: &mut Vec<Ended>) {
        self.0.borrow_mut().poll(ended);
    }
}

/// The file of some entries: whoever seals them makes the same bytes.
fn file(first: u64, last: u64) -> Arc<Vec<u8>> {
    let entry = |index: u64| index.to_le_bytes().repeat(20);
    Arc::new((first..=last).flat_map(entry).collect())
}

fn manifest(store: &Lasting) -> Manifest {
    store.0.borrow_mut().set_faults(Faults::default());
    let mut driven = Driven::new(store.clone(), false, 1);
    let read = driven.tier.publish(Change::Read, Manifest::empty(GROUP));
    match driven.finish(read.expect("idle"), &mut || {}) {
        Ok(Finished::Published(manifest)) => manifest,
        other => panic!("the manifest reads: {other:?}"),
    }
}

/// Offers `first..=last` and turns until it has ended, at most `turns` times.
fn offer(
    offloads: &mut Offloads<Lasting>,
    (first, last): (u64, u64),
    turns: u64,
    random: &mut dyn FnMut() -> u64,
) -> Option<Receipt> {
    let parcel = Parcel {
        token: first,
        group: GROUP,
        first,
        last,
        file: file(first, last),
    };
    assert!(offloads.offer(parcel).is_ok(), "there is room");
    for turn in 1..=turns {
        offloads.turn(turn * 40_000_000, 1_000, 1 << 20, random);
        if let Some((token, result)) = offloads.next_ended() {
            assert_eq!(token, first);
            return result.ok();
        }
    }
    None
}

#[test]
fn whoever_is_killed_when_ever_what_is_told_is_there_and_the_rest_is_offered_again() {
    let (mut told_in_all, mut cut_in_all) = (0, 0);
    for seed in 0..60_u64 {
        let faults = Faults {
            unavailable: 10,
            lost_answer: 25,
            lost_task: 10,
            stale_listing: 80,
            slow: 3,
            ..Faults::default()
        };
        let store = Lasting(Rc::new(RefCell::new(Memory::with_faults(
            faults,
            dice(seed),
        ))));
        let mut random = dice(seed + 500);
        let begin = || Offloads::new(Tier::new(store.clone(), false, 1 << 30), Policy::Keep);
        // Each leader cuts in its own way; the group's log tells the next one how far it is stored.
        let mut stored = 0;
        while stored < 60 {
            let mut leader = begin();
            let cut = 3 + random() % 9;
            let turns = 1 + random() % 60;
            while stored < 60 {
                let (first, last) = (stored + 1, stored + cut);
                let Some(receipt) = offer(&mut leader, (first, last), turns, &mut random) else {
                    break;
                };
                assert!(receipt.since == 1, "seed {seed}: {receipt:?}");
                let Segment {
                    first: from,
                    last: to,
                    ..
                } = receipt.segment;
                assert!(
                    from <= first && first <= to,
                    "seed {seed}: {receipt:?} for {first}"
                );
                cut_in_all += u64::from((from, to) != (first, last));
                told_in_all += 1;
                stored = to;
            }
            store.0.borrow_mut().abandon();
        }
        let manifest = manifest(&store);
        let mut next = 1;
        for one in manifest.segments() {
            let segment = one.segment;
            assert_eq!(segment.first, next, "seed {seed}: no gap, nothing twice");
            let mut driven = Driven::new(store.clone(), false, 1);
            let bytes = driven.fetch(segment).expect("what is named is there");
            assert_eq!(bytes, *file(segment.first, segment.last));
            next = segment.last + 1;
        }
        assert!(next > stored, "seed {seed}");
    }
    assert!(
        told_in_all > 500 && cut_in_all > 5,
        "{told_in_all}, {cut_in_all}"
    );
}

#[test]
fn what_another_stored_in_part_is_told_and_read_back() {
    let store = Lasting(Rc::new(RefCell::new(Memory::new())));
    let mut offloads = Offloads::new(Tier::new(store.clone(), false, 1 << 30), Policy::Lock(60));
    let mut random = dice(1);
    offer(&mut offloads, (5, 9), 99, &mut random).expect("no faults");
    let receipt = offer(&mut offloads, (7, 12), 99, &mut random).expect("no faults");
    assert_eq!((receipt.segment.first, receipt.segment.last), (5, 9));
    let object = receipt.segment.object();
    store
        .0
        .borrow_mut()
        .damage(&object, |bytes| bytes[100] ^= 1);
    let damaged = offer(&mut offloads, (7, 12), 999, &mut random);
    assert_eq!(damaged, None, "what does not read back is not told");
    let stored = manifest(&store).segments()[0];
    assert_eq!(stored.retention, Retention::Locked(1_060));
}

/// What the store says of every object under the name of a segment: up to when it keeps it.
fn locks(store: &Lasting) -> Vec<u64> {
    let segments = manifest(store);
    let mut driven = Driven::new(store.clone(), false, 1);
    let mut asked = |segment| {
        let id = driven.tier.lock_of(segment).expect("idle");
        match driven.finish(id, &mut || {}) {
            Ok(Finished::LockedUntil(_, until)) => until,
            other => panic!("the lock is told: {other:?}"),
        }
    };
    let segments = segments.segments().iter();
    segments.map(|one| asked(one.segment)).collect()
}

#[test]
fn a_locked_stay_is_the_stores_too_where_it_has_locks() {
    for has_locks in [true, false] {
        for seed in 0..40 {
            let faults = Faults {
                unavailable: 20,
                lost_answer: 30,
                lost_task: 20,
                ..Faults::default()
            };
            let mut memory = Memory::with_faults(faults, dice(seed));
            memory.has_locks = has_locks;
            let store = Lasting(Rc::new(RefCell::new(memory)));
            let mut random = dice(seed + 100);
            let mut offloads =
                Offloads::new(Tier::new(store.clone(), false, 1 << 30), Policy::Lock(60));
            let told = offer(&mut offloads, (1, 9), 2_000, &mut random);
            store.0.borrow_mut().abandon();
            let named = manifest(&store);
            let stays: Vec<Retention> = named.segments().iter().map(|one| one.retention).collect();
            assert!(told.is_none() || stays.len() == 1, "seed {seed}");
            for (stay, lock) in stays.iter().zip(locks(&store)) {
                assert_eq!(*stay, Retention::Locked(1_060));
                assert_eq!(lock, if has_locks { 1_060 } else { 0 }, "seed {seed}");
            }
            if let Some(receipt) = told.filter(|_| has_locks) {
                let name = receipt.segment.object();
                let mut objects = store.0.borrow_mut();
                let mut ended = Vec::new();
                for (now, is_there) in [(1_059, true), (1_060, false)] {
                    objects.now = now;
                    let name = name.clone();
                    objects
                        .submit(1, Task::Delete { name })
                        .expect("it is idle");
                    objects.poll(&mut ended);
                    assert_eq!(
                        objects
                            .objects()
                            .any(|(other, _)| other == receipt.segment.object()),
                        is_there,
                        "seed {seed}, second {now}"
                    );
                }
            }
        }
    }
}

//! Nodes that store, expire, join, sweep and read back over one store, killed at any step: what is named is there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use cold::chores::Plan;
use cold::depot::{Depot, DepotCounts};
use cold::manifest::Manifest;
use cold::name::Segment;
use cold::offload::{Offloads, Parcel, Policy};
use cold::recall::{Answer, Question};
use cold::store::Ended;
use cold::store::memory::{Faults, Memory};
use cold::tier::{Finished, Tier};

use crate::driving::{Driven, GROUP, dice};
use crate::sharing::{Shared, newest};

const GRACE: u64 = 400;
const ENTRY: usize = 160;

/// The file of some entries: whoever seals them makes the same bytes, and a join is the files in a row.
fn file(first: u64, last: u64) -> Arc<Vec<u8>> {
    let entry = |index: u64| index.to_le_bytes().repeat(ENTRY / 8);
    Arc::new((first..=last).flat_map(entry).collect())
}

struct World {
    store: Rc<RefCell<Memory>>,
    heard: Rc<RefCell<BTreeMap<u64, Vec<Ended>>>>,
    lives: u64,
    second: u64,
    policy: Policy,
}

impl World {
    fn new(faults: Faults, seed: u64, policy: Policy) -> Self {
        let mut store = Memory::with_faults(faults, dice(seed));
        store.now = 1_000_000;
        Self {
            store: Rc::new(RefCell::new(store)),
            heard: Rc::default(),
            lives: 0,
            second: 1_000_000,
            policy,
        }
    }

    fn shared(&mut self) -> Shared {
        self.lives += 1;
        Shared {
            who: self.lives,
            store: Rc::clone(&self.store),
            heard: Rc::clone(&self.heard),
        }
    }

    fn depot(&mut self) -> Depot<Shared> {
        let tier = Tier::new(self.shared(), false, 1 << 30);
        let plan = Plan {
            grace: GRACE,
            every: 50,
            join_bytes: 100 * ENTRY as u64,
            weld: Box::new(|files| Some(files.iter().flat_map(|file| file.to_vec()).collect())),
        };
        Depot::new(Offloads::new(tier, self.policy), 1 << 20, plan)
    }

    fn pass(&mut self, seconds: u64) {
        self.second += seconds;
        self.store.borrow_mut().now = self.second;
    }

    fn turn(&self, depot: &mut Depot<Shared>, random: &mut dyn FnMut() -> u64) {
        depot.turn(self.second * 1_000_000_000, self.second, 1 << 20, random);
    }

    /// Every segment that the newest manifest names is there, with the bytes of its entries.
    fn check(&mut self, what: &str) -> Manifest {
        let manifest = newest(&self.store);
        for one in manifest.segments() {
            let mut driven = Driven::new(self.shared(), false, 1);
            let bytes = driven.fetch(one.segment);
            let bytes = bytes.unwrap_or_else(|error| panic!("{what}: {:?}: {error}", one.segment));
            assert_eq!(bytes, *file(one.segment.first, one.segment.last), "{what}");
        }
        manifest
    }

    /// What the store gives back for an entry.
    fn recall(
        &mut self,
        depot: &mut Depot<Shared>,
        index: u64,
        random: &mut dyn FnMut() -> u64,
    ) -> Result<Answer, cold::jobs::JobError> {
        let question = Question {
            token: index,
            group: GROUP,
            index,
        };
        assert_eq!(depot.ask(question), Ok(()), "there is room");
        for _ in 0..100_000 {
            self.turn(depot, random);
            if let Some((token, answer)) = depot.next_answered() {
                assert_eq!(token, index);
                return answer;
            }
            self.pass(1);
        }
        panic!("no answer");
    }
}

fn parcel(first: u64, last: u64) -> Parcel {
    Parcel {
        token: first,
        group: GROUP,
        first,
        last,
        file: file(first, last),
    }
}

fn add(sum: &mut DepotCounts, depot: &mut Depot<Shared>) {
    let one = depot.counts().chores;
    let chores = &mut sum.chores;
    chores.done += one.done;
    chores.failed += one.failed;
    chores.expired += one.expired;
    chores.joined += one.joined;
    chores.swept.deleted += one.swept.deleted;
}

/// Two nodes take turns in leading, each is killed now and then, both do chores; what was told and is not over is there.
#[test]
fn chores_of_several_nodes_killed_at_any_step_lose_nothing() {
    let mut sum = DepotCounts::default();
    for seed in 0..40_u64 {
        let faults = Faults {
            unavailable: 8,
            lost_answer: 20,
            lost_task: 8,
            stale_listing: 60,
            slow: 4,
            ..Faults::default()
        };
        let policy = match seed % 3 {
            0 => Policy::Keep,
            1 => Policy::Expire(900),
            _ => Policy::Lock(900),
        };
        let mut world = World::new(faults, seed, policy);
        let mut random = dice(seed + 900);
        let mut depots: Vec<Depot<Shared>> = (0..2).map(|_| world.depot()).collect();
        let (mut told, mut busy): (BTreeMap<u64, u64>, [bool; 2]) = (BTreeMap::new(), [false; 2]);
        let mut next = 1;
        for _ in 0..2_500 {
            let which = random() as usize % 2;
            if random().is_multiple_of(120) {
                add(&mut sum, &mut depots[which]);
                depots[which] = world.depot();
                busy[which] = false;
            }
            let depot = &mut depots[which];
            depot.tend(GROUP, world.second);
            if !busy[which] && random().is_multiple_of(4) {
                let last = next + random() % 3;
                assert!(depot.offer(parcel(next, last)).is_ok(), "there is room");
                busy[which] = true;
            }
            world.turn(depot, &mut random);
            if let Some((_, result)) = depot.next_ended() {
                busy[which] = false;
                if let Ok(receipt) = result {
                    let segment = receipt.segment;
                    // What is told first counts: a later receipt for the same entries changes nothing.
                    for index in segment.first..=segment.last {
                        told.entry(index).or_insert(world.second);
                    }
                    next = next.max(segment.last + 1);
                }
            }
            world.pass(random() % 4);
        }
        depots.iter_mut().for_each(|depot| add(&mut sum, depot));
        let manifest = world.check(&format!("seed {seed}"));
        for (&index, &at) in &told {
            let may_be_gone = policy != Policy::Keep && world.second > at + 700;
            assert!(
                may_be_gone || manifest.holding(index).is_some(),
                "seed {seed}: entry {index}, told {} s ago, is named by nobody",
                world.second - at
            );
        }
        assert!(told.len() > 30, "seed {seed}: {}", told.len());
    }
    let chores = sum.chores;
    assert!(
        chores.done > 300 && chores.expired > 200 && chores.joined > 400,
        "{chores:?}"
    );
    assert!(chores.swept.deleted > 400, "{chores:?}");
}

/// Chores begun anew after every single step of theirs: the end is the same.
#[test]
fn chores_cut_short_after_any_number_of_turns_end_the_same() {
    let run = |cut: Option<u64>| {
        let mut world = World::new(Faults::default(), 1, Policy::Expire(5_000));
        let mut random = dice(7);
        let mut depot = world.depot();
        for nth in 0..20 {
            let first = nth * 5 + 1;
            assert!(depot.offer(parcel(first, first + 4)).is_ok());
            while depot.next_ended().is_none() {
                world.turn(&mut depot, &mut random);
            }
            world.pass(if nth == 3 { 4_000 } else { 10 });
        }
        world.pass(2_000);
        if let Some(cut) = cut {
            depot.tend(GROUP, world.second);
            (0..cut).for_each(|_| world.turn(&mut depot, &mut random));
        }
        let mut after = world.depot();
        for _ in 0..4 {
            world.pass(GRACE + 1);
            after.tend(GROUP, world.second);
            while !after.is_idle() {
                world.turn(&mut after, &mut random);
            }
        }
        let manifest = world.check("after a cut");
        let ranges: Vec<(u64, u64)> = manifest
            .segments()
            .iter()
            .map(|one| (one.segment.first, one.segment.last))
            .collect();
        let objects = world.store.borrow();
        let segments = objects.objects().filter(|one| one.0.contains("/segments/"));
        (ranges, segments.count())
    };
    let whole = run(None);
    assert_eq!(whole, (vec![(21, 100)], 1), "four expired, sixteen joined");
    for cut in 0..40 {
        assert_eq!(run(Some(cut)), whole, "cut after {cut} turns");
    }
}

#[test]
fn entries_are_read_back_and_what_the_store_does_not_hold_is_said() {
    let mut world = World::new(Faults::default(), 3, Policy::Expire(5_000));
    let mut random = dice(3);
    let mut depot = world.depot();
    for (first, last) in [(1, 5), (6, 10), (20, 29)] {
        assert!(depot.offer(parcel(first, last)).is_ok());
        while depot.next_ended().is_none() {
            world.turn(&mut depot, &mut random);
        }
        world.pass(4_000);
    }
    let here = |answer| match answer {
        Ok(Answer::Here(segment, bytes)) => {
            let Segment { first, last, .. } = segment;
            assert_eq!(bytes, file(first, last));
            (first, last)
        }
        other => panic!("{other:?}"),
    };
    // Another node, which knows nothing yet.
    let mut reader = world.depot();
    let answer = world.recall(&mut reader, 3, &mut random);
    assert_eq!(here(answer), (1, 5));
    let answer = world.recall(&mut reader, 8, &mut random);
    assert_eq!(here(answer), (6, 10));
    let answer = world.recall(&mut reader, 15, &mut random);
    assert_eq!(answer, Ok(Answer::Nowhere(Some(20))));
    let answer = world.recall(&mut reader, 30, &mut random);
    assert_eq!(answer, Ok(Answer::Nowhere(None)));
    let counts = reader.counts();
    assert!(counts.reader.hits + counts.reader.misses > 0, "{counts:?}");
    // The first two have expired and were swept meanwhile; the reader's manifest and cache are old.
    world.pass(GRACE + 1);
    depot.tend(GROUP, world.second);
    while !depot.is_idle() {
        world.turn(&mut depot, &mut random);
    }
    assert_eq!(depot.counts().chores.expired, 2);
    let mut late = world.depot();
    let answer = world.recall(&mut late, 3, &mut random);
    assert_eq!(answer, Ok(Answer::Nowhere(Some(20))));
    let answer = world.recall(&mut late, 25, &mut random);
    assert_eq!(here(answer), (20, 29));
}

#[test]
fn an_object_that_is_gone_after_its_manifest_was_read_is_looked_for_anew() {
    let mut world = World::new(Faults::default(), 3, Policy::Keep);
    let mut random = dice(3);
    let mut depot = world.depot();
    for nth in 0..8 {
        assert!(depot.offer(parcel(nth * 5 + 1, nth * 5 + 5)).is_ok());
        while depot.next_ended().is_none() {
            world.turn(&mut depot, &mut random);
        }
    }
    let mut reader = world.depot();
    let answer = world.recall(&mut reader, 1, &mut random);
    assert!(matches!(answer, Ok(Answer::Here(segment, _)) if segment.last == 5));
    // All eight are joined, and their own objects go.
    for _ in 0..3 {
        world.pass(GRACE + 1);
        depot.tend(GROUP, world.second);
        while !depot.is_idle() {
            world.turn(&mut depot, &mut random);
        }
    }
    assert_eq!(depot.counts().chores.joined, 8);
    let answer = world.recall(&mut reader, 37, &mut random);
    assert!(
        matches!(answer, Ok(Answer::Here(segment, _)) if (segment.first, segment.last) == (1, 40)),
        "{answer:?}"
    );
}

/// The hole that a reused name would leave: a sweep that stood still, at any step, deletes what was published meanwhile.
#[test]
fn a_file_whose_unnamed_object_is_old_is_stored_as_another_copy() {
    let mut deleted_late = 0;
    for still in 0..16 {
        let mut world = World::new(Faults::default(), 5, Policy::Keep);
        let mut random = dice(5);
        let bytes = file(1, 5);
        let orphan = Segment {
            group: GROUP,
            first: 1,
            last: 5,
            bytes: bytes.len() as u64,
            hash: cold::name::ContentHash::of(&bytes),
            copy: 0,
        };
        let mut dead = Driven::new(world.shared(), false, 1);
        let id = dead.tier.upload(orphan, bytes, None).expect("idle");
        dead.finish(id, &mut || {}).expect("no faults");
        world.pass(GRACE + 1);
        let mut slow = Driven::new(world.shared(), false, 2);
        let sweep = slow.tier.sweep(GROUP, world.second, GRACE).expect("idle");
        (0..still).for_each(|_| slow.turn());
        if slow.tier.is_idle() || slow.tier.counts().done > 0 {
            break;
        }
        let mut store = |world: &mut World| {
            let mut depot = world.depot();
            assert!(depot.offer(parcel(1, 5)).is_ok());
            loop {
                world.turn(&mut depot, &mut random);
                if let Some((_, ended)) = depot.next_ended() {
                    break ended.expect("no faults").segment;
                }
            }
        };
        let segment = store(&mut world);
        let swept = slow.finish(sweep, &mut || {});
        let Ok(Finished::Swept(swept)) = swept else {
            panic!("{swept:?}");
        };
        deleted_late += swept.deleted;
        world.check("after the sweep went on");
        // An object that the store lost is stored again by whoever still has the file.
        world.store.borrow_mut().lose(&segment.object());
        let again = store(&mut world);
        assert_eq!(again.copy, segment.copy + 1);
        world.check("after the loss");
    }
    assert!(deleted_late > 3, "{deleted_late}");
}

/// An upload in parts that a process left behind is given up by the next one when nobody goes on with it for the grace;
/// not while somebody does, and not before the store says so is it forgotten.
#[test]
fn an_upload_that_nobody_goes_on_with_is_given_up() {
    let mut world = World::new(Faults::default(), 11, Policy::Keep);
    let mut random = dice(9);
    let large = |first: u64| Parcel {
        token: first,
        group: GROUP,
        first,
        last: first + 4,
        file: Arc::new(vec![first as u8; 40 << 20]),
    };
    let mut begun = |world: &mut World, first: u64| {
        let mut depot = world.depot();
        assert!(depot.offer(large(first)).is_ok());
        let mut known = BTreeMap::new();
        for _ in 0..1_000 {
            world.turn(&mut depot, &mut random);
            if let Some(changed) = depot.offloads().changed_resumes() {
                known.clone_from(changed);
            }
            if known
                .values()
                .any(|one: &cold::jobs::upload::Resume| one.parts.len() > 1)
            {
                return known;
            }
        }
        panic!("no upload in parts begins");
    };
    let mut known = begun(&mut world, 1);
    known.extend(begun(&mut world, 11));
    assert_eq!((known.len(), world.store.borrow().uploads_open()), (2, 2));

    let mut random = dice(19);
    let tier = Tier::new(world.shared(), false, 1 << 30);
    let offloads = Offloads::new(tier, Policy::Keep).with_resumes(known);
    let plan = Plan {
        grace: GRACE,
        ..Plan::usual()
    };
    let mut depot = Depot::new(offloads, 1 << 20, plan);
    // The second file comes again, and goes on.
    world.turn(&mut depot, &mut random);
    world.pass(GRACE - 10);
    world.turn(&mut depot, &mut random);
    assert!(depot.offer(large(11)).is_ok());
    let stored = loop {
        world.turn(&mut depot, &mut random);
        if let Some((token, stored)) = depot.next_ended() {
            assert_eq!(token, 11);
            break stored;
        }
    };
    assert!(stored.is_ok(), "{stored:?}");
    assert_eq!(world.store.borrow().tasks_done("begin"), 2, "it went on");
    assert_eq!(world.store.borrow().tasks_done("abort"), 0, "not yet");
    // The first does not. The store refuses once to forget it.
    world.pass(20);
    let unavailable = Faults {
        unavailable: 255,
        ..Faults::default()
    };
    world.store.borrow_mut().set_faults(unavailable);
    for _ in 0..200 {
        world.turn(&mut depot, &mut random);
        world.pass(1);
    }
    assert_eq!(world.store.borrow().tasks_done("abort"), 0);
    assert_eq!(depot.counts().uploads_given_up, 0);
    let remembered = depot.offloads().changed_resumes().map(BTreeMap::len);
    assert_eq!(remembered, Some(1), "still known beyond the process");
    world.store.borrow_mut().set_faults(Faults::default());
    for _ in 0..2 * GRACE + 400 {
        world.pass(1);
        world.turn(&mut depot, &mut random);
    }
    assert_eq!(depot.counts().uploads_given_up, 1);
    assert_eq!(world.store.borrow().uploads_open(), 0);
    assert_eq!(
        depot.offloads().changed_resumes().map(BTreeMap::len),
        Some(0)
    );
    assert!(depot.is_idle());
}

/// A join that is stored in parts goes on after a kill, by its own upload.
#[test]
fn a_join_in_parts_goes_on_after_a_restart() {
    let mut world = World::new(Faults::default(), 9, Policy::Keep);
    let mut random = dice(9);
    let part = |nth: u64| Parcel {
        token: nth,
        group: GROUP,
        first: nth * 10 + 1,
        last: nth * 10 + 10,
        file: Arc::new(vec![nth as u8; 5 << 20]),
    };
    let new = |world: &mut World, resumes: &BTreeMap<Segment, cold::jobs::upload::Resume>| {
        let tier = Tier::new(world.shared(), false, 1 << 30);
        let offloads = Offloads::new(tier, Policy::Keep).with_resumes(resumes.clone());
        let plan = Plan {
            grace: GRACE,
            every: 1,
            join_bytes: 64 << 20,
            weld: Box::new(|files| Some(files.iter().flat_map(|file| file.to_vec()).collect())),
        };
        Depot::new(offloads, 1 << 20, plan)
    };
    let mut resumes = BTreeMap::new();
    let mut depot = new(&mut world, &resumes);
    for nth in 0..8 {
        assert!(depot.offer(part(nth)).is_ok());
        while depot.next_ended().is_none() {
            depot.turn(0, world.second, 64 << 20, &mut random);
        }
    }
    let mut lives = 0;
    while depot.counts().chores.joined == 0 {
        lives += 1;
        assert!(lives < 100, "it never ends");
        depot = new(&mut world, &resumes);
        world.pass(2);
        depot.tend(GROUP, world.second);
        let parts = |resumes: &BTreeMap<Segment, cold::jobs::upload::Resume>| -> usize {
            resumes.values().map(|one| one.parts.len()).sum()
        };
        let before = parts(&resumes);
        while !depot.is_idle() {
            depot.turn(0, world.second, 64 << 20, &mut random);
            if let Some(changed) = depot.offloads().changed_resumes() {
                resumes.clone_from(changed);
            }
            if parts(&resumes) > before {
                break;
            }
        }
    }
    assert!(lives > 3, "{lives}");
    let store = world.store.borrow();
    assert_eq!((store.tasks_done("begin"), store.uploads_open()), (1, 0));
    assert!(resumes.is_empty(), "what has ended is forgotten");
}

/// A parcel in parts is killed after each number of turns; the next process goes on where it was.
#[test]
fn an_upload_in_parts_goes_on_after_a_restart() {
    let content: Arc<Vec<u8>> = Arc::new((0..40_u32 << 20).map(|at| (at >> 9) as u8).collect());
    let large = || Parcel {
        token: 1,
        group: GROUP,
        first: 1,
        last: 5,
        file: Arc::clone(&content) as cold::jobs::upload::File,
    };
    let mut world = World::new(Faults::default(), 9, Policy::Keep);
    let mut random = dice(9);
    let mut resumes = BTreeMap::new();
    let mut lives = 0;
    let ended = 'lives: loop {
        lives += 1;
        assert!(lives < 100, "it never ends");
        let tier = Tier::new(world.shared(), false, 1 << 30);
        let offloads = Offloads::new(tier, Policy::Keep).with_resumes(resumes.clone());
        let mut depot = Depot::new(offloads, 1 << 20, Plan::usual());
        assert!(depot.offer(large()).is_ok());
        let before: usize = resumes
            .values()
            .map(|one: &cold::jobs::upload::Resume| one.parts.len())
            .sum();
        loop {
            depot.turn(0, world.second, 64 << 20, &mut random);
            if let Some(changed) = depot.offloads().changed_resumes() {
                resumes.clone_from(changed);
            }
            if let Some((_, ended)) = depot.next_ended() {
                break 'lives ended;
            }
            let now: usize = resumes.values().map(|one| one.parts.len()).sum();
            if now > before {
                break;
            }
        }
    };
    assert!(ended.is_ok(), "{ended:?}");
    // 40 MiB and their checksums are six parts; each life was told of one more and began with those before.
    let begun = world.store.borrow().tasks_done("begin");
    assert_eq!((lives, begun), (7, 1));
    assert!(resumes.is_empty(), "what has ended is forgotten");
    let manifest = newest(&world.store);
    let mut driven = Driven::new(world.shared(), false, 1);
    let back = driven.fetch(manifest.segments()[0].segment);
    assert_eq!(back.as_ref(), Ok(&*content));
}

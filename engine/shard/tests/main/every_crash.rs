//! One small run in which everything happens, and the power goes at every write and every step of it, in every way.
//!
//! - The run appends, rotates segments, takes images and cuts chapters, seals, stores, hears receipts, lets
//!   files go and gives up log; a recovery follows each crash.
//! - At each point: of the writes in flight none, all, every subset, and each torn at some sectors; of the files' steps
//!   that wait none, or all, or the first; of the files on their way to the store none, or all, or the first.
//! - After some of the crashes (all with `QUORATE_SEEDS_FACTOR=0`, in parts with `QUORATE_SEEDS_PART=k/n`) the power goes
//!   again while the log is opened, and at every write and step until the group has a leader again.
//! - Afterwards all that was acknowledged is there, nothing else than was sent, and no entry is out of reach.

use std::collections::BTreeMap;

use shard::past::History;
use shard::setup::Keeping;
use wal::device::memory::{Crash, MemoryDisk};

use crate::images::{SMALL, numbers, payload};
use crate::past::{TINY, is_without_gap, whole_past};
use crate::tally::ADD;
use crate::vault::Vault;
use crate::world::{SECOND, Terms, World};

const BYTES: usize = 24_000;
const COUNT: u32 = 36;
/// Of so many crashes one is followed by more.
const SECOND_ONE_OF: u64 = 48;

const TERMS: Terms = Terms {
    keeping: Keeping {
        image_bytes: 96 << 10,
        log_bytes: 256 << 10,
        ..SMALL.keeping
    },
    chapter: 8,
    segment_bytes: 128 << 10,
    ..SMALL
};

/// Everything that is counted of what reaches disks and the store.
fn moment(world: &World) -> (u64, u64, u64) {
    let vault = world.vault.as_ref().map_or(0, Vault::steps);
    (
        world.disks[0].writes_begun(),
        world.stores[0].steps(),
        vault,
    )
}

/// What the disk may keep of the writes in flight.
fn rules(world: &World) -> Vec<Crash> {
    let sectors = world.disks[0].sectors_in_flight();
    let mut rules: Vec<Crash> = (0..1_u64 << sectors.len().min(4))
        .map(Crash::Subset)
        .collect();
    for (nth, count) in sectors.iter().enumerate() {
        for sector in [1, count / 2, count - 1] {
            if 0 < sector && sector < *count {
                rules.push(Crash::Torn(nth, sector));
                rules.push(Crash::TornFront(nth, sector));
            }
        }
    }
    rules
}

/// What is acknowledged is there, in order; beyond it at most what was sent.
fn check(mut world: World, acknowledged: u32, sent: u32, what: &str) {
    world.start(1);
    let faults = world.shard(1).faults();
    assert!(faults.is_empty(), "{what}: {faults:?}");
    world.elect();
    world.run_for(SECOND / 50);
    let found = numbers(&world.payloads(1, 0));
    let count = found.len() as u32;
    assert!(
        acknowledged <= count && count <= sent,
        "{what}: {count} of {acknowledged} to {sent}"
    );
    assert_eq!(found, (0..count).collect::<Vec<u32>>(), "{what}");
    if world.keeps_history() {
        let past = whole_past(&world, 1, 0);
        assert!(is_without_gap(&past), "{what}: {past:?}");
    }
}

/// Who is crashed, and how: what was acknowledged and sent till then.
struct Case {
    acknowledged: u32,
    sent: u32,
    what: String,
}

/// Of so many crashes one is followed by more: by default a few, by `QUORATE_SEEDS_FACTOR` more, all if that is 0.
fn second_one_of() -> u64 {
    let factor = std::env::var("QUORATE_SEEDS_FACTOR").ok();
    match factor.and_then(|factor| factor.parse::<u64>().ok()) {
        Some(0) => 1,
        factor => (SECOND_ONE_OF / factor.unwrap_or(1)).max(1),
    }
}

/// Of these followed crashes this run takes each `n`-th, from the `k`-th on: `QUORATE_SEEDS_PART` is `k/n`, all if it is not
/// given. All parts together are the whole.
fn part() -> (u64, u64) {
    let part = std::env::var("QUORATE_SEEDS_PART").unwrap_or_default();
    let numbers = part.split_once('/');
    let numbers = numbers.and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    numbers.unwrap_or((0, 1))
}

fn is_followed(crash: u64) -> bool {
    let (one_of, (k, n)) = (second_one_of(), part());
    crash.is_multiple_of(one_of) && (crash / one_of) % n == k
}

/// The log's files when so many sectors of this write have reached them.
fn torn(
    mut image: BTreeMap<u32, Vec<u8>>,
    (slot, offset, bytes): &(u32, u64, Vec<u8>),
    sectors: usize,
) -> BTreeMap<u32, Vec<u8>> {
    let bytes = &bytes[..bytes.len().min(sectors * 512)];
    if let Some(into) = image.get_mut(slot) {
        into[*offset as usize..*offset as usize + bytes.len()].copy_from_slice(bytes);
    }
    image
}

/// The power goes while the log is opened: what opening writes is there, or not, or in part; the same of removals.
fn crashes_while_opening(world: &World, case: &Case) -> u64 {
    let before = (world.disks[0].image(), world.stores[0].copy());
    let mut opened = world.after_crash(Crash::Nothing, 0, 0);
    opened.disks[0].record();
    opened.start(1);
    let writes = opened.disks[0].recorded();
    assert!(!writes.is_empty(), "an opening writes");
    let mut crashes = 0;
    for nth in 0..writes.len() {
        let mut image = before.0.clone();
        for write in &writes[..nth] {
            image = torn(image, write, usize::MAX / 512);
        }
        for sectors in [0, 1, writes[nth].2.len() / 512 - 1] {
            for has_removed in [false, true] {
                let mut world = world.after_crash(Crash::Nothing, 0, 0);
                let image = torn(image.clone(), &writes[nth], sectors);
                world.disks[0] = MemoryDisk::from_image(TERMS.segment_bytes, image);
                world.disks[0].set_latency_ns(50_000, 150_000);
                let store = if has_removed {
                    &opened.stores[0]
                } else {
                    &before.1
                };
                world.stores[0] = store.copy();
                world.stores[0].set_latency_ns(50_000, 500_000);
                let what = format!("{}, then opening {nth} {sectors} {has_removed}", case.what);
                check(world, case.acknowledged, case.sent, &what);
                crashes += 1;
            }
        }
    }
    crashes
}

/// The power goes at every write and step from the opening until the group has a leader.
fn crashes_until_led(world: &World, case: &Case) -> u64 {
    let mut world = world.after_crash(Crash::Nothing, 0, 0);
    world.start(1);
    let mut crashes = 0;
    let mut last = moment(&world);
    let mut again = |world: &World, last| {
        for rule in [Crash::Nothing, Crash::Everything, Crash::Torn(0, 1)] {
            let happened = if rule == Crash::Everything {
                world.stores[0].steps_waiting()
            } else {
                0
            };
            let what = format!("{}, then {last:?}, {rule:?}, {happened}", case.what);
            let after = world.after_crash(rule, happened, happened);
            check(after, case.acknowledged, case.sent, &what);
            crashes += 1;
        }
    };
    again(&world, last);
    while world.leader(0).is_none() {
        world.step();
        if moment(&world) != last {
            last = moment(&world);
            again(&world, last);
        }
    }
    crashes
}

/// Every way in which the power can go at this moment.
fn crashes_at(world: &World, point: u64, case: &Case, counts: &mut (u64, u64)) {
    let waiting = world.stores[0].steps_waiting();
    let in_flight = world.vault.as_ref().map_or(0, Vault::in_flight);
    for (nth, rule) in rules(world).into_iter().enumerate() {
        // Each rule with nothing else happening; then with all of it and with the first in turn.
        let some = |all: usize| [all, all.min(1)][nth % 2];
        let mut happens = vec![(0, 0), (some(waiting), 0), (0, some(in_flight))];
        happens.dedup();
        happens.truncate(if in_flight == 0 { 2 } else { 3 });
        for (happened, arrived) in happens {
            let case = Case {
                what: format!("point {point}, {rule:?}, {happened} steps, {arrived} files"),
                ..*case
            };
            let after = world.after_crash(rule, happened, arrived);
            counts.0 += 1;
            if is_followed(counts.0) {
                counts.1 += crashes_while_opening(&after, &case);
                counts.1 += crashes_until_led(&after, &case);
            }
            check(after, case.acknowledged, case.sent, &case.what);
        }
    }
}

#[expect(clippy::print_stdout, reason = "how many there were is the result")]
fn every_crash_of(history: Option<History>, vault: Option<Vault>) {
    let mut world = World::keeping(1, 1, TERMS, history, vault);
    world.elect();
    let (mut points, mut counts, mut carried) = (0, (0, 0), 0);
    let mut last = (moment(&world), 0);
    for number in 0..COUNT {
        let id = world.ask(1, 0, ADD, &payload(number, BYTES), false);
        while world.reply(id).is_none() {
            world.step();
            let in_flight = world.vault.as_ref().map_or(0, Vault::in_flight);
            if (moment(&world), in_flight) == last {
                continue;
            }
            last = (moment(&world), in_flight);
            points += 1;
            carried += u64::from(in_flight > 0);
            let case = Case {
                acknowledged: number + u32::from(world.reply(id).is_some()),
                sent: number + 1,
                what: String::new(),
            };
            crashes_at(&world, points, &case, &mut counts);
        }
    }
    let (upkeep, sealing) = (world.shard(1).upkeep_counts(), world.shard(1).seal_counts());
    assert!(counts.0 > 700 && counts.1 > 300, "{counts:?} crashes");
    println!("{} crashes, {} more after some of them", counts.0, counts.1);
    assert!(
        points > 100 && upkeep.images > 2 && upkeep.chapters > 2 && upkeep.entries_released > 8
    );
    let log = world.shard(1).log_stats();
    let files = (log.segments_free + log.segments_retired + log.segments_used) as u64;
    let begun = log.segments_recycled + log.segments_used as u64;
    assert!(
        begun > files,
        "some files were written a second time: {log:?}"
    );
    if history.is_some() {
        assert!(sealing.sealed_files > 1, "{sealing:?}");
    }
    if world.vault.is_some() {
        assert!(
            sealing.receipts > 0 && sealing.sealed_files_gone > 0 && carried > 0,
            "{sealing:?}, {carried}"
        );
    }
}

#[test]
fn every_crash_while_the_log_is_given_up() {
    every_crash_of(None, None);
}

#[test]
fn every_crash_while_the_log_is_sealed_and_stored() {
    every_crash_of(Some(TINY), Some(Vault::default()));
}

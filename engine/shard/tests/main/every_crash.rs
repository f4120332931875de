//! One small run in which everything happens, and the power goes at every write and every step of it, in every way.
//!
//! - The run appends, rotates segments, takes images and cuts chapters, seals, stores, hears receipts, lets
//!   files go and gives up log; a recovery follows each crash.
//! - At each point: of the writes in flight none, all, every subset, and each torn at some sectors; of the files' steps
//!   that wait none, or all, or the first.
//! - Afterwards all that was acknowledged is there, nothing else than was sent, and no entry is out of reach.

use shard::past::History;
use shard::setup::Keeping;
use wal::device::memory::Crash;

use crate::images::{SMALL, numbers, payload};
use crate::past::{TINY, is_without_gap, whole_past};
use crate::tally::ADD;
use crate::vault::Vault;
use crate::world::{SECOND, Terms, World};

const BYTES: usize = 24_000;
const COUNT: u32 = 34;

const TERMS: Terms = Terms {
    keeping: Keeping {
        image_bytes: 96 << 10,
        log_bytes: 256 << 10,
        ..SMALL.keeping
    },
    chapter: 8,
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

fn every_crash_of(history: Option<History>, vault: Option<Vault>) {
    let mut world = World::keeping(1, 1, TERMS, history, vault);
    world.elect();
    let (mut points, mut crashes) = (0, 0);
    let mut last = moment(&world);
    for number in 0..COUNT {
        let id = world.ask(1, 0, ADD, &payload(number, BYTES), false);
        while world.reply(id).is_none() {
            world.step();
            let is_acknowledged = world.reply(id).is_some();
            if moment(&world) == last {
                continue;
            }
            last = moment(&world);
            points += 1;
            let waiting = world.stores[0].steps_waiting();
            for (nth, rule) in rules(&world).into_iter().enumerate() {
                // Each rule with none of the files' steps; then with all and with the first in turn.
                let happened = [waiting, waiting.min(1)][nth % 2];
                for happened in if happened == 0 {
                    vec![0]
                } else {
                    vec![0, happened]
                } {
                    let what = format!("point {points} {last:?}, {rule:?}, {happened} steps");
                    let acknowledged = number + u32::from(is_acknowledged);
                    check(
                        world.after_crash(rule, happened),
                        acknowledged,
                        number + 1,
                        &what,
                    );
                    crashes += 1;
                }
            }
        }
    }
    let (upkeep, sealing) = (world.shard(1).upkeep_counts(), world.shard(1).seal_counts());
    assert!(crashes > 700, "{crashes} crashes");
    assert!(
        points > 100 && upkeep.images > 2 && upkeep.chapters > 2 && upkeep.entries_released > 8
    );
    if history.is_some() {
        assert!(sealing.sealed_files > 1, "{sealing:?}");
    }
    if world.vault.is_some() {
        assert!(
            sealing.receipts > 0 && sealing.sealed_files_gone > 0,
            "{sealing:?}"
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

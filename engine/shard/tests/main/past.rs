//! What the log gives up is kept: sealed first, stored and told to the group's log before any copy goes.

use net::request::Status;
use raft::ids::GroupId;
use sealed::Codec;
use shard::past::History;
use wal::archive::FileKind;
use wal::device::memory::Crash;

use crate::images::{SMALL, add_many, noise, numbers, payload};
use crate::tally::ADD;
use crate::vault::Vault;
use crate::world::{SECOND, World};

pub(crate) const TINY: History = History {
    cluster: 7,
    codec: Codec::Lz4,
    file_bytes: 100 << 10,
    bytes_max: 64 << 20,
};

/// Every entry that the node has applied is in its log, in a file of it, or in the vault; where the log says that the
/// vault has it, it has. And it is the entry that it should be. The numbers of the payloads, in order.
pub(crate) fn whole_past(world: &World, node: u32, group: u64) -> Vec<u32> {
    let shard = world.shard(node);
    let past = shard.past_of(GroupId(group)).expect("a group");
    let (applied, _) = shard.digest_of(GroupId(group)).expect("a group");
    let log = shard.log_of(GroupId(group));
    let mut found = Vec::new();
    let mut index = 1;
    while index <= applied.0 {
        let local = past.entry(index).expect("sound files");
        let stored = past.stored().holding(index).is_some();
        let in_vault = world.vault.as_ref();
        let in_vault = in_vault.and_then(|vault| vault.entry(group, index));
        assert!(
            !stored || in_vault.is_some(),
            "node {node}: entry {index} is not in the store"
        );
        let payload = local.map(|entry| entry.payload).or(in_vault);
        let in_log = log.is_some_and(|(first, last)| first.0 <= index && index <= last.0);
        assert!(
            payload.is_some() || in_log,
            "node {node}: entry {index} of {applied:?} is nowhere; log {log:?}, {past:?}"
        );
        found.extend(payload.filter(|payload| payload.len() > 80));
        index += 1;
    }
    numbers(&found)
}

pub(crate) fn is_without_gap(found: &[u32]) -> bool {
    found.windows(2).all(|pair| pair[1] == pair[0] + 1)
        && found.first().is_none_or(|first| *first == 0)
}

fn sealed_files(world: &World, node: u32) -> usize {
    let names = world.stores[node as usize - 1].names();
    names
        .iter()
        .filter(|name| name.kind == FileKind::Sealed)
        .count()
}

#[test]
fn what_the_log_gives_up_is_in_sealed_files_that_are_the_same_after_a_restart() {
    let mut world = World::keeping(3, 2, SMALL, Some(TINY), None);
    world.elect();
    add_many(&mut world, 0..160, 50_000);
    world.settle(0);
    world.run_for(SECOND);
    for node in 1..=3 {
        let counts = world.shard(node).seal_counts();
        let given_up = world.shard(node).upkeep_counts().entries_released;
        assert!(
            counts.sealed_files > 3 && given_up > 20,
            "{counts:?}, {given_up}"
        );
        assert_eq!((counts.seal_failures, counts.unsealable_entries), (0, 0));
        let before = whole_past(&world, node, 0);
        assert!(before.len() > 20 && is_without_gap(&before), "{before:?}");
        let files = sealed_files(&world, node);
        world.kill(node, Crash::Nothing);
        world.start(node);
        assert_eq!(sealed_files(&world, node), files);
        assert_eq!(whole_past(&world, node, 0), before);
        world.elect();
    }
    add_many(&mut world, 160..200, 50_000);
    assert_eq!(numbers(&world.settle(0)).len(), 200);
}

/// One replica writes, dies after so many steps of its archive, and starts again, over and over.
#[test]
fn a_crash_at_any_step_of_sealing_leaves_each_entry_in_the_log_or_in_a_file() {
    for seed in 0..2_u64 {
        let mut world = World::keeping(1, 1, SMALL, Some(TINY), None);
        world.elect();
        let (mut added, mut sealed) = (0, 0);
        for crash in 0..40_u64 {
            let until = world.stores[0].steps() + 1 + (crash * 5 + seed) % 29;
            while world.stores[0].steps() < until {
                world.add(0, &payload(added, 30_000));
                added += 1;
            }
            sealed += world.shard(1).seal_counts().sealed_files;
            world.kill(1, Crash::Seeded(seed * 1000 + crash));
            world.start(1);
            assert!(
                world.shard(1).faults().is_empty(),
                "{:?}",
                world.shard(1).faults()
            );
            world.elect();
            assert!(
                is_without_gap(&whole_past(&world, 1, 0)),
                "seed {seed}, crash {crash}"
            );
        }
        world.add(0, &payload(added, 30_000));
        assert_eq!(numbers(&world.settle(0)).len(), added as usize + 1);
        assert!(
            sealed > 10,
            "{sealed} files were sealed between the crashes"
        );
    }
}

#[test]
fn a_history_that_is_kept_here_alone_is_bounded() {
    let history = History {
        bytes_max: 300 << 10,
        ..TINY
    };
    let mut world = World::keeping(1, 1, SMALL, Some(history), None);
    world.elect();
    for number in 0..600_u64 {
        world.add(0, &noise(number + 1, 9_000));
    }
    world.run_for(SECOND);
    let past = world.shard(1).past_of(GroupId(0)).expect("a group");
    let most = history.bytes_max + 2 * history.file_bytes;
    assert!(past.bytes() <= most, "{past:?}");
    let counts = world.shard(1).seal_counts();
    assert!(counts.sealed_files_gone > 3, "{counts:?}");
    let limit = SMALL.segment_bytes * u64::from(SMALL.segments_max);
    assert!(
        world.shard(1).log_bytes() <= limit * 3 / 4,
        "the log went on being given up"
    );
}

#[test]
fn small_files_of_a_quiet_group_become_one() {
    let mut world = World::keeping(1, 2, SMALL, Some(TINY), None);
    world.elect();
    for round in 0..30 {
        world.add(1, &payload(round, 200));
        add_many(&mut world, round * 40..(round + 1) * 40, 9_000);
    }
    world.run_for(SECOND);
    let counts = world.shard(1).seal_counts();
    let past = world.shard(1).past_of(GroupId(1)).expect("a group");
    assert!(
        counts.sealed_anew > 0 && past.files().len() <= 8,
        "{counts:?}, {past:?}"
    );
    assert!(is_without_gap(&whole_past(&world, 1, 1)));
}

#[test]
fn a_damaged_sealed_file_is_named_and_the_others_serve() {
    let mut world = World::keeping(1, 1, SMALL, Some(TINY), None);
    world.elect();
    add_many(&mut world, 0..120, 50_000);
    world.run_for(SECOND);
    let names = world.stores[0].names();
    let name = *names
        .iter()
        .find(|name| name.kind == FileKind::Sealed)
        .expect("one");
    world.kill(1, Crash::Nothing);
    world.stores[0].edit(name, |bytes| bytes[20] ^= 1);
    world.start(1);
    let faults = world.shard(1).faults();
    assert!(faults.len() == 1 && faults[0].name == name, "{faults:?}");
    world.elect();
    add_many(&mut world, 120..200, 50_000);
    assert_eq!(numbers(&world.settle(0)).len(), 200);
}

#[test]
fn copies_go_when_the_groups_log_says_that_the_store_has_them_and_not_before() {
    let vault = Vault::default();
    let mut world = World::keeping(3, 2, SMALL, Some(TINY), Some(vault.clone()));
    world.elect();
    for round in 0..40 {
        add_many(&mut world, round * 5..(round + 1) * 5, 50_000);
        for node in 1..=3 {
            whole_past(&world, node, 0);
        }
    }
    world.settle(0);
    world.run_for(2 * SECOND);
    let files = vault.files(0);
    assert!(files.len() > 5, "{files:?}");
    assert!(
        files.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0),
        "{files:?}"
    );
    for node in 1..=3 {
        let counts = world.shard(node).seal_counts();
        assert!(counts.receipts > 5, "{counts:?}");
        assert_eq!(
            sealed_files(&world, node),
            0,
            "node {node} keeps what nobody needs"
        );
        assert!(is_without_gap(&whole_past(&world, node, 0)));
    }
}

/// The store takes nothing until there is no room in the log of any node: receipts have to go through that very log.
#[test]
fn a_log_that_is_full_since_the_store_takes_nothing_goes_on_when_it_does() {
    for nodes in [1, 3] {
        let vault = Vault::default();
        vault.fail(&(0..1_000_000).collect::<Vec<u64>>(), &[]);
        let history = History {
            codec: Codec::Plain,
            bytes_max: 300 << 10,
            ..TINY
        };
        let mut world = World::keeping(nodes, 1, SMALL, Some(history), Some(vault.clone()));
        let (mut sent, mut acknowledged, mut refused) = (0, Vec::new(), 0);
        while refused < 20 {
            let leader = world.elect();
            let id = world.ask(leader, 0, ADD, &payload(sent, 30_000), false);
            for _ in 0..40 {
                world.run_for(SECOND / 20);
                if world.reply(id).is_some() {
                    break;
                }
            }
            let status = world.reply(id).map(|(head, _)| head.status);
            if status == Some(Status::StorageFull) {
                refused += 1;
                continue;
            }
            if status == Some(Status::Ok) {
                acknowledged.push(sent);
            }
            sent += 1;
            assert!(sent < 400, "the log holds no more than this: {refused}");
        }
        let counts = world.shard(1).seal_counts();
        assert!(
            counts.sealed_files > 0 && counts.receipts == 0,
            "{counts:?}"
        );
        world.run_for(10 * SECOND);
        vault.fail(&[], &[]);
        world.run_for(20 * SECOND);
        for number in sent..sent + 60 {
            world.add(0, &payload(number, 30_000));
            acknowledged.push(number);
        }
        let found = numbers(&world.settle(0));
        let is_there = |number: &u32| found.contains(number);
        assert!(
            acknowledged.iter().all(is_there),
            "{nodes} nodes: {found:?}"
        );
        assert!(found.iter().all(|number| *number < sent + 60), "{found:?}");
        for node in 1..=nodes {
            assert!(
                found.starts_with(&whole_past(&world, node, 0)),
                "node {node}"
            );
        }
        assert!(world.shard(1).seal_counts().receipts > 5);
    }
}

/// Nodes die, leaders change, the store fails or loses its answers; nothing is ever out of reach.
#[test]
fn a_kill_at_any_step_of_the_way_to_the_store_leaves_every_entry_within_reach() {
    for seed in 0..4_u64 {
        let vault = Vault::default();
        vault.fail(&[1, 4, 5, 9], &[2, 6, 7, 12, 13]);
        let mut world = World::keeping(3, 1, SMALL, Some(TINY), Some(vault.clone()));
        world.elect();
        let mut added = 0;
        for crash in 0..24_u64 {
            let leader = world.elect();
            let steps = world.stores[leader as usize - 1].steps() + 1 + (crash * 7 + seed * 3) % 17;
            let deliveries = vault.steps() + 1;
            let is_over = |world: &World| {
                let steps_taken = world.stores[leader as usize - 1].steps();
                if crash % 2 == 0 {
                    steps_taken >= steps
                } else {
                    vault.steps() >= deliveries
                }
            };
            while !is_over(&world) {
                world.add(0, &payload(added, 30_000));
                added += 1;
                // The store pauses for seconds when it failed; entries are for it to hold, not to pile up meanwhile.
                world.run_for(SECOND / 50);
            }
            world.kill(leader, Crash::Seeded(seed * 1000 + crash));
            world.add(0, &payload(added, 30_000));
            added += 1;
            world.start(leader);
            world.run_for(SECOND / 2);
            for node in 1..=3 {
                let past = whole_past(&world, node, 0);
                assert!(
                    is_without_gap(&past),
                    "seed {seed}, crash {crash}, node {node}"
                );
            }
        }
        assert_eq!(numbers(&world.settle(0)).len(), added as usize);
        // When the store is well again everything sealed reaches it, whoever leads.
        vault.fail(&[], &[]);
        world.run_for(20 * SECOND);
        let files = vault.files(0);
        assert!(files.first().is_some_and(|file| file.0 == 1), "{files:?}");
        assert!(
            files.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0),
            "{files:?}"
        );
        for node in 1..=3 {
            assert!(is_without_gap(&whole_past(&world, node, 0)));
        }
    }
}

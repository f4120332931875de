//! A replica whose log does not reach back to its leader's is given the leader's state, whatever happens meanwhile.

use raft::ids::GroupId;
use shard::restoring::FaultKind;
use shard::setup::Keeping;
use wal::archive::{FileKind, Name};
use wal::device::memory::Crash;

use crate::images::{SMALL, add_many, numbers, payload};
use crate::world::{ELECTION_NS, SECOND, Terms, World};

pub(crate) const BYTES: usize = 9_000;

/// Three nodes; one of them dies early and misses more than the others' logs keep. Returns it, and what was added.
fn one_is_left_behind(terms: Terms) -> (World, u32, u32) {
    let mut world = World::with(3, 1, terms);
    let leader = world.elect();
    add_many(&mut world, 0..30, BYTES);
    world.settle(0);
    let away = leader % 3 + 1;
    world.kill(away, Crash::Everything);
    add_many(&mut world, 30..300, BYTES);
    world.run_for(SECOND);
    for node in (1..=3).filter(|node| *node != away) {
        let raft = &world.shard(node).replicas()[0].raft;
        assert!(raft.first_index().0 > 60, "its log begins later");
    }
    (world, away, 300)
}

pub(crate) fn settled(world: &mut World, end: u32) {
    let found = numbers(&world.settle(0));
    assert_eq!(found, (0..end).collect::<Vec<_>>());
}

/// Adds until the node holds what the others hold.
pub(crate) fn add_until_installed(world: &mut World, node: u32, mut next: u32) -> u32 {
    for _ in 0..400 {
        if world.shard(node).upkeep_counts().installs > 0 {
            return next;
        }
        world.add(0, &payload(next, BYTES));
        next += 1;
    }
    panic!(
        "no state was installed: {:?}",
        world.shard(node).upkeep_counts()
    );
}

#[test]
fn it_catches_up_while_writes_go_on() {
    let (mut world, away, end) = one_is_left_behind(SMALL);
    world.start(away);
    let end = add_until_installed(&mut world, away, end);
    add_many(&mut world, end..end + 20, BYTES);
    settled(&mut world, end + 20);
    world.kill(away, Crash::Everything);
    world.start(away);
    assert!(world.shard(away).faults().is_empty());
    settled(&mut world, end + 20);
}

#[test]
fn an_empty_disk_is_filled() {
    let (mut world, away, end) = one_is_left_behind(SMALL);
    world.replace_disk(away);
    world.start(away);
    let end = add_until_installed(&mut world, away, end);
    settled(&mut world, end);
    world.run_for(SECOND);
    let stored = |node: u32| world.stores[node as usize - 1].names();
    let chapters = |node| {
        stored(node)
            .iter()
            .filter(|name| name.kind == FileKind::Chapter)
            .count()
    };
    assert_eq!(chapters(away), chapters(away % 3 + 1));
}

#[test]
fn only_what_is_not_there_is_moved() {
    let (mut world, away, end) = one_is_left_behind(SMALL);
    world.start(away);
    let end = add_until_installed(&mut world, away, end);
    settled(&mut world, end);
    let first = world.shard(away).upkeep_counts();
    assert!(
        first.spared_bytes > 0,
        "the chapters that it had were not moved: {first:?}"
    );
    world.kill(away, Crash::Everything);
    add_many(&mut world, end..end + 150, BYTES);
    world.start(away);
    let after = add_until_installed(&mut world, away, end + 150);
    settled(&mut world, after);
    let second = world.shard(away).upkeep_counts();
    let grown = u64::from(after - end) * BYTES as u64;
    assert!(
        second.fetched_bytes < grown * 3 / 2 && second.spared_bytes * 4 > first.fetched_bytes * 3,
        "{second:?}, the state grew by {grown}"
    );
}

#[test]
fn a_crash_at_any_step_of_an_installation_is_gone_on_from() {
    for seed in 0..3_u64 {
        let (mut world, away, mut end) = one_is_left_behind(SMALL);
        world.start(away);
        let mut crashes = 0;
        while world.shard(away).upkeep_counts().installs == 0 {
            // Every step of the archive, and moments between two steps, by turns.
            let steps = world.stores[away as usize - 1].steps() + crashes % 7;
            let deadline = world.now() + 20 * SECOND;
            while world.stores[away as usize - 1].steps() <= steps
                && world.shard(away).upkeep_counts().installs == 0
            {
                world.run_for(50_000 * (1 + seed));
                assert!(world.now() < deadline, "seed {seed}, crash {crashes}");
            }
            if world.shard(away).upkeep_counts().installs > 0 {
                break;
            }
            crashes += 1;
            world.kill(away, Crash::Seeded(seed * 100 + crashes));
            world.start(away);
            assert!(world.shard(away).faults().is_empty());
            if crashes % 10 == 0 {
                world.add(0, &payload(end, BYTES));
                end += 1;
            }
            assert!(crashes < 500, "it gets ahead");
            let has_base = world.shard(away).replicas()[0].applied.0 > 60;
            if has_base {
                break;
            }
        }
        assert!(crashes > 5, "seed {seed}: {crashes}");
        settled(&mut world, end);
    }
}

#[test]
fn newer_states_and_new_leaders_and_lost_connections_interrupt_it() {
    let slow = Terms {
        keeping: Keeping {
            fetch_bytes_per_second: 2 << 20,
            ..SMALL.keeping
        },
        ..SMALL
    };
    for seed in 0..4_u64 {
        let (mut world, away, mut end) = one_is_left_behind(slow);
        world.start(away);
        for round in 0..12_u64 {
            world.run_for(ELECTION_NS / 3);
            match (seed + round) % 4 {
                0 => world.reconnect(away),
                1 => {
                    let leader = world.leader(0).filter(|leader| *leader != away);
                    if let Some(leader) = leader {
                        world.kill(leader, Crash::Everything);
                        world.run_for(2 * ELECTION_NS);
                        world.start(leader);
                    }
                }
                2 => {
                    add_many(&mut world, end..end + 40, BYTES);
                    end += 40;
                }
                _ => {
                    world.kill(away, Crash::Seeded(seed * 100 + round));
                    world.start(away);
                }
            }
        }
        world.run_for(5 * SECOND);
        world.add(0, &payload(end, BYTES));
        settled(&mut world, end + 1);
    }
}

/// A file of the node, of this kind, and its group's.
fn file(world: &World, node: u32, kind: FileKind) -> Name {
    let names = world.stores[node as usize - 1].names();
    *names
        .iter()
        .find(|name| name.kind == kind)
        .expect("there is one")
}

#[test]
fn a_damaged_image_or_chapter_is_named_and_fetched_again() {
    for kind in [FileKind::Image, FileKind::Chapter, FileKind::Manifest] {
        for is_lost in [false, true] {
            let (mut world, away, end) = one_is_left_behind(SMALL);
            world.start(away);
            settled(&mut world, end);
            world.run_for(SECOND);
            world.kill(away, Crash::Everything);
            let name = file(&world, away, kind);
            let store = &world.stores[away as usize - 1];
            if is_lost {
                assert!(store.lose(name));
            } else {
                assert!(store.edit(name, |bytes| bytes[2] ^= 0x80));
            }
            world.start(away);
            let faults = world.shard(away).faults().to_vec();
            let is_silent = is_lost && kind == FileKind::Manifest;
            assert_eq!(
                faults.len(),
                usize::from(!is_silent),
                "{kind:?}: {faults:?}"
            );
            assert!(faults.iter().all(|fault| fault.name == name), "{faults:?}");
            let raft = &world.shard(away).replicas()[0].raft;
            assert_eq!(raft.damage(), raft::config::Damage::Entries, "{kind:?}");
            assert!(raft.term().0 > 0, "term and vote are not forgotten");
            let end = add_until_installed(&mut world, away, end);
            settled(&mut world, end);
            world.run_for(SECOND);
            let raft = &world.shard(away).replicas()[0].raft;
            assert_eq!(raft.damage(), raft::config::Damage::None, "{kind:?}");
            world.kill(away, Crash::Everything);
            world.start(away);
            assert!(world.shard(away).faults().is_empty());
            let raft = &world.shard(away).replicas()[0].raft;
            assert_eq!(raft.damage(), raft::config::Damage::None, "{kind:?}");
        }
    }
}

#[test]
fn the_mark_of_a_loss_survives_until_everything_is_back() {
    let (mut world, away, end) = one_is_left_behind(SMALL);
    world.start(away);
    settled(&mut world, end);
    world.run_for(SECOND);
    world.kill(away, Crash::Everything);
    world.stores[away as usize - 1].wipe();
    for _ in 0..5 {
        world.start(away);
        let raft = &world.shard(away).replicas()[0].raft;
        assert_eq!(raft.damage(), raft::config::Damage::Entries);
        world.run_for(1_000_000);
        world.kill(away, Crash::Nothing);
    }
    world.start(away);
    settled(&mut world, end);
}

#[test]
fn a_peer_with_a_rotten_file_is_found_out_and_another_serves() {
    let (mut world, away, end) = one_is_left_behind(SMALL);
    let leader = world.leader(0).expect("a leader");
    world.replace_disk(away);
    let name = Name {
        group: 0,
        kind: FileKind::Chapter,
        number: 3,
    };
    assert!(world.stores[leader as usize - 1].edit(name, |bytes| bytes[100] ^= 1));
    world.start(away);
    let end = add_until_installed(&mut world, away, end);
    settled(&mut world, end);
    let counts = world.shard(away).upkeep_counts();
    assert!(counts.corrupt_files > 0, "{counts:?}");
}

#[test]
fn a_peer_whose_state_is_older_than_ones_own_ends_no_fetch() {
    let mut world = World::with(5, 1, SMALL);
    let leader = world.elect();
    let [older, laggard, third, fourth] = [0, 1, 2, 3].map(|nth| (leader + nth) % 5 + 1);
    add_many(&mut world, 0..30, BYTES);
    world.settle(0);
    world.kill(older, Crash::Everything);
    add_many(&mut world, 30..60, BYTES);
    world.settle(0);
    world.kill(laggard, Crash::Everything);
    add_many(&mut world, 60..300, BYTES);
    world.run_for(SECOND);
    assert_eq!(world.leader(0), Some(leader), "nobody else led meanwhile");
    // It hears of nothing newer than its own state, which is older than the laggard's.
    for other in [leader, third, fourth] {
        world.wire.cut(older, other);
    }
    world.start(older);
    world.start(laggard);
    world.run_until(SECOND, "a state is asked for", |world| {
        world.shard(laggard).transfers_open().0 == 1
    });
    // The one who was asked falls silent, so that the next in turn is asked: the older one.
    world.wire.cut(laggard, leader);
    world.run_for(10 * SECOND);
    for other in [leader, third, fourth] {
        world.wire.heal(older, other);
    }
    world.wire.heal(laggard, leader);
    settled(&mut world, 300);
}

#[test]
fn no_more_is_moved_than_the_rate_and_nothing_is_kept_for_ever() {
    let rate = 512 << 10;
    let slow = Terms {
        keeping: Keeping {
            fetch_bytes_per_second: rate,
            ..SMALL.keeping
        },
        ..SMALL
    };
    let (mut world, away, end) = one_is_left_behind(slow);
    world.replace_disk(away);
    world.start(away);
    let (from, before) = (world.now(), world.shard(away).upkeep_counts().fetched_bytes);
    world.run_for(2 * SECOND);
    let moved = world.shard(away).upkeep_counts().fetched_bytes - before;
    let seconds = (world.now() - from) / SECOND + 1;
    assert!(moved > 0 && moved <= rate * seconds + rate / 2, "{moved}");
    let leader = world.leader(0).expect("a leader");
    assert_eq!(world.shard(leader).transfers_open(), (0, 1));
    assert_eq!(world.shard(away).transfers_open().0, 1);
    world.run_for(20 * SECOND);
    settled(&mut world, end);
    assert_eq!(world.shard(away).transfers_open().0, 0);
    world.run_for(2 * shard::limits::PIN_NS);
    for node in 1..=3 {
        assert_eq!(world.shard(node).transfers_open(), (0, 0));
        let names = world.stores[node as usize - 1].names();
        let images = names.iter().filter(|name| name.kind == FileKind::Image);
        assert_eq!(images.count(), 1, "node {node}: {names:?}");
    }
}

#[test]
fn a_replica_that_lost_its_state_does_not_answer_from_an_empty_one() {
    let (mut world, away, end) = one_is_left_behind(SMALL);
    world.start(away);
    settled(&mut world, end);
    world.kill(away, Crash::Everything);
    world.stores[away as usize - 1].wipe();
    for other in (1..=3).filter(|node| *node != away) {
        world.wire.cut(away, other);
    }
    world.start(away);
    let fault = world.shard(away).faults().first().map(|fault| fault.why);
    assert_eq!(fault, None::<FaultKind>, "nothing is there to be wrong");
    let (status, _) = world.look(away, 0, true).expect("an answer");
    assert_eq!(status, net::request::Status::Unavailable);
    world.run_for(10 * ELECTION_NS);
    assert_eq!(world.shard(away).leader_of(GroupId(0)), None);
    assert!(world.is_up(away));
}

//! A group's history is read from any index, wherever its entries are; gaps and what cannot be had are told.

use net::request::Status;
use raft::ids::GroupId;
use shard::history::{ENTRIES, parse};
use shard::limits;
use shard::past::History;
use wal::archive::FileKind;
use wal::device::memory::Crash;

use crate::images::{SMALL, add_many, noise, numbers, payload};
use crate::past::TINY;
use crate::vault::Vault;
use crate::world::{SECOND, World};

/// Asks one node from here on, once; the status and, when it is well, the answer's body.
fn ask(world: &mut World, node: u32, group: u64, index: u64, offset: u64) -> (Status, Vec<u8>) {
    let body: Vec<u8> = [index, offset]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    let id = world.ask(node, group, ENTRIES, &body, true);
    world.run_until(20 * SECOND, "an answer about the history", |world| {
        world.reply(id).is_some()
    });
    let (head, body) = world.reply(id).expect("just seen");
    (head.status, body.clone())
}

/// Entries with their payloads.
type Read = Vec<(u64, Vec<u8>)>;
/// First and last entries of what is missing.
type Gaps = Vec<(u64, u64)>;

/// Everything that a node tells from an index on: entries with their payloads, and gaps as (from, to).
fn read_all(world: &mut World, node: u32, from: u64) -> (Read, Gaps) {
    let (mut found, mut gaps) = (Read::new(), Gaps::new());
    let (mut index, mut offset) = (from, 0);
    loop {
        let (status, body) = ask(world, node, 0, index, offset);
        assert_eq!(status, Status::Ok, "node {node}, entry {index}");
        let (head, pieces) = parse(&body).expect("an answer");
        let next = (head.next.index.get(), head.next.offset.get());
        for (piece, bytes) in &pieces {
            let of = piece.index.get();
            if piece.from.get() == 0 {
                found.push((of, Vec::new()));
            }
            let (last, payload) = found.last_mut().expect("a beginning");
            assert_eq!((*last, payload.len()), (of, piece.from.get() as usize));
            payload.extend_from_slice(bytes);
            if payload.len() == piece.bytes.get() as usize {
                assert_eq!(crc32fast::hash(payload), piece.crc.get(), "entry {of}");
            }
        }
        if pieces.is_empty() {
            if next.0 > head.applied.get() && index > head.applied.get() {
                return (found, gaps);
            }
            if next.0 > index {
                gaps.push((index, next.0 - 1));
            }
        }
        assert!(next > (index, offset), "it goes on from {index}");
        (index, offset) = next;
    }
}

/// The numbers of the clients' payloads among what was read.
fn told(found: &[(u64, Vec<u8>)]) -> Vec<u32> {
    let payloads = found.iter().map(|(_, payload)| payload.clone());
    numbers(
        &payloads
            .filter(|payload| payload.len() > 80)
            .collect::<Vec<_>>(),
    )
}

fn is_in_order(found: &[(u64, Vec<u8>)]) -> bool {
    found.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1)
}

#[test]
fn entries_are_read_from_any_index_from_log_files_and_store_on_every_node() {
    for vault in [None, Some(Vault::default())] {
        let mut world = World::keeping(3, 2, SMALL, Some(TINY), vault.clone());
        world.elect();
        add_many(&mut world, 0..160, 50_000);
        world.settle(0);
        world.run_for(2 * SECOND);
        for node in 1..=3 {
            let (found, gaps) = read_all(&mut world, node, 1);
            assert_eq!(gaps, [], "node {node}");
            assert!(is_in_order(&found) && found[0].0 == 1, "node {node}");
            assert_eq!(told(&found), (0..160).collect::<Vec<u32>>(), "node {node}");
            let counts = world.shard(node).history_counts();
            assert!(counts.history_from_log > 0, "{counts:?}");
            let from_files = counts.history_from_files > 20;
            let from_store = counts.history_from_store > 20;
            assert_eq!(
                (from_files, from_store),
                (vault.is_none(), vault.is_some()),
                "{counts:?}"
            );
            for from in [2, 17, 63, found.len() as u64] {
                let (some, gaps) = read_all(&mut world, node, from);
                assert_eq!((&some[..], gaps), (&found[from as usize - 1..], Vec::new()));
            }
        }
    }
}

#[test]
fn an_entry_that_does_not_fit_an_answer_comes_in_pieces() {
    let mut world = World::keeping(1, 1, SMALL, Some(TINY), None);
    world.elect();
    add_many(&mut world, 0..60, 60_000);
    world.settle(0);
    world.run_for(2 * SECOND);
    let (mut index, mut cut) = (1, 0);
    while index < 30 {
        let (_, body) = ask(&mut world, 1, 0, index, 0);
        let (head, pieces) = parse(&body).expect("an answer");
        assert!(body.len() <= limits::HISTORY_REPLY_BYTES && !pieces.is_empty());
        let (last, _) = pieces.last().expect("one");
        let is_cut = last.here < last.bytes;
        assert_eq!(is_cut, head.next.offset.get() > 0);
        cut += u32::from(is_cut);
        index += 1;
    }
    assert!(cut > 5, "{cut} answers ended within an entry");
    let (found, gaps) = read_all(&mut world, 1, 1);
    assert_eq!(
        (told(&found), gaps),
        ((0..60).collect::<Vec<u32>>(), Vec::new())
    );
}

#[test]
fn what_is_kept_nowhere_is_told_as_a_gap() {
    // A history that is kept here alone and bounded; one whose store let the oldest go; none at all.
    let history = History {
        bytes_max: 100 << 10,
        ..TINY
    };
    let vault = Vault::default();
    let cases = [
        (Some(history), None),
        (Some(TINY), Some(vault.clone())),
        (None, None),
    ];
    for (history, with) in cases {
        let mut world = World::keeping(1, 1, SMALL, history, with.clone());
        world.elect();
        for number in 0..300_u32 {
            let mut body = noise(u64::from(number) + 1, 9_000);
            body[..4].copy_from_slice(&number.to_le_bytes());
            world.add(0, &body);
        }
        world.run_for(2 * SECOND);
        if with.is_some() {
            vault.expire(0, 100);
        }
        let (found, gaps) = read_all(&mut world, 1, 1);
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert_eq!((gaps[0].0, gaps[0].1 + 1), (1, found[0].0));
        assert!(is_in_order(&found), "one gap only");
        let last = found.last().expect("some").1.first_chunk().copied();
        assert_eq!(last.map(u32::from_le_bytes), Some(299));
        assert!(world.shard(1).history_counts().history_gaps > 0);
    }
}

#[test]
fn a_store_that_does_not_answer_holds_nobody_up_and_reads_are_bounded() {
    let vault = Vault::default();
    let mut world = World::keeping(1, 1, SMALL, Some(TINY), Some(vault.clone()));
    world.elect();
    add_many(&mut world, 0..160, 50_000);
    world.run_for(2 * SECOND);
    vault.silence(true, false);
    let body: Vec<u8> = [1_u64, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
    let asked: Vec<u64> = (0..limits::HISTORY_READS_MAX + 3)
        .map(|_| world.ask(1, 0, ENTRIES, &body, true))
        .collect();
    world.run_for(SECOND);
    let status = |world: &World, id: u64| world.reply(id).map(|(head, _)| head.status);
    let busy = asked
        .iter()
        .filter(|id| status(&world, **id) == Some(Status::Busy));
    assert_eq!(busy.count(), 3, "more than may be are busy at once");
    // Money goes on moving meanwhile, and the log is read as ever.
    world.add(0, &payload(160, 50_000));
    world.run_for(12 * SECOND);
    let late = asked
        .iter()
        .filter(|id| status(&world, **id) == Some(Status::Unavailable));
    assert_eq!(late.count(), limits::HISTORY_READS_MAX);
    vault.silence(false, true);
    assert_eq!(ask(&mut world, 1, 0, 1, 0).0, Status::Unavailable);
    vault.silence(false, false);
    let (found, _) = read_all(&mut world, 1, 1);
    assert_eq!(told(&found).len(), 161);
}

#[test]
fn a_rotten_file_is_no_gap_and_its_neighbours_are_read() {
    let mut world = World::keeping(1, 1, SMALL, Some(TINY), None);
    world.elect();
    add_many(&mut world, 0..160, 50_000);
    world.run_for(SECOND);
    let past = world.shard(1).past_of(GroupId(0)).expect("a group");
    let rotten = past.files()[1].clone();
    let names = world.stores[0].names();
    let mut names = names.iter().filter(|name| name.kind == FileKind::Sealed);
    let name = *names.find(|name| name.number == rotten.first).expect("it");
    world.kill(1, Crash::Nothing);
    // In the middle of its blocks: header and footer pass.
    world.stores[0].edit(name, |bytes| {
        let at = bytes.len() / 3;
        bytes[at] ^= 1;
    });
    world.start(1);
    world.elect();
    let mut index = 1;
    let (mut given, mut refused) = (0, 0);
    while index <= rotten.last + 5 {
        let (status, body) = ask(&mut world, 1, 0, index, 0);
        if status == Status::Unavailable {
            assert!(
                (rotten.first..=rotten.last).contains(&index),
                "entry {index}"
            );
            (refused, index) = (refused + 1, index + 1);
            continue;
        }
        let (head, pieces) = parse(&body).expect("an answer");
        assert!(!pieces.is_empty(), "entry {index} is no gap");
        given += pieces.len();
        index = head.next.index.get();
    }
    assert!(
        refused > 0 && given as u64 > rotten.first,
        "{refused}, {given}"
    );
}

#[test]
fn questions_that_are_none_are_refused_and_the_future_is_not_there_yet() {
    let mut world = World::keeping(1, 1, SMALL, Some(TINY), None);
    world.elect();
    add_many(&mut world, 0..3, 100);
    for body in [&[][..], &[0; 16], &[1; 15]] {
        let id = world.ask(1, 0, ENTRIES, body, true);
        world.run_for(SECOND / 10);
        let status = world.reply(id).map(|(head, _)| head.status);
        assert_eq!(status, Some(Status::Malformed));
    }
    for index in [1_000, u64::MAX] {
        let (status, body) = ask(&mut world, 1, 0, index, 0);
        let (head, pieces) = parse(&body).expect("an answer");
        assert_eq!((status, pieces.len()), (Status::Ok, 0));
        assert_eq!(head.next.index.get(), index, "ask again for the same");
        // Who has its beginning has it from a node that is ahead.
        let (status, _) = ask(&mut world, 1, 0, index, 1);
        assert_eq!(status, Status::Unavailable);
    }
    let (_, body) = ask(&mut world, 1, 0, 1, u64::MAX);
    let (_, pieces) = parse(&body).expect("an answer");
    assert_eq!(
        pieces[0].0.here.get(),
        0,
        "behind the payload there is nothing"
    );
}

#[test]
fn who_leads_a_group_has_its_store_looked_after() {
    let vault = Vault::default();
    let mut world = World::keeping(3, 2, SMALL, Some(TINY), Some(vault.clone()));
    world.elect();
    world.run_for(5 * SECOND);
    for group in 0..2 {
        let times = vault.tended(group);
        assert!((3..=8).contains(&times), "about once a second: {times}");
    }
}

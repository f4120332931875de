//! A rotten block is made whole where it lies when its records are had from elsewhere, and by nothing else.

use wal::device::memory::{Crash, Fault, MemoryDevice, MemoryDisk};
use wal::{Options, OwnedRecord, Rotten};

use crate::support::{Made, Opened, SEGMENT_BYTES, open, options, put, settle, try_open};

const BYTES: usize = 2_000;
const COUNT: u64 = 60;
/// Bytes of a record's header.
const HEADER: usize = 40;

fn made(index: u64) -> Made {
    Made::entry(1, index, 1, BYTES)
}

fn filled(disk: &MemoryDisk) -> Opened<MemoryDevice> {
    let options = Options {
        scrub_bytes_per_second: 1 << 20,
        ..options()
    };
    let mut opened = try_open(disk.device(), options).expect("the log opens");
    for index in 1..=COUNT {
        put(&mut opened.wal, &made(index));
        if index % 20 == 0 {
            put(&mut opened.wal, &Made::meta(1, index + 1_000, 1, 100));
        }
    }
    settle(&mut opened.wal);
    opened
}

/// Where the payload lies.
fn place_of(disk: &MemoryDisk, made: &Made) -> (u32, u64) {
    let found = disk.image().into_iter().find_map(|(slot, bytes)| {
        let mut windows = bytes.windows(made.payload.len());
        Some((
            slot,
            windows.position(|window| window == made.payload)? as u64,
        ))
    });
    found.expect("it is on the disk")
}

/// Where the record lies: its header, its head, its payload.
fn record_of(disk: &MemoryDisk, made: &Made) -> (u32, u64) {
    let (slot, payload) = place_of(disk, made);
    let before = HEADER + made.head.len().next_multiple_of(8);
    (slot, payload - before as u64)
}

fn owned(made: &Made) -> OwnedRecord {
    made.record().to_owned_record()
}

/// Lets the scrubber go over the log once more; what it found, and which blocks it would have repaired.
fn scrubbed(
    opened: &mut Opened<MemoryDevice>,
    from: u64,
) -> (usize, Vec<(Rotten, Vec<OwnedRecord>)>) {
    let (mut found, mut rotten) = (0, Vec::new());
    let before = opened.wal.stats().scrub_passes;
    let mut now_ns = from;
    while opened.wal.stats().scrub_passes < before + 2 {
        now_ns += 1_000_000;
        opened.wal.submit(now_ns);
        opened.wal.poll(now_ns);
        found += std::iter::from_fn(|| opened.wal.next_damage()).count();
        for (one, given) in std::iter::from_fn(|| opened.wal.next_rotten()) {
            if rotten.iter().all(|(known, _)| *known != one) {
                rotten.push((one, given));
            }
        }
    }
    (found, rotten)
}

/// Repairs; whether the block is whole.
fn repair(opened: &mut Opened<MemoryDevice>, rotten: &Rotten, records: &[OwnedRecord]) -> bool {
    assert!(opened.wal.repair(rotten, records), "nothing is worked on");
    for now_ns in 1..10_000 {
        opened.wal.submit(90_000_000_000 + now_ns);
        opened.wal.poll(90_000_000_000 + now_ns);
        if let Some((done, is_whole)) = opened.wal.next_repaired() {
            assert_eq!(&done, rotten);
            return is_whole;
        }
    }
    panic!("a repair ends");
}

/// Rots these bytes and has the one block that they lie in repaired by the entries that it names.
fn outlives(rot: impl Fn(&MemoryDisk), entries: &[u64]) {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
    let mut opened = filled(&disk);
    let before = disk.image();
    rot(&disk);
    assert_ne!(disk.image(), before);
    let (found, rotten) = scrubbed(&mut opened, 10_000_000_000);
    assert!(found > 0);
    let [(rotten, given)] = &rotten[..] else {
        panic!("one block: {rotten:?}")
    };
    let named: Vec<(u64, u64)> = entries.iter().map(|index| (1, *index)).collect();
    assert_eq!(rotten.entries, named);
    let mut records = given.clone();
    records.extend(entries.iter().map(|index| owned(&made(*index))));
    assert!(repair(&mut opened, rotten, &records));
    assert_eq!(disk.image(), before, "byte for byte what it was");
    assert_eq!(opened.wal.stats().blocks_repaired, 1);
    assert_eq!(scrubbed(&mut opened, 200_000_000_000).0, 0);
    put(&mut opened.wal, &made(COUNT + 1));
    settle(&mut opened.wal);
}

#[test]
fn a_rotten_payload_is_written_again_where_it_lies() {
    outlives(
        |disk| {
            let (slot, at) = place_of(disk, &made(40));
            disk.flip(slot, at + 1_000, 4);
        },
        &[40],
    );
}

#[test]
fn a_rotten_header_or_head_is_written_again_where_it_lies() {
    // Index 44 has a head of twelve bytes.
    for byte in 0..HEADER as u64 + 12 {
        outlives(
            |disk| {
                let (slot, at) = record_of(disk, &made(44));
                disk.flip(slot, at + byte, 4);
            },
            &[44],
        );
    }
}

#[test]
fn records_side_by_side_are_written_again_together() {
    outlives(
        |disk| {
            let (slot, at) = place_of(disk, &made(32));
            disk.edit(slot, |bytes| bytes[at as usize + 1_500..][..1_000].fill(0));
        },
        &[32, 33],
    );
}

#[test]
fn the_newest_metadata_comes_out_of_memory() {
    outlives(
        |disk| {
            let (slot, at) = place_of(disk, &Made::meta(1, COUNT + 1_000, 1, 100));
            disk.flip(slot, at + 3, 1);
        },
        &[],
    );
}

#[test]
fn nothing_but_the_very_records_is_written() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
    let mut opened = filled(&disk);
    let (slot, at) = place_of(&disk, &made(40));
    disk.flip(slot, at + 1_000, 4);
    let (_, rotten) = scrubbed(&mut opened, 10_000_000_000);
    let rotten = &rotten[0].0;
    let image = disk.image();
    let mut other_term = owned(&made(40));
    other_term.term += 1;
    let mut other_head = owned(&made(41));
    other_head.index = 40;
    let mut other_payload = owned(&made(40));
    let mut payload = other_payload.payload.to_vec();
    payload[7] ^= 1;
    other_payload.payload_crc = crc32fast::hash(&payload);
    other_payload.payload = payload.into();
    let mut wrong_checksum = other_payload.clone();
    wrong_checksum.payload_crc = owned(&made(40)).payload_crc;
    let mut shorter = owned(&made(40));
    shorter.payload = shorter.payload.slice(8..);
    let mut elsewhere = owned(&made(10));
    elsewhere.group = 9;
    let wrong = [
        vec![],
        vec![owned(&made(39))],
        vec![other_term],
        vec![other_head],
        vec![other_payload],
        vec![wrong_checksum],
        vec![shorter],
        vec![elsewhere],
    ];
    for records in wrong {
        assert!(!repair(&mut opened, rotten, &records), "{records:?}");
        assert_eq!(disk.image(), image, "the disk is as it was");
    }
    assert_eq!(opened.wal.stats().blocks_repaired, 0);
}

#[test]
fn a_block_without_its_header_is_no_such_case() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
    let mut opened = filled(&disk);
    let (slot, at) = record_of(&disk, &made(40));
    let header = (0..=at & !4_095)
        .rev()
        .step_by(4_096)
        .find(|at| disk.image()[&slot][*at as usize..].starts_with(b"QBLK"))
        .expect("a block begins before its records");
    disk.flip(slot, header + 20, 4);
    let (found, rotten) = scrubbed(&mut opened, 10_000_000_000);
    assert!(found > 0 && rotten.is_empty());
}

#[test]
fn what_was_superseded_meanwhile_is_left_alone() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
    let mut opened = filled(&disk);
    let (slot, at) = place_of(&disk, &made(40));
    disk.flip(slot, at + 1_000, 4);
    let (_, rotten) = scrubbed(&mut opened, 10_000_000_000);
    put(&mut opened.wal, &Made::entry(1, 40, 2, BYTES));
    settle(&mut opened.wal);
    assert!(!repair(&mut opened, &rotten[0].0, &[owned(&made(40))]));
    // All of it is given up and its file used again: nothing is written there.
    opened.wal.release(1, 40);
    for index in 41..=200 {
        put(&mut opened.wal, &Made::entry(1, index, 2, BYTES));
        opened.wal.release(1, index - 1);
        settle(&mut opened.wal);
    }
    assert!(!repair(&mut opened, &rotten[0].0, &[owned(&made(40))]));
}

#[test]
fn a_segment_stays_while_a_block_of_it_is_written() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
    let mut opened = filled(&disk);
    let (slot, at) = place_of(&disk, &made(2));
    disk.flip(slot, at + 1_000, 4);
    let (_, rotten) = scrubbed(&mut opened, 10_000_000_000);
    assert!(opened.wal.repair(&rotten[0].0, &[owned(&made(2))]));
    opened.wal.submit(80_000_000_000);
    opened.wal.poll(80_000_000_000);
    disk.hold(true);
    opened.wal.submit(80_000_000_001);
    assert_eq!(disk.writes_in_flight(), 1);
    // Nothing of its segment is needed any more, and a later block would say so.
    opened.wal.release(1, COUNT);
    let recycled = opened.wal.stats().segments_recycled;
    disk.hold(false);
    while disk.release_write(0) {}
    for now_ns in 80_000_000_002..80_000_000_100 {
        opened.wal.submit(now_ns);
        opened.wal.poll(now_ns);
    }
    assert_eq!(recycled, 0, "it stood in the way");
    assert!(opened.wal.next_repaired().is_some_and(|(_, whole)| whole));
    put(&mut opened.wal, &Made::entry(1, COUNT + 1, 1, BYTES));
    settle(&mut opened.wal);
    assert!(opened.wal.stats().segments_recycled > 0);
}

#[test]
fn a_crash_in_the_middle_takes_nothing_more() {
    let torn = (0..34).flat_map(|sectors| [Crash::Torn(0, sectors), Crash::TornFront(0, sectors)]);
    let seeded = (0..40).map(Crash::Seeded);
    for rule in [Crash::Nothing, Crash::Everything]
        .into_iter()
        .chain(torn)
        .chain(seeded)
    {
        let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
        let mut opened = filled(&disk);
        let whole = disk.image();
        let (slot, at) = place_of(&disk, &made(32));
        disk.edit(slot, |bytes| bytes[at as usize + 1_500..][..1_000].fill(0));
        let (_, rotten) = scrubbed(&mut opened, 10_000_000_000);
        let records = [owned(&made(32)), owned(&made(33))];
        assert!(opened.wal.repair(&rotten[0].0, &records));
        opened.wal.submit(80_000_000_000);
        opened.wal.poll(80_000_000_000);
        disk.hold(true);
        opened.wal.submit(80_000_000_001);
        assert_eq!(disk.writes_in_flight(), 1, "the repair");
        drop(opened);
        disk.crash(rule);
        disk.hold(false);
        let rotten: Vec<u64> = disk.image()[&slot]
            .iter()
            .zip(&whole[&slot])
            .zip(0_u64..)
            .filter_map(|((now, then), at)| (now != then).then_some(at))
            .collect();
        let stretch = at + 1_500..at + 2_500;
        assert!(rotten.iter().all(|byte| stretch.contains(byte)), "{rule:?}");
        let opened = open(&disk);
        let shown: Vec<u64> = opened
            .shown
            .iter()
            .filter(|(_, made)| made.kind == wal::Kind::Entry)
            .map(|(_, made)| made.index)
            .collect();
        let lost = (1..=COUNT).filter(|index| !shown.contains(index));
        let lost: Vec<u64> = lost.collect();
        assert!(
            lost.iter().all(|index| [32, 33].contains(index)),
            "{rule:?}: {lost:?}"
        );
        assert_eq!(rotten.is_empty(), lost.is_empty(), "{rule:?}");
    }
}

#[test]
fn a_disk_that_fails_the_write_ends_the_log_and_a_full_one_does_not() {
    for (fault, fails) in [(Fault::Enospc, false), (Fault::Eio, true)] {
        let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
        let mut opened = filled(&disk);
        let (slot, at) = place_of(&disk, &made(40));
        disk.flip(slot, at + 1_000, 4);
        let (_, rotten) = scrubbed(&mut opened, 10_000_000_000);
        disk.fault_write(0, fault);
        assert!(!repair(&mut opened, &rotten[0].0, &[owned(&made(40))]));
        assert_eq!(opened.wal.failed().is_some(), fails, "{fault:?}");
    }
}

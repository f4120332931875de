//! Every byte of a log damaged once, and every way a disk may betray it: what is lost is named, what is not
//! is shown, and nothing is made up.

use std::collections::{BTreeMap, BTreeSet};

use wal::device::memory::{Crash, Fault, MemoryDevice, MemoryDisk};
use wal::{Damage, DamageKind, Identity, Kind, Lost, Options, ReadError, WalError};

use crate::support::{Made, Opened, identity, put, settle, tell, try_open};

const SEGMENT_BYTES: u64 = 24 << 10;
const PAGE: usize = 4096;

fn options() -> Options {
    Options {
        segments_max: 10,
        blocks: 4,
        ..Options::small(identity(), 600)
    }
}

fn open(disk: &MemoryDisk) -> Opened<MemoryDevice> {
    try_open(disk.device(), options()).expect("damage is no error")
}

/// A log of several segments, two incarnations and three groups, at rest; its last block is empty.
fn sample() -> (MemoryDisk, BTreeMap<u64, Made>) {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 5);
    let mut appended = BTreeMap::new();
    for life in 0..2 {
        let mut opened = open(&disk);
        for nth in 0..20 {
            let index = life * 20 + nth + 1;
            let made = match nth % 7 {
                3 => Made::meta(nth % 2, index, life + 1, 40),
                _ => Made::entry(
                    9,
                    index - (index + 3) / 7,
                    life + 1,
                    60 + (nth as usize % 3) * 230,
                ),
            };
            appended.insert(put(&mut opened.wal, &made).0, made);
            if nth % 2 == 0 {
                opened.wal.submit(1);
                opened.wal.poll(1);
            }
        }
        settle(&mut opened.wal);
        opened.wal.witness();
        settle(&mut opened.wal);
    }
    (disk, appended)
}

/// Where each record's payload lies: slot and offset.
fn places(disk: &MemoryDisk, appended: &BTreeMap<u64, Made>) -> BTreeMap<u64, (u32, u64)> {
    let image = disk.image();
    let place = |made: &Made| {
        image.iter().find_map(|(&slot, bytes)| {
            let found = bytes
                .windows(made.payload.len())
                .position(|window| window == made.payload);
            found.map(|offset| (slot, offset as u64))
        })
    };
    appended
        .iter()
        .map(|(&lsn, made)| (lsn, place(made).expect("every payload is on the disk")))
        .collect()
}

fn names(damage: &Damage, made: &Made, place: (u32, u64)) -> bool {
    let by_name = damage.group == Some(made.group)
        && damage.first.is_some_and(|first| first <= made.index)
        && damage.last.is_some_and(|last| last >= made.index);
    let by_place = damage.slot == Some(place.0)
        && damage.offset <= place.1
        && place.1 < damage.offset + damage.bytes;
    by_name || by_place
}

/// What must hold whatever was damaged: nothing made up, and every record missing is named.
fn check(
    opened: &Opened<MemoryDevice>,
    appended: &BTreeMap<u64, Made>,
    places: &BTreeMap<u64, (u32, u64)>,
    context: &str,
) {
    let shown: BTreeMap<u64, &Made> = opened
        .shown
        .iter()
        .map(|(lsn, made)| (lsn.0, made))
        .collect();
    assert_eq!(
        shown.len(),
        opened.shown.len(),
        "{context}: nothing is shown twice"
    );
    assert!(
        opened.shown.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "{context}: in order"
    );
    for (lsn, made) in &shown {
        assert_eq!(
            appended.get(lsn),
            Some(*made),
            "{context}: nothing is made up"
        );
    }
    for (lsn, made) in appended {
        if !shown.contains_key(lsn) {
            let named = opened
                .report
                .damage
                .iter()
                .any(|damage| names(damage, made, places[lsn]));
            assert!(
                named,
                "{context}: number {lsn} is gone and not named: {:?}",
                opened.report
            );
        }
    }
    check_losses(opened, appended, context);
}

/// What was told while the log was opened covers every record that is missing, at its place in the order: by name,
/// or as one of so many unnamed, of kinds that may be among them.
fn check_losses(
    opened: &Opened<MemoryDevice>,
    appended: &BTreeMap<u64, Made>,
    context: &str,
) -> u64 {
    let shown: Vec<u64> = opened.shown.iter().map(|(lsn, _)| lsn.0).collect();
    let mut told = 0;
    let first_entry = appended.iter().find(|(_, made)| made.kind == Kind::Entry);
    for (lsn, made) in appended
        .iter()
        .filter(|(lsn, _)| shown.binary_search(lsn).is_err())
    {
        let place = shown.partition_point(|shown| shown < lsn);
        let here = || opened.lost.iter().filter(|(at, _)| *at == place);
        let name = match made.kind {
            Kind::Entry => Lost::Entry {
                group: made.group,
                index: made.index,
            },
            Kind::Meta => Lost::Metadata { group: made.group },
        };
        if here().any(|(_, lost)| *lost == name) {
            continue;
        }
        told += 1;
        let is_turn = first_entry.is_some_and(|(first, _)| first == lsn);
        let covers = |lost: &Lost| match *lost {
            Lost::Unnamed {
                metadata, turns, ..
            } => (made.kind == Kind::Entry || metadata) && (!is_turn || turns),
            _ => false,
        };
        assert!(
            here().any(|(_, lost)| covers(lost)),
            "{context}: number {lsn} is gone and nobody was told: {:?}",
            opened.lost
        );
    }
    let counts = opened.lost.iter().filter_map(|(_, lost)| match lost {
        Lost::Unnamed { records, .. } => Some(*records),
        _ => None,
    });
    if let Some(count) = counts.sum::<Option<u64>>() {
        assert_eq!(count, told, "{context}: {:?}", opened.lost);
    }
    told
}

#[test]
fn every_byte_flipped_once() {
    let (disk, appended) = sample();
    let places = places(&disk, &appended);
    let image = disk.image();
    let (mut harmless, mut without_loss, mut with_loss) = (0, 0, 0);
    for (&slot, bytes) in &image {
        for offset in 0..bytes.len() {
            let is_used = bytes[offset / PAGE * PAGE..]
                .iter()
                .take(PAGE)
                .any(|&byte| byte != 0);
            let in_header = offset % PAGE < 400 || offset % PAGE >= PAGE - 4;
            if !is_used || !in_header && offset % 5 != 0 {
                continue;
            }
            let damaged = MemoryDisk::from_image(SEGMENT_BYTES, image.clone());
            damaged.flip(slot, offset as u64, (offset % 8) as u8);
            let opened = open(&damaged);
            check(
                &opened,
                &appended,
                &places,
                &format!("slot {slot}, byte {offset}"),
            );
            // One flipped bit takes one record at most, and the neighbours name it or its kind.
            assert!(
                opened.shown.len() + 1 >= appended.len(),
                "slot {slot}, byte {offset}: {:?}",
                opened.report.damage
            );
            match (
                opened.shown.len() == appended.len(),
                opened.report.damage.is_empty(),
            ) {
                (true, true) => harmless += 1,
                (true, false) => without_loss += 1,
                (false, _) => with_loss += 1,
            }
        }
    }
    tell("one byte flipped", harmless + without_loss + with_loss);
    assert!(
        harmless > 100 && without_loss > 1_000 && with_loss > 1_000,
        "{harmless} {without_loss} {with_loss}"
    );
}

#[test]
fn every_sector_and_page_wiped() {
    let (disk, appended) = sample();
    let places = places(&disk, &appended);
    let image = disk.image();
    for wiped in [512, PAGE] {
        for (&slot, bytes) in &image {
            for offset in (0..bytes.len()).step_by(wiped) {
                for byte in [0, 0xFF] {
                    let damaged = MemoryDisk::from_image(SEGMENT_BYTES, image.clone());
                    damaged.edit(slot, |bytes| bytes[offset..offset + wiped].fill(byte));
                    check(
                        &open(&damaged),
                        &appended,
                        &places,
                        &format!("slot {slot}, {wiped} at {offset}"),
                    );
                }
            }
        }
    }
}

#[test]
fn every_page_unreadable() {
    let (disk, appended) = sample();
    let places = places(&disk, &appended);
    for slot in 0..disk.image().len() as u32 {
        for offset in (0..SEGMENT_BYTES).step_by(PAGE) {
            disk.fail_reads(slot, offset, 512);
            let copy = MemoryDisk::from_image(SEGMENT_BYTES, disk.image());
            copy.fail_reads(slot, offset, 512);
            check(
                &open(&copy),
                &appended,
                &places,
                &format!("slot {slot}, page at {offset}"),
            );
        }
    }
}

#[test]
fn every_pair_of_pages_exchanged() {
    let (disk, appended) = sample();
    let places = places(&disk, &appended);
    let image = disk.image();
    let pages: Vec<(u32, usize)> = image
        .keys()
        .flat_map(|&slot| (0..SEGMENT_BYTES as usize / PAGE).map(move |nth| (slot, nth * PAGE)))
        .collect();
    // The only witness of the last record: with it gone as well, nobody can tell that record from a torn write.
    let (slot, offset) = places[appended.keys().next_back().expect("records were appended")];
    let witness = (slot, offset as usize / PAGE * PAGE + PAGE);
    let pages: Vec<_> = pages.into_iter().filter(|&page| page != witness).collect();
    for (nth, &one) in pages.iter().enumerate() {
        for &other in &pages[nth + 1..] {
            let damaged = MemoryDisk::from_image(SEGMENT_BYTES, image.clone());
            let page = |(slot, at): (u32, usize)| image[&slot][at..at + PAGE].to_vec();
            let exchanged = |(slot, at): (u32, usize), page: Vec<u8>| {
                damaged.edit(slot, |bytes| bytes[at..at + PAGE].copy_from_slice(&page));
            };
            exchanged(one, page(other));
            exchanged(other, page(one));
            // A newer header under an older file's name may outrank the rest: then the log refuses, typed.
            if let Ok(opened) = try_open(damaged.device(), options()) {
                check(
                    &opened,
                    &appended,
                    &places,
                    &format!("{one:?} and {other:?}"),
                );
            }
        }
    }
}

#[test]
fn every_file_missing_or_under_another_name() {
    let (disk, appended) = sample();
    let places = places(&disk, &appended);
    let image = disk.image();
    for &slot in image.keys() {
        let mut fewer = image.clone();
        fewer.remove(&slot);
        let opened = open(&MemoryDisk::from_image(SEGMENT_BYTES, fewer));
        let lost_tail = slot == *image.keys().next_back().expect("there are files");
        if opened.report.damage.is_empty() {
            assert!(
                lost_tail || opened.shown.len() == appended.len(),
                "the last file leaves no gap"
            );
        } else {
            let is_missing = |damage: &Damage| {
                matches!(
                    damage.kind,
                    DamageKind::FileMissing | DamageKind::SegmentMissing
                )
            };
            assert!(
                opened.report.damage.iter().any(is_missing),
                "{:?}",
                opened.report
            );
        }
        for &other in image.keys().filter(|&&other| other > slot) {
            let mut exchanged = image.clone();
            exchanged.insert(slot, image[&other].clone());
            exchanged.insert(other, image[&slot].clone());
            let opened = open(&MemoryDisk::from_image(SEGMENT_BYTES, exchanged));
            assert_eq!(
                opened.shown.len(),
                appended.len(),
                "blocks know their segment, whatever the file's name"
            );
        }
    }
    check(&open(&disk), &appended, &places, "untouched");
}

#[test]
fn writes_that_are_lost_or_go_astray() {
    for nth in 0..12 {
        for fault in [
            Fault::Lost,
            Fault::Misdirected(4096),
            Fault::Misdirected(8192),
        ] {
            let disk = MemoryDisk::new(SEGMENT_BYTES, 5);
            let mut appended = BTreeMap::new();
            let mut opened = open(&disk);
            disk.fault_write(nth, fault);
            for index in 1..=14 {
                let made = Made::entry(1, index, 1, 500);
                appended.insert(put(&mut opened.wal, &made).0, made);
                settle(&mut opened.wal);
            }
            drop(opened);
            let opened = open(&disk);
            let context = format!("write {nth}, {fault:?}");
            for (lsn, made) in &opened.shown {
                assert_eq!(appended.get(&lsn.0), Some(made), "{context}");
            }
            let missing = appended.len() - opened.shown.len();
            let overwritten = matches!(fault, Fault::Misdirected(_));
            assert!(
                missing <= if overwritten { 3 } else { 1 },
                "{context}: {missing} missing"
            );
            assert!(
                missing == 0 || !opened.report.damage.is_empty(),
                "{context}: said to be durable, and gone"
            );
        }
    }
}

/// A write that was durable is gone: slot, offset and bytes, and what is found there; it went to the place of another one.
fn stray(disk: &MemoryDisk, hit: (u32, u64, u64), before: &[u8], over: Option<(u32, u64, u64)>) {
    let at = |(_, offset, bytes): (u32, u64, u64)| offset as usize..(offset + bytes) as usize;
    let mut moved = Vec::new();
    disk.edit(hit.0, |all| {
        moved.extend_from_slice(&all[at(hit)]);
        all[at(hit)].copy_from_slice(before);
    });
    if let Some(over) = over {
        let count = moved.len().min(at(over).len());
        let into = at(over).start;
        disk.edit(over.0, |all| {
            all[into..into + count].copy_from_slice(&moved[..count])
        });
    }
}

#[test]
fn every_settled_write_astray_over_every_other() {
    let (disk, appended) = sample();
    let places = places(&disk, &appended);
    let image = disk.image();
    let settled = (0..256).filter_map(|roll| disk.settled_write(roll));
    let settled: BTreeSet<_> = settled.collect();
    let mut cases = 0;
    for &hit in &settled {
        for &over in settled.iter().filter(|&&over| over != hit) {
            let damaged = MemoryDisk::from_image(SEGMENT_BYTES, image.clone());
            stray(&damaged, hit, &disk.before(hit.0, hit.1, hit.2), Some(over));
            let context = format!("{hit:?} over {over:?}");
            check(&open(&damaged), &appended, &places, &context);
            cases += 1;
        }
    }
    tell("a settled write astray", cases);
    assert!(cases > 100, "{cases}");
}

#[test]
fn a_settled_write_is_missed_though_the_front_was_given_up() {
    let mut found = Found::default();
    for count in [6, 8, 11, 16, 18, 21, 26] {
        let disk = MemoryDisk::new(SEGMENT_BYTES, 5);
        let mut opened = open(&disk);
        for index in 1..=count {
            put(&mut opened.wal, &Made::entry(1, index, 1, 500));
            settle(&mut opened.wal);
        }
        // The segment that is written to is the first one then, if it holds all that is kept.
        let given_up = count - count % 5;
        opened.wal.release(1, given_up);
        // Neither of the last two was durable when the other was begun: they vouch for what came before, no more.
        for index in count + 1..=count + 2 {
            put(&mut opened.wal, &Made::entry(1, index, 1, 500));
            opened.wal.submit(1);
        }
        settle(&mut opened.wal);
        drop(opened);
        check_settled(&disk, given_up, &format!("{count} entries"), &mut found);
    }
    tell("a settled write wiped", found.cases);
    assert!(
        found.with_first_write > 20 && found.cases > 100,
        "{found:?}"
    );
}

/// Every file was used several times, some by lives that were cut short: what is found where a write is missing passes every
/// check of the place that it was written for.
#[test]
fn a_settled_write_is_missed_where_an_older_one_lies() {
    let mut found = Found::default();
    for (count, kept, lives) in [(47, 5, 1), (64, 7, 1), (71, 11, 2), (88, 9, 3), (93, 13, 4)] {
        let disk = MemoryDisk::new(SEGMENT_BYTES, 5);
        let mut index = 0;
        for life in 1..=lives {
            let mut opened = open(&disk);
            for _ in 0..count / lives {
                index += 1;
                put(&mut opened.wal, &Made::entry(1, index, 1, 500));
                settle(&mut opened.wal);
                opened.wal.release(1, index.saturating_sub(kept));
            }
            if life < lives {
                // Of what is in flight the first is torn: the next life writes over what is left of the second.
                put(&mut opened.wal, &Made::entry(1, index + 1, 1, 500));
                opened.wal.submit(1);
                put(&mut opened.wal, &Made::entry(1, index + 2, 1, 500));
                opened.wal.submit(1);
                drop(opened);
                disk.crash(Crash::TornFront(0, 1));
                continue;
            }
            for _ in 0..2 {
                index += 1;
                put(&mut opened.wal, &Made::entry(1, index, 1, 500));
                opened.wal.submit(1);
            }
            settle(&mut opened.wal);
        }
        let given_up = index - 2 - kept;
        let what = format!("{count} entries, {lives} lives");
        check_settled(&disk, given_up, &what, &mut found);
    }
    tell("a settled write under an older one", found.cases);
    assert!(
        found.with_first_write > 20 && found.with_older > 1_000,
        "{found:?}"
    );
}

#[derive(Debug, Default)]
struct Found {
    cases: u64,
    with_first_write: u64,
    /// Where the write was, an older one is found.
    with_older: u64,
}

/// Every settled write lost or astray over every other, what was there before in its place: every entry behind `given_up` that
/// is not shown is named.
fn check_settled(disk: &MemoryDisk, given_up: u64, what: &str, count: &mut Found) {
    let whole = open(&MemoryDisk::from_image(SEGMENT_BYTES, disk.image()));
    let all: BTreeMap<u64, Made> = whole
        .shown
        .into_iter()
        .map(|(lsn, made)| (lsn.0, made))
        .collect();
    let places = places(disk, &all);
    let settled = (0..256).filter_map(|roll| disk.settled_write(roll));
    let settled: BTreeSet<_> = settled.collect();
    for &hit in &settled {
        let before = disk.before(hit.0, hit.1, hit.2);
        let wiped = std::iter::once(None);
        for over in wiped.chain(settled.iter().copied().map(Some)) {
            if over == Some(hit) {
                continue;
            }
            let damaged = MemoryDisk::from_image(SEGMENT_BYTES, disk.image());
            stray(&damaged, hit, &before, over);
            let context = format!("{what}, {hit:?} over {over:?}");
            let opened = open(&damaged);
            let shown: BTreeMap<u64, &Made> = opened
                .shown
                .iter()
                .map(|(lsn, made)| (lsn.0, made))
                .collect();
            for (lsn, made) in &shown {
                // What was given up may be shown again, as it was.
                let is_known = all.get(lsn).is_none_or(|known| known == *made);
                assert!(
                    is_known && (all.contains_key(lsn) || made.index <= given_up),
                    "{context}: nothing is made up"
                );
            }
            let is_missing =
                |lsn: u64, made: &Made| made.index > given_up && !shown.contains_key(&lsn);
            for (lsn, made) in all.iter().filter(|(lsn, made)| is_missing(**lsn, made)) {
                let found = &opened.report.damage;
                let named = found.iter().any(|damage| names(damage, made, places[lsn]));
                let report = &opened.report;
                assert!(
                    named && !opened.lost.is_empty(),
                    "{context}: {} is gone: {report:?}",
                    made.index
                );
            }
            count.cases += 1;
            count.with_first_write += u64::from(hit.1 == 0);
            count.with_older += u64::from(before.iter().any(|&byte| byte != 0));
        }
    }
}

#[test]
fn a_write_forgotten_by_a_file_that_was_used_before_is_missed() {
    let mut reused = 0;
    for nth in 0..60 {
        let disk = MemoryDisk::new(SEGMENT_BYTES, 5);
        let mut opened = open(&disk);
        let mut appended = BTreeMap::new();
        disk.fault_write(nth, Fault::Lost);
        let mut index = 0;
        // What follows the lost write vouches for it: the first of them was begun when it was called durable.
        while disk.writes_begun() < nth + 4 {
            index += 1;
            let made = Made::entry(1, index, 1, 500);
            appended.insert(put(&mut opened.wal, &made).0, made);
            settle(&mut opened.wal);
            opened.wal.release(1, index.saturating_sub(6));
        }
        drop(opened);
        reused += u64::from(disk.image().len() < nth as usize / 5);
        let opened = open(&disk);
        for (lsn, made) in &opened.shown {
            assert_eq!(
                appended.get(&lsn.0),
                Some(made),
                "write {nth}: nothing is made up"
            );
        }
        let is_shown = |lsn: u64| opened.shown.iter().any(|(shown, _)| shown.0 == lsn);
        let missing = appended
            .iter()
            .filter(|(lsn, made)| made.index + 4 > index && !is_shown(**lsn));
        let missing: Vec<u64> = missing.map(|(_, made)| made.index).collect();
        assert!(
            missing.is_empty() || !opened.report.damage.is_empty() && !opened.lost.is_empty(),
            "write {nth}: {missing:?} of {index} are gone: {:?}",
            opened.report
        );
    }
    assert!(reused > 20, "{reused}");
}

#[test]
fn a_damaged_payload_is_named_and_never_read() {
    let (disk, appended) = sample();
    let places = places(&disk, &appended);
    let entries = appended.iter().filter(|(_, made)| made.kind == Kind::Entry);
    for (lsn, made) in entries {
        let damaged = MemoryDisk::from_image(SEGMENT_BYTES, disk.image());
        let (slot, offset) = places[lsn];
        damaged.flip(slot, offset + 5, 3);
        let mut opened = open(&damaged);
        let damage: Vec<_> = opened
            .report
            .damage
            .iter()
            .map(|damage| (damage.kind, damage.group, damage.first))
            .collect();
        assert_eq!(
            damage,
            [(DamageKind::Payload, Some(made.group), Some(made.index))]
        );
        opened
            .wal
            .read(made.group, made.index, made.index, 1, 1)
            .expect("its place is known");
        settle(&mut opened.wal);
        let answer = opened.wal.next_read();
        assert_eq!(
            answer,
            Some((
                1,
                Err(ReadError::Damaged {
                    group: made.group,
                    index: made.index
                })
            ))
        );
        assert!(
            opened
                .wal
                .entries(9)
                .is_some_and(|(first, count)| (first, count) == (1, 34)),
            "its neighbours stay"
        );
    }
}

#[test]
fn rot_under_a_running_log_is_found_by_the_read() {
    let (disk, appended) = sample();
    let places = places(&disk, &appended);
    let mut opened = open(&disk);
    let (lsn, made) = appended
        .iter()
        .find(|(_, made)| made.kind == Kind::Entry && made.index == 5)
        .expect("it is there");
    let (slot, offset) = places[lsn];
    disk.flip(slot, offset, 1);
    opened
        .wal
        .read(9, 3, 8, u64::MAX, 1)
        .expect("there is room");
    settle(&mut opened.wal);
    let (_, answer) = opened.wal.next_read().expect("answered");
    assert_eq!(
        answer.expect("two entries are sound").len(),
        2,
        "the answer ends before the damaged entry"
    );
    opened
        .wal
        .read(9, 5, 8, u64::MAX, 2)
        .expect("there is room");
    settle(&mut opened.wal);
    assert_eq!(
        opened.wal.next_read(),
        Some((
            2,
            Err(ReadError::Damaged {
                group: 9,
                index: made.index
            })
        ))
    );
}

#[test]
fn foreign_and_newer_logs_are_refused() {
    let (disk, _) = sample();
    let other = Identity {
        node: 8,
        ..identity()
    };
    let error = try_open(
        disk.device(),
        Options {
            identity: other,
            ..options()
        },
    )
    .err();
    assert_eq!(
        error,
        Some(WalError::WrongIdentity {
            found: identity(),
            expected: other
        })
    );
    disk.edit(0, |bytes| {
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    });
    let error = try_open(disk.device(), options()).err();
    assert_eq!(
        error,
        Some(WalError::NewerFormat {
            slot: 0,
            found: 2,
            supported: 1
        })
    );
    let garbage = MemoryDisk::from_image(
        SEGMENT_BYTES,
        BTreeMap::from([(0, vec![0xA5; SEGMENT_BYTES as usize])]),
    );
    assert_eq!(
        try_open(garbage.device(), options()).err(),
        Some(WalError::Unreadable { slot: 0 })
    );
}

#[test]
fn a_failed_write_ends_the_log() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 5);
    let mut opened = open(&disk);
    put(&mut opened.wal, &Made::entry(1, 1, 1, 100));
    settle(&mut opened.wal);
    disk.fault_write(0, Fault::Eio);
    for index in 2..=3 {
        put(&mut opened.wal, &Made::entry(1, index, 1, 100));
        opened.wal.submit(1);
    }
    let progress = opened.wal.poll(1);
    assert!(progress.failed.is_some());
    assert_eq!(
        progress.durable.0, 1,
        "a later write that succeeded does not count"
    );
    assert!(
        opened
            .wal
            .append(&Made::entry(1, 4, 1, 1).record())
            .is_err()
    );
    assert_eq!(opened.wal.submit(2), 0);
    disk.crash(Crash::Nothing);
    let opened = open(&disk);
    let indexes: Vec<u64> = opened.shown.iter().map(|(_, made)| made.index).collect();
    assert!(
        indexes.starts_with(&[1]),
        "what was acknowledged is there: {indexes:?}"
    );
    assert_eq!(opened.report.damage, [], "nobody was told otherwise");
}

#[test]
fn a_write_refused_by_a_full_disk_is_written_again() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 5);
    let mut opened = open(&disk);
    disk.fault_write(0, Fault::Enospc);
    disk.fault_write(2, Fault::Enospc);
    put(&mut opened.wal, &Made::entry(1, 1, 1, 100));
    opened.wal.submit(0);
    assert!(opened.wal.poll(0).storage_full);
    let refused = opened.wal.append(&Made::entry(1, 2, 1, 1).record());
    assert_eq!(refused, Err(wal::AppendError::StorageFull));
    let mut now_ns = 0;
    while opened.wal.durable().0 < 1 {
        now_ns += 5_000_000;
        opened.wal.submit(now_ns);
        assert_eq!(opened.wal.poll(now_ns).failed, None);
    }
    put(&mut opened.wal, &Made::entry(1, 2, 1, 1));
    settle(&mut opened.wal);
    assert!(opened.wal.stats().refused_writes >= 1);
    assert_eq!(open(&disk).shown.len(), 2);
}

#[test]
fn a_log_grows_again_when_the_disk_has_space_again() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 5);
    let mut opened = open(&disk);
    disk.set_full(true);
    let mut index = 1;
    let mut now_ns = 0;
    while opened.wal.append(&Made::entry(1, index, 1, 500).record())
        != Err(wal::AppendError::StorageFull)
    {
        index += 1;
        now_ns += 1_000_000;
        opened.wal.submit(now_ns);
        opened.wal.poll(now_ns);
    }
    drop(opened);
    let mut opened = open(&disk);
    disk.set_full(false);
    put(&mut opened.wal, &Made::entry(2, 1, 1, 500));
    settle(&mut opened.wal);
    assert_eq!(opened.report.damage, []);
}

//! What a group holds, appended again to empty an old segment: the old entries or the new ones after any crash, and a
//! full log that goes on.

use std::collections::BTreeMap;

use wal::device::memory::{Crash, MemoryDevice, MemoryDisk};
use wal::{AppendError, Record, Wal};

use crate::support::{Made, Opened, SEGMENT_BYTES, open, settle};

/// The group that finishes nothing, and the one that fills the log.
const STUCK: u64 = 1;
const BUSY: u64 = 2;

fn held() -> Vec<Made> {
    (1..=5)
        .map(|index| Made::entry(STUCK, index, 3, 700))
        .collect()
}

/// Entries of the group as whoever reads the log front to back knows them.
fn known(opened: &Opened<MemoryDevice>) -> Vec<Made> {
    let mut known: BTreeMap<u64, Made> = BTreeMap::new();
    for (_, made) in opened.shown.iter().filter(|(_, made)| made.group == STUCK) {
        known.split_off(&made.index);
        known.insert(made.index, made.clone());
    }
    known.into_values().collect()
}

/// Appends entries of the busy group from this index on until the log refuses; returns the index refused.
fn fill(wal: &mut Wal<MemoryDevice>, mut index: u64) -> u64 {
    loop {
        match wal.append(&Made::entry(BUSY, index, 3, 5_000).record()) {
            Ok(_) => index += 1,
            Err(AppendError::Busy) => settle(wal),
            Err(AppendError::StorageFull) => return index,
            Err(error) => panic!("{error}"),
        }
        settle(wal);
    }
}

fn again(wal: &mut Wal<MemoryDevice>) -> Result<wal::Lsn, AppendError> {
    let entries = held();
    let records: Vec<Record<'_>> = entries.iter().map(Made::record).collect();
    wal.append_again(&records)
}

/// A log that one group filled while another one's entries lie at its beginning.
fn full() -> (MemoryDisk, Opened<MemoryDevice>, u64) {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 5);
    let mut opened = open(&disk);
    for made in held() {
        opened.wal.append(&made.record()).expect("an empty log");
    }
    let index = fill(&mut opened.wal, 1);
    (disk, opened, index)
}

#[test]
fn a_full_log_goes_on_when_what_holds_it_is_appended_again() {
    let (disk, mut opened, mut index) = full();
    let bytes = SEGMENT_BYTES * opened.wal.segments().1 as u64;
    let mut written = 0;
    for round in 0..40 {
        opened.wal.release(BUSY, index - 1);
        let before = index;
        if round % 2 == 1 {
            again(&mut opened.wal).expect("it relieves the log");
            settle(&mut opened.wal);
        }
        index = fill(&mut opened.wal, index);
        written += (index - before) * 5_000;
    }
    assert!(written > 5 * bytes, "{written} bytes in a log of {bytes}");
    drop(opened);
    let opened = open(&disk);
    assert_eq!(known(&opened), held());
    assert!(opened.report.damage.is_empty());
}

#[test]
fn a_crash_leaves_the_old_entries_or_the_new_ones() {
    let (disk, mut opened, index) = full();
    opened.wal.release(BUSY, index - 1);
    disk.hold(true);
    again(&mut opened.wal).expect("it relieves the log");
    while opened.wal.submit(9_000_000) > 0 {}
    let torn = (0..40).flat_map(|sectors| [Crash::Torn(0, sectors), Crash::TornFront(0, sectors)]);
    let rules = [Crash::Nothing, Crash::Everything].into_iter();
    for rule in rules.chain(torn).chain((0..200).map(Crash::Seeded)) {
        let crashed = disk.after_crash(rule);
        let mut opened = open(&crashed);
        assert_eq!(known(&opened), held(), "{rule:?}");
        assert!(opened.report.damage.is_empty(), "{rule:?}");
        // And once more, when the segments of the old ones are used again.
        again(&mut opened.wal).expect("it relieves the log");
        settle(&mut opened.wal);
        opened.wal.release(BUSY, index - 1);
        fill(&mut opened.wal, index);
        drop(opened);
        assert_eq!(known(&open(&crashed)), held(), "{rule:?}");
    }
}

#[test]
fn what_does_not_fit_one_block_is_refused_and_stays() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 5);
    let mut opened = open(&disk);
    let entries: Vec<Made> = (1..=3)
        .map(|index| Made::entry(STUCK, index, 3, 9_000))
        .collect();
    for made in &entries {
        opened.wal.append(&made.record()).expect("an empty log");
        settle(&mut opened.wal);
    }
    let records: Vec<Record<'_>> = entries.iter().map(Made::record).collect();
    let refused = opened.wal.append_again(&records);
    assert!(
        matches!(refused, Err(AppendError::TooLarge { .. })),
        "{refused:?}"
    );
    assert_eq!(known(&open(&disk)), entries);
}

//! Promises that hold on every device alike: io_uring, plain threads and memory.

use wal::device::memory::MemoryDisk;
use wal::{AppendError, Kind, Lsn, ReadError};

use crate::support::{
    Disk, FileDisk, Made, SEGMENT_BYTES, UringDisk, open, options, put, settle, shown,
};

macro_rules! on_every_device {
    ($($name:ident)*) => {$(
        mod $name {
            use super::*;
            #[test]
            fn memory() { super::$name(&MemoryDisk::new(SEGMENT_BYTES, 1)); }
            #[test]
            fn threads() { super::$name(&FileDisk::new()); }
            #[test]
            fn uring() { if let Some(disk) = UringDisk::new() { super::$name(&disk); } }
        }
    )*};
}

on_every_device! {
    what_is_durable_is_found_again
    an_empty_log_opens_again_and_again
    largest_and_too_large_records
    records_arriving_during_a_write_leave_together
    segments_are_recycled_when_released
    superseded_entries_are_dead
    entries_are_read_back
    metadata_moves_out_of_old_segments
    a_group_may_begin_anew_further_on
    a_full_log_recovers_when_entries_are_released
}

fn what_is_durable_is_found_again(disk: &impl Disk) {
    let mut expected = Vec::new();
    let mut ends = [0; 3];
    for round in 0..4 {
        let mut opened = open(disk);
        assert_eq!(shown(&opened), expected, "round {round}");
        assert_eq!(opened.report.damage, []);
        assert_eq!(opened.report.cut, None);
        assert_eq!(opened.report.is_new, round == 0);
        assert_eq!(opened.wal.durable(), Lsn(expected.len() as u64));
        for nth in 0..30 {
            let made = match nth % 10 {
                9 => Made::meta(nth % 3, round, nth, 50),
                _ => {
                    let next = &mut ends[(nth % 3) as usize];
                    *next += 1;
                    Made::entry(nth % 3, *next, round, 1 + nth as usize * 17)
                }
            };
            let lsn = put(&mut opened.wal, &made);
            expected.push(made);
            assert_eq!(lsn, Lsn(expected.len() as u64));
            if nth % 7 == 0 {
                opened.wal.submit(5);
            }
        }
        settle(&mut opened.wal);
        assert_eq!(opened.wal.durable(), opened.wal.appended());
        let stats = opened.wal.stats();
        assert_eq!((stats.records, stats.syncs), (30, stats.writes));
    }
}

fn an_empty_log_opens_again_and_again(disk: &impl Disk) {
    for round in 0..40 {
        let opened = open(disk);
        assert_eq!(opened.report.incarnation, round + 1);
        assert_eq!(opened.report.damage, []);
        assert!(
            opened.wal.stats().segments_used <= 4,
            "openings cost 4 KiB each, not a segment"
        );
    }
}

fn largest_and_too_large_records(disk: &impl Disk) {
    let mut opened = open(disk);
    let most = options().payload_bytes_max();
    let mut largest = Made::entry(1, 1, 1, most);
    largest.head = vec![9; wal::HEAD_BYTES_MAX];
    put(&mut opened.wal, &largest);
    let too_large = Made::entry(1, 2, 1, options().block_bytes_max);
    let error = opened.wal.append(&too_large.record());
    assert!(
        matches!(error, Err(AppendError::TooLarge { .. })),
        "{error:?}"
    );
    let mut long_head = Made::entry(1, 2, 1, 1);
    long_head.head = vec![0; wal::HEAD_BYTES_MAX + 1];
    let error = opened.wal.append(&long_head.record());
    assert_eq!(
        error,
        Err(AppendError::TooLarge {
            bytes: 257,
            most: 256
        })
    );
    let error = opened
        .wal
        .append(&Made::meta(1, 2, 1, wal::META_BYTES_MAX + 1).record());
    assert!(
        matches!(error, Err(AppendError::TooLarge { .. })),
        "{error:?}"
    );
    settle(&mut opened.wal);
    drop(opened);
    assert_eq!(shown(&open(disk)), [largest]);
}

fn records_arriving_during_a_write_leave_together(disk: &impl Disk) {
    let mut opened = open(disk);
    for index in 1..=4 {
        put(&mut opened.wal, &Made::entry(1, index, 1, 10));
        assert_eq!(opened.wal.submit(1), 1);
    }
    for index in 5..=24 {
        put(&mut opened.wal, &Made::entry(1, index, 1, 10));
    }
    settle(&mut opened.wal);
    assert_eq!(
        opened.wal.stats().writes,
        5,
        "twenty records shared one write"
    );
    let mut latencies = 0;
    opened.wal.take_write_latencies(&mut |_| latencies += 1);
    assert_eq!(latencies, 5);
    assert_eq!(opened.wal.durable(), Lsn(24));
}

fn segments_are_recycled_when_released(disk: &impl Disk) {
    let mut opened = open(disk);
    for index in 1..=400 {
        put(&mut opened.wal, &Made::entry(1, index, 1, 2_000));
        put(&mut opened.wal, &Made::entry(2, index, 1, 500));
        if index > 20 {
            opened.wal.release(1, index - 20);
            opened.wal.release(2, index - 20);
        }
        opened.wal.submit(1);
        opened.wal.poll(1);
    }
    settle(&mut opened.wal);
    let stats = opened.wal.stats();
    assert!(stats.segments_recycled > 10, "{stats:?}");
    assert!(stats.segments_created <= 13, "{stats:?}");
    drop(opened);
    let mut opened = open(disk);
    assert_eq!(opened.report.damage, []);
    for group in 1..=2 {
        let indexes: Vec<u64> = opened
            .shown
            .iter()
            .filter(|(_, made)| made.group == group)
            .map(|(_, made)| made.index)
            .collect();
        let first = indexes[0];
        assert!(first <= 381, "what was not released is there");
        assert!(
            indexes.into_iter().eq(first..=400),
            "nothing is missing between"
        );
        assert_eq!(opened.wal.entries(group), Some((first, 401 - first)));
    }
    put(&mut opened.wal, &Made::entry(1, 401, 1, 100));
    settle(&mut opened.wal);
}

fn superseded_entries_are_dead(disk: &impl Disk) {
    let mut opened = open(disk);
    for index in 1..=10 {
        put(&mut opened.wal, &Made::entry(1, index, 1, 100));
    }
    put(&mut opened.wal, &Made::entry(1, 4, 2, 100));
    settle(&mut opened.wal);
    assert_eq!(opened.wal.entries(1), Some((1, 4)));
    let bytes = opened.wal.group_bytes(1);
    drop(opened);
    let opened = open(disk);
    assert_eq!(
        opened.wal.entries(1),
        Some((1, 4)),
        "the order on disk says so too"
    );
    assert_eq!(opened.wal.group_bytes(1), bytes);
    assert_eq!(
        opened.shown.len(),
        11,
        "the visitor sees the log as it was written"
    );
}

fn entries_are_read_back(disk: &impl Disk) {
    let mut opened = open(disk);
    let wal = &mut opened.wal;
    for index in 1..=200 {
        put(wal, &Made::entry(1, index, 1, 300));
        put(wal, &Made::entry(2, index, 1, 40));
    }
    settle(wal);
    put(wal, &Made::entry(1, 150, 9, 77));
    settle(wal);
    wal.read(1, 10, 19, u64::MAX, 5).expect("there is room");
    wal.read(1, 149, 1_000, u64::MAX, 6).expect("there is room");
    wal.read(2, 1, 200, 400, 7).expect("there is room");
    settle(wal);
    let mut answers = Vec::new();
    while let Some((token, answer)) = wal.next_read() {
        let records = answer.expect("the disk is sound");
        let made = records.iter().map(|record| Made {
            group: record.group,
            index: record.index,
            term: record.term,
            kind: record.kind,
            head: record.head.to_vec(),
            payload: record.payload.to_vec(),
        });
        answers.push((token, made.collect::<Vec<_>>()));
    }
    answers.sort_by_key(|(token, _)| *token);
    let whole = |first: u64, last| {
        (first..=last)
            .map(|index| Made::entry(1, index, 1, 300))
            .collect::<Vec<_>>()
    };
    assert_eq!(answers[0], (5, whole(10, 19)));
    assert_eq!(
        answers[1],
        (
            6,
            vec![Made::entry(1, 149, 1, 300), Made::entry(1, 150, 9, 77)]
        )
    );
    assert_eq!(
        answers[2].1,
        (1..=10)
            .map(|index| Made::entry(2, index, 1, 40))
            .collect::<Vec<_>>()
    );
    assert_eq!(
        wal.read(3, 1, 1, 1, 1),
        Err(ReadError::Unknown { group: 3 })
    );
    assert_eq!(
        wal.read(1, 151, 160, 1, 1),
        Err(ReadError::OutOfRange { first: 1, end: 151 })
    );
    put(wal, &Made::entry(2, 201, 1, 40));
    wal.read(2, 201, 201, 1, 8).expect("there is room");
    settle(wal);
    let (_, answer) = wal.next_read().expect("answered");
    // Reads are begun by the same submit that begins the write: the entry cannot be durable by then.
    assert_eq!(answer, Err(ReadError::NotDurable));
    for token in 0..options().reads_queued_max as u64 {
        wal.read(1, 1, 1, 1, token).expect("there is room");
    }
    assert_eq!(wal.read(1, 1, 1, 1, 99), Err(ReadError::Busy));
}

fn metadata_moves_out_of_old_segments(disk: &impl Disk) {
    let mut opened = open(disk);
    for group in 1..=20 {
        put(&mut opened.wal, &Made::meta(group, 1, group, 60));
    }
    for index in 1..=300 {
        put(&mut opened.wal, &Made::entry(99, index, 1, 2_000));
        opened.wal.release(99, index.saturating_sub(5));
        opened.wal.submit(1);
        opened.wal.poll(1);
    }
    settle(&mut opened.wal);
    let stats = opened.wal.stats();
    assert!(stats.relocations >= 20, "{stats:?}");
    assert!(stats.segments_recycled > 3, "{stats:?}");
    drop(opened);
    let opened = open(disk);
    for group in 1..=20 {
        let newest = opened
            .shown
            .iter()
            .rev()
            .find(|(_, made)| made.group == group && made.kind == Kind::Meta);
        assert_eq!(
            newest.map(|(_, made)| made),
            Some(&Made::meta(group, 1, group, 60))
        );
    }
}

fn a_group_may_begin_anew_further_on(disk: &impl Disk) {
    let mut opened = open(disk);
    for index in 1..=5 {
        put(&mut opened.wal, &Made::entry(1, index, 1, 10));
    }
    for index in 1_000..=1_003 {
        put(&mut opened.wal, &Made::entry(1, index, 2, 10));
    }
    settle(&mut opened.wal);
    assert_eq!(opened.wal.entries(1), Some((1_000, 4)));
    drop(opened);
    let opened = open(disk);
    assert_eq!(opened.report.damage, [], "a jump on purpose is no damage");
    assert_eq!(opened.wal.entries(1), Some((1_000, 4)));
}

fn a_full_log_recovers_when_entries_are_released(disk: &impl Disk) {
    let mut opened = open(disk);
    put(&mut opened.wal, &Made::meta(2, 1, 1, 60));
    let mut index = 0;
    let mut now_ns = 0;
    loop {
        now_ns += 1_000_000_000;
        match opened
            .wal
            .append(&Made::entry(1, index + 1, 1, 3_000).record())
        {
            Ok(_) => index += 1,
            Err(AppendError::StorageFull) => break,
            Err(AppendError::Busy) => std::thread::yield_now(),
            Err(error) => panic!("{error:?}"),
        }
        opened.wal.submit(now_ns);
        opened.wal.poll(now_ns);
    }
    settle(&mut opened.wal);
    assert_eq!(
        opened
            .wal
            .append(&Made::entry(1, index + 1, 1, 3_000).record()),
        Err(AppendError::StorageFull)
    );
    let mut holding = Vec::new();
    opened
        .wal
        .holding(&mut |group, first| holding.push((group, first)));
    assert_eq!(holding, [(1, 1)]);
    opened.wal.release(1, index - 3);
    for next in index + 1..=index + 60 {
        put(&mut opened.wal, &Made::entry(1, next, 1, 3_000));
        opened.wal.release(1, next - 3);
    }
    settle(&mut opened.wal);
    drop(opened);
    let opened = open(disk);
    assert_eq!(opened.report.damage, []);
    let (first, count) = opened.wal.entries(1).expect("entries are there");
    assert_eq!(first + count, index + 61);
    assert!(
        opened
            .shown
            .iter()
            .any(|(_, made)| *made == Made::meta(2, 1, 1, 60)),
        "metadata survived"
    );
}

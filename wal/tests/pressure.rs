//! A slow disk is answered with "busy", a full one with "storage full"; nothing grows meanwhile.

use wal::device::memory::MemoryDisk;
use wal::{AppendError, Lsn, Options, Record, Wal};

use crate::support::{Made, SEGMENT_BYTES, identity, open, options, put, settle};

#[test]
fn a_slow_disk_is_answered_busy_and_no_memory_grows() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
    let mut opened = open(&disk);
    disk.hold(true);
    let mut accepted = 0;
    while opened
        .wal
        .append(&Made::entry(1, accepted + 1, 1, 1_000).record())
        .is_ok()
    {
        accepted += 1;
        opened.wal.submit(1);
    }
    let stats = opened.wal.stats();
    let room = options().blocks * options().block_bytes_max;
    assert!(
        stats.record_bytes <= room as u64,
        "what waits fits the blocks: {stats:?}"
    );
    assert_eq!(stats.writes_in_flight, options().writes_in_flight_max);
    for _ in 0..1_000 {
        let refused = opened
            .wal
            .append(&Made::entry(1, accepted + 1, 1, 1_000).record());
        assert_eq!(refused, Err(AppendError::Busy));
        opened.wal.submit(2);
    }
    assert_eq!(opened.wal.stats().busy, stats.busy + 1_000);
    assert_eq!(
        opened.wal.appended(),
        Lsn(accepted),
        "nothing refused was appended"
    );
    disk.hold(false);
    put(&mut opened.wal, &Made::entry(1, accepted + 1, 1, 1_000));
    settle(&mut opened.wal);
    assert_eq!(opened.wal.durable(), Lsn(accepted + 1));
}

#[test]
fn the_index_of_a_group_that_is_never_released_is_bounded_by_the_log() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
    let mut opened = open(&disk);
    let mut index = 1;
    let mut now_ns = 0;
    loop {
        now_ns += 1_000_000_000;
        match opened.wal.append(&Made::entry(1, index, 1, 0).record()) {
            Ok(_) => index += 1,
            Err(AppendError::StorageFull) => break,
            Err(AppendError::Busy) => {}
            Err(error) => panic!("{error:?}"),
        }
        opened.wal.submit(now_ns);
        opened.wal.poll(now_ns);
    }
    settle(&mut opened.wal);
    let (_, entries) = opened.wal.entries(1).expect("they are held");
    let log = u64::from(options().segments_max) * SEGMENT_BYTES;
    assert_eq!(entries, index - 1);
    assert!(entries * 40 <= log, "no entry is smaller than its header");
}

#[test]
fn blocks_of_many_records_stay_small_and_one_large_record_has_its_own() {
    let disk = MemoryDisk::new(8 << 20, 1);
    let (mut wal, _) = Wal::open(disk.device(), Options::new(identity()), 1, &mut |_| {})
        .expect("an empty disk opens");
    disk.hold(true);
    let mut writes = Vec::new();
    let mut put = |wal: &mut Wal<_>, entries: &[Made]| {
        let before = wal.stats();
        for entry in entries {
            wal.append(&entry.record()).expect("there is room");
        }
        wal.submit(1);
        let after = wal.stats();
        writes.push((
            after.writes - before.writes,
            after.written_bytes - before.written_bytes,
        ));
        disk.hold(false);
        settle(wal);
        disk.hold(true);
    };
    let entries: Vec<Made> = (1..=48)
        .map(|index| Made::entry(1, index, 1, 16 << 10))
        .collect();
    put(&mut wal, &entries);
    put(&mut wal, &[Made::entry(2, 1, 1, 1 << 20)]);
    let before = wal.stats().writes;
    let records: Vec<Record<'_>> = entries.iter().map(Made::record).collect();
    wal.append_again(&records).expect("they fit one block");
    wal.submit(1);
    assert_eq!(wal.stats().writes, before + 1, "what is moved is one block");
    assert_eq!(writes[0].0, 2, "768 KiB of small records");
    assert_eq!(writes[1].0, 1, "1 MiB in one record");
    assert!(writes.iter().all(|&(_, bytes)| bytes > 512 << 10));
}

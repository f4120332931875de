//! The scrubber finds rot in a running log, names it, and keeps to its rate.

use wal::device::memory::MemoryDisk;
use wal::{DamageKind, Options};

use crate::support::{Made, Opened, SEGMENT_BYTES, options, put, settle, try_open};

const RATE: u64 = 1 << 20;

fn open(disk: &MemoryDisk) -> Opened<wal::device::memory::MemoryDevice> {
    let options = Options {
        scrub_bytes_per_second: RATE,
        ..options()
    };
    try_open(disk.device(), options).expect("the log opens")
}

fn filled(disk: &MemoryDisk) -> Opened<wal::device::memory::MemoryDevice> {
    let mut opened = open(disk);
    for index in 1..=120 {
        put(&mut opened.wal, &Made::entry(1, index, 1, 2_000));
    }
    settle(&mut opened.wal);
    opened
}

/// Lets so many seconds pass in small steps; returns what was found.
fn pass_time(
    opened: &mut Opened<wal::device::memory::MemoryDevice>,
    from: u64,
    seconds: u64,
) -> Vec<wal::Damage> {
    let mut found = Vec::new();
    for step in 0..seconds * 1_000 {
        let now_ns = (10 + from) * 1_000_000_000 + step * 1_000_000;
        opened.wal.submit(now_ns);
        opened.wal.poll(now_ns);
        found.extend(std::iter::from_fn(|| opened.wal.next_damage()));
    }
    found
}

#[test]
fn a_sound_log_is_scrubbed_at_the_rate_and_nothing_is_found() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
    let mut opened = filled(&disk);
    let before = opened.wal.stats().scrubbed_bytes;
    assert_eq!(pass_time(&mut opened, 0, 3), []);
    let stats = opened.wal.stats();
    assert!(stats.scrub_passes >= 3, "{stats:?}");
    let read = stats.scrubbed_bytes - before;
    assert!(
        read > RATE && read <= 3 * RATE + 64 * 1024,
        "three seconds of the rate, at most: {read}"
    );
}

#[test]
fn rot_is_named_on_the_next_pass() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
    let mut opened = filled(&disk);
    let wanted = Made::entry(1, 40, 1, 2_000);
    let image = disk.image();
    let place = image.iter().find_map(|(&slot, bytes)| {
        let found = bytes
            .windows(2_000)
            .position(|window| window == wanted.payload)?;
        Some((slot, found as u64))
    });
    let (slot, offset) = place.expect("it is on the disk");
    disk.flip(slot, offset + 1_000, 4);
    let found = pass_time(&mut opened, 0, 2);
    assert!(!found.is_empty());
    for damage in &found {
        assert_eq!((damage.kind, damage.group), (DamageKind::Payload, Some(1)));
        assert_eq!(
            (damage.first, damage.last, damage.slot),
            (Some(40), Some(40), Some(slot))
        );
    }
    disk.fail_reads(0, 8_192, 512);
    assert!(
        pass_time(&mut opened, 2, 2)
            .iter()
            .any(|damage| damage.kind == DamageKind::Block)
    );
}

#[test]
fn scrubbing_stays_out_of_the_way_of_recycling() {
    let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
    let mut opened = open(&disk);
    for index in 1..=600 {
        put(&mut opened.wal, &Made::entry(1, index, 1, 2_000));
        opened.wal.release(1, index.saturating_sub(10));
        let now_ns = index * 20_000_000;
        opened.wal.submit(now_ns);
        opened.wal.poll(now_ns);
        assert_eq!(opened.wal.next_damage(), None);
    }
    let stats = opened.wal.stats();
    assert!(
        stats.segments_recycled > 5 && stats.scrubbed_bytes > RATE,
        "{stats:?}"
    );
}

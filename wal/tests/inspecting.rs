//! A stopped folder is looked at without a byte being written, and shows what opening would show.

use std::fs;
use std::os::unix::fs::FileExt;

use wal::device::file::FileDevice;
use wal::inspect::{self, FileStatus, InspectError};
use wal::{DamageKind, DeviceError, WalError};

use crate::support::{Disk, FileDisk, Made, SEGMENT_BYTES, identity, open, put, settle, shown};

#[test]
fn a_stopped_log_is_shown_and_left_as_it_was() {
    let disk = FileDisk::new();
    let mut opened = open(&disk);
    let mut appended = Vec::new();
    for index in 1..=90 {
        appended.push(Made::entry(5, index, 1, 1_500));
        put(&mut opened.wal, &appended[index as usize - 1]);
    }
    settle(&mut opened.wal);
    opened.wal.witness();
    settle(&mut opened.wal);
    let folder = disk.0.path();
    assert_eq!(
        inspect::files(folder).err(),
        Some(InspectError::Device(DeviceError::Locked))
    );
    drop(opened);

    let before: Vec<_> = inspect::files(folder)
        .expect("it can be read")
        .into_iter()
        .map(|file| fs::read(file.path).expect("a file"))
        .collect();
    let mut found = Vec::new();
    let report = inspect::records(folder, &mut |recovered| {
        found.push((
            Made::of(&recovered.record),
            recovered.slot,
            recovered.offset,
        ));
    });
    assert_eq!(report.expect("it can be read").damage, []);
    assert!(found.iter().map(|(made, _, _)| made).eq(&appended));
    let files = inspect::files(folder).expect("it can be read");
    let after: Vec<_> = files
        .iter()
        .map(|file| fs::read(&file.path).expect("a file"))
        .collect();
    assert!(before == after, "not a byte was written");
    let used = files
        .iter()
        .filter(|file| matches!(file.status, FileStatus::Sound { .. }))
        .count();
    assert_eq!(used, 3, "{files:?}");
    let FileStatus::Sound {
        identity: found_identity,
        segment,
        ..
    } = files[0].status
    else {
        panic!("{files:?}")
    };
    assert_eq!(
        (found_identity, segment, files[0].bytes),
        (identity(), 1, SEGMENT_BYTES)
    );

    let (_, slot, offset) = found[40];
    let path = &files[slot as usize].path;
    let file = fs::File::options().write(true).open(path).expect("a file");
    file.write_all_at(&[0xFF; 8], offset + 100)
        .expect("written");
    let report = inspect::records(folder, &mut |_| {}).expect("damage is no error");
    let damage = report.damage[0];
    assert_eq!(
        (damage.kind, damage.slot, damage.offset),
        (DamageKind::Payload, Some(slot), offset)
    );
    assert_eq!((damage.group, damage.first), (Some(5), Some(41)));
    file.write_all_at(&[0xFF; 64], 0).expect("written");
    let files = inspect::files(folder).expect("it can be read");
    assert_eq!(files[slot as usize].status, FileStatus::Damaged);
}

#[test]
fn folders_that_hold_no_log_are_refused() {
    let disk = FileDisk::new();
    assert_eq!(
        inspect::records(disk.0.path(), &mut |_| {}).err(),
        Some(InspectError::NoHeader)
    );
    let missing = disk.0.path().join("missing");
    assert!(matches!(
        inspect::files(&missing),
        Err(InspectError::Device(DeviceError::Io { .. }))
    ));
    drop(open(&disk));
    let file = fs::File::options()
        .write(true)
        .open(disk.0.path().join("segment-00000000.log"))
        .expect("a file");
    let mut prefix = *b"QUORLOG\0\x09\0\0\0\0\0\0\0";
    let crc = crc32fast::hash(&prefix[..12]);
    prefix[12..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&prefix, 0).expect("written");
    let newer = WalError::NewerFormat {
        slot: 0,
        found: 9,
        supported: 1,
    };
    assert_eq!(
        inspect::records(disk.0.path(), &mut |_| {}).err(),
        Some(InspectError::Wal(newer))
    );
}

#[test]
fn one_process_at_a_time_and_one_size_of_file() {
    let disk = FileDisk::new();
    let opened = open(&disk);
    assert_eq!(disk.device().err(), Some(DeviceError::Locked));
    assert_eq!(shown(&opened), []);
    drop(opened);
    let error = FileDevice::open(disk.0.path(), 2 * SEGMENT_BYTES, 1, None).err();
    let expected = DeviceError::SegmentBytes {
        slot: 0,
        found: SEGMENT_BYTES,
        expected: 2 * SEGMENT_BYTES,
    };
    assert_eq!(error, Some(expected));
}

//! Arbitrary bytes are judged, never trusted: whatever a file holds, opening and inspecting do not panic.

use std::collections::BTreeMap;

use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::{collection, prop_assert};
use wal::Options;
use wal::device::memory::MemoryDisk;

use crate::support::{Made, identity, put, settle, try_open};

const SEGMENT_BYTES: u64 = 24 << 10;

fn options() -> Options {
    Options::small(identity(), 600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_judged(bytes in collection::vec(any::<u8>(), 0..9_000)) {
        wal::block::check(&bytes);
    }

    #[test]
    fn a_log_with_any_bytes_in_it_opens_or_is_refused(
        pieces in collection::vec((0..4u32, 0..SEGMENT_BYTES as usize, collection::vec(any::<u8>(), 1..200)), 1..6),
        entries in 1..30u64,
    ) {
        let disk = MemoryDisk::new(SEGMENT_BYTES, 1);
        let mut opened = try_open(disk.device(), options()).expect("a new log opens");
        let mut appended = BTreeMap::new();
        for index in 1..=entries {
            let made = Made::entry(1, index, 1, 300);
            appended.insert(put(&mut opened.wal, &made), made);
        }
        settle(&mut opened.wal);
        for (slot, offset, bytes) in pieces {
            disk.edit(slot, |all| {
                let end = (offset + bytes.len()).min(all.len());
                all[offset..end].copy_from_slice(&bytes[..end - offset]);
            });
        }
        if let Ok(opened) = try_open(disk.device(), options()) {
            for (lsn, made) in &opened.shown {
                prop_assert!(appended.get(lsn) == Some(made), "nothing is made up");
            }
        }
    }
}

//! Reopening after a crash: how fast a log of a gigabyte is read back, verified and shown.

use std::time::Instant;

use wal::device::uring::UringDevice;
use wal::{AppendError, Kind, Options, Record, Wal};

use crate::arguments::Arguments;
use crate::ours::{SEGMENT_BYTES, identity};

const LOG_BYTES: u64 = 1 << 30;
const GROUPS: u64 = 256;

/// Writes a log for each size of entry, then opens it again and again.
pub(crate) fn measure(arguments: &Arguments) {
    println!("| bytes | records | MB read | MB/s, median | worst |\n|---:|---:|---:|---:|---:|");
    for &bytes in &arguments.bytes {
        let folder = tempfile::TempDir::new_in(&arguments.folder).expect("a folder can be made");
        let open = || UringDevice::open(folder.path(), SEGMENT_BYTES, None).expect("a ring");
        let options = || Options {
            segments_max: 64,
            preallocate_segments: 18,
            ..Options::new(identity())
        };
        let (mut wal, _) = Wal::open(open(), options(), 1, &mut |_| {}).expect("the log opens");
        let payload = vec![7; bytes];
        let payload_crc = crc32fast::hash(&payload);
        let mut now = 1;
        'fill: for index in 1.. {
            for group in 0..GROUPS {
                let record = Record {
                    group,
                    index,
                    term: 1,
                    kind: Kind::Entry,
                    head: &payload[..16],
                    payload: &payload,
                    payload_crc,
                };
                while let Err(error) = wal.append(&record) {
                    assert_eq!(error, AppendError::Busy, "there is space");
                    now += 1;
                    wal.submit(now);
                    wal.poll(now);
                }
            }
            if wal.stats().written_bytes >= LOG_BYTES {
                break 'fill;
            }
        }
        // As a crash leaves it: some of the last blocks are on their way.
        wal.submit(now);
        drop(wal);
        let mut rates = Vec::new();
        let (mut records, mut read) = (0_u64, 0);
        for _ in 0..arguments.windows {
            records = 0;
            let device = open();
            let began = Instant::now();
            let (wal, report) =
                Wal::open(device, options(), 2, &mut |_| records += 1).expect("opens");
            let seconds = began.elapsed().as_secs_f64();
            assert_eq!(report.damage, [], "the log is sound");
            read = report.bytes_read;
            rates.push(read as f64 / seconds / 1e6);
            drop(wal);
        }
        rates.sort_by(f64::total_cmp);
        println!(
            "| {bytes} | {records} | {} | {:.0} | {:.0} |",
            read / 1_000_000,
            rates[rates.len() / 2],
            rates[0]
        );
    }
}

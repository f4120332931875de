//! A process that acknowledges what is durable is killed without warning; what it acknowledged is there.
//!
//! The child is this test program itself, asked by an environment variable to append and acknowledge.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use wal::device::file::FileDevice;
use wal::device::uring::UringDevice;
use wal::{AppendError, Device, DeviceError};

use crate::support::{Made, SEGMENT_BYTES, options, try_open};

const FOLDER: &str = "QUORATE_WAL_KILL_FOLDER";
const DEVICE: &str = "QUORATE_WAL_KILL_DEVICE";

fn made(group: u64, index: u64) -> Made {
    Made::entry(group, index, 1, 20 + (index as usize * 37) % 3_000)
}

/// Appends for ever, three groups in turn, releasing behind itself, and says what is durable.
fn append_for_ever<D: Device>(device: D) {
    let mut opened = try_open(device, options()).expect("the log opens");
    let wal = &mut opened.wal;
    let mut next: Vec<u64> = (0..3)
        .map(|group| wal.entries(group).map_or(1, |(first, count)| first + count))
        .collect();
    let mut appended = Vec::new();
    let mut acknowledged = 0;
    let mut now_ns = 0;
    loop {
        for (group, index) in next.iter_mut().enumerate() {
            match wal.append(&made(group as u64, *index).record()) {
                Ok(lsn) => {
                    appended.push((lsn, group, *index));
                    *index += 1;
                    wal.release(group as u64, index.saturating_sub(40));
                }
                Err(AppendError::Busy) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        now_ns += 1_000;
        wal.submit(now_ns);
        let durable = wal.poll(now_ns).durable;
        let mut lines = String::new();
        while let Some(&(lsn, group, index)) = appended
            .get(acknowledged)
            .filter(|(lsn, _, _)| *lsn <= durable)
        {
            lines += &format!("{} {group} {index}\n", lsn.0);
            acknowledged += 1;
        }
        let mut out = std::io::stdout();
        out.write_all(lines.as_bytes())
            .and_then(|()| out.flush())
            .expect("the parent listens");
    }
}

#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    if std::env::var(DEVICE).as_deref() == Ok("uring") {
        append_for_ever(UringDevice::open(folder, SEGMENT_BYTES, None).expect("the device opens"));
    } else {
        append_for_ever(
            FileDevice::open(folder, SEGMENT_BYTES, 4, None).expect("the device opens"),
        );
    }
}

/// The kernel takes a killed process's ring apart after the process; until its writes have ended the
/// folder stays locked, so that none of them lands in a log that somebody else has read.
fn open_patiently<D: Device>(open: impl Fn() -> Result<D, DeviceError>) -> D {
    for _ in 0..200_000 {
        match open() {
            Err(DeviceError::Locked) => std::thread::yield_now(),
            opened => return opened.expect("the device opens"),
        }
    }
    panic!("the folder stays locked");
}

fn kill_again_and_again<D: Device>(device: &str, open: impl Fn(&Path) -> Result<D, DeviceError>) {
    let folder = TempDir::new().expect("a temporary folder");
    let mut ends = [0; 3];
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "kill::child", "--nocapture"])
            .envs([
                (FOLDER, folder.path().as_os_str()),
                (DEVICE, device.as_ref()),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut heard = 0;
        for line in lines {
            let line = line.expect("the child speaks");
            let numbers: Vec<u64> = line
                .split(' ')
                .filter_map(|word| word.parse().ok())
                .collect();
            // Lines of the test runner around it are no acknowledgements.
            let [_, group, index] = numbers[..] else {
                continue;
            };
            ends[group as usize] = index;
            heard += 1;
            if heard == 200 + round * 150 {
                child.kill().expect("the child is there to be killed");
            }
        }
        child.wait().expect("the child has ended");
        let opened =
            try_open(open_patiently(|| open(folder.path())), options()).expect("the log opens");
        assert_eq!(opened.report.damage, [], "{device}, round {round}");
        for group in 0..3 {
            let indexes: Vec<u64> = opened
                .shown
                .iter()
                .filter(|(_, made)| made.group == group)
                .map(|(_, made)| made.index)
                .collect();
            let (Some(&first), Some(&last)) = (indexes.first(), indexes.last()) else {
                panic!("{device}, round {round}: nothing of group {group}");
            };
            assert!(
                indexes.into_iter().eq(first..=last),
                "{device}, round {round}: no gap, no repetition"
            );
            assert!(
                last >= ends[group as usize],
                "{device}, round {round}: acknowledged and gone"
            );
        }
        assert!(
            opened
                .shown
                .iter()
                .all(|(_, shown)| *shown == made(shown.group, shown.index))
        );
    }
}

#[test]
fn a_killed_process_keeps_its_word_on_threads() {
    kill_again_and_again("threads", |folder| {
        FileDevice::open(folder, SEGMENT_BYTES, 4, None)
    });
}

#[test]
fn a_killed_process_keeps_its_word_on_uring() {
    if crate::support::UringDisk::new().is_some() {
        kill_again_and_again("uring", |folder| {
            UringDevice::open(folder, SEGMENT_BYTES, None)
        });
    }
}

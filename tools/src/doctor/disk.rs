//! What the disk does: writes past the page cache, how long a durable write takes, whose cache is in between.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{major, minor};
use tempfile::NamedTempFile;

use super::check::Check;
use super::kernel;
use super::time::now_nanos;
use crate::catalogue::disk;
use crate::quantity::display_nanos;

const BLOCK_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;
const SAMPLES: usize = 200;
/// A disk so slow that all samples would take longer is judged by those taken until then.
const SAMPLING_NANOS_MAX: u64 = 5_000_000_000;
const P99_NANOS_WISHED: u64 = 2_000_000;

/// A block at an address that direct I/O accepts.
#[repr(align(4096))]
struct Block([u8; BLOCK_BYTES]);

pub(super) fn examine(folder: &Path) -> Vec<Check> {
    let direct = gather_direct(folder);
    let can_write = direct.whole_blocks.is_ok();
    let mut checks = vec![judge_direct(&direct)];
    if can_write {
        checks.push(match sample_writes(folder) {
            Ok(nanos) => judge_latency(nanos),
            Err(error) => judge_direct(&Direct {
                whole_blocks: Err(error),
                sectors: false,
            }),
        });
    }
    checks.push(judge_cache(queue(folder, "write_cache").as_deref()));
    checks.push(judge_polling(queue(folder, "io_poll").as_deref()));
    checks
}

/// What a file opened with `O_DIRECT` accepts.
#[derive(Debug)]
struct Direct {
    whole_blocks: io::Result<()>,
    sectors: bool,
}

fn gather_direct(folder: &Path) -> Direct {
    let block = Block([0; BLOCK_BYTES]);
    let opened = open_direct(folder);
    match opened {
        Ok((_named, file)) => Direct {
            whole_blocks: file.write_all_at(&block.0, 0),
            sectors: file
                .write_all_at(&block.0[..SECTOR_BYTES], SECTOR_BYTES as u64)
                .is_ok(),
        },
        Err(error) => Direct {
            whole_blocks: Err(error),
            sectors: false,
        },
    }
}

/// A file that is removed when the first half of the pair is dropped; the second writes durably, past the page cache.
fn open_direct(folder: &Path) -> io::Result<(NamedTempFile, File)> {
    let named = NamedTempFile::with_prefix_in("quorate-doctor-", folder)?;
    let flags = libc::O_DIRECT | libc::O_DSYNC;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(named.path())?;
    Ok((named, file))
}

fn judge_direct(evidence: &Direct) -> Check {
    const NAME: &str = "direct I/O";
    match &evidence.whole_blocks {
        Ok(()) if evidence.sectors => Check::ok(NAME, "O_DIRECT works, aligned to 512 bytes"),
        Ok(()) => Check::ok(NAME, "O_DIRECT works, aligned to 4096 bytes"),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Check::fatal(NAME, "O_DIRECT is refused")
            .because("the file system cannot write past the page cache, or only at an alignment above 4096 bytes")
            .fix(disk::NO_DIRECT_IO.fix.iter().map(|line| format!("# {line}")))
            .code(&disk::NO_DIRECT_IO),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Check::fatal(NAME, "a file of 1 MiB does not fit")
            .because(error.to_string())
            .fix(disk::DISK_FULL.fix.iter().map(|line| format!("# {line}")))
            .code(&disk::DISK_FULL),
        Err(error) => Check::fatal(NAME, "no file can be written in the data folder")
            .because(error.to_string())
            .fix(disk::FOLDER_UNUSABLE.fix.iter().map(|line| format!("# {line}")))
            .code(&disk::FOLDER_UNUSABLE),
    }
}

/// Durations of durable 4 KiB writes, one at a time, to a file that was written in full before.
fn sample_writes(folder: &Path) -> io::Result<Vec<u64>> {
    let (_named, file) = open_direct(folder)?;
    // Room and content first: the log does not grow its files either.
    fs::write(_named.path(), vec![0; SAMPLES * BLOCK_BYTES])?;
    file.sync_all()?;
    let block = Block([0x51; BLOCK_BYTES]);
    let began = now_nanos();
    let mut nanos = Vec::with_capacity(SAMPLES);
    for position in 0..SAMPLES {
        let before = now_nanos();
        file.write_all_at(&block.0, (position * BLOCK_BYTES) as u64)?;
        let after = now_nanos();
        nanos.push(after - before);
        if after - began > SAMPLING_NANOS_MAX {
            break;
        }
    }
    Ok(nanos)
}

fn judge_latency(mut nanos: Vec<u64>) -> Check {
    const NAME: &str = "durable write";
    nanos.sort_unstable();
    let (Some(p50), Some(p99)) = (percentile(&nanos, 50), percentile(&nanos, 99)) else {
        return Check::info(NAME, "no sample was taken");
    };
    let seen = format!(
        "4 KiB: p50 {}, p99 {} ({} samples)",
        display_nanos(p50),
        display_nanos(p99),
        nanos.len()
    );
    if p99 > P99_NANOS_WISHED {
        Check::warn(NAME, seen)
            .because(format!("no commit is faster than the disk; above {} it is what clients wait for", display_nanos(P99_NANOS_WISHED)))
            .fix(["# use a local NVMe disk with power-loss protection, and keep other writers away from it"])
    } else {
        Check::ok(NAME, seen)
    }
}

/// The nearest rank, of sorted values.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// A property of the device under the folder.
fn queue(folder: &Path, name: &str) -> Option<String> {
    let device = fs::metadata(folder).ok()?.dev();
    let device = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    // A partition has no queue of its own: it is the whole disk's, one level up.
    kernel::read(format!("{device}/queue/{name}"))
        .or_else(|| kernel::read(format!("{device}/../queue/{name}")))
}

fn judge_cache(cache: Option<&str>) -> Check {
    const NAME: &str = "disk cache";
    match cache {
        Some("write through") => Check::ok(NAME, "the device has no volatile cache, or protects it"),
        Some("write back") => Check::warn(NAME, "the device has a volatile cache")
            .because("each durable write makes the kernel flush it; that the device obeys cannot be proven from here")
            .fix(["# prefer a disk with power-loss protection; in a virtual machine ask the provider whether flushes reach the disk"]),
        _ => Check::info(NAME, "unknown: there is no block device under the folder, or the kernel does not tell"),
    }
}

fn judge_polling(offered: Option<&str>) -> Check {
    const NAME: &str = "polled completions";
    match offered {
        Some("1") => Check::ok(NAME, "offered by the device; the log does not need them"),
        _ => Check::info(
            NAME,
            "not offered by the device, and not needed: glommio's line about iopoll is harmless",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::{Verdict, assert_verdict};

    fn direct(kind: io::ErrorKind) -> Check {
        judge_direct(&Direct {
            whole_blocks: Err(kind.into()),
            sectors: false,
        })
    }

    #[test]
    fn without_direct_writes_the_log_cannot_work() {
        for (kind, code) in [
            (io::ErrorKind::InvalidInput, "E3007"),
            (io::ErrorKind::StorageFull, "E3008"),
            (io::ErrorKind::PermissionDenied, "E3001"),
        ] {
            let check = direct(kind);
            assert_verdict(&check, Verdict::Fatal);
            assert_eq!(check.code, Some(code));
        }
        assert_verdict(
            &judge_direct(&Direct {
                whole_blocks: Ok(()),
                sectors: false,
            }),
            Verdict::Ok,
        );
    }

    #[test]
    fn a_slow_disk_is_warned_of_by_its_slow_writes() {
        let mut nanos = vec![100_000; 200];
        assert_verdict(&judge_latency(nanos.clone()), Verdict::Ok);
        nanos[..3].fill(10_000_000);
        assert_verdict(&judge_latency(nanos), Verdict::Warn);
        assert_verdict(&judge_latency(Vec::new()), Verdict::Info);
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let sorted: Vec<u64> = (1..=200).collect();
        assert_eq!(
            (percentile(&sorted, 50), percentile(&sorted, 99)),
            (Some(100), Some(198))
        );
        assert_eq!((percentile(&[7], 99), percentile(&[], 50)), (Some(7), None));
    }

    #[test]
    fn a_disk_that_is_not_polled_is_no_fault() {
        assert_verdict(&judge_polling(Some("0")), Verdict::Info);
        assert_verdict(&judge_polling(None), Verdict::Info);
        assert_verdict(&judge_polling(Some("1")), Verdict::Ok);
    }

    #[test]
    fn a_volatile_cache_cannot_be_trusted_blindly() {
        assert_verdict(&judge_cache(Some("write back")), Verdict::Warn);
        assert_verdict(&judge_cache(Some("write through")), Verdict::Ok);
        assert_verdict(&judge_cache(None), Verdict::Info);
    }

    #[test]
    fn a_folder_that_is_not_there_is_judged_and_not_written_to() {
        let checks = examine(Path::new("/nowhere/at/all"));
        assert_verdict(&checks[0], Verdict::Fatal);
    }
}

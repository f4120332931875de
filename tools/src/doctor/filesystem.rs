//! Where the data would live: the folder, its kind of file system, and the room in it.

use std::path::Path;

use rustix::fs::{statfs, statvfs};

use super::check::Check;
use crate::catalogue::disk;
use crate::quantity::display_size;

const FREE_BYTES_MIN: u64 = 1 << 30;
const FREE_BYTES_WISHED: u64 = 20 << 30;
const FREE_FILES_WISHED: u64 = 10_000;

/// The kinds whose number `statfs` returns, as far as they matter here.
const KINDS: [(u64, &str); 12] = [
    (0xEF53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683E, "btrfs"),
    (0xF2F5_2010, "f2fs"),
    (0x2FC1_2FC1, "zfs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58F6, "ramfs"),
    (0x794C_7630, "overlay"),
    (0x6969, "nfs"),
    (0x6573_5546, "fuse"),
    (0xFF53_4D42, "cifs"),
    (0x0102_1997, "9p"),
];

pub(super) fn examine(folder: &Path) -> Vec<Check> {
    let mut checks = vec![judge_folder(folder, folder.is_dir())];
    checks.extend(
        statfs(folder)
            .ok()
            .map(|stat| judge_kind(kind(stat.f_type as u64))),
    );
    checks.extend(
        statvfs(folder)
            .ok()
            .map(|stat| judge_space(stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_favail)),
    );
    checks
}

fn judge_folder(folder: &Path, is_there: bool) -> Check {
    const NAME: &str = "data folder";
    let shown = folder.display();
    if is_there {
        Check::ok(NAME, shown.to_string())
    } else {
        Check::fatal(NAME, format!("{shown} is not there"))
            .because("start never makes its folder: a disk that is not mounted would look like an empty node")
            .fix([format!("mkdir -p '{shown}'")])
            .code(&disk::FOLDER_UNUSABLE)
    }
}

fn kind(magic: u64) -> &'static str {
    // The field is signed on some machines: only its low 32 bits say something.
    let magic = magic & 0xFFFF_FFFF;
    KINDS
        .iter()
        .find(|(known, _)| *known == magic)
        .map_or("unknown", |(_, name)| name)
}

fn judge_kind(kind: &str) -> Check {
    const NAME: &str = "file system";
    let warn = |cause: &str| {
        Check::warn(NAME, kind)
            .because(cause)
            .fix(["# put the data folder on ext4 or XFS on a local disk"])
    };
    match kind {
        "ext4" | "xfs" => Check::ok(NAME, kind),
        "tmpfs" | "ramfs" => {
            warn("it lives in memory: nothing on it survives a restart of the machine")
        }
        "btrfs" | "zfs" | "f2fs" => warn(
            "it copies on write: pre-written segments do not keep their place, writes cost more",
        ),
        "overlay" => {
            warn("it is a container's layer: mount a volume, or the data goes with the container")
        }
        "nfs" | "fuse" | "cifs" | "9p" => {
            warn("it is served by another program or machine: durability is that one's promise")
        }
        _ => Check::info(NAME, "of a kind that was not tried"),
    }
}

fn judge_space(bytes: u64, files: u64) -> Check {
    const NAME: &str = "free space";
    let seen = format!("{} and {files} files", display_size(bytes));
    let fix = ["# give the data folder a larger disk, or free space on this one"];
    if bytes < FREE_BYTES_MIN {
        let cause = format!(
            "the log writes its segments in full before it uses them; it needs {}",
            display_size(FREE_BYTES_MIN)
        );
        Check::fatal(NAME, seen)
            .because(cause)
            .fix(fix)
            .code(&disk::DISK_FULL)
    } else if bytes < FREE_BYTES_WISHED {
        let cause = format!(
            "a busy log fills {} in minutes",
            display_size(FREE_BYTES_WISHED)
        );
        Check::warn(NAME, seen)
            .because(cause)
            .fix(fix)
            .code(&disk::DISK_FULL)
    } else if (1..FREE_FILES_WISHED).contains(&files) {
        // Some file systems count no files and say 0.
        Check::warn(NAME, seen)
            .because("the file system is running out of inodes")
            .fix(fix)
            .code(&disk::DISK_FULL)
    } else {
        Check::ok(NAME, seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::{Verdict, assert_verdict};

    #[test]
    fn a_missing_folder_is_fatal() {
        let check = judge_folder(Path::new("/nowhere"), false);
        assert_verdict(&check, Verdict::Fatal);
        assert_eq!(check.fix, ["mkdir -p '/nowhere'"]);
        assert_verdict(&judge_folder(Path::new("/"), true), Verdict::Ok);
    }

    #[test]
    fn kinds_that_forget_or_copy_are_warned_of() {
        for kind in ["tmpfs", "btrfs", "overlay", "nfs", "fuse"] {
            assert_verdict(&judge_kind(kind), Verdict::Warn);
        }
        assert_verdict(&judge_kind(kind(0xEF53)), Verdict::Ok);
        assert_verdict(&judge_kind(kind(0xFFFF_FFFF_9123_683E)), Verdict::Warn);
        assert_verdict(&judge_kind(kind(1)), Verdict::Info);
    }

    #[test]
    fn little_space_is_a_warning_and_none_is_fatal() {
        assert_verdict(&judge_space(10 << 20, 1 << 20), Verdict::Fatal);
        assert_verdict(&judge_space(5 << 30, 1 << 20), Verdict::Warn);
        assert_verdict(&judge_space(1 << 40, 10), Verdict::Warn);
        assert_verdict(&judge_space(1 << 40, 0), Verdict::Ok);
    }
}

//! The machine under the measurement: processor time, load, flushes, and what it is made of.
//!
//! - Everything is read from /proc and /sys; what a machine does not tell is `None`, never a guess.

use crate::error::BenchError;
use rustix::fs::{major, minor};
use std::fs;
use std::path::Path;

/// Processor time used by a process so far, in nanoseconds (a multiple of the kernel's tick, 10 ms).
pub fn process_cpu_ns(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_process_cpu(&stat, rustix::param::clock_ticks_per_second())
}

fn parse_process_cpu(stat: &str, ticks_per_s: u64) -> Option<u64> {
    // The name, in parentheses, may hold anything; fields count from after it: utime is the 12th.
    let fields: Vec<&str> = stat
        .get(stat.rfind(')')? + 1..)?
        .split_ascii_whitespace()
        .collect();
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    Some((user + system) * (1_000_000_000 / ticks_per_s.max(1)))
}

/// Resident memory of a process in bytes.
pub fn process_resident(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Ticks of all processors since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorTicks {
    /// Taken by the hypervisor for others.
    pub steal: u64,
    /// Idle, waiting for disks included.
    pub idle: u64,
    /// All of them.
    pub total: u64,
}

/// Reads the ticks of all processors.
pub fn processor_ticks() -> Option<ProcessorTicks> {
    parse_processor_ticks(&fs::read_to_string("/proc/stat").ok()?)
}

fn parse_processor_ticks(stat: &str) -> Option<ProcessorTicks> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let ticks: Vec<u64> = line
        .split_ascii_whitespace()
        .skip(1)
        .map_while(|field| field.parse().ok())
        .collect();
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
    // Guest time (from the 9th on) is counted in user time already.
    Some(ProcessorTicks {
        steal: at(7),
        idle: at(3) + at(4),
        total: ticks.iter().take(8).sum(),
    })
}

/// The one-minute load average.
pub fn load_average() -> Option<f64> {
    first_number(&fs::read_to_string("/proc/loadavg").ok()?)
}

fn first_number(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The disk under a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Its name in /proc/diskstats; flushes are counted for whole disks, not for partitions.
    pub device: Option<String>,
    /// Type of the file system.
    pub file_system: Option<String>,
    /// Whether the device says that it has a volatile write cache.
    pub volatile_cache: Option<bool>,
}

impl Disk {
    /// The disk under `path`.
    pub fn under(path: &Path) -> Result<Self, BenchError> {
        let stat = rustix::fs::stat(path).map_err(|errno| {
            BenchError::io("looking for the disk under the data folder")(errno.into())
        })?;
        let device = whole_disk(major(stat.st_dev), minor(stat.st_dev));
        let volatile_cache = device.as_ref().and_then(|device| {
            let mode = fs::read_to_string(format!("/sys/block/{device}/queue/write_cache")).ok()?;
            Some(mode.trim() == "write back")
        });
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let file_system = file_system_of(&mounts, major(stat.st_dev), minor(stat.st_dev));
        Ok(Self {
            device,
            file_system,
            volatile_cache,
        })
    }

    /// Whether what is written here is lost when the power fails, whatever is flushed.
    pub fn in_memory(&self) -> bool {
        matches!(self.file_system.as_deref(), Some("tmpfs" | "ramfs"))
    }

    /// Flush requests that the device has completed since boot.
    pub fn flushes(&self) -> Option<u64> {
        parse_flushes(
            &fs::read_to_string("/proc/diskstats").ok()?,
            self.device.as_deref()?,
        )
    }
}

fn whole_disk(major: u32, minor: u32) -> Option<String> {
    let device = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let disk = if device.join("partition").exists() {
        device.parent()?
    } else {
        &device
    };
    Some(disk.file_name()?.to_str()?.to_owned())
}

fn file_system_of(mounts: &str, major: u32, minor: u32) -> Option<String> {
    let wanted = format!("{major}:{minor}");
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(&wanted))?;
    let (_, after) = line.split_once(" - ")?;
    Some(after.split(' ').next()?.to_owned())
}

fn parse_flushes(diskstats: &str, device: &str) -> Option<u64> {
    let line = diskstats
        .lines()
        .find(|line| line.split_ascii_whitespace().nth(2) == Some(device))?;
    line.split_ascii_whitespace().nth(18)?.parse().ok()
}

/// Processors this process may run on.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The first value of a key in /proc/cpuinfo or /proc/meminfo.
fn value_of(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// Model of the first processor.
pub fn processor_model() -> Option<String> {
    value_of("/proc/cpuinfo", "model name")
}

/// Memory in bytes.
pub fn memory() -> Option<u64> {
    let kib: u64 = value_of("/proc/meminfo", "MemTotal")?
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()?;
    Some(kib * 1024)
}

/// Memory in bytes that can be had without swapping.
pub fn memory_available() -> Option<u64> {
    let kib: u64 = value_of("/proc/meminfo", "MemAvailable")?
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()?;
    Some(kib * 1024)
}

/// Release of the kernel.
pub fn kernel() -> Option<String> {
    trimmed("/proc/sys/kernel/osrelease")
}

/// The clock source in use.
pub fn clock_source() -> Option<String> {
    trimmed("/sys/devices/system/clocksource/clocksource0/current_clocksource")
}

/// The frequency governor of the first processor.
pub fn governor() -> Option<String> {
    trimmed("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
}

/// Whether a hypervisor is under the kernel.
pub fn virtual_machine() -> Option<bool> {
    Some(
        value_of("/proc/cpuinfo", "flags")?
            .split(' ')
            .any(|flag| flag == "hypervisor"),
    )
}

/// Vulnerabilities that the kernel mitigates, and those that it does not.
pub fn mitigations() -> Option<String> {
    let mut found: Vec<(String, String)> = fs::read_dir("/sys/devices/system/cpu/vulnerabilities")
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((
                entry.file_name().to_str()?.to_owned(),
                trimmed(entry.path())?,
            ))
        })
        .collect();
    found.sort();
    let mitigated = found
        .iter()
        .filter(|(_, state)| state.starts_with("Mitigation"))
        .count();
    let open: Vec<&str> = found
        .iter()
        .filter(|(_, state)| state.starts_with("Vulnerable"))
        .map(|(name, _)| name.as_str())
        .collect();
    let open = if open.is_empty() {
        "none".to_owned()
    } else {
        open.join(" ")
    };
    Some(format!("{mitigated} mitigated; vulnerable: {open}"))
}

/// Whether this process runs in a container, by the marks the usual ones leave.
pub fn container() -> bool {
    Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || fs::read("/proc/1/environ").is_ok_and(|environ| {
            environ
                .split(|&byte| byte == 0)
                .any(|v| v.starts_with(b"container="))
        })
}

fn trimmed(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_survives_a_name_with_parentheses() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0";
        assert_eq!(parse_process_cpu(stat, 100), Some(3_000_000_000));
        assert_eq!(parse_process_cpu("42 (a) S 1", 100), None);
        assert_eq!(parse_process_cpu("", 100), None);
    }

    #[test]
    fn ticks_leave_guests_out() {
        let stat = "cpu  10 20 30 40 50 60 70 80 900 900\ncpu0 1 1 1 1";
        let expected = ProcessorTicks {
            steal: 80,
            idle: 90,
            total: 360,
        };
        assert_eq!(parse_processor_ticks(stat), Some(expected));
    }

    #[test]
    fn flushes_are_the_19th_field() {
        let line = " 254       0 vda 19864 6972 5926370 23888 4602 32481 7909096 27092 0 8820 51384 4188 32 84048 395 160 6";
        assert_eq!(parse_flushes(line, "vda"), Some(160));
        assert_eq!(parse_flushes(line, "vdb"), None);
    }

    #[test]
    fn a_mount_tells_its_file_system() {
        let mounts = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n23 22 0:5 / /dev rw - tmpfs dev rw";
        assert_eq!(file_system_of(mounts, 254, 0).as_deref(), Some("ext4"));
        assert_eq!(file_system_of(mounts, 0, 5).as_deref(), Some("tmpfs"));
        assert_eq!(file_system_of(mounts, 9, 9), None);
    }

    #[test]
    fn this_process_has_used_the_processor() {
        assert!(process_cpu_ns(std::process::id()).is_some());
        assert!(process_resident(std::process::id()).is_some_and(|bytes| bytes > 0));
        assert_eq!(process_cpu_ns(u32::MAX), None);
    }
}

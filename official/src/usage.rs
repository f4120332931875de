//! What a process has used since it began, as the kernel counts it.

use std::time::Duration;

/// How often a process is asked whether it has come to rest.
const SETTLES_MAX: usize = 60;

/// What a node at rest may write in two seconds: its clock and its counters.
const QUIET_BYTES: f64 = 65_536.0;

/// Memory that a node with enough of it may ask for in a second.
const SETTLED_BYTES: f64 = 1_048_576.0;

/// Kernel ticks of processor time in a second.
const TICKS: f64 = 100.0;

/// Processor time and bytes of one process, or the mean of several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Seconds in user mode and in the kernel.
    pub cpu_seconds: f64,
    /// Bytes that the process had written to a disk, page cache included.
    pub written_bytes: f64,
    /// Bytes of memory in use.
    pub resident_bytes: f64,
}

/// Waits until processes have asked for no more memory for a second.
///
/// # Panics
/// If one does not run, or never has enough.
pub fn await_memory(pids: &[u32]) {
    let mut before = Usage::mean(pids);
    for _ in 0..SETTLES_MAX {
        std::thread::sleep(Duration::from_secs(1));
        let after = Usage::mean(pids);
        if after.resident_bytes - before.resident_bytes < SETTLED_BYTES {
            return;
        }
        before = after;
    }
    panic!("the nodes never have enough memory");
}

impl Usage {
    /// The mean of some processes.
    ///
    /// # Panics
    /// If one does not run.
    #[must_use]
    pub fn mean(pids: &[u32]) -> Self {
        let count = pids.len().max(1) as f64;
        pids.iter().fold(Self::default(), |sum, &pid| {
            let one = Self::of(pid);
            Self {
                cpu_seconds: sum.cpu_seconds + one.cpu_seconds / count,
                written_bytes: sum.written_bytes + one.written_bytes / count,
                resident_bytes: sum.resident_bytes + one.resident_bytes / count,
            }
        })
    }

    /// The mean of some processes, once they have written nothing for two seconds.
    ///
    /// # Panics
    /// If one does not run, or writes for minutes.
    #[must_use]
    pub fn settled(pids: &[u32]) -> Self {
        let mut before = Self::mean(pids);
        for _ in 0..SETTLES_MAX {
            std::thread::sleep(Duration::from_secs(2));
            let after = Self::mean(pids);
            if after.written_bytes - before.written_bytes < QUIET_BYTES {
                return after;
            }
            before = after;
        }
        panic!("the nodes never come to rest");
    }

    fn of(pid: u32) -> Self {
        let read = |name| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it runs");
        let stat = read("stat");
        let (_, fields) = stat.rsplit_once(')').expect("the name ends");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |at: usize| fields[at].parse::<f64>().expect("a number");
        let io = read("io");
        let written = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        Self {
            cpu_seconds: (field(11) + field(12)) / TICKS,
            written_bytes: written
                .expect("the kernel counts it")
                .parse()
                .expect("a number"),
            resident_bytes: field(21) * 4096.0,
        }
    }
}

//! What the process may hold: locked memory for rings and buffers, open files for connections and segments.

use rustix::process::{Resource, getrlimit};

use super::check::{Check, Verdict};
use super::kernel;
use crate::arguments::Io;
use crate::catalogue::environment;
use crate::quantity::display_size;

/// What glommio demands of the limit for each executor before it starts one.
const RING_BYTES_PER_CORE: u64 = 512 << 10;
/// Write buffers that a core's log registers with the kernel: several writes in flight, each up to a few MiB.
const REGISTERED_BYTES_PER_CORE: u64 = 16 << 20;
/// Connections and segments of a small cluster, with room.
const OPEN_FILES_MIN: u64 = 4_096;
/// `CAP_IPC_LOCK` in the mask of effective capabilities: lifts the limit on locked memory.
const CAP_IPC_LOCK: u32 = 14;

#[derive(Debug)]
pub(super) struct LockedMemory {
    /// Soft limit; nothing stands for none.
    limit: Option<u64>,
    privileged: bool,
    cores: u32,
    wanted: Option<Io>,
}

pub(super) fn gather_locked_memory(cores: u32, wanted: Option<Io>) -> LockedMemory {
    let status = kernel::read("/proc/self/status").unwrap_or_default();
    let capabilities =
        kernel::field(&status, "CapEff").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    LockedMemory {
        limit: getrlimit(Resource::Memlock).current,
        privileged: capabilities.is_some_and(|mask| mask >> CAP_IPC_LOCK & 1 == 1),
        cores,
        wanted,
    }
}

pub(super) fn judge_locked_memory(evidence: &LockedMemory) -> Check {
    const NAME: &str = "locked memory";
    let cores = u64::from(evidence.cores);
    let needed = RING_BYTES_PER_CORE * cores;
    let wished = needed + REGISTERED_BYTES_PER_CORE * cores;
    let Some(limit) = evidence.limit else {
        return Check::ok(NAME, "no limit");
    };
    let seen = format!("limit {} for {cores} cores", display_size(limit));
    let fix = [
        format!("ulimit -l {}", wished / 1024),
        format!("# in the systemd unit:  LimitMEMLOCK={wished}"),
    ];
    if limit < needed {
        let verdict = match evidence.wanted {
            Some(Io::Glommio) => Verdict::Fatal,
            Some(Io::Threads) => {
                return Check::ok(NAME, format!("{seen}; the portable driver locks none"));
            }
            None => Verdict::Warn,
        };
        let cause = format!(
            "glommio refuses to start below {} ({} per core)",
            display_size(needed),
            display_size(RING_BYTES_PER_CORE)
        );
        Check::new(NAME, verdict, seen)
            .because(cause)
            .fix(fix)
            .code(&environment::LOCKED_MEMORY)
    } else if limit < wished && !evidence.privileged && evidence.wanted != Some(Io::Threads) {
        let cause = format!(
            "rings and registered write buffers take up to {}",
            display_size(wished)
        );
        Check::warn(NAME, seen)
            .because(cause)
            .fix(fix)
            .code(&environment::LOCKED_MEMORY)
    } else {
        Check::ok(NAME, seen)
    }
}

pub(super) fn gather_open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

pub(super) fn judge_open_files(limit: Option<u64>) -> Check {
    const NAME: &str = "open files";
    match limit {
        Some(limit) if limit < OPEN_FILES_MIN => Check::warn(NAME, format!("limit {limit}"))
            .because("every connection and every log segment is an open file")
            .fix([
                "ulimit -n 65536",
                "# in the systemd unit:  LimitNOFILE=65536",
            ])
            .code(&environment::OPEN_FILES),
        Some(limit) => Check::ok(NAME, format!("limit {limit}")),
        None => Check::ok(NAME, "no limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::assert_verdict;

    fn locked(limit: Option<u64>, cores: u32, wanted: Option<Io>) -> Check {
        judge_locked_memory(&LockedMemory {
            limit,
            privileged: false,
            cores,
            wanted,
        })
    }

    #[test]
    fn a_limit_below_what_the_rings_need_stops_glommio() {
        assert_verdict(
            &locked(Some(64 << 10), 1, Some(Io::Glommio)),
            Verdict::Fatal,
        );
        assert_verdict(
            &locked(Some(512 << 10), 2, Some(Io::Glommio)),
            Verdict::Fatal,
        );
        assert_verdict(&locked(Some(64 << 10), 1, None), Verdict::Warn);
        assert_verdict(&locked(Some(64 << 10), 1, Some(Io::Threads)), Verdict::Ok);
    }

    #[test]
    fn a_limit_below_rings_and_buffers_is_a_warning_unless_privileged() {
        assert_verdict(&locked(Some(8 << 20), 1, None), Verdict::Warn);
        let privileged = LockedMemory {
            limit: Some(8 << 20),
            privileged: true,
            cores: 1,
            wanted: None,
        };
        assert_verdict(&judge_locked_memory(&privileged), Verdict::Ok);
        assert_verdict(&locked(Some(64 << 20), 2, None), Verdict::Ok);
        assert_verdict(&locked(None, 64, None), Verdict::Ok);
    }

    #[test]
    fn few_open_files_are_a_warning() {
        assert_verdict(&judge_open_files(Some(1_024)), Verdict::Warn);
        assert_verdict(&judge_open_files(Some(65_536)), Verdict::Ok);
        assert_verdict(&judge_open_files(None), Verdict::Ok);
    }
}

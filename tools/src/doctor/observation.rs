//! Whether a profiler would see anything: hardware counters and the kernel's trace points.

use std::path::Path;

use super::check::Check;
use super::kernel;

/// Names under which processors' counters appear.
const COUNTERS: [&str; 4] = ["cpu", "cpu_core", "armv8_pmuv3_0", "armv8_cortex_a72"];

pub(super) fn examine() -> Vec<Check> {
    let has_counters = COUNTERS.iter().any(|name| {
        Path::new("/sys/bus/event_source/devices")
            .join(name)
            .exists()
    });
    let is_traceable =
        kernel::read("/proc/mounts").is_some_and(|mounts| is_mounted(&mounts, "tracefs"));
    vec![judge_counters(has_counters), judge_tracing(is_traceable)]
}

fn is_mounted(mounts: &str, kind: &str) -> bool {
    mounts
        .lines()
        .any(|line| line.split(' ').nth(2) == Some(kind))
}

fn judge_counters(are_there: bool) -> Check {
    const NAME: &str = "hardware counters";
    if are_there {
        Check::ok(NAME, "perf can count cycles and cache misses")
    } else {
        Check::info(
            NAME,
            "none, as in most virtual machines: perf samples by time (-e cpu-clock)",
        )
    }
}

fn judge_tracing(is_mounted: bool) -> Check {
    const NAME: &str = "trace points";
    if is_mounted {
        Check::ok(NAME, "tracefs is mounted")
    } else {
        Check::info(
            NAME,
            "tracefs is not mounted; bpftrace and perf trace need it",
        )
        .fix(["sudo mount -t tracefs tracefs /sys/kernel/tracing"])
    }
}

#[test]
fn missing_eyes_are_told_and_no_reason_to_stop() {
    use super::check::{Verdict, assert_verdict};
    assert_verdict(&judge_counters(false), Verdict::Info);
    assert_verdict(&judge_counters(true), Verdict::Ok);
    assert_verdict(&judge_tracing(false), Verdict::Info);
    assert_verdict(&judge_tracing(true), Verdict::Ok);
    assert!(is_mounted(
        "tracefs /sys/kernel/tracing tracefs rw 0 0\n",
        "tracefs"
    ));
    assert!(!is_mounted("/dev/vda1 /tracefs ext4 rw 0 0\n", "tracefs"));
}

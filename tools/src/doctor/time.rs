//! What time is worth here: the clock, how often a busy core is interrupted, what the hypervisor takes.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::check::Check;
use super::kernel;
use crate::quantity::display_nanos;

const GAP_NANOS: u64 = 1_000_000;
const STEAL_PERCENT_WISHED: f64 = 1.0;

/// Nanoseconds on the monotonic clock. The doctor measures the machine, so it reads the machine's clock.
pub(super) fn now_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Nanoseconds since the Unix epoch, to be compared with other machines.
pub(super) fn wall_nanos() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

pub(super) fn examine(watch: Duration) -> Vec<Check> {
    let source = kernel::read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let before = processor_times();
    let gaps = watch_gaps(watch);
    let steal = before
        .zip(processor_times())
        .and_then(|(before, after)| steal_percent(before, after));
    vec![
        judge_source(source.as_deref()),
        judge_gaps(&gaps),
        judge_steal(steal),
    ]
}

fn judge_source(source: Option<&str>) -> Check {
    const NAME: &str = "clock";
    match source {
        Some(source @ ("tsc" | "arch_sys_counter")) => Check::ok(NAME, format!("{source}: read without a system call")),
        Some(source @ ("kvm-clock" | "hyperv_clocksource_tsc_page")) => {
            Check::ok(NAME, format!("{source}: the hypervisor's, read without a system call"))
        }
        Some(source) => Check::warn(NAME, source)
            .because("each reading is a system call or a slow device access; stage times cost more than the stages")
            .fix([
                "cat /sys/devices/system/clocksource/clocksource0/available_clocksource",
                "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource",
            ]),
        None => Check::info(NAME, "the kernel does not tell its source"),
    }
}

/// Moments in which a loop that does nothing but read the clock was not running.
#[derive(Debug, Default)]
struct Gaps {
    count: u64,
    longest_nanos: u64,
    watched_nanos: u64,
}

fn watch_gaps(watch: Duration) -> Gaps {
    let watch_nanos = u64::try_from(watch.as_nanos()).unwrap_or(u64::MAX);
    let began = now_nanos();
    let mut gaps = Gaps::default();
    let mut last = began;
    while last - began < watch_nanos {
        let now = now_nanos();
        gaps.add(now - last);
        last = now;
    }
    gaps
}

impl Gaps {
    fn add(&mut self, nanos: u64) {
        self.watched_nanos += nanos;
        if nanos >= GAP_NANOS {
            self.count += 1;
            self.longest_nanos = self.longest_nanos.max(nanos);
        }
    }
}

fn judge_gaps(gaps: &Gaps) -> Check {
    const NAME: &str = "interruptions";
    let watched = display_nanos(gaps.watched_nanos);
    if gaps.count == 0 {
        return Check::ok(
            NAME,
            format!("a busy core ran without a gap over 1 ms for {watched}"),
        );
    }
    let longest = display_nanos(gaps.longest_nanos);
    Check::warn(NAME, format!("{} gaps over 1 ms in {watched}, the longest {longest}", gaps.count))
        .because(format!("something else runs on these cores: a p99.9 below {longest} cannot be claimed on this host"))
        .fix(["# stop other work, or keep it off these cores (isolcpus, cpusets); in a virtual machine ask for dedicated cores"])
}

/// Total and stolen ticks since boot.
fn processor_times() -> Option<(u64, u64)> {
    let stat = kernel::read("/proc/stat")?;
    parse_processor_times(&stat)
}

fn parse_processor_times(stat: &str) -> Option<(u64, u64)> {
    // user nice system idle iowait irq softirq steal; guest times behind them are part of user and nice.
    let ticks: Vec<u64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    Some((ticks.iter().sum(), *ticks.get(7)?))
}

fn steal_percent(
    (total_before, steal_before): (u64, u64),
    (total_after, steal_after): (u64, u64),
) -> Option<f64> {
    let total = total_after
        .checked_sub(total_before)
        .filter(|&total| total > 0)?;
    Some(steal_after.checked_sub(steal_before)? as f64 * 100.0 / total as f64)
}

fn judge_steal(percent: Option<f64>) -> Check {
    const NAME: &str = "steal";
    match percent {
        Some(percent) if percent > STEAL_PERCENT_WISHED => {
            Check::warn(NAME, format!("{percent:.1} % of the processors' time"))
                .because("the hypervisor gave this machine's cores to another one")
                .fix(["# ask the provider for dedicated cores"])
        }
        Some(percent) => Check::ok(NAME, format!("{percent:.1} % of the processors' time")),
        None => Check::info(
            NAME,
            "unknown: watched too short a time, or the kernel does not count it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::{Verdict, assert_verdict};

    #[test]
    fn a_slow_clock_is_warned_of() {
        for source in ["hpet", "acpi_pm", "jiffies", "xen"] {
            assert_verdict(&judge_source(Some(source)), Verdict::Warn);
        }
        assert_verdict(&judge_source(Some("tsc")), Verdict::Ok);
        assert_verdict(&judge_source(None), Verdict::Info);
    }

    #[test]
    fn gaps_are_counted_and_the_longest_is_named() {
        let mut gaps = Gaps::default();
        [40, 999_999, 1_000_000, 10_000_000, 60]
            .into_iter()
            .for_each(|nanos| gaps.add(nanos));
        assert_eq!((gaps.count, gaps.longest_nanos), (2, 10_000_000));
        let check = judge_gaps(&gaps);
        assert_verdict(&check, Verdict::Warn);
        assert!(
            check
                .cause
                .is_some_and(|cause| cause.contains("p99.9 below 10.0 ms"))
        );
        assert_verdict(&judge_gaps(&Gaps::default()), Verdict::Ok);
    }

    #[test]
    fn stolen_time_is_warned_of() {
        let before = parse_processor_times("cpu  100 0 100 700 0 0 0 10 5 0\ncpu0 1\n")
            .expect("a full line");
        let after =
            parse_processor_times("cpu  150 0 150 700 0 0 0 110 5 0\n").expect("a full line");
        let percent = steal_percent(before, after);
        assert_eq!(percent, Some(50.0));
        assert_verdict(&judge_steal(percent), Verdict::Warn);
        assert_verdict(&judge_steal(steal_percent(before, before)), Verdict::Info);
        assert_verdict(&judge_steal(Some(0.2)), Verdict::Ok);
        assert_eq!(parse_processor_times("cpu 1 2 3"), None);
    }
}

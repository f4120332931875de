//! The cores: how many, whether others use them, whether they run at full speed, whether they are whole.

use super::check::Check;
use super::kernel;
use crate::catalogue::environment;

const LOAD_PER_CORE_WISHED: f64 = 0.5;
const CPU: &str = "/sys/devices/system/cpu";

pub(super) fn examine(wanted: u32) -> Vec<Check> {
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = kernel::read("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok());
    vec![
        judge_count(available, wanted as usize),
        judge_load(load, available),
        judge_governor(kernel::read(format!("{CPU}/cpu0/cpufreq/scaling_governor")).as_deref()),
        judge_isolation(kernel::read(format!("{CPU}/isolated")).as_deref()),
        judge_threads(kernel::read(format!("{CPU}/smt/active")).as_deref()),
        judge_nodes(kernel::read("/sys/devices/system/node/online").as_deref()),
        judge_interrupts(
            kernel::read("/proc/irq/default_smp_affinity").as_deref(),
            wanted,
        ),
    ]
}

fn judge_count(available: usize, wanted: usize) -> Check {
    const NAME: &str = "cores";
    let seen = format!("{available} usable, {wanted} wanted");
    if wanted > available {
        Check::fatal(NAME, seen)
            .because("two pinned threads on one core would wait for each other")
            .fix(
                environment::TOO_FEW_CORES
                    .fix
                    .iter()
                    .map(|line| format!("# {line}")),
            )
            .code(&environment::TOO_FEW_CORES)
    } else {
        Check::ok(NAME, seen)
    }
}

fn judge_load(load: Option<f64>, cores: usize) -> Check {
    const NAME: &str = "load";
    match load {
        Some(load) if load > LOAD_PER_CORE_WISHED * cores as f64 => {
            Check::warn(NAME, format!("{load:.2} on {cores} cores"))
                .because(
                    "others keep the cores busy; measurements taken meanwhile say more about them",
                )
                .fix(["top -b -n 1 -o %CPU | head -n 20"])
        }
        Some(load) => Check::ok(NAME, format!("{load:.2} on {cores} cores")),
        None => Check::info(NAME, "the kernel does not tell"),
    }
}

fn judge_governor(governor: Option<&str>) -> Check {
    const NAME: &str = "frequency";
    match governor {
        Some("performance") => Check::ok(NAME, "governor performance"),
        Some(governor) => Check::warn(NAME, format!("governor {governor}"))
            .because(
                "a core that slept runs slowly at first, which lands in the tail of the latencies",
            )
            .fix([
                "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
            ]),
        None => Check::info(
            NAME,
            "not controlled from here, as in most virtual machines",
        ),
    }
}

fn judge_isolation(isolated: Option<&str>) -> Check {
    const NAME: &str = "isolation";
    match isolated {
        Some(cores) if !cores.is_empty() => {
            Check::ok(NAME, format!("cores {cores} are kept free by the kernel"))
        }
        _ => Check::info(
            NAME,
            "no core is kept free; isolcpus= on the kernel's command line would",
        ),
    }
}

fn judge_threads(active: Option<&str>) -> Check {
    const NAME: &str = "hyper-threading";
    match active {
        Some("1") => Check::warn(NAME, "on")
            .because("two pinned threads may share one physical core and halve each other")
            .fix([
                "echo off | sudo tee /sys/devices/system/cpu/smt/control",
                "# or use one core number of each pair only: lscpu -e",
            ]),
        Some(_) => Check::ok(NAME, "off"),
        None => Check::info(NAME, "the kernel does not tell"),
    }
}

fn judge_nodes(online: Option<&str>) -> Check {
    const NAME: &str = "memory nodes";
    match online {
        Some("0") => Check::ok(NAME, "one"),
        Some(nodes) => Check::info(
            NAME,
            format!("{nodes}: a core's memory is fastest on its own node"),
        ),
        None => Check::info(NAME, "the kernel does not tell"),
    }
}

/// The mask of processors that new interrupts go to, against the ones that cores are pinned to: from 0 on.
fn judge_interrupts(mask: Option<&str>, wanted: u32) -> Check {
    const NAME: &str = "interrupts";
    let low = mask.and_then(|mask| u32::from_str_radix(mask.rsplit(',').next()?, 16).ok());
    let pinned = 1_u32.checked_shl(wanted).map_or(u32::MAX, |bit| bit - 1);
    match low {
        Some(low) if low & pinned == 0 => Check::ok(
            NAME,
            "go to other processors than the first, where cores are pinned",
        ),
        Some(_) => Check::info(
            NAME,
            "may land on pinned cores; /proc/irq/*/smp_affinity_list moves them, start --cpus moves the cores",
        ),
        None => Check::info(NAME, "the kernel does not tell where they go"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::{Verdict, assert_verdict};

    #[test]
    fn more_cores_wanted_than_there_are_is_fatal() {
        assert_verdict(&judge_count(2, 3), Verdict::Fatal);
        assert_verdict(&judge_count(2, 2), Verdict::Ok);
    }

    #[test]
    fn interrupts_on_pinned_cores_are_told() {
        assert_verdict(&judge_interrupts(Some("3"), 2), Verdict::Info);
        assert_verdict(&judge_interrupts(Some("00000000,0000000c"), 2), Verdict::Ok);
        assert_verdict(&judge_interrupts(Some("ffffffff"), 64), Verdict::Info);
        assert_verdict(&judge_interrupts(None, 2), Verdict::Info);
    }

    #[test]
    fn a_busy_machine_is_warned_of() {
        assert_verdict(&judge_load(Some(1.1), 2), Verdict::Warn);
        assert_verdict(&judge_load(Some(0.9), 2), Verdict::Ok);
        assert_verdict(&judge_load(None, 2), Verdict::Info);
    }

    #[test]
    fn cores_that_save_power_are_warned_of() {
        assert_verdict(&judge_governor(Some("powersave")), Verdict::Warn);
        assert_verdict(&judge_governor(Some("performance")), Verdict::Ok);
        assert_verdict(&judge_governor(None), Verdict::Info);
    }

    #[test]
    fn shared_cores_and_several_memory_nodes_are_told() {
        assert_verdict(&judge_threads(Some("1")), Verdict::Warn);
        assert_verdict(&judge_threads(Some("0")), Verdict::Ok);
        assert_verdict(&judge_isolation(Some("")), Verdict::Info);
        assert_verdict(&judge_isolation(Some("2-5")), Verdict::Ok);
        assert_verdict(&judge_nodes(Some("0-1")), Verdict::Info);
        assert_verdict(&judge_nodes(Some("0")), Verdict::Ok);
    }
}

//! Holds a report to the rules of honest reporting: what is not valid, what weakens it, what the first
//! line must say.

use crate::report::{Repeats, Report};
use crate::text::{duration, short};
use crate::warning::Warning;

/// Durable writes of a core that may be in flight when counters are read.
const FSYNCS_IN_FLIGHT: u64 = 64;
/// Later requests than this share make latencies void, in percent.
const LATE_PCT_MAX: f64 = 1.0;
/// Runs from which on the machine's drift is taken to be excluded.
const REPEATS_MIN: u32 = 5;

/// The report with the rates of all runs in it.
pub(crate) fn with_repeats(mut report: Report, rates: Vec<f64>) -> Report {
    let mut sorted = rates.clone();
    sorted.sort_by(f64::total_cmp);
    let n = u32::try_from(sorted.len()).unwrap_or(u32::MAX);
    let (worst, median) = (sorted[0], sorted[(sorted.len() - 1) / 2]);
    report.repeats = Repeats {
        n,
        tx_per_s: rates,
        median,
        worst,
        ci95: median_bounds(&sorted),
    };
    report
        .warnings
        .retain(|warning| *warning != Warning::FewRepeats);
    if n < REPEATS_MIN {
        report.warnings.push(Warning::FewRepeats);
    }
    report.headline = headline(&report);
    report
}

/// Values of a sorted sample between which its median lies with a confidence of at least 95 %.
fn median_bounds(sorted: &[f64]) -> Option<[f64; 2]> {
    let n = sorted.len();
    // Outside of ranks k and n-1-k lies twice the binomial tail of fewer than k+1 heads in n throws.
    let (mut tail, mut term) = (0.0, 0.5f64.powi(i32::try_from(n).ok()?));
    let mut best = None;
    for k in 0..n / 2 {
        tail += term;
        term *= (n - k) as f64 / (k + 1) as f64;
        if 2.0 * tail > 0.05 {
            break;
        }
        best = Some([sorted[k], sorted[n - 1 - k]]);
    }
    best
}

/// Latencies are valid only from an open loop that kept its schedule.
pub(crate) fn judge_latency(report: &mut Report) {
    let late = report.generator.late_pct.unwrap_or(0.0);
    let why_not = if !report.generator.open_loop {
        Some(
            "closed loop, not valid as a latency: a slow reply delays the requests after it"
                .to_owned(),
        )
    } else if report.latency.client_e2e.count == 0 {
        Some("nothing was answered".to_owned())
    } else if late >= LATE_PCT_MAX {
        Some(format!(
            "the generator was late for {late:.2} % of requests, 1 % is allowed"
        ))
    } else if report.generator.dropped != Some(0) {
        Some("part of the offered load never left: the rate is beyond what is served".to_owned())
    } else {
        None
    };
    report.latency.valid = why_not.is_none();
    report.latency.why_not = why_not;
}

/// All that weakens the report's numbers. `in_memory`: the data folder is.
pub(crate) fn warnings(report: &Report, in_memory: bool) -> Vec<Warning> {
    let durability = &report.durability;
    let allowed =
        FSYNCS_IN_FLIGHT * u64::from(report.replication.replicas * report.replication.cores);
    let uncompleted = durability
        .fsyncs_issued
        .zip(durability.fsyncs)
        .is_some_and(|(issued, completed)| issued > completed + allowed);
    let silent = durability.volatile_cache == Some(true)
        && durability.mode != "fua"
        && durability.device_flushes_seen == Some(0);
    let half = report.latency.client_e2e.p999_ns / 2;
    let rules = [
        (Warning::NotDurable, durability.mode == "none"),
        (Warning::InMemory, in_memory),
        (Warning::DurabilityUnstated, durability.mode == "unstated"),
        (Warning::FsyncsUncompleted, uncompleted),
        (Warning::NoDeviceFlush, silent),
        (
            Warning::HostLimited,
            report.latency.client_e2e.count > 0 && report.hiccup.p999_ns > half,
        ),
        (
            Warning::GeneratorLate,
            report
                .generator
                .late_pct
                .is_some_and(|pct| pct >= LATE_PCT_MAX),
        ),
        (
            Warning::LoadDropped,
            report.generator.dropped.is_some_and(|count| count > 0),
        ),
        (
            Warning::HostBusy,
            report.cpu.steal_pct.is_some_and(|pct| pct > 1.0),
        ),
        (Warning::DebugBuild, report.run.profile == "debug"),
        (Warning::Rejections, report.claim.rejected > 0),
        (
            Warning::NotClosed,
            report
                .closure
                .unaccounted_pct
                .is_some_and(|pct| pct.abs() > 1.0),
        ),
        (Warning::NoStages, report.closure.unaccounted_pct.is_none()),
        (Warning::Elections, report.replication.elections > 0),
    ];
    rules
        .into_iter()
        .filter_map(|(warning, holds)| holds.then_some(warning))
        .collect()
}

/// The result in one line, with everything beside the number that it depends on.
fn headline(report: &Report) -> String {
    let mut marks = String::new();
    if !report.passed {
        marks.push_str("FAILED: ");
    }
    if report.warnings.contains(&Warning::NotDurable)
        || report.warnings.contains(&Warning::InMemory)
    {
        marks.push_str("NOT DURABLE: ");
    }
    let replication = &report.replication;
    let wan = match replication.wan {
        "none" => "no WAN".to_owned(),
        wan => format!("{wan} WAN"),
    };
    let plural = |count: u32| if count == 1 { "" } else { "s" };
    let mut parts = vec![
        format!(
            "{} replica{}",
            replication.replicas,
            plural(replication.replicas)
        ),
        format!("{} host{}", replication.hosts, plural(replication.hosts)),
        wan,
        report.durability.mode.clone(),
        format!("batch {}", report.claim.batch),
        if report.generator.open_loop {
            "open loop"
        } else {
            "closed loop"
        }
        .to_owned(),
    ];
    if report.latency.valid {
        parts.push(format!(
            "p99 {}",
            duration(report.latency.client_e2e.p99_ns)
        ));
    }
    if report.repeats.n > 1 {
        parts.push(format!("median of {} runs", report.repeats.n));
    }
    format!(
        "{marks}{} tx/s ({})",
        short(report.claim.tx_per_s),
        parts.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_bounded_from_six_runs_on() {
        let sample = |n: u32| (0..n).map(f64::from).collect::<Vec<f64>>();
        assert_eq!(median_bounds(&sample(5)), None);
        assert_eq!(median_bounds(&sample(6)), Some([0.0, 5.0]));
        assert_eq!(median_bounds(&sample(8)), Some([0.0, 7.0]));
        assert_eq!(median_bounds(&sample(9)), Some([1.0, 7.0]));
        assert_eq!(median_bounds(&sample(20)), Some([5.0, 14.0]));
    }
}

//! Runs that end well, however bumpy the way: refusals, retries, lost connections, new leaders.

use crate::fake::{Fake, Fault};
use bench::options::Arrival;
use bench::progress::Silent;
use bench::schedule::Schedule;
use bench::{Options, Report, run_against};
use std::time::Duration;

pub(crate) fn short() -> Options {
    Options {
        clients: 4,
        batch: 50,
        accounts: 100,
        warmup: Duration::from_millis(50),
        duration: Duration::from_millis(200),
        settle_limit: Duration::from_secs(60),
        start_limit: Duration::from_secs(60),
        ..Options::default()
    }
}

pub(crate) fn run(fault: Fault, groups: u32, options: &Options) -> Report {
    let fake = Fake::start(fault, groups);
    run_against(&fake.target, options, &mut Silent).expect("the run can be made")
}

fn check_passes(fault: Fault, options: &Options) -> Report {
    let report = run(fault, 1, options);
    assert!(report.passed(), "{fault:?}:\n{}", report.to_text());
    assert!(report.claim.accepted > 0 && report.correctness.verified >= report.claim.accepted);
    assert_eq!(
        (
            report.correctness.in_doubt,
            report.correctness.replicas_checked
        ),
        (0, 3)
    );
    report
}

#[test]
fn a_faithful_cluster_passes() {
    let report = check_passes(Fault::None, &short());
    let generator = &report.generator;
    assert_eq!(
        (generator.busy, generator.not_leader, generator.reconnects),
        (0, 0, 0)
    );
    assert_eq!(report.claim.rejected, 0);
    assert!(!report.latency.valid && report.latency.client_e2e.count > 0);
    let accepted: u64 = report.claim.tx_by_second.iter().sum();
    assert_eq!(accepted, report.claim.accepted);
}

#[test]
fn stages_are_those_of_the_window_and_are_added_up() {
    let report = check_passes(Fault::None, &short());
    let names: Vec<&str> = report.latency.stages.keys().map(String::as_str).collect();
    let all = [
        "apply",
        "decide",
        "persist",
        "receive",
        "replicate",
        "reply",
        "server.e2e",
        "wal.write",
    ];
    assert_eq!(names, all);
    let persist = &report.latency.stages["persist"];
    assert_eq!(persist.summary.p50_ns, 300);
    assert!(
        persist
            .share_pct
            .is_some_and(|share| (29.0..31.0).contains(&share))
    );
    assert_eq!(report.latency.stages["wal.write"].share_pct, None);
    // The three fake replicas tell the same values each; warm-up is not among them.
    let requests = report.correctness.verified / 50;
    assert!(persist.summary.count > 0 && persist.summary.count <= 3 * requests);
    let unaccounted = report.closure.unaccounted_pct.expect("there are stages");
    assert!((0.5..1.5).contains(&unaccounted), "{unaccounted}");
    assert!(report.to_text().contains("unaccounted"));
}

#[test]
fn groups_and_windows_pass() {
    let options = Options {
        clients: 7,
        window: 4,
        threads: 2,
        batch: 1,
        ..short()
    };
    let report = run(Fault::None, 3, &options);
    assert!(report.passed(), "{}", report.to_text());
    assert_eq!(
        (report.replication.groups, report.generator.threads),
        (3, 2)
    );
}

#[test]
fn a_skewed_choice_passes() {
    check_passes(
        Fault::None,
        &Options {
            zipf: Some(0.99),
            ..short()
        },
    );
}

#[test]
fn an_open_loop_keeps_its_schedule() {
    for arrival in [Arrival::Poisson, Arrival::Uniform] {
        let options = Options {
            rate: Some(10_000.0),
            arrival,
            ..short()
        };
        let report = check_passes(Fault::None, &options);
        assert!(report.generator.open_loop);
        assert_eq!(report.claim.offered_tx_per_s, Some(10_000.0));
        // 200 requests per second, from 50 ms to 250 ms.
        let mut schedule = Schedule::new(options.seed, 0, 1, arrival, 200.0);
        let instants = std::iter::repeat_with(|| schedule.take());
        let before_close = instants.take_while(|instant| *instant < 250_000_000);
        let due = before_close
            .filter(|instant| *instant >= 50_000_000)
            .count() as u64;
        assert_eq!(report.latency.lag.count, due);
        assert_eq!(report.latency.client_e2e.count, due);
        assert_eq!(report.generator.dropped, Some(0));
    }
}

#[test]
fn busy_servers_are_asked_again() {
    let report = check_passes(Fault::Busy, &short());
    assert!(report.generator.busy > 0 && report.claim.rejected == 0);
}

#[test]
fn a_leader_that_hands_over_is_followed() {
    let report = check_passes(Fault::HandOver, &short());
    assert!(report.generator.not_leader > 0);
}

#[test]
fn a_leader_that_nobody_knows_is_found() {
    let report = check_passes(Fault::HandOverInSilence, &short());
    assert!(report.generator.not_leader > 0);
}

#[test]
fn requests_of_a_lost_connection_are_sent_again() {
    for fault in [Fault::BreakBefore, Fault::BreakAfter] {
        let report = check_passes(
            fault,
            &Options {
                window: 3,
                ..short()
            },
        );
        assert!(report.generator.reconnects > 0, "{fault:?}");
        assert_eq!(
            report.claim.rejected, 0,
            "what exists after a retry is a success"
        );
    }
}

#[test]
fn refusals_are_counted_and_checked() {
    let report = check_passes(Fault::Refuse, &short());
    assert!(report.claim.rejected > 0, "one in a thousand");
    assert!(report.to_text().contains("some transfers were refused"));
}

#[test]
fn what_was_never_answered_is_settled_by_the_replicas() {
    let options = Options {
        settle_limit: Duration::from_millis(300),
        ..short()
    };
    let report = run(Fault::Mute, 1, &options);
    assert!(report.passed(), "{}", report.to_text());
    assert!(report.correctness.in_doubt > 0);
    assert_eq!(
        report.correctness.in_doubt_applied,
        report.correctness.in_doubt
    );
}

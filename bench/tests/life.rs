//! Runs that end well, however bumpy the way: refusals, retries, lost connections, new leaders.

use crate::fake::{Fake, Fault};
use bench::options::Arrival;
use bench::progress::Silent;
use bench::{Options, Report, run_against};
use std::time::Duration;

pub(crate) fn short() -> Options {
    Options {
        clients: 4,
        batch: 50,
        accounts: 100,
        warmup: Duration::from_millis(50),
        duration: Duration::from_millis(200),
        settle_limit: Duration::from_secs(5),
        start_limit: Duration::from_secs(5),
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
        // 200 requests per second for 0.2 s, give or take chance.
        assert!(
            (15..=70).contains(&report.latency.lag.count),
            "{}",
            report.latency.lag.count
        );
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

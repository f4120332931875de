//! Replicas that do wrong: the proof finds each fault, and says what it is.

use crate::fake::{Fake, Fault};
use crate::life::{run, short};
use bench::error::ProtocolFault;
use bench::progress::{Phase, Silent};
use bench::verdict::{Correctness, Finding};
use bench::{BenchError, Options, Progress, run_against};
use std::time::Duration;

fn check_found(
    fault: Fault,
    expected: impl Fn(&Correctness) -> bool,
    finding: impl Fn(&Finding) -> bool,
) {
    let options = Options {
        settle_limit: Duration::from_millis(300),
        ..short()
    };
    let report = run(fault, 1, &options);
    let found = &report.correctness;
    assert!(
        !report.passed() && report.headline.starts_with("FAILED: "),
        "{fault:?}: {found:?}"
    );
    assert!(expected(found), "{fault:?}: {found:?}");
    assert!(found.findings.iter().any(finding), "{fault:?}: {found:?}");
    assert!(report.to_text().contains("FAILED"));
}

#[test]
fn a_lost_acknowledged_transfer() {
    check_found(
        Fault::Lose,
        |found| found.lost_acks > 0 && found.duplicates == 0 && found.replica_digests_equal,
        |finding| {
            matches!(
                finding,
                Finding::Lost {
                    node: 3,
                    group: 0,
                    ..
                }
            )
        },
    );
}

#[test]
fn money_moved_twice() {
    check_found(
        Fault::MoveTwice,
        |found| !found.conservation && found.lost_acks == 0,
        |finding| matches!(finding, Finding::Balance { node: 3, .. }),
    );
}

#[test]
fn a_transfer_stored_twice() {
    check_found(
        Fault::StoreTwice,
        |found| found.duplicates > 0 && found.conservation,
        |finding| matches!(finding, Finding::Count { node: 3, .. }),
    );
}

#[test]
fn an_altered_transfer() {
    check_found(
        Fault::Alter,
        |found| found.altered > 0 && found.lost_acks == 0,
        |finding| matches!(finding, Finding::Altered { node: 3, .. }),
    );
}

#[test]
fn a_debit_without_its_credit() {
    check_found(
        Fault::DebitOnly,
        |found| !found.conservation,
        |finding| matches!(finding, Finding::Unbalanced { node: 3, .. }),
    );
}

#[test]
fn a_digest_of_its_own() {
    check_found(
        Fault::Digest,
        |found| !found.replica_digests_equal && found.lost_acks == 0 && found.conservation,
        |finding| matches!(finding, Finding::Digest { node: 3, .. }),
    );
}

#[test]
fn a_replica_that_stays_behind() {
    check_found(
        Fault::Behind,
        |found| !found.replica_digests_equal,
        |finding| matches!(finding, Finding::Behind { node: 3, .. }),
    );
}

#[test]
fn a_refusal_that_took_place() {
    check_found(
        Fault::RefuseAndDo,
        |found| found.refused_but_present > 0 && found.lost_acks == 0,
        |finding| matches!(finding, Finding::RefusedButPresent { .. }),
    );
}

#[test]
fn an_unanswered_request_that_only_some_replicas_hold() {
    check_found(
        Fault::MuteAndSplit,
        |found| found.in_doubt > 0 && found.in_doubt_split > 0,
        |finding| matches!(finding, Finding::InDoubtSplit { .. }),
    );
}

fn check_error(fault: Fault, expected: impl Fn(&BenchError) -> bool) {
    let fake = Fake::start(fault, 1);
    let error = run_against(&fake.target, &short(), &mut Silent).expect_err("it breaks the rules");
    assert!(expected(&error), "{error}");
}

#[test]
fn too_few_results() {
    check_error(Fault::Short, |error| {
        let fault = ProtocolFault::Length {
            found: 49 * 16,
            wanted: 50 * 16,
        };
        matches!(error, BenchError::Protocol { node: 2, fault: found } if *found == fault)
    });
}

#[test]
fn an_answer_to_nothing() {
    check_error(Fault::Unasked, |error| {
        matches!(
            error,
            BenchError::Protocol {
                fault: ProtocolFault::UnknownReply(_),
                ..
            }
        )
    });
}

#[test]
fn nobody_listens() {
    let mut target = Fake::start(Fault::None, 1).target;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    target.nodes[1].base = socket.local_addr().expect("bound");
    drop(socket);
    let options = Options {
        start_limit: Duration::from_millis(100),
        ..short()
    };
    let error = run_against(&target, &options, &mut Silent).expect_err("a node is missing");
    let told = error.to_string();
    assert!(
        matches!(
            error,
            BenchError::Late {
                phase: Phase::Start,
                ..
            }
        ),
        "{told}"
    );
    assert!(told.contains("node 2"), "{told}");
}

/// Stops the run in one phase.
struct Stop {
    at: Phase,
    reached: bool,
}

impl Progress for Stop {
    fn begin(&mut self, phase: Phase, _total: u64) {
        self.reached |= phase == self.at;
    }

    fn advance(&mut self, _done: u64, _transfers: u64) {}

    fn cancelled(&self) -> bool {
        self.reached
    }
}

#[test]
fn a_run_stops_when_asked_to() {
    for at in [
        Phase::Start,
        Phase::Accounts,
        Phase::Warmup,
        Phase::Load,
        Phase::Settle,
    ] {
        let fake = Fake::start(Fault::None, 1);
        let error = run_against(&fake.target, &short(), &mut Stop { at, reached: false });
        let error = error.expect_err("it was stopped");
        assert!(
            matches!(error, BenchError::Cancelled { .. }),
            "{at}: {error}"
        );
    }
}

//! Proves a run: every acknowledged transfer on every replica, nothing twice, money conserved, states equal.
//!
//! - It asks each replica by itself (local reads) and believes none of them on behalf of another.
//! - Each transfer is drawn again from the workload and compared field by field; each balance is compared
//!   with the sum of the transfers found. Counts and sums that a replica gives of itself come on top.
//! - What was never answered for may be there or not, but on all replicas alike.

use crate::acks::{Due, Fate, StreamLog};
use crate::clock::{Clock, nanos};
use crate::error::BenchError;
use crate::inquiry::{Inquiry, NodeTally};
use crate::progress::{Phase, Progress};
use crate::setup::Observers;
use crate::status::GroupStatus;
use crate::target::Target;
use crate::ticker::Ticker;
use crate::verdict::{Correctness, Finding};
use crate::workload::Workload;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// How often the replicas are asked whether they are level.
const ASK_NS: u64 = 10_000_000;
/// Most findings in a report.
const FINDINGS_MAX: usize = 50;

/// What is to be proved.
pub(crate) struct Case<'a> {
    pub(crate) target: &'a Target,
    pub(crate) workload: &'a Workload,
    pub(crate) logs: &'a [StreamLog],
    pub(crate) clock: Clock,
    pub(crate) limit: Duration,
}

/// Proves the run. Errors mean that a replica could not be asked; what is wrong is in the answer.
pub(crate) fn prove(
    case: &Case,
    observers: &mut Observers,
    progress: &mut dyn Progress,
) -> Result<Correctness, BenchError> {
    let began = case.clock.now();
    progress.begin(Phase::Settle, 0);
    let mut findings = level(case, observers, progress)?;
    let replica_digests_equal = findings.is_empty();
    let tallies = inquire(case, progress)?;
    let mut correctness = Correctness {
        conservation: tallies.iter().all(|tally| tally.conserved),
        replica_digests_equal,
        checker: "each transfer looked up on each replica, each balance summed anew",
        replicas_checked: u32::try_from(tallies.len()).expect("few replicas"),
        ..Correctness::default()
    };
    for log in case.logs {
        let totals = log.totals(case.workload.batch());
        correctness.verified += totals.acknowledged;
        correctness.in_doubt += totals.in_doubt;
    }
    for tally in &tallies {
        correctness.duplicates += tally.duplicates;
        correctness.lost_acks += tally.lost;
        correctness.altered += tally.altered;
        correctness.refused_but_present += tally.refused_but_present;
    }
    let doubtful = compare_doubtful(case, &tallies, &mut findings);
    correctness.in_doubt_applied = doubtful.applied;
    correctness.in_doubt_split = doubtful.split;
    for tally in tallies {
        findings.extend(tally.findings);
    }
    findings.truncate(FINDINGS_MAX);
    correctness.findings = findings;
    correctness.took_ms = (case.clock.now() - began) / 1_000_000;
    Ok(correctness)
}

/// Waits until all replicas of each group have applied the same index: what differs then, or is missing.
fn level(
    case: &Case,
    observers: &mut Observers,
    progress: &mut dyn Progress,
) -> Result<Vec<Finding>, BenchError> {
    let deadline = case.clock.now().saturating_add(nanos(case.limit));
    let ticker = Ticker::every(ASK_NS)?;
    loop {
        if progress.cancelled() {
            return Err(BenchError::Cancelled {
                during: Phase::Settle,
            });
        }
        let mut replicas: BTreeMap<u32, Vec<(u32, GroupStatus)>> = BTreeMap::new();
        for (position, node) in case.target.nodes.iter().enumerate() {
            for status in observers.statuses(position)? {
                for (group, status) in status.groups {
                    replicas.entry(group).or_default().push((node.id, status));
                }
            }
        }
        let behind: Vec<Finding> = replicas
            .iter()
            .flat_map(|(&group, all)| behind(group, all))
            .collect();
        if behind.is_empty() {
            return Ok(replicas
                .iter()
                .flat_map(|(&group, all)| differing(group, all))
                .collect());
        }
        if case.clock.now() > deadline {
            return Ok(behind);
        }
        ticker.wait();
    }
}

fn behind(group: u32, replicas: &[(u32, GroupStatus)]) -> Vec<Finding> {
    let furthest = replicas
        .iter()
        .map(|(_, status)| status.commit.max(status.applied))
        .max();
    let wanted = furthest.unwrap_or(0);
    let late = replicas
        .iter()
        .filter(|(_, status)| status.applied < wanted);
    late.map(|&(node, ref status)| Finding::Behind {
        node,
        group,
        applied: status.applied,
        wanted,
    })
    .collect()
}

fn differing(group: u32, replicas: &[(u32, GroupStatus)]) -> Vec<Finding> {
    let Some((_, first)) = replicas.first() else {
        return Vec::new();
    };
    let other = replicas
        .iter()
        .filter(|(_, status)| status.digest != first.digest);
    other
        .map(|&(node, ref status)| Finding::Digest {
            node,
            group,
            index: status.applied,
        })
        .collect()
}

/// Asks all replicas at once, each on a thread of its own.
fn inquire(case: &Case, progress: &mut dyn Progress) -> Result<Vec<NodeTally>, BenchError> {
    let each: u64 = case
        .logs
        .iter()
        .map(|log| log.batches().count() as u64)
        .sum();
    let total = each * u64::from(case.workload.batch()) * case.target.nodes.len() as u64;
    progress.begin(Phase::Proof, total);
    let (asked, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let ticker = Ticker::every(ASK_NS)?;
    std::thread::scope(|scope| {
        let ask = |node| {
            let inquiry = Inquiry {
                target: case.target,
                workload: case.workload,
                logs: case.logs,
                node,
            };
            let (asked, stop) = (&asked, &stop);
            std::thread::Builder::new()
                .name("bench-proof".to_owned())
                .spawn_scoped(scope, move || inquiry.run(asked, stop))
                .map_err(BenchError::io("starting a thread"))
        };
        let threads: Vec<_> = (0..case.target.nodes.len())
            .map(ask)
            .collect::<Result<_, _>>()?;
        while !threads.iter().all(ScopedJoinHandle::is_finished) {
            if progress.cancelled() {
                stop.store(true, Ordering::Relaxed);
            }
            progress.advance(asked.load(Ordering::Relaxed), 0);
            ticker.wait();
        }
        let died = |_| BenchError::Thread { thread: "proof" };
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(died)?)
            .collect()
    })
}

/// What became of the transfers that were never answered for.
#[derive(Default)]
struct Doubtful {
    applied: u64,
    split: u64,
}

/// Compares the replicas' answers about them, which are all in one order.
fn compare_doubtful(case: &Case, tallies: &[NodeTally], findings: &mut Vec<Finding>) -> Doubtful {
    let mut doubtful = Doubtful::default();
    let mut places = vec![0usize; case.target.groups as usize];
    for log in case.logs {
        let group = log.group();
        for (key, _) in log.batches().filter(|(_, fate)| *fate == Fate::InDoubt) {
            for position in 0..case.workload.batch() {
                debug_assert_eq!(log.due(key, Fate::InDoubt, position), Due::Either);
                let place = places[group as usize];
                places[group as usize] += 1;
                let mut found = tallies
                    .iter()
                    .map(|tally| tally.doubtful[group as usize][place]);
                let first = found.next().unwrap_or(false);
                doubtful.applied += u64::from(first);
                if found.any(|other| other != first) {
                    doubtful.split += 1;
                    let (stream, sequence) = (key.stream, key.sequence);
                    findings.push(Finding::InDoubtSplit {
                        group,
                        stream,
                        sequence,
                    });
                }
            }
        }
    }
    doubtful
}

//! Makes the report of a run out of what was measured.

use crate::clock::Clock;
use crate::hlog::Interval;
use crate::honesty::{judge_latency, warnings, with_repeats};
use crate::host::{self, Disk};
use crate::load::Loaded;
use crate::options::Options;
use crate::report::{
    Claim, Closure, Cpu, Durability, Env, Generator, Hiccup, Latency, ProcessCpu, Repeats,
    Replication, Report, Run, SCHEMA_VERSION, Summary, summarise,
};
use crate::schedule::exponential_probability;
use crate::snapshot::{NodeSnapshot, grown};
use crate::stages::{CLIENT_E2E, CLIENT_LAG, HICCUP, SERVER_E2E, Stages};
use crate::target::Target;
use crate::verdict::Correctness;
use ledger::status::CreateTransferStatus;
use std::collections::BTreeMap;
use std::time::Duration;

/// What one run has brought.
pub(crate) struct Measured {
    pub(crate) loaded: Loaded,
    pub(crate) correctness: Correctness,
    pub(crate) clock: Clock,
    pub(crate) disk: Option<Disk>,
    pub(crate) target: Target,
    pub(crate) run_id: u64,
}

impl Measured {
    /// What the servers' stages took in the window.
    fn stages(&self) -> Stages {
        self.loaded
            .closed
            .stages
            .clone()
            .since(&self.loaded.opened.stages)
    }

    /// Seconds between the two snapshots.
    fn between_s(&self) -> f64 {
        (self.loaded.closed.at - self.loaded.opened.at) as f64 / 1e9
    }

    /// Transfers acknowledged between them.
    fn between(&self) -> u64 {
        self.loaded.closed.acknowledged - self.loaded.opened.acknowledged
    }

    fn window_s(&self) -> f64 {
        (self.loaded.timeline.close - self.loaded.timeline.open) as f64 / 1e9
    }

    /// What a counter of the nodes has grown by, all together.
    fn grown(&self, counter: impl Fn(&NodeSnapshot) -> Option<u64>) -> Option<u64> {
        let nodes = self
            .loaded
            .opened
            .nodes
            .iter()
            .zip(&self.loaded.closed.nodes);
        nodes
            .map(|(before, after)| grown(counter(before), counter(after)))
            .sum()
    }

    /// Lines for the interval log.
    pub(crate) fn intervals(&self) -> Vec<Interval> {
        let (tally, timeline) = (&self.loaded.tally, &self.loaded.timeline);
        let (open, length) = (
            Duration::from_nanos(timeline.open),
            Duration::from_nanos(timeline.close - timeline.open),
        );
        let second = Duration::from_secs(1);
        let mut lines: Vec<Interval> = (0u32..)
            .zip(&tally.intervals)
            .map(|(index, histogram)| Interval {
                stage: CLIENT_E2E.to_owned(),
                start: open + index * second,
                length: second.min(length.saturating_sub(index * second)),
                histogram: histogram.clone(),
            })
            .collect();
        let mut whole = |stage: &str, histogram: &hdrhistogram::Histogram<u64>| {
            lines.push(Interval {
                stage: stage.to_owned(),
                start: open,
                length,
                histogram: histogram.clone(),
            });
        };
        whole(CLIENT_LAG, &tally.lag);
        whole(HICCUP, &self.loaded.hiccup);
        for (name, histogram) in self.stages().ordered() {
            whole(name, histogram);
        }
        lines
    }
}

/// The report of one run.
pub(crate) fn assemble(options: &Options, measured: &Measured) -> Report {
    let stages = measured.stages();
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        headline: String::new(),
        passed: measured.correctness.is_right() && measured.loaded.tally.accepted > 0,
        warnings: Vec::new(),
        run: run(options, measured),
        claim: claim(options, measured),
        durability: durability(measured),
        replication: replication(options, measured),
        prepared: None,
        latency: latency(options, measured, &stages),
        generator: generator(options, measured),
        closure: Closure {
            unaccounted_pct: stages.unaccounted_pct(),
        },
        cpu: cpu(measured),
        stalls: None,
        hiccup: Hiccup::of(&measured.loaded.hiccup),
        correctness: measured.correctness.clone(),
        env: env(options, measured),
        repeats: Repeats::default(),
        files: Vec::new(),
    };
    judge_latency(&mut report);
    let in_memory = measured.disk.as_ref().is_some_and(Disk::in_memory);
    report.warnings = warnings(&report, in_memory);
    let rate = report.claim.tx_per_s;
    with_repeats(report, vec![rate])
}

fn run(options: &Options, measured: &Measured) -> Run {
    Run {
        id: format!("{:016x}", measured.run_id),
        seed: options.seed,
        started_unix_ms: measured.clock.started_unix_ms(),
        duration_s: measured.window_s(),
        warmup_s: options.warmup.as_secs_f64(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: options.commit.clone(),
        profile: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        }
        .to_owned(),
        argv: options.argv.clone(),
    }
}

fn claim(options: &Options, measured: &Measured) -> Claim {
    let tally = &measured.loaded.tally;
    let mut rejected_by_code: BTreeMap<String, u64> = BTreeMap::new();
    for (status, count) in &tally.refused {
        rejected_by_code.insert(status_name(*status), *count);
    }
    for (status, count) in &tally.refused_requests {
        let name = net::request::Status::try_from(*status).map(|status| format!("{status:?}"));
        let name = name.unwrap_or_else(|unknown| unknown.0.to_string());
        rejected_by_code.insert(format!("request:{name}"), *count);
    }
    Claim {
        tx_per_s: tally.accepted as f64 / measured.window_s(),
        unit: "transfer",
        batches_per_s: tally.requests as f64 / measured.window_s(),
        batch: options.batch,
        offered_tx_per_s: options.rate,
        accepted: tally.accepted,
        rejected: rejected_by_code.values().sum(),
        rejected_by_code,
        tx_by_second: tally.by_second.clone(),
        acked_before_durable: stated_mode(measured).is_some_and(|mode| mode == "none"),
    }
}

/// A ledger's status for a reader.
fn status_name(status: u32) -> String {
    let known = CreateTransferStatus::from_number(status).map(|status| status.name().to_owned());
    known.unwrap_or_else(|| status.to_string())
}

/// How the servers say they make records durable, where all say the same.
fn stated_mode(measured: &Measured) -> Option<String> {
    let mut modes = measured
        .loaded
        .closed
        .nodes
        .iter()
        .map(|node| node.durability.clone());
    let first = modes.next()??;
    modes
        .all(|mode| mode.as_ref() == Some(&first))
        .then_some(first)
}

fn durability(measured: &Measured) -> Durability {
    let fsyncs = measured.grown(|node| node.fsyncs);
    let replicas = measured.target.nodes.len() as f64;
    Durability {
        mode: stated_mode(measured).unwrap_or_else(|| "unstated".to_owned()),
        fsyncs,
        fsyncs_issued: measured.grown(|node| node.fsyncs_issued),
        bytes: measured.grown(|node| node.bytes),
        fsync_per_s: fsyncs.map(|count| count as f64 / measured.between_s()),
        entries_per_fsync: fsyncs
            .filter(|count| *count > 0)
            .map(|count| measured.between() as f64 / (count as f64 / replicas)),
        device_flushes_seen: grown(
            measured.loaded.opened.flushes,
            measured.loaded.closed.flushes,
        ),
        volatile_cache: measured.disk.as_ref().and_then(|disk| disk.volatile_cache),
    }
}

fn replication(options: &Options, measured: &Measured) -> Replication {
    let target = &measured.target;
    let mut hosts: Vec<_> = target.nodes.iter().map(|node| node.base.ip()).collect();
    hosts.sort();
    hosts.dedup();
    let loopback = hosts.iter().all(|host| host.is_loopback());
    let hosts = if loopback {
        1
    } else {
        u32::try_from(hosts.len()).unwrap_or(u32::MAX)
    };
    let terms = |nodes: &[NodeSnapshot]| nodes.iter().map(|node| node.terms).max().unwrap_or(0);
    let elections =
        terms(&measured.loaded.closed.nodes).saturating_sub(terms(&measured.loaded.opened.nodes));
    Replication {
        replicas: options.replicas,
        quorum: options.replicas / 2 + 1,
        groups: target.groups,
        cores: target.cores,
        hosts,
        processes: options.replicas,
        same_host: hosts == 1,
        wan: if loopback { "none" } else { "real" },
        elections,
    }
}

fn latency(options: &Options, measured: &Measured, stages: &Stages) -> Latency {
    let tally = &measured.loaded.tally;
    Latency {
        valid: false,
        why_not: None,
        client_e2e: Summary::of(&tally.e2e),
        outside: Summary::of(&tally.outside),
        server_e2e: stages.get(SERVER_E2E).map(Summary::of),
        lag: Summary::of(&tally.lag),
        stages: summarise(stages, options.hlog.is_some()),
    }
}

fn generator(options: &Options, measured: &Measured) -> Generator {
    let tally = &measured.loaded.tally;
    let open_loop = options.rate.is_some();
    let share = |count: u64| {
        let pct = if tally.departed == 0 {
            0.0
        } else {
            count as f64 / tally.departed as f64 * 100.0
        };
        open_loop.then_some(pct)
    };
    let poisson = options
        .rate
        .filter(|_| options.arrival == crate::options::Arrival::Poisson);
    let ks_p = poisson.and_then(|rate| {
        let threads = f64::from(measured.loaded.threads);
        let mean_ns = 1e9 * f64::from(options.batch) * threads / rate;
        exponential_probability(&mut tally.gaps.clone(), mean_ns)
    });
    Generator {
        open_loop,
        arrival: if open_loop {
            options.arrival.as_str()
        } else {
            "closed"
        },
        clients: options.clients,
        connections: options.connections_resolved(),
        window: options.window_resolved(),
        threads: measured.loaded.threads,
        late_pct: share(tally.late),
        held_pct: share(tally.held),
        dropped: open_loop.then_some(tally.dropped),
        ks_p,
        busy: tally.busy,
        not_leader: tally.not_leader,
        reconnects: tally.reconnects,
    }
}

fn cpu(measured: &Measured) -> Cpu {
    let (opened, closed) = (&measured.loaded.opened, &measured.loaded.closed);
    let transfers = measured.between();
    let process = |role, node, used: Option<u64>, resident_bytes| ProcessCpu {
        role,
        node,
        ns_per_transfer: used
            .filter(|_| transfers > 0)
            .map(|ns| ns as f64 / transfers as f64),
        busy_pct: used.map(|ns| ns as f64 / 1e7 / measured.between_s()),
        resident_bytes,
    };
    let client = grown(opened.client_cpu_ns, closed.client_cpu_ns);
    let mut processes = vec![process(
        "client",
        None,
        client,
        host::process_resident(std::process::id()),
    )];
    let nodes = opened
        .nodes
        .iter()
        .zip(&closed.nodes)
        .zip(&measured.target.nodes);
    for ((before, after), node) in nodes {
        let role = match after.leads {
            0 => "follower",
            all if all == measured.target.groups => "leader",
            _ => "mixed",
        };
        processes.push(process(
            role,
            Some(node.id),
            grown(before.cpu_ns, after.cpu_ns),
            after.resident,
        ));
    }
    let ticks = opened.ticks.zip(closed.ticks).map(|(before, after)| {
        let total = (after.total - before.total).max(1) as f64;
        let busy = total - (after.idle - before.idle) as f64;
        let steal = (after.steal - before.steal) as f64;
        (busy / total * 100.0, steal / total * 100.0)
    });
    Cpu {
        total_ns_per_transfer: processes
            .iter()
            .map(|process| process.ns_per_transfer)
            .sum(),
        processes,
        host_busy_pct: ticks.map(|(busy, _)| busy),
        steal_pct: ticks.map(|(_, steal)| steal),
    }
}

fn env(options: &Options, measured: &Measured) -> Env {
    let disk = measured.disk.clone().unwrap_or_default();
    Env {
        cpu: host::processor_model(),
        cores: host::processors(),
        kernel: host::kernel(),
        memory_bytes: host::memory(),
        disk: disk.device,
        fs: disk.file_system,
        mitigations: host::mitigations(),
        governor: host::governor(),
        virt: host::virtual_machine(),
        container: host::container(),
        clocksource: host::clock_source(),
        loadavg_start: measured.loaded.opened.load_average,
        loadavg_end: measured.loaded.closed.load_average,
        io: options.io.as_str(),
    }
}

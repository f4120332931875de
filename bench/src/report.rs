//! What a run found, as a document: every field of the JSON, and the rules of honest reporting.
//!
//! - `docs/benchmarks.md` lists each field; a test holds the two together.
//! - What was not measured is null, never zero.
//! - A number that may mislead says so beside itself: `valid`, `why_not`, `warnings`.

use crate::stages::Stages;
use crate::verdict::Correctness;
use crate::warning::Warning;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// Version of the JSON: grows when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// The report of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema_version: u32,
    /// The result in one line that hides nothing.
    pub headline: String,
    /// Whether everything proved right. A fast wrong run is a failed run.
    pub passed: bool,
    /// What the reader must know before believing a number.
    pub warnings: Vec<Warning>,
    /// Which run this is.
    pub run: Run,
    /// The rate.
    pub claim: Claim,
    /// What an acknowledgement is worth.
    pub durability: Durability,
    /// How many copies, and where.
    pub replication: Replication,
    /// What was made ready before the load; null: the replicas were found as they are.
    pub prepared: Option<Prepared>,
    /// How long it took.
    pub latency: Latency,
    /// How the load was made.
    pub generator: Generator,
    /// Whether the stages explain the whole.
    pub closure: Closure,
    /// Who used the processors.
    pub cpu: Cpu,
    /// Turns of the servers over their budget; null: not collected.
    pub stalls: Option<Vec<String>>,
    /// How late the host woke a thread that asked for each millisecond.
    pub hiccup: Hiccup,
    /// What the proof found.
    pub correctness: Correctness,
    /// The machine.
    pub env: Env,
    /// All runs, where there were several.
    pub repeats: Repeats,
    /// Files written beside the report.
    pub files: Vec<String>,
}

/// Which run this is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    /// Upper half of the ids of its transfers, in hexadecimal.
    pub id: String,
    /// Seed of the workload.
    pub seed: u64,
    /// Start, milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// Length of the measured window in seconds, as it was.
    pub duration_s: f64,
    /// Load before it, not measured, in seconds.
    pub warmup_s: f64,
    /// Version of the program.
    pub version: String,
    /// The commit it was built from, where known.
    pub commit: Option<String>,
    /// `release` or `debug`.
    pub profile: String,
    /// The command.
    pub argv: Vec<String>,
}

/// The rate.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Claim {
    /// Transfers acknowledged per second of the window.
    pub tx_per_s: f64,
    /// What one "tx" is.
    pub unit: &'static str,
    /// Requests acknowledged per second.
    pub batches_per_s: f64,
    /// Transfers in a request.
    pub batch: u32,
    /// Transfers offered per second; null in closed loop.
    pub offered_tx_per_s: Option<f64>,
    /// Transfers acknowledged in the window.
    pub accepted: u64,
    /// Transfers refused in the window.
    pub rejected: u64,
    /// The same by the ledger's status; whole requests refused count under `request:<status>`.
    pub rejected_by_code: BTreeMap<String, u64>,
    /// Acknowledged in each second of the window.
    pub tx_by_second: Vec<u64>,
    /// Whether the servers acknowledge what is not durable yet.
    pub acked_before_durable: bool,
}

/// What an acknowledgement is worth.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Durability {
    /// How the servers say they make records durable: `fsync`, `fua`, `none`, `unstated`.
    pub mode: String,
    /// Durable writes that the servers completed in the window, all replicas together.
    pub fsyncs: Option<u64>,
    /// Durable writes that they began.
    pub fsyncs_issued: Option<u64>,
    /// Bytes that they wrote to their logs.
    pub bytes: Option<u64>,
    /// Durable writes per second, all replicas together.
    pub fsync_per_s: Option<f64>,
    /// Transfers acknowledged per durable write of one replica.
    pub entries_per_fsync: Option<f64>,
    /// Flushes that the device completed in the window, whoever asked for them.
    pub device_flushes_seen: Option<u64>,
    /// Whether the device has a volatile cache, so that flushes matter.
    pub volatile_cache: Option<bool>,
}

/// How many copies, and where.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Replication {
    /// Copies of each group.
    pub replicas: u32,
    /// Copies that must be durable before an acknowledgement.
    pub quorum: u32,
    /// Raft groups.
    pub groups: u32,
    /// Cores per replica.
    pub cores: u32,
    /// Hosts they run on.
    pub hosts: u32,
    /// Server processes.
    pub processes: u32,
    /// Whether replicas share a host, so that no network is between them.
    pub same_host: bool,
    /// `none` (loopback), `real`, `delay-line` or `virtual-time`.
    pub wan: &'static str,
    /// Terms in which leaders changed during the window.
    pub elections: u64,
}

/// How long it took.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// Whether the percentiles of the clients mean what they seem to.
    pub valid: bool,
    /// Why not.
    pub why_not: Option<String>,
    /// From the intended instant to the reply, at the client, per request.
    pub client_e2e: Summary,
    /// The part of it in which no server had the request: sockets, schedulers, the client itself.
    pub outside: Summary,
    /// From the first byte of a request to the last of its reply, on the leader.
    pub server_e2e: Option<Summary>,
    /// How late requests left.
    pub lag: Summary,
    /// What the servers measured, by stage.
    pub stages: BTreeMap<String, StageSummary>,
}

/// A histogram in few numbers; nanoseconds.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct Summary {
    pub count: u64,
    pub mean_ns: f64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub p9999_ns: u64,
    pub max_ns: u64,
}

/// A stage in few numbers.
#[derive(Clone, Debug, Serialize)]
pub struct StageSummary {
    /// Its histogram.
    #[serde(flatten)]
    pub summary: Summary,
    /// Its time in percent of `server_e2e`'s; null for stages that are not consecutive parts of it.
    pub share_pct: Option<f64>,
    /// Tag of its lines in the interval log.
    pub hlog_ref: Option<String>,
}

/// How the load was made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Generator {
    /// Whether requests left by a schedule, whatever the replies did.
    pub open_loop: bool,
    /// `poisson`, `uniform` or `closed`.
    pub arrival: &'static str,
    /// Sessions.
    pub clients: u32,
    /// Connections that they share.
    pub connections: u32,
    /// Most requests in flight per session.
    pub window: u32,
    /// Load threads.
    pub threads: u32,
    /// Requests that left over a millisecond late by the generator's own fault, in percent.
    pub late_pct: Option<f64>,
    /// Requests that had to wait since all windows were full, in percent.
    pub held_pct: Option<f64>,
    /// Requests of the schedule that never left.
    pub dropped: Option<u64>,
    /// How probable the gaps between departures are if arrivals are independent (Kolmogorov-Smirnov).
    pub ks_p: Option<f64>,
    /// Requests sent again since the server was busy.
    pub busy: u64,
    /// Requests sent again elsewhere since the server did not lead.
    pub not_leader: u64,
    /// Connections made again after the first ones.
    pub reconnects: u64,
}

/// Whether the stages explain the whole.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Closure {
    /// Share of the servers' end-to-end time that no stage accounts for.
    pub unaccounted_pct: Option<f64>,
}

/// Who used the processors.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cpu {
    /// One entry per process: the client (this program), then the nodes.
    pub processes: Vec<ProcessCpu>,
    /// Processor time of all of them per transfer.
    pub total_ns_per_transfer: Option<f64>,
    /// Share of all processors that was in use in the window.
    pub host_busy_pct: Option<f64>,
    /// Share that the hypervisor gave to others.
    pub steal_pct: Option<f64>,
}

/// Processor time of one process in the window.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProcessCpu {
    /// `client`, `leader`, `follower` or `mixed` (leads some groups and follows in others).
    pub role: &'static str,
    /// Node id; null for the client.
    pub node: Option<u32>,
    /// Nanoseconds per transfer acknowledged.
    pub ns_per_transfer: Option<f64>,
    /// Processors in use on average, in percent of one.
    pub busy_pct: Option<f64>,
    /// Resident memory at the end of the window.
    pub resident_bytes: Option<u64>,
}

/// How late the host woke the probe.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct Hiccup {
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub max_ns: u64,
}

/// The machine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Env {
    /// Model of the processor.
    pub cpu: Option<String>,
    /// Processors.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Device under the data folder.
    pub disk: Option<String>,
    /// File system of the data folder.
    pub fs: Option<String>,
    /// Mitigations of the processor's faults.
    pub mitigations: Option<String>,
    /// Frequency governor.
    pub governor: Option<String>,
    /// Whether the machine is a virtual one.
    pub virt: Option<bool>,
    /// Whether this is a container.
    pub container: bool,
    /// Clock source.
    pub clocksource: Option<String>,
    /// Load average at the start of the load.
    pub loadavg_start: Option<f64>,
    /// And at its end.
    pub loadavg_end: Option<f64>,
    /// Drives the servers: `glommio` or `threads`.
    pub io: &'static str,
}

/// What the replicas had ready before the load, each of them, and what that is worth.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Prepared {
    /// Transfers per group whose memory was touched beforehand.
    pub reserve_transfers: u64,
    /// Bytes of log per core that were laid out beforehand.
    pub preallocate_bytes: u64,
    /// Rate of one more run with nothing made ready; null: not measured.
    pub tx_per_s_without: Option<f64>,
}

/// All runs, where there were several.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Repeats {
    /// Runs.
    pub n: u32,
    /// Rate of each, in the order they ran.
    pub tx_per_s: Vec<f64>,
    /// Median rate.
    pub median: f64,
    /// Worst rate.
    pub worst: f64,
    /// Bounds between which the median lies with a confidence of 95 %; null for fewer than 6 runs.
    pub ci95: Option<[f64; 2]>,
}

impl Report {
    /// The whole report as pretty-printed JSON, with a final newline.
    pub fn to_json(&self) -> String {
        let mut json =
            serde_json::to_string_pretty(self).expect("numbers, strings and maps with string keys");
        json.push('\n');
        json
    }

    /// Whether everything proved right.
    pub fn passed(&self) -> bool {
        self.passed
    }
}

impl Summary {
    /// The histogram in few numbers.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            mean_ns: histogram.mean(),
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            p9999_ns: at(0.9999),
            max_ns: histogram.max(),
        }
    }
}

impl Hiccup {
    /// The probe's histogram in few numbers.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: histogram.max(),
        }
    }
}

/// The servers' stages in few numbers each.
pub fn summarise(stages: &Stages, hlog: bool) -> BTreeMap<String, StageSummary> {
    let total = stages
        .get(crate::stages::SERVER_E2E)
        .map(crate::stages::sum);
    let summarised = stages.ordered().map(|(name, histogram)| {
        let in_chain = crate::stages::CHAIN.contains(&name);
        let share = total.filter(|&total| in_chain && total > 0.0);
        let share_pct = share.map(|total| crate::stages::sum(histogram) / total * 100.0);
        let hlog_ref = hlog.then(|| name.to_owned());
        (
            name.to_owned(),
            StageSummary {
                summary: Summary::of(histogram),
                share_pct,
                hlog_ref,
            },
        )
    });
    summarised.collect()
}

//! What the replicas and the host have done so far, taken at both ends of the measured window.

use crate::control::Control;
use crate::error::BenchError;
use crate::host::{self, Disk, ProcessorTicks};
use crate::setup::Observers;
use crate::stages::Stages;
use crate::status::Status;
use crate::target::Target;

/// Durable writes that were begun, by the names that servers may count them under.
const FSYNCS_ISSUED: [&str; 2] = ["fsyncs_issued", "writes_issued"];
/// Durable writes that completed.
const FSYNCS: [&str; 3] = ["fsyncs", "fsyncs_completed", "writes_completed"];
/// Bytes written to the log.
const BYTES: [&str; 3] = ["bytes_written", "log_bytes", "bytes"];

/// Counters at one instant; those of the replicas are sums over cores, by node.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// When, on the run's clock.
    pub(crate) at: u64,
    /// Transfers acknowledged to the load by then.
    pub(crate) acknowledged: u64,
    /// Processor time of this process.
    pub(crate) client_cpu_ns: Option<u64>,
    /// The nodes, in the order of the target.
    pub(crate) nodes: Vec<NodeSnapshot>,
    /// All nodes' stages together.
    pub(crate) stages: Stages,
    /// Ticks of the processors.
    pub(crate) ticks: Option<ProcessorTicks>,
    /// Flushes of the device.
    pub(crate) flushes: Option<u64>,
    /// Load average.
    pub(crate) load_average: Option<f64>,
}

/// One node's part.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeSnapshot {
    pub(crate) cpu_ns: Option<u64>,
    pub(crate) resident: Option<u64>,
    pub(crate) fsyncs_issued: Option<u64>,
    pub(crate) fsyncs: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) durability: Option<String>,
    /// Groups that it leads.
    pub(crate) leads: u32,
    /// Sum of the terms of its groups: grows by one with each election.
    pub(crate) terms: u64,
}

impl Snapshot {
    /// Reads the host first, for that takes no time, then asks every core of every node.
    pub(crate) fn take(
        target: &Target,
        observers: &mut Observers,
        disk: Option<&Disk>,
        at: u64,
        acknowledged: u64,
    ) -> Result<Self, BenchError> {
        let cpu = |pid: Option<u32>| pid.and_then(host::process_cpu_ns);
        let client_cpu_ns = cpu(Some(std::process::id()));
        let cpu_by_node: Vec<Option<u64>> = target.nodes.iter().map(|node| cpu(node.pid)).collect();
        let mut snapshot = Self {
            at,
            acknowledged,
            client_cpu_ns,
            nodes: Vec::with_capacity(target.nodes.len()),
            stages: Stages::default(),
            ticks: host::processor_ticks(),
            flushes: disk.and_then(Disk::flushes),
            load_average: host::load_average(),
        };
        for (position, node) in target.nodes.iter().enumerate() {
            let statuses = observers.statuses(position)?;
            for core in 0..target.cores {
                snapshot
                    .stages
                    .merge(&observers.ask(position, core, Control::stages)?);
            }
            let mut taken = NodeSnapshot::of(&statuses);
            taken.cpu_ns = cpu_by_node[position];
            taken.resident = node.pid.and_then(host::process_resident);
            snapshot.nodes.push(taken);
        }
        Ok(snapshot)
    }
}

impl NodeSnapshot {
    fn of(statuses: &[Status]) -> Self {
        let sum = |names: &[&str]| statuses.iter().map(|status| status.counter(names)).sum();
        let groups = || statuses.iter().flat_map(|status| status.groups.values());
        Self {
            fsyncs_issued: sum(&FSYNCS_ISSUED),
            fsyncs: sum(&FSYNCS),
            bytes: sum(&BYTES),
            durability: statuses.iter().find_map(|status| status.durability.clone()),
            leads: groups().map(|group| u32::from(group.leads)).sum(),
            terms: groups().map(|group| group.term).sum(),
            ..Self::default()
        }
    }
}

/// What a counter has grown by.
pub(crate) fn grown(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    Some(after?.saturating_sub(before?))
}

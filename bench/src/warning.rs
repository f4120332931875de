//! What a reader must know before believing a number, as names for machines and sentences for people.

use serde::Serialize;

/// What the reader must know before believing a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// Acknowledged transfers do not survive a power failure.
    NotDurable,
    /// The data folder is in memory: nothing is durable there.
    InMemory,
    /// The servers do not say how they make records durable.
    DurabilityUnstated,
    /// Durable writes were begun that never completed, beyond those in flight.
    FsyncsUncompleted,
    /// The device saw no flush in the window although its cache is volatile and the servers wrote.
    NoDeviceFlush,
    /// The host's own delays are as long as the latencies reported.
    HostLimited,
    /// The generator was late for more than one request in a hundred.
    GeneratorLate,
    /// Some of the offered load never left.
    LoadDropped,
    /// Another program used the machine, or the hypervisor did.
    HostBusy,
    /// The program was built without optimisation.
    DebugBuild,
    /// Some transfers were refused.
    Rejections,
    /// Stages overlap or leave more than one percent of the time unexplained.
    NotClosed,
    /// The servers gave no times of their stages.
    NoStages,
    /// Leadership changed in the window.
    Elections,
    /// Fewer than five runs.
    FewRepeats,
}

impl Warning {
    /// All of them.
    pub const ALL: [Warning; 15] = [
        Warning::NotDurable,
        Warning::InMemory,
        Warning::DurabilityUnstated,
        Warning::FsyncsUncompleted,
        Warning::NoDeviceFlush,
        Warning::HostLimited,
        Warning::GeneratorLate,
        Warning::LoadDropped,
        Warning::HostBusy,
        Warning::DebugBuild,
        Warning::Rejections,
        Warning::NotClosed,
        Warning::NoStages,
        Warning::Elections,
        Warning::FewRepeats,
    ];
}

impl Warning {
    /// The warning for a reader.
    pub fn sentence(self) -> &'static str {
        match self {
            Warning::NotDurable => {
                "NOT DURABLE: acknowledged transfers do not survive a power failure"
            }
            Warning::InMemory => "NOT DURABLE: the data folder is in memory",
            Warning::DurabilityUnstated => "the servers do not say how they make records durable",
            Warning::FsyncsUncompleted => "durable writes were begun that did not complete",
            Warning::NoDeviceFlush => "the device saw no flush although its cache is volatile",
            Warning::HostLimited => {
                "host-limited: the machine's own delays reach half of the p99.9 above"
            }
            Warning::GeneratorLate => "the generator was late: latencies are not valid",
            Warning::LoadDropped => "part of the offered load never left",
            Warning::HostBusy => "the hypervisor took processor time from this machine",
            Warning::DebugBuild => "built without optimisation: no number here means anything",
            Warning::Rejections => "some transfers were refused",
            Warning::NotClosed => "the stages do not add up to the whole within one percent",
            Warning::NoStages => "the servers gave no times of their stages",
            Warning::Elections => "leadership changed during the window",
            Warning::FewRepeats => "fewer than five runs: the machine's drift is not excluded",
        }
    }
}

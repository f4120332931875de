//! The engine's and the benchmark's errors, told in the words of the catalogue.

use std::io;

use bench::BenchError;
use engine::error::{EngineError, OpenError};
use wal::inspect::InspectError;
use wal::{DeviceError, WalError};

use crate::catalogue::{Entry, cluster, cold, disk, environment, internal, usage};
use crate::doctor;
use crate::failure::Failure;

const ENOSPC: i32 = 28;

/// Tells an error of the engine.
pub(crate) fn of_engine(error: &EngineError, place: &str) -> Failure {
    let entry = match error {
        EngineError::Config(_) => &usage::CONFIGURATION,
        EngineError::ColdAddress { .. } => &cold::COLD_ADDRESS,
        EngineError::ColdKeys { .. } => &cold::COLD_KEY,
        EngineError::ColdStore { .. } => &cold::COLD_UNREACHABLE,
        EngineError::DoorElsewhere { .. } => &usage::DOOR_TO_THE_WORLD,
        EngineError::Door { .. } => &cluster::CANNOT_LISTEN,
        EngineError::FolderNotEmpty { .. } => &disk::FOLDER_NOT_EMPTY,
        EngineError::FolderNotFormatted { .. } => &disk::NOT_FORMATTED,
        EngineError::FolderInUse { .. } => &disk::FOLDER_IN_USE,
        EngineError::FolderNewer { .. } => &disk::FOLDER_TOO_NEW,
        EngineError::FolderDamaged { .. } | EngineError::FolderMalformed { .. } => {
            &disk::IDENTITY_DAMAGED
        }
        EngineError::WrongCluster { .. } => &disk::FOLDER_OF_ANOTHER,
        EngineError::File { source, .. } => of_io(source),
        EngineError::Listen { .. } => &cluster::CANNOT_LISTEN,
        EngineError::Network { .. } => &usage::CONFIGURATION,
        EngineError::LockedMemory { .. } => &environment::LOCKED_MEMORY,
        EngineError::Ring { source, .. } => {
            doctor::ring_refused(source.raw_os_error().unwrap_or(0))
        }
        EngineError::Pin { .. } => &environment::TOO_FEW_CORES,
        EngineError::Start { .. } => &environment::OPEN_FILES,
        EngineError::Log { source, .. } => of_log(source),
        EngineError::Open { source, .. } => match source {
            OpenError::Log(source) => of_log(source),
            OpenError::Version(_) => &disk::FOLDER_TOO_NEW,
            _ => &disk::LOG_DAMAGED,
        },
        EngineError::LogFailed { .. } => &disk::DISK_FAILED,
        EngineError::Panicked { .. } => &internal::INVARIANT_BROKEN,
    };
    Failure::new(entry, error.to_string(), place)
}

fn of_io(error: &io::Error) -> &'static Entry {
    match error.raw_os_error() {
        Some(ENOSPC) => &disk::DISK_FULL,
        _ => &disk::FOLDER_UNUSABLE,
    }
}

fn of_log(error: &WalError) -> &'static Entry {
    match error {
        WalError::Device(DeviceError::Full) => &disk::DISK_FULL,
        WalError::Device(DeviceError::Locked) => &disk::FOLDER_IN_USE,
        WalError::Device(DeviceError::Barred(errno)) => doctor::ring_refused(errno.0),
        WalError::Device(_) => &disk::DISK_FAILED,
        WalError::NewerFormat { .. } => &disk::FOLDER_TOO_NEW,
        WalError::WrongIdentity { .. } => &disk::FOLDER_OF_ANOTHER,
        _ => &disk::LOG_DAMAGED,
    }
}

/// Tells why a log could not be looked at.
pub(crate) fn of_inspect(error: &InspectError, place: &str) -> Failure {
    let entry = match error {
        InspectError::Device(DeviceError::Locked) => &disk::FOLDER_IN_USE,
        InspectError::Device(_) => &disk::FOLDER_UNUSABLE,
        InspectError::Wal(source) => of_log(source),
        InspectError::NoHeader => &disk::LOG_DAMAGED,
    };
    let mut cause = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(next) = source {
        cause += &format!(": {next}");
        source = next.source();
    }
    Failure::new(entry, cause, place)
}

/// Tells an error of the benchmark.
pub(crate) fn of_bench(error: &BenchError) -> Failure {
    let (entry, place) = match error {
        BenchError::Option { option, .. } => (&usage::VALUES_CONTRADICT, (*option).to_owned()),
        BenchError::Format { node, .. } | BenchError::Exited { node, .. } => {
            (&internal::CHILD_DIED, format!("node {node}"))
        }
        BenchError::File { path, source, .. } => (of_io(source), path.display().to_string()),
        BenchError::Refused { node, .. } => (&cluster::BUSY, format!("node {node}")),
        _ => (&internal::RUN_FAILED, "quorate bench".to_owned()),
    };
    Failure::new(entry, error.to_string(), place)
}

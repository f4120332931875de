//! The log of a core: prepared by `format`, opened on the device that fits the driver.

use std::io;
use std::path::Path;

use raft::ids::NodeId;
use wal::device::Action;
use wal::device::file::FileDevice;
use wal::device::uring::UringDevice;
use wal::{DeviceError, Identity, Wal, WalError};

use crate::clock::SystemClock;
use crate::config::Layout;
use crate::driver::wake::Wake;
use crate::error::EngineError;
use crate::folder::{self, FormatOptions};

/// Threads that write for one core where io_uring is barred: as many as writes may be in flight.
const WRITERS: usize = 4;
/// Segments that exist before a log is used.
const SEGMENTS_PREWRITTEN_MIN: u64 = 2;

/// Makes `dir` the data folder of a node; creates it when it is missing.
///
/// # Errors
/// `Config`, `FolderNotEmpty`, `FolderInUse`, `File`, `Log` (the disk is full, for one).
pub fn format(dir: &Path, options: &FormatOptions) -> Result<(), EngineError> {
    let layout = &options.layout;
    let segments = options.prewrite_bytes.div_ceil(layout.segment_bytes.max(1));
    let segments = u32::try_from(segments.max(SEGMENTS_PREWRITTEN_MIN)).unwrap_or(u32::MAX);
    folder::format_with(dir, options, |core, path| {
        let log = |source| EngineError::Log { core, source };
        let mut wal_options = wal::Options::new(identity(layout, NodeId(options.node), core));
        wal_options.preallocate_segments = segments;
        wal_options.segments_max = wal_options.segments_max.max(segments);
        let device = FileDevice::open(path, layout.segment_bytes, 1, None);
        let device = device.map_err(|error| log(WalError::from(error)))?;
        let now = SystemClock.wall();
        Wal::open(device, wal_options, now, &mut |_| {}).map_err(log)?;
        Ok(())
    })
}

/// What the log of a core is opened with.
#[must_use]
pub fn options(
    layout: &Layout,
    node: NodeId,
    core: u16,
    bytes_max: u64,
    scrub_bytes_per_second: u64,
) -> wal::Options {
    let segments_max = u32::try_from(bytes_max / layout.segment_bytes).unwrap_or(u32::MAX);
    wal::Options {
        segments_max,
        scrub_bytes_per_second,
        ..wal::Options::new(identity(layout, node, core))
    }
}

/// Whose log a core's is.
pub(crate) fn identity(layout: &Layout, node: NodeId, core: u16) -> Identity {
    Identity {
        cluster: layout.cluster.into(),
        node: node.0.into(),
        log: core.into(),
    }
}

/// The log's own ring, for a core that sleeps on a socket.
///
/// # Errors
/// As `UringDevice::open`.
pub fn ring(path: &Path, segment_bytes: u64, wake: &Wake) -> Result<UringDevice, DeviceError> {
    const EIO: i32 = 5;
    let failed = |error: io::Error| {
        DeviceError::from_errno(Action::Open, None, error.raw_os_error().unwrap_or(EIO))
    };
    UringDevice::open(path, segment_bytes, wake.socket().map_err(failed)?)
}

/// Threads that write, for a core that is woken by a function.
///
/// # Errors
/// As `FileDevice::open`.
pub fn threads(path: &Path, segment_bytes: u64, wake: &Wake) -> Result<FileDevice, DeviceError> {
    FileDevice::open(path, segment_bytes, WRITERS, Some(wake.function()))
}

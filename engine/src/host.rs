//! How a core's shard is made: its log is opened on the device that fits the driver, and read.

use std::path::PathBuf;
use std::sync::Arc;

use net::transport::Transport;
use raft::ids::{GroupId, NodeId};
use raft::state_machine::StateMachine;
use shard::open::OpenError;
use shard::setup::{Keeping, Setup};
use shard::shard::{Next, Shard};
use wal::Device;
use wal::archive::folder::{Clerk, FolderArchive};
use wal::device::file::FileDevice;
use wal::device::uring::UringDevice;

use crate::clock::SystemClock;
use crate::config::{Io, Layout, Limits, Options};
use crate::core::patiently;
use crate::door::counters::Counters;
use crate::driver::wake::Wake;
use crate::driver::{Build, Doors, Turn};
use crate::error::EngineError;
use crate::log;
use crate::porter::Porter;

/// Folder of images and chapters in a core's folder.
const ARCHIVE: &str = "archive";

/// What is known of a core before its thread runs.
#[derive(Clone, Debug)]
pub(crate) struct Host<F> {
    pub(crate) node: NodeId,
    pub(crate) core: u16,
    pub(crate) layout: Layout,
    pub(crate) options: Options,
    /// The folder of the core's log; images and chapters are in a folder of it.
    pub(crate) path: PathBuf,
    /// Writes and reads them.
    pub(crate) clerk: Clerk,
    /// Gives sealed files to the object store.
    pub(crate) porter: Option<Porter>,
    /// Makes the empty state machine of a group.
    pub(crate) machine: F,
    /// What the door does, told with the status of this core.
    pub(crate) door: Option<Arc<Counters>>,
}

/// A shard over one of the two devices; which one is decided once, at start.
enum Hosted<T, M> {
    Ring(Box<Shard<UringDevice, T, M>>),
    Threads(Box<Shard<FileDevice, T, M>>),
}

impl<T: Transport, M: StateMachine> Turn for Hosted<T, M> {
    fn turn(&mut self, clock: SystemClock) -> Next {
        match self {
            Self::Ring(shard) => shard.turn(&clock),
            Self::Threads(shard) => shard.turn(&clock),
        }
    }

    fn has_stirred(&self) -> bool {
        match self {
            Self::Ring(shard) => shard.has_stirred(),
            Self::Threads(shard) => shard.has_stirred(),
        }
    }
}

fn is_locked(error: &wal::DeviceError) -> bool {
    *error == wal::DeviceError::Locked
}

impl<M, F> Build for Host<F>
where
    M: StateMachine + 'static,
    F: Fn(GroupId, Limits) -> M + Send + 'static,
{
    fn build<T: Transport + 'static>(self, doors: Doors<T>) -> Result<impl Turn, EngineError> {
        let bytes = self.layout.segment_bytes;
        let failed = |source: wal::DeviceError| EngineError::Log {
            core: self.core,
            source: source.into(),
        };
        match self.options.io {
            Io::Glommio => {
                let device = patiently(|| log::ring(&self.path, bytes, &doors.wake), is_locked)
                    .map_err(failed)?;
                Ok(Hosted::Ring(Box::new(self.open(
                    device,
                    doors.transport,
                    &doors.wake,
                )?)))
            }
            Io::Threads => {
                let device = patiently(|| log::threads(&self.path, bytes, &doors.wake), is_locked)
                    .map_err(failed)?;
                Ok(Hosted::Threads(Box::new(self.open(
                    device,
                    doors.transport,
                    &doors.wake,
                )?)))
            }
        }
    }
}

impl<M, F> Host<F>
where
    M: StateMachine + 'static,
    F: Fn(GroupId, Limits) -> M + Send + 'static,
{
    fn open<D: Device, T: Transport>(
        self,
        device: D,
        transport: T,
        wake: &Wake,
    ) -> Result<Shard<D, T, M>, EngineError> {
        let Layout { cores, groups, .. } = self.layout;
        let groups_on_core =
            usize::try_from(groups.div_ceil(u64::from(cores))).unwrap_or(usize::MAX);
        let timing = &self.options;
        let setup = Setup {
            node: self.node,
            core: self.core,
            cores,
            nodes: self
                .layout
                .nodes
                .iter()
                .map(|node| NodeId(node.id))
                .collect(),
            founders: self.layout.nodes.len(),
            groups,
            election_timeout: timing.election_timeout_ms * 1_000_000,
            beat_interval: timing.election_timeout_ms * 1_000_000 / 8,
            stopwatch: timing.stopwatch,
            window_bytes: Setup::window_share(groups_on_core),
            is_rejoining: false,
            keeping: Keeping {
                image_bytes: timing.image_after_bytes.0,
                log_bytes: timing.log_keep_bytes.0,
                fetch_bytes_per_second: timing.fetch_bytes_per_second.0,
                serve_bytes_per_second: timing.fetch_bytes_per_second.0,
            },
            // Two nodes and two starts never throw the same dice.
            seed: SystemClock.wall() ^ u64::from(self.node.0).rotate_left(48),
        };
        let (most, scrub) = (timing.log_bytes_max.0, timing.scrub_bytes_per_second.0);
        let options = log::options(&self.layout, self.node, self.core, most, scrub);
        let core = self.core;
        let limits = self.layout.limits;
        let machine = |group| (self.machine)(group, limits);
        let path = self.path.join(ARCHIVE);
        let archive = FolderArchive::open(&path, self.clerk, Some(wake.function()));
        let archive = archive.map_err(|error| EngineError::Open {
            core,
            source: OpenError::Archive(error),
        })?;
        let opened = Shard::open(
            setup,
            device,
            Box::new(archive),
            options,
            transport,
            machine,
            SystemClock.now(),
        );
        let (mut shard, _) = opened.map_err(|source| EngineError::Open { core, source })?;
        if let Some(history) = &self.options.history {
            shard.keep_history(history.of_core(self.layout.cluster));
        }
        if let Some(porter) = self.porter {
            shard.set_coffer(porter.coffer(wake));
        }
        if let Some(door) = self.door {
            let told = move || serde_json::json!({ "tigerbeetle": door.report() });
            shard.set_annex(Box::new(told));
        }
        Ok(shard)
    }
}

//! One node of a cluster: its data folder, its cores, and how they end.
//!
//! - A node holds its folder's lock from before its first core starts until after its last one has ended.

use std::path::Path;

use net::config::TransportConfig;
use net::frame::Codec;
use raft::ids::{GroupId, NodeId};
use raft::state_machine::StateMachine;
use wal::archive::folder::Clerk;

use crate::clock::SystemClock;
use crate::config::{Layout, Limits, Options};
use crate::core::{Cores, Stopper};
use crate::cpus;
use crate::driver::{Build, Seat};
use crate::error::EngineError;
use crate::folder::Folder;
use crate::host::Host;

/// A running node. Dropping it stops it; `stop` and `wait` also tell how it ended.
#[derive(Debug)]
pub struct Node {
    // Fields are dropped in this order: the cores end before the lock is released.
    cores: Cores,
    folder: Folder,
}

impl Node {
    /// Opens the folder at `dir` and starts its cores; `machine` makes the empty state machine of a
    /// group, the log is replayed into it. Returns when all cores take turns.
    ///
    /// # Errors
    /// As `start_with`; `Log` and `Open` when a core's log cannot be opened.
    pub fn start<M: StateMachine + 'static>(
        dir: &Path,
        options: &Options,
        machine: impl Fn(GroupId, Limits) -> M + Clone + Send + 'static,
    ) -> Result<Self, EngineError> {
        let clerk = Clerk::start().map_err(|source| EngineError::Start { core: 0, source })?;
        Self::start_with(dir, options, move |folder, core| Host {
            clerk: clerk.clone(),
            node: folder.node(),
            core,
            layout: folder.layout().clone(),
            options: options.clone(),
            path: folder.core_dir(core),
            machine: machine.clone(),
        })
    }

    /// Opens the folder at `dir` and starts one core of the layout after the other; `build` makes what
    /// each of them turns. Returns when all of them take turns.
    ///
    /// # Errors
    /// Everything that `Folder::open` and `Cores::start` return, and `Config`.
    pub fn start_with<B: Build>(
        dir: &Path,
        options: &Options,
        mut build: impl FnMut(&Folder, u16) -> B,
    ) -> Result<Self, EngineError> {
        let folder = Folder::open(dir, options.cluster)?;
        let layout = folder.layout();
        options.check(layout)?;
        let cpus = cpus::choose(layout, folder.node(), options)?;
        // Processes of one host never start in the same nanosecond and under the same number.
        let incarnation = SystemClock.wall().rotate_left(16) ^ u64::from(std::process::id());
        let seats = (0..).zip(cpus).map(|(core, cpu)| {
            let network = network(layout, folder.node(), core, options, incarnation);
            (Seat { core, cpu, network }, build(&folder, core))
        });
        let seats = seats.collect();
        let cores = Cores::start(options.io, seats)?;
        Ok(Self { cores, folder })
    }

    /// Which node this is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.folder.node()
    }

    /// The cluster it belongs to.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        self.folder.layout()
    }

    /// A handle that asks the node to stop, for signal handlers and other threads.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.cores.stopper()
    }

    /// Waits until the node has ended: asked by a `Stopper`, or by a fault.
    ///
    /// # Errors
    /// The fault.
    pub fn wait(self) -> Result<(), EngineError> {
        let Self { cores, folder } = self;
        let result = cores.wait();
        drop(folder);
        result
    }

    /// Stops the node and waits until it has ended.
    ///
    /// # Errors
    /// A fault that was there before.
    pub fn stop(self) -> Result<(), EngineError> {
        self.stopper().stop();
        self.wait()
    }
}

fn network(
    layout: &Layout,
    node: NodeId,
    core: u16,
    options: &Options,
    incarnation: u64,
) -> TransportConfig {
    let address = |node| {
        layout
            .address_of(node, core)
            .expect("the layout was checked")
    };
    let clients_max = usize::try_from(options.connections_max).expect("bounded by its check");
    let others = layout.nodes.iter().filter(|other| other.id != node.0);
    TransportConfig {
        cluster: layout.cluster,
        node: node.0,
        core,
        cores: layout.cores,
        incarnation,
        layout_digest: layout.layout_digest(),
        codec: Codec::None,
        listen: address(node),
        peers: others
            .map(|other| (other.id, address(NodeId(other.id))))
            .collect(),
        limits: net::limits::Limits {
            clients_max,
            ..Default::default()
        },
    }
}

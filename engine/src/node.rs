//! One node of a cluster: its data folder, its cores, and how they end.
//!
//! - A node holds its folder's lock from before its first core starts until after its last one has ended.

use std::path::Path;
use std::sync::Arc;

use net::config::TransportConfig;
use net::frame::Codec;
use raft::ids::{GroupId, NodeId};
use raft::state_machine::StateMachine;
use wal::archive::folder::Clerk;

use crate::clock::SystemClock;
use crate::config::{Layout, Limits, Options};
use crate::core::{Cores, Stopper};
use crate::cpus;
use crate::door::OpenDoor;
use crate::door::counters::Counters;
use crate::driver::hatch::Hatch;
use crate::driver::{Build, Seat, slice};
use crate::error::EngineError;
use crate::folder::Folder;
use crate::host::Host;
use crate::porter::Porter;

/// A running node. Dropping it stops it; `stop` and `wait` also tell how it ended.
#[derive(Debug)]
pub struct Node {
    // Fields are dropped in this order: the door closes, the cores end, the lock is released.
    door: Option<OpenDoor>,
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
        let clerk = Clerk::start(slice::ask);
        let clerk = clerk.map_err(|source| EngineError::Start { core: 0, source })?;
        let cold = options.history.as_ref();
        let cold = cold.and_then(|history| Some((history, history.cold.as_ref()?)));
        let porter = cold.map(|(history, cold)| Porter::start(history, cold, dir));
        let porter = porter.transpose()?;
        let counters = Arc::<Counters>::default();
        let door = options.tigerbeetle.is_some().then(|| Arc::clone(&counters));
        Self::begin(dir, options, counters, |folder, core| Host {
            clerk: clerk.clone(),
            porter: porter.clone(),
            node: folder.node(),
            core,
            layout: folder.layout().clone(),
            options: options.clone(),
            path: folder.core_dir(core),
            machine: machine.clone(),
            door: door.clone().filter(|_| core == 0),
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
        build: impl FnMut(&Folder, u16) -> B,
    ) -> Result<Self, EngineError> {
        Self::begin(dir, options, Arc::default(), build)
    }

    fn begin<B: Build>(
        dir: &Path,
        options: &Options,
        counters: Arc<Counters>,
        mut build: impl FnMut(&Folder, u16) -> B,
    ) -> Result<Self, EngineError> {
        if let Some(door) = &options.tigerbeetle {
            door.check()?;
        }
        let folder = Folder::open(dir, options.cluster)?;
        let layout = folder.layout();
        options.check(layout)?;
        let cpus = cpus::choose(layout, folder.node(), options, dir)?;
        // Processes of one host never start in the same nanosecond and under the same number.
        let incarnation = SystemClock.wall().rotate_left(16) ^ u64::from(std::process::id());
        let mut hatches = Vec::new();
        if options.tigerbeetle.is_some() {
            hatches.resize_with(usize::from(layout.cores), Hatch::default);
        }
        let seats = (0..).zip(cpus).map(|(core, cpu)| {
            let network = network(layout, folder.node(), core, options, incarnation);
            let awake_ns = options.awake_us * 1_000;
            let seat = Seat {
                core,
                cpu,
                network,
                awake_ns,
                hatch: hatches.get(usize::from(core)).cloned(),
            };
            (seat, build(&folder, core))
        });
        let seats = seats.collect();
        let cores = Cores::start(options.io, seats)?;
        let door = options.tigerbeetle.as_ref().map(|door| {
            let awake_ns = options.awake_us * 1_000;
            let (node, stopper) = (folder.node(), cores.stopper());
            OpenDoor::open(door, layout, node, awake_ns, counters, &hatches, stopper)
        });
        Ok(Self {
            door: door.transpose()?,
            cores,
            folder,
        })
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

    /// The door for clients of TigerBeetle, if it was asked for.
    #[must_use]
    pub fn door(&self) -> Option<&OpenDoor> {
        self.door.as_ref()
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
        let Self {
            door,
            cores,
            folder,
        } = self;
        let result = cores.wait();
        let closed = door.map_or(Ok(()), OpenDoor::close);
        drop(folder);
        result.and(closed)
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

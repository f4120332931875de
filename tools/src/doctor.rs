//! The examination of a machine: what Quorate needs from it, and what will slow it down.
//!
//! - Each check is a pair: `gather` looks, `judge` decides from the evidence alone, so that every
//!   verdict can be shown in a test without the machine that earns it.
//! - Nothing is changed, except that a small file is written to the data folder and removed.
//! - A warning or worse always has a cause and a fix.

pub(crate) mod check;
mod disk;
mod filesystem;
mod kernel;
mod limits;
mod memory;
mod network;
mod observation;
mod processor;
mod ring;
mod sync;
mod time;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::arguments::Io;
use crate::catalogue::Entry;
use check::Check;

/// What the machine shall be fit for.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    /// Where the data shall live.
    pub(crate) data_dir: PathBuf,
    /// The driver that must work, if it has to be one.
    pub(crate) io: Option<Io>,
    /// Pinned cores.
    pub(crate) cores: u32,
    /// How long to watch a busy core.
    pub(crate) watch: Duration,
    /// Other nodes that must be reachable.
    pub(crate) peers: Vec<SocketAddr>,
    /// The cluster that they must belong to.
    pub(crate) cluster: Option<u64>,
}

/// Whether io_uring can be used here, with all that the driver needs.
pub(crate) fn ring_works() -> bool {
    ring::works()
}

/// What a refusal of io_uring with this error number is called.
pub(crate) fn ring_refused(errno: i32) -> &'static Entry {
    ring::why_refused(errno, &ring::gather(Some(Io::Glommio))).1
}

/// Every check, in the order in which a person would ask.
pub(crate) fn examine(wishes: &Wishes) -> Vec<Check> {
    let mut checks = vec![
        ring::judge(&ring::gather(wishes.io)),
        limits::judge_locked_memory(&limits::gather_locked_memory(wishes.cores, wishes.io)),
        limits::judge_open_files(limits::gather_open_files()),
    ];
    checks.extend(filesystem::examine(&wishes.data_dir));
    checks.extend(disk::examine(&wishes.data_dir));
    checks.extend(processor::examine(wishes.cores));
    checks.extend(time::examine(wishes.watch));
    checks.push(sync::examine());
    checks.extend(memory::examine());
    checks.extend(network::examine(&wishes.peers, wishes.cluster));
    checks.extend(observation::examine());
    checks
}

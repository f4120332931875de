//! What can go wrong around the shards: folders, sockets, rings and threads, each with its evidence.
//!
//! Every variant carries what a person needs to see cause and fix; none carries prose to parse.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use shard::open::OpenError;

use crate::config::ConfigError;

/// Why a node could not be formatted, started, or kept running.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The layout or the options are refused.
    #[error("the configuration is refused: {0}")]
    Config(#[from] ConfigError),
    /// The object store's address names no place.
    #[error("--cold {address}: {source}")]
    ColdAddress {
        /// The address.
        address: String,
        /// Why not.
        source: cold::location::LocationError,
    },
    /// The file of the object store's keys cannot be used.
    #[error("the keys in {path}: {source}")]
    ColdKeys {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: cold::key::KeyError,
    },
    /// The object store cannot be opened.
    #[error("--cold {address}: {source}")]
    ColdStore {
        /// The address.
        address: String,
        /// Why not.
        source: cold::store::remote::OpenError,
    },
    /// The door for TigerBeetle clients was to be opened to the world, and nobody said that this is meant.
    #[error(
        "{address} is not on the loopback, and the protocol of TigerBeetle has no authentication"
    )]
    DoorElsewhere {
        /// Where it was to be.
        address: SocketAddr,
    },
    /// The door for TigerBeetle clients cannot be opened, or has ended by itself.
    #[error("the door for TigerBeetle clients on {address} failed: {source}")]
    Door {
        /// Where it is.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// `format` was asked to write into a folder that holds something.
    #[error("{dir} is not empty")]
    FolderNotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// There is no data folder here: it was never formatted, or formatting was interrupted.
    #[error("{dir} holds no formatted node")]
    FolderNotFormatted {
        /// The folder.
        dir: PathBuf,
        /// It holds remains of an interrupted `format`.
        interrupted: bool,
    },
    /// Another process has the folder open.
    #[error("{dir} is in use by another process")]
    FolderInUse {
        /// The folder.
        dir: PathBuf,
        /// The process that holds it, as it wrote itself down.
        pid: Option<u32>,
    },
    /// The folder was written by a newer program.
    #[error("{dir} has format {found}; this program reads up to {supported}")]
    FolderNewer {
        /// The folder.
        dir: PathBuf,
        /// Its format version.
        found: u64,
        /// The newest version this program reads.
        supported: u64,
    },
    /// The folder's description does not have the checksum it was written with.
    #[error("{path} is damaged: checksum {found:08x}, expected {expected:08x}")]
    FolderDamaged {
        /// The file.
        path: PathBuf,
        /// CRC-32 of what is there.
        found: u32,
        /// CRC-32 as written at its end.
        expected: u32,
    },
    /// The folder's description is not in the shape that `format` writes.
    #[error("{path} is not a description of a node")]
    FolderMalformed {
        /// The file.
        path: PathBuf,
    },
    /// The folder belongs to another cluster.
    #[error("{dir} belongs to cluster {found}, not {asked}")]
    WrongCluster {
        /// The folder.
        dir: PathBuf,
        /// Its cluster.
        found: u64,
        /// The cluster asked for.
        asked: u64,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried, as a verb: create, write, read, lock.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A core could not listen.
    #[error("core {core} cannot listen on {address}: {source}")]
    Listen {
        /// The core.
        core: u16,
        /// Its address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The network of a core cannot work as configured.
    #[error("core {core}: {source}")]
    Network {
        /// The core.
        core: u16,
        /// What contradicts what.
        source: net::config::ConfigError,
    },
    /// The limit of locked memory is below what a ring executor needs.
    #[error("{limit} bytes of memory may be locked; core {core} needs {needed}")]
    LockedMemory {
        /// The core.
        core: u16,
        /// `RLIMIT_MEMLOCK`.
        limit: u64,
        /// What one executor needs.
        needed: u64,
    },
    /// The kernel, a filter or a sysctl refuses io_uring.
    #[error("core {core} cannot set up io_uring: {source}")]
    Ring {
        /// The core.
        core: u16,
        /// The system's answer.
        source: io::Error,
    },
    /// A core could not be pinned to its CPU.
    #[error("core {core} cannot be pinned to CPU {cpu}")]
    Pin {
        /// The core.
        core: u16,
        /// The CPU.
        cpu: usize,
    },
    /// The system refuses a thread, a socket pair or an epoll instance.
    #[error("core {core} cannot be started: {source}")]
    Start {
        /// The core.
        core: u16,
        /// The system's answer.
        source: io::Error,
    },
    /// The log of a core could not be made or opened.
    #[error("the log of core {core}: {source}")]
    Log {
        /// The core.
        core: u16,
        /// What the log found.
        source: wal::WalError,
    },
    /// The log of a core cannot be what this node wrote, or holds damage.
    #[error("core {core} cannot be opened: {source}")]
    Open {
        /// The core.
        core: u16,
        /// What was found.
        source: OpenError,
    },
    /// A durable write of a core's log failed while it ran: nothing more may be promised.
    #[error("a durable write of core {core}'s log failed")]
    LogFailed {
        /// The core.
        core: u16,
    },
    /// A core stopped with a panic: a bug of ours. The other cores were stopped.
    #[error("core {core} panicked: {report}")]
    Panicked {
        /// The core.
        core: u16,
        /// The panic's message.
        report: String,
    },
}

impl EngineError {
    /// For `map_err` on a file operation.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

//! The face for embedders: starts cores, one pinned thread each, and turns one shard on each of them.
//!
//! The only threads and the only async of the house live here.

pub mod client;
pub mod clock;
pub mod config;
pub mod core;
mod cpus;
pub mod door;
pub mod driver;
pub mod error;
pub mod folder;
pub mod history;
mod host;
pub mod log;
pub mod node;
pub mod past;
mod porter;
pub mod spill;
pub mod stock;
pub mod teller;
mod uploads;

pub use raft::ids::{GroupId, NodeId};
pub use shard::manifest;

pub use raft::state_machine::{
    Admission, Asker, Command, Refusal, RestoreError, Shelved, StateMachine,
};

pub use crate::client::{Client, ClientError};
pub use crate::config::size::ByteSize;
pub use crate::config::{Io, Layout, Limits, NodeAddress, Options};
pub use crate::error::EngineError;
pub use crate::folder::FormatOptions;
pub use crate::log::format;
pub use crate::node::Node;
pub use crate::teller::{Pending, Teller, TellerError};

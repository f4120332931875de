//! Runs the groups of one core, a turn at a time.
//!
//! A [`shard::Shard`] owns everything one core owns: its groups' consensus and state machines, the
//! core's log, its peers and clients. It is one synchronous function, [`shard::Shard::turn`], over four
//! doors: the disk ([`wal::device::Device`]), the network ([`net::transport::Transport`]), time
//! ([`clock::Clock`]) and a seed. It knows no threads, no async, and not which machine hosts it.
//!
//! One turn is six verbs, each a file in `stages/`, a function and a histogram:
//!
//! | verb | in -> out |
//! |---|---|
//! | [`stages::receive`] | frames -> checked requests and messages |
//! | [`stages::decide`] | requests and messages -> the core's effects |
//! | [`stages::persist`] | effects of all groups -> one log |
//! | [`stages::replicate`] | effects of all groups -> one envelope per peer |
//! | [`stages::apply`] | committed entries -> outcomes |
//! | [`stages::reply`] | outcomes -> clients, stamps -> histograms |
//!
//! Persist and replicate leave in the same turn: the leader's disk and its followers' disks work at the
//! same time, and the core withholds every promise until it is kept.

pub mod balance;
pub mod bucket;
pub mod catch_up;
pub mod clock;
pub mod entry;
mod fetch;
pub mod history;
pub mod hostile;
mod inbox;
mod inspect;
mod letting_go;
pub mod limits;
pub mod losses;
pub mod manifest;
pub mod memory;
mod mending;
mod moving;
#[cfg(feature = "mutants")]
pub mod mutants;
#[cfg(not(feature = "mutants"))]
mod mutants;
pub mod offload;
pub mod open;
pub mod packet;
pub mod past;
pub mod peers;
pub mod promise;
mod pulse;
mod recalling;
pub mod receipt;
pub mod recover;
mod repairing;
pub mod replica;
mod rereading;
pub mod restoring;
mod room;
mod sealing;
mod serve;
pub mod sessions;
pub mod setup;
pub mod shard;
pub mod shelf;
pub mod stopwatch;
mod stretch;
pub mod timers;
pub mod upkeep;
mod verbs;
pub mod weld;
pub mod window;

/// The six verbs of a turn.
pub mod stages {
    pub mod apply;
    pub mod decide;
    pub mod persist;
    pub mod receive;
    pub mod replicate;
    pub mod reply;
}

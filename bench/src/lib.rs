//! Measures a cluster from outside: lays it out, loads it, proves the run, reports.
#![forbid(unsafe_code)]

pub mod acks;
mod assemble;
mod carrier;
#[cfg(test)]
mod ceiling;
pub mod choice;
pub mod clock;
pub mod cluster;
mod connection;
mod control;
pub mod error;
mod generator;
pub mod hiccup;
pub mod hlog;
mod honesty;
pub mod host;
mod inquiry;
mod load;
pub mod options;
pub mod progress;
mod proof;
mod render;
pub mod report;
mod run;
pub mod schedule;
mod setup;
mod snapshot;
pub mod stages;
pub mod status;
mod tally;
pub mod target;
pub mod text;
pub mod ticker;
pub mod verdict;
pub mod warning;
pub mod wire;
pub mod workload;

pub use error::BenchError;
pub use options::Options;
pub use progress::Progress;
pub use report::Report;
pub use run::{run, run_against};

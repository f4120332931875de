//! Measures a cluster from outside: lays it out, loads it, proves the run, reports.
#![forbid(unsafe_code)]

pub mod choice;
pub mod clock;
pub mod cluster;
pub mod error;
pub mod hiccup;
pub mod hlog;
pub mod host;
pub mod options;
pub mod progress;
mod render;
pub mod report;
pub mod schedule;
pub mod stages;
pub mod target;
pub mod text;
pub mod workload;

pub use error::BenchError;
pub use options::Options;
pub use progress::Progress;
pub use report::Report;

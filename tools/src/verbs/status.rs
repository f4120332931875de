//! `quorate status`: asks a cluster whether it is safe, and who leads.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::answer::Answer;
use crate::arguments::Output;
use crate::catalogue::internal;
use crate::failure::Failure;
use crate::quantity::parse_positive_duration;

const EXAMPLES: &str = "\
Examples:
  quorate status --cluster 7 --addresses 10.0.0.1:4000,10.0.0.2:4000,10.0.0.3:4000
  quorate status --cluster 1 --addresses 127.0.0.1:4000 --timeout 500ms --output json

The first line says how many more nodes may fail. Exit code 0: healthy; 3: degraded, or nobody
answers.";

/// Flags of `quorate status`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Number of the cluster
    #[arg(long, value_name = "ID", env = "QUORATE_CLUSTER")]
    pub(crate) cluster: u64,

    /// Where core 0 of each node listens
    #[arg(
        long,
        value_name = "IP:PORT",
        value_delimiter = ',',
        required = true,
        env = "QUORATE_ADDRESSES"
    )]
    pub(crate) addresses: Vec<SocketAddr>,

    /// How long to wait for a node's answer
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_positive_duration)]
    pub(crate) timeout: Duration,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    ask(arguments, output)
}

/// The one place where the verb meets the engine.
fn ask(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let asked = format!("quorate status, {arguments:?}, {output:?}");
    Err(Failure::new(
        &internal::RUN_FAILED,
        "the engine is not joined to the binary",
        asked,
    ))
}

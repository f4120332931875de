//! `quorate format`: prepares a data folder for a node of a new cluster.

use std::path::PathBuf;

use clap::Args;

use crate::answer::Answer;
use crate::arguments::Output;
use crate::catalogue::{internal, usage};
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  quorate format --data-dir /var/lib/quorate --cluster 7 --node 0 --nodes 3
  quorate format --data-dir ./alone --cluster 1 --node 0 --nodes 1 --groups 4 --cores 2

Run it once per node, with the same --cluster, --nodes, --cores and --groups on each. It refuses a
folder that is already formatted; nothing here deletes data.";

/// Flags of `quorate format`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The node's data folder; it must exist and be empty
    #[arg(long, value_name = "DIR", env = "QUORATE_DATA_DIR")]
    pub(crate) data_dir: PathBuf,

    /// Number of the cluster: nodes and clients of different clusters refuse each other
    #[arg(long, value_name = "ID")]
    pub(crate) cluster: u64,

    /// Which node this is, counted from 0
    #[arg(long, value_name = "N")]
    pub(crate) node: u32,

    /// How many nodes the cluster has
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=7))]
    pub(crate) nodes: u32,

    /// Pinned cores, each with a log of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) cores: u32,

    /// Raft groups, spread over the cores
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) groups: u32,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    if arguments.node >= arguments.nodes {
        let cause = format!(
            "node {} of {} nodes: they are counted from 0",
            arguments.node, arguments.nodes
        );
        return Err(Failure::new(
            &usage::VALUES_CONTRADICT,
            cause,
            "--node and --nodes",
        ));
    }
    prepare(arguments, output)
}

/// The one place where the verb meets the engine.
fn prepare(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let asked = format!("quorate format, {arguments:?}, {output:?}");
    Err(Failure::new(
        &internal::NOT_WIRED,
        "the engine is not joined to the binary",
        asked,
    ))
}

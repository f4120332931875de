//! `quorate start`: runs the node that lives in a data folder, until it is told to stop.

use std::path::PathBuf;

use clap::Args;

use crate::answer::Answer;
use crate::arguments::{Io, Output};
use crate::catalogue::internal;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  quorate start --data-dir /var/lib/quorate
  quorate start --data-dir /var/lib/quorate --cluster 7 --cpus 2,3
  quorate start --data-dir ./alone --io threads

The folder says which node this is, who the others are and where each listens. SIGTERM and SIGINT
end the node; nothing acknowledged is lost when it is killed.";

/// Flags of `quorate start`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The node's data folder, prepared by `quorate format`
    #[arg(long, alias = "data", value_name = "DIR", env = "QUORATE_DATA_DIR")]
    pub(crate) data_dir: PathBuf,

    /// What drives disk and sockets [default: glommio where io_uring works, else threads]
    #[arg(long, value_enum, env = "QUORATE_IO")]
    pub(crate) io: Option<Io>,

    /// Processors to pin the cores to, in order [default: from 0 on, where there is one for each]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) cpus: Option<Vec<usize>>,

    /// Connections that one core accepts; more are closed at once [default: the engine's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) connections_max: Option<u32>,

    /// The cluster that the folder must belong to [default: whichever it does]
    #[arg(long, value_name = "ID")]
    pub(crate) cluster: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    serve(arguments, output)
}

/// The one place where the verb meets the engine.
fn serve(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let asked = format!("quorate start, {arguments:?}, {output:?}");
    Err(Failure::new(
        &internal::NOT_WIRED,
        "the engine is not joined to the binary",
        asked,
    ))
}

//! `quorate start`: runs the node that lives in a data folder, until it is told to stop.

use std::path::PathBuf;

use clap::Args;

use crate::answer::Answer;
use crate::arguments::{Io, Output};
use crate::catalogue::internal;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  quorate start --data-dir /var/lib/quorate --addresses 10.0.0.1:4000,10.0.0.2:4000,10.0.0.3:4000
  quorate start --data-dir ./alone --addresses 127.0.0.1:4000 --io threads

The folder says which node this is, and the list says where it listens: node 0 is the first address.
Core k of a node listens on the node's port + k. SIGTERM and SIGINT end the node; nothing is lost when
it is killed.";

/// Flags of `quorate start`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The node's data folder, prepared by `quorate format`
    #[arg(long, value_name = "DIR", env = "QUORATE_DATA_DIR")]
    pub(crate) data_dir: PathBuf,

    /// Every node's address, in the order of their numbers
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        required = true,
        env = "QUORATE_ADDRESSES"
    )]
    pub(crate) addresses: Vec<String>,

    /// What drives disk and sockets [default: glommio where io_uring works, else threads]
    #[arg(long, value_enum, env = "QUORATE_IO")]
    pub(crate) io: Option<Io>,
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

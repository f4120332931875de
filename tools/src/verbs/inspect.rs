//! `quorate inspect`: looks into the data folder of a stopped node, or into sealed files, and changes nothing.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::answer::Answer;
use crate::arguments::Output;
use crate::failure::Failure;

mod integrity;
mod log;
mod manifest;
mod sealed_file;

const EXAMPLES: &str = "\
Examples:
  quorate inspect --data-dir /var/lib/quorate
  quorate inspect --data-dir /var/lib/quorate --core 1 --output json
  quorate inspect wal --data-dir /var/lib/quorate
  quorate inspect manifest --data-dir /var/lib/quorate
  quorate inspect segment /var/lib/quorate/core-000/archive/sealed-00000000-00000000000000000001
  quorate inspect integrity /var/lib/quorate

Prints the folder's identity, its segments, the last record of each group, and where the log is
torn or damaged. Exit code 0: intact, or torn at the tail as a crash leaves it; 3: damaged before
the tail.";

/// Flags of `quorate inspect`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,

    /// The data folder of a node that does not run
    #[arg(
        long,
        alias = "data",
        value_name = "DIR",
        env = "QUORATE_DATA_DIR",
        required = true
    )]
    data_dir: Option<PathBuf>,

    /// Look at the log of this core only, counted from 0
    #[arg(long, value_name = "N")]
    pub(crate) core: Option<u16>,
}

/// What else can be looked into.
#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Look into the log of a stopped node: segments, groups, torn tail, damage
    Wal(log::Arguments),
    /// Look at what groups' states are made of, and check every file that their manifests name
    Manifest(log::Arguments),
    /// Look into a sealed segment, and check every byte of it
    Segment(sealed_file::Arguments),
    /// Check every byte of a stopped node's folder, or of all sealed files below any folder
    Integrity(integrity::Arguments),
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    match &arguments.what {
        Some(What::Wal(arguments)) => log::run(arguments, output),
        Some(What::Manifest(arguments)) => manifest::run(arguments, output),
        Some(What::Segment(arguments)) => sealed_file::run(arguments, output),
        Some(What::Integrity(arguments)) => integrity::run(arguments, output),
        None => {
            let data_dir = arguments.data_dir.clone().unwrap_or_default();
            log::look(&data_dir, arguments.core, output)
        }
    }
}

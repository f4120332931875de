//! What may be asked for on the command line.

use std::ops::Range;

use clap::{Parser, ValueEnum};

use crate::faults::{self, Kind};
use crate::machine::Workload;

/// Runs the real shards in a made-up world, from one seed.
#[derive(Clone, Debug, Parser)]
#[command(name = "sim", version, about, max_term_width = 100)]
pub struct Arguments {
    /// `shrink`: makes the failing run of SEED smaller, and tells how to replay it.
    #[arg(value_enum, requires = "target", conflicts_with_all = ["seed", "seeds", "exam"])]
    pub verb: Option<Verb>,
    /// The seed to shrink.
    #[arg(value_name = "SEED")]
    pub target: Option<u64>,
    /// Run one seed.
    #[arg(long, conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Run many seeds, from A up to, not including, B.
    #[arg(long, value_name = "A..B", value_parser = range)]
    pub seeds: Option<Range<u64>>,
    /// Simulated minutes with faults, per seed; fractions are allowed.
    #[arg(long, default_value_t = 1.0)]
    pub minutes: f64,
    /// three, five, bank20x5, bank100, or a CSV file of round trips.
    #[arg(long, default_value = "five")]
    pub topology: String,
    /// What clients do.
    #[arg(long, value_enum, default_value_t = Workload::Bank)]
    pub workload: Workload,
    /// all, settled (nodes neither come nor go), none, or names of faults with commas; which of them are on is drawn from the seed.
    #[arg(long, default_value = "all", value_parser = faults::parse)]
    pub faults: Kinds,
    /// All of these faults are on in every run.
    #[arg(long)]
    pub all_on: bool,
    /// Faults are short and frequent, disks slow, clients restless.
    #[arg(long)]
    pub storm: bool,
    /// Groups of each cluster: 4 at one site and 1 on a map when not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub groups: Option<u64>,
    /// Cores of every node; drawn when not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=8))]
    pub cores: Option<u16>,
    /// Requests per second of each cluster; drawn when not given.
    #[arg(long)]
    pub rate: Option<u64>,
    /// Folder with measured round trips.
    #[arg(long, env = "QUORATE_RTT", value_name = "FOLDER")]
    pub rtt: Option<std::path::PathBuf>,
    /// Run the exam instead: plant known-bad variants and run at most so many seeds until each is caught.
    #[arg(long, value_name = "SEEDS", conflicts_with_all = ["seed", "seeds"])]
    pub exam: Option<u64>,
    /// Spreads the seeds over all topologies and workloads, in a fixed order, in place of the flags that describe one.
    #[arg(long, conflicts_with_all = ["exam", "topology", "workload", "minutes", "groups"])]
    pub campaign: bool,
    /// Plants a candidate of the exam, by name, in the runs that are asked for.
    #[arg(long, value_name = "NAME", conflicts_with = "exam")]
    pub plant: Option<String>,
    /// Clients often ask a node at random though they know the leader.
    #[arg(long)]
    pub restless: bool,
    /// Only candidates of the exam whose name contains this.
    #[arg(long, requires = "exam", value_name = "NAME")]
    pub only: Option<String>,
    /// Writes the clients' histories as JSON lines: one file for each seed, in this folder.
    #[arg(long, value_name = "FOLDER")]
    pub history: Option<std::path::PathBuf>,
    /// Lists every pair of a rare point and a fault that was never seen together.
    #[arg(long)]
    pub pairs: bool,
    /// Only the faults with these numbers strike, of those that the seed draws; `none` for none of them.
    #[arg(long, value_name = "NUMBERS", value_parser = numbers)]
    pub only_faults: Option<FaultNumbers>,
    /// Clients of each cluster; drawn when not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub clients: Option<u64>,
    /// Requests of all clients together at most, but for those at the end.
    #[arg(long)]
    pub requests: Option<u64>,
    /// How results are written.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// A list of faults; named so that it is one argument.
pub type Kinds = Vec<Kind>;

/// A list of numbers of faults; named so that it is one argument.
pub type FaultNumbers = Vec<u64>;

/// What may be done besides running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Verb {
    /// Makes a failing run smaller.
    Shrink,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

fn numbers(text: &str) -> Result<FaultNumbers, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let number = |word: &str| word.trim().parse::<u64>();
    let numbers: Result<Vec<u64>, _> = text.split(',').map(number).collect();
    numbers.map_err(|_| "numbers with commas, or none".to_owned())
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || "a range of seeds is written A..B, with A below B".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
    let range = number(from)?..number(to)?;
    if range.is_empty() {
        Err(wrong())
    } else {
        Ok(range)
    }
}

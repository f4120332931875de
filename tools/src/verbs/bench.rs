//! `quorate bench`: lays out a cluster on this machine, loads it, proves the result, reports.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bench::Options;
use bench::progress::{Bar, Progress};
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::answer::{Answer, Exit};
use crate::arguments::{Io, Output};
use crate::catalogue::{internal, usage};
use crate::failure::Failure;
use crate::quantity::{parse_duration, parse_positive_duration, parse_size};
use crate::refusal;
use crate::verbs::start;

const EXAMPLES: &str = "\
Examples:
  quorate bench
  quorate bench --replicas 1 --duration 30s --warmup 5s
  quorate bench --rate 200000 --clients 8 --batch 512 --output json
  quorate bench --io threads --cores 2 --groups 64 --clients 64
  quorate bench --duration 5s --unprepared-too

Without --rate the load is closed: each client sends its next batch when the last one is
answered. That measures throughput; its latencies say how long a saturated system takes.
With --rate the load is open, and latency counts from the moment at which a batch should have
been sent.

A run whose proof fails ends with exit code 1, whatever its throughput.";

/// Flags of `quorate bench`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Replicas of every group, each a process of its own on this machine
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=5), help_heading = "Cluster")]
    pub(crate) replicas: u32,

    /// Pinned cores per replica
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256), help_heading = "Cluster")]
    pub(crate) cores: u32,

    /// Raft groups, spread over the cores; at most as many as clients
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536), help_heading = "Cluster")]
    pub(crate) groups: u32,

    /// What drives disk and sockets [default: glommio where io_uring works, else threads]
    #[arg(long, value_enum, env = "QUORATE_IO", help_heading = "Cluster")]
    pub(crate) io: Option<Io>,

    /// Where to make the temporary folder of the run, removed at the end [default: the system's]
    #[arg(
        long,
        value_name = "DIR",
        env = "QUORATE_BENCH_DIR",
        help_heading = "Cluster"
    )]
    pub(crate) data_dir: Option<PathBuf>,

    /// Client sessions
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_535), help_heading = "Load")]
    pub(crate) clients: u32,

    /// Connections that the sessions share evenly [default: each has its own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_535), help_heading = "Load")]
    pub(crate) connections: Option<u32>,

    /// Batches in flight per session [default: 1; with --rate 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_024), help_heading = "Load")]
    pub(crate) window: Option<u32>,

    /// Transfers per batch
    #[arg(long, value_name = "N", default_value_t = 8_189, value_parser = clap::value_parser!(u32).range(1..=8_189), help_heading = "Load")]
    pub(crate) batch: u32,

    /// Accounts per group to move money between
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=100_000_000), help_heading = "Load")]
    pub(crate) accounts: u32,

    /// Skew of the choice of accounts, 0.99 is usual for hot ones [default: uniform]
    #[arg(long, value_name = "THETA", help_heading = "Load")]
    pub(crate) zipf: Option<f64>,

    /// Offered load in transfers per second [default: as fast as answers come]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000), help_heading = "Load")]
    pub(crate) rate: Option<u64>,

    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_positive_duration, help_heading = "Load")]
    pub(crate) duration: Duration,

    /// How long to load before measuring
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration, help_heading = "Load")]
    pub(crate) warmup: Duration,

    /// Seed of every choice of the load: the same seed offers the same load
    #[arg(long, value_name = "N", default_value_t = 42, help_heading = "Load")]
    pub(crate) seed: u64,

    /// Threads that carry the sessions [default: one per four processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256), help_heading = "Load")]
    pub(crate) threads: Option<u32>,

    /// A flag that every replica is started with besides, given once for each word: --start-flag=--log-keep=64MiB
    #[arg(
        long = "start-flag",
        value_name = "FLAG",
        allow_hyphen_values = true,
        help_heading = "Cluster"
    )]
    pub(crate) start_flags: Vec<String>,

    /// Transfers per group whose memory the replicas touch before the load [default: what the run is expected to make]
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    pub(crate) reserve_transfers: Option<u64>,

    /// Bytes of log per core laid out before the load [default: what the run is expected to write]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Cluster")]
    pub(crate) preallocate: Option<u64>,

    /// Measure once more with nothing touched or laid out beforehand, and report both
    #[arg(long, help_heading = "Report")]
    pub(crate) unprepared_too: bool,

    /// Whole runs, each on new replicas; the report is that of the median run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000), help_heading = "Report")]
    pub(crate) repeats: u32,

    /// Write histograms to this file, one line per second and stage, for HdrHistogram's readers
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) hlog: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    check(arguments)?;
    measure(arguments, output)
}

/// What each flag allows by itself and the flags together do not.
fn check(arguments: &Arguments) -> Result<(), Failure> {
    let refuse = |cause: String, flags| Err(Failure::new(&usage::VALUES_CONTRADICT, cause, flags));
    if arguments.replicas.is_multiple_of(2) {
        let cause = format!(
            "{} replicas tolerate no more failures than one fewer",
            arguments.replicas
        );
        return refuse(cause, "--replicas");
    }
    if arguments.clients < arguments.groups {
        let cause = format!(
            "{} clients leave some of {} groups without load",
            arguments.clients, arguments.groups
        );
        return refuse(cause, "--clients and --groups");
    }
    if let Some(connections) = arguments.connections
        && (!arguments.clients.is_multiple_of(connections) || connections < arguments.groups)
    {
        let cause = format!(
            "{} clients on {connections} connections: each connection carries as many, and each of {} groups has one",
            arguments.clients, arguments.groups
        );
        return refuse(cause, "--clients and --connections");
    }
    Ok(())
}

/// The one place where the verb meets the crate `bench`.
fn measure(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let options = Options {
        replicas: arguments.replicas,
        cores: arguments.cores,
        groups: arguments.groups,
        clients: arguments.clients,
        connections: arguments.connections.unwrap_or(0),
        window: arguments.window.unwrap_or(0),
        threads: arguments.threads.unwrap_or(0),
        batch: arguments.batch,
        accounts: arguments.accounts,
        zipf: arguments.zipf,
        duration: arguments.duration,
        warmup: arguments.warmup,
        rate: arguments.rate.map(|rate| rate as f64),
        io: match start::driver(arguments.io) {
            engine::config::Io::Glommio => bench::options::Io::Glommio,
            engine::config::Io::Threads => bench::options::Io::Threads,
        },
        data_dir: arguments.data_dir.clone(),
        seed: arguments.seed,
        hlog: arguments.hlog.clone(),
        repeats: arguments.repeats,
        reserve: arguments.reserve_transfers,
        start_flags: arguments.start_flags.clone(),
        preallocate: arguments.preallocate,
        unprepared_too: arguments.unprepared_too,
        argv: std::env::args().collect(),
        commit: option_env!("QUORATE_COMMIT").map(str::to_owned),
        ..Options::default()
    };
    let mut bar = Bar::default();
    let is_stopped = stopped_by_signals()?;
    bar.stopped_by(Arc::clone(&is_stopped));
    let run = bench::run(&options, &mut bar);
    bar.finish();
    let report = run.map_err(|error| {
        // From a terminal the replicas are asked to end, too: what ended first does not matter.
        if is_stopped.load(Ordering::Relaxed) {
            let cause = "it was asked to stop; its replicas are ended and its folder is removed";
            return Failure::new(&internal::RUN_INTERRUPTED, cause, "quorate bench");
        }
        refusal::of_bench(&error)
    })?;
    let text = match output {
        Output::Text => report.to_text(),
        Output::Json => report.to_json(),
    };
    let exit = if report.passed() {
        Exit::Done
    } else {
        Exit::Failed
    };
    Ok(Answer { text, exit })
}

/// Becomes true with the first SIGINT or SIGTERM; the second one ends the process at once.
fn stopped_by_signals() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .map_err(|error| {
                Failure::new(&internal::RUN_FAILED, error.to_string(), "quorate bench")
            })?;
    }
    Ok(flag)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(line: &[&str]) -> Result<Arguments, clap::Error> {
        Line::try_parse_from([&["bench"], line].concat()).map(|line| line.arguments)
    }

    #[test]
    fn without_flags_it_is_the_canonical_run() {
        let canonical = arguments(&[]).expect("every flag has a default");
        assert_eq!(
            (canonical.replicas, canonical.batch, canonical.rate),
            (3, 8_189, None)
        );
        assert!(check(&canonical).is_ok());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for line in [
            ["--batch", "8190"],
            ["--replicas", "0"],
            ["--duration", "0"],
            ["--accounts", "1"],
        ] {
            assert!(arguments(&line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn values_that_contradict_each_other_are_refused() {
        for line in [
            ["--groups", "9", "--clients", "8"],
            ["--connections", "3", "--clients", "8"],
            ["--connections", "16", "--clients", "8"],
            ["--replicas", "2", "--clients", "8"],
        ] {
            assert!(
                check(&arguments(&line).expect("each is possible")).is_err(),
                "{line:?}"
            );
        }
    }
}

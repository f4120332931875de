//! `quorate start`: runs the node that lives in a data folder, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args;
use engine::config::Options;
use engine::config::size::ByteSize;
use engine::core::Stopper;
use engine::door::{DoorOptions, with_sessions};
use engine::error::EngineError;
use engine::folder::Folder;
use engine::history::{ColdOptions, Compression, HistoryOptions, Stay};
use engine::node::Node;
use ledger::ledger::{ChunkSource, Ledger};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::answer::{Answer, SCHEMA_VERSION, to_json};
use crate::arguments::{Io, Output};
use crate::catalogue::environment;
use crate::doctor;
use crate::failure::Failure;
use crate::quantity::parse_positive_duration;
use crate::refusal;

const EXAMPLES: &str = "\
Examples:
  quorate start --data-dir /var/lib/quorate
  quorate start --data-dir /var/lib/quorate --cluster 7 --cpus 2,3
  quorate start --data-dir ./alone --io threads
  quorate start --data-dir ./alone --cold file:///var/lib/quorate/cold --log-keep 1GiB --image-after 512MiB
  quorate start --data-dir ./alone --tigerbeetle 127.0.0.1:3000

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

    /// Processors to pin the cores to, in order [default: from 0 on, where there is one for each;
    /// a node alone on its host begins with the one that its disk interrupts]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) cpus: Option<Vec<usize>>,

    /// Connections that one core accepts; more are closed at once [default: the engine's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) connections_max: Option<u32>,

    /// Transfers of each group whose memory is touched before the node serves; 0: of none, ever [default: of as many as may
    /// wait for their chapter, in at most an eighth of the memory, bit by bit while the node serves]
    #[arg(long, value_name = "N")]
    pub(crate) reserve_transfers: Option<u64>,

    /// Keep accounts in unnamed files below this folder, so that those not in use may leave memory [default: all of them in
    /// memory]
    #[arg(long, value_name = "DIR", env = "QUORATE_ACCOUNTS_DIR")]
    pub(crate) accounts_dir: Option<PathBuf>,

    /// Bytes of log that one core may take, as in 16GiB; with all of it in use writes are refused [default: 16GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) log_max: Option<ByteSize>,

    /// Growth of a group's log after which an image of it is taken; 0 keeps the log whole [default: 4GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) image_after: Option<ByteSize>,

    /// Bytes of log that one core keeps for replicas that lag [default: 8GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) log_keep: Option<ByteSize>,

    /// Bytes per second that one core fetches from peers or reads for them; 0 is without bound [default: 128MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) fetch_rate: Option<ByteSize>,

    /// Bytes per second that one core reads of its log again to find rot; 0 turns that off [default: 4MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) scrub_rate: Option<ByteSize>,

    /// Microseconds that a core looks on after requests and durable writes before it sleeps; it offers the processor
    /// to others meanwhile [default: 200]
    #[arg(long, value_name = "N", env = "QUORATE_AWAKE_US")]
    pub(crate) awake_us: Option<u64>,

    /// Keep the entries that the log gives up, in sealed files of at most so many bytes for each core; the oldest go
    /// [default: not kept; with --cold 16GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) keep_history: Option<ByteSize>,

    /// Give sealed files to this object store, file:///folder or s3://bucket/prefix?endpoint=URL&region=NAME; copies
    /// here go once it gave them back whole and the groups' logs say so. Credentials come from the environment
    #[arg(long, value_name = "ADDRESS", env = "QUORATE_COLD")]
    pub(crate) cold: Option<String>,

    /// Encrypt what is stored under keys wrapped by the last key of this file
    #[arg(
        long,
        requires = "cold",
        value_name = "FILE",
        env = "QUORATE_COLD_KEYS"
    )]
    pub(crate) cold_keys: Option<PathBuf>,

    /// How sealed files are compressed: none, lz4, zstd, or zstd:LEVEL
    #[arg(long, value_name = "CODEC", default_value = "zstd", value_parser = compression)]
    pub(crate) cold_compression: Compression,

    /// How long what is stored stays: keep, expire:DAYS, or lock:DAYS (nobody deletes it before: a bucket with object lock
    /// sees to that itself, in compliance mode; elsewhere it is Quorate's promise alone, and `cold verify` tells which). A
    /// unit makes it other than days, as in expire:12h
    #[arg(long, requires = "cold", value_name = "CLASS", default_value = "keep", value_parser = stay)]
    pub(crate) cold_retention: Stay,

    /// Bytes of files from the object store kept in memory for who reads the history
    #[arg(long, requires = "cold", value_name = "SIZE", default_value = "256MiB")]
    pub(crate) cold_cache: ByteSize,

    /// How often each group is looked after in the object store by its leader: what is over expires, small files are
    /// joined, what nobody names is swept
    #[arg(long, requires = "cold", value_name = "TIME", default_value = "1h", value_parser = parse_positive_duration)]
    pub(crate) cold_chores_every: Duration,

    /// How old an object must be that is swept because nobody names it; what is stored must be named within half of it
    #[arg(long, requires = "cold", value_name = "TIME", default_value = "24h", value_parser = parse_positive_duration)]
    pub(crate) cold_grace: Duration,

    /// Serve clients of TigerBeetle 0.17 here too: all nodes' addresses, in the order of the layout, are the
    /// client's list of replicas [default: no such door]
    #[arg(long, value_name = "IP:PORT", env = "QUORATE_TIGERBEETLE")]
    pub(crate) tigerbeetle: Option<SocketAddr>,

    /// Let --tigerbeetle listen beyond the loopback, although its protocol has no authentication
    #[arg(long, requires = "tigerbeetle")]
    pub(crate) tigerbeetle_anywhere: bool,

    /// The cluster that the folder must belong to [default: whichever it does]
    #[arg(long, value_name = "ID")]
    pub(crate) cluster: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    serve(arguments, output)
}

/// The one place where the verb meets the engine.
fn serve(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let place = arguments.data_dir.display().to_string();
    let told = |error: EngineError| refusal::of_engine(&error, &place);
    let mut options = Options {
        io: driver(arguments.io),
        cpus: arguments.cpus.clone(),
        ..Options::default()
    };
    options.cluster = arguments.cluster;
    options.connections_max = arguments.connections_max.unwrap_or(options.connections_max);
    options.log_bytes_max = arguments.log_max.unwrap_or(options.log_bytes_max);
    options.image_after_bytes = arguments.image_after.unwrap_or(options.image_after_bytes);
    options.log_keep_bytes = arguments.log_keep.unwrap_or(options.log_keep_bytes);
    options.fetch_bytes_per_second = arguments
        .fetch_rate
        .unwrap_or(options.fetch_bytes_per_second);
    let scrub_rate = arguments.scrub_rate;
    options.scrub_bytes_per_second = scrub_rate.unwrap_or(options.scrub_bytes_per_second);
    options.awake_us = arguments.awake_us.unwrap_or(options.awake_us);
    options.history = history(arguments);
    options.tigerbeetle = arguments.tigerbeetle.map(|address| DoorOptions {
        address,
        anywhere: arguments.tigerbeetle_anywhere,
    });
    let reserve = usize::try_from(arguments.reserve_transfers.unwrap_or(0)).unwrap_or(usize::MAX);
    let (accounts, stock) = (accounts(arguments)?, stock(arguments));
    let machine = move |group, limits| {
        let ledger = Ledger::new(ledger_limits(limits));
        let mut ledger = ledger.expect("limits within what rows can be numbered");
        if let Some(source) = &accounts {
            ledger.draw_accounts_from(Arc::clone(source));
        }
        ledger.reserve(reserve);
        if let Some(stock) = &stock {
            ledger.draw_transfers_from(Arc::clone(stock));
        }
        with_sessions(group, ledger)
    };
    let node = Node::start(&arguments.data_dir, &options, machine).map_err(told)?;
    stop_on_signals(node.stopper(), &place)?;
    log::info!("node {} serves from {place}", node.id());
    if let Some(door) = node.door() {
        log::info!("clients of TigerBeetle are served on {}", door.address());
    }
    node.wait().map_err(told)?;
    Ok(Answer::done(match output {
        Output::Text => String::new(),
        Output::Json => to_json(&Ended {
            schema_version: SCHEMA_VERSION,
            ended: "asked to",
        }),
    }))
}

/// Where accounts lie, if not in memory.
fn accounts(arguments: &Arguments) -> Result<Option<ChunkSource>, Failure> {
    let Some(folder) = &arguments.accounts_dir else {
        return Ok(None);
    };
    let source = engine::spill::source(folder).map_err(|error| {
        let place = folder.display().to_string();
        Failure::new(&environment::NO_UNNAMED_FILES, error.to_string(), place)
    })?;
    Ok(Some(source))
}

/// Memory that is touched while the node serves, unless it was told how much to touch before. Nothing depends on it; who cannot
/// read the folder is told so by the node.
fn stock(arguments: &Arguments) -> Option<ChunkSource> {
    if arguments.reserve_transfers.is_some() {
        return None;
    }
    let folder = Folder::open(&arguments.data_dir, arguments.cluster).ok()?;
    let limits = ledger_limits(folder.layout().limits);
    let waiting_max = limits.transfers_max.min(limits.unshelved_max) as u64;
    engine::stock::begin(folder.layout(), folder.node(), waiting_max).ok()
}

/// The history is kept when it is asked for, or when there is a store for it.
fn history(arguments: &Arguments) -> Option<HistoryOptions> {
    if arguments.keep_history.is_none() && arguments.cold.is_none() {
        return None;
    }
    let usual = HistoryOptions::default();
    Some(HistoryOptions {
        bytes_max: arguments.keep_history.unwrap_or(usual.bytes_max),
        compression: arguments.cold_compression,
        cold: arguments.cold.clone().map(|address| ColdOptions {
            address,
            keys: arguments.cold_keys.clone(),
            stay: arguments.cold_retention,
            cache: arguments.cold_cache,
            chores_every: arguments.cold_chores_every,
            grace: arguments.cold_grace,
        }),
    })
}

fn compression(text: &str) -> Result<Compression, String> {
    match text.split_once(':') {
        None if text == "none" => Ok(Compression::None),
        None if text == "lz4" => Ok(Compression::Lz4),
        None if text == "zstd" => Ok(Compression::Usual),
        Some(("zstd", level)) => match level.parse() {
            Ok(level @ 1..=19) => Ok(Compression::Zstd(level)),
            _ => Err("a level of zstd is 1 to 19".to_owned()),
        },
        _ => Err("none, lz4, zstd, or zstd:LEVEL".to_owned()),
    }
}

fn stay(text: &str) -> Result<Stay, String> {
    const DAY: u64 = 86_400;
    // A bare number is one of days.
    let days = |text: &str| match text.parse::<u64>() {
        Ok(days) => Ok(Duration::from_secs(days.saturating_mul(DAY))),
        Err(_) => parse_positive_duration(text),
    };
    match text.split_once(':') {
        None if text == "keep" => Ok(Stay::Keep),
        Some(("expire", rest)) => Ok(Stay::Expire(days(rest)?)),
        Some(("lock", rest)) => Ok(Stay::Lock(days(rest)?)),
        _ => Err("keep, expire:DAYS, or lock:DAYS".to_owned()),
    }
}

#[derive(Serialize)]
struct Ended {
    schema_version: u32,
    ended: &'static str,
}

/// The driver asked for; else the better one of those that work here.
pub(crate) fn driver(asked: Option<Io>) -> engine::config::Io {
    let io = asked.unwrap_or_else(|| {
        if doctor::ring_works() {
            Io::Glommio
        } else {
            Io::Threads
        }
    });
    match io {
        Io::Glommio => engine::config::Io::Glommio,
        Io::Threads => engine::config::Io::Threads,
    }
}

fn ledger_limits(limits: engine::config::Limits) -> ledger::limits::Limits {
    let rows = |limit: u64| {
        usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(ledger::limits::ROWS_MAX)
    };
    ledger::limits::Limits {
        accounts_max: rows(limits.accounts_max),
        transfers_max: rows(limits.transfers_max),
        pendings_max: rows(limits.transfers_max)
            .min(ledger::limits::Limits::default().pendings_max),
        ..ledger::limits::Limits::default()
    }
}

/// SIGTERM and SIGINT end the node in order.
fn stop_on_signals(stopper: Stopper, place: &str) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::new(&environment::OPEN_FILES, error.to_string(), place);
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(failed)?;
    let waiter = thread::Builder::new().name("signals".to_owned());
    let wait = move || {
        if signals.forever().next().is_some() {
            stopper.stop();
        }
    };
    waiter.spawn(wait).map(drop).map_err(failed)
}

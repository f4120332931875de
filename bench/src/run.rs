//! A benchmark from beginning to end: lay out, start, load, prove, report, leave nothing behind.

use crate::assemble::{Measured, assemble};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::error::BenchError;
use crate::hlog;
use crate::honesty::with_repeats;
use crate::host::{self, Disk};
use crate::load::Plan;
use crate::options::Options;
use crate::progress::{Phase, Progress};
use crate::proof::{Case, prove};
use crate::report::{Prepared, Report};
use crate::setup::{Observers, Watch, create_accounts, wait_for_leaders};
use crate::target::Target;
use crate::workload::Workload;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

/// Transfers per second that room is left for where no rate is given.
const RATE_MAX: f64 = 4e6;
/// Memory of a transfer in a replica, indexes included, rounded up.
const TRANSFER_BYTES: u64 = 192;
/// Transfers that fit at least, however little memory there is.
const TRANSFERS_MIN: u64 = 1_000_000;

/// Lays out replicas, starts them as processes, loads them, proves the run and takes them down.
///
/// # Errors
/// Whatever kept the run from being made. A run that was made and found wrong is a report that has not passed.
pub fn run(options: &Options, progress: &mut dyn Progress) -> Result<Report, BenchError> {
    options.check()?;
    let prepared = with_limits(options);
    let mut report = repeat(options, progress, |progress| whole(&prepared, progress))?;
    let mut without = None;
    if options.unprepared_too && report.passed() {
        let cold = Options {
            reserve: Some(0),
            preallocate: Some(0),
            hlog: None,
            repeats: 1,
            ..prepared.clone()
        };
        let other = repeat(&cold, progress, |progress| whole(&cold, progress))?;
        if !other.passed() {
            // A wrong run is the result, whichever it is.
            return Ok(other);
        }
        without = Some(other.claim.tx_per_s);
    }
    report.prepared = Some(Prepared {
        reserve_transfers: prepared.reserve.unwrap_or(0),
        preallocate_bytes: prepared.preallocate.unwrap_or(0),
        tx_per_s_without: without,
    });
    Ok(report)
}

/// One run on replicas of its own.
fn whole(options: &Options, progress: &mut dyn Progress) -> Result<Measured, BenchError> {
    progress.begin(Phase::Format, 0);
    let clock = Clock::start();
    // Differs from run to run, so that a replica of another run is not taken for one of this.
    let id = (clock.started_unix_ms() ^ (u64::from(std::process::id()) << 40)) >> 1;
    let mut cluster = Cluster::start(options, id)?;
    let (target, disk) = (cluster.target().clone(), cluster.disk().clone());
    let mut watch = |during| cluster.check(during);
    let measured = measure(options, &target, Some(&disk), clock, progress, &mut watch);
    let measured = match measured {
        // What is missing or broken is often told by the replicas themselves.
        Err(
            error @ (BenchError::Late { .. }
            | BenchError::Connection { .. }
            | BenchError::Protocol { .. }),
        ) => {
            let stderr = cluster.stderr();
            return Err(BenchError::WithStderr {
                error: Box::new(error),
                stderr,
            });
        }
        measured => measured?,
    };
    cluster.stop()?;
    Ok(measured)
}

/// The same for replicas that run already: loads them, proves the run and leaves them as they are.
/// The transfers of the run must be the only ones they hold.
///
/// # Errors
/// As for `run`.
pub fn run_against(
    target: &Target,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Report, BenchError> {
    let replicas = u32::try_from(target.nodes.len()).unwrap_or(u32::MAX);
    let options = Options {
        replicas,
        cores: target.cores,
        groups: target.groups,
        repeats: 1,
        ..options.clone()
    };
    options.check()?;
    let one = |progress: &mut dyn Progress| {
        measure(
            &options,
            target,
            None,
            Clock::start(),
            progress,
            &mut |_| Ok(()),
        )
    };
    repeat(&options, progress, one)
}

fn measure(
    options: &Options,
    target: &Target,
    disk: Option<&Disk>,
    clock: Clock,
    progress: &mut dyn Progress,
    watch: Watch,
) -> Result<Measured, BenchError> {
    let workload = Workload::new(options, clock.started_unix_ms());
    let mut observers = Observers::new(target);
    let limit = options.start_limit;
    let mut leaders = wait_for_leaders(&mut observers, clock, limit, progress, watch)?;
    create_accounts(
        &mut observers,
        &workload,
        &mut leaders,
        clock,
        limit,
        progress,
        watch,
    )?;
    let plan = Plan {
        options,
        target,
        workload: &workload,
        disk,
        clock,
        leaders: &leaders,
    };
    let loaded = plan.run(&mut observers, progress, watch)?;
    let case = Case {
        target,
        workload: &workload,
        logs: &loaded.logs,
        clock,
        limit: options.settle_limit,
    };
    let correctness = prove(&case, &mut observers, progress)?;
    let disk = disk.cloned();
    Ok(Measured {
        loaded,
        correctness,
        clock,
        disk,
        target: target.clone(),
        run_id: workload.run(),
    })
}

/// Runs as often as asked; the report is the median run's.
fn repeat(
    options: &Options,
    progress: &mut dyn Progress,
    mut one: impl FnMut(&mut dyn Progress) -> Result<Measured, BenchError>,
) -> Result<Report, BenchError> {
    let mut runs: Vec<(Report, Vec<hlog::Interval>, Clock)> = Vec::new();
    for _ in 0..options.repeats {
        let measured = one(progress);
        if measured.is_err() {
            progress.finish();
        }
        let measured = measured?;
        let intervals = if options.hlog.is_some() {
            measured.intervals()
        } else {
            Vec::new()
        };
        runs.push((assemble(options, &measured), intervals, measured.clock));
    }
    progress.finish();
    let rates: Vec<f64> = runs
        .iter()
        .map(|(report, ..)| report.claim.tx_per_s)
        .collect();
    let wrong = runs.iter().position(|(report, ..)| !report.passed());
    let chosen = wrong.unwrap_or_else(|| median_position(&rates));
    let (report, intervals, clock) = runs.swap_remove(chosen);
    let mut report = with_repeats(report, rates);
    if let Some(path) = &options.hlog {
        write_hlog(path, clock, &intervals)?;
        report.files.push(path.display().to_string());
    }
    Ok(report)
}

/// Position of the median, the lower of two.
fn median_position(rates: &[f64]) -> usize {
    let mut order: Vec<usize> = (0..rates.len()).collect();
    order.sort_by(|&one, &other| rates[one].total_cmp(&rates[other]));
    order[(order.len() - 1) / 2]
}

/// Transfers per second that a run on one machine is expected to make at most.
const RATE_EXPECTED_MAX: f64 = 1_600_000.0;
/// Batches per second that it is expected to make at most.
const BATCHES_EXPECTED: f64 = 120_000.0;
/// What a transfer takes in the log, and what its batch takes besides.
const LOG_BYTES_PER_TRANSFER: u64 = 130;
const LOG_BYTES_PER_BATCH: u64 = 400;
/// No more than this is laid out beforehand, per replica.
const LOG_BYTES_MAX: u64 = 4 << 30;

/// Limits of the replicas that the run will not reach, as far as memory allows.
fn with_limits(options: &Options) -> Options {
    let seconds = (options.duration + options.warmup).as_secs_f64() + 1.0;
    let wanted = (options.rate.unwrap_or(RATE_MAX) * seconds * 1.2) as u64;
    // Half of the memory, so that the page cache and everything else keep theirs.
    let memory = host::memory_available().unwrap_or(u64::MAX) / 2;
    let fitting = memory / u64::from(options.replicas) / TRANSFER_BYTES;
    let total = wanted.min(fitting).max(TRANSFERS_MIN);
    let per_group = total.div_ceil(u64::from(options.groups));
    // What the run is expected to make: its memory is touched and its log laid out before it begins.
    let rate = options
        .rate
        .unwrap_or(RATE_EXPECTED_MAX.min(f64::from(options.batch) * BATCHES_EXPECTED));
    let expected = ((rate * seconds) as u64).min(fitting);
    let log = expected
        .saturating_mul(LOG_BYTES_PER_TRANSFER + LOG_BYTES_PER_BATCH / u64::from(options.batch));
    Options {
        accounts_max: options.accounts_max.or(Some(options.accounts.into())),
        transfers_max: options.transfers_max.or(Some(per_group)),
        reserve: options
            .reserve
            .or(Some(expected.div_ceil(u64::from(options.groups)))),
        preallocate: options
            .preallocate
            .or(Some(log.min(LOG_BYTES_MAX) / u64::from(options.cores))),
        ..options.clone()
    }
}

fn write_hlog(path: &Path, clock: Clock, intervals: &[hlog::Interval]) -> Result<(), BenchError> {
    let failed = |doing| {
        move |source| BenchError::File {
            doing,
            path: path.to_owned(),
            source,
        }
    };
    let file = File::create(path).map_err(failed("making"))?;
    let mut out = BufWriter::new(file);
    hlog::write(&mut out, clock.started(), intervals).map_err(failed("writing"))?;
    out.into_inner()
        .map_err(|error| failed("writing")(error.into_error()))?
        .sync_all()
        .map_err(failed("writing"))
}

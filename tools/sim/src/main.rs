//! The simulator's command: runs seeds, shows progress, and tells what was broken and how to see it again.
//!
//! - Exit codes: 0 all promises kept, 1 one was not, 2 usage.
//! - Every hundredth seed is run twice; both runs must be the same, event for event.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sim::arguments::{Arguments, Output};
use sim::atlas::AtlasError;
use sim::campaign::Campaign;
use sim::plan::{Asked, Planted};
use sim::replay;
use sim::report::{self, Report};
use sim::run::{self, Outcome};
use sim::shrink;
use sim::trace;
use sim::verdict::Broken;
use sim::{atlas, exam};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One seed in so many is run twice.
const TWICE_ONE_IN: u64 = 100;
/// Where measured round trips lie beside a checkout.
const MEASURED: &str = "../shared/data/rtt";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let asked = match asked(&arguments) {
        Ok(asked) => asked,
        Err(error) => return usage(&error),
    };
    let command = replay::command(&asked, &arguments);
    watch_panics(&command);
    if let Some(seeds_max) = arguments.exam {
        let only = arguments.only.as_deref().unwrap_or("");
        return sit_exam(seeds_max, only, arguments.output);
    }
    let campaign = match campaign(&arguments) {
        Ok(campaign) => campaign,
        Err(error) => return usage(&full(&error)),
    };
    if let Some(seed) = arguments.target {
        let asked = campaign
            .as_ref()
            .map_or(&asked, |campaign| campaign.of(seed));
        // What is left of it is no world of the campaign any more.
        let arguments = Arguments {
            campaign: false,
            topology: asked.topology.name.clone(),
            ..arguments.clone()
        };
        return shrink(seed, asked, &arguments);
    }
    let seeds = match (&arguments.seeds, arguments.seed) {
        (Some(seeds), _) => seeds.clone(),
        (None, seed) => {
            let seed = seed.unwrap_or(42);
            seed..seed + 1
        }
    };
    let began = elapsed();
    let progress = progress(seeds.end - seeds.start);
    let mut report = Report::new(command, &asked.faults);
    for seed in seeds {
        let asked = campaign
            .as_ref()
            .map_or(&asked, |campaign| campaign.of(seed));
        let outcome = run_seed(seed, asked, &mut report);
        if let Some(broken) = &outcome.broken {
            progress.println(format!("seed {seed}: {broken}"));
        }
        if let Err(error) = keep_history(&outcome, arguments.history.as_deref()) {
            return usage(&error);
        }
        report.take(outcome);
        progress.inc(1);
    }
    progress.finish_and_clear();
    let elapsed_ns = elapsed() - began;
    let text = match arguments.output {
        Output::Text => report.text(elapsed_ns, arguments.pairs),
        Output::Json => report.json(elapsed_ns),
    };
    say(&text);
    ExitCode::from(u8::from(!report.failed.is_empty()))
}

fn run_seed(seed: u64, asked: &Asked, report: &mut Report) -> Outcome {
    let mut outcome = run::run(seed, asked);
    if outcome.broken.is_none() && seed.is_multiple_of(TWICE_ONE_IN) {
        let again = run::run(seed, asked).numbers.trace_hash;
        let first = outcome.numbers.trace_hash;
        if first == again {
            report.twice += 1;
        } else {
            outcome.broken = Some(Broken::NotDeterministic(first, again));
        }
    }
    outcome
}

fn keep_history(outcome: &Outcome, folder: Option<&Path>) -> Result<(), String> {
    let (Some(history), Some(folder)) = (&outcome.history, folder) else {
        return Ok(());
    };
    let file = folder.join(format!("{}.jsonl", outcome.seed));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&file, history))
        .map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// Makes a failing run smaller; one that does not fail is no use here.
fn shrink(seed: u64, asked: &Asked, arguments: &Arguments) -> ExitCode {
    let Some(shrunk) = shrink::shrink(seed, asked) else {
        return usage(&format!(
            "seed {seed} keeps all promises: nothing to shrink"
        ));
    };
    let command = replay::command(&shrunk.asked, arguments);
    say(&report::failure(&shrunk.outcome, &command));
    let left = shrunk
        .asked
        .only_faults
        .as_ref()
        .map_or(shrunk.faults_before, |left| left.len() as u64);
    say(&format!(
        "shrunk in {} runs: faults {} to {left}, nodes {} to {}, time {} ms to {} ms\n",
        shrunk.runs,
        shrunk.faults_before,
        asked.topology.nodes(),
        shrunk.asked.topology.nodes(),
        asked.faulty_ns / 1_000_000,
        shrunk.asked.faulty_ns / 1_000_000,
    ));
    ExitCode::from(1)
}

/// Runs the exam; a bad variant that is not caught, or a harmless one that is, fails it.
fn sit_exam(seeds_max: u64, only: &str, output: Output) -> ExitCode {
    // Planted faults fail assertions too: that is a way of being caught.
    std::panic::set_hook(Box::new(|_| {}));
    let mut failed = 0;
    let mut rows = Vec::new();
    let candidates = exam::candidates().into_iter();
    for candidate in candidates.filter(|candidate| candidate.name.contains(only)) {
        let mark = exam::sit(candidate, seeds_max);
        failed += u32::from(!mark.is_passed());
        let verdict = mark.verdict.as_ref().map_or_else(
            || "nothing found".to_owned(),
            |(seed, broken)| format!("seed {seed}: {broken}"),
        );
        let word = if mark.is_passed() { "ok" } else { "FAILED" };
        if output == Output::Text {
            let (name, seeds) = (mark.candidate.name, mark.seeds);
            say(&format!("{word:<7}{name:<42}{seeds:>4} seeds  {verdict}\n"));
        }
        rows.push(serde_json::json!({
            "name": mark.candidate.name, "passed": mark.is_passed(), "seeds": mark.seeds, "verdict": verdict,
        }));
    }
    if output == Output::Json {
        let document = serde_json::json!({"schema_version": 1, "exam": rows});
        say(&format!("{document:#}\n"));
    }
    ExitCode::from(u8::from(failed > 0))
}

fn campaign(arguments: &Arguments) -> Result<Option<Campaign>, AtlasError> {
    let measured = measured(arguments);
    let campaign = arguments
        .campaign
        .then(|| Campaign::new(measured.as_deref()));
    campaign.transpose()
}

/// The folder with measured round trips, if there is one.
fn measured(arguments: &Arguments) -> Option<PathBuf> {
    let beside = Some(PathBuf::from(MEASURED)).filter(|folder| folder.is_dir());
    arguments.rtt.clone().or(beside)
}

fn asked(arguments: &Arguments) -> Result<Asked, String> {
    let is_map = !matches!(arguments.topology.as_str(), "three" | "five");
    let groups = arguments.groups.unwrap_or(if is_map { 1 } else { 4 });
    let measured = measured(arguments);
    let topology = atlas::topology(&arguments.topology, measured.as_deref(), groups)
        .map_err(|error| full(&error))?;
    let planted = match &arguments.plant {
        None => Planted::default(),
        Some(name) => exam::candidates()
            .into_iter()
            .find(|candidate| candidate.name == name)
            .map(|candidate| candidate.planted)
            .ok_or_else(|| format!("no candidate of the exam is called `{name}` in this build"))?,
    };
    Ok(Asked {
        topology,
        faulty_ns: (arguments.minutes.clamp(0.0, 1e6) * 60e9) as u64,
        faults: arguments.faults.clone(),
        cores: arguments.cores,
        rate: arguments.rate.or(is_map.then_some(10)),
        all_on: arguments.all_on,
        is_storm: arguments.storm,
        is_restless: arguments.restless,
        workload: arguments.workload,
        keeps_history: arguments.history.is_some(),
        only_faults: arguments.only_faults.clone(),
        clients: arguments.clients.map(|clients| clients as usize),
        requests_max: arguments.requests,
        planted,
    })
}

/// An error with its causes.
fn full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Who closes the pipe has read enough.
fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn usage(error: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "error: {error}");
    ExitCode::from(2)
}

/// Where panics abort, the last events are told on the way out.
fn watch_panics(command: &str) {
    let command = command.to_owned();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let mut stderr = std::io::stderr().lock();
        for event in trace::watched() {
            let _ = writeln!(stderr, "{event}");
        }
        let _ = writeln!(stderr, "replay: {command} --seed {}", trace::watched_seed());
        usual(panic);
    }));
}

fn progress(seeds: u64) -> ProgressBar {
    let bar = ProgressBar::new(seeds);
    if seeds < 2 || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{pos}/{len} seeds {wide_bar} {elapsed} {eta}");
    bar.set_style(style.expect("the template is well-formed"));
    bar
}

/// Time that this process has spent on its processor; the simulated world never sees it.
fn elapsed() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(spent.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(spent.tv_nsec).unwrap_or(0)
}

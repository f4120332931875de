//! `quorate doctor`: examines this machine and says what helps, what hinders, and what to do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::answer::{self, Answer, Exit, SCHEMA_VERSION};
use crate::arguments::{Io, Output};
use crate::doctor::check::{Check, Verdict};
use crate::doctor::{self, Wishes};
use crate::quantity::parse_positive_duration;

const EXAMPLES: &str = "\
Examples:
  quorate doctor
  quorate doctor --data-dir /var/lib/quorate --cores 4
  quorate doctor --data-dir /var/lib/quorate --fix
  quorate doctor --io glommio --output json
  quorate doctor --peers 10.0.0.2:4000,10.0.0.3:4000 --cluster 7

Verdicts: ok; info: good to know; warn: works, with a drawback; fatal: does not work.
--fix prints commands and runs none of them. Exit code 0: nothing fatal; 4: something is.";

/// Flags of `quorate doctor`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The folder whose disk is to be examined; a small file is written there and removed
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".",
        env = "QUORATE_DATA_DIR"
    )]
    pub(crate) data_dir: PathBuf,

    /// The driver that must work [default: either]
    #[arg(long, value_enum, env = "QUORATE_IO")]
    pub(crate) io: Option<Io>,

    /// Pinned cores that a node shall use [default: all that the process may run on]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) cores: Option<u32>,

    /// How long to watch for interruptions of a busy core
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_positive_duration)]
    pub(crate) watch: Duration,

    /// Where core 0 of other nodes listens: they must be reachable
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) peers: Vec<SocketAddr>,

    /// The cluster that the peers must belong to [default: they are not asked]
    #[arg(long, value_name = "ID", env = "QUORATE_CLUSTER")]
    pub(crate) cluster: Option<u64>,

    /// Print the commands that would help, as a shell script, in place of the report
    #[arg(long)]
    pub(crate) fix: bool,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Answer {
    let wishes = Wishes {
        data_dir: arguments.data_dir.clone(),
        io: arguments.io,
        cores: arguments.cores.unwrap_or_else(available_cores),
        watch: arguments.watch,
        peers: arguments.peers.clone(),
        cluster: arguments.cluster,
    };
    let checks = doctor::examine(&wishes);
    let count = Count::of(&checks);
    let text = match output {
        Output::Json => to_json(&checks, &count),
        Output::Text if arguments.fix => to_script(&checks),
        Output::Text => to_text(&checks, &count),
    };
    let exit = if count.fatal > 0 {
        Exit::Environment
    } else {
        Exit::Done
    };
    Answer { text, exit }
}

fn available_cores() -> u32 {
    std::thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

/// How many checks came to which verdict.
#[derive(Debug, Default, Serialize)]
struct Count {
    ok: usize,
    info: usize,
    warn: usize,
    fatal: usize,
}

impl Count {
    fn of(checks: &[Check]) -> Self {
        let count = |verdict| {
            checks
                .iter()
                .filter(|check| check.verdict == verdict)
                .count()
        };
        Self {
            ok: count(Verdict::Ok),
            info: count(Verdict::Info),
            warn: count(Verdict::Warn),
            fatal: count(Verdict::Fatal),
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    usable: bool,
    count: &'a Count,
    checks: &'a [Check],
}

fn to_json(checks: &[Check], count: &Count) -> String {
    answer::to_json(&Document {
        schema_version: SCHEMA_VERSION,
        usable: count.fatal == 0,
        count,
        checks,
    })
}

fn to_text(checks: &[Check], count: &Count) -> String {
    let mut text: String = checks.iter().map(ToString::to_string).collect();
    let judgement = if count.fatal == 0 {
        "Quorate runs on this machine"
    } else {
        "Quorate does not run here"
    };
    text.push_str(&format!(
        "\n{judgement}: {} ok, {} info, {} warn, {} fatal.\n",
        count.ok, count.info, count.warn, count.fatal
    ));
    text
}

fn to_script(checks: &[Check]) -> String {
    let mut script =
        "# Commands that would help. Nothing was run; read each before you run it.\n".to_owned();
    for check in checks.iter().filter(|check| !check.fix.is_empty()) {
        script.push_str(&format!("\n# {}: {}\n", check.name, check.evidence));
        for line in &check.fix {
            script.push_str(&format!("{line}\n"));
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Check> {
        vec![
            Check::ok("io_uring", "works"),
            Check::warn("swap", "2 GiB of swap")
                .because("a page may have to come back from disk")
                .fix(["sudo swapoff -a"]),
        ]
    }

    #[test]
    fn the_report_shows_cause_and_fix_and_sums_up() {
        let checks = sample();
        let text = to_text(&checks, &Count::of(&checks));
        assert!(text.contains("ok     io_uring"), "{text}");
        assert!(
            text.contains("cause   a page may") && text.contains("fix     sudo swapoff -a"),
            "{text}"
        );
        assert!(
            text.ends_with("Quorate runs on this machine: 1 ok, 0 info, 1 warn, 0 fatal.\n"),
            "{text}"
        );
    }

    #[test]
    fn the_script_holds_commands_and_comments_only() {
        let script = to_script(&sample());
        assert!(
            script.contains("\n# swap: 2 GiB of swap\nsudo swapoff -a\n"),
            "{script}"
        );
        assert!(!script.contains("io_uring"), "{script}");
    }

    #[test]
    fn one_fatal_verdict_makes_the_machine_unusable() {
        let mut checks = sample();
        checks.push(Check::fatal("space", "none left").because("x").fix(["# y"]));
        let json: serde_json::Value =
            serde_json::from_str(&to_json(&checks, &Count::of(&checks))).expect("JSON");
        assert_eq!(json["usable"], false);
        assert_eq!(json["count"]["fatal"], 1);
        assert_eq!(json["checks"][1]["verdict"], "warn");
    }
}

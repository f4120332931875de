//! The command line: verbs, the flags they all have, and what `--help` says.
//!
//! The flags of one verb are in the file of that verb.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand, ValueEnum};
use log::LevelFilter;

use crate::catalogue::usage;
use crate::failure::Failure;
use crate::verbs::{
    bench, cold, completion, doctor, examples, explain, format, history, inspect, start, status,
};

const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}

Try:
  bench       Lay out a cluster here, load it, prove the result, report
  doctor      Examine this machine: what helps, what hinders, what to do
  examples    Worked examples, by topic
  explain     Explain an error code

Run:
  format      Prepare a data folder for a node
  start       Run the node that lives in a data folder
  status      Ask a cluster whether it is safe and who leads
  history     Read entries of a group back, however old they are

Care:
  inspect     Look into the data folder of a stopped node
  cold        List, verify and fetch what lies in the object store
  completion  Print a completion script for your shell
  help        Explain a verb

Options:
{options}{after-help}";

const EXAMPLES: &str = "\
Examples:
  quorate bench
  quorate doctor --data-dir /var/lib/quorate
  quorate examples cluster

Exit codes: 0 done, 1 failed, 2 usage, 3 unhealthy or degraded, 4 environment.";

/// A ledger on a thread-per-core, multi-Raft storage engine.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, help_template = TEMPLATE, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,

    /// Text for people, or one JSON document for programs, on standard output
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "QUORATE_OUTPUT",
        help_heading = "General"
    )]
    pub(crate) output: Output,

    /// Which log lines to print on standard error: off, error, warn, info, debug, trace
    #[arg(
        long,
        global = true,
        default_value = "warn", value_parser = parse_level,
        value_name = "LEVEL",
        env = "QUORATE_LOG",
        help_heading = "General"
    )]
    pub(crate) log: LevelFilter,
}

/// What can be asked of the binary.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lay out a cluster here, load it, prove the result, report
    Bench(bench::Arguments),
    /// Examine this machine: what helps, what hinders, what to do
    Doctor(doctor::Arguments),
    /// Worked examples, by topic
    Examples(examples::Arguments),
    /// Explain an error code
    Explain(explain::Arguments),
    /// Prepare a data folder for a node
    Format(format::Arguments),
    /// Run the node that lives in a data folder
    Start(start::Arguments),
    /// Ask a cluster whether it is safe and who leads
    Status(status::Arguments),
    /// Look into the data folder of a stopped node
    Inspect(inspect::Arguments),
    /// List, verify and fetch what lies in the object store
    Cold(cold::Arguments),
    /// Read a group's entries from any index on, wherever they are kept
    History(history::Arguments),
    /// Print a completion script for your shell
    Completion(completion::Arguments),
}

/// Who reads standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    // People.
    #[default]
    Text,
    // Programs.
    Json,
}

/// What drives a node's disk and sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Io {
    // glommio and a ring of the log's own; needs io_uring.
    Glommio,
    // Plain threads; works where io_uring is barred.
    Threads,
}

/// What a command line turned out to be.
pub(crate) enum Reading {
    /// Something to do.
    Verb(Box<Cli>),
    /// A wish for help or for the version; the text answers it.
    Asked(String),
    /// Nothing that can be done. The output is what the line asked for as far as that can be told.
    Refused(Output, Failure),
}

impl Cli {
    /// Reads a command line, the program's name first.
    pub(crate) fn read(line: impl IntoIterator<Item = OsString>) -> Reading {
        let line: Vec<OsString> = line.into_iter().collect();
        match Self::try_parse_from(&line) {
            Ok(cli) => Reading::Verb(Box::new(cli)),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
                ) =>
            {
                Reading::Asked(error.render().to_string())
            }
            Err(error) => Reading::Refused(wanted_output(&line), refusal(&error, &line)),
        }
    }
}

fn parse_level(text: &str) -> Result<LevelFilter, String> {
    text.parse()
        .map_err(|_| "expected off, error, warn, info, debug or trace".to_owned())
}

/// A line that cannot be parsed may still say who reads the answer.
fn wanted_output(line: &[OsString]) -> Output {
    let after_flag = line
        .windows(2)
        .any(|pair| pair[0] == "--output" && pair[1] == "json");
    if after_flag || line.iter().any(|word| word == "--output=json") {
        Output::Json
    } else {
        Output::Text
    }
}

/// clap's message in the form of all our failures: its first paragraph is the cause, its tips the fix.
fn refusal(error: &clap::Error, line: &[OsString]) -> Failure {
    let words: Vec<_> = line
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy())
        .collect();
    let place = format!("the command line:  quorate {}", words.join(" "));
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::new(&usage::COMMAND_LINE, "no verb was given", place);
    }
    let message = error.render().to_string();
    let mut paragraphs = message.split("\n\n").map(str::trim);
    let cause = paragraphs
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned();
    let tips = message
        .lines()
        .filter_map(|line| line.trim().strip_prefix("tip: "))
        .map(str::to_owned);
    let usages = message
        .lines()
        .filter_map(|line| line.strip_prefix("Usage: "))
        .map(str::to_owned);
    let fix = tips
        .chain(usages)
        .chain(usage::COMMAND_LINE.fix.iter().map(|&line| line.to_owned()));
    let fix = fix.collect();
    Failure::new(&usage::COMMAND_LINE, cause, place).with_fix(fix)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn read(line: &str) -> Reading {
        Cli::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_lists_every_verb() {
        let listed: Vec<&str> = TEMPLATE
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
            .collect();
        for verb in Cli::command().get_subcommands() {
            assert!(
                listed.contains(&verb.get_name()),
                "{} is missing in the template",
                verb.get_name()
            );
        }
    }

    #[test]
    fn every_verb_has_examples_and_they_parse() {
        for verb in Cli::command().get_subcommands() {
            let help = verb
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let examples: Vec<&str> = help
                .lines()
                .filter(|line| line.starts_with("  quorate "))
                .collect();
            assert!(!examples.is_empty(), "{} has no examples", verb.get_name());
            for example in examples {
                assert!(matches!(read(example), Reading::Verb(_)), "{example}");
            }
        }
    }

    #[test]
    fn every_flag_is_described() {
        for verb in Cli::command().get_subcommands() {
            for flag in verb.get_arguments() {
                assert!(
                    flag.get_help().is_some(),
                    "{} {}",
                    verb.get_name(),
                    flag.get_id()
                );
            }
        }
    }

    #[test]
    fn a_wrong_line_is_refused_with_its_cause_and_a_fix() {
        let Reading::Refused(Output::Json, failure) =
            read("quorate bench --replica 3 --output json")
        else {
            panic!("the flag is called --replicas");
        };
        let text = failure.to_string();
        assert!(text.starts_with("error[E1001]"), "{text}");
        assert!(text.contains("unexpected argument '--replica'"), "{text}");
        assert!(text.contains("--replicas"), "{text}");
        assert!(
            text.contains("where     the command line:  quorate bench --replica 3"),
            "{text}"
        );
    }

    #[test]
    fn help_and_version_are_answers_and_an_empty_line_is_not() {
        assert!(matches!(read("quorate --help"), Reading::Asked(_)));
        assert!(matches!(read("quorate bench --help"), Reading::Asked(_)));
        assert!(matches!(read("quorate --version"), Reading::Asked(_)));
        assert!(matches!(read("quorate"), Reading::Refused(Output::Text, _)));
    }
}

//! `quorate explain`: tells what an error code means, without a network.

use clap::Args;
use serde::Serialize;

use crate::answer::{self, Answer, SCHEMA_VERSION};
use crate::arguments::Output;
use crate::catalogue::{self, Entry, usage};
use crate::failure::Failure;

const WIDTH: usize = 88;

const EXAMPLES: &str = "\
Examples:
  quorate explain E2104
  quorate explain";

/// Flags of `quorate explain`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The code in brackets behind the word error [default: list all]
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let entries: Vec<&'static Entry> = match &arguments.code {
        None => catalogue::all().collect(),
        Some(code) => vec![catalogue::find(code).ok_or_else(|| unknown(code))?],
    };
    let text = match (output, entries.as_slice()) {
        (Output::Json, _) => to_json(&entries),
        (Output::Text, [entry]) => describe(entry),
        (Output::Text, _) => entries
            .iter()
            .map(|entry| format!("{}  {}\n", entry.code, entry.title))
            .collect(),
    };
    Ok(Answer::done(text))
}

fn unknown(code: &str) -> Failure {
    Failure::new(
        &usage::UNKNOWN_CODE,
        format!("`{code}` is not in the catalogue of this version"),
        "quorate explain",
    )
}

fn describe(entry: &Entry) -> String {
    let explanation = wrap(entry.explanation);
    let fix: String = entry.fix.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "{}: {}\n\n{explanation}\nWhat to do:\n{fix}\nExit code {}.\n",
        entry.code, entry.title, entry.exit as u8
    )
}

fn wrap(text: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        if width + word.len() > WIDTH {
            lines.push('\n');
            width = 0;
        } else if width > 0 {
            lines.push(' ');
        }
        lines.push_str(word);
        width += word.len() + 1;
    }
    lines.push('\n');
    lines
}

fn to_json(entries: &[&'static Entry]) -> String {
    let describe = |entry: &&'static Entry| Described {
        code: entry.code,
        title: entry.title,
        explanation: entry.explanation,
        fix: entry.fix,
        exit_code: entry.exit as u8,
    };
    answer::to_json(&Document {
        schema_version: SCHEMA_VERSION,
        errors: entries.iter().map(describe).collect(),
    })
}

#[derive(Serialize)]
struct Document {
    schema_version: u32,
    errors: Vec<Described>,
}

#[derive(Serialize)]
struct Described {
    code: &'static str,
    title: &'static str,
    explanation: &'static str,
    fix: &'static [&'static str],
    exit_code: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(code: Option<&str>, output: Output) -> Result<String, Failure> {
        run(
            &Arguments {
                code: code.map(str::to_owned),
            },
            output,
        )
        .map(|answer| answer.text)
    }

    #[test]
    fn every_code_is_explained_within_the_width_of_a_terminal() {
        for entry in catalogue::all() {
            let text = text(Some(entry.code), Output::Text).expect("the code is known");
            assert!(
                text.contains(entry.title) && text.contains(entry.fix[0]),
                "{text}"
            );
            let explanation = wrap(entry.explanation);
            assert!(
                explanation.lines().all(|line| line.len() <= WIDTH),
                "{explanation}"
            );
        }
    }

    #[test]
    fn without_a_code_all_are_listed() {
        let list = text(None, Output::Text).expect("a list needs nothing");
        assert_eq!(list.lines().count(), catalogue::all().count());
        let json: serde_json::Value =
            serde_json::from_str(&text(None, Output::Json).expect("likewise")).expect("JSON");
        assert_eq!(
            json["errors"].as_array().map(Vec::len),
            Some(catalogue::all().count())
        );
    }

    #[test]
    fn an_unknown_code_is_refused() {
        let failure = text(Some("E0000"), Output::Text).expect_err("no such code");
        assert!(failure.to_string().starts_with("error[E1004]"));
    }
}

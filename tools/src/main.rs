//! The operator's hands: one binary that formats, starts, measures and examines Quorate.
//!
//! - Results go to standard output, everything else to standard error; with `--output json` standard
//!   output holds one JSON document and nothing besides.
//! - What went wrong has a stable code, a cause, a place and a fix (`failure`, `catalogue`).
//! - Exit codes: 0 done, 1 failed, 2 usage, 3 unhealthy or degraded, 4 environment.

mod answer;
mod arguments;
mod catalogue;
mod doctor;
mod failure;
mod logger;
mod nodes;
mod panics;
mod quantity;
mod refusal;
mod verbs;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::answer::{Answer, Exit};
use crate::arguments::{Cli, Output, Reading};
use crate::failure::Failure;

fn main() -> ExitCode {
    panics::install();
    let (output, result) = match Cli::read(env::args_os()) {
        Reading::Asked(text) => (Output::Text, Ok(Answer::done(text))),
        Reading::Refused(output, failure) => (output, Err(failure)),
        Reading::Verb(cli) => {
            logger::install(cli.log);
            (cli.output, verbs::run(&cli.verb, cli.output))
        }
    };
    let answer = result.unwrap_or_else(|failure| report(output, &failure));
    match io::stdout().lock().write_all(answer.text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed.into(),
        // Who closes the pipe has read enough.
        Ok(()) | Err(_) => answer.exit.into(),
    }
}

/// People read standard error, programs read standard output.
fn report(output: Output, failure: &Failure) -> Answer {
    // When standard error is gone there is nobody left to tell.
    let _ = write!(io::stderr().lock(), "{failure}");
    let text = match output {
        Output::Text => String::new(),
        Output::Json => failure.to_json(),
    };
    Answer {
        text,
        exit: failure.exit(),
    }
}

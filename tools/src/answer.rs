//! What a verb gives back: the text for standard output and the process's exit code.

use std::process::ExitCode;

use serde::Serialize;

/// Version of every JSON document that the binary prints. Fields may be added under the same
/// version; a field that changes its meaning or disappears makes a new one.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// How a run ended. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It tried and failed.
    Failed = 1,
    /// The command line or the configuration was wrong; nothing was tried.
    Usage = 2,
    /// It looked, and what it saw is unhealthy or degraded.
    Unhealthy = 3,
    /// This machine does not allow it.
    Environment = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What a verb gives back when it did not fail.
#[derive(Debug)]
pub(crate) struct Answer {
    /// For standard output, complete with its last line break.
    pub(crate) text: String,
    /// How the run ended.
    pub(crate) exit: Exit,
}

impl Answer {
    /// It did what was asked.
    pub(crate) fn done(text: String) -> Self {
        Self {
            text,
            exit: Exit::Done,
        }
    }

    /// It looked, and what it saw is sound or not.
    pub(crate) fn looked(text: String, is_sound: bool) -> Self {
        let exit = if is_sound {
            Exit::Done
        } else {
            Exit::Unhealthy
        };
        Self { text, exit }
    }
}

/// A document as the binary prints it: indented, with a line break at its end.
pub(crate) fn to_json(document: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(document)
        .expect("documents have string keys and no failing fields");
    text.push('\n');
    text
}

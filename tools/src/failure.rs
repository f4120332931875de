//! One thing that went wrong: its entry in the catalogue, and what was seen this time.

use std::fmt;

use serde::Serialize;

use crate::answer::{self, Exit, SCHEMA_VERSION};
use crate::catalogue::Entry;

/// What went wrong, told so that the reader knows what to do next.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Failure {
    entry: &'static Entry,
    cause: String,
    place: String,
    fix: Vec<String>,
}

impl Failure {
    /// `cause` is the evidence of this very case, `place` what it is about: a file, an address, a flag.
    pub(crate) fn new(
        entry: &'static Entry,
        cause: impl Into<String>,
        place: impl Into<String>,
    ) -> Self {
        let fix = entry.fix.iter().map(|&line| line.to_owned()).collect();
        Self {
            entry,
            cause: cause.into(),
            place: place.into(),
            fix,
        }
    }

    /// A fix that knows more than the one in the catalogue.
    pub(crate) fn with_fix(mut self, fix: Vec<String>) -> Self {
        self.fix = fix;
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.entry.exit
    }

    pub(crate) fn to_json(&self) -> String {
        answer::to_json(&Document {
            schema_version: SCHEMA_VERSION,
            error: Described {
                code: self.entry.code,
                title: self.entry.title,
                cause: &self.cause,
                place: &self.place,
                fix: &self.fix,
                more: format!("quorate explain {}", self.entry.code),
            },
        })
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    error: Described<'a>,
}

#[derive(Serialize)]
struct Described<'a> {
    code: &'a str,
    title: &'a str,
    cause: &'a str,
    #[serde(rename = "where")]
    place: &'a str,
    fix: &'a [String],
    more: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error[{}]: {}", self.entry.code, self.entry.title)?;
        write_field(f, "cause", self.cause.lines())?;
        write_field(f, "where", self.place.lines())?;
        write_field(f, "fix", self.fix.iter().map(String::as_str))?;
        writeln!(f, "  {:<9} quorate explain {}", "more", self.entry.code)
    }
}

fn write_field<'a>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    lines: impl Iterator<Item = &'a str>,
) -> fmt::Result {
    for (index, line) in lines.enumerate() {
        writeln!(f, "  {:<9} {line}", if index == 0 { name } else { "" })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::environment::RING_BLOCKED_BY_SECCOMP;

    fn example() -> Failure {
        let fix = vec![
            "allow io_uring in the container".to_owned(),
            "or run with --io threads".to_owned(),
        ];
        Failure::new(
            &RING_BLOCKED_BY_SECCOMP,
            "io_uring_setup returned EPERM",
            "pid 1 in a container",
        )
        .with_fix(fix)
    }

    #[test]
    fn a_failure_names_code_cause_place_and_fix() {
        let expected = "\
error[E2104]: io_uring is blocked by seccomp
  cause     io_uring_setup returned EPERM
  where     pid 1 in a container
  fix       allow io_uring in the container
            or run with --io threads
  more      quorate explain E2104
";
        assert_eq!(example().to_string(), expected);
    }

    #[test]
    fn the_same_fields_are_in_the_json() {
        let json: serde_json::Value =
            serde_json::from_str(&example().to_json()).expect("valid JSON");
        assert_eq!(json["schema_version"], 1);
        assert_eq!(json["error"]["code"], "E2104");
        assert_eq!(json["error"]["where"], "pid 1 in a container");
        assert_eq!(json["error"]["fix"][1], "or run with --io threads");
    }
}

//! One finding of the examination: what was looked at, what was seen, what it means, what to do.

use std::fmt;

use serde::Serialize;

use crate::catalogue::Entry;

/// What a finding means for running Quorate here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Good to know; nothing to do.
    Info,
    /// It works, with a drawback.
    Warn,
    /// It does not work.
    Fatal,
}

/// A finding. Lines of `fix` are shell commands, or comments that start with `#`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) evidence: String,
    pub(crate) cause: Option<String>,
    pub(crate) fix: Vec<String>,
    pub(crate) code: Option<&'static str>,
}

impl Check {
    pub(crate) fn new(name: &'static str, verdict: Verdict, evidence: impl Into<String>) -> Self {
        Self {
            name,
            verdict,
            evidence: evidence.into(),
            cause: None,
            fix: Vec::new(),
            code: None,
        }
    }

    pub(crate) fn ok(name: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, evidence)
    }

    pub(crate) fn info(name: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(name, Verdict::Info, evidence)
    }

    pub(crate) fn warn(name: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(name, Verdict::Warn, evidence)
    }

    pub(crate) fn fatal(name: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(name, Verdict::Fatal, evidence)
    }

    /// Why it is so, or why it matters.
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// What to do, most advisable first.
    pub(crate) fn fix<Line: Into<String>>(mut self, lines: impl IntoIterator<Item = Line>) -> Self {
        self.fix.extend(lines.into_iter().map(Into::into));
        self
    }

    /// The error that a node would report for the same cause.
    pub(crate) fn code(mut self, entry: &'static Entry) -> Self {
        self.code = Some(entry.code);
        self
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Info => "info",
            Verdict::Warn => "warn",
            Verdict::Fatal => "fatal",
        };
        writeln!(f, "{verdict:<6} {:<18} {}", self.name, self.evidence)?;
        if let Some(cause) = &self.cause {
            writeln!(f, "{:25} cause   {cause}", "")?;
        }
        for (index, line) in self.fix.iter().enumerate() {
            let label = if index == 0 { "fix" } else { "" };
            writeln!(f, "{:25} {label:<7} {}", "", line.trim_start_matches("# "))?;
        }
        if let Some(code) = self.code {
            writeln!(f, "{:25} more    quorate explain {code}", "")?;
        }
        Ok(())
    }
}

/// For tests of judges: the verdict is the expected one, and one that asks for action says which.
#[cfg(test)]
pub(super) fn assert_verdict(check: &Check, expected: Verdict) {
    assert_eq!(check.verdict, expected, "{check}");
    if matches!(expected, Verdict::Warn | Verdict::Fatal) {
        assert!(check.cause.is_some() && !check.fix.is_empty(), "{check}");
    }
}

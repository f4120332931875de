//! The list of what the rules tolerate: one row each, with the reason for it.
//!
//! ```text
//! file      <path>: <reason>              longer than a file should be
//! function  <path> <name>: <reason>       longer than a function should be
//! unsafe    <path>: <reason>              may hold unsafe code
//! ```

use std::collections::BTreeMap;

use super::house::Finding;

pub(crate) const PATH: &str = "tools/tests/tidy/exceptions.txt";

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    File(String),
    Function(String, String),
    Unsafe(String),
}

/// Rows by subject, each with its line in the list.
#[derive(Debug)]
pub(crate) struct Exceptions {
    rows: BTreeMap<Subject, usize>,
}

impl Exceptions {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rows = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let (line_number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let subject = parse_row(line)
                .ok_or_else(|| format!("{PATH}:{line_number}: cannot read `{line}`"))?;
            if rows.insert(subject, line_number).is_some() {
                return Err(format!("{PATH}:{line_number}: the row is there twice"));
            }
        }
        Ok(Self { rows })
    }

    pub(crate) fn allows(&self, subject: &Subject) -> bool {
        self.rows.contains_key(subject)
    }

    /// Rows chosen by `about` that are not among `needed`.
    pub(crate) fn stale(
        &self,
        needed: &[Subject],
        about: impl Fn(&Subject) -> bool,
    ) -> Vec<Finding> {
        let stale = self
            .rows
            .iter()
            .filter(|(subject, _)| about(subject) && !needed.contains(subject));
        stale
            .map(|(subject, &line)| {
                Finding::new(PATH, line, format!("nothing needs this row: {subject:?}"))
            })
            .collect()
    }
}

fn parse_row(line: &str) -> Option<Subject> {
    let (subject, reason) = line.split_once(": ")?;
    let words: Vec<&str> = subject.split_whitespace().collect();
    if reason.split_whitespace().count() < 3 {
        return None;
    }
    match words.as_slice() {
        ["file", path] => Some(Subject::File((*path).to_owned())),
        ["function", path, name] => Some(Subject::Function((*path).to_owned(), (*name).to_owned())),
        ["unsafe", path] => Some(Subject::Unsafe((*path).to_owned())),
        _ => None,
    }
}

#[test]
fn a_row_without_a_reason_or_given_twice_is_refused() {
    assert!(Exceptions::parse("file a.rs: one table, read top to bottom\n# note\n").is_ok());
    assert!(Exceptions::parse("file a.rs\n").is_err());
    assert!(Exceptions::parse("file a.rs: long\n").is_err());
    assert!(Exceptions::parse("folder a: one two three\n").is_err());
    assert!(Exceptions::parse("file a.rs: one two three\nfile a.rs: one two three\n").is_err());
}

#[test]
fn a_row_that_nothing_needs_is_stale() {
    let exceptions = Exceptions::parse("file a.rs: one two three\nunsafe b.rs: one two three\n")
        .expect("well formed");
    let files = |subject: &Subject| matches!(subject, Subject::File(_));
    assert!(exceptions.allows(&Subject::File("a.rs".to_owned())));
    assert_eq!(exceptions.stale(&[], files).len(), 1);
    assert_eq!(
        exceptions.stale(&[Subject::File("a.rs".to_owned())], files),
        []
    );
}

//! Which keys a configuration may hold: an unknown one is an error that names the likely intention.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use crate::config::ConfigError;

/// A key and, where it opens a table or an array of tables, the keys within.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) within: &'static [Key],
}

impl Key {
    /// A key with a plain value.
    pub(crate) const fn plain(name: &'static str) -> Self {
        Self { name, within: &[] }
    }
}

/// Reads `text` as a `T`, refusing keys outside `known` first, so that a typing mistake is told as one.
pub(crate) fn read<T: DeserializeOwned>(text: &str, known: &[Key]) -> Result<T, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    check(text, table.get_ref(), known)?;
    toml::from_str(text).map_err(|error| syntax(text, &error))
}

fn check(text: &str, table: &DeTable<'_>, known: &[Key]) -> Result<(), ConfigError> {
    for (name, value) in table {
        let Some(key) = known.iter().find(|key| key.name == name.get_ref().as_ref()) else {
            let (line, column) = position(text, name.span());
            return Err(ConfigError::UnknownKey {
                key: name.get_ref().to_string(),
                line,
                column,
                suggestion: nearest(name.get_ref(), known),
            });
        };
        match value.get_ref() {
            DeValue::Table(inner) if !key.within.is_empty() => check(text, inner, key.within)?,
            DeValue::Array(items) if !key.within.is_empty() => {
                for item in items.iter() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        check(text, inner, key.within)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn syntax(text: &str, error: &toml::de::Error) -> ConfigError {
    let (line, column) = position(text, error.span().unwrap_or(0..0));
    ConfigError::Syntax {
        line,
        column,
        message: error.message().to_owned(),
    }
}

/// Line and column, counted from 1, in characters.
fn position(text: &str, span: Range<usize>) -> (usize, usize) {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// The known key that is at most a third of the word away, if any.
fn nearest(word: &str, known: &[Key]) -> Option<&'static str> {
    let bound = (word.chars().count() / 3).max(1);
    let distances = known.iter().map(|key| (distance(word, key.name), key.name));
    distances
        .filter(|&(away, _)| away <= bound)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance: how many letters to insert, remove or replace.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::{Key, distance, nearest};

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "core"), 4);
        assert_eq!(distance("cores", "cores"), 0);
        assert_eq!(distance("croes", "cores"), 2);
        assert_eq!(distance("core", "cores"), 1);
    }

    #[test]
    fn only_a_near_key_is_suggested() {
        const KNOWN: [Key; 2] = [Key::plain("cores"), Key::plain("groups")];
        assert_eq!(nearest("core", &KNOWN), Some("cores"));
        assert_eq!(nearest("group", &KNOWN), Some("groups"));
        assert_eq!(nearest("colour", &KNOWN), None);
    }
}

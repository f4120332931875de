//! Rule: the first line of every Rust file is its caption, a sentence.

use super::house::{Finding, House};

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let missing = house.rust().filter(|source| !has_caption(&source.text));
    missing
        .map(|source| {
            Finding::new(
                &source.path,
                1,
                "the file does not open with a `//! Caption.`",
            )
        })
        .collect()
}

/// A sentence: starts on the first line like one, and its paragraph ends with a full stop.
fn has_caption(text: &str) -> bool {
    let mut paragraph = text
        .lines()
        .map_while(|line| line.strip_prefix("//! "))
        .peekable();
    let starts = paragraph
        .peek()
        .is_some_and(|line| line.starts_with(|c: char| c.is_uppercase() || "`'\"".contains(c)));
    starts
        && paragraph
            .last()
            .is_some_and(|line| line.trim_end().ends_with('.'))
}

#[test]
fn files_without_a_sentence_first_are_caught() {
    let caught = |text: &str| !check(&House::of(&[("a.rs", text)])).is_empty();
    assert!(!caught("//! What it is.\n\nfn a() {}\n"));
    assert!(!caught(
        "//! What it is,\n//! on two lines.\n//!\n//! - more\n"
    ));
    assert!(caught("fn a() {}\n"));
    assert!(caught("\n//! Too late.\n"));
    assert!(caught("// Copyright.\n//! Too late.\n"));
    assert!(caught("//! no sentence.\n"));
    assert!(caught("//! No full stop\n"));
    assert!(caught("//!\n"));
    assert!(caught(""));
}

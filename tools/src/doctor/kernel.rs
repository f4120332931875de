//! The small text files in which the kernel describes itself and the machine.

use std::fs;
use std::path::Path;

/// The file's text without surrounding white space; nothing when it is not there or not for us.
pub(super) fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// The value behind `name:` in a file of such lines, like `/proc/self/status`.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))
        .map(str::trim)
}

/// The chosen word of a list like `always [madvise] never`.
pub(super) fn chosen(text: &str) -> Option<&str> {
    text.split_once('[')?
        .1
        .split_once(']')
        .map(|(word, _)| word)
}

#[test]
fn fields_and_choices_are_found() {
    assert_eq!(
        field("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n", "Seccomp"),
        Some("2")
    );
    assert_eq!(field("Name:\tx\n", "Seccomp"), None);
    assert_eq!(chosen("always [madvise] never"), Some("madvise"));
    assert_eq!(chosen("none"), None);
}

//! The shape of the house, checked on the tree itself: floors, captions, names, sizes, words and links.
//!
//! Each rule is a plain function from the tree to findings, in a file of its own under `tidy/`, with
//! bad samples beside it that it must catch. What a rule tolerates is listed by name, with a reason,
//! in `tidy/exceptions.txt`; a row that nothing needs any more is itself a finding.

mod captions;
mod exceptions;
mod floors;
mod house;
mod links;
mod names;
mod sizes;
mod tokens;
mod unsafety;
mod words;

use exceptions::Exceptions;
use house::{Finding, House};

fn assert_tidy(findings: &[Finding]) {
    let listing: String = findings
        .iter()
        .map(|finding| format!("\n  {finding}"))
        .collect();
    assert!(findings.is_empty(), "{} findings:{listing}", findings.len());
}

fn exceptions() -> Exceptions {
    Exceptions::parse(include_str!("tidy/exceptions.txt"))
        .expect("tidy/exceptions.txt is well formed")
}

#[test]
fn no_import_goes_upward() {
    assert_tidy(&floors::check(&House::read()));
}

#[test]
fn every_file_opens_with_its_caption() {
    assert_tidy(&captions::check(&House::read()));
}

#[test]
fn unsafe_lives_in_named_files_and_says_why_it_is_sound() {
    assert_tidy(&unsafety::check(&House::read(), &exceptions()));
}

#[test]
fn no_name_is_a_catch_all() {
    assert_tidy(&names::check(&House::read()));
}

#[test]
fn long_files_and_functions_are_listed_with_a_reason() {
    assert_tidy(&sizes::check(&House::read(), &exceptions()));
}

#[test]
fn nothing_unfinished_and_nothing_printed_by_libraries() {
    assert_tidy(&tokens::check(&House::read()));
}

#[test]
fn no_word_belongs_to_the_workshop() {
    assert_tidy(&words::check(&House::read()));
}

#[test]
fn links_resolve_and_every_crate_is_documented() {
    assert_tidy(&links::check(&House::read()));
}

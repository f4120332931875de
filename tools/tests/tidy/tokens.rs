//! Rule: nothing unfinished is left standing, and a library never writes to the terminal.

use proc_macro2::{TokenStream, TokenTree};

use super::house::{Finding, House};

const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];
const PRINTING: [&str; 4] = ["println", "print", "eprintln", "eprint"];

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in house.rust() {
        let mut calls = Vec::new();
        match source.text.parse::<TokenStream>() {
            Ok(tokens) => collect_calls(tokens, &mut calls),
            Err(error) => findings.push(Finding::new(&source.path, 0, error.to_string())),
        }
        for (name, line) in calls {
            if UNFINISHED.contains(&name.as_str()) {
                findings.push(Finding::new(
                    &source.path,
                    line,
                    format!("`{name}!` is left standing"),
                ));
            }
            if PRINTING.contains(&name.as_str()) && is_library(&source.path) {
                findings.push(Finding::new(
                    &source.path,
                    line,
                    format!("`{name}!` in a library"),
                ));
            }
        }
    }
    findings
}

/// Binaries, tests, benches, examples and the programs beside the workspace talk to a person; everything else is a
/// library.
fn is_library(path: &str) -> bool {
    let is_for_people = |part: &str| {
        matches!(
            part,
            "tools" | "tests" | "benches" | "examples" | "bin" | "peers" | "official" | "fuzz"
        )
    };
    !path.split('/').any(is_for_people)
}

/// Names and lines of `name!(..)` calls, also inside other macros.
fn collect_calls(tokens: TokenStream, calls: &mut Vec<(String, usize)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (position, token) in tokens.iter().enumerate() {
        match (token, tokens.get(position + 1), tokens.get(position + 2)) {
            (TokenTree::Group(group), ..) => collect_calls(group.stream(), calls),
            (TokenTree::Ident(name), Some(TokenTree::Punct(bang)), Some(TokenTree::Group(_)))
                if bang.as_char() == '!' =>
            {
                calls.push((name.to_string(), name.span().start().line));
            }
            _ => {}
        }
    }
}

#[test]
fn unfinished_code_is_caught_everywhere_and_printing_in_libraries() {
    let caught = |path: &str, text: &str| check(&House::of(&[(path, text)])).len();
    assert_eq!(caught("wal/src/a.rs", "fn a() { todo!() }"), 1);
    assert_eq!(
        caught("wal/src/a.rs", "fn a() { vec![unimplemented!(\"b\")] }"),
        1
    );
    assert_eq!(caught("tools/src/a.rs", "fn a() { b(dbg!(c)); }"), 1);
    assert_eq!(caught("wal/src/a.rs", "fn a() {\n println!(\"b\"); }"), 1);
    assert_eq!(
        caught("engine/examples/a.rs", "fn a() { println!(\"b\"); }"),
        0
    );
    assert_eq!(
        caught(
            "wal/src/a.rs",
            "// todo!()\nfn a() { b(\"println!()\"); writeln!(c); }"
        ),
        0
    );
}

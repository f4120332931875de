//! Rule: unsafe code lives in listed files, and each occurrence says above it why it is sound.

use proc_macro2::{TokenStream, TokenTree};

use super::exceptions::{Exceptions, Subject};
use super::house::{Finding, House};

/// How many lines of the same statement may stand between the sentence and the keyword.
const STATEMENT_LINES_MAX: usize = 4;

pub(crate) fn check(house: &House, exceptions: &Exceptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut needed = Vec::new();
    for source in house.rust() {
        let subject = Subject::Unsafe(source.path.clone());
        let lines = unsafe_lines(&source.text);
        for &line in &lines {
            if !exceptions.allows(&subject) {
                findings.push(Finding::new(
                    &source.path,
                    line,
                    "unsafe code in a file that is not listed for it",
                ));
            }
            if !is_justified(&source.text, line) {
                findings.push(Finding::new(
                    &source.path,
                    line,
                    "unsafe code without a `// SAFETY:` sentence above it",
                ));
            }
        }
        if !lines.is_empty() {
            needed.push(subject);
        }
    }
    findings.extend(exceptions.stale(&needed, |row| matches!(row, Subject::Unsafe(_))));
    findings
}

/// Lines with the keyword `unsafe`, also inside macros; not in comments and strings.
fn unsafe_lines(text: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    if let Ok(tokens) = text.parse::<TokenStream>() {
        collect(tokens, &mut lines);
    }
    lines.sort_unstable();
    lines.dedup();
    lines
}

fn collect(tokens: TokenStream, lines: &mut Vec<usize>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect(group.stream(), lines),
            TokenTree::Ident(ident) if ident == "unsafe" => lines.push(ident.span().start().line),
            _ => {}
        }
    }
}

/// Walks up from the keyword: over the start of its statement, over attributes, to a comment block
/// that holds the sentence. For `unsafe fn` and `unsafe trait` a `# Safety` section does as well.
fn is_justified(text: &str, line: usize) -> bool {
    let above: Vec<&str> = text.lines().take(line - 1).map(str::trim).collect();
    let mut statement_lines = 0;
    let mut rest = above.iter().rev().peekable();
    while let Some(line) = rest.next_if(|line| !line.starts_with("//")) {
        let is_attribute = line.starts_with("#[") || line.starts_with("#![");
        statement_lines += usize::from(!is_attribute);
        if statement_lines > STATEMENT_LINES_MAX
            || line.is_empty()
            || (line.ends_with([';', '}']) && !is_attribute)
        {
            return false;
        }
    }
    let mut comment = rest.take_while(|line| line.starts_with("//"));
    comment.any(|line| line.starts_with("// SAFETY: ") || line.starts_with("/// # Safety"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str, rows: &str) -> usize {
        check(
            &House::of(&[("a.rs", text)]),
            &Exceptions::parse(rows).expect("well formed"),
        )
        .len()
    }

    const LISTED: &str = "unsafe a.rs: one two three\n";

    #[test]
    fn unsafe_in_an_unlisted_file_is_caught() {
        let text = "fn a() {\n    // SAFETY: it is.\n    unsafe { b() }\n}\n";
        assert_eq!(findings(text, LISTED), 0);
        assert_eq!(findings(text, ""), 1);
        assert_eq!(
            findings(
                "macro_rules! m { () => {\n    // SAFETY: it is.\n    unsafe { b() } } }\n",
                ""
            ),
            1
        );
    }

    #[test]
    fn unsafe_without_its_sentence_is_caught() {
        assert_eq!(findings("fn a() {\n    unsafe { b() }\n}\n", LISTED), 1);
        assert_eq!(
            findings("fn a() {\n    // It is.\n    unsafe { b() }\n}\n", LISTED),
            1
        );
        assert_eq!(
            findings(
                "fn a() {\n    // SAFETY: it is.\n    b();\n    unsafe { b() }\n}\n",
                LISTED
            ),
            1
        );
        let spread = "fn a() {\n    // SAFETY: it is, and\n    // for long.\n    #[expect(unsafe_code)]\n    let b =\n        unsafe { b() };\n}\n";
        assert_eq!(findings(spread, LISTED), 0);
        assert_eq!(
            findings(
                "/// A.\n///\n/// # Safety\n///\n/// Never.\npub unsafe fn a() {}\n",
                LISTED
            ),
            0
        );
    }

    #[test]
    fn the_word_in_comments_strings_and_lints_is_no_code() {
        assert_eq!(
            findings(
                "#![deny(unsafe_code)]\n// unsafe\nfn a() { b(\"unsafe\") }\n",
                ""
            ),
            0
        );
    }

    #[test]
    fn a_listed_file_without_unsafe_is_caught() {
        assert_eq!(findings("fn a() {}\n", LISTED), 1);
    }
}

//! Rule: the tree speaks of the product and of nothing around its making.
//!
//! The words are spelt in halves so that this file passes its own rule.

use super::house::{Finding, House};

const WORKSHOP: [&str; 22] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("work", "tree"),
    concat!("cla", "ude"),
    concat!("anthro", "pic"),
    concat!("chat", "gpt"),
    concat!("open", "ai"),
    concat!("co", "pilot"),
    concat!("language ", "model"),
    concat!("sub", "agent"),
    concat!("ai ", "assistant"),
    concat!("ai-", "generated"),
    concat!("generated with ", "ai"),
    // Notes that are not in this repository: a reader could not follow them.
    concat!("experience", ".md"),
    concat!("reliability", ".md"),
    concat!("storage", ".md"),
    concat!("geo", ".md"),
    concat!("/io", ".md"),
    concat!("seed", ".txt"),
    // What a merge leaves behind.
    concat!("<<<<", "<<< "),
    concat!(">>>>", ">>> "),
    concat!("fix", "me"),
];

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &house.sources {
        for (index, line) in source.text.lines().enumerate() {
            let line = line.to_lowercase();
            let words = WORKSHOP.iter().filter(|word| contains_word(&line, word));
            findings.extend(
                words.map(|word| {
                    Finding::new(&source.path, index + 1, format!("speaks of `{word}`"))
                }),
            );
        }
    }
    findings
}

/// `word` in `line`, not inside a longer word: `geology.md` is none of our notes.
fn contains_word(line: &str, word: &str) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    line.match_indices(word).any(|(start, _)| {
        let (before, after) = (
            line[..start].chars().next_back(),
            line[start + word.len()..].chars().next(),
        );
        let joins_before = is_letter(before) && is_letter(word.chars().next());
        let joins_after = is_letter(after) && is_letter(word.chars().next_back());
        !joins_before && !joins_after
    })
}

#[test]
fn words_of_the_workshop_are_caught_and_others_not() {
    let caught = |text: &str| !check(&House::of(&[("docs/a.md", text)])).is_empty();
    for word in WORKSHOP {
        assert!(caught(&format!("As {word} says")), "{word}");
    }
    assert!(caught(&concat!("Cla", "ude").to_uppercase()));
    assert!(!caught(
        "the workflow of a client session, a prefixment, dinnergeo.md"
    ));
}

//! Reads files of directives: a command with arguments, input lines, `----`, expected output.

use std::path::{Path, PathBuf};

/// One directive of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directive {
    pub(crate) line: usize,
    pub(crate) command: String,
    /// Plain arguments, and `key=value` ones; a list in parentheses is one value.
    pub(crate) plain: Vec<String>,
    pub(crate) keyed: Vec<(String, String)>,
    pub(crate) input: Vec<String>,
    pub(crate) expected: Vec<String>,
}

impl Directive {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.keyed
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The numbers of a list argument; underscores are `None`.
    pub(crate) fn list(&self, key: &str) -> Option<Vec<Option<u64>>> {
        let value = self.get(key)?;
        let inner = value.trim_matches(|c| c == '(' || c == ')');
        let parts = inner
            .split([',', ' '])
            .map(str::trim)
            .filter(|part| !part.is_empty());
        Some(parts.map(|part| part.parse().ok()).collect())
    }

    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.plain
            .iter()
            .filter_map(|argument| argument.parse().ok())
            .collect()
    }
}

/// Splits a command line at spaces outside parentheses.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut depth = 0;
    for character in line.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if character.is_whitespace() && depth == 0 {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(character);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

pub(crate) fn parse(text: &str) -> Vec<Directive> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim();
        if line.is_empty() || line.starts_with('#') {
            at += 1;
            continue;
        }
        let mut directive = Directive {
            line: at + 1,
            ..Directive::default()
        };
        let mut head = line.to_string();
        while head.ends_with('\\') {
            at += 1;
            head.pop();
            head += lines[at].trim();
        }
        let mut words = words(&head).into_iter();
        directive.command = words.next().expect("a line that is not empty");
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => directive.keyed.push((key.into(), value.into())),
                None => directive.plain.push(word),
            }
        }
        at += 1;
        while at < lines.len() && lines[at] != "----" {
            directive.input.push(lines[at].to_string());
            at += 1;
        }
        at += 1;
        let fenced = lines.get(at) == Some(&"----");
        at += usize::from(fenced);
        while at < lines.len() {
            let ends = if fenced {
                lines[at] == "----"
            } else {
                lines[at].trim().is_empty()
            };
            if ends {
                break;
            }
            directive.expected.push(lines[at].to_string());
            at += 1;
        }
        at += if fenced { 2 } else { 0 };
        found.push(directive);
    }
    found
}

/// The folder of the peers' data, when it is there.
pub(crate) fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("QUORATE_TESTDATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata");
    let folder = named.unwrap_or(beside);
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "SKIPPED: no peers' data at {} (set QUORATE_TESTDATA)",
        folder.display()
    );
    None
}

/// All text files below a folder, by name.
pub(crate) fn texts(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "txt") {
            let name = path
                .file_stem()
                .expect("a file")
                .to_string_lossy()
                .into_owned();
            found.push((
                name,
                std::fs::read_to_string(&path).expect("a readable file"),
            ));
        }
    }
    found.sort();
    found
}

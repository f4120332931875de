//! The tree as the rules see it: every text file with its path, read once.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A text file; `path` is relative to the root of the repository, with `/` between its parts.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All text files, sorted by path.
pub(crate) struct House {
    pub(crate) sources: Vec<Source>,
}

/// Something that a rule does not tolerate. Line 0 stands for the file as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

impl House {
    /// The repository that this test was built from.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("tools/ lies in the repository");
        let mut sources = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for path in entries(&folder) {
                if is_left_alone(&path) {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(text) = fs::read_to_string(&path) {
                    let path = path.strip_prefix(root).expect("the walk began at the root");
                    sources.push(Source {
                        path: path.to_string_lossy().into_owned(),
                        text,
                    });
                }
            }
        }
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(!sources.is_empty(), "the repository is not empty");
        Self { sources }
    }

    /// A tree made up for a test.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let source = |&(path, text): &(&str, &str)| Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        Self {
            sources: files.iter().map(source).collect(),
        }
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &Source> {
        self.sources
            .iter()
            .filter(|source| source.path.ends_with(".rs"))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        self.sources
            .iter()
            .find(|source| source.path == path)
            .map(|source| source.text.as_str())
    }

    /// Is there a file of this path, or a folder that holds one?
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.sources
            .iter()
            .any(|source| source.path == path || source.path.starts_with(&folder))
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(folder).expect("a folder of the repository can be listed");
    listing
        .map(|entry| {
            entry
                .expect("an entry of the repository can be read")
                .path()
        })
        .collect()
}

/// What git or cargo made, not we.
fn is_left_alone(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    matches!(name, Some(".git" | "target" | "proptest-regressions"))
}

//! What to measure, from the command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::cell::Mode;

/// Everything that may be asked for.
pub(crate) struct Arguments {
    pub(crate) bytes: Vec<usize>,
    pub(crate) groups: Vec<usize>,
    pub(crate) modes: Vec<Mode>,
    pub(crate) systems: Vec<String>,
    pub(crate) window: Duration,
    pub(crate) windows: usize,
    pub(crate) folder: PathBuf,
    pub(crate) reopen: bool,
}

fn list<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split(',')
        .map(|word| {
            word.parse()
                .ok()
                .unwrap_or_else(|| panic!("{word}: not understood"))
        })
        .collect()
}

impl Arguments {
    /// Reads the command line; says what is wrong with it and ends.
    pub(crate) fn read() -> Self {
        let mut arguments = Self {
            bytes: vec![128, 1024, 16384],
            groups: vec![1, 16, 256, 1024],
            modes: vec![Mode::OneEach, Mode::Together],
            systems: list(
                "quorate,quorate-woken,bare,bare-copied,raft-engine,okaywal,fjall,rocksdb",
            ),
            window: Duration::from_millis(300),
            windows: 5,
            folder: std::env::temp_dir(),
            reopen: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--reopen" {
                arguments.reopen = true;
                continue;
            }
            let value = words
                .next()
                .unwrap_or_else(|| panic!("{word} wants a value"));
            match word.as_str() {
                "--bytes" => arguments.bytes = list(&value),
                "--groups" => arguments.groups = list(&value),
                "--mode" => arguments.modes = list(&value),
                "--systems" => arguments.systems = list(&value),
                "--window-ms" => arguments.window = Duration::from_millis(list(&value)[0]),
                "--windows" => arguments.windows = list(&value)[0],
                "--folder" => arguments.folder = value.into(),
                _ => panic!("{word}: not known"),
            }
        }
        arguments
    }
}

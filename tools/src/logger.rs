//! Log lines on standard error, as plain text: level, origin, message.
//!
//! Service supervisors add the time; standard output is left to results.

use std::io::{self, Write};

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr;

static STDERR: Stderr = Stderr;

/// Sends everything at or above `level` to standard error from here on. Called once, by `main`.
pub(crate) fn install(level: LevelFilter) {
    if log::set_logger(&STDERR).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let message = record.args().to_string();
        let level = level_for_people(record.level(), record.target(), &message);
        if level <= log::max_level() {
            // When standard error is gone there is nobody left to tell.
            let _ = writeln!(
                io::stderr().lock(),
                "{:<5} {}: {message}",
                level.as_str().to_lowercase(),
                record.target()
            );
        }
    }

    fn flush(&self) {}
}

/// glommio calls it an error that a virtual disk offers no polled completions. It works without them,
/// and people who see the line believe that something is broken.
fn level_for_people(level: Level, target: &str, message: &str) -> Level {
    if target.starts_with("glommio") && message.contains("iopoll") {
        Level::Debug
    } else {
        level
    }
}

#[test]
fn the_harmless_line_about_polled_completions_is_no_error() {
    let message = "got unexpected error when probing iopoll support for file";
    assert_eq!(
        level_for_people(Level::Error, "glommio::sys::sysfs", message),
        Level::Debug
    );
    assert_eq!(
        level_for_people(Level::Error, "engine::node", message),
        Level::Error
    );
    assert_eq!(
        level_for_people(Level::Error, "glommio::reactor", "stall"),
        Level::Error
    );
}

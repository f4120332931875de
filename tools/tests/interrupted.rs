//! A benchmark that is told to stop leaves nothing behind: no process, no folder.

use std::path::Path;
use std::process::Stdio;

use engine::clock::SystemClock;

use crate::processes::{self, PATIENCE, quorate};

/// Processes whose command line names the folder.
fn processes_of(folder: &str) -> Vec<String> {
    let all = Path::new("/proc").read_dir().expect("proc is mounted");
    let lines = all
        .flatten()
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder)).collect()
}

fn is_stopped_by(signal: &str) {
    let base = tempfile::tempdir().expect("a temporary folder");
    let folder = base.path().display().to_string();
    let flags = ["bench", "--duration", "10m", "--data-dir", &folder];
    let flags = [&flags[..], &["--replicas", "1", "--io", "threads"]].concat();
    let flags = [&flags[..], &["--preallocate", "64MiB"]].concat();
    let mut command = quorate(&flags);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = command.spawn().expect("the binary runs");
    let deadline = SystemClock.now().plus(PATIENCE.as_nanos() as u64);
    let is_serving = || {
        let all = processes_of(&folder);
        all.iter().any(|line| line.contains(" start "))
    };
    while !is_serving() {
        assert!(SystemClock.now() < deadline, "no replica runs");
        std::thread::yield_now();
    }
    processes::signal(run.id(), signal);
    let output = run.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && told.contains("E5005"),
        "{output:?}"
    );
    assert!(output.stdout.is_empty(), "no number is printed");
    assert_eq!(processes_of(&folder), Vec::<String>::new());
    let left = base.path().read_dir().expect("the user's own").count();
    assert_eq!(left, 0);
}

#[test]
fn a_benchmark_that_is_interrupted_leaves_nothing() {
    is_stopped_by("-INT");
}

#[test]
fn a_benchmark_that_is_terminated_leaves_nothing() {
    is_stopped_by("-TERM");
}

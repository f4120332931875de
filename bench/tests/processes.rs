//! Replicas as processes: what they say when they fail is told, and nothing of them is left.

use crate::life::short;
use bench::progress::{Phase, Silent};
use bench::{BenchError, Options, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// A server program of a few lines of shell, and a run with it.
struct Lab {
    folder: TempDir,
    options: Options,
}

impl Lab {
    fn new(format: &str, start: &str) -> Lab {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("server");
        let said = folder.path().join("said");
        let said = said.display();
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {said}\ncase $1 in\nformat) {format};;\nstart) {start};;\nesac\n"
        );
        fs::write(&program, script).expect("a file");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("our file");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder");
        let options = Options {
            program: Some(program),
            data_dir: Some(data),
            start_limit: Duration::from_millis(300),
            cores: 2,
            groups: 3,
            ..short()
        };
        Lab { folder, options }
    }

    fn fails(&self) -> BenchError {
        run(&self.options, &mut Silent).expect_err("no server of three lines passes")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).expect("it was run")
    }

    fn is_clean(&self) -> bool {
        let data = self.options.data_dir.as_deref().expect("it was given");
        fs::read_dir(data).expect("it stays").next().is_none()
    }
}

#[test]
fn replicas_are_told_where_all_of_them_are() {
    let lab = Lab::new("exit 0", "exit 1");
    lab.fails();
    let said = lab.said();
    let formats: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("format "))
        .collect();
    assert_eq!(formats.len(), 3);
    for (node, line) in (1..).zip(&formats) {
        let node: u32 = node;
        for part in [
            &format!("/node-{node} --cluster "),
            &format!(" --node {node} --nodes 1=127.0.0.1:"),
            ",2=127.0.0.1:",
            ",3=127.0.0.1:",
            " --cores 2 --groups 3 --accounts-max 100 --transfers-max ",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    // The run is over as soon as one has ended; the others may not have spoken yet.
    let mut starts = said
        .lines()
        .filter(|line| line.starts_with("start "))
        .peekable();
    assert!(starts.peek().is_some());
    assert!(
        starts
            .all(|line| line.contains("/node-")
                && line.contains(" --io glommio --reserve-transfers ")),
        "{said}"
    );
}

#[test]
fn a_failed_format_is_told_and_cleaned_up() {
    let lab = Lab::new("echo the disk is full >&2; exit 4", "exit 0");
    let error = lab.fails();
    assert!(
        matches!(error, BenchError::Format { node: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(lab.is_clean());
}

#[test]
fn a_replica_that_ends_is_told_and_cleaned_up() {
    let lab = Lab::new("exit 0", "echo io_uring is barred >&2; exit 4");
    let error = lab.fails();
    assert!(
        matches!(
            error,
            BenchError::Exited {
                during: Phase::Start,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("io_uring is barred"), "{error}");
    assert!(lab.is_clean());
}

#[test]
fn replicas_that_do_not_answer_are_told_and_ended() {
    let lab = Lab::new(
        "exit 0",
        "echo $$ >> \"$0.pids\"; echo waiting >&2; exec sleep 1000",
    );
    let error = lab.fails();
    let told = error.to_string();
    assert!(matches!(error, BenchError::WithStderr { .. }), "{told}");
    assert!(
        told.contains("cannot reach node 1") && told.contains("waiting"),
        "{told}"
    );
    let pids =
        fs::read_to_string(lab.folder.path().join("server.pids")).expect("they were started");
    for pid in pids.lines() {
        let state = fs::read_to_string(Path::new("/proc").join(pid).join("cmdline"));
        assert!(
            !state.is_ok_and(|line| line.contains("sleep")),
            "process {pid} is still there"
        );
    }
    assert!(lab.is_clean());
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let lab = Lab::new("exit 0", "exit 0");
    let options = Options {
        program: Some("/nonexistent/quorate".into()),
        ..lab.options.clone()
    };
    let error = run(&options, &mut Silent).expect_err("there is no such program");
    assert!(matches!(error, BenchError::Program { .. }), "{error}");
    assert!(lab.is_clean());
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let check = |options: Options, name: &str| {
        let error = run(&options, &mut Silent).expect_err("it is out of range");
        assert!(
            matches!(error, BenchError::Option { option, .. } if option == name),
            "{error}"
        );
    };
    check(
        Options {
            replicas: 2,
            ..short()
        },
        "--replicas",
    );
    check(
        Options {
            batch: 8190,
            ..short()
        },
        "--batch",
    );
    check(
        Options {
            groups: 5,
            ..short()
        },
        "--clients",
    );
    check(
        Options {
            zipf: Some(-1.0),
            ..short()
        },
        "--zipf",
    );
    check(
        Options {
            rate: Some(f64::NAN),
            ..short()
        },
        "--rate",
    );
    check(
        Options {
            duration: Duration::ZERO,
            ..short()
        },
        "--duration",
    );
}

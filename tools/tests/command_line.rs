//! The binary as its users meet it: exit codes, what goes to which stream, documents that parse.

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;

struct Run {
    exit_code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn quorate(line: &str) -> Run {
    let output = command(line)
        .output()
        .expect("the binary was built with this test");
    let text = |bytes| String::from_utf8(bytes).expect("the binary writes text");
    Run {
        exit_code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn command(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    // Settings of the person who runs the tests are none of theirs.
    command
        .args(line.split_whitespace())
        .env_clear()
        .stdin(Stdio::null());
    command
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).expect("standard output is one JSON document")
}

#[test]
fn help_is_an_answer_on_standard_output() {
    for line in ["--help", "bench --help", "help start", "--version"] {
        let run = quorate(line);
        assert_eq!(
            (run.exit_code, run.stderr.as_str()),
            (Some(0), ""),
            "{line}"
        );
        assert!(run.stdout.contains("quorate"), "{line}: {}", run.stdout);
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_why_on_standard_error() {
    for line in [
        "",
        "bensch",
        "bench --batch 9000",
        "format --data-dir x --cluster 1 --node 3 --nodes 1=127.0.0.1:4000",
        "explain E0000",
    ] {
        let run = quorate(line);
        assert_eq!(
            (run.exit_code, run.stdout.as_str()),
            (Some(2), ""),
            "{line}"
        );
        for part in [
            "error[E1",
            "\n  cause  ",
            "\n  where  ",
            "\n  fix  ",
            "\n  more      quorate explain E1",
        ] {
            assert!(
                run.stderr.contains(part),
                "{line}: {part} is missing in\n{}",
                run.stderr
            );
        }
    }
}

#[test]
fn a_program_finds_the_same_error_on_standard_output() {
    let run = quorate("bench --batch 9000 --output json");
    assert_eq!(run.exit_code, Some(2));
    assert_eq!(json(&run)["error"]["code"], "E1001");
    assert_eq!(json(&run)["schema_version"], 1);
}

#[test]
fn the_doctor_answers_in_json_and_in_text() {
    let line = format!(
        "doctor --watch 1ms --data-dir {}",
        env!("CARGO_TARGET_TMPDIR")
    );
    let report = quorate(&format!("{line} --output json"));
    let document = json(&report);
    let checks = document["checks"].as_array().expect("a list of checks");
    for name in ["io_uring", "locked memory", "direct I/O", "clock", "swap"] {
        let check = checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("{name} is missing"));
        assert!(
            check["evidence"]
                .as_str()
                .is_some_and(|evidence| !evidence.is_empty()),
            "{name}"
        );
    }
    let expected = if document["usable"] == true { 0 } else { 4 };
    assert_eq!(report.exit_code, Some(expected));
    assert!(quorate(&line).stdout.contains("io_uring"));
}

#[test]
fn the_doctor_ends_with_4_where_the_data_folder_is_missing() {
    let run = quorate("doctor --watch 1ms --data-dir /nowhere/at/all");
    assert_eq!(run.exit_code, Some(4));
    assert!(run.stdout.contains("fatal  data folder"), "{}", run.stdout);
    let fixes = quorate("doctor --watch 1ms --data-dir /nowhere/at/all --fix");
    assert!(
        fixes.stdout.contains("\nmkdir -p '/nowhere/at/all'\n"),
        "{}",
        fixes.stdout
    );
}

#[test]
fn the_doctor_leaves_nothing_in_the_data_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    quorate(&format!(
        "doctor --watch 1ms --data-dir {}",
        folder.path().display()
    ));
    assert_eq!(
        folder
            .path()
            .read_dir()
            .expect("the folder is still there")
            .count(),
        0
    );
}

#[test]
fn inspecting_a_folder_that_is_not_there_is_a_matter_of_the_environment() {
    let run = quorate("inspect --data-dir /nowhere/at/all");
    assert_eq!(run.exit_code, Some(4));
    assert!(run.stderr.starts_with("error[E3001]"), "{}", run.stderr);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = command("completion bash")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built with this test");
    drop(child.stdout.take());
    let mut complaints = String::new();
    let mut stderr = child.stderr.take().expect("standard error is piped");
    stderr
        .read_to_string(&mut complaints)
        .expect("the binary writes text");
    assert_eq!(
        (
            child.wait().expect("the child ends").code(),
            complaints.as_str()
        ),
        (Some(0), "")
    );
}

//! The linearizability checker agrees with verdicts that nobody here gave; skipped, and said so, without the data.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sim::linear::{Interval, Model, are_linearizable, is_linearizable};

/// A register that starts empty.
struct Register;

#[derive(Clone, Debug)]
enum Access {
    Read(Option<i64>),
    Write(i64),
    /// From, to, and whether it happened, if that is known.
    Cas(i64, i64, Option<bool>),
}

impl Model for Register {
    type State = Option<i64>;
    type Operation = Access;

    fn begin(&self) -> Option<i64> {
        None
    }

    fn step(&self, state: &Option<i64>, access: &Access) -> Option<Option<i64>> {
        match *access {
            Access::Read(value) => (value == *state).then_some(*state),
            Access::Write(value) => Some(Some(value)),
            Access::Cas(from, to, known) => {
                let fits = *state == Some(from);
                if known.is_some_and(|known| known != fits) {
                    return None;
                }
                Some(if fits { Some(to) } else { *state })
            }
        }
    }
}

/// One key of a map of texts.
struct Text;

#[derive(Clone, Debug)]
enum Edit {
    Get(String),
    Put(String),
    Append(String),
}

impl Model for Text {
    type State = String;
    type Operation = Edit;

    fn begin(&self) -> String {
        String::new()
    }

    fn step(&self, state: &String, edit: &Edit) -> Option<String> {
        match edit {
            Edit::Get(value) => (value == state).then(|| state.clone()),
            Edit::Put(value) => Some(value.clone()),
            Edit::Append(value) => Some(format!("{state}{value}")),
        }
    }
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn data() -> Option<PathBuf> {
    let named = std::env::var_os("QUORATE_TESTDATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata");
    let folder = named.unwrap_or(beside).join("porcupine");
    if !folder.is_dir() {
        println!(
            "SKIPPED: no histories at {} (set QUORATE_TESTDATA)",
            folder.display()
        );
        return None;
    }
    Some(folder)
}

fn expected(folder: &Path) -> BTreeMap<String, bool> {
    let table = fs::read_to_string(folder.join("EXPECTED.tsv")).expect("the table of verdicts");
    let rows = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once('\t'));
    rows.map(|(file, verdict)| (file.to_owned(), verdict.trim() == "true"))
        .collect()
}

/// A history of a register, as the log of a test of another system.
fn register(text: &str) -> Vec<Interval<Access>> {
    let mut open: BTreeMap<&str, (usize, Vec<&str>)> = BTreeMap::new();
    let mut history = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some(rest) = line.split("jepsen.util - ").nth(1) else {
            continue;
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [process, kind, ..] = words[..] else {
            continue;
        };
        if kind == ":invoke" {
            open.insert(process, (at, words[2..].to_vec()));
            continue;
        }
        let Some((called, asked)) = open.remove(process) else {
            continue;
        };
        match kind {
            ":ok" => history.extend(
                access(&asked, &words[2..], Some(true))
                    .map(|access| interval(called, Some(at), access)),
            ),
            ":fail" if asked[0] == ":cas" => {
                history.extend(
                    access(&asked, &asked, Some(false))
                        .map(|access| interval(called, Some(at), access)),
                );
            }
            // A read that failed says nothing.
            ":fail" => {}
            _ => history
                .extend(access(&asked, &asked, None).map(|access| interval(called, None, access))),
        }
    }
    for (called, asked) in open.into_values() {
        history.extend(access(&asked, &asked, None).map(|access| interval(called, None, access)));
    }
    history
}

fn interval<O>(called: usize, returned: Option<usize>, operation: O) -> Interval<O> {
    Interval {
        called,
        returned,
        operation,
    }
}

fn access(asked: &[&str], answered: &[&str], known: Option<bool>) -> Option<Access> {
    let number = |word: &str| word.trim_matches(['[', ']']).parse::<i64>().ok();
    match asked[0] {
        ":read" => known.map(|_| Access::Read(number(answered[1]))),
        ":write" => Some(Access::Write(number(asked[1]).expect("a number"))),
        _ => Some(Access::Cas(
            number(asked[1]).expect("from"),
            number(asked[2]).expect("to"),
            known,
        )),
    }
}

/// Histories of texts, by key.
fn texts(text: &str) -> BTreeMap<String, Vec<Interval<Edit>>> {
    let mut open: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut histories: BTreeMap<String, Vec<Interval<Edit>>> = BTreeMap::new();
    for (at, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with('{'))
    {
        let field = |name: &str| {
            let rest = line
                .split(name)
                .nth(1)
                .expect("every line has every field")
                .trim_start();
            let quoted = rest
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next());
            quoted.map_or_else(
                || rest.split([',', '}']).next().unwrap_or("").to_owned(),
                ToOwned::to_owned,
            )
        };
        let (process, kind, value) = (field(":process"), field(":type"), field(":value"));
        if kind == ":invoke" {
            open.insert(process, (at, value));
            continue;
        }
        let (called, asked) = open.remove(&process).expect("a return has its call");
        let edit = match field(":f").as_str() {
            ":get" => Edit::Get(value),
            ":put" => Edit::Put(asked),
            _ => Edit::Append(asked),
        };
        histories
            .entry(field(":key"))
            .or_default()
            .push(interval(called, Some(at), edit));
    }
    histories
}

#[test]
fn every_verdict_is_the_same() {
    let Some(folder) = data() else { return };
    let expected = expected(&folder);
    let mut checked = 0;
    for (file, verdict) in &expected {
        let Ok(text) = fs::read_to_string(folder.join(file)) else {
            continue;
        };
        let ours = if file.starts_with("jepsen") {
            is_linearizable(&Register, &register(&text))
        } else {
            let histories = texts(&text);
            are_linearizable(
                &Text,
                &histories.values().map(Vec::as_slice).collect::<Vec<_>>(),
            )
        };
        assert_eq!(ours, *verdict, "{file}");
        checked += 1;
    }
    assert!(checked > 50, "only {checked} histories were found");
}

#[test]
fn small_histories_are_judged_by_hand() {
    let read = |called, returned, value| interval(called, Some(returned), Access::Read(value));
    let write = |called, returned, value| interval(called, returned, Access::Write(value));
    // A read after a write sees it, or the history is none of a single copy.
    assert!(is_linearizable(
        &Register,
        &[write(0, Some(1), 1), read(2, 3, Some(1))]
    ));
    assert!(!is_linearizable(
        &Register,
        &[write(0, Some(1), 1), read(2, 3, None)]
    ));
    // While the write is under way both answers are right, but not the old one after the new one.
    assert!(is_linearizable(
        &Register,
        &[write(0, Some(9), 1), read(1, 2, None), read(3, 4, Some(1))]
    ));
    assert!(!is_linearizable(
        &Register,
        &[write(0, Some(9), 1), read(1, 2, Some(1)), read(3, 4, None)]
    ));
    // Nobody knows of a write without return.
    assert!(is_linearizable(
        &Register,
        &[write(0, None, 1), read(1, 2, None), read(3, 4, Some(1))]
    ));
    assert!(is_linearizable(
        &Register,
        &[write(0, None, 1), read(1, 2, None)]
    ));
    assert!(is_linearizable(&Register, &[]));
}

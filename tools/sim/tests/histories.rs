//! What clients saw, written as JSON lines and judged by a search that knows nothing of indexes.

use std::collections::BTreeMap;

use serde_json::Value;
use sim::linear::{Interval, Model, are_linearizable};
use sim::machine::Workload;
use sim::run;

use crate::seeds::asked;

/// A register, or a list that only grows.
struct Object;

#[derive(Clone, Debug)]
enum Act {
    Read(Vec<u64>),
    Write(u64),
    Append(u64),
    /// From, to, and whether it happened, if that is known.
    Cas(u64, u64, Option<bool>),
}

impl Model for Object {
    type State = Vec<u64>;
    type Operation = Act;

    fn begin(&self) -> Vec<u64> {
        Vec::new()
    }

    fn step(&self, state: &Vec<u64>, act: &Act) -> Option<Vec<u64>> {
        match act {
            Act::Read(found) => (found == state).then(|| state.clone()),
            Act::Write(value) => Some(vec![*value]),
            Act::Append(value) => {
                let mut longer = state.clone();
                longer.push(*value);
                Some(longer)
            }
            Act::Cas(from, to, known) => {
                let fits = state.as_slice() == [*from];
                if known.is_some_and(|known| known != fits) {
                    return None;
                }
                Some(if fits { vec![*to] } else { state.clone() })
            }
        }
    }
}

/// The history of each object.
type Histories = BTreeMap<u64, Vec<Interval<Act>>>;

fn parse(text: &str) -> Histories {
    let mut open: BTreeMap<u64, (usize, Value)> = BTreeMap::new();
    let mut histories = Histories::new();
    let mut last = 0;
    for (at, line) in text.lines().enumerate() {
        let line: Value = serde_json::from_str(line).expect("each line is a document");
        assert_eq!(line["index"], at, "lines are numbered");
        let time = line["time"].as_u64().expect("a time");
        assert!(time >= last, "lines are in the order of time");
        last = time;
        let process = line["process"].as_u64().expect("a process");
        let kind = line["type"].as_str().expect("a type");
        if kind == "invoke" {
            let before = open.insert(process, (at, line));
            assert!(before.is_none(), "a process asks for one thing at a time");
            continue;
        }
        let (called, _) = open.remove(&process).expect("what returns was called");
        let Some((key, act)) = act(&line, kind) else {
            continue;
        };
        histories.entry(key).or_default().push(Interval {
            called,
            returned: (kind != "info").then_some(at),
            operation: act,
        });
    }
    histories
}

/// What happened, for as much as the line tells; nothing that was refused did.
fn act(line: &Value, kind: &str) -> Option<(u64, Act)> {
    let number = |value: &Value| value.as_u64().expect("a number");
    let list = |value: &Value| match value {
        Value::Null => Vec::new(),
        Value::Array(numbers) => numbers.iter().map(number).collect(),
        one => vec![number(one)],
    };
    let (key, value) = (&line["key"], &line["value"]);
    match line["f"].as_str().expect("an operation") {
        "read" if kind == "ok" => Some((number(key), Act::Read(list(value)))),
        "write" if kind != "fail" => Some((number(key), Act::Write(number(value)))),
        "cas" => {
            let known = match kind {
                "ok" => Some(true),
                "info" => None,
                // Refused by the group or by the object: no change either way.
                _ => return None,
            };
            let act = Act::Cas(number(&value[0]), number(&value[1]), known);
            Some((number(key), act))
        }
        "txn" => {
            let [f, key, value] = [0, 1, 2].map(|place| &value[0][place]);
            match f.as_str() {
                Some("append") if kind != "fail" => Some((number(key), Act::Append(number(value)))),
                Some("r") if kind == "ok" => Some((number(key), Act::Read(list(value)))),
                _ => None,
            }
        }
        _ => None,
    }
}

fn histories(workload: Workload, seed: u64) -> Histories {
    let mut asked = asked(3, 8);
    (asked.workload, asked.keeps_history) = (workload, true);
    let outcome = run::run(seed, &asked);
    assert!(outcome.broken.is_none(), "{:?}", outcome.broken);
    parse(&outcome.history.expect("it was asked for"))
}

#[test]
fn registers_and_lists_are_linearizable_without_their_indexes() {
    for workload in [Workload::Register, Workload::Append] {
        for seed in 0..4 {
            let histories = histories(workload, seed);
            assert!(histories.len() > 3, "clients touched several objects");
            let all: Vec<&[Interval<Act>]> = histories.values().map(Vec::as_slice).collect();
            assert!(are_linearizable(&Object, &all), "{workload:?}, seed {seed}");
        }
    }
}

#[test]
fn a_read_that_went_back_is_seen() {
    let mut histories = histories(Workload::Append, 1);
    let is_long = |interval: &Interval<Act>| matches!(&interval.operation, Act::Read(found) if found.len() > 2);
    let history = histories
        .values_mut()
        .find(|history| history.iter().any(is_long))
        .expect("somebody read more than two values");
    let read = history
        .iter_mut()
        .find(|interval| is_long(interval))
        .expect("just found");
    read.operation = Act::Read(Vec::new());
    let history: &[Interval<Act>] = history;
    assert!(!are_linearizable(&Object, &[history]));
}

#[test]
fn all_workloads_keep_all_promises() {
    for workload in [Workload::Register, Workload::Append, Workload::Set] {
        for seed in 10..16 {
            let mut asked = asked(5, 8);
            asked.workload = workload;
            let outcome = run::run(seed, &asked);
            assert!(
                outcome.broken.is_none(),
                "{workload:?} {seed}: {:?}",
                outcome.broken
            );
            assert!(outcome.numbers.answered > 20);
        }
    }
}

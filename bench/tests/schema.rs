//! The JSON of a report and `docs/benchmarks.md` say the same.

use crate::fake::Fault;
use crate::life::{run, short};
use bench::report::Prepared;
use bench::{Options, Report};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

type Tables = BTreeMap<String, BTreeMap<String, String>>;

/// The tables of the document: fields with their types, by the name in the heading.
fn documented() -> Tables {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    let mut tables = Tables::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let name = heading.trim_start_matches('#').trim();
            current = name
                .strip_prefix('`')
                .and_then(|name| name.strip_suffix('`'))
                .map(str::to_owned);
        } else if let (Some(table), Some(row)) = (&current, line.strip_prefix("| `")) {
            let mut cells = row.split('|');
            let field = cells
                .next()
                .expect("a field")
                .trim()
                .trim_end_matches('`')
                .to_owned();
            let kind = cells.next().expect("a type").trim().to_owned();
            tables.entry(table.clone()).or_default().insert(field, kind);
        }
    }
    tables
}

fn check(value: &Value, kind: &str, tables: &Tables, at: &str) {
    if let Some(kind) = kind.strip_suffix('?') {
        return if value.is_null() {
        } else {
            check(value, kind, tables, at)
        };
    }
    if let Some(kind) = kind
        .strip_prefix('[')
        .and_then(|kind| kind.strip_suffix(']'))
    {
        let items = value
            .as_array()
            .unwrap_or_else(|| panic!("{at} is no list: {value}"));
        return items.iter().for_each(|item| check(item, kind, tables, at));
    }
    if let Some(kind) = kind
        .strip_prefix('{')
        .and_then(|kind| kind.strip_suffix('}'))
    {
        return object(value, at)
            .iter()
            .for_each(|(key, item)| check(item, kind, tables, &format!("{at}.{key}")));
    }
    let holds = match kind {
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        table => return check_table(value, &tables[table], tables, at),
    };
    assert!(holds, "{at} is no {kind}: {value}");
}

fn check_table(value: &Value, fields: &BTreeMap<String, String>, tables: &Tables, at: &str) {
    let object = object(value, at);
    for (field, kind) in fields.iter().filter(|(field, _)| *field != "...") {
        let value = object
            .get(field)
            .unwrap_or_else(|| panic!("{at}.{field} is documented, but not there"));
        check(value, kind, tables, &format!("{at}.{field}"));
    }
    for field in object.keys().filter(|_| !fields.contains_key("...")) {
        assert!(fields.contains_key(field), "{at}.{field} is not documented");
    }
}

fn object<'a>(value: &'a Value, at: &str) -> &'a Map<String, Value> {
    value
        .as_object()
        .unwrap_or_else(|| panic!("{at} is no object: {value}"))
}

fn check_report(report: &Report) -> Value {
    let value: Value = serde_json::from_str(&report.to_json()).expect("it is JSON");
    check(&value, "report", &documented(), "report");
    value
}

#[test]
fn a_report_has_the_documented_fields_and_no_others() {
    let closed = check_report(&run(Fault::None, 1, &short()));
    assert_eq!(closed["claim"]["unit"], "transfer");
    assert_eq!(closed["durability"]["mode"], "fsync");
    assert_eq!(closed["correctness"]["conservation"], true);
    assert_eq!(closed["correctness"]["lost_acks"], 0);
    assert_eq!(closed["replication"]["replicas"], 3);
    assert!(
        closed["claim"]["tx_per_s"]
            .as_f64()
            .is_some_and(|rate| rate > 0.0)
    );
    assert!(
        closed["latency"]["client_e2e"]["p99_ns"]
            .as_u64()
            .is_some_and(|p99| p99 > 0)
    );
}

#[test]
fn what_was_made_ready_and_what_that_is_worth_is_told() {
    let mut report = run(Fault::None, 1, &short());
    assert!(
        check_report(&report)["prepared"].is_null(),
        "nobody prepared these replicas"
    );
    let mut told = |without| {
        report.prepared = Some(Prepared {
            reserve_transfers: 9_000_000,
            preallocate_bytes: 3 << 30,
            tx_per_s_without: without,
        });
        check_report(&report);
        report.to_text()
    };
    let text = told(None);
    assert!(
        text.contains("9,000,000 transfers a group touched, 3.0 GiB of log a core laid out"),
        "{text}"
    );
    assert!(text.contains("not measured"), "{text}");
    let text = told(Some(812_345.6));
    assert!(text.contains("812,345 transfers/s"), "{text}");
}

#[test]
fn so_has_one_of_open_loop_and_one_of_a_failed_run() {
    let options = Options {
        rate: Some(20_000.0),
        ..short()
    };
    let open = check_report(&run(Fault::Refuse, 2, &options));
    assert_eq!(open["generator"]["open_loop"], true);
    let options = Options {
        settle_limit: Duration::from_millis(300),
        ..short()
    };
    let failed = check_report(&run(Fault::Alter, 1, &options));
    assert_eq!(failed["passed"], false);
    assert_eq!(failed["correctness"]["findings"][0]["kind"], "altered");
}

#[test]
fn every_warning_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    for warning in bench::warning::Warning::ALL {
        let name = serde_json::to_value(warning).expect("a name");
        let name = name.as_str().expect("a name");
        assert!(text.contains(&format!("`{name}`")), "{name}");
        assert!(!warning.sentence().is_empty());
    }
}

#[test]
fn interval_logs_hold_every_stage() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.hlog");
    let options = Options {
        hlog: Some(path.clone()),
        ..short()
    };
    let report = run(Fault::None, 1, &options);
    assert_eq!(report.files, [path.display().to_string()]);
    let log = std::fs::read_to_string(&path).expect("it was written");
    for tag in [
        "client.e2e",
        "client.lag",
        "hiccup",
        "persist",
        "server.e2e",
    ] {
        assert!(log.contains(&format!("Tag={tag},")), "{tag}: {log}");
    }
}

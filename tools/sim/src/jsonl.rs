//! Histories as JSON lines, for judges outside: one line per call and per return, in the order of the clients' time.
//!
//! ```text
//! {"index":0,"time":12,"process":3,"type":"invoke","f":"txn","key":null,"value":[["append",7,21]]}
//! {"index":1,"time":19,"process":3,"type":"ok","f":"txn","key":null,"value":[["append",7,21]]}
//! ```
//!
//! - `append` and `set` are transactions of one operation; `register` reads, writes, and compares and sets; `bank` names
//!   its transfers.
//! - A process has one operation under way; after an outcome that nobody knows (`info`) its number is not used again.
//! - What was done before, and is asked for again by its id, is left out: it has no effect of its own.
//! - The key of an object is its group's number times 2^32, and its own.

use ledger::instruction::operation;
use ledger::status::CreateResult;
use ledger::transfer::Transfer;
use serde_json::{Value, json};
use zerocopy::FromBytes;

use crate::history::{Done, History, Request};
use crate::shelf::{self, Wish};
use net::request::Consistency;

/// A call or a return.
struct Line {
    time: u64,
    /// Returns come before calls of one instant: a client asks when it has its answer.
    is_call: bool,
    client: usize,
    kind: &'static str,
    f: &'static str,
    key: Value,
    value: Value,
}

/// The history, one JSON document a line.
#[must_use]
pub fn lines(history: &History) -> String {
    let mut all: Vec<Line> = Vec::new();
    // What a replica says of itself promises nothing in real time.
    let ordered = |done: &&Done| {
        done.request.consistency == Consistency::Linearizable && !done.request.is_repeat
    };
    for done in history.done.iter().filter(ordered) {
        let kind = if is_refusal(&done.request, &done.reply) {
            "fail"
        } else {
            "ok"
        };
        let times = (done.asked_at, done.answered_at);
        pair(
            &mut all,
            &done.request,
            done.client,
            times,
            kind,
            Some(&done.reply),
        );
    }
    for (outcomes, kind) in [(&history.refused, "fail"), (&history.unknown, "info")] {
        for given_up in outcomes.iter().filter(|one| !one.request.is_repeat) {
            let times = (given_up.asked_at, given_up.at);
            pair(
                &mut all,
                &given_up.request,
                given_up.client,
                times,
                kind,
                None,
            );
        }
    }
    all.sort_by_key(|line| (line.time, line.is_call));
    let clients = all.iter().map(|line| line.client + 1).max().unwrap_or(0);
    let mut processes: Vec<usize> = (0..clients).collect();
    let mut text = String::new();
    for (index, line) in all.into_iter().enumerate() {
        let process = processes[line.client];
        if line.kind == "info" {
            processes[line.client] += clients;
        }
        let document = json!({
            "index": index, "time": line.time, "process": process, "type": line.kind,
            "f": line.f, "key": line.key, "value": line.value,
        });
        text.push_str(&document.to_string());
        text.push('\n');
    }
    text
}

/// A compare-and-set that did not fit is a definite failure.
fn is_refusal(request: &Request, reply: &[u8]) -> bool {
    request.operation == shelf::CAS && shelf::numbers(reply).as_deref() == Some(&[0])
}

fn pair(
    all: &mut Vec<Line>,
    request: &Request,
    client: usize,
    (called, returned): (u64, u64),
    kind: &'static str,
    reply: Option<&[u8]>,
) {
    for (time, kind, reply) in [(called, "invoke", None), (returned, kind, reply)] {
        let (f, key, value) = words(request, reply);
        all.push(Line {
            time,
            is_call: kind == "invoke",
            client,
            kind,
            f,
            key,
            value,
        });
    }
}

/// What was asked, or came back.
fn words(request: &Request, reply: Option<&[u8]>) -> (&'static str, Value, Value) {
    let Some(wish) = Wish::decode(&request.payload).filter(|_| request.operation >= shelf::READ)
    else {
        return bank(request, reply);
    };
    let key = request.scope.group << 32 | wish.key;
    let found = reply.and_then(shelf::numbers);
    let is_register = wish.from == shelf::REGISTER;
    match request.operation {
        shelf::APPEND => ("txn", Value::Null, json!([["append", key, wish.value]])),
        shelf::ADD => ("add", json!(key), json!(wish.value)),
        shelf::WRITE => ("write", json!(key), json!(wish.value)),
        shelf::CAS => ("cas", json!(key), json!([wish.from, wish.value])),
        _ if is_register => {
            let value = found.and_then(|found| found.first().copied());
            ("read", json!(key), json!(value))
        }
        _ => ("txn", Value::Null, json!([["r", key, found]])),
    }
}

fn bank(request: &Request, reply: Option<&[u8]>) -> (&'static str, Value, Value) {
    let key = json!(request.scope.group);
    if request.operation != operation::CREATE_TRANSFERS {
        let bytes = reply.map(<[u8]>::len);
        return (
            "read",
            key,
            json!({"operation": request.operation, "bytes": bytes}),
        );
    }
    let transfers = <[Transfer]>::ref_from_bytes(&request.payload).unwrap_or_default();
    let results = reply.and_then(|reply| <[CreateResult]>::ref_from_bytes(reply).ok());
    let rows = transfers.iter().enumerate().map(|(nth, transfer)| {
        json!({
            "id": format!("{:x}", transfer.id.get()),
            "debit": format!("{:x}", transfer.debit_account_id.get()),
            "credit": format!("{:x}", transfer.credit_account_id.get()),
            "amount": transfer.amount.get().to_string(),
            "flags": transfer.flags.get(),
            "status": results.and_then(|results| results.get(nth)).map(|result| result.status.get()),
        })
    });
    ("transfer", key, rows.collect())
}

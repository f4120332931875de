//! `quorate history`: entries of a group from any index on, as the nodes give them: from log, sealed files, object store.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use engine::clock::SystemClock;
use engine::past::{PastEntry, PastError};
use engine::{Client, GroupId, Layout, NodeAddress};
use net::client::ClientError;
use net::inspect::{InspectHead, Topic};
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, SCHEMA_VERSION, to_json};
use crate::arguments::Output;
use crate::catalogue::cluster;
use crate::failure::Failure;
use crate::nodes::Nodes;
use crate::quantity::parse_positive_duration;

const EXAMPLES: &str = "\
Examples:
  quorate history --cluster 7 --addresses 10.0.0.1:4000,10.0.0.2:4000,10.0.0.3:4000 --group 0
  quorate history --cluster 1 --addresses 127.0.0.1:4000 --group 3 --from 120000 --count 50 --output json

Entries that are kept nowhere are told as gaps. A node keeps its history with start --keep-history or --cold.";

/// Flags of `quorate history`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) nodes: Nodes,

    /// The group
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) group: u64,

    /// The first entry
    #[arg(long, value_name = "INDEX", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) from: u64,

    /// Entries at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) count: u64,

    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_positive_duration)]
    pub(crate) timeout: Duration,
}

/// What one node says of the cluster.
#[derive(Deserialize)]
struct Told {
    node: u32,
    cores: u16,
    groups_total: u64,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    group: u64,
    entries: Vec<Line>,
    gaps: Vec<Gap>,
    /// Where to go on.
    next: u64,
    /// The last entry that there is.
    applied: u64,
}

#[derive(Serialize)]
struct Line {
    index: u64,
    term: u64,
    time_ns: u64,
    kind: &'static str,
    operation: u8,
    client: String,
    number: u64,
    bytes: usize,
    blake3: String,
}

#[derive(Serialize)]
struct Gap {
    first: u64,
    last: u64,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let layout = layout(arguments)?;
    let mut client = Client::new(layout, u128::from(SystemClock.wall()));
    client.set_patience(arguments.timeout);
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        group: arguments.group,
        entries: Vec::new(),
        gaps: Vec::new(),
        next: arguments.from,
        applied: 0,
    };
    while (report.entries.len() as u64) < arguments.count {
        let told = client.history(GroupId(arguments.group), report.next);
        let told = told.map_err(|error| failure(arguments, &error))?;
        report.applied = told.applied;
        if told.entries.is_empty() && told.next > report.next {
            let (first, last) = (report.next, told.next - 1);
            report.gaps.push(Gap { first, last });
        }
        if told.next == report.next || report.next > told.applied {
            break;
        }
        report.next = told.next;
        report.entries.extend(told.entries.iter().map(line));
    }
    let most = usize::try_from(arguments.count).unwrap_or(usize::MAX);
    if let Some(beyond) = report.entries.get(most) {
        report.next = beyond.index;
        report.entries.truncate(most);
    }
    Ok(Answer::done(match output {
        Output::Text => render(&report),
        Output::Json => to_json(&report),
    }))
}

/// Who is where, as those say who answer.
fn layout(arguments: &Arguments) -> Result<Layout, Failure> {
    let mut nodes = Vec::new();
    let (mut shape, mut trouble) = (None, Vec::new());
    for address in &arguments.nodes.addresses {
        match ask(arguments, *address) {
            Ok(told) => {
                nodes.push(NodeAddress {
                    id: told.node,
                    address: *address,
                });
                shape = Some((told.cores, told.groups_total));
            }
            Err(error) => trouble.push(format!("{address}: {error}")),
        }
    }
    let Some((cores, groups)) = shape else {
        let (cause, place) = (trouble.join("\n"), arguments.nodes.places());
        return Err(Failure::new(&cluster::NOBODY_ANSWERS, cause, place));
    };
    Ok(Layout::new(arguments.nodes.cluster, nodes, cores, groups))
}

fn ask(arguments: &Arguments, address: SocketAddr) -> Result<Told, ClientError> {
    let mut connection = arguments.nodes.connect(address, arguments.timeout)?;
    connection.ask(&InspectHead {
        id: 1,
        topic: Topic::Layout,
        argument: 0,
    })?;
    let frame = connection.receive(arguments.timeout)?;
    // What is no report is nobody's answer.
    serde_json::from_slice(&frame.bulk).map_err(|_| ClientError::Closed)
}

fn failure(arguments: &Arguments, error: &PastError) -> Failure {
    let place = format!("group {}", arguments.group);
    let cause = match error {
        PastError::Client(source) => format!("{source}; what is lost here a peer may still have"),
        other => other.to_string(),
    };
    Failure::new(&cluster::NO_HISTORY, cause, place)
}

fn line(entry: &PastEntry) -> Line {
    Line {
        index: entry.index,
        term: entry.term,
        time_ns: entry.time,
        kind: match entry.kind {
            engine::past::EntryKind::Command => "command",
            engine::past::EntryKind::Empty => "empty",
            engine::past::EntryKind::Configuration => "configuration",
            engine::past::EntryKind::Receipt => "receipt",
        },
        operation: entry.operation,
        client: format!("{:032x}", entry.client),
        number: entry.number,
        bytes: entry.payload.len(),
        blake3: cold::name::ContentHash::of(&entry.payload).to_string(),
    }
}

fn render(report: &Report) -> String {
    let mut lines: Vec<String> = report
        .gaps
        .iter()
        .map(|gap| format!("entries {} to {} are kept nowhere", gap.first, gap.last))
        .collect();
    lines.extend(report.entries.iter().map(|line| {
        format!(
            "{:>12}  term {:<6} {:<13} operation {:<3} {:>8} bytes  {}",
            line.index,
            line.term,
            line.kind,
            line.operation,
            line.bytes,
            &line.blake3[..16]
        )
    }));
    lines.push(format!(
        "group {}: {} entries, the last is {}; next {}",
        report.group,
        report.entries.len(),
        report.applied,
        report.next
    ));
    lines.join("\n") + "\n"
}

//! `quorate format`: prepares a data folder for a node of a new cluster.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use engine::config::{Layout, NodeAddress};
use engine::folder::FormatOptions;
use engine::log;
use serde::Serialize;

use crate::answer::{Answer, SCHEMA_VERSION, to_json};
use crate::arguments::Output;
use crate::catalogue::usage;
use crate::failure::Failure;
use crate::quantity::parse_size;
use crate::refusal;

const EXAMPLES: &str = "\
Examples:
  quorate format --data-dir /var/lib/quorate --cluster 7 --node 1 --nodes 1=10.0.0.1:4000,2=10.0.0.2:4000,3=10.0.0.3:4000
  quorate format --data-dir ./alone --cluster 1 --node 1 --nodes 1=127.0.0.1:4000 --cores 2 --groups 4

Run it once per node, with the same flags on each but --node and --data-dir. The address is where
core 0 of the node listens; core k listens k ports higher. The folder is made when it is missing and
refused when it holds anything; nothing here deletes data.";

/// Flags of `quorate format`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The node's data folder
    #[arg(long, alias = "data", value_name = "DIR", env = "QUORATE_DATA_DIR")]
    pub(crate) data_dir: PathBuf,

    /// Number of the cluster: nodes and clients of different clusters refuse each other
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) cluster: u64,

    /// Which of the nodes lives in this folder
    #[arg(long, value_name = "ID")]
    pub(crate) node: u32,

    /// Every node of the cluster; ids start at 1 and are never given to another node
    #[arg(long, value_name = "ID=IP:PORT", value_delimiter = ',', required = true, value_parser = parse_node)]
    pub(crate) nodes: Vec<Node>,

    /// Pinned cores of each node, each with a log of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) cores: u16,

    /// Raft groups of the cluster, spread over the cores
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) groups: u64,

    /// Accounts that one group may hold [default: the engine's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Limits")]
    pub(crate) accounts_max: Option<u64>,

    /// Transfers that one group may hold [default: the engine's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Limits")]
    pub(crate) transfers_max: Option<u64>,

    /// Size of one log segment [default: the engine's]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Limits")]
    pub(crate) segment: Option<u64>,

    /// Size of each core's log that is laid out beforehand [default: the engine's]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Limits")]
    pub(crate) preallocate: Option<u64>,
}

/// A node as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) id: u32,
    pub(crate) address: SocketAddr,
}

fn parse_node(text: &str) -> Result<Node, String> {
    let parsed = text.split_once('=').and_then(|(id, address)| {
        let (id, address) = (id.trim().parse().ok()?, address.trim().parse().ok()?);
        Some(Node { id, address })
    });
    parsed
        .filter(|node| node.id > 0)
        .ok_or_else(|| "expected ID=IP:PORT with an id from 1, like 1=10.0.0.1:4000".to_owned())
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    if !arguments.nodes.iter().any(|node| node.id == arguments.node) {
        let cause = format!("node {} is not among --nodes", arguments.node);
        return Err(Failure::new(
            &usage::VALUES_CONTRADICT,
            cause,
            "--node and --nodes",
        ));
    }
    prepare(arguments, output)
}

/// The one place where the verb meets the engine.
fn prepare(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let nodes = arguments.nodes.iter().map(|node| NodeAddress {
        id: node.id,
        address: node.address,
    });
    let mut layout = Layout::new(
        arguments.cluster,
        nodes.collect(),
        arguments.cores,
        arguments.groups,
    );
    let limits = &mut layout.limits;
    limits.accounts_max = arguments.accounts_max.unwrap_or(limits.accounts_max);
    limits.transfers_max = arguments.transfers_max.unwrap_or(limits.transfers_max);
    layout.segment_bytes = arguments.segment.unwrap_or(layout.segment_bytes);
    let options = FormatOptions {
        layout,
        node: arguments.node,
        prewrite_bytes: arguments.preallocate.unwrap_or(0),
    };
    let place = arguments.data_dir.display().to_string();
    log::format(&arguments.data_dir, &options)
        .map_err(|error| refusal::of_engine(&error, &place))?;
    let formatted = Formatted {
        schema_version: SCHEMA_VERSION,
        node: arguments.node,
        data_dir: place,
    };
    Ok(Answer::done(match output {
        Output::Text => format!(
            "node {} is laid out in {}\n",
            formatted.node, formatted.data_dir
        ),
        Output::Json => to_json(&formatted),
    }))
}

#[derive(Serialize)]
struct Formatted {
    schema_version: u32,
    node: u32,
    data_dir: String,
}

#[test]
fn nodes_are_read_as_people_type_them() {
    assert_eq!(
        parse_node("2=10.0.0.2:4000").map(|node| (node.id, node.address.port())),
        Ok((2, 4_000))
    );
    assert!(parse_node("3=[::1]:4000").is_ok());
    for wrong in [
        "",
        "10.0.0.2:4000",
        "0=10.0.0.2:4000",
        "1=localhost",
        "1=10.0.0.2",
        "x=10.0.0.2:4000",
    ] {
        assert!(parse_node(wrong).is_err(), "{wrong}");
    }
}

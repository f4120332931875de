//! `quorate status`: asks a cluster whether it is safe, and who leads.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
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
  quorate status --cluster 7 --addresses 10.0.0.1:4000,10.0.0.2:4000,10.0.0.3:4000
  quorate status --cluster 1 --addresses 127.0.0.1:4000 --timeout 500ms --output json

The first line says how many more nodes may fail. Exit code 0: healthy; 3: degraded, or nobody
answers.";

/// Most pages of groups that one core is asked for.
const PAGES_MAX: usize = 1024;

/// Flags of `quorate status`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) nodes: Nodes,

    /// How long to wait for a node's answer
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_positive_duration)]
    pub(crate) timeout: Duration,
}

/// What one core says.
#[derive(Debug, Deserialize)]
struct Page {
    node: u32,
    cores: u16,
    groups_total: u64,
    storage: String,
    peers: Vec<serde_json::Value>,
    groups: Vec<Replica>,
    next: Option<u64>,
    /// What runs beside the core.
    beside: Option<serde_json::Value>,
    /// What the node did with its object store; the same from all of its cores.
    store: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(default)]
    sealed: Sealed,
}

/// Sealed files: of a core, or of a node.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Sealed {
    files: u64,
    bytes: u64,
    /// Of files with entries that the groups' logs do not call stored.
    local_only_bytes: u64,
    /// Entries that the groups' logs call stored.
    stored_entries: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Replica {
    group: u64,
    role: String,
    term: u64,
    commit: u64,
}

/// The cluster in one document.
#[derive(Debug, Default, Serialize)]
struct Cluster {
    schema_version: u32,
    healthy: bool,
    /// Further nodes that may fail before some group stops; absent when one has stopped already.
    failures_tolerated: Option<u32>,
    nodes: Vec<Node>,
    groups: u64,
    groups_without_leader: Vec<u64>,
    leaders: BTreeMap<u32, u64>,
}

#[derive(Debug, Serialize)]
struct Node {
    address: SocketAddr,
    node: Option<u32>,
    storage: Option<String>,
    /// Why it does not answer.
    trouble: Option<String>,
    /// Entries that its replicas lack of what is known committed, summed.
    behind: u64,
    /// Counters of what runs beside its cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<serde_json::Value>,
    /// What it did with its object store since it started, by name; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<serde_json::Map<String, serde_json::Value>>,
    /// Its sealed files, all cores together.
    sealed: Sealed,
}

/// Why a node's state is not known.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// It cannot be asked.
    #[error(transparent)]
    Connection(#[from] ClientError),
    /// It answers something else.
    #[error("its report cannot be read: this tool and the node are of different versions")]
    Report,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let mut answers = Vec::new();
    for address in &arguments.nodes.addresses {
        answers.push((*address, ask_node(arguments, *address)));
    }
    if answers.iter().all(|(_, answer)| answer.is_err()) {
        let told = |(address, answer): &(SocketAddr, Result<Vec<Page>, Trouble>)| {
            answer
                .as_ref()
                .err()
                .map(|error| format!("{address}: {error}"))
        };
        let cause: Vec<String> = answers.iter().filter_map(told).collect();
        return Err(Failure::new(
            &cluster::NOBODY_ANSWERS,
            cause.join("\n"),
            arguments.nodes.places(),
        ));
    }
    let cluster = judge(&answers);
    let text = match output {
        Output::Text => render(&cluster),
        Output::Json => to_json(&cluster),
    };
    Ok(Answer::looked(text, cluster.healthy))
}

/// Every core of a node, every page of its groups.
fn ask_node(arguments: &Arguments, address: SocketAddr) -> Result<Vec<Page>, Trouble> {
    let mut pages = Vec::new();
    let mut core = 0;
    loop {
        let mut at = address;
        at.set_port(address.port().saturating_add(core));
        let first = pages.len();
        ask_core(arguments, at, &mut pages)?;
        core += 1;
        if pages.get(first).is_none_or(|page| core >= page.cores) {
            return Ok(pages);
        }
    }
}

fn ask_core(
    arguments: &Arguments,
    address: SocketAddr,
    pages: &mut Vec<Page>,
) -> Result<(), Trouble> {
    let mut connection = arguments.nodes.connect(address, arguments.timeout)?;
    let mut from = 0;
    for id in 0..PAGES_MAX as u64 {
        connection.ask(&InspectHead {
            id,
            topic: Topic::Status,
            argument: from,
        })?;
        let frame = connection.receive(arguments.timeout)?;
        let page: Page = serde_json::from_slice(&frame.bulk).map_err(|_| Trouble::Report)?;
        let next = page.next;
        pages.push(page);
        match next {
            Some(group) => from = group,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// What the nodes' answers mean together.
fn judge(answers: &[(SocketAddr, Result<Vec<Page>, Trouble>)]) -> Cluster {
    let pages = || {
        answers
            .iter()
            .filter_map(|(_, answer)| answer.as_ref().ok())
            .flatten()
    };
    let total = pages().map(|page| page.groups_total).max().unwrap_or(0);
    let members = pages()
        .map(|page| page.peers.len() as u32 + 1)
        .max()
        .unwrap_or(0);
    let majority = members / 2 + 1;
    let mut commit: BTreeMap<u64, u64> = BTreeMap::new();
    let mut leader: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
    let mut answering: BTreeMap<u64, u32> = BTreeMap::new();
    for page in pages() {
        for replica in &page.groups {
            let known = commit.entry(replica.group).or_default();
            *known = replica.commit.max(*known);
            *answering.entry(replica.group).or_default() +=
                u32::from(page.storage == "ok" || page.storage == "busy");
            let newest = leader
                .get(&replica.group)
                .is_none_or(|(term, _)| *term < replica.term);
            if replica.role == "leader" && newest {
                leader.insert(replica.group, (replica.term, page.node));
            }
        }
    }
    let without: Vec<u64> = (0..total)
        .filter(|group| !leader.contains_key(group))
        .collect();
    let fewest = (0..total)
        .map(|group| answering.get(&group).copied().unwrap_or(0))
        .min()
        .unwrap_or(0);
    let tolerated = fewest.checked_sub(majority).filter(|_| without.is_empty());
    let mut leaders = BTreeMap::new();
    for (_, node) in leader.values() {
        *leaders.entry(*node).or_default() += 1;
    }
    let nodes: Vec<Node> = answers
        .iter()
        .map(|(address, answer)| describe(*address, answer, &commit))
        .collect();
    let whole = nodes
        .iter()
        .all(|node| node.trouble.is_none() && node.storage.as_deref() != Some("full"));
    Cluster {
        schema_version: SCHEMA_VERSION,
        healthy: whole && tolerated.is_some() && fewest == members,
        failures_tolerated: tolerated,
        nodes,
        groups: total,
        groups_without_leader: without,
        leaders,
    }
}

fn describe(
    address: SocketAddr,
    answer: &Result<Vec<Page>, Trouble>,
    commit: &BTreeMap<u64, u64>,
) -> Node {
    match answer {
        Err(error) => Node {
            address,
            node: None,
            storage: None,
            trouble: Some(error.to_string()),
            behind: 0,
            beside: None,
            store: None,
            sealed: Sealed::default(),
        },
        Ok(pages) => {
            let replicas = pages.iter().flat_map(|page| &page.groups);
            let lack = |replica: &Replica| {
                commit
                    .get(&replica.group)
                    .copied()
                    .unwrap_or(0)
                    .saturating_sub(replica.commit)
            };
            let worst = pages
                .iter()
                .map(|page| page.storage.as_str())
                .find(|storage| *storage != "ok");
            Node {
                address,
                node: pages.first().map(|page| page.node),
                storage: Some(worst.unwrap_or("ok").to_owned()),
                trouble: None,
                behind: replicas.map(lack).sum(),
                beside: pages.iter().find_map(|page| page.beside.clone()),
                store: pages.iter().find_map(|page| page.store.clone()),
                sealed: all_sealed(pages),
            }
        }
    }
}

/// A core says the same on each page of its groups: its first one counts.
fn all_sealed(pages: &[Page]) -> Sealed {
    let mut sum = Sealed::default();
    for (nth, page) in pages.iter().enumerate() {
        let is_first = nth == 0 || pages[nth - 1].next.is_none();
        if is_first {
            sum.files += page.sealed.files;
            sum.bytes += page.sealed.bytes;
            sum.local_only_bytes += page.sealed.local_only_bytes;
            sum.stored_entries += page.sealed.stored_entries;
        }
    }
    sum
}

/// The lines of a node's history: what lies where, and how its object store does.
fn history_lines(node: &Node) -> Vec<String> {
    let mut lines = Vec::new();
    let sealed = node.sealed;
    if sealed.files > 0 || sealed.stored_entries > 0 {
        lines.push(format!(
            "history: {} sealed files here with {} bytes, {} of them nowhere else; {} entries stored",
            sealed.files, sealed.bytes, sealed.local_only_bytes, sealed.stored_entries
        ));
    }
    if let Some(store) = &node.store {
        let count = |name: &str| {
            store
                .get(name)
                .and_then(serde_json::Value::as_u64)
                .unwrap_or(0)
        };
        lines.push(format!(
            "store: {} bytes stored, {} brought back; {} requests, {} repeated, {} jobs failed",
            count("uploaded_bytes"),
            count("downloaded_bytes"),
            count("requests"),
            count("repeated"),
            count("failed")
        ));
        lines.push(format!(
            "store: cache {} hits, {} misses; read ahead {} bytes, {} of them in vain",
            count("cache_hits"),
            count("cache_misses"),
            count("guessed_bytes"),
            count("guessed_wasted_bytes")
        ));
        if let Some(error) = store.get("last_error").and_then(serde_json::Value::as_str) {
            lines.push(format!(
                "store: last error, at second {}: {error}",
                count("last_error_at")
            ));
        }
    }
    lines
}

fn render(cluster: &Cluster) -> String {
    let mut out = String::new();
    let safety = match cluster.failures_tolerated {
        Some(count) => format!("{count} more node(s) may fail"),
        None => "some groups cannot write".to_owned(),
    };
    let verdict = if cluster.healthy {
        "healthy"
    } else {
        "degraded"
    };
    let mut line = |text: String| {
        writeln!(out, "{text}").expect("memory takes every line");
    };
    line(format!("{verdict}: {safety}"));
    line(format!(
        "groups    {}, {} without a leader",
        cluster.groups,
        cluster.groups_without_leader.len()
    ));
    for node in &cluster.nodes {
        let name = node.node.map_or("?".to_owned(), |id| id.to_string());
        let led = node
            .node
            .and_then(|id| cluster.leaders.get(&id))
            .copied()
            .unwrap_or(0);
        line(match &node.trouble {
            Some(trouble) => format!("node {name:<4} {:<22} {trouble}", node.address),
            None => format!(
                "node {name:<4} {:<22} leads {led}, {} entries behind, storage {}",
                node.address,
                node.behind,
                node.storage.as_deref().unwrap_or("?")
            ),
        });
        for told in history_lines(node) {
            line(format!("{:10}{told}", ""));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(node: u32, role: &str, storage: &str) -> Page {
        Page {
            node,
            cores: 1,
            groups_total: 1,
            storage: storage.to_owned(),
            peers: vec![serde_json::Value::Null; 2],
            groups: vec![Replica {
                group: 0,
                role: role.to_owned(),
                term: 2,
                commit: 10 - u64::from(node),
            }],
            next: None,
            beside: None,
            store: None,
            sealed: Sealed::default(),
        }
    }

    fn cluster(roles: [Option<(&str, &str)>; 3]) -> Cluster {
        let answers: Vec<_> = (1..)
            .zip(roles)
            .map(|(node, role)| {
                let address = SocketAddr::from(([127, 0, 0, 1], 4000 + node as u16));
                let answer = role.map(|(role, storage)| vec![page(node, role, storage)]);
                (address, answer.ok_or(Trouble::Report))
            })
            .collect();
        judge(&answers)
    }

    #[test]
    fn three_of_three_tolerate_one_failure() {
        let all = cluster([
            Some(("leader", "ok")),
            Some(("follower", "ok")),
            Some(("follower", "ok")),
        ]);
        assert_eq!(
            (all.healthy, all.failures_tolerated, all.nodes[2].behind),
            (true, Some(1), 2)
        );
        assert!(render(&all).starts_with("healthy: 1 more node(s) may fail\n"));
    }

    #[test]
    fn two_of_three_are_degraded_and_tolerate_none() {
        let two = cluster([Some(("leader", "ok")), Some(("follower", "ok")), None]);
        assert_eq!((two.healthy, two.failures_tolerated), (false, Some(0)));
    }

    #[test]
    fn a_node_with_a_store_says_what_lies_where_and_what_went_wrong() {
        let mut first = page(1, "leader", "ok");
        first.next = Some(7);
        first.sealed = Sealed {
            files: 3,
            bytes: 900,
            local_only_bytes: 300,
            stored_entries: 40,
        };
        let store = serde_json::json!({
            "uploaded_bytes": 600, "repeated": 2, "cache_hits": 5, "guessed_wasted_bytes": 9,
            "last_error": "the store cannot be reached", "last_error_at": 1_700_000_000_u64,
        });
        first.store = store.as_object().cloned();
        // The next page of the same core, and another core.
        let mut again = page(1, "leader", "ok");
        again.sealed = first.sealed;
        let mut other = page(1, "follower", "ok");
        other.sealed.files = 4;
        let address = SocketAddr::from(([127, 0, 0, 1], 4000));
        let told = render(&judge(&[(address, Ok(vec![first, again, other]))]));
        for said in [
            "history: 7 sealed files here with 900 bytes, 300 of them nowhere else; 40 entries stored",
            "store: 600 bytes stored, 0 brought back; 0 requests, 2 repeated, 0 jobs failed",
            "cache 5 hits, 0 misses; read ahead 0 bytes, 9 of them in vain",
            "last error, at second 1700000000: the store cannot be reached",
        ] {
            assert!(told.contains(said), "{said}: {told}");
        }
    }

    #[test]
    fn a_full_disk_counts_as_a_failure() {
        let full = cluster([
            Some(("leader", "ok")),
            Some(("follower", "ok")),
            Some(("follower", "full")),
        ]);
        assert_eq!((full.healthy, full.failures_tolerated), (false, Some(0)));
    }

    #[test]
    fn without_a_leader_nothing_is_tolerated() {
        let headless = cluster([
            Some(("follower", "ok")),
            Some(("follower", "ok")),
            Some(("candidate", "ok")),
        ]);
        assert_eq!(
            (headless.healthy, headless.failures_tolerated),
            (false, None)
        );
        assert_eq!(headless.groups_without_leader, [0]);
    }
}

//! What an operator may see of a shard: its groups, peers, log and histograms, as JSON and HDR.
//!
//! - An inspection changes nothing.
//! - Groups are listed in pages, so that an answer is bounded.

use std::collections::BTreeMap;

use bytes::Bytes;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use net::frame::Kind;
use net::inspect::{InspectHead, ReportHead, Topic};
use net::request;
use net::transport::{ConnectionId, Frame, Outgoing, Transport};
use raft::effects::Role;
use raft::state_machine::StateMachine;
use serde::Serialize;
use wal::{Damage, Device};

use crate::history::HistoryCounts;
use crate::past::SealCounts;
use crate::replica::Replica;
use crate::shard::{Counts, Shard};
use crate::stages::persist::Persisted;
use crate::stages::reply::ReplyCounts;
use crate::stopwatch::STAGES;
use crate::upkeep::UpkeepCounts;

mod stored;

/// Groups in one page of a status.
const PAGE: usize = 2048;

/// A core's state in one answer.
#[derive(Debug, Serialize)]
struct Status {
    schema_version: u32,
    /// Of the program.
    version: &'static str,
    /// The node's wall clock as it answers, nanoseconds since the Unix epoch.
    wall_ns: u64,
    node: u32,
    core: u16,
    cores: u16,
    groups_total: u64,
    /// How a record becomes durable before it is acknowledged.
    durability: &'static str,
    storage: &'static str,
    waiting_requests: usize,
    counters: Counters,
    network: Network,
    /// What this node did with its object store; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<stored::Store>,
    /// What this core has of sealed files, and what its groups' logs call stored.
    sealed: stored::Sealed,
    peers: Vec<PeerStatus>,
    /// What was found wrong with the log, the first things only.
    log_damage: Vec<DamageStatus>,
    /// Images, chapters and manifests that were found wrong at the start.
    file_damage: Vec<String>,
    /// Groups whose state is being fetched from a peer.
    fetching: usize,
    /// States kept for peers that fetch them.
    pinned: usize,
    groups: Vec<GroupStatus>,
    /// Where the next page begins; absent on the last one.
    next: Option<u64>,
    /// What runs beside the core, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<serde_json::Value>,
}

/// Everything that is counted since the start.
#[derive(Debug, Serialize)]
struct Counters {
    #[serde(flatten)]
    shard: Counts,
    #[serde(flatten)]
    replies: ReplyCounts,
    #[serde(flatten)]
    upkeep: UpkeepCounts,
    #[serde(flatten)]
    sealing: SealCounts,
    #[serde(flatten)]
    histories: HistoryCounts,
    /// Durable writes of the log that were begun, each with a flush of its own.
    fsyncs_issued: u64,
    /// Those of them that are done.
    fsyncs: u64,
    log_bytes: u64,
    log_records: u64,
    log_record_bytes: u64,
    log_busy: u64,
    /// Things found wrong with the log, at the start and since.
    log_damaged: u64,
    log_segments_free: u64,
    log_segments_used: u64,
}

/// What happened at the network door since the start; what never happened is not named.
#[derive(Debug, Serialize)]
struct Network {
    accepted: u64,
    dialled: u64,
    peers_opened: u64,
    clients_opened: u64,
    closed: u64,
    /// Connections that this core refused or ended, by cause.
    refused: BTreeMap<&'static str, u64>,
    /// Connections that others refused or ended with a word, by cause.
    refused_by_others: BTreeMap<&'static str, u64>,
    /// Streams that ended because what came was no frame, by what was wrong.
    damaged: BTreeMap<&'static str, u64>,
    frames_received: u64,
    frames_queued: u64,
    bytes_received: u64,
    bytes_written: u64,
    /// Frames not taken because a connection's queue was full.
    busy: u64,
    /// Reads put off because all receive buffers were in use.
    starved: u64,
}

impl From<net::counters::Counters> for Network {
    fn from(counters: net::counters::Counters) -> Self {
        Self {
            accepted: counters.accepted,
            dialled: counters.dialled,
            peers_opened: counters.peers_opened,
            clients_opened: counters.clients_opened,
            closed: counters.closed,
            refused: counters.refusals().collect(),
            refused_by_others: counters.rebuffs().collect(),
            damaged: counters.damages().collect(),
            frames_received: counters.frames_received,
            frames_queued: counters.frames_queued,
            bytes_received: counters.bytes_received,
            bytes_written: counters.bytes_written,
            busy: counters.busy,
            starved: counters.starved,
        }
    }
}

#[derive(Debug, Serialize)]
struct PeerStatus {
    node: u32,
    connected: bool,
    alive: bool,
}

#[derive(Debug, Serialize)]
struct GroupStatus {
    group: u64,
    role: &'static str,
    term: u64,
    leader: u32,
    last: u64,
    commit: u64,
    applied: u64,
    digest: String,
    /// The index of the last image; 0 without one.
    image: u64,
    /// The first entry of the log.
    log_first: u64,
    /// Bytes of the group's records in the log.
    log_bytes: u64,
    /// Chapters beside the log.
    chapters: usize,
    /// What this replica lost of what it had promised and has not been given back: none, entries or votes.
    damage: &'static str,
}

/// One thing found wrong with the log.
#[derive(Debug, Serialize)]
struct DamageStatus {
    kind: String,
    file: Option<u32>,
    offset: u64,
    bytes: u64,
    group: Option<u64>,
    first: Option<u64>,
    last: Option<u64>,
}

impl From<&Damage> for DamageStatus {
    fn from(damage: &Damage) -> Self {
        Self {
            kind: format!("{:?}", damage.kind),
            file: damage.slot,
            offset: damage.offset,
            bytes: damage.bytes,
            group: damage.group,
            first: damage.first,
            last: damage.last,
        }
    }
}

/// Answers an inspection.
pub(crate) fn answer<D: Device, T: Transport, M: StateMachine>(
    shard: &mut Shard<D, T, M>,
    connection: ConnectionId,
    frame: &Frame,
    wall: u64,
) {
    let Ok(head) = InspectHead::decode(&frame.head) else {
        shard.counts.malformed += 1;
        shard.transport.close(connection);
        return;
    };
    let body = match head.topic {
        Topic::Status => status(shard, head.argument, wall),
        Topic::Histograms => histograms(shard),
        Topic::Layout => layout(shard),
        Topic::Digests => digests(shard, head.argument),
    };
    let report = ReportHead {
        id: head.id,
        status: request::Status::Ok,
    };
    let bulk_crc = crc32fast::hash(&body);
    let bulk = if body.is_empty() {
        Vec::new()
    } else {
        vec![Bytes::from(body)]
    };
    let outgoing = Outgoing {
        kind: Kind::REPORT,
        head: report.encode().to_vec(),
        bulk,
        bulk_crc,
        token: 0,
    };
    shard.replies.other(connection, outgoing);
}

fn status<D: Device, T: Transport, M: StateMachine>(
    shard: &Shard<D, T, M>,
    from: u64,
    wall: u64,
) -> Vec<u8> {
    let log = shard.wal.stats();
    let mut page: Vec<GroupStatus> = Vec::new();
    let mut next = None;
    for replica in shard
        .replicas
        .iter()
        .filter(|replica| replica.group.0 >= from)
    {
        if page.len() == PAGE {
            next = Some(replica.group.0);
            break;
        }
        page.push(group_status(shard, replica));
    }
    let status = Status {
        schema_version: 1,
        version: env!("CARGO_PKG_VERSION"),
        wall_ns: wall,
        node: shard.setup.node.0,
        core: shard.setup.core,
        cores: shard.setup.cores,
        groups_total: shard.setup.groups,
        durability: "dsync",
        storage: storage_name(shard.storage, shard.is_cut_off()),
        waiting_requests: shard.waiting.requests,
        counters: Counters {
            shard: shard.counts,
            replies: shard.replies.counts,
            upkeep: shard.upkeep.counts,
            sealing: shard.sealing.counts,
            histories: shard.histories.counts,
            fsyncs_issued: log.writes,
            fsyncs: log.syncs,
            log_bytes: log.written_bytes,
            log_records: log.records,
            log_record_bytes: log.record_bytes,
            log_busy: log.busy,
            log_damaged: shard.damaged,
            log_segments_free: log.segments_free as u64,
            log_segments_used: log.segments_used as u64,
        },
        network: shard.transport.counters().into(),
        store: stored::store(shard),
        sealed: stored::sealed(shard),
        peers: shard
            .peers
            .iter()
            .map(|peer| PeerStatus {
                node: peer.node.0,
                connected: peer.connection.is_some(),
                alive: peer.alive,
            })
            .collect(),
        log_damage: shard.damage.iter().map(DamageStatus::from).collect(),
        file_damage: shard.faults.iter().map(ToString::to_string).collect(),
        fetching: shard.fetches.len(),
        pinned: shard.serves.pins(),
        groups: page,
        next,
        beside: shard.annex.as_ref().map(|annex| annex()),
    };
    serde_json::to_vec(&status).expect("numbers and strings always serialize")
}

fn group_status<D: Device, T, M: StateMachine>(
    shard: &Shard<D, T, M>,
    replica: &Replica<M>,
) -> GroupStatus {
    GroupStatus {
        group: replica.group.0,
        role: role_name(replica.raft.role()),
        term: replica.raft.term().0,
        leader: replica.raft.leader().map_or(0, |node| node.0),
        last: replica.raft.last_index().0,
        commit: replica.commit.0,
        applied: replica.applied.0,
        digest: format!("{:032x}", replica.machine.digest()),
        image: replica.shelf.image_index().0,
        log_first: replica.raft.first_index().0,
        log_bytes: shard.wal.group_bytes(replica.group.0),
        chapters: replica.shelf.chapters.len(),
        damage: damage_name(replica.raft.damage()),
    }
}

const fn storage_name(storage: Persisted, is_cut_off: bool) -> &'static str {
    match storage {
        Persisted::All | Persisted::Waiting if is_cut_off => "full",
        Persisted::All => "ok",
        Persisted::Waiting => "busy",
        Persisted::Full => "full",
        Persisted::Failed => "failed",
    }
}

fn damage_name(damage: raft::config::Damage) -> &'static str {
    match damage {
        raft::config::Damage::None => "none",
        raft::config::Damage::Entries => "entries",
        raft::config::Damage::Votes => "votes",
    }
}

#[derive(Debug, Serialize)]
struct Layout {
    schema_version: u32,
    node: u32,
    nodes: Vec<u32>,
    core: u16,
    cores: u16,
    groups_total: u64,
}

fn layout<D: Device, T, M>(shard: &Shard<D, T, M>) -> Vec<u8> {
    let setup = &shard.setup;
    let layout = Layout {
        schema_version: 1,
        node: setup.node.0,
        nodes: setup.nodes.iter().map(|node| node.0).collect(),
        core: setup.core,
        cores: setup.cores,
        groups_total: setup.groups,
    };
    serde_json::to_vec(&layout).expect("numbers always serialize")
}

#[derive(Debug, Serialize)]
struct Digest {
    group: u64,
    applied: u64,
    digest: String,
}

/// One group's state hash, or the first page of them.
fn digests<D: Device, T, M: StateMachine>(shard: &Shard<D, T, M>, group: u64) -> Vec<u8> {
    let asked = |replica: &&Replica<M>| group == u64::MAX || replica.group.0 == group;
    let digests: Vec<Digest> = shard
        .replicas
        .iter()
        .filter(asked)
        .take(PAGE)
        .map(|replica| Digest {
            group: replica.group.0,
            applied: replica.applied.0,
            digest: format!("{:032x}", replica.machine.digest()),
        })
        .collect();
    serde_json::to_vec(&digests).expect("numbers and strings always serialize")
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

/// Every stage: `name_len u16, name, len u32, HdrHistogram V2`.
fn histograms<D: Device, T, M>(shard: &Shard<D, T, M>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = V2Serializer::new();
    for stage in STAGES {
        let mut encoded = Vec::new();
        serializer
            .serialize(shard.watch.histogram(stage), &mut encoded)
            .expect("a histogram serializes into memory");
        let name = stage.name().as_bytes();
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
        out.extend_from_slice(&encoded);
    }
    out
}

//! Replicas in this process: a ledger of maps behind the real frames, faithful or faulty as told.
//!
//! - The leader applies a request to all replicas at once; faults strike on one of them or on the way back.
//! - The digest covers what was asked for, so that a fault is found by the proof's own means.

use bench::target::{Node, Target};
use bench::wire::{Next, Outbox, next};
use bench::workload::mix;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use ledger::id_index::id_hash;
use ledger::instruction::operation::{
    AUDIT, CREATE_ACCOUNTS, CREATE_TRANSFERS, LOOKUP_ACCOUNTS, LOOKUP_TRANSFERS,
};
use ledger::status::{CreateResult, CreateTransferStatus};
use net::frame::{Codec, Kind};
use net::handshake::{Hello, Identity};
use net::inspect::{InspectHead, ReportHead, Topic};
use net::request::{Consistency, RequestHead, Status};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use zerocopy::IntoBytes;

pub(crate) const CLUSTER: u64 = 0xFA4E;
/// The replica on which faults strike; it is not the first leader.
pub(crate) const VICTIM: usize = 2;

/// What goes wrong, on one transfer in a thousand or one request in ten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// An acknowledged transfer is not stored.
    Lose,
    /// A transfer moves its money twice.
    MoveTwice,
    /// A transfer is stored twice.
    StoreTwice,
    /// A transfer is stored with another amount.
    Alter,
    /// A transfer debits, but does not credit.
    DebitOnly,
    /// The digest differs.
    Digest,
    /// The replica stays behind.
    Behind,
    /// A transfer is refused, yet takes place.
    RefuseAndDo,
    /// A transfer is refused, as it may be.
    Refuse,
    /// A request is carried out on all replicas and never answered; three times only.
    Mute,
    /// A request is carried out on all replicas but one and never answered; three times only.
    MuteAndSplit,
    /// "Busy".
    Busy,
    /// The connection breaks before the request is carried out.
    BreakBefore,
    /// The connection breaks after that.
    BreakAfter,
    /// The leader hands over to the next replica and says so.
    HandOver,
    /// The leader hands over and does not know to whom.
    HandOverInSilence,
    /// The reply holds too few results.
    Short,
    /// The node answers to what was not asked.
    Unasked,
}

#[derive(Default)]
struct Group {
    accounts: BTreeMap<u128, (u128, u128)>,
    transfers: BTreeMap<u128, Vec<u8>>,
    stored: u64,
    ids: u128,
    applied: u64,
    digest: u64,
}

struct State {
    fault: Fault,
    leader: usize,
    requests: u64,
    transfers: u64,
    replicas: Vec<Vec<Group>>,
}

/// What to do with a request.
enum Answer {
    Reply(Status, Vec<u8>),
    Nothing,
    Break,
}

pub(crate) struct Fake {
    pub(crate) target: Target,
}

impl Fake {
    /// Three replicas of so many groups, each on one core.
    pub(crate) fn start(fault: Fault, groups: u32) -> Fake {
        let replica = || (0..groups).map(|_| Group::default()).collect();
        let replicas = (0..3).map(|_| replica()).collect();
        let state = State {
            fault,
            leader: 1,
            requests: 0,
            transfers: 0,
            replicas,
        };
        let state = Arc::new(Mutex::new(state));
        let nodes = (0..3)
            .map(|node| listen(node, Arc::clone(&state)))
            .collect();
        Fake {
            target: Target {
                cluster: CLUSTER,
                nodes,
                cores: 1,
                groups,
            },
        }
    }
}

/// The threads end with the process; a test's connections end with the test.
fn listen(node: usize, state: Arc<Mutex<State>>) -> Node {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let base = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, state) = (stream.expect("a connection"), Arc::clone(&state));
            std::thread::spawn(move || serve(stream, node, &state));
        }
    });
    Node {
        id: node as u32 + 1,
        base,
        pid: None,
    }
}

fn serve(mut stream: TcpStream, node: usize, state: &Mutex<State>) {
    stream.set_nodelay(true).expect("a socket");
    let (mut inbox, mut outbox) = (Vec::new(), Outbox::default());
    loop {
        let found = match next(&inbox, 0, CLUSTER).expect("the benchmark sends whole frames") {
            Next::Frame(found) => found,
            Next::Wanting(_) => {
                let mut room = [0; 65536];
                match stream.read(&mut room) {
                    Ok(read) if read > 0 => inbox.extend_from_slice(&room[..read]),
                    _ => return,
                }
                continue;
            }
        };
        let (head, bulk) = (&inbox[found.head.clone()], &inbox[found.bulk.clone()]);
        let answered = match found.kind {
            Kind::HELLO => welcome(head, node, &mut outbox),
            Kind::INSPECT => inspect(head, node, state, &mut outbox),
            _ => request(head, bulk, node, state, &mut outbox),
        };
        if !answered {
            // The other end may have closed it already.
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        if stream.write_all(outbox.as_bytes()).is_err() {
            return;
        }
        outbox.clear();
        inbox.drain(..found.end);
    }
}

fn push(outbox: &mut Outbox, kind: u8, head: &[u8], bulk: &[u8]) {
    outbox.push(kind, CLUSTER, head, bulk.len(), |room| {
        room.copy_from_slice(bulk)
    });
}

fn welcome(head: &[u8], node: usize, outbox: &mut Outbox) -> bool {
    let hello = Hello::decode(head).expect("a hello");
    let own = Identity {
        cluster: CLUSTER,
        node: node as u32 + 1,
        core: 0,
        cores: 1,
        incarnation: 1,
        layout_digest: 1,
        codec: Codec::None,
    };
    let welcome = hello
        .answer(&own, |_| true)
        .expect("the benchmark belongs here")
        .encode();
    push(outbox, welcome.kind, &welcome.head, &[]);
    true
}

fn inspect(head: &[u8], node: usize, state: &Mutex<State>, outbox: &mut Outbox) -> bool {
    let inspect = InspectHead::decode(head).expect("a question");
    let bulk = match inspect.topic {
        Topic::Status => status(node, &state.lock().expect("no panic")),
        Topic::Histograms => histograms(state.lock().expect("no panic").requests),
        other => panic!("the benchmark does not ask for {other:?}"),
    };
    let report = ReportHead {
        id: inspect.id,
        status: Status::Ok,
    };
    push(outbox, Kind::REPORT, &report.encode(), &bulk);
    true
}

fn status(node: usize, state: &State) -> Vec<u8> {
    let groups: Vec<serde_json::Value> = state.replicas[node]
        .iter()
        .enumerate()
        .map(|(number, group)| {
            let strikes = |fault| u64::from(state.fault == fault && node == VICTIM);
            serde_json::json!({
                "group": number,
                "role": if state.leader == node { "leader" } else { "follower" },
                "leader": state.leader + 1,
                "term": 1,
                "commit": group.applied,
                "applied": group.applied - strikes(Fault::Behind).min(group.applied),
                "digest": format!("{:x}", group.digest ^ strikes(Fault::Digest)),
            })
        })
        .collect();
    let counters = serde_json::json!({
        "fsyncs": state.requests,
        "fsyncs_issued": state.requests + 1,
        "bytes_written": state.transfers * 128,
    });
    let status = serde_json::json!({
        "durability": "fsync", "counters": counters, "groups": groups,
    });
    serde_json::to_vec(&status).expect("a value")
}

/// Each request has taken each stage the same time.
fn histograms(requests: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let parts = [
        ("receive", 100),
        ("decide", 200),
        ("persist", 300),
        ("replicate", 250),
        ("apply", 100),
        ("reply", 40),
        ("server.e2e", 1000),
        ("wal.write", 280),
    ];
    for (name, ns) in parts {
        let mut histogram = Histogram::<u64>::new(3).expect("three digits");
        histogram.record_n(ns, requests).expect("it resizes");
        let mut encoded = Vec::new();
        V2Serializer::new()
            .serialize(&histogram, &mut encoded)
            .expect("to memory");
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend((encoded.len() as u32).to_le_bytes());
        bytes.extend(encoded);
    }
    bytes
}

fn request(
    head: &[u8],
    bulk: &[u8],
    node: usize,
    state: &Mutex<State>,
    outbox: &mut Outbox,
) -> bool {
    let request = RequestHead::decode(head).expect("a request");
    let mut state = state.lock().expect("no panic");
    let (status, records) = match state.answer(&request, bulk, node) {
        Answer::Reply(status, records) => (status, records),
        Answer::Nothing => return true,
        Answer::Break => return false,
    };
    let mut reply = request.reply(status);
    if status == Status::NotLeader && state.fault != Fault::HandOverInSilence {
        reply.leader = state.leader as u32 + 1;
    }
    if state.fault == Fault::Unasked && request.operation == CREATE_TRANSFERS {
        reply.id += 1_000_000;
    }
    (reply.arrived_at, reply.replied_at) = (1000, 2000);
    push(outbox, Kind::REPLY, &reply.encode(), &records);
    true
}

impl State {
    fn answer(&mut self, request: &RequestHead, bulk: &[u8], node: usize) -> Answer {
        let group = request.group as usize;
        if matches!(
            request.operation,
            LOOKUP_ACCOUNTS | LOOKUP_TRANSFERS | AUDIT
        ) {
            assert_eq!(
                request.consistency,
                Consistency::Local,
                "each replica for itself"
            );
            let records = self.replicas[node][group].read(request.operation, bulk);
            return Answer::Reply(Status::Ok, records);
        }
        if node != self.leader {
            return Answer::Reply(Status::NotLeader, Vec::new());
        }
        if request.operation == CREATE_ACCOUNTS {
            return Answer::Reply(Status::Ok, self.create_accounts(group, bulk));
        }
        self.requests += 1;
        let strikes = self.requests.is_multiple_of(10);
        let mutes = strikes && self.requests <= 30;
        match self.fault {
            Fault::Busy if strikes => return Answer::Reply(Status::Busy, Vec::new()),
            Fault::BreakBefore if strikes => return Answer::Break,
            Fault::HandOver | Fault::HandOverInSilence if strikes => {
                self.leader = (self.leader + 1) % 3;
                return Answer::Reply(Status::NotLeader, Vec::new());
            }
            _ => {}
        }
        let mut results = self.create_transfers(group, bulk, mutes);
        match self.fault {
            Fault::BreakAfter if strikes => Answer::Break,
            Fault::Mute | Fault::MuteAndSplit if mutes => Answer::Nothing,
            Fault::Short if strikes => {
                results.truncate(results.len() - 16);
                Answer::Reply(Status::Ok, results)
            }
            _ => Answer::Reply(Status::Ok, results),
        }
    }

    fn create_accounts(&mut self, group: usize, bulk: &[u8]) -> Vec<u8> {
        for replica in &mut self.replicas {
            for record in bulk.chunks(128) {
                replica[group].accounts.insert(amount(record, 0), (0, 0));
            }
            replica[group].applied += 1;
        }
        bulk.chunks(128)
            .flat_map(|_| result(CreateTransferStatus::Created))
            .collect()
    }

    fn create_transfers(&mut self, group: usize, bulk: &[u8], mutes: bool) -> Vec<u8> {
        let mut results = Vec::new();
        for record in bulk.chunks(128) {
            self.transfers += 1;
            let struck = self.transfers.is_multiple_of(1000);
            let refused = struck && matches!(self.fault, Fault::Refuse | Fault::RefuseAndDo);
            let exists = self.replicas[0][group]
                .transfers
                .contains_key(&amount(record, 0));
            results.extend(result(match (exists, refused) {
                (true, _) => CreateTransferStatus::Exists,
                (false, true) => CreateTransferStatus::ExceedsCredits,
                (false, false) => CreateTransferStatus::Created,
            }));
            if exists || (refused && self.fault == Fault::Refuse) {
                continue;
            }
            for (node, replica) in self.replicas.iter_mut().enumerate() {
                let fault = match self.fault {
                    _ if node != VICTIM => Fault::None,
                    Fault::MuteAndSplit if mutes => Fault::Lose,
                    fault if struck => fault,
                    _ => Fault::None,
                };
                replica[group].apply(record, fault);
            }
        }
        for replica in &mut self.replicas {
            replica[group].applied += 1;
        }
        results
    }
}

impl Group {
    fn apply(&mut self, record: &[u8], fault: Fault) {
        let (id, value) = (amount(record, 0), amount(record, 48));
        self.digest = mix(self.digest ^ id as u64);
        if fault == Fault::Lose {
            return;
        }
        let moved = if fault == Fault::MoveTwice {
            2 * value
        } else {
            value
        };
        self.accounts
            .get_mut(&amount(record, 16))
            .expect("the account exists")
            .0 += moved;
        if fault != Fault::DebitOnly {
            self.accounts
                .get_mut(&amount(record, 32))
                .expect("the account exists")
                .1 += moved;
        }
        let mut stored = record.to_vec();
        stored[120] = 1;
        if fault == Fault::Alter {
            stored[48] ^= 0x40;
        }
        self.stored += if fault == Fault::StoreTwice { 2 } else { 1 };
        self.ids = self.ids.wrapping_add(id_hash(id).into());
        self.transfers.insert(id, stored);
    }

    fn read(&self, operation: u8, bulk: &[u8]) -> Vec<u8> {
        let ids = bulk.chunks(16).map(|id| amount(id, 0));
        match operation {
            LOOKUP_TRANSFERS => ids
                .filter_map(|id| self.transfers.get(&id))
                .flatten()
                .copied()
                .collect(),
            LOOKUP_ACCOUNTS => ids
                .filter_map(|id| Some((id, self.accounts.get(&id)?)))
                .flat_map(|(id, (debits, credits))| {
                    let mut record = [0u8; 128];
                    record[..16].copy_from_slice(&id.to_le_bytes());
                    record[32..48].copy_from_slice(&debits.to_le_bytes());
                    record[64..80].copy_from_slice(&credits.to_le_bytes());
                    record
                })
                .collect(),
            _ => self.audit(),
        }
    }

    fn audit(&self) -> Vec<u8> {
        let debits: u128 = self.accounts.values().map(|(debits, _)| debits).sum();
        let credits: u128 = self.accounts.values().map(|(_, credits)| credits).sum();
        let mut audit = vec![0; 192];
        audit[0..8].copy_from_slice(&(self.accounts.len() as u64).to_le_bytes());
        audit[8..16].copy_from_slice(&self.stored.to_le_bytes());
        audit[48..64].copy_from_slice(&self.ids.to_le_bytes());
        audit[40] = u8::from(debits == credits);
        audit[80..96].copy_from_slice(&debits.to_le_bytes());
        audit[112..128].copy_from_slice(&credits.to_le_bytes());
        audit
    }
}

fn amount(record: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(record[at..at + 16].try_into().expect("16 bytes"))
}

fn result(status: CreateTransferStatus) -> Vec<u8> {
    CreateResult::new(1, status.number()).as_bytes().to_vec()
}

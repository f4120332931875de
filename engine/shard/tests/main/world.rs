//! Three shards, three disks and one client, driven event by event.

use net::frame::Kind;
use net::request::{Consistency, ReplyHead, RequestHead, Status};
use net::transport::{ConnectionId, Event, Outgoing, Remote, Transport};
use raft::change::Change;
use raft::ids::{GroupId, NodeId, Time};
use raft::requests::MembershipChange;
use shard::clock::Clock;
use shard::open::OpenError;
use shard::past::History;
use shard::setup::{Keeping, Setup};
use shard::shard::{Next, Shard};
use wal::archive::memory::MemoryStore;
use wal::device::memory::{Crash, MemoryDevice, MemoryDisk};
use wal::{Identity, Options};

use crate::tally::{ADD, LOOK, Tally};
use crate::vault::Vault;
use crate::wire::{Door, Wire};

const CLIENT: u32 = 1000;
const SEGMENT_BYTES: u64 = 4 << 20;
pub(crate) const ELECTION_NS: u64 = 300_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

type TestShard = Shard<MemoryDevice, Door, Tally>;

struct TestClock(u64);

impl Clock for TestClock {
    fn now(&self) -> Time {
        Time(self.0)
    }
    fn wall(&self) -> u64 {
        1_700_000_000_000_000_000 + self.0
    }
}

/// How a world is furnished.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) keeping: Keeping,
    /// Payloads in a chapter; 0: neither chapters nor images.
    pub(crate) chapter: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) segments_max: u32,
    /// So many nodes, the last ones, are in no group when it begins.
    pub(crate) spares: usize,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            keeping: Keeping::default(),
            chapter: 0,
            segment_bytes: SEGMENT_BYTES,
            segments_max: 32,
            spares: 0,
        }
    }
}

pub(crate) struct World {
    pub(crate) wire: Wire,
    pub(crate) disks: Vec<MemoryDisk>,
    pub(crate) stores: Vec<MemoryStore>,
    /// A node whose disk was exchanged.
    pub(crate) rejoining: Option<u32>,
    terms: Terms,
    history: Option<History>,
    /// Bytes per second that a log is read again by; for nodes started from here on.
    pub(crate) scrub: u64,
    pub(crate) vault: Option<Vault>,
    shards: Vec<Option<TestShard>>,
    wake: Vec<u64>,
    client: Vec<Option<ConnectionId>>,
    pub(crate) replies: Vec<(ReplyHead, Vec<u8>)>,
    pub(crate) groups: u64,
    next_id: u64,
    incarnation: u64,
    pub(crate) stopped: Vec<bool>,
    /// What each node's last opening found wrong with its log.
    pub(crate) found: Vec<Vec<wal::Damage>>,
}

impl World {
    pub(crate) fn new(nodes: u32, groups: u64) -> Self {
        Self::with(nodes, groups, Terms::default())
    }

    pub(crate) fn with(nodes: u32, groups: u64, terms: Terms) -> Self {
        Self::keeping(nodes, groups, terms, None, None)
    }

    /// What the log gives up is kept, and given to a vault if there is one.
    pub(crate) fn keeping(
        nodes: u32,
        groups: u64,
        terms: Terms,
        history: Option<History>,
        vault: Option<Vault>,
    ) -> Self {
        let count = nodes as usize;
        let mut world = Self {
            wire: Wire::default(),
            disks: (0..nodes)
                .map(|node| MemoryDisk::new(terms.segment_bytes, u64::from(node)))
                .collect(),
            stores: (0..nodes)
                .map(|node| MemoryStore::new(u64::from(node)))
                .collect(),
            rejoining: None,
            terms,
            history,
            scrub: 0,
            vault,
            shards: (0..nodes).map(|_| None).collect(),
            wake: vec![0; count],
            client: vec![None; count],
            replies: Vec::new(),
            groups,
            next_id: 0,
            incarnation: 0,
            stopped: vec![false; count],
            found: vec![Vec::new(); count],
        };
        world.wire.0.borrow_mut().now = SECOND;
        for disk in &world.disks {
            disk.set_latency_ns(50_000, 150_000);
        }
        for store in &world.stores {
            store.set_latency_ns(50_000, 500_000);
        }
        for node in 1..=nodes {
            world.start(node);
        }
        world
    }

    pub(crate) const fn keeps_history(&self) -> bool {
        self.history.is_some()
    }

    /// The world of one node as its power goes: of the writes in flight the disk keeps what the rule says, of the files'
    /// steps the first so many happen, of the files on their way to the vault the first so many arrive. Nothing runs in
    /// it; this one goes on.
    pub(crate) fn after_crash(&self, rule: Crash, happened: usize, arrived: usize) -> Self {
        let disks: Vec<MemoryDisk> = self
            .disks
            .iter()
            .map(|disk| disk.after_crash(rule))
            .collect();
        let stores: Vec<MemoryStore> = self
            .stores
            .iter()
            .map(|store| store.after_crash(happened))
            .collect();
        for (disk, store) in disks.iter().zip(&stores) {
            disk.set_latency_ns(50_000, 150_000);
            store.set_latency_ns(50_000, 500_000);
        }
        let world = Self {
            wire: Wire::default(),
            disks,
            stores,
            rejoining: self.rejoining,
            terms: self.terms,
            history: self.history,
            scrub: self.scrub,
            vault: self.vault.as_ref().map(|vault| vault.copy_after(arrived)),
            shards: (0..1).map(|_| None).collect(),
            wake: vec![0],
            client: vec![None],
            replies: Vec::new(),
            groups: self.groups,
            next_id: 0,
            incarnation: 0,
            stopped: vec![false],
            found: vec![Vec::new()],
        };
        world.wire.0.borrow_mut().now = self.now();
        world
    }

    pub(crate) fn now(&self) -> u64 {
        self.wire.0.borrow().now
    }

    fn options(&self, node: u32) -> Options {
        let identity = Identity {
            cluster: 7,
            node: u64::from(node),
            log: 0,
        };
        let mut options = Options::small(identity, 64 * 1024);
        options.segments_max = self.terms.segments_max;
        options.scrub_bytes_per_second = self.scrub;
        options
    }

    fn setup(&self, node: u32) -> Setup {
        Setup {
            node: NodeId(node),
            core: 0,
            cores: 1,
            nodes: (1..=self.shards.len() as u32).map(NodeId).collect(),
            founders: self.shards.len() - self.terms.spares,
            groups: self.groups,
            election_timeout: ELECTION_NS,
            beat_interval: ELECTION_NS / 6,
            stopwatch: true,
            window_bytes: 8 * 1024,
            is_rejoining: self.rejoining == Some(node),
            keeping: self.terms.keeping,
            seed: u64::from(node) * 77,
        }
    }

    /// Starts a node's process on whatever its disk holds.
    pub(crate) fn start(&mut self, node: u32) {
        self.try_start(node).expect("the log opens");
    }

    /// As [`World::start`], where that may be refused.
    pub(crate) fn try_start(&mut self, node: u32) -> Result<(), OpenError> {
        let at = node as usize - 1;
        self.incarnation += 1;
        let door = Door {
            wire: self.wire.clone(),
            node,
        };
        let device = self.disks[at].device();
        let chapter = self.terms.chapter;
        let (mut shard, opening) = Shard::open(
            self.setup(node),
            device,
            Box::new(self.stores[at].archive()),
            self.options(node),
            door,
            |_| Tally::with_chapters_of(chapter),
            Time(self.now()),
        )?;
        self.found[at] = opening.damage;
        if let Some(history) = self.history {
            shard.keep_history(history);
        }
        if let Some(vault) = &self.vault {
            shard.set_coffer(Box::new(vault.coffer()));
        }
        self.shards[at] = Some(shard);
        self.wake[at] = self.now();
        self.connect_all(node);
        Ok(())
    }

    fn connect_all(&mut self, node: u32) {
        let me = Remote::Peer {
            node,
            incarnation: self.incarnation,
        };
        for other in 1..=self.shards.len() as u32 {
            if other != node && self.shards[other as usize - 1].is_some() {
                let them = Remote::Peer {
                    node: other,
                    incarnation: u64::from(other),
                };
                self.wire.connect((node, me), (other, them));
            }
        }
        let (client, _) = self.wire.connect((CLIENT, Remote::Client), (node, me));
        self.client[node as usize - 1] = Some(client);
    }

    /// The process dies; of the writes in flight the disk keeps what the rule says.
    pub(crate) fn kill(&mut self, node: u32, rule: Crash) {
        let at = node as usize - 1;
        self.shards[at] = None;
        self.client[at] = None;
        self.disks[at].crash(rule);
        let seed = match rule {
            Crash::Seeded(seed) => seed,
            _ => 1,
        };
        self.stores[at].crash(seed);
        self.wire.isolate(node);
    }

    /// The node's disk is replaced by an empty one; its process is dead.
    pub(crate) fn replace_disk(&mut self, node: u32) {
        let at = node as usize - 1;
        assert!(self.shards[at].is_none(), "its process is dead");
        self.disks[at] = MemoryDisk::new(self.terms.segment_bytes, u64::from(node) + 100);
        self.disks[at].set_latency_ns(50_000, 150_000);
        self.stores[at].wipe();
    }

    pub(crate) fn is_up(&self, node: u32) -> bool {
        self.shards[node as usize - 1].is_some()
    }

    /// The node's connections break and are made anew.
    pub(crate) fn reconnect(&mut self, node: u32) {
        self.wire.isolate(node);
        self.connect_all(node);
    }

    fn turn(&mut self, at: usize) {
        let clock = TestClock(self.now());
        let Some(shard) = self.shards[at].as_mut() else {
            return;
        };
        match shard.turn(&clock) {
            Next::Again => self.wake[at] = clock.0,
            Next::Wait(wake) => self.wake[at] = wake.map_or(u64::MAX, |wake| wake.0),
            Next::Stop => {
                self.stopped[at] = true;
                self.kill(at as u32 + 1, Crash::Everything);
            }
        }
    }

    fn next_at(&self) -> u64 {
        let wakes = (0..self.shards.len())
            .filter(|at| self.shards[*at].is_some())
            .map(|at| self.wake[at]);
        let disks = self.disks.iter().filter_map(MemoryDisk::next_completion_ns);
        let stores = self
            .stores
            .iter()
            .filter_map(MemoryStore::next_completion_ns);
        wakes
            .chain(disks)
            .chain(stores)
            .chain(self.wire.next_event())
            .min()
            .unwrap_or(u64::MAX)
            .max(self.now())
    }

    pub(crate) fn step(&mut self) {
        let now = self.next_at();
        self.wire.0.borrow_mut().now = now;
        for at in 0..self.shards.len() {
            let is_due = |due: Option<u64>| due.is_some_and(|due| due <= now);
            let disk = is_due(self.disks[at].next_completion_ns())
                || is_due(self.stores[at].next_completion_ns());
            if self.shards[at].is_some()
                && (disk || self.wake[at] <= now || self.wire.is_due(at as u32 + 1))
            {
                self.turn(at);
            }
        }
        let mut events = Vec::new();
        Door {
            wire: self.wire.clone(),
            node: CLIENT,
        }
        .poll(&mut events);
        for event in events {
            if let Event::Received(_, frame) = event
                && frame.kind == Kind::REPLY
            {
                let head = ReplyHead::decode(&frame.head).expect("a reply's head");
                self.replies.push((head, frame.bulk.to_vec()));
            }
        }
    }

    /// Runs until `done`, at most `limit_ns` of virtual time.
    pub(crate) fn run_until(
        &mut self,
        limit_ns: u64,
        what: &str,
        mut done: impl FnMut(&Self) -> bool,
    ) {
        let end = self.now() + limit_ns;
        while !done(self) {
            assert!(self.now() < end, "not within {limit_ns} ns: {what}");
            self.step();
        }
    }

    /// Runs for `nanos` of virtual time.
    pub(crate) fn run_for(&mut self, nanos: u64) {
        let end = self.now() + nanos;
        while self.next_at() <= end {
            self.step();
        }
        self.wire.0.borrow_mut().now = end;
    }

    /// Sends a request to a node; returns its id.
    pub(crate) fn ask(
        &mut self,
        node: u32,
        group: u64,
        operation: u8,
        payload: &[u8],
        local: bool,
    ) -> u64 {
        self.next_id += 1;
        let head = RequestHead {
            id: self.next_id,
            group,
            operation,
            consistency: if local {
                Consistency::Local
            } else {
                Consistency::Linearizable
            },
            sent_at: self.now(),
            client: 5,
            number: self.next_id,
        };
        let connection = self.client[node as usize - 1].expect("the node runs");
        let frame = Outgoing {
            kind: Kind::REQUEST,
            head: head.encode().to_vec(),
            bulk: vec![payload.to_vec().into()],
            bulk_crc: crc32fast::hash(payload),
            token: 0,
        };
        Door {
            wire: self.wire.clone(),
            node: CLIENT,
        }
        .send(connection, frame)
        .expect("open");
        self.next_id
    }

    pub(crate) fn reply(&self, id: u64) -> Option<&(ReplyHead, Vec<u8>)> {
        self.replies.iter().find(|(head, _)| head.id == id)
    }

    /// An operator asks the node, which leads the group, for other members; whether that was granted.
    pub(crate) fn change(&mut self, node: u32, group: u64, changes: Vec<Change>) -> bool {
        let at = node as usize - 1;
        let (now, shard) = (Time(self.now()), self.shards[at].as_mut());
        let change = MembershipChange {
            changes,
            ..MembershipChange::default()
        };
        self.wake[at] = now.0;
        shard
            .expect("the node runs")
            .change_membership(GroupId(group), &change, now)
            .is_ok()
    }

    /// The node that leads the group and is known as such by a majority.
    pub(crate) fn leader(&self, group: u64) -> Option<u32> {
        let alive: Vec<&TestShard> = self.shards.iter().flatten().collect();
        let leaders: Vec<u32> = alive
            .iter()
            .filter_map(|shard| shard.leader_of(GroupId(group)))
            .map(|node| node.0)
            .collect();
        let first = *leaders.first()?;
        let agreed = leaders.len() == alive.len() && leaders.iter().all(|leader| *leader == first);
        (agreed && self.shards[first as usize - 1].is_some()).then_some(first)
    }

    pub(crate) fn elect(&mut self) -> u32 {
        let groups = self.groups;
        self.run_until(10 * SECOND, "every group has a leader", |world| {
            (0..groups).all(|group| world.leader(group).is_some())
        });
        self.leader(0).expect("just elected")
    }

    /// Adds a payload through the leader and waits for its acknowledgement, retrying elsewhere.
    pub(crate) fn add(&mut self, group: u64, payload: &[u8]) {
        for _ in 0..50 {
            self.run_until(10 * SECOND, "a leader", |world| {
                world.leader(group).is_some()
            });
            let leader = self.leader(group).expect("just seen");
            let id = self.ask(leader, group, ADD, payload, false);
            self.run_until(10 * SECOND, "an answer", |world| {
                world.reply(id).is_some() || world.client[leader as usize - 1].is_none()
            });
            if self
                .reply(id)
                .is_some_and(|(head, _)| head.status == Status::Ok)
            {
                return;
            }
            self.run_for(ELECTION_NS / 4);
        }
        panic!("no acknowledgement in fifty tries");
    }

    pub(crate) fn look(&mut self, node: u32, group: u64, local: bool) -> Option<(Status, u64)> {
        let id = self.ask(node, group, LOOK, &[], local);
        self.run_until(10 * SECOND, "an answer", |world| world.reply(id).is_some());
        let (head, body) = self.reply(id).expect("just seen");
        let count = body
            .first_chunk::<8>()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Some((head.status, count))
    }

    pub(crate) fn payloads(&self, node: u32, group: u64) -> Vec<Vec<u8>> {
        let shard = self.shards[node as usize - 1]
            .as_ref()
            .expect("the node runs");
        shard
            .machine_of(GroupId(group))
            .expect("the group is there")
            .all()
    }

    pub(crate) fn shard(&self, node: u32) -> &TestShard {
        self.shards[node as usize - 1]
            .as_ref()
            .expect("the node runs")
    }

    /// Waits until every running replica of the group has applied the same commands, and returns them.
    pub(crate) fn settle(&mut self, group: u64) -> Vec<Vec<u8>> {
        self.run_until(20 * SECOND, "replicas agree", |world| {
            let nodes = (1..=world.shards.len() as u32)
                .filter(|node| world.shards[*node as usize - 1].is_some());
            let digests: Vec<_> = nodes
                .map(|node| world.shard(node).digest_of(GroupId(group)).expect("there"))
                .collect();
            digests.windows(2).all(|pair| pair[0] == pair[1])
        });
        let node =
            (1..=self.shards.len() as u32).find(|node| self.shards[*node as usize - 1].is_some());
        self.payloads(node.expect("somebody runs"), group)
    }
}

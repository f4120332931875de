//! Whole nodes on loopback: those that do not belong are refused by name, a full log says so, a laggard catches up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::config::size::ByteSize;
use engine::{
    Admission, Client, ClientError, Command, EngineError, FormatOptions, GroupId, Io, Layout, Node,
    NodeAddress, NodeId, Options, Refusal, StateMachine, format,
};
use net::request::Status;
use tempfile::TempDir;

use crate::ports::free_address;

pub(crate) const ADD: u8 = 1;
pub(crate) const READ: u8 = 2;

/// Adds up the first eight bytes of what it is given; the rest is ballast.
#[derive(Default)]
struct Sum(u64);

impl StateMachine for Sum {
    fn admit(&self, operation: u8, payload: &[u8]) -> Result<Admission, Refusal> {
        match operation {
            ADD if payload.len() >= 8 => Ok(Admission::Write),
            ADD => Err(Refusal::MalformedBody),
            READ => Ok(Admission::Read),
            _ => Err(Refusal::UnknownOperation),
        }
    }

    fn apply(&mut self, command: Command<'_>, reply: &mut Vec<u8>) {
        let number = command
            .payload
            .first_chunk()
            .copied()
            .map_or(0, u64::from_le_bytes);
        self.0 = self.0.wrapping_add(number);
        reply.extend_from_slice(&self.0.to_le_bytes());
    }

    fn query(&self, _operation: u8, _payload: &[u8], reply: &mut Vec<u8>) {
        reply.extend_from_slice(&self.0.to_le_bytes());
    }

    fn digest(&self) -> u128 {
        self.0.into()
    }
}

pub(crate) struct Cluster {
    pub(crate) layout: Layout,
    folders: Vec<TempDir>,
    nodes: Vec<Option<Node>>,
    options: Options,
}

impl Cluster {
    pub(crate) fn new(io: Io, nodes: u32, cores: u16, groups: u64) -> Self {
        Self::on(io, nodes, cores, groups, None)
    }

    /// The first node's folder is made in `first`.
    pub(crate) fn on(io: Io, nodes: u32, cores: u16, groups: u64, first: Option<&Path>) -> Self {
        let nodes = (1..=nodes)
            .map(|id| NodeAddress {
                id,
                address: free_address(cores),
            })
            .collect();
        let mut layout = Layout::new(77, nodes, cores, groups);
        layout.segment_bytes = 4 << 20;
        let folders: Vec<TempDir> = layout
            .nodes
            .iter()
            .map(|node| match first.filter(|_| node.id == 1) {
                Some(place) => TempDir::new_in(place),
                None => tempfile::tempdir(),
            })
            .map(|folder| folder.expect("a temporary folder"))
            .collect();
        let options = Options {
            io,
            election_timeout_ms: 300,
            ..Options::default()
        };
        let count = folders.len();
        let cluster = Self {
            layout,
            folders,
            nodes: (0..count).map(|_| None).collect(),
            options,
        };
        for id in 1..=count as u32 {
            let options = FormatOptions {
                layout: cluster.layout.clone(),
                node: id,
                prewrite_bytes: 0,
            };
            format(&cluster.dir(id), &options).expect("an empty folder");
        }
        cluster
    }

    fn dir(&self, id: u32) -> PathBuf {
        self.folders[id as usize - 1].path().join("node")
    }

    pub(crate) fn start(&mut self, id: u32) -> Result<(), EngineError> {
        let node = Node::start(&self.dir(id), &self.options, |_, _| Sum::default())?;
        self.nodes[id as usize - 1] = Some(node);
        Ok(())
    }

    pub(crate) fn start_all(&mut self) {
        for id in 1..=self.folders.len() as u32 {
            self.start(id).expect("the node starts");
        }
    }

    pub(crate) fn stop(&mut self, id: u32) {
        let node = self.nodes[id as usize - 1].take().expect("it runs");
        node.stop().expect("it stops in order");
    }

    pub(crate) fn client(&self) -> Client {
        let mut client = Client::new(self.layout.clone(), 9);
        client.set_patience(Duration::from_secs(100));
        client
    }
}

pub(crate) fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes"))
}

pub(crate) fn add(client: &mut Client, group: u64, value: u64) -> Result<u64, ClientError> {
    client
        .request(GroupId(group), ADD, value.to_le_bytes().to_vec())
        .map(|reply| number(&reply))
}

pub(crate) fn read(client: &mut Client, group: u64) -> u64 {
    number(
        &client
            .request(GroupId(group), READ, Vec::new())
            .expect("a linearizable read"),
    )
}

fn a_node_that_was_away_catches_up(io: Io) {
    let mut cluster = Cluster::new(io, 3, 1, 1);
    cluster.start_all();
    let mut client = cluster.client();
    add(&mut client, 0, 1).expect("acknowledged");
    cluster.stop(1);
    for _ in 0..50 {
        // Large enough that they leave the others' memory.
        let mut body = vec![0; 900_000];
        body[0] = 2;
        client
            .request(GroupId(0), ADD, body)
            .expect("two of three are a quorum");
    }
    cluster.start(1).expect("it starts again");
    let deadline = engine::clock::SystemClock.now().plus(100_000_000_000);
    loop {
        let reply = client
            .read_local(NodeId(1), GroupId(0), READ, Vec::new())
            .expect("it answers");
        if number(&reply) == 101 {
            return;
        }
        assert!(
            engine::clock::SystemClock.now() < deadline,
            "still at {}",
            number(&reply)
        );
        std::thread::yield_now();
    }
}

fn a_log_that_may_not_grow_says_storage_full(io: Io) {
    let mut cluster = Cluster::new(io, 1, 1, 1);
    cluster.options.log_bytes_max = ByteSize(4 * cluster.layout.segment_bytes);
    cluster.start_all();
    let mut client = cluster.client();
    client.set_patience(Duration::from_secs(6));
    let mut acknowledged = 0;
    let refusal = loop {
        let mut body = vec![0; 1_000_000];
        body[0] = 1;
        match client.request(GroupId(0), ADD, body) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100, "16 MB hold no more than this");
    };
    // The one that found the log full is in doubt; everything after it is refused by name.
    let said_full = |error: &ClientError| {
        matches!(
            error,
            ClientError::Refused(Status::StorageFull)
                | ClientError::Unavailable(Status::StorageFull)
        )
    };
    let next = add(&mut client, 0, 1).expect_err("the log is full");
    assert!(
        said_full(&next) || said_full(&refusal),
        "{refusal:?}, then {next:?}"
    );
    assert_eq!(read(&mut cluster.client(), 0), acknowledged, "reads go on");
}

fn a_client_of_another_cluster_is_refused_by_name(io: Io) {
    let mut cluster = Cluster::new(io, 1, 1, 1);
    cluster.start_all();
    let mut layout = cluster.layout.clone();
    layout.cluster = 78;
    let mut stranger = Client::new(layout, 1);
    stranger.set_patience(Duration::from_secs(3));
    let error = add(&mut stranger, 0, 1).expect_err("another cluster");
    assert!(format!("{error:?}").contains("Cluster"), "{error:?}");
    assert_eq!(
        add(&mut cluster.client(), 0, 5).expect("its own client is served"),
        5
    );
}

fn a_peer_of_another_layout_is_not_let_in(io: Io) {
    let mut cluster = Cluster::new(io, 3, 1, 1);
    let mut other = cluster.layout.clone();
    other.groups = 2;
    std::fs::remove_dir_all(cluster.dir(3)).expect("ours");
    format(
        &cluster.dir(3),
        &FormatOptions {
            layout: other,
            node: 3,
            prewrite_bytes: 0,
        },
    )
    .expect("empty again");
    cluster.start_all();
    let mut client = cluster.client();
    assert_eq!(add(&mut client, 0, 5).expect("two of three agree"), 5);
    let stray = client
        .read_local(NodeId(3), GroupId(0), READ, Vec::new())
        .expect("it answers for itself");
    assert_eq!(number(&stray), 0, "nothing was replicated to it");
}

fn a_folder_of_a_newer_format_is_refused(io: Io) {
    let mut cluster = Cluster::new(io, 1, 1, 1);
    let path = cluster.dir(1).join("quorate.toml");
    let text = std::fs::read_to_string(&path).expect("the description");
    let newer = text.replacen("format 1", "format 2", 1);
    assert_ne!(text, newer, "the description names its format");
    std::fs::write(&path, newer).expect("ours");
    let started = cluster.start(1);
    assert!(
        matches!(started, Err(EngineError::FolderNewer { found: 2, .. })),
        "{started:?}"
    );
}

macro_rules! on_both_drivers {
    ($($name:ident)*) => {
        mod glommio {
            $(#[test] fn $name() { super::$name(engine::Io::Glommio); })*
        }
        mod threads {
            $(#[test] fn $name() { super::$name(engine::Io::Threads); })*
        }
    };
}

on_both_drivers! {
    a_node_that_was_away_catches_up
    a_log_that_may_not_grow_says_storage_full
    a_client_of_another_cluster_is_refused_by_name
    a_peer_of_another_layout_is_not_let_in
    a_folder_of_a_newer_format_is_refused
}

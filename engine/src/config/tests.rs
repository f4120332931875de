//! Layouts good and bad: each bad one is refused with the place and the reason.

use raft::ids::{GroupId, NodeId};

use super::size::ByteSize;
use super::{ConfigError, Io, Layout, Options, RULES};

const GOOD: &str = r#"
cluster = 7
cores = 2
groups = 5
segment = "8MiB"

[limits]
accounts_max = 1_000

[[node]]
id = 1
address = "127.0.0.1:7000"

[[node]]
id = 2
address = "127.0.0.1:7002"

[[node]]
id = 9
address = "[::1]:7000"
"#;

fn good() -> Layout {
    Layout::parse(GOOD).expect("the example is good")
}

fn refused(from: &str, to: &str) -> ConfigError {
    assert!(GOOD.contains(from), "{from:?} is in the example");
    Layout::parse(&GOOD.replacen(from, to, 1)).expect_err(to)
}

#[test]
fn a_layout_reads_back_as_it_was_written() {
    let layout = good();
    assert_eq!(layout.segment_bytes, 8 << 20);
    assert_eq!(layout.limits.accounts_max, 1000);
    assert_eq!(Layout::parse(&layout.to_toml()), Ok(layout));
}

#[test]
fn groups_spread_over_cores_and_leaders_over_nodes() {
    let layout = good();
    assert_eq!(layout.core_of(GroupId(3)), 1);
    assert_eq!(
        layout.groups_of(0).collect::<Vec<_>>(),
        [0, 2, 4].map(GroupId)
    );
    assert_eq!(layout.groups_of(1).collect::<Vec<_>>(), [1, 3].map(GroupId));
    assert_eq!(
        layout.ranks_of(GroupId(0)).collect::<Vec<_>>(),
        [1, 2, 9].map(NodeId)
    );
    assert_eq!(
        layout.ranks_of(GroupId(4)).collect::<Vec<_>>(),
        [2, 9, 1].map(NodeId)
    );
    let address = layout.address_of(NodeId(2), 1).expect("node 2 is there");
    assert_eq!(address.to_string(), "127.0.0.1:7003");
    assert_eq!(layout.address_of(NodeId(3), 0), None);
}

#[test]
fn the_digest_covers_what_replicas_must_agree_about() {
    let layout = good();
    let digest = layout.layout_digest();
    assert_eq!(digest, good().layout_digest());
    let changed = |change: fn(&mut Layout)| {
        let mut other = good();
        change(&mut other);
        other.layout_digest() != digest
    };
    assert!(changed(|layout| layout.cluster = 8));
    assert!(changed(|layout| layout.cores = 1));
    assert!(changed(|layout| layout.groups = 6));
    assert!(changed(|layout| layout.limits.transfers_max -= 1));
    assert!(changed(|layout| layout.nodes.swap(0, 1)));
    assert_eq!(layout.digest_under(RULES), digest);
    assert_ne!(layout.digest_under(RULES - 1), digest, "an older build");
    assert!(!changed(|layout| layout.segment_bytes *= 2));
    assert!(!changed(|layout| layout.nodes[0].address.set_port(9)));
}

#[test]
fn an_unknown_key_is_told_with_its_place_and_the_likely_meaning() {
    let expected = |key: &str, line, suggestion| ConfigError::UnknownKey {
        key: key.to_owned(),
        line,
        column: 1,
        suggestion,
    };
    assert_eq!(
        refused("groups", "gruops"),
        expected("gruops", 4, Some("groups"))
    );
    assert_eq!(
        refused("accounts_max", "account_max"),
        expected("account_max", 8, Some("accounts_max"))
    );
    assert_eq!(
        refused("address", "adress"),
        expected("adress", 12, Some("address"))
    );
    assert_eq!(
        refused("[limits]", "colour = 1\n[limits]"),
        expected("colour", 7, None)
    );
}

#[test]
fn a_wrong_value_is_told_with_its_place() {
    let place = |error: ConfigError| match error {
        ConfigError::Syntax {
            line,
            column,
            message,
        } => (line, column, message),
        other => panic!("a syntax error was expected: {other:?}"),
    };
    assert_eq!(place(refused("cores = 2", "cores = \"two\"")).0, 3);
    assert_eq!(place(refused("cores = 2", "cores = ")).0, 3);
    assert_eq!(place(refused("cores = 2", "")).2, "missing field `cores`");
    let (line, column, message) = place(refused("8MiB", "8MoB"));
    assert_eq!((line, column), (5, 11));
    assert!(message.contains("unknown unit"), "{message}");
    assert_eq!(place(refused("127.0.0.1:7000", "localhost")).0, 12);
}

#[test]
fn a_layout_that_cannot_run_is_refused() {
    use ConfigError::{DuplicateNode, OutOfRange, PortOutOfRange, PortsOverlap, UnalignedSegment};
    let (min, max) = (1, 256);
    assert_eq!(
        refused("cores = 2", "cores = 0"),
        OutOfRange {
            what: "cores",
            value: 0,
            min,
            max
        }
    );
    assert!(matches!(
        refused("groups = 5", "groups = 0"),
        OutOfRange { what: "groups", .. }
    ));
    assert!(matches!(
        refused("8MiB", "1KiB"),
        OutOfRange {
            what: "segment",
            ..
        }
    ));
    assert_eq!(
        refused("8MiB", "8388609"),
        UnalignedSegment {
            bytes: 8_388_609,
            step: 4096
        }
    );
    assert_eq!(refused("id = 2", "id = 1"), DuplicateNode { id: 1 });
    assert!(matches!(
        refused("id = 2", "id = 0"),
        OutOfRange {
            what: "node id",
            ..
        }
    ));
    assert_eq!(
        refused(":7002", ":7001"),
        PortsOverlap {
            left: 1,
            right: 2,
            cores: 2
        }
    );
    assert_eq!(
        refused(":7002", ":65535"),
        PortOutOfRange {
            id: 2,
            port: 65535,
            cores: 2
        }
    );
    assert_eq!(
        refused(":7002", ":0"),
        PortOutOfRange {
            id: 2,
            port: 0,
            cores: 2
        }
    );
}

#[test]
fn options_are_read_and_checked_against_the_layout() {
    let options = Options::parse(
        "io = \"threads\"\ncpus = [0, 1]\nlog_max = \"1GiB\"\nimage_after = \"64MiB\"\n",
    )
    .expect("good options");
    assert_eq!(options.io, Io::Threads);
    assert_eq!(options.check(&good()), Ok(()));
    assert_eq!(options.log_bytes_max, ByteSize(1 << 30));
    assert_eq!(options.image_after_bytes, ByteSize(64 << 20));
    let tiny = Options {
        log_bytes_max: ByteSize(1 << 20),
        ..Options::default()
    };
    assert!(matches!(
        tiny.check(&good()),
        Err(ConfigError::OutOfRange {
            what: "log_max",
            ..
        })
    ));
    let one = Options {
        cpus: Some(vec![0]),
        ..Options::default()
    };
    assert_eq!(
        one.check(&good()),
        Err(ConfigError::CpusMismatch { cpus: 1, cores: 2 })
    );
    let unsealed = Options {
        image_after_bytes: ByteSize(0),
        history: Some(crate::history::HistoryOptions::default()),
        ..Options::default()
    };
    assert_eq!(
        unsealed.check(&good()),
        Err(ConfigError::HistoryWithoutImages)
    );
    assert!(matches!(
        Options::parse("iO = \"threads\""),
        Err(ConfigError::UnknownKey {
            suggestion: Some("io"),
            ..
        })
    ));
    assert!(matches!(
        Options::parse("io = \"epoll\""),
        Err(ConfigError::Syntax { line: 1, .. })
    ));
}

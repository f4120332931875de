//! What the kernel's network can do for tests and for encryption, and whether the peers can be reached.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use net::client::{ClientConnection, ClientError, ClientOptions};
use net::inspect::{InspectHead, Topic};
use net::refusal::Refusal;
use net::session::SessionError;
use serde::Deserialize;
use socket2::SockRef;

use super::check::Check;
use super::kernel;
use super::time::{now_nanos, wall_nanos};
use crate::catalogue::cluster;
use crate::quantity::display_nanos;

/// Connections made to a peer; the quickest is its round trip.
const TRIES: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(2);
/// A round trip above this makes a quorum over the peers slow within one region.
const ROUND_TRIP_NANOS_WISHED: u64 = 10_000_000;
/// What an Ethernet of 1,500 bytes leaves, with options and a common tunnel.
const SEGMENT_BYTES_WISHED: u32 = 1_300;
/// Clocks that a time service keeps are within a few milliseconds of each other.
const CLOCKS_APART_NANOS_WISHED: u64 = 50_000_000;
const PEER: &str = "peer";

pub(super) fn examine(peers: &[SocketAddr], cluster: Option<u64>) -> Vec<Check> {
    let protocols = kernel::read("/proc/sys/net/ipv4/tcp_available_ulp");
    let mut checks = vec![
        judge_delays(has_netem()),
        judge_offload(protocols.as_deref()),
    ];
    checks.extend(
        peers
            .iter()
            .map(|peer| judge_peer(*peer, &visit(*peer, cluster))),
    );
    checks
}

/// Whether the kernel can delay packets; `None` where it tells nobody how it was built.
fn has_netem() -> Option<bool> {
    if Path::new("/proc/config.gz").exists() {
        let mut command = Command::new("zcat");
        let output = command
            .arg("/proc/config.gz")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let config = String::from_utf8_lossy(&output.stdout).into_owned();
        return output
            .status
            .success()
            .then(|| is_configured(&config, "CONFIG_NET_SCH_NETEM"));
    }
    let release = kernel::read("/proc/sys/kernel/osrelease")?;
    let modules = kernel::read(format!("/lib/modules/{release}/modules.dep"))?;
    let builtin =
        kernel::read(format!("/lib/modules/{release}/modules.builtin")).unwrap_or_default();
    Some(modules.contains("/sch_netem.ko") || builtin.contains("/sch_netem.ko"))
}

fn is_configured(config: &str, name: &str) -> bool {
    config
        .lines()
        .any(|line| line == format!("{name}=y") || line == format!("{name}=m"))
}

fn judge_delays(has_netem: Option<bool>) -> Check {
    const NAME: &str = "simulated links";
    match has_netem {
        Some(true) => Check::ok(
            NAME,
            "tc netem can delay and drop packets between real hosts",
        ),
        Some(false) => Check::info(
            NAME,
            "no netem in this kernel: the simulator has delays of its own (cargo run --release -p sim)",
        ),
        None => Check::info(NAME, "the kernel does not tell whether it has netem"),
    }
}

fn judge_offload(protocols: Option<&str>) -> Check {
    const NAME: &str = "kernel TLS";
    let has_tls = protocols.is_some_and(|list| list.split_whitespace().any(|name| name == "tls"));
    if has_tls {
        Check::ok(NAME, "the kernel can encrypt connections")
    } else {
        Check::info(NAME, "not offered; nothing here needs it")
    }
}

/// The way to a peer.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// The quickest connection took so long.
    round_trip_nanos: u64,
    /// Bytes of a TCP segment, what the path takes whole less 40 to 60 of headers.
    segment_bytes: u32,
}

/// What a node says of itself.
#[derive(Clone, Debug)]
struct Greeting {
    node: u32,
    version: String,
    /// Its wall clock less this machine's, give or take half a round trip.
    ahead_nanos: i64,
}

/// What a peer answered.
#[derive(Debug)]
enum Visit {
    /// Nobody answered the connection.
    Closed(io::Error),
    /// Connections are accepted; the handshake was not asked for.
    Open(Link),
    /// A node of the cluster answered.
    Node(Link, Greeting),
    /// Somebody answered, and not as a node of the cluster does.
    Stranger(ClientError),
}

fn visit(peer: SocketAddr, cluster: Option<u64>) -> Visit {
    let mut link = Link {
        round_trip_nanos: u64::MAX,
        segment_bytes: 0,
    };
    for _ in 0..TRIES {
        let before = now_nanos();
        let connected = TcpStream::connect_timeout(&peer, TIMEOUT);
        let elapsed = now_nanos() - before;
        let measured = connected.and_then(|stream| SockRef::from(&stream).tcp_mss());
        match measured {
            Ok(bytes) => {
                link.round_trip_nanos = link.round_trip_nanos.min(elapsed);
                link.segment_bytes = bytes;
            }
            Err(error) => return Visit::Closed(error),
        }
    }
    let Some(cluster) = cluster else {
        return Visit::Open(link);
    };
    let options = ClientOptions {
        timeout: TIMEOUT,
        clock: now_nanos,
        ..ClientOptions::new(cluster)
    };
    match ClientConnection::connect_with(peer, options) {
        Ok(connection) => {
            greet(connection).map_or_else(Visit::Stranger, |greeting| Visit::Node(link, greeting))
        }
        Err(error) => Visit::Stranger(error),
    }
}

/// Asks a node for its status, with no group in it, and compares clocks.
fn greet(mut connection: ClientConnection) -> Result<Greeting, ClientError> {
    let before = wall_nanos();
    connection.ask(&InspectHead {
        id: 1,
        topic: Topic::Status,
        argument: u64::MAX,
    })?;
    let report = connection.receive(TIMEOUT)?;
    let middle = before + (wall_nanos() - before) / 2;
    let said: Said = serde_json::from_slice(&report.bulk).unwrap_or_default();
    Ok(Greeting {
        node: connection.welcome().node,
        ahead_nanos: said
            .wall_ns
            .map_or(0, |wall| wall.wrapping_sub(middle).cast_signed()),
        version: said.version.unwrap_or_else(|| "unknown".to_owned()),
    })
}

/// The part of a status that is compared.
#[derive(Default, Deserialize)]
struct Said {
    version: Option<String>,
    wall_ns: Option<u64>,
}

fn judge_link(link: Link, who: String) -> Check {
    let (nanos, bytes) = (link.round_trip_nanos, link.segment_bytes);
    let seen = format!(
        "{who}, round trip {}, segments of {bytes} bytes",
        display_nanos(nanos)
    );
    if nanos > ROUND_TRIP_NANOS_WISHED {
        Check::warn(PEER, seen)
            .because("every commit waits for a round trip to a quorum")
            .fix(["# keep the members of a group in one region, or expect its latency"])
    } else if bytes < SEGMENT_BYTES_WISHED {
        Check::warn(PEER, seen)
            .because("a tunnel or a link with a small MTU is on the way: more packets, more interruptions for each batch")
            .fix([format!("tracepath {}", who.split(' ').next().unwrap_or_default())])
    } else {
        Check::ok(PEER, seen)
    }
}

fn judge_peer(peer: SocketAddr, visit: &Visit) -> Check {
    const NAME: &str = PEER;
    match visit {
        Visit::Open(link) => judge_link(*link, format!("{peer} accepts connections")),
        Visit::Node(link, greeting) => {
            let node = greeting.node;
            let apart = greeting.ahead_nanos;
            let clock = match display_nanos(apart.unsigned_abs()) {
                by if apart < 0 => format!("clock {by} behind"),
                by => format!("clock {by} ahead"),
            };
            let version = &greeting.version;
            let seen = format!("{peer} is node {node} of the cluster, version {version}, {clock}");
            if version != env!("CARGO_PKG_VERSION") {
                Check::warn(NAME, seen)
                    .because("the node runs another version than this tool")
                    .fix(["# bring all nodes to one version, one after the other"])
            } else if apart.unsigned_abs() > CLOCKS_APART_NANOS_WISHED {
                Check::warn(NAME, seen)
                    .because("timestamps of transfers come from the leader's clock and jump when leadership moves")
                    .fix(["sudo systemctl enable --now systemd-timesyncd"])
            } else {
                judge_link(*link, seen)
            }
        }
        Visit::Closed(error) => Check::fatal(NAME, format!("{peer} cannot be reached"))
            .because(error.to_string())
            .fix(
                cluster::NOBODY_ANSWERS
                    .fix
                    .iter()
                    .map(|line| format!("# {line}")),
            )
            .code(&cluster::NOBODY_ANSWERS),
        Visit::Stranger(error) => {
            let entry = match error {
                ClientError::Session(SessionError::ToldOff(Refusal::WrongCluster(_))) => {
                    &cluster::WRONG_CLUSTER
                }
                ClientError::Session(SessionError::ToldOff(_) | SessionError::Unfit(_)) => {
                    &cluster::WRONG_VERSION
                }
                _ => &cluster::NOBODY_ANSWERS,
            };
            Check::fatal(
                NAME,
                format!("{peer} answers, but not as a node of this cluster"),
            )
            .because(error.to_string())
            .fix(entry.fix.iter().map(|line| format!("# {line}")))
            .code(entry)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::{Verdict, assert_verdict};

    #[test]
    fn what_the_kernel_lacks_for_tests_is_told_and_no_reason_to_stop() {
        assert_verdict(&judge_delays(Some(false)), Verdict::Info);
        assert_verdict(&judge_delays(Some(true)), Verdict::Ok);
        assert_verdict(&judge_delays(None), Verdict::Info);
        assert_verdict(&judge_offload(Some("espintcp mptcp")), Verdict::Info);
        assert_verdict(&judge_offload(Some("mptcp tls")), Verdict::Ok);
        assert!(is_configured("CONFIG_A=y\nCONFIG_B=m\n", "CONFIG_B"));
        assert!(!is_configured("# CONFIG_A is not set\n", "CONFIG_A"));
    }

    #[test]
    fn a_peer_that_is_away_far_or_of_another_cluster_is_told_by_cause() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4000));
        let check = |visit, verdict, code| {
            let check = judge_peer(peer, &visit);
            assert_verdict(&check, verdict);
            assert_eq!(check.code, code, "{check}");
        };
        let link = |round_trip_nanos, segment_bytes| Link {
            round_trip_nanos,
            segment_bytes,
        };
        let node = |version: &str, ahead_nanos| Greeting {
            node: 2,
            version: version.to_owned(),
            ahead_nanos,
        };
        let ours = env!("CARGO_PKG_VERSION");
        let near = link(90_000, 1448);
        check(Visit::Open(near), Verdict::Ok, None);
        check(Visit::Open(link(90_000, 536)), Verdict::Warn, None);
        check(Visit::Node(near, node(ours, 0)), Verdict::Ok, None);
        check(
            Visit::Node(near, node(ours, -90_000_000)),
            Verdict::Warn,
            None,
        );
        check(Visit::Node(near, node("9.9.9", 0)), Verdict::Warn, None);
        check(
            Visit::Node(link(70_000_000, 1448), node(ours, 0)),
            Verdict::Warn,
            None,
        );
        check(
            Visit::Closed(io::ErrorKind::ConnectionRefused.into()),
            Verdict::Fatal,
            Some("E4002"),
        );
        let told = |refusal| Visit::Stranger(SessionError::ToldOff(refusal).into());
        check(
            told(Refusal::WrongCluster(8)),
            Verdict::Fatal,
            Some("E4003"),
        );
        check(
            Visit::Stranger(ClientError::TimedOut),
            Verdict::Fatal,
            Some("E4002"),
        );
    }

    #[test]
    fn nobody_is_found_where_nobody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let peer = listener.local_addr().expect("it listens");
        assert!(matches!(visit(peer, None), Visit::Open(_)));
        drop(listener);
        assert!(matches!(visit(peer, None), Visit::Closed(_)));
    }
}

//! What groups cost that do nothing: three replicas as processes with a thousand groups, and the processor time they take.
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::process::{Command, Stdio};
use std::thread::park_timeout;
use std::time::Duration;

use bench::clock::Clock;
use bench::cluster::Cluster;
use bench::host::process_cpu_ns;
use bench::options::{Io, Options};

const CLUSTER: u64 = 1;
const GROUPS: u32 = 1000;
/// Leaderships move to the nodes that the layout prefers after an election.
const SETTLE: Duration = Duration::from_secs(12);
const WATCH: Duration = Duration::from_secs(20);
/// Attempts to find all groups led, half a second apart.
const ATTEMPTS: usize = 120;

fn main() {
    for io in [Io::Glommio, Io::Threads] {
        measure(io);
    }
}

fn measure(io: Io) {
    let program = env!("CARGO_BIN_EXE_quorate");
    let options = Options {
        groups: GROUPS,
        clients: GROUPS,
        io,
        program: Some(program.into()),
        preallocate: Some(0),
        reserve: Some(0),
        ..Options::default()
    };
    let cluster = Cluster::start(&options, CLUSTER).expect("three replicas start");
    let nodes = &cluster.target().nodes;
    let addresses: Vec<String> = nodes.iter().map(|node| node.base.to_string()).collect();
    let is_whole = || {
        let mut status = Command::new(program);
        status
            .args(["status", "--cluster", &CLUSTER.to_string()])
            .args(["--addresses", &addresses.join(",")])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        status.status().is_ok_and(|status| status.success())
    };
    let found = (0..ATTEMPTS).any(|_| {
        park_timeout(Duration::from_millis(500));
        is_whole()
    });
    assert!(found, "a minute was not enough to elect leaders");
    park_timeout(SETTLE);
    let spent = || -> u64 {
        let of_node = |pid| process_cpu_ns(pid).expect("it runs");
        nodes.iter().filter_map(|node| node.pid).map(of_node).sum()
    };
    let clock = Clock::start();
    let before = spent();
    park_timeout(WATCH);
    let (spent, elapsed) = (spent() - before, clock.now());
    assert!(is_whole(), "the groups are still led");
    println!(
        "{}: {GROUPS} idle groups, 3 replicas: {:.2} % of a core over all three, {:.1} ms in {:.1} s",
        io.as_str(),
        100.0 * spent as f64 / elapsed as f64,
        spent as f64 / 1e6,
        elapsed as f64 / 1e9,
    );
    cluster.stop().expect("they end in order");
}

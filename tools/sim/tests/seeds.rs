//! Seeds that must pass, and runs that must repeat event for event.

use sim::campaign::Campaign;
use sim::coverage::Point;
use sim::faults::Kind;
use sim::machine::Workload;
use sim::plan::{Asked, Planted};
use sim::report;
use sim::run;
use sim::topology::Topology;

pub(crate) fn asked(nodes: usize, seconds: u64) -> Asked {
    Asked {
        topology: Topology::one_site("test", nodes, 3),
        faulty_ns: seconds * 1_000_000_000,
        faults: Kind::of_settled_clusters(),
        cores: None,
        rate: Some(40),
        all_on: false,
        is_storm: false,
        is_restless: false,
        workload: Workload::Bank,
        keeps_history: false,
        only_faults: None,
        clients: None,
        requests_max: None,
        planted: Planted::default(),
    }
}

/// Runs a seed that must pass.
fn check(seed: u64, asked: &Asked) -> run::Outcome {
    let outcome = run::run(seed, asked);
    assert!(
        outcome.broken.is_none(),
        "{}",
        report::failure(&outcome, "sim")
    );
    outcome
}

#[test]
fn thirty_seeds_of_twenty_seconds_keep_all_promises() {
    for seed in 0..30 {
        let nodes = if seed % 3 == 0 { 3 } else { 5 };
        let numbers = check(seed, &asked(nodes, 17)).numbers;
        assert!(numbers.simulated_ns >= 20_000_000_000);
        assert!(numbers.answered > 20, "a run without answers shows nothing");
    }
}

#[test]
fn without_faults_everything_is_answered() {
    let mut asked = asked(5, 10);
    asked.faults.clear();
    let numbers = check(7, &asked).numbers;
    assert_eq!((numbers.refused, numbers.timeouts), (0, 0));
    assert!(numbers.faults.is_empty());
}

#[test]
fn storms_are_survived() {
    for seed in 0..8 {
        let mut asked = asked(3, 6);
        (asked.is_storm, asked.rate) = (true, Some(150));
        check(seed, &asked);
    }
}

/// A node that runs finds what rots in its log, asks its peers, and writes it again where it lies.
#[test]
fn what_rots_in_running_logs_is_repaired() {
    let (mut repaired, mut covered, mut struck) = (0, 0, 0);
    for seed in 0..8 {
        let mut asked = asked(3 + 2 * (seed as usize % 2), 10);
        asked.faults = vec![Kind::QuietRot, Kind::Power, Kind::Crash, Kind::Partition];
        asked.faults.truncate(1 + seed as usize % 4);
        (asked.all_on, asked.keeps_history) = (true, seed % 3 == 0);
        let outcome = check(seed, &asked);
        repaired += outcome.coverage.counts()["rot-repaired"];
        covered += outcome.coverage.counts()["rot-covered"];
        let rotted = outcome.numbers.faults.get(Kind::QuietRot.name());
        struck += rotted.copied().unwrap_or(0);
    }
    let told = format!("{repaired} repaired, {covered} covered of {struck}");
    assert!(repaired > struck / 4 && covered > 0, "{told}");
}

/// Nodes join, leave and replace each other under new ids, and groups move, in storms: whoever is in a group at the end holds
/// what it agreed on, and whoever left it came back with an old disk and did no harm.
#[test]
fn nodes_come_and_go_under_new_ids() {
    let mut redrawn = 0;
    for seed in 0..10 {
        let mut asked = asked(if seed % 2 == 0 { 3 } else { 5 }, 8);
        asked.faults = vec![
            Kind::AddNode,
            Kind::RemoveNode,
            Kind::ReplaceNode,
            Kind::MoveGroup,
            Kind::Power,
            Kind::Blackout,
            Kind::Partition,
            Kind::Mute,
        ];
        (asked.is_storm, asked.all_on, asked.rate) = (true, true, Some(60));
        redrawn += check(seed, &asked).numbers.redrawn;
    }
    assert!(redrawn > 20, "{redrawn} groups were given other voters");
}

/// Nodes are given a newer program one after the other: it reads the images of the older one, which refuses those of the newer
/// one and applies nothing of them.
#[test]
fn programs_are_exchanged_while_the_cluster_runs() {
    let (mut older, mut newer) = (0, 0);
    for seed in 0..12 {
        let mut asked = asked(if seed % 3 == 0 { 5 } else { 3 }, 16);
        asked.faults = vec![
            Kind::Upgrade,
            Kind::Power,
            Kind::Isolate,
            Kind::EmptyDisk,
            Kind::ReplaceNode,
        ];
        (asked.all_on, asked.rate) = (true, Some(60));
        let coverage = check(seed, &asked).coverage;
        older += coverage.count(Point::OlderImage);
        newer += coverage.count(Point::NewerImage);
    }
    assert!(older > 0 && newer > 0, "{older} read, {newer} refused");
}

#[test]
fn every_fault_strikes_alone_and_is_survived() {
    for (seed, kind) in (100..).zip(Kind::ALL) {
        // Three voters are the fewest: where nodes leave there are more.
        let mut asked = asked(if kind.is_of_nodes() { 5 } else { 3 }, 8);
        asked.faults = vec![*kind];
        // What finds nothing to strike in one run, such as too young a log, does in another.
        let strikes = |nth: u64| {
            let numbers = check(seed + 1000 * nth, &asked).numbers;
            numbers.faults.contains_key(kind.name())
        };
        assert!((0..4).any(strikes), "{} never struck", kind.name());
    }
}

/// Seeds that failed once, each with what was wrong.
#[test]
fn seeds_that_failed_once_keep_all_promises() {
    // A sector that could not be read for a while was repaired from peers, and then read again: recovery took the
    // entry's second copy for a committed entry that is overwritten, and the node did not start.
    let mut asked = asked(5, 15);
    asked.topology = Topology::one_site("five", 5, 4);
    asked.faults = vec![Kind::BadSector, Kind::Crash, Kind::Isolate];
    (asked.all_on, asked.rate) = (true, None);
    for seed in [0, 2, 3] {
        check(seed, &asked);
    }
    // A group's log was read anew at the start, met an entry that rot had taken or a sector that could not be read, and
    // the node did not start.
    let campaign = Campaign::new(None).expect("the built-in maps are sound");
    for seed in [91, 171, 205] {
        check(seed, campaign.of(seed));
    }
    // A follower asked a peer whose image was older than its own state, took its fetch for done, and passed over every
    // later offer of its leader.
    check(4261, campaign.of(4261));
}

/// Short, frequent losses of power over disks that stand still, with a core for each of three nodes.
fn storm() -> Asked {
    let mut asked = asked(3, 12);
    asked.topology = Topology::one_site("three", 3, 2);
    asked.faults = vec![Kind::Power, Kind::Blackout, Kind::StallDisk, Kind::SlowDisk];
    (asked.cores, asked.rate) = (Some(1), Some(400));
    (asked.all_on, asked.is_storm) = (true, true);
    asked
}

/// Entries that were never agreed stood in the log before a state that a peer sent, and were taken for agreed after the next
/// start.
#[test]
fn what_a_fetched_state_overtook_does_not_come_back() {
    for seed in [34, 51, 124, 168, 195, 198, 211, 295] {
        check(seed, &storm());
    }
}

/// A base that was late, since the disk stood still, settled the state it belonged to, and with it went the files of a newer
/// state that was being fetched: after the next start the replica lacked what it had acknowledged.
#[test]
fn a_late_base_takes_no_files_of_a_fetch() {
    for seed in [39, 142, 167, 256] {
        check(seed, &storm());
    }
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 5] {
        let asked = asked(5, 6);
        let (first, again) = (run::run(seed, &asked), run::run(seed, &asked));
        assert_eq!(
            first.numbers.trace_hash, again.numbers.trace_hash,
            "seed {seed}"
        );
        let other = run::run(seed + 1, &asked);
        assert_ne!(
            first.numbers.trace_hash, other.numbers.trace_hash,
            "seed {seed}"
        );
    }
}

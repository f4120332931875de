//! A cluster for the tests in other languages: starts it, says where it is, and obeys one-word orders on standard input.
//!
//! `cluster REPLICAS GROUPS`. First line out: the doors' addresses. Orders: `leader` (answers its place), `kill N`,
//! `start N`. The end of standard input is the end of the cluster.

use std::io::{BufRead, Write};

use official::{Cluster, Plan};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|word| word.parse::<usize>().ok());
    let (replicas, groups) = (number().unwrap_or(1), number().unwrap_or(1));
    let mut cluster = Cluster::start(Plan {
        groups: groups as u64,
        ..Plan::new(replicas)
    });
    say(&cluster.addresses());
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("orders are text");
        let (order, place) = line.split_once(' ').unwrap_or((&line, "0"));
        let place: usize = place.trim().parse().expect("a place is a number");
        match order.trim() {
            "leader" => say(&cluster.leader().to_string()),
            "kill" => {
                cluster.kill(place);
                say("killed");
            }
            "start" => {
                cluster.start_node(place);
                say("started");
            }
            other => panic!("no such order: {other}"),
        }
    }
}

fn say(words: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{words}").expect("somebody listens");
    out.flush().expect("somebody listens");
}

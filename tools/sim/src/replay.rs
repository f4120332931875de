//! The one command that asks for a run again.

use std::fmt::{Display, Write};

use crate::arguments::Arguments;
use crate::faults::Kind;
use crate::machine::Workload;
use crate::plan::Asked;

/// The command that asks for this, without a seed.
#[must_use]
pub fn command(asked: &Asked, arguments: &Arguments) -> String {
    if arguments.campaign {
        return "cargo run --release -p sim -- --campaign".to_owned();
    }
    let build = if arguments.plant.is_some() {
        "--profile exam --features mutants"
    } else {
        "--release"
    };
    let mut words = format!("cargo run {build} -p sim --");
    world(&mut words, asked, arguments);
    let numbers = [
        ("cores", asked.cores.map(u64::from)),
        ("rate", asked.rate),
        ("clients", asked.clients.map(|clients| clients as u64)),
        ("requests", asked.requests_max),
    ];
    for (flag, number) in numbers {
        if let Some(number) = number {
            word(&mut words, flag, &number);
        }
    }
    if let Some(only) = &asked.only_faults {
        let numbers = only.iter().map(u64::to_string).collect();
        word(&mut words, "only-faults", &list(numbers));
    }
    if let Some(name) = &arguments.plant {
        word(&mut words, "plant", name);
    }
    let switches = [
        ("all-on", asked.all_on),
        ("storm", asked.is_storm),
        ("restless", asked.is_restless),
    ];
    for (flag, _) in switches.iter().filter(|(_, is_on)| *is_on) {
        let _ = write!(words, " --{flag}");
    }
    words
}

/// Where it happens, for how long, and what goes wrong.
fn world(words: &mut String, asked: &Asked, arguments: &Arguments) {
    let is_three = asked.topology.sites.len() == 1 && asked.topology.nodes() == 3;
    let name = if is_three {
        "three"
    } else {
        &arguments.topology
    };
    word(words, "topology", &name);
    word(words, "minutes", &(asked.faulty_ns as f64 / 60e9));
    word(words, "groups", &asked.topology.clusters[0].groups);
    if asked.workload != Workload::Bank {
        let name = format!("{:?}", asked.workload).to_lowercase();
        word(words, "workload", &name);
    }
    if asked.faults == Kind::of_settled_clusters() {
        word(words, "faults", &"settled");
    } else if asked.faults != Kind::ALL {
        let names = asked.faults.iter().map(|kind| kind.name().to_owned());
        word(words, "faults", &list(names.collect()));
    }
    if let Some(folder) = &arguments.rtt {
        word(words, "rtt", &folder.display());
    }
}

fn word(words: &mut String, flag: &str, value: &dyn Display) {
    let _ = write!(words, " --{flag} {value}");
}

fn list(items: Vec<String>) -> String {
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(",")
    }
}

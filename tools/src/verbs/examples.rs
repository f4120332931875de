//! `quorate examples`: worked examples, built into the binary so that they fit its version.

use clap::Args;
use serde::Serialize;

use crate::answer::{self, Answer, SCHEMA_VERSION};
use crate::arguments::Output;
use crate::catalogue::usage;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  quorate examples
  quorate examples cluster";

/// Flags of `quorate examples`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// One topic [default: all]
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
}

/// Worked examples on one question.
#[derive(Debug, Serialize)]
struct Topic {
    name: &'static str,
    question: &'static str,
    text: &'static str,
}

static TOPICS: [Topic; 7] = [
    Topic {
        name: "bench",
        question: "How fast is it here?",
        text: "\
# Three replicas on this machine, ten seconds, proven and reported.
quorate bench

# One replica, small batches from many sessions.
quorate bench --replicas 1 --clients 64 --batch 1

# Latency at a given load, as JSON for a script.
quorate bench --rate 200000 --batch 512 --clients 16 --output json
",
    },
    Topic {
        name: "machine",
        question: "Is this machine fit for it?",
        text: "\
# What helps, what hinders, what to do.
quorate doctor --data-dir /var/lib/quorate

# The commands that would help, to read before running any of them.
quorate doctor --data-dir /var/lib/quorate --fix
",
    },
    Topic {
        name: "cluster",
        question: "How do three nodes become a cluster?",
        text: "\
# On each of three machines, with its own --node:
quorate format --data-dir /var/lib/quorate --cluster 7 --node 1 --nodes 1=10.0.0.1:4000,2=10.0.0.2:4000,3=10.0.0.3:4000

# Then, on each:
quorate start --data-dir /var/lib/quorate

# From anywhere that reaches them:
quorate status --cluster 7 --addresses 10.0.0.1:4000,10.0.0.2:4000,10.0.0.3:4000
",
    },
    Topic {
        name: "clients",
        question: "How do my TigerBeetle clients talk to it?",
        text: "\
# On each node a door for them; the port is the node's own.
quorate start --data-dir /var/lib/quorate --tigerbeetle 127.0.0.1:3000

# In the client: the cluster's number, and the doors of all nodes in the order of the layout.
#   Python    tb.ClientSync(cluster_id=7, replica_addresses=\"127.0.0.1:3000\")
#   Node      createClient({ cluster_id: 7n, replica_addresses: [\"127.0.0.1:3000\"] })
#   Rust      tb::Client::new(7, \"127.0.0.1:3000\")
",
    },
    Topic {
        name: "history",
        question: "Where do old entries go, and how do I read them?",
        text: "\
# Keep what the log gives up, and give it to an object store. Every node of the cluster is told the same.
quorate start --data-dir /var/lib/quorate --cold s3://ledger/eu?region=eu-central-1

# A hundred entries of group 0, however old they are.
quorate history --cluster 7 --addresses 10.0.0.1:4000,10.0.0.2:4000,10.0.0.3:4000 --from 120000

# Is all that was stored there, and whole?
quorate cold verify --cold s3://ledger/eu?region=eu-central-1
",
    },
    Topic {
        name: "containers",
        question: "What if io_uring is barred?",
        text: "\
# Says whether a kernel setting, a seccomp filter or the kernel itself is in the way.
quorate doctor --io glommio

# The portable driver needs no io_uring: same files, same guarantees.
quorate start --data-dir /data --io threads
",
    },
    Topic {
        name: "trouble",
        question: "What do I do when something is wrong?",
        text: "\
# Every error has a code; the explanation is in the binary.
quorate explain E2104

# With the node stopped: what is in its folder, and is it intact?
quorate inspect --data-dir /var/lib/quorate
",
    },
];

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let topics: Vec<&Topic> = match &arguments.topic {
        None => TOPICS.iter().collect(),
        Some(name) => vec![
            TOPICS
                .iter()
                .find(|topic| topic.name == name)
                .ok_or_else(|| unknown(name))?,
        ],
    };
    let text = match output {
        Output::Json => answer::to_json(&Document {
            schema_version: SCHEMA_VERSION,
            topics,
        }),
        Output::Text => topics
            .into_iter()
            .map(describe)
            .collect::<Vec<_>>()
            .join("\n"),
    };
    Ok(Answer::done(text))
}

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    topics: Vec<&'a Topic>,
}

fn describe(topic: &Topic) -> String {
    let lines: String = topic
        .text
        .lines()
        .map(|line| {
            if line.is_empty() {
                "\n".to_owned()
            } else {
                format!("  {line}\n")
            }
        })
        .collect();
    format!("{}: {}\n\n{lines}", topic.name, topic.question)
}

fn unknown(name: &str) -> Failure {
    let names: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
    let fix = vec![format!("choose one of: {}", names.join(", "))];
    Failure::new(
        &usage::UNKNOWN_TOPIC,
        format!("there is no topic `{name}`"),
        "quorate examples",
    )
    .with_fix(fix)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::arguments::{Cli, Reading};

    #[test]
    fn every_example_is_a_line_that_the_binary_understands() {
        for topic in &TOPICS {
            let commands: Vec<&str> = topic
                .text
                .lines()
                .filter(|line| line.starts_with("quorate "))
                .collect();
            assert!(!commands.is_empty(), "{} shows nothing", topic.name);
            for command in commands {
                let line = command.split_whitespace().map(OsString::from);
                assert!(matches!(Cli::read(line), Reading::Verb(_)), "{command}");
            }
        }
    }

    #[test]
    fn an_unknown_topic_is_refused_with_the_known_ones() {
        let asked = Arguments {
            topic: Some("cooking".to_owned()),
        };
        let failure = run(&asked, Output::Text)
            .expect_err("no such topic")
            .to_string();
        assert!(
            failure.starts_with("error[E1005]") && failure.contains("cluster"),
            "{failure}"
        );
    }
}

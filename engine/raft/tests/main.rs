//! Tests of the core from outside: small worlds, scenarios, peers' data, models.

#![allow(
    clippy::print_stdout,
    reason = "what was run, and what does not apply, is part of the result"
)]

mod allocation;
mod bytes;
mod chaos;
mod cluster;
mod codec;
mod datadriven;
mod election;
mod etcd_spec;
mod etcd_trace;
mod freshness;
mod model;
mod peers;
mod peers_quorum;
mod peers_scenarios;
mod quorums;
mod scenarios;
mod schedule;
mod stranger;
mod strangers;
mod traces;

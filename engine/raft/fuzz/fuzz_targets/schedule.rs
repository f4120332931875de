//! Any bytes as a schedule of messages, faults and requests in a small group: safe, and it recovers.
#![no_main]

#[path = "../../tests/cluster.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod cluster;
#[path = "../../tests/schedule.rs"]
mod schedule;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| schedule::check_bytes(bytes));

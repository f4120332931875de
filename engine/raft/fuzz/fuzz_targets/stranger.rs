//! Any bytes as messages of strangers to one replica: it never panics.
#![no_main]

#[path = "../../tests/stranger.rs"]
mod stranger;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stranger::check(bytes));

//! Any bytes as a message or a configuration: one encoding or none.
#![no_main]

#[path = "../../tests/codec.rs"]
mod codec;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codec::check(bytes));

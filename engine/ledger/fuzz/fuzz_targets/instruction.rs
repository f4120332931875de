//! Any request: an answer or a refusal, no panic, and the books balance.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/hostile.rs"]
mod hostile;

fuzz_target!(|input: &[u8]| hostile::check_instruction(input));

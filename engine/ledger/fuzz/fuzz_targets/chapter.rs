//! A chapter with some bytes changed behind sound checksums: an error or a machine that works, no panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/hostile.rs"]
mod hostile;

fuzz_target!(|input: &[u8]| hostile::check_chapter(input));

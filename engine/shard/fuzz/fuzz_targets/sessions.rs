//! Any sessions of an image, cut anywhere.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    shard::hostile::check_sessions(bytes, usize::from(cut));
});

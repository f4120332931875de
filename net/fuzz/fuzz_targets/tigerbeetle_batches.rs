//! Any body as a list of batches: no panic, and what is accepted is written back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (half, body) = input;
    net::tigerbeetle::batches::check(body, 2 * (usize::from(half) + 1));
});

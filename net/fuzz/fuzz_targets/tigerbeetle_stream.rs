//! Any stream of bytes, cut anywhere: no panic, bounded memory, and what is accepted is written back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, stream) = input;
    net::tigerbeetle::reader::check(stream, usize::from(cut));
});

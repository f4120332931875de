//! Any bytes as an entry's head, a promise, a manifest behind its digest, and a packet with its bulk.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (bulk, bytes) = input;
    shard::hostile::check_record(bytes, bulk);
});

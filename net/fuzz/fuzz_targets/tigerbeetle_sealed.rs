//! The same behind right checksums, which chance does not find: what is fuzzed are the fields and the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use net::tigerbeetle::checksum::checksum;

fuzz_target!(|input: (u16, [u8; 256], &[u8])| {
    let (cut, mut header, body) = input;
    let size = (256 + body.len()) as u32;
    header[96..100].copy_from_slice(&size.to_le_bytes());
    header[32..48].copy_from_slice(&checksum(body).to_le_bytes());
    let sealed = checksum(&header[16..]);
    header[..16].copy_from_slice(&sealed.to_le_bytes());
    let stream = [&header[..], body].concat();
    net::tigerbeetle::reader::check(&stream, usize::from(cut));
});

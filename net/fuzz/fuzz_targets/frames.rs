//! Our own frames: any heads and envelopes, and streams whose header checksums are right, which chance does not find.

#![no_main]

use libfuzzer_sys::fuzz_target;
use net::checksum::crc;
use net::hostile;

/// Where a header says what it is, and where its own checksum stands.
const MAGIC: [u8; 4] = net::frame::MAGIC;
const HEADER_CRC_AT: usize = 60;

fuzz_target!(|input: (u16, [u8; 64], &[u8])| {
    let (cut, mut header, rest) = input;
    let _ = hostile::check_head(rest);
    let (head, bulk) = rest.split_at(rest.len().min(usize::from(cut)));
    let _ = hostile::check_envelope(head.to_vec().into(), bulk.to_vec().into());
    header[..4].copy_from_slice(&MAGIC);
    let sum = crc(&header[..HEADER_CRC_AT]);
    header[HEADER_CRC_AT..].copy_from_slice(&sum.to_le_bytes());
    hostile::check_stream(&[&header[..], rest].concat(), usize::from(cut));
});

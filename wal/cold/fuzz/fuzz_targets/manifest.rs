//! Any bytes as a manifest's edit and snapshot, as they are and behind the right hash: no panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, u64, u64, &[u8])| {
    let (resealed, group, number, bytes) = input;
    let mut bytes = bytes.to_vec();
    if resealed {
        cold::check::reseal_text(&mut bytes);
    }
    cold::check::manifest(&bytes, group, number);
});

//! Any bytes as a sealed segment, as they are and behind right checksums: no panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, &[u8])| {
    let (resealed, bytes) = input;
    let mut bytes = bytes.to_vec();
    if resealed {
        sealed::check::reseal_segment(&mut bytes);
    }
    sealed::check::segment(&bytes);
});

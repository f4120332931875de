//! Any bytes as an object, in the clear and encrypted, as they are and behind right checksums: no panic.

#![no_main]

use cold::key::DataKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, bool, u16, &[u8])| {
    let (resealed, is_secret, piece, bytes) = input;
    let mut bytes = bytes.to_vec();
    if resealed {
        cold::check::reseal_object(&mut bytes);
    }
    let key = DataKey([0x5a; 32]);
    cold::check::object(&bytes, piece.into(), is_secret.then_some(&key));
});

//! The protocol's checksum: the tag of AEGIS-128L over the bytes as associated data, with key and nonce zero.
//!
//! - A checksum, not a signature: whoever can write can also compute it.

use aegis::aegis128l::Aegis128L;

/// The checksum of no bytes at all; every header without a body carries it.
pub const OF_NOTHING: u128 = 0x49F1_7461_8255_402D_E6E7_E3C4_0D60_CC83;

/// The checksum of some bytes. About 10 GB/s with AES instructions.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u128 {
    let cipher = Aegis128L::<16>::new(&[0; 16], &[0; 16]);
    u128::from_le_bytes(cipher.encrypt_in_place(&mut [], bytes))
}

#[cfg(test)]
mod tests {
    use super::{OF_NOTHING, checksum};

    #[test]
    fn the_checksum_of_nothing_is_the_protocols() {
        assert_eq!(checksum(&[]), OF_NOTHING, "{:x}", checksum(&[]));
    }

    #[test]
    fn one_bit_changes_it() {
        let mut bytes = [7; 300];
        let before = checksum(&bytes);
        bytes[299] ^= 1;
        assert_ne!(checksum(&bytes), before);
    }
}

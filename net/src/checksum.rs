//! Checksums of payloads that come in pieces: computed once where a piece is made, combined where pieces meet.
//!
//! - The function is CRC-32 (IEEE 802.3, reflected), as in Ethernet, zip and the log.
//! - A long piece whose checksum is known is never read again to frame it.

use crc32fast::Hasher;

use crate::limits::COMBINE_BYTES_MIN;

/// CRC-32 (IEEE) of `bytes`.
pub fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// The checksum of a growing sequence of pieces.
#[derive(Clone, Debug, Default)]
pub struct Checksum {
    hasher: Hasher,
}

impl Checksum {
    /// The checksum of nothing.
    pub fn new() -> Checksum {
        Checksum::default()
    }

    /// Appends bytes whose checksum is not known.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Appends a piece whose checksum is known. The caller vouches that `crc` is the piece's; a wrong one
    /// makes a frame that the receiver refuses.
    pub fn append(&mut self, piece: &[u8], crc: u32) {
        debug_assert_eq!(
            crc32fast::hash(piece),
            crc,
            "the checksum of a piece is not the piece's"
        );
        if self.hasher.total_len() == 0 {
            self.hasher = Hasher::new_with_initial_len(crc, piece.len() as u64);
        } else if piece.len() < COMBINE_BYTES_MIN {
            self.hasher.update(piece);
        } else {
            self.hasher
                .combine(&Hasher::new_with_initial_len(crc, piece.len() as u64));
        }
    }

    /// Bytes seen so far.
    pub fn len(&self) -> u64 {
        self.hasher.total_len()
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The CRC-32 of all pieces in order.
    pub fn value(&self) -> u32 {
        self.hasher.clone().finalize()
    }
}

/// CRC-32 of pieces in order, each with its own known checksum, without a second pass over the long ones.
pub fn crc_of_parts<'a>(parts: impl IntoIterator<Item = (&'a [u8], u32)>) -> u32 {
    let mut checksum = Checksum::new();
    for (piece, crc) in parts {
        checksum.append(piece, crc);
    }
    checksum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_is_the_ieee_one() {
        assert_eq!(crc(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn combined_is_the_same_as_hashed_in_one_pass() {
        let whole: Vec<u8> = (0..100_000u32).map(|i| (i * 7 % 251) as u8).collect();
        for cuts in [
            vec![],
            vec![0],
            vec![1],
            vec![COMBINE_BYTES_MIN],
            vec![COMBINE_BYTES_MIN - 1, COMBINE_BYTES_MIN],
            vec![100, 20_000, 20_000, 60_001, 99_999],
        ] {
            let mut parts = Vec::new();
            let mut from = 0;
            for to in cuts.iter().copied().chain([whole.len()]) {
                parts.push((&whole[from..to], crc(&whole[from..to])));
                from = to;
            }
            assert_eq!(crc_of_parts(parts), crc(&whole), "cuts {cuts:?}");
        }
        assert_eq!(crc_of_parts([]), crc(b""));
    }
}

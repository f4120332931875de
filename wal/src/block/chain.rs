//! The CRC-32 over the records' `header_crc` words in order: what a block says its records were.
//!
//! Hot: words are gathered before they are hashed, since a call for four bytes costs as much as one for many.

use crc32fast::Hasher;

/// Bytes hashed at once.
const GATHERED_BYTES: usize = 64;

/// The words so far.
#[derive(Clone)]
pub(crate) struct Chain {
    hasher: Hasher,
    gathered: [u8; GATHERED_BYTES],
    bytes: usize,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self {
            hasher: Hasher::new(),
            gathered: [0; GATHERED_BYTES],
            bytes: 0,
        }
    }

    /// The next record's word.
    #[inline]
    pub(crate) fn add(&mut self, header_crc: u32) {
        self.gathered[self.bytes..self.bytes + 4].copy_from_slice(&header_crc.to_le_bytes());
        self.bytes += 4;
        if self.bytes == GATHERED_BYTES {
            self.hasher.update(&self.gathered);
            self.bytes = 0;
        }
    }

    /// The checksum over all of them.
    pub(crate) fn finalize(mut self) -> u32 {
        self.hasher.update(&self.gathered[..self.bytes]);
        self.hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathered_words_hash_as_one_stream() {
        let mut chain = Chain::new();
        let mut stream = Vec::new();
        for word in 0..100_u32 {
            assert_eq!(chain.clone().finalize(), crc32fast::hash(&stream), "{word}");
            let word = word.wrapping_mul(0x9E37_79B9);
            chain.add(word);
            stream.extend_from_slice(&word.to_le_bytes());
        }
    }
}

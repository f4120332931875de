//! Compression of a frame's bulk, where both ends agreed on it: one LZ4 block, with a bound on what it unpacks to.
//!
//! - Bulk is sent packed only where that is smaller.
//! - Unpacking writes into a buffer of the announced length, checked against the limits before; never beyond it.
//!
//! Meant for long links. Off unless the handshake agrees: on a fast one it costs more than it saves.

use bytes::Bytes;
use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use crate::frame::FrameError;

/// Packs bulk; keeps its tables and scratch between frames. One per connection that compresses.
pub struct Packer {
    table: CompressTable,
    joined: Vec<u8>,
    packed: Vec<u8>,
}

impl Default for Packer {
    fn default() -> Packer {
        Packer {
            table: CompressTable::large(),
            joined: Vec::new(),
            packed: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Packer {
    /// The pieces in order as one packed block; `None` where it would not be shorter.
    pub fn pack(&mut self, pieces: &[Bytes]) -> Option<Bytes> {
        let raw: &[u8] = match pieces {
            [only] => only,
            _ => {
                self.joined.clear();
                for piece in pieces {
                    self.joined.extend_from_slice(piece);
                }
                &self.joined
            }
        };
        let most = get_maximum_output_size(raw.len());
        if self.packed.len() < most {
            self.packed.resize(most, 0);
        }
        let packed_len = compress_into_with_table(raw, &mut self.packed, &mut self.table)
            .expect("the output has room for the worst case");
        (packed_len < raw.len()).then(|| Bytes::copy_from_slice(&self.packed[..packed_len]))
    }
}

/// Unpacks a block that must fill `raw` exactly.
pub fn unpack(packed: &[u8], raw: &mut [u8]) -> Result<(), FrameError> {
    match decompress_into(packed, raw) {
        Ok(len) if len == raw.len() => Ok(()),
        Ok(_) | Err(_) => Err(FrameError::Unpack),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_bounds() {
        let mut packer = Packer::default();
        let pieces = [Bytes::from(vec![7; 5000]), Bytes::from(vec![9; 70_000])];
        let packed = packer.pack(&pieces).expect("runs shrink");
        let mut raw = vec![0; 75_000];
        assert_eq!(unpack(&packed, &mut raw), Ok(()));
        assert_eq!(raw, pieces.concat());
        assert_eq!(unpack(&packed, &mut raw[..74_999]), Err(FrameError::Unpack));
        assert_eq!(
            unpack(&packed, &mut vec![0; 75_001]),
            Err(FrameError::Unpack)
        );
        assert_eq!(
            unpack(&packed[..packed.len() - 1], &mut raw),
            Err(FrameError::Unpack)
        );
        let mut state = 1u64;
        let mut byte = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        let noise: Vec<u8> = (0..4096).map(|_| byte()).collect();
        assert!(
            packer.pack(&[Bytes::from(noise)]).is_none(),
            "noise does not shrink"
        );
    }
}

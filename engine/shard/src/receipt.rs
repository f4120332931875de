//! Receipts: what a group's log says is in the object store.
//!
//! A receipt is the payload of an entry of kind 3, little-endian:
//!
//! ```text
//!  0  u64 since    everything from here to `last` is in the store      24  u64 bytes   of that file
//!  8  u64 first    of the file that this receipt is for                32  u64 number  of the manifest that names it
//! 16  u64 last                                                         40  u64 zero    48  32 B  BLAKE3 of the file
//! ```

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What the store holds, read back and named by its manifest.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Receipt {
    since: U64,
    first: U64,
    last: U64,
    bytes: U64,
    number: U64,
    zero: U64,
    hash: [u8; 32],
}

const _: () = assert!(size_of::<Receipt>() == 80, "as drawn");

impl Receipt {
    /// For the file `first..=last` of `bytes` bytes with this BLAKE3 hash, named by manifest `number`; everything from
    /// `since` on up to it is in the store too.
    #[must_use]
    pub fn new(
        since: u64,
        (first, last): (u64, u64),
        bytes: u64,
        number: u64,
        hash: [u8; 32],
    ) -> Self {
        Self {
            since: since.into(),
            first: first.into(),
            last: last.into(),
            bytes: bytes.into(),
            number: number.into(),
            zero: 0.into(),
            hash,
        }
    }

    /// Reads the payload of an entry; `None` when it is no receipt that could be right.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let receipt = Self::read_from_bytes(payload).ok()?;
        let (since, first, last) = (receipt.since.get(), receipt.first.get(), receipt.last.get());
        let is_sound = 0 < since && since <= first && first <= last && last < u64::MAX;
        (is_sound && receipt.zero.get() == 0).then_some(receipt)
    }

    /// Everything that it says is in the store: first and last entry.
    #[must_use]
    pub const fn stretch(&self) -> (u64, u64) {
        (self.since.get(), self.last.get())
    }
}

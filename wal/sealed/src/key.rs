//! The keys of an index run: whole numbers of 8 or 16 bytes, and their hash.
//!
//! - The hash is part of the format: it is the same on every machine, for ever.

mod private {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for u128 {}
}

/// A key of an index run: `u64` or `u128`.
pub trait Key: Copy + Ord + core::fmt::Debug + private::Sealed + 'static {
    /// Bytes of a key.
    const BYTES: usize;

    /// The key as the wider number.
    fn widen(self) -> u128;

    /// The key back from the wider number; bits above its width are dropped.
    fn narrow(wide: u128) -> Self;

    /// Sixty-four mixed bits of the key.
    fn hash(self) -> u64;
}

const K0: u64 = 0xA076_1D64_78BD_642F;
const K1: u64 = 0xE703_7ED1_A0B4_28DB;
const K2: u64 = 0x8EBC_6AF0_9C88_C6E3;

/// The 128-bit product of two words, its halves laid over each other.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Key for u64 {
    const BYTES: usize = 8;

    #[inline]
    fn widen(self) -> u128 {
        u128::from(self)
    }

    #[inline]
    fn narrow(wide: u128) -> Self {
        wide as Self
    }

    #[inline]
    fn hash(self) -> u64 {
        u128::from(self).hash()
    }
}

impl Key for u128 {
    const BYTES: usize = 16;

    #[inline]
    fn widen(self) -> u128 {
        self
    }

    #[inline]
    fn narrow(wide: u128) -> Self {
        wide
    }

    #[inline]
    fn hash(self) -> u64 {
        let (low, high) = (self as u64, (self >> 64) as u64);
        fold(fold(low ^ K0, high ^ K1) ^ low.rotate_left(32), K2)
    }
}

//! A block of a run: sorted entries as differences from the block's least, all of one width.
//!
//! ```text
//!    0  keys     keys x key_width bytes: key - first_key       (from 64 in block 0, behind the header)
//!   ..  ends     keys x u16: number of the entry behind the key's last; left out when keys = count
//!   ..  values   count x value_width bytes: value - value_least
//!   ..  zeros
//! 4056  u128 first_key   4072  u64 value_least   4080  u16 count   4082  u16 keys
//! 4084  u8 key_width   4085  u8 value_width   4086  u16, u32 zeros
//! 4092  u32 crc of the 4,092 bytes before, started from the file's seed and the block's number
//! ```
//!
//! - Widths are the fewest bytes that hold the block's largest difference, so an entry is found by its number
//!   without decoding those before it.
//! - A key stands in a block once, however many values it has there.
//! - What describes the entries stands at the end, so that 16 bytes can be read at every entry.

use core::ops::Range;

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::damage::DamageKind;
use crate::key::Key;
use crate::limits::RUN_BLOCK_BYTES;
use crate::run::{RUN_HEADER_BYTES, Seed, checksum};

const TRAILER_BYTES: usize = 40;
const BODY_END: usize = RUN_BLOCK_BYTES - TRAILER_BYTES;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Trailer {
    first_key: U128,
    value_least: U64,
    count: U16,
    keys: U16,
    key_width: u8,
    value_width: u8,
    reserved: U16,
    reserved_too: U32,
    crc: U32,
}

const _: () = assert!(size_of::<Trailer>() == TRAILER_BYTES, "as drawn");

/// Where entries begin in a block.
const fn body_start(block: u32) -> usize {
    if block == 0 { RUN_HEADER_BYTES } else { 0 }
}

/// Fewest bytes that hold a number.
const fn width(number: u128) -> usize {
    (128 - number.leading_zeros() as usize).div_ceil(8)
}

/// The numbers of `width` bytes.
#[inline]
fn mask(width: u8) -> u128 {
    u128::MAX
        .checked_shr(128 - 8 * u32::from(width))
        .unwrap_or(0)
}

/// Bytes of entries in a block.
const fn entries_bytes(keys: usize, count: usize, key_width: usize, value_width: usize) -> usize {
    let ends = if keys < count { keys * 2 } else { 0 };
    keys * key_width + ends + count * value_width
}

/// Entries gathered for one block.
pub(crate) struct Filling<K> {
    /// Each key, and the number of its first value.
    keys: Vec<(K, usize)>,
    values: Vec<u64>,
    value_least: u64,
    value_most: u64,
}

impl<K: Key> Filling<K> {
    pub(crate) fn new() -> Self {
        Self {
            keys: Vec::with_capacity(512),
            values: Vec::with_capacity(512),
            value_least: u64::MAX,
            value_most: 0,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Adds an entry that is not below the last one; false when the block has no room for it.
    pub(crate) fn push(&mut self, block: u32, key: K, value: u64) -> bool {
        let first = self.keys.first().map_or(key, |first| first.0);
        let (least, most) = (self.value_least.min(value), self.value_most.max(value));
        let again = self.keys.last().is_some_and(|last| last.0 == key);
        let keys = self.keys.len() + usize::from(!again);
        let key_width = width(key.widen() - first.widen());
        let value_width = width(u128::from(most - least));
        let bytes = entries_bytes(keys, self.values.len() + 1, key_width, value_width);
        if body_start(block) + bytes > BODY_END || self.values.len() == RUN_BLOCK_BYTES {
            return false;
        }
        if !again {
            self.keys.push((key, self.values.len()));
        }
        self.values.push(value);
        (self.value_least, self.value_most) = (least, most);
        true
    }

    /// Writes the block behind `out` and empties itself; answers the first key and the block's checksum.
    pub(crate) fn write(
        &mut self,
        block: u32,
        seed: Seed,
        header: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> (K, u32) {
        let (first, last) = match (self.keys.first(), self.keys.last()) {
            (Some(first), Some(last)) => (first.0, last.0),
            _ => unreachable!("a block is written when it has entries"),
        };
        let start = out.len();
        out.extend_from_slice(header.unwrap_or_default());
        let key_width = width(last.widen() - first.widen());
        let value_width = width(u128::from(self.value_most - self.value_least));
        for (key, _) in &self.keys {
            let difference = (key.widen() - first.widen()).to_le_bytes();
            out.extend_from_slice(&difference[..key_width]);
        }
        if self.keys.len() < self.values.len() {
            let ends = self.keys.iter().skip(1).map(|key| key.1);
            for end in ends.chain([self.values.len()]) {
                out.extend_from_slice(&(end as u16).to_le_bytes());
            }
        }
        for value in &self.values {
            let difference = (value - self.value_least).to_le_bytes();
            out.extend_from_slice(&difference[..value_width]);
        }
        out.resize(start + BODY_END, 0);
        let mut trailer = Trailer {
            first_key: first.widen().into(),
            value_least: self.value_least.into(),
            count: (self.values.len() as u16).into(),
            keys: (self.keys.len() as u16).into(),
            key_width: key_width as u8,
            value_width: value_width as u8,
            reserved: 0.into(),
            reserved_too: 0.into(),
            crc: 0.into(),
        };
        out.extend_from_slice(&trailer.as_bytes()[..TRAILER_BYTES - 4]);
        let crc = checksum(seed.block(block), &out[start..]);
        trailer.crc = crc.into();
        out.extend_from_slice(trailer.crc.as_bytes());
        self.keys.clear();
        self.values.clear();
        (self.value_least, self.value_most) = (u64::MAX, 0);
        (first, crc)
    }
}

/// A block that has passed its checksum.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    bytes: &'a [u8; RUN_BLOCK_BYTES],
    first_key: u128,
    value_least: u64,
    count: usize,
    keys: usize,
    /// Where keys, ends and values begin.
    keys_at: usize,
    ends_at: usize,
    values_at: usize,
    key_width: u8,
    value_width: u8,
}

impl<'a> Block<'a> {
    /// Checks block number `block` against its own checksum and the one in the index.
    pub(crate) fn check(
        bytes: &'a [u8; RUN_BLOCK_BYTES],
        block: u32,
        seed: Seed,
        indexed: Option<u32>,
    ) -> Result<Self, DamageKind> {
        let Ok(trailer) = Trailer::ref_from_bytes(&bytes[BODY_END..]) else {
            return Err(DamageKind::Contradiction);
        };
        let crc = checksum(seed.block(block), &bytes[..RUN_BLOCK_BYTES - 4]);
        if crc != trailer.crc.get() {
            return Err(DamageKind::Checksum);
        }
        if indexed.is_some_and(|indexed| indexed != crc) {
            return Err(DamageKind::Misplaced);
        }
        let (count, keys) = (
            usize::from(trailer.count.get()),
            usize::from(trailer.keys.get()),
        );
        let (key_width, value_width) = (
            usize::from(trailer.key_width),
            usize::from(trailer.value_width),
        );
        let entries = entries_bytes(keys, count, key_width, value_width);
        let end = body_start(block) + entries;
        if keys == 0 || keys > count || key_width > 16 || value_width > 8 || end > BODY_END {
            return Err(DamageKind::Contradiction);
        }
        Ok(Self {
            bytes,
            first_key: trailer.first_key.get(),
            value_least: trailer.value_least.get(),
            count,
            keys,
            keys_at: body_start(block),
            ends_at: body_start(block) + keys * key_width,
            values_at: end - count * value_width,
            key_width: trailer.key_width,
            value_width: trailer.value_width,
        })
    }

    /// Entries of the block.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Distinct keys of the block.
    pub(crate) const fn keys(&self) -> usize {
        self.keys
    }

    #[inline]
    fn wide(&self, at: usize) -> u128 {
        let bytes = self.bytes[at..at + 16].try_into();
        u128::from_le_bytes(bytes.expect("sixteen bytes were taken"))
    }

    #[inline]
    pub(crate) fn key<K: Key>(&self, nth: usize) -> K {
        let difference = self.wide(self.keys_at + nth * usize::from(self.key_width));
        K::narrow(
            self.first_key
                .wrapping_add(difference & mask(self.key_width)),
        )
    }

    /// The entries of a key.
    #[inline]
    pub(crate) fn span(&self, nth: usize) -> Range<usize> {
        if self.keys == self.count {
            return nth..nth + 1;
        }
        let end = |nth: usize| {
            let at = self.ends_at + nth * 2;
            usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])).min(self.count)
        };
        let end_here = end(nth);
        nth.checked_sub(1).map_or(0, end).min(end_here)..end_here
    }

    #[inline]
    pub(crate) fn value(&self, entry: usize) -> u64 {
        let difference = self.wide(self.values_at + entry * usize::from(self.value_width));
        self.value_least
            .wrapping_add((difference & mask(self.value_width)) as u64)
    }

    /// The entries of the first key that is not below this one, and whether it is this one; none behind the last.
    pub(crate) fn find<K: Key>(&self, key: K) -> (Range<usize>, bool) {
        let nth = first_not(0..self.keys, |nth| self.key::<K>(nth) < key);
        if nth == self.keys {
            return (self.count..self.count, false);
        }
        (self.span(nth), self.key::<K>(nth) == key)
    }
}

/// The first number of a range that `before` does not hold of, when it holds of all below and of none above.
pub(crate) fn first_not(range: Range<usize>, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = usize::midpoint(low, high);
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

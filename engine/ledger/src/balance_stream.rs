//! The balances after each row of a chapter, in few bytes: mostly zeros and small numbers.
//!
//! ```text
//! numbers    eight for each row, seven bits a byte, the lowest first; a byte with its high bit set goes on
//! starts     where the numbers of each 64th row begin (u32)
//! ```
//!
//! - The same balances give the same bytes. A row costs 8 bytes if all is zero, some 26 in practice, 152 at most.
//! - To read a row at most 63 others are passed over.

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use crate::balances::Both;

/// Rows between two starts.
const STRIDE: usize = 64;

/// Numbers of a row.
const NUMBERS: usize = 8;

/// Appends the balances after row `place`; rows are appended in order.
pub(crate) fn append(both: &Both, place: usize, numbers: &mut Vec<u8>, starts: &mut Vec<u8>) {
    if place.is_multiple_of(STRIDE) {
        let start = u32::try_from(numbers.len()).expect("a chapter's balances are below 4 GiB");
        starts.extend_from_slice(&start.to_le_bytes());
    }
    for number in both.0 {
        let mut rest = number;
        while rest >= 0x80 {
            numbers.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        numbers.push(rest as u8);
    }
}

/// The balances after row `place`; none if the bytes make no sense.
pub(crate) fn read(place: usize, numbers: &[u8], starts: &[u8]) -> Option<Both> {
    let starts = <[U32]>::ref_from_bytes(starts).ok()?;
    let start = starts.get(place / STRIDE)?.get() as usize;
    let mut bytes = numbers.get(start..)?.iter();
    for _ in 0..place % STRIDE * NUMBERS {
        bytes.find(|byte| **byte < 0x80)?;
    }
    let mut both = Both::default();
    for number in &mut both.0 {
        let mut shift = 0;
        loop {
            let byte = *bytes.next()?;
            *number |= u128::from(byte & 0x7F).checked_shl(shift)?;
            if byte < 0x80 {
                break;
            }
            shift += 7;
        }
    }
    Some(both)
}

#[cfg(test)]
mod tests {
    use super::{append, read};
    use crate::balances::Both;

    #[test]
    fn balances_come_back_and_damage_does_not_panic() {
        let both = |n: u128| Both([n, 0, n * n, 127, 128, u128::MAX - n, n << 64, 1]);
        let (mut numbers, mut starts) = (Vec::new(), Vec::new());
        for n in 0..200 {
            append(&both(n as u128), n, &mut numbers, &mut starts);
        }
        for n in 0..200 {
            assert_eq!(read(n, &numbers, &starts), Some(both(n as u128)));
        }
        for at in (0..numbers.len()).step_by(7) {
            let mut damaged = numbers.clone();
            damaged[at] ^= 0x80;
            for n in [0, 63, 64, 199] {
                let _ = read(n, &damaged, &starts);
                let _ = read(n, &damaged[..at], &starts);
                let _ = read(n, &numbers, &starts[..at % starts.len()]);
            }
        }
    }
}

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

/// Bytes of a row, at most: 19 times seven bits for 128 of them.
const ROW_BYTES_MAX: usize = NUMBERS * 19;

/// Appends the balances after row `place`; rows are appended in order.
pub(crate) fn append(both: &Both, place: usize, numbers: &mut Vec<u8>, starts: &mut Vec<u8>) {
    if place.is_multiple_of(STRIDE) {
        let start = u32::try_from(numbers.len()).expect("a chapter's balances are below 4 GiB");
        starts.extend_from_slice(&start.to_le_bytes());
    }
    let (mut line, mut end) = ([0; ROW_BYTES_MAX], 0);
    let mut put = |byte: u8| {
        line[end] = byte;
        end += 1;
    };
    for number in both.0 {
        let mut wide = number;
        while wide >> 64 != 0 {
            put(wide as u8 | 0x80);
            wide >>= 7;
        }
        // Nearly all of them have 64 bits at most, which are much less work.
        let mut rest = wide as u64;
        while rest >= 0x80 {
            put(rest as u8 | 0x80);
            rest >>= 7;
        }
        put(rest as u8);
    }
    numbers.extend_from_slice(&line[..end]);
}

/// The balances after row `place`; none if the bytes make no sense.
pub(crate) fn read(place: usize, numbers: &[u8], starts: &[u8]) -> Option<Both> {
    let starts = <[U32]>::ref_from_bytes(starts).ok()?;
    let start = starts.get(place / STRIDE)?.get() as usize;
    let mut bytes = numbers.get(start..)?.iter();
    for _ in 0..place % STRIDE * NUMBERS {
        bytes.find(|byte| **byte < 0x80)?;
    }
    one(&mut bytes)
}

/// The next row's balances.
fn one<'a>(bytes: &mut impl Iterator<Item = &'a u8>) -> Option<Both> {
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

/// Can the balances of so many rows be read, and is there nothing else?
pub(crate) fn is_sound(rows: usize, numbers: &[u8], starts: &[u8]) -> bool {
    let Ok(starts) = <[U32]>::ref_from_bytes(starts) else {
        return false;
    };
    let mut bytes = numbers.iter();
    for place in 0..rows {
        let at = numbers.len() - bytes.len();
        let start = starts.get(place / STRIDE).map(|start| start.get() as usize);
        if place.is_multiple_of(STRIDE) && start != Some(at) {
            return false;
        }
        if one(&mut bytes).is_none() {
            return false;
        }
    }
    bytes.len() == 0 && starts.len() == rows.div_ceil(STRIDE)
}

#[cfg(test)]
mod tests {
    use super::{append, is_sound, read};
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
        assert!(is_sound(200, &numbers, &starts) && !is_sound(199, &numbers, &starts));
        for at in (0..numbers.len()).step_by(7) {
            let mut damaged = numbers.clone();
            damaged[at] ^= 0x80;
            assert!(!is_sound(200, &damaged, &starts), "byte {at}");
            for n in [0, 63, 64, 199] {
                let _ = read(n, &damaged, &starts);
                let _ = read(n, &damaged[..at], &starts);
                let _ = read(n, &numbers, &starts[..at % starts.len()]);
            }
        }
    }
}

//! Turns arrays of 128-byte records into columns, which compress better, and back.
//!
//! A record is 16 words of 64 bits. All first words become one column, all second words another, and each column
//! is laid out as suits its values: two bits of a layout word say how.
//!
//! | layout | |
//! |---:|---|
//! | 0 | bytes: all lowest bytes, then all second ones, and so on |
//! | 1 | differences to the record before, folded so that small ones are small, laid out as bytes |
//! | 2 | words: for values that are wide and come again |
//! | 3 | nothing: all are zero |

/// Bytes of a record.
pub(crate) const RECORD: usize = 128;
const WORDS: usize = RECORD / 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Bytes,
    Differences,
    Words,
    Nothing,
}

impl Layout {
    const fn of(layouts: u32, word: usize) -> Self {
        match layouts >> (2 * word) & 3 {
            0 => Self::Bytes,
            1 => Self::Differences,
            2 => Self::Words,
            _ => Self::Nothing,
        }
    }

    const fn bits(self, word: usize) -> u32 {
        let code: u32 = match self {
            Self::Bytes => 0,
            Self::Differences => 1,
            Self::Words => 2,
            Self::Nothing => 3,
        };
        code << (2 * word)
    }
}

/// The difference to the value before, with the sign in the lowest bit.
#[inline]
const fn fold(value: u64, before: u64) -> u64 {
    let difference = value.wrapping_sub(before);
    (difference << 1) ^ ((difference as i64 >> 63) as u64)
}

#[inline]
const fn unfold(folded: u64, before: u64) -> u64 {
    before.wrapping_add((folded >> 1) ^ (folded & 1).wrapping_neg())
}

#[inline]
const fn significant_bytes(value: u64) -> usize {
    (71 - value.leading_zeros() as usize) / 8
}

/// How to lay out a column of these values, and how many of its bytes then say something.
fn choose(values: &[u64]) -> (Layout, usize) {
    let (mut plain, mut differences, mut again, mut before) = (0, 0, 0, 0);
    let mut seen = [0_u64; 256];
    for &value in values {
        plain += significant_bytes(value);
        differences += significant_bytes(fold(value, before));
        let slot = &mut seen[(value.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize];
        again += usize::from(*slot == value);
        (*slot, before) = (value, value);
    }
    if plain == 0 {
        (Layout::Nothing, 0)
    } else if differences * 2 < plain {
        (Layout::Differences, differences)
    } else if plain > values.len() * 4 && again * 4 > values.len() {
        (Layout::Words, plain)
    } else {
        (Layout::Bytes, plain)
    }
}

/// Appends the columns of `records` to `out`; answers their layouts, or `None` when columns do not pay: when more
/// than three bytes in four say something. `words` is memory to work in.
pub(crate) fn encode(records: &[u8], words: &mut Vec<u64>, out: &mut Vec<u8>) -> Option<u32> {
    let count = records.len() / RECORD;
    let (mut layouts, mut said) = (0, 0);
    for word in 0..WORDS {
        words.clear();
        let (cells, _) = records.as_chunks::<8>();
        let column = cells.iter().skip(word).step_by(WORDS);
        words.extend(column.map(|cell| u64::from_le_bytes(*cell)));
        let (layout, significant) = choose(words);
        layouts |= layout.bits(word);
        said += significant;
        if said * 4 > records.len() * 3 {
            return None;
        }
        match layout {
            Layout::Nothing => continue,
            Layout::Words => {
                out.extend(words.iter().flat_map(|value| value.to_le_bytes()));
                continue;
            }
            Layout::Differences => {
                let mut before = 0;
                for value in words.iter_mut() {
                    let folded = fold(*value, before);
                    before = core::mem::replace(value, folded);
                }
            }
            Layout::Bytes => {}
        }
        let start = out.len();
        out.resize(start + 8 * count, 0);
        for (byte, column) in out[start..].chunks_exact_mut(count).enumerate() {
            for (cell, value) in column.iter_mut().zip(words.iter()) {
                *cell = (value >> (8 * byte)) as u8;
            }
        }
    }
    Some(layouts)
}

/// Bytes that the columns of `count` records take with these layouts.
pub(crate) fn bytes(layouts: u32, count: usize) -> usize {
    let columns = (0..WORDS).filter(|word| Layout::of(layouts, *word) != Layout::Nothing);
    columns.count() * 8 * count
}

/// Puts records back together from their columns, which are as long as [`bytes`] says.
pub(crate) fn decode(columns: &[u8], layouts: u32, words: &mut Vec<u64>, records: &mut [u8]) {
    let count = records.len() / RECORD;
    records.fill(0);
    let mut rest = columns;
    for word in 0..WORDS {
        let layout = Layout::of(layouts, word);
        if layout == Layout::Nothing {
            continue;
        }
        let (column, behind) = rest.split_at(8 * count);
        rest = behind;
        words.clear();
        if layout == Layout::Words {
            let (cells, _) = column.as_chunks::<8>();
            words.extend(cells.iter().map(|cell| u64::from_le_bytes(*cell)));
        } else {
            words.resize(count, 0);
            for (byte, column) in column.chunks_exact(count.max(1)).enumerate() {
                for (value, cell) in words.iter_mut().zip(column) {
                    *value |= u64::from(*cell) << (8 * byte);
                }
            }
        }
        if layout == Layout::Differences {
            let mut before = 0;
            for value in words.iter_mut() {
                *value = unfold(*value, before);
                before = *value;
            }
        }
        let (cells, _) = records.as_chunks_mut::<8>();
        for (cell, value) in cells.iter_mut().skip(word).step_by(WORDS).zip(&*words) {
            *cell = value.to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{RECORD, bytes, decode, encode};

    #[test]
    fn columns_of_noise_do_not_pay() {
        let noise: Vec<u8> = (0..12_800_u32)
            .map(|n| (n.wrapping_mul(0x9E37_79B1) >> 24) as u8 | 1)
            .collect();
        assert_eq!(encode(&noise, &mut Vec::new(), &mut Vec::new()), None);
    }

    #[test]
    fn records_of_every_kind_come_back() {
        let mut dice = 7_u64;
        let mut roll = || {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            dice >> 11 ^ dice << 40
        };
        for count in [0, 1, 2, 7, 63, 500] {
            let pool: Vec<u64> = (0..4).map(|_| roll()).collect();
            let mut records = Vec::new();
            for nth in 0..count as u64 {
                for word in 0..16 {
                    let value = match word % 6 {
                        0 => 0,
                        1 => (1 << 60) + nth * 7,
                        2 => roll(),
                        3 => pool[(roll() % 4) as usize],
                        4 => roll() % 100,
                        _ => u64::MAX - nth,
                    };
                    records.extend_from_slice(&value.to_le_bytes());
                }
            }
            let (mut words, mut columns) = (Vec::new(), Vec::new());
            let layouts = encode(&records, &mut words, &mut columns).expect("columns pay");
            assert_eq!(columns.len(), bytes(layouts, count));
            let mut back = vec![9; count * RECORD];
            decode(&columns, layouts, &mut words, &mut back);
            assert!(back == records, "{count} records");
            assert!(
                count < 7 || layouts & 0xFFF == 3 | 1 << 2 | 2 << 6 | 1 << 10,
                "{layouts:x}"
            );
        }
    }
}

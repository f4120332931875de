//! What became of each reservation: two bits for each row, for ever.
//!
//! - A row without a fate was never a reservation, or is open.
//! - Bits change once, from none to a fate; a broken chain changes them back.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::freezing::Freezing;
use crate::transfer_table::TransferRow;

/// How a reservation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was posted, in full or in part.
    Posted = 1,
    /// It was voided.
    Voided = 2,
    /// Its timeout passed.
    Expired = 3,
}

/// Fates of a line.
const PER_LINE: usize = 256;

/// A cache line of fates, four a byte, the first in the lowest bits.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

/// The fates of all rows up to the last that has one.
pub(crate) struct Fates {
    lines: Freezing<Line>,
}

impl Fates {
    pub(crate) const fn new() -> Self {
        Self {
            lines: Freezing::new(),
        }
    }

    pub(crate) fn get(&self, row: TransferRow) -> Option<Fate> {
        let (line, byte, shift) = place(row);
        if line >= self.lines.len() {
            return None;
        }
        match self.lines.get(line).0[byte] >> shift & 3 {
            1 => Some(Fate::Posted),
            2 => Some(Fate::Voided),
            3 => Some(Fate::Expired),
            _ => None,
        }
    }

    pub(crate) fn set(&mut self, row: TransferRow, fate: Option<Fate>) {
        let (line, byte, shift) = place(row);
        while self.lines.len() <= line {
            self.lines.push(Line([0; 64]));
        }
        let byte = &mut self.lines.get_mut(line).0[byte];
        *byte = *byte & !(3 << shift) | fate.map_or(0, |fate| fate as u8) << shift;
    }

    /// Lines so far.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Keeps the fates as they are for an image.
    pub(crate) fn freeze(&mut self) {
        self.lines.freeze();
    }

    /// The image is not wanted any more.
    pub(crate) fn thaw(&mut self) {
        self.lines.thaw();
    }

    /// The next lines of an image; false if there are no more.
    pub(crate) fn take_frozen(&mut self, count: usize, mut take: impl FnMut(&[u8; 64])) -> bool {
        self.lines.take_frozen(count, |line| take(&line.0))
    }

    /// The next line, from an image.
    pub(crate) fn restore(&mut self, line: [u8; 64]) {
        self.lines.push(Line(line));
    }

    /// Bytes that the fates occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.lines.bytes()
    }
}

/// Line, byte and bits of a row's fate.
fn place(row: TransferRow) -> (usize, usize, u32) {
    let row = row.0 as usize;
    let in_line = row % PER_LINE;
    (row / PER_LINE, in_line / 4, (in_line % 4) as u32 * 2)
}

#[cfg(test)]
mod tests {
    use super::{Fate, Fates};
    use crate::transfer_table::TransferRow;

    #[test]
    fn a_fate_touches_no_other() {
        let mut fates = Fates::new();
        for (row, fate) in [(5, Fate::Posted), (6, Fate::Expired), (1_000, Fate::Voided)] {
            fates.set(TransferRow(row), Some(fate));
        }
        fates.set(TransferRow(7), Some(Fate::Posted));
        fates.set(TransferRow(7), None);
        for row in 0..2_000 {
            let expected = match row {
                5 => Some(Fate::Posted),
                6 => Some(Fate::Expired),
                1_000 => Some(Fate::Voided),
                _ => None,
            };
            assert_eq!(fates.get(TransferRow(row)), expected, "row {row}");
        }
    }
}

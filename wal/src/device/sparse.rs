//! A file in memory that takes room only for what was written to it, as a disk's image with holes does.
//!
//! - Reads find zeros where nothing was written.
//! - A page keeps its bytes up to the last that is not zero: blocks are padded to pages, and most are far shorter.

use crate::device::ALIGNMENT;

/// A file of one size.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sparse {
    len: usize,
    /// Page by page, without the zeros at its end; behind the last there are zeros only.
    pages: Vec<Box<[u8]>>,
}

impl Sparse {
    /// So many zeros.
    pub(crate) const fn zeros(len: usize) -> Self {
        Self {
            len,
            pages: Vec::new(),
        }
    }

    /// These bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut file = Self::zeros(bytes.len());
        let is_written = file.write(0, bytes);
        debug_assert!(is_written, "a file holds as many bytes as it was made for");
        file
    }

    /// All bytes, zeros included.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        for (page, into) in self.pages.iter().zip(bytes.chunks_mut(ALIGNMENT)) {
            into[..page.len()].copy_from_slice(page);
        }
        bytes
    }

    /// Reads from `offset` on; false, and nothing is read, when the file ends before.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) -> bool {
        if !self.holds(offset, into.len()) {
            return false;
        }
        let mut at = offset;
        let mut rest = into;
        while !rest.is_empty() {
            let inside = at % ALIGNMENT;
            let (here, later) = rest.split_at_mut(rest.len().min(ALIGNMENT - inside));
            let page = self.pages.get(at / ALIGNMENT).map_or(&[][..], |page| page);
            let known = page.get(inside..).unwrap_or_default();
            let count = known.len().min(here.len());
            here[..count].copy_from_slice(&known[..count]);
            here[count..].fill(0);
            at += here.len();
            rest = later;
        }
        true
    }

    /// Writes from `offset` on; false, and nothing is written, when the file ends before.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        self.exchange(offset, bytes, |_| {})
    }

    /// The same; tells of each page that it touches what the whole page held before, without the zeros at its end.
    pub(crate) fn exchange(
        &mut self,
        offset: usize,
        bytes: &[u8],
        mut before: impl FnMut(Box<[u8]>),
    ) -> bool {
        if !self.holds(offset, bytes.len()) {
            return false;
        }
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let inside = at % ALIGNMENT;
            let (here, later) = rest.split_at(rest.len().min(ALIGNMENT - inside));
            before(self.write_page(at / ALIGNMENT, inside, here));
            at += here.len();
            rest = later;
        }
        true
    }

    fn write_page(&mut self, nth: usize, inside: usize, bytes: &[u8]) -> Box<[u8]> {
        if bytes.len() == ALIGNMENT {
            return self.keep(nth, without_zeros(bytes));
        }
        let mut page = [0; ALIGNMENT];
        if let Some(known) = self.pages.get(nth) {
            page[..known.len()].copy_from_slice(known);
        }
        page[inside..inside + bytes.len()].copy_from_slice(bytes);
        self.keep(nth, without_zeros(&page))
    }

    fn keep(&mut self, nth: usize, bytes: &[u8]) -> Box<[u8]> {
        if nth < self.pages.len() {
            return std::mem::replace(&mut self.pages[nth], bytes.into());
        }
        if !bytes.is_empty() {
            self.pages.resize_with(nth, Box::default);
            self.pages.push(bytes.into());
        }
        Box::default()
    }

    fn holds(&self, offset: usize, bytes: usize) -> bool {
        offset.checked_add(bytes).is_some_and(|end| end <= self.len)
    }
}

/// The bytes up to the last that is not zero.
fn without_zeros(bytes: &[u8]) -> &[u8] {
    let mut end = bytes.len();
    while end >= 16 && bytes[end - 16..end] == [0; 16] {
        end -= 16;
    }
    while end > 0 && bytes[end - 1] == 0 {
        end -= 1;
    }
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_a_plain_file_is() {
        const BYTES: usize = 5 * ALIGNMENT + 100;
        let (mut file, mut plain) = (Sparse::zeros(BYTES), vec![0; BYTES]);
        let mut dice = 7_u64;
        let mut roll = |below: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) as usize % below
        };
        for step in 0..2_000 {
            let offset = roll(BYTES + 50);
            let bytes = if step % 3 == 0 { ALIGNMENT } else { roll(700) };
            let offset = if step % 6 == 0 {
                offset - offset % ALIGNMENT
            } else {
                offset
            };
            let value = if step % 4 == 0 { 0 } else { roll(256) as u8 };
            let mut written = vec![value; bytes];
            written.iter_mut().step_by(5).for_each(|byte| *byte = 0);
            let fits = offset + bytes <= BYTES;
            let mut before = Vec::new();
            let page = offset / ALIGNMENT * ALIGNMENT;
            assert_eq!(
                file.exchange(offset, &written, |page| before.push(page)),
                fits
            );
            for (nth, known) in before.iter().enumerate() {
                let held = &plain[page + nth * ALIGNMENT..];
                assert!(known[..] == held[..known.len()], "step {step}");
                let rest = ALIGNMENT.min(held.len());
                assert!(held[known.len()..rest].iter().all(|&byte| byte == 0));
            }
            if fits {
                plain[offset..offset + bytes].copy_from_slice(&written);
            }
            let from = roll(BYTES);
            let mut found = vec![1; roll(BYTES - from + 1)];
            assert!(file.read(from, &mut found));
            assert!(found == plain[from..from + found.len()], "step {step}");
        }
        assert!(file.to_vec() == plain && Sparse::of(&plain).to_vec() == plain);
        assert!(!file.read(BYTES, &mut [0]) && file.read(BYTES, &mut []));
    }

    #[test]
    fn what_is_not_written_takes_no_room() {
        let mut file = Sparse::zeros(1 << 30);
        assert!(file.pages.is_empty());
        let mut block = vec![0; 4 * ALIGNMENT];
        block[..100].fill(9);
        assert!(file.write(2 * ALIGNMENT, &block));
        let room: usize = file.pages.iter().map(|page| page.len()).sum();
        assert_eq!((file.pages.len(), room), (3, 100));
        assert!(file.write(2 * ALIGNMENT, &vec![0; ALIGNMENT]));
        assert!(file.pages.iter().all(|page| page.is_empty()));
    }
}

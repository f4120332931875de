//! Which pages of rows were touched lately, and so are likely in memory though they lie in a file.
//!
//! - A guess and nothing more: who trusts it in vain waits for the disk, who mistrusts it in vain asks the system once too often.
//! - Everything is forgotten every [`COMMANDS`] commands, so that what the system has put out meanwhile is asked for again.

use crate::freezing::PAGE;

/// Commands after which all is forgotten: a page in use costs one call in so many commands.
const COMMANDS: u32 = 1_024;

/// A bit for each page of rows.
#[derive(Default)]
pub(crate) struct Touched {
    bits: Vec<u64>,
    commands: u32,
}

impl Touched {
    /// One more command begins.
    pub(crate) fn next_command(&mut self) {
        self.commands += 1;
        if self.commands == COMMANDS {
            self.commands = 0;
            self.bits.fill(0);
        }
    }

    /// Marks a row's page; true if it was not marked.
    #[inline]
    pub(crate) fn touch(&mut self, row: usize) -> bool {
        let (word, bit) = place(row);
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let is_new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        is_new
    }

    /// Bytes that the marks occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.bits.capacity() * size_of::<u64>()
    }

    /// Is a row's page marked?
    #[inline]
    pub(crate) fn has(&self, row: usize) -> bool {
        let (word, bit) = place(row);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }
}

fn place(row: usize) -> (usize, u64) {
    let page = row / PAGE;
    (page / 64, 1 << (page % 64))
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, PAGE, Touched};

    #[test]
    fn a_page_is_new_once_until_all_is_forgotten() {
        let mut touched = Touched::default();
        assert!(!touched.has(100 * PAGE));
        assert!(touched.touch(100 * PAGE));
        assert!(!touched.touch(101 * PAGE - 1), "the same page");
        assert!(touched.touch(101 * PAGE) && touched.touch(0));
        assert!(touched.has(100 * PAGE + 5) && !touched.has(99 * PAGE));
        for _ in 1..COMMANDS {
            touched.next_command();
        }
        assert!(touched.has(0));
        touched.next_command();
        assert!(!touched.has(0) && touched.touch(0));
    }
}

//! Which pending transfers are still open, and which of them expires next.
//!
//! Each transfer's row has one word here, written only if the transfer is pending: its status, and its
//! place in a binary heap that is ordered by expiry, then by row. The place lets a post or a void take
//! the transfer out of the heap at once, so that the heap never holds more than what is open.
//!
//! - A pending transfer resolves once: pending -> posted | voided | expired. Only a broken chain goes
//!   back.
//! - The heap holds exactly the open transfers that have a timeout.
//! - Order in the heap is total (rows differ), so expiry is deterministic.

use crate::transfer_table::TransferRow;

/// What became of a transfer's reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PendingStatus {
    /// It never reserved anything.
    None,
    /// It is open.
    Pending,
    /// It was posted, in full or in part.
    Posted,
    /// It was voided.
    Voided,
    /// Its timeout passed.
    Expired,
}

/// Words of a chunk; chunks without a pending transfer are not allocated.
const CHUNK_WORDS: usize = 1 << 16;

/// Lower bits of a word: the status. Upper bits: place in the heap plus one, or 0 if it is not there.
const STATUS_BITS: u32 = 3;
const STATUS_MASK: u32 = (1 << STATUS_BITS) - 1;

/// The most transfers that can wait for their expiry: what the upper bits of a word can count.
pub(crate) const PENDINGS_MAX: usize = (1 << (32 - STATUS_BITS)) - 2;

/// A transfer in the heap. Ordered by expiry, then by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    expires_at: u64,
    row: TransferRow,
}

/// One word for each row that was ever pending.
#[derive(Default)]
struct Words {
    chunks: Vec<Box<[u32]>>,
}

impl Words {
    #[inline]
    fn get(&self, row: TransferRow) -> u32 {
        let chunk = self.chunks.get(row.0 as usize / CHUNK_WORDS);
        chunk
            .and_then(|chunk| chunk.get(row.0 as usize % CHUNK_WORDS))
            .copied()
            .unwrap_or(0)
    }

    #[inline]
    fn set(&mut self, row: TransferRow, word: u32) {
        let chunk = row.0 as usize / CHUNK_WORDS;
        if self.chunks.len() <= chunk {
            self.chunks.resize_with(chunk + 1, Box::default);
        }
        if self.chunks[chunk].is_empty() {
            self.chunks[chunk] = vec![0; CHUNK_WORDS].into_boxed_slice();
        }
        self.chunks[chunk][row.0 as usize % CHUNK_WORDS] = word;
    }
}

/// The reservations of a group.
pub(crate) struct Pendings {
    words: Words,
    heap: Vec<Waiting>,
    open: usize,
    open_max: usize,
}

impl Pendings {
    pub(crate) fn new(open_max: usize) -> Self {
        Self {
            words: Words::default(),
            heap: Vec::new(),
            open: 0,
            open_max: open_max.min(PENDINGS_MAX),
        }
    }

    /// Open reservations.
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    pub(crate) fn full(&self) -> bool {
        self.open >= self.open_max
    }

    pub(crate) fn status(&self, row: TransferRow) -> PendingStatus {
        match self.words.get(row) & STATUS_MASK {
            0 => PendingStatus::None,
            1 => PendingStatus::Pending,
            2 => PendingStatus::Posted,
            3 => PendingStatus::Voided,
            _ => PendingStatus::Expired,
        }
    }

    /// A transfer reserves.
    pub(crate) fn open(&mut self, row: TransferRow, expires_at: Option<u64>) {
        assert!(
            !self.full(),
            "the limit is checked before a transfer reserves"
        );
        self.open += 1;
        self.words.set(row, PendingStatus::Pending as u32);
        if let Some(expires_at) = expires_at {
            self.heap.push(Waiting { expires_at, row });
            self.rise(self.heap.len() - 1);
        }
    }

    /// An open transfer is posted, voided or expired.
    pub(crate) fn resolve(&mut self, row: TransferRow, status: PendingStatus) {
        debug_assert!(!matches!(
            status,
            PendingStatus::None | PendingStatus::Pending
        ));
        self.close(row, status);
    }

    /// A broken chain takes back the transfer that reserved.
    pub(crate) fn forget(&mut self, row: TransferRow) {
        self.close(row, PendingStatus::None);
    }

    /// A broken chain takes back the transfer that resolved.
    pub(crate) fn reopen(&mut self, row: TransferRow, expires_at: Option<u64>) {
        assert!(
            matches!(
                self.status(row),
                PendingStatus::Posted | PendingStatus::Voided
            ),
            "a chain reopens only what it resolved"
        );
        self.words.set(row, PendingStatus::None as u32);
        self.open(row, expires_at);
    }

    /// The transfer that is due first, if it is due by `now`.
    pub(crate) fn due(&self, now: u64) -> Option<TransferRow> {
        self.heap
            .first()
            .filter(|first| first.expires_at <= now)
            .map(|first| first.row)
    }

    /// When the next transfer expires.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.heap.first().map(|first| first.expires_at)
    }

    fn close(&mut self, row: TransferRow, status: PendingStatus) {
        let word = self.words.get(row);
        assert_eq!(
            word & STATUS_MASK,
            PendingStatus::Pending as u32,
            "only an open transfer resolves"
        );
        self.open -= 1;
        self.words.set(row, status as u32);
        let place = (word >> STATUS_BITS) as usize;
        if place == 0 {
            return;
        }
        let place = place - 1;
        debug_assert_eq!(self.heap[place].row, row);
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.rise(place);
            self.sink(place);
        }
    }

    /// Moves an entry towards the top, to where it belongs.
    fn rise(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 {
            let above = (place - 1) / 2;
            if self.heap[above] <= entry {
                break;
            }
            self.settle(place, self.heap[above]);
            place = above;
        }
        self.settle(place, entry);
    }

    /// Moves an entry away from the top, to where it belongs.
    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let mut below = 2 * place + 1;
            if below >= self.heap.len() {
                break;
            }
            if below + 1 < self.heap.len() && self.heap[below + 1] < self.heap[below] {
                below += 1;
            }
            if entry <= self.heap[below] {
                break;
            }
            self.settle(place, self.heap[below]);
            place = below;
        }
        self.settle(place, entry);
    }

    fn settle(&mut self, place: usize, entry: Waiting) {
        self.heap[place] = entry;
        let word = u32::try_from(place + 1).expect("open reservations are limited to 29 bits");
        self.words.set(
            entry.row,
            (word << STATUS_BITS) | PendingStatus::Pending as u32,
        );
    }

    /// Bytes that the words and the heap occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.words
            .chunks
            .iter()
            .map(|chunk| chunk.len() * size_of::<u32>())
            .sum::<usize>()
            + self.heap.capacity() * size_of::<Waiting>()
    }
}

#[cfg(test)]
mod tests {
    use super::{PendingStatus, Pendings};
    use crate::transfer_table::TransferRow;
    use std::collections::BTreeSet;

    #[test]
    fn expires_in_order_whatever_is_taken_out_between() {
        let mut pendings = Pendings::new(10_000);
        let mut model: BTreeSet<(u64, u32)> = BTreeSet::new();
        let mut dice = 7_u64;
        for row in 0..5_000_u32 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let expires_at = (dice >> 33) % 700;
            pendings.open(TransferRow(row), Some(expires_at));
            model.insert((expires_at, row));
            if dice >> 40 & 1 == 1 {
                let victim = *model
                    .iter()
                    .nth((dice >> 41) as usize % model.len())
                    .unwrap();
                model.remove(&victim);
                pendings.resolve(TransferRow(victim.1), PendingStatus::Voided);
                assert_eq!(
                    pendings.status(TransferRow(victim.1)),
                    PendingStatus::Voided
                );
            }
            assert_eq!(pendings.next_expiry(), model.first().map(|first| first.0));
        }
        while let Some(row) = pendings.due(u64::MAX) {
            assert_eq!(Some(row.0), model.pop_first().map(|first| first.1));
            pendings.resolve(row, PendingStatus::Expired);
        }
        assert!(model.is_empty());
        assert_eq!(pendings.open_count(), 0);
    }

    #[test]
    fn what_was_resolved_can_be_reopened_and_forgotten() {
        let mut pendings = Pendings::new(1);
        let row = TransferRow(3);
        pendings.open(row, Some(9));
        assert!(pendings.full());
        pendings.resolve(row, PendingStatus::Posted);
        assert_eq!(pendings.due(100), None);
        pendings.reopen(row, Some(9));
        assert_eq!(pendings.due(9), Some(row));
        pendings.forget(row);
        assert_eq!(
            (pendings.status(row), pendings.open_count()),
            (PendingStatus::None, 0)
        );
    }
}

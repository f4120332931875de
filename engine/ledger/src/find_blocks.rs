//! Finds the transfers of an account, or with some user data, without visiting all of them.
//!
//! Transfers are numbered in order of time. Every 4,096 of them become a block once they are complete:
//! a list of 32-bit entries, one for each account and each user data of each transfer or expiry. An entry is 20
//! bits of a hash of field and value, and the transfer's place in the block; entries are dealt into
//! 1,024 groups by the first half of the hash, in order of place. A search goes through the blocks of
//! its period; each costs two or three cache lines if it has nothing. The newest transfers, not yet a
//! block, are visited one by one.
//!
//! - A block never changes. It is built after a command, so that a broken chain meets no block.
//! - Entries name candidates: the caller compares the row.
//! - About 20 bytes for each transfer that has all three user data.

use core::ops::{ControlFlow, Range};

use crate::event_row::{EventRow, RowKind};
use crate::hash_index::HASH_BITS;
use crate::id_index;

/// Transfers of a block.
const BLOCK: usize = 1 << PLACE_BITS;

/// Bits of an entry that tell the place in the block; the others tell the hash.
const PLACE_BITS: u32 = 12;

/// Groups of a block, chosen by the first bits of the hash.
const GROUP_BITS: u32 = 10;
const GROUPS: usize = 1 << GROUP_BITS;

/// What transfers can be found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// On either side.
    Account,
    UserData128,
    UserData64,
    UserData32,
    /// Of a transfer or a spent id; in chapters only.
    Id,
}

/// The hash of a field's value, 30 bits: what a search looks for. Part of the format of chapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u32);

/// Bits of a key that do not fit an entry of a block.
const REST_BITS: u32 = HASH_BITS - (u32::BITS - PLACE_BITS);

impl Key {
    #[inline]
    pub(crate) fn new(field: Field, value: u128) -> Self {
        const SALTS: [u64; 5] = [
            0x9E37_79B9_7F4A_7C15,
            0xC2B2_AE3D_27D4_EB4F,
            0x1656_67B1_9E37_79F9,
            0x27D4_EB2F_1656_67C5,
            0x8546_6DC3_94AA_21A3,
        ];
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let (low, high) = (value as u64, (value >> 64) as u64);
        let salt = SALTS[field as usize];
        let mixed = id_index::fold(low ^ salt, high ^ 0xD6E8_FEB8_6659_FD93);
        let hash = (mixed >> (u64::BITS - HASH_BITS)) as u32;
        Self(hash)
    }

    /// The hash as a number.
    #[inline]
    pub(crate) const fn hash(self) -> u32 {
        self.0
    }

    /// As much of the hash as an entry of a block has.
    #[inline]
    const fn short(self) -> u32 {
        self.0 >> REST_BITS
    }

    #[inline]
    fn entry(self, place: u32) -> u32 {
        self.short() << PLACE_BITS | place
    }
}

/// The group of an entry.
#[inline]
fn group(entry: u32) -> usize {
    (entry >> (32 - GROUP_BITS)) as usize
}

/// A block's entries by group, and where each group begins.
struct Block {
    entries: Box<[u32]>,
    starts: Box<[u16]>,
}

impl Block {
    /// Deals entries into groups, each in the order given; `counts` is how many go to each group.
    fn deal(entries: &[u32], counts: &[u16; GROUPS]) -> Self {
        let mut next = [0_u16; GROUPS];
        let mut sum = 0;
        for (start, count) in next.iter_mut().zip(counts) {
            *start = sum;
            sum += count;
        }
        let starts = next.into();
        let mut dealt = vec![0; entries.len()].into_boxed_slice();
        for entry in entries {
            let place = &mut next[group(*entry)];
            dealt[usize::from(*place)] = *entry;
            *place += 1;
        }
        Self {
            entries: dealt,
            starts,
        }
    }

    /// The places whose transfer may have this key, in order.
    fn places(&self, key: Key) -> impl DoubleEndedIterator<Item = usize> {
        let group = group(key.entry(0));
        let end = self
            .starts
            .get(group + 1)
            .map_or(self.entries.len(), |end| usize::from(*end));
        let entries = &self.entries[usize::from(self.starts[group])..end];
        entries
            .iter()
            .filter(move |entry| **entry >> PLACE_BITS == key.short())
            .map(|entry| (entry & ((1 << PLACE_BITS) - 1)) as usize)
    }
}

/// The blocks of a transfer table.
#[derive(Default)]
pub(crate) struct FindBlocks {
    blocks: Vec<Block>,
    /// Blocks given up at the front.
    given_up: usize,
    /// Where entries are gathered; kept for the next block.
    gathered: Vec<u32>,
}

impl FindBlocks {
    /// Builds the blocks that have become complete.
    pub(crate) fn extend<'a>(&mut self, transfers: usize, row: impl Fn(usize) -> &'a EventRow) {
        while (self.given_up + self.blocks.len() + 1) * BLOCK <= transfers {
            let first = (self.given_up + self.blocks.len()) * BLOCK;
            self.gathered.clear();
            let mut counts = [0; GROUPS];
            for place in 0..BLOCK {
                gather(row(first + place), place, &mut self.gathered, &mut counts);
            }
            self.blocks.push(Block::deal(&self.gathered, &counts));
        }
    }

    /// Begins with the block that has this row.
    pub(crate) fn start_at(&mut self, row: usize) {
        self.blocks.clear();
        self.given_up = row / BLOCK;
    }

    /// Gives up the blocks whose rows are all before this one.
    pub(crate) fn release_before(&mut self, row: usize) {
        let blocks = (row / BLOCK).saturating_sub(self.given_up);
        self.blocks.drain(..blocks.min(self.blocks.len()));
        self.given_up += blocks;
    }

    /// Visits the rows of a range that may have the key, or all of them without one, in order or in
    /// reverse, until told to stop. A row may be visited twice in succession. The range begins at or after the first
    /// block that is here.
    pub(crate) fn visit(
        &self,
        range: Range<usize>,
        key: Option<Key>,
        reversed: bool,
        visit: impl FnMut(usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(key) = key else {
            return each(range, reversed, visit);
        };
        if range.is_empty() {
            return ControlFlow::Continue(());
        }
        let end = self.given_up + self.blocks.len();
        let blocks_end = (end * BLOCK).clamp(range.start, range.end);
        let blocks = range.start / BLOCK..blocks_end.div_ceil(BLOCK).min(end);
        let newest = blocks_end..range.end;
        let in_blocks = blocks.flat_map(|block| {
            let rows = self.blocks[block - self.given_up]
                .places(key)
                .map(move |place| block * BLOCK + place);
            rows.filter(|row| range.contains(row))
        });
        each(in_blocks.chain(newest), reversed, visit)
    }

    /// Bytes that the blocks occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks
            .iter()
            .map(|block| block.entries.len() * 4 + block.starts.len() * 2)
            .sum()
    }
}

/// Goes through rows in order or in reverse until told to stop.
pub(crate) fn each(
    mut rows: impl DoubleEndedIterator<Item = usize>,
    reversed: bool,
    visit: impl FnMut(usize) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if reversed {
        rows.rev().try_for_each(visit)
    } else {
        rows.try_for_each(visit)
    }
}

/// What a row can be found by.
#[inline]
pub(crate) fn keys(row: &EventRow, mut add: impl FnMut(Key)) {
    if row.kind() == RowKind::Spent {
        return;
    }
    let fields = row.fields();
    add(Key::new(Field::Account, fields.debit_account_id.get()));
    add(Key::new(Field::Account, fields.credit_account_id.get()));
    for (field, value) in [
        (Field::UserData128, fields.user_data_128.get()),
        (Field::UserData64, fields.user_data_64.get().into()),
        (Field::UserData32, fields.user_data_32.get().into()),
    ] {
        if value != 0 {
            add(Key::new(field, value));
        }
    }
}

/// Appends the entries of one row.
#[inline]
fn gather(row: &EventRow, place: usize, entries: &mut Vec<u32>, counts: &mut [u16; GROUPS]) {
    let place = u32::try_from(place).expect("a place has 12 bits");
    keys(row, |key| {
        let entry = key.entry(place);
        entries.push(entry);
        counts[group(entry)] += 1;
    });
}

#[cfg(test)]
mod tests {
    use core::ops::ControlFlow;

    use super::{Field, FindBlocks, Key};
    use crate::event_row::EventRow;
    use crate::transfer::Transfer;

    fn transfers(count: u64) -> Vec<Transfer> {
        let transfer = |n: u64| Transfer {
            debit_account_id: u128::from(n % 7).into(),
            credit_account_id: u128::from(n % 500).into(),
            user_data_128: u128::from(n / 3).into(),
            user_data_64: (n % 2 * 9).into(),
            user_data_32: 0.into(),
            ..Transfer::default()
        };
        (0..count).map(transfer).collect()
    }

    #[test]
    fn a_search_visits_all_that_match_in_order_within_its_range() {
        let rows = transfers(20_000);
        let events: Vec<EventRow> = rows.iter().map(EventRow::of).collect();
        let mut blocks = FindBlocks::default();
        for transfers in [1_000, 4_095, 4_096, 13_000, 20_000] {
            blocks.extend(transfers, |row| &events[row]);
        }
        let by_account =
            |id: u128| move |t: &Transfer| t.debit_account_id == id || t.credit_account_id == id;
        type Matches = Box<dyn Fn(&Transfer) -> bool>;
        let cases: [(Option<Key>, Matches); 6] = [
            (Some(Key::new(Field::Account, 3)), Box::new(by_account(3))),
            (
                Some(Key::new(Field::Account, 499)),
                Box::new(by_account(499)),
            ),
            (
                Some(Key::new(Field::UserData128, 77)),
                Box::new(|t| t.user_data_128 == 77),
            ),
            (
                Some(Key::new(Field::UserData64, 9)),
                Box::new(|t| t.user_data_64 == 9),
            ),
            (Some(Key::new(Field::UserData32, 5)), Box::new(|_| false)),
            (None, Box::new(|t| t.user_data_128.get() > 10)),
        ];
        for range in [
            0..20_000,
            0..1,
            4_000..4_100,
            4_096..8_192,
            9_000..19_999,
            17_000..18_000,
            5..5,
        ] {
            for (key, matches) in &cases {
                let expected: Vec<usize> =
                    range.clone().filter(|row| matches(&rows[*row])).collect();
                for reversed in [false, true] {
                    let mut found = Vec::new();
                    _ = blocks.visit(range.clone(), *key, reversed, |row| {
                        if matches(&rows[row]) && found.last() != Some(&row) {
                            found.push(row);
                        }
                        ControlFlow::Continue(())
                    });
                    if reversed {
                        found.reverse();
                    }
                    assert_eq!(found, expected, "{key:?} in {range:?}");
                }
            }
        }
    }

    #[test]
    fn a_search_for_what_is_rare_skips_nearly_all() {
        let rows: Vec<EventRow> = transfers(16_384).iter().map(EventRow::of).collect();
        let mut blocks = FindBlocks::default();
        blocks.extend(rows.len(), |row| &rows[row]);
        let mut visited = 0;
        _ = blocks.visit(
            0..rows.len(),
            Some(Key::new(Field::UserData128, 5_000)),
            false,
            |_| {
                visited += 1;
                ControlFlow::Continue(())
            },
        );
        assert!((3..20).contains(&visited), "{visited} rows for 3 matches");
    }
}

//! Where each live record lies: per group its entries by index and its newest metadata.
//!
//! - A group's entries are contiguous from `first`; a place lost to damage is kept as [`Position::LOST`].
//! - Twelve bytes an entry. Rebuilt when the log is opened.
//! - Every position that stops being live is told to the caller once: the accounting of space rests on it.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::record::{Kind, Record};

/// Place of a record: the low half of its segment's number, offset and length in that segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Low 32 bits of the segment's sequence number; live segments are far fewer.
    pub segment: u32,
    /// Offset in the segment in bytes.
    pub offset: u32,
    /// Bytes of the record, header included.
    pub bytes: u32,
}

impl Position {
    /// The place of an entry that damage took.
    pub const LOST: Self = Self {
        segment: 0,
        offset: 0,
        bytes: 0,
    };
}

const _: () = assert!(
    size_of::<Position>() == 12,
    "the index costs 12 bytes an entry"
);

/// The newest metadata of a group: where it lies and what it says.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) position: Position,
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) head: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) payload_crc: u32,
}

/// One group's live records.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: u64,
    /// Whether it ever held an entry: `first` means nothing before.
    begun: bool,
    /// Index of the first position.
    pub(crate) first: u64,
    pub(crate) positions: VecDeque<Position>,
    pub(crate) meta: Option<Meta>,
    /// Bytes of live records.
    pub(crate) bytes: u64,
}

impl Group {
    /// The index behind the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(self.positions.len() as u64)
    }

    /// Place of an entry; `None` outside of what is held.
    pub(crate) fn position(&self, index: u64) -> Option<Position> {
        let nth = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.positions.get(nth).copied()
    }

    /// Judges an entry before it is put.
    pub(crate) fn fit(&self, index: u64) -> Fit {
        if !self.begun || index < self.first {
            Fit::Restarts
        } else if index > self.end() {
            Fit::Skips(self.end())
        } else {
            Fit::Follows
        }
    }

    /// Records an entry at its place; what it supersedes, all of the group when it begins anew, is told to `killed`.
    /// Inlined for the position's sake, as [`crate::filling::Filling::push`].
    #[inline(always)]
    pub(crate) fn put_entry(
        &mut self,
        index: u64,
        position: Position,
        restarts: bool,
        killed: &mut impl FnMut(Position),
    ) {
        if restarts || self.fit(index) != Fit::Follows {
            self.kill_from(0, killed);
            self.first = index;
            self.begun = true;
        }
        self.kill_from(index, killed);
        self.bytes += u64::from(position.bytes);
        self.positions.push_back(position);
    }

    /// Records that the entries from the group's end up to before `index` are lost.
    pub(crate) fn put_gap(&mut self, index: u64) {
        while self.end() < index {
            self.positions.push_back(Position::LOST);
        }
    }

    fn kill_from(&mut self, index: u64, killed: &mut impl FnMut(Position)) {
        while self.end() > index.max(self.first) {
            let position = self
                .positions
                .pop_back()
                .expect("the end is behind the first");
            self.bytes -= u64::from(position.bytes);
            killed(position);
        }
    }
}

/// Live records of all groups of a log.
#[derive(Debug, Default)]
pub(crate) struct Index {
    numbers: FxHashMap<u64, u32>,
    /// In the order the groups were first seen.
    groups: Vec<Group>,
}

/// How an entry relates to what its group holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It is the next one, or supersedes some.
    Follows,
    /// It begins the group anew.
    Restarts,
    /// Entries from the first number to before its own index are missing.
    Skips(u64),
}

impl Index {
    pub(crate) fn group(&self, id: u64) -> Option<&Group> {
        self.numbers
            .get(&id)
            .map(|&number| &self.groups[number as usize])
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// A group, known from here on.
    pub(crate) fn group_mut(&mut self, id: u64) -> &mut Group {
        let number = *self.numbers.entry(id).or_insert_with(|| {
            let group = Group {
                id,
                begun: false,
                first: 0,
                positions: VecDeque::new(),
                meta: None,
                bytes: 0,
            };
            self.groups.push(group);
            (self.groups.len() - 1) as u32
        });
        &mut self.groups[number as usize]
    }

    /// Records the newest metadata at its place; the one it replaces is told to `killed`.
    pub(crate) fn put_meta(
        &mut self,
        record: &Record<'_>,
        position: Position,
        killed: &mut impl FnMut(Position),
    ) {
        debug_assert_eq!(record.kind, Kind::Meta, "entries have places of their own");
        let group = self.group_mut(record.group);
        group.bytes += u64::from(position.bytes);
        let meta = match &mut group.meta {
            Some(meta) => {
                group.bytes -= u64::from(meta.position.bytes);
                killed(meta.position);
                meta
            }
            none => none.insert(Meta {
                position,
                index: 0,
                term: 0,
                head: Vec::new(),
                payload: Vec::new(),
                payload_crc: 0,
            }),
        };
        meta.position = position;
        (meta.index, meta.term, meta.payload_crc) = (record.index, record.term, record.payload_crc);
        meta.head.clear();
        meta.head.extend_from_slice(record.head);
        meta.payload.clear();
        meta.payload.extend_from_slice(record.payload);
    }

    /// Takes the bytes of a group's metadata for a while, to append them again: putting the record anew or
    /// [`Index::return_meta`] brings them back.
    pub(crate) fn lend_meta(&mut self, number: u32) -> Option<(Vec<u8>, Vec<u8>)> {
        let meta = self.groups[number as usize].meta.as_mut()?;
        Some((
            std::mem::take(&mut meta.head),
            std::mem::take(&mut meta.payload),
        ))
    }

    /// Brings back what [`Index::lend_meta`] took.
    pub(crate) fn return_meta(&mut self, number: u32, head: Vec<u8>, payload: Vec<u8>) {
        if let Some(meta) = self.groups[number as usize].meta.as_mut() {
            (meta.head, meta.payload) = (head, payload);
        }
    }

    /// Forgets the entries of a group up to and with `upto`.
    pub(crate) fn release(&mut self, id: u64, upto: u64, killed: &mut impl FnMut(Position)) {
        let Some(&number) = self.numbers.get(&id) else {
            return;
        };
        let group = &mut self.groups[number as usize];
        while group.first <= upto {
            let Some(position) = group.positions.pop_front() else {
                return;
            };
            group.first += 1;
            group.bytes -= u64::from(position.bytes);
            killed(position);
        }
    }

    /// Forgets all entries of a group: the next one begins it anew.
    pub(crate) fn restart(&mut self, id: u64, killed: &mut impl FnMut(Position)) {
        if let Some(&number) = self.numbers.get(&id) {
            let group = &mut self.groups[number as usize];
            group.kill_from(0, killed);
            group.begun = false;
        }
    }

    /// Forgets everything of a group; its metadata is told to the second function.
    pub(crate) fn forget(
        &mut self,
        id: u64,
        killed: &mut impl FnMut(Position),
        meta_killed: &mut impl FnMut(Position),
    ) {
        let Some(&number) = self.numbers.get(&id) else {
            return;
        };
        let group = &mut self.groups[number as usize];
        group.kill_from(0, killed);
        group.begun = false;
        if let Some(meta) = group.meta.take() {
            meta_killed(meta.position);
        }
        group.bytes = 0;
    }
}

//! Writes the chapter that is due, a step at a time, while commands go on being applied.
//!
//! - A step handles some thousand rows or one slice of an index, so that the pause between two commands is small.
//! - What is written depends on rows that never change again, not on when the steps are taken.

use core::ops::Range;

use xxhash_rust::xxh3::Xxh3;
use zerocopy::IntoBytes;
use zerocopy::{FromZeros, little_endian::U128};

use crate::balance_stream;
use crate::chapter::{CHAPTER_VERSION, FOOTER_BYTES, Footer, MAGIC, Name, Section, place_bits};
use crate::event_row::RowKind;
use crate::event_rows::EventRows;
use crate::find_blocks::{Field, Key, keys};
use crate::hash_index::{HashIndex, Shape, hash_of, joined, write_directory};
use crate::limits::FANOUT_BITS;
use crate::transfer_table::TransferRow;

/// Rows that a step handles.
const STEP_ROWS: usize = 512;

/// Rows that are fetched before their turn.
const AHEAD: usize = 8;

/// Bytes of balances that a step hands on.
const STEP_BYTES: usize = 64 << 10;

/// Which of the two indexes of a chapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    Ids,
    Fields,
}

/// What is written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Rows from this place on; what else is known of them is gathered.
    Rows(usize),
    /// The gathered balances from this byte on, and where they start.
    Balances(usize),
    /// A slice of an index.
    Slice(Index, usize),
    Directory(Index),
    Footer,
    Done,
}

/// Memory that serves one chapter after another: some megabytes, which would cost more to ask for than to fill.
#[derive(Default)]
pub(crate) struct Buffers {
    /// Made and not handed on yet.
    out: Vec<u8>,
    balances: Vec<u8>,
    starts: Vec<u8>,
    /// Tier 0: entries of each slice, gathered with the rows.
    ids: Vec<Vec<u64>>,
    fields: Vec<Vec<u64>>,
    /// The entries of the slice that is being written, and room to sort them.
    entries: Vec<u64>,
    spare: Vec<u64>,
    /// Where the slices of the index that is being written begin.
    slices: Vec<u64>,
}

impl Buffers {
    /// Empty, with room for so many slices of tier 0.
    fn clear(&mut self, slices: usize) {
        self.out.clear();
        self.balances.clear();
        self.starts.clear();
        for entries in [&mut self.ids, &mut self.fields] {
            entries.resize_with(slices.max(entries.len()), Vec::new);
            entries.iter_mut().for_each(Vec::clear);
        }
    }

    /// Bytes of it.
    pub(crate) fn bytes(&self) -> usize {
        let entries = [&self.ids, &self.fields].into_iter().flatten();
        let entries = entries.chain([&self.entries, &self.spare, &self.slices]);
        let words: usize = entries.map(Vec::capacity).sum();
        let bytes = [&self.out, &self.balances, &self.starts].map(Vec::capacity);
        words * size_of::<u64>() + bytes.iter().sum::<usize>()
    }
}

/// A chapter in the making.
pub(crate) struct ChapterWriter {
    name: Name,
    shape: Shape,
    stage: Stage,
    footer: Footer,
    /// Bytes so far.
    written: u64,
    hasher: Xxh3,
    buffers: Buffers,
    /// Bytes of `buffers.out` that were handed on.
    handed: usize,
    /// Where that index begins.
    section: u64,
}

impl ChapterWriter {
    /// Begins the chapter that is due.
    pub(crate) fn new(rows: &EventRows, mut buffers: Buffers) -> Self {
        let name = rows.shelf().shape().next();
        let row_bits = rows.shelf().row_bits().unwrap_or(0);
        let shape = Shape {
            place_bits: place_bits(row_bits, name.tier),
        };
        let mut footer = Footer::new_zeroed();
        footer.magic = MAGIC;
        footer.version = CHAPTER_VERSION.into();
        footer.tier = (name.tier as u32).into();
        footer.ordinal = name.ordinal.into();
        footer.row_bits = row_bits.into();
        footer.id_min = U128::new(u128::MAX);
        footer.previous = rows.shelf().chain().into();
        buffers.clear(if name.tier == 0 { shape.slices() } else { 0 });
        Self {
            name,
            shape,
            stage: if name.tier == 0 {
                Stage::Rows(0)
            } else {
                Stage::Slice(Index::Ids, 0)
            },
            footer,
            written: 0,
            hasher: Xxh3::new(),
            buffers,
            handed: 0,
            section: 0,
        }
    }

    /// Gives its memory to the next one.
    pub(crate) fn into_buffers(self) -> Buffers {
        self.buffers
    }

    /// The footer, once all is written.
    pub(crate) const fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Appends the next bytes, at most `budget`; true when there are no more.
    pub(crate) fn next(&mut self, rows: &EventRows, budget: usize, piece: &mut Vec<u8>) -> bool {
        // A step that makes few bytes has its cost all the same.
        let mut left = budget.max(1);
        loop {
            if piece.is_empty() && self.handed == 0 && self.buffers.out.len() <= budget {
                core::mem::swap(piece, &mut self.buffers.out);
                left = left.saturating_sub(piece.len());
            }
            let ready = &self.buffers.out[self.handed..];
            let take = ready.len().min(left);
            piece.extend_from_slice(&ready[..take]);
            self.handed += take;
            left -= take;
            if self.handed < self.buffers.out.len() || left == 0 {
                return false;
            }
            if self.stage == Stage::Done {
                return true;
            }
            self.buffers.out.clear();
            self.handed = 0;
            self.step(rows);
            self.written += self.buffers.out.len() as u64;
            if self.stage != Stage::Done {
                self.hasher.update(&self.buffers.out);
            }
            left = left.saturating_sub(STEP_BYTES / 8).max(1);
        }
    }

    fn step(&mut self, rows: &EventRows) {
        self.stage = match self.stage {
            Stage::Rows(place) => self.write_rows(rows, place),
            Stage::Balances(byte) => self.write_balances(byte),
            Stage::Slice(index, slice) => self.write_slice(rows, index, slice),
            Stage::Directory(index) => self.write_directory(index),
            Stage::Footer => self.write_footer(rows),
            Stage::Done => Stage::Done,
        };
    }

    fn rows(&self) -> Range<usize> {
        let count = 1_usize << self.shape.place_bits;
        let first = self.name.ordinal as usize * count;
        first..first + count
    }

    /// Ends section `section` here; the next one begins here.
    fn end_section(&mut self, section: usize) {
        let end = self.written + self.buffers.out.len() as u64;
        self.footer.sections[section] = Section::between(self.section, end);
        self.section = end;
    }

    fn write_rows(&mut self, rows: &EventRows, first: usize) -> Stage {
        let range = self.rows();
        let end = range.len().min(first + STEP_ROWS);
        for place in first..end {
            let row = TransferRow::new(range.start + place);
            rows.prefetch(TransferRow::new(range.start + place + AHEAD));
            let event = rows.get(row);
            self.buffers.out.extend_from_slice(event.as_bytes());
            balance_stream::append(
                &rows.balances(row),
                place,
                &mut self.buffers.balances,
                &mut self.buffers.starts,
            );
            let (shape, place) = (self.shape, place as u32);
            keys(event, |key| {
                let hash = key.hash();
                self.buffers.fields[shape.slice_of(hash)].push(joined(hash, place));
            });
            if event.kind() != RowKind::Expiry {
                let id = event.fields().id.get();
                let hash = Key::new(Field::Id, id).hash();
                self.buffers.ids[shape.slice_of(hash)].push(joined(hash, place));
                self.footer.id_min = self.footer.id_min.get().min(id).into();
                self.footer.id_max = self.footer.id_max.get().max(id).into();
            }
        }
        if end < range.len() {
            return Stage::Rows(end);
        }
        self.end_section(0);
        Stage::Balances(0)
    }

    fn write_balances(&mut self, first: usize) -> Stage {
        let end = self.buffers.balances.len().min(first + STEP_BYTES);
        self.buffers
            .out
            .extend_from_slice(&self.buffers.balances[first..end]);
        if end < self.buffers.balances.len() {
            return Stage::Balances(end);
        }
        self.end_section(1);
        self.buffers.out.extend_from_slice(&self.buffers.starts);
        self.end_section(2);
        Stage::Slice(Index::Ids, 0)
    }

    fn write_slice(&mut self, rows: &EventRows, index: Index, slice: usize) -> Stage {
        if slice == 0 {
            self.buffers.slices.clear();
        }
        self.buffers.slices.push(self.written - self.section);
        let mut entries = core::mem::take(&mut self.buffers.entries);
        if self.name.tier == 0 {
            core::mem::swap(
                &mut entries,
                match index {
                    Index::Ids => &mut self.buffers.ids[slice],
                    Index::Fields => &mut self.buffers.fields[slice],
                },
            );
        } else {
            entries.clear();
            self.gather(rows, index, self.shape.hashes(slice), &mut entries);
        }
        self.shape
            .sort(slice, &mut entries, &mut self.buffers.spare);
        if index == Index::Ids {
            self.sort_collisions(rows, &mut entries);
        }
        self.shape
            .write_slice(slice, &entries, &mut self.buffers.out);
        self.buffers.entries = entries;
        if slice + 1 < self.shape.slices() {
            Stage::Slice(index, slice + 1)
        } else {
            Stage::Directory(index)
        }
    }

    /// The entries of some hashes in all chapters of the tier below that this one covers.
    fn gather(&self, rows: &EventRows, index: Index, hashes: Range<u32>, entries: &mut Vec<u64>) {
        let first = self.rows().start;
        let lower = self.name.ordinal << FANOUT_BITS..(self.name.ordinal + 1) << FANOUT_BITS;
        for ordinal in lower {
            let chapter = rows.shelf().chapter(Name {
                tier: self.name.tier - 1,
                ordinal,
            });
            let offset = (chapter.rows().start - first) as u32;
            let source: HashIndex<'_> = match index {
                Index::Ids => chapter.ids(),
                Index::Fields => chapter.fields(),
            };
            source.each(hashes.clone(), |hash, place| {
                entries.push(joined(hash, offset + place));
            });
        }
    }

    /// Ids with one hash stand in order of the ids, so that many of them are no burden to find.
    fn sort_collisions(&self, rows: &EventRows, entries: &mut [u64]) {
        let first = self.rows().start;
        for same in entries.chunk_by_mut(|one, other| hash_of(*one) == hash_of(*other)) {
            if same.len() > 1 {
                same.sort_unstable_by_key(|entry| {
                    let place = *entry as u32 as usize;
                    rows.get(TransferRow::new(first + place)).fields().id.get()
                });
            }
        }
    }

    fn write_directory(&mut self, index: Index) -> Stage {
        self.buffers.slices.push(self.written - self.section);
        write_directory(&self.buffers.slices, &mut self.buffers.out);
        match index {
            Index::Ids => {
                self.end_section(3);
                Stage::Slice(Index::Fields, 0)
            }
            Index::Fields => {
                self.end_section(4);
                Stage::Footer
            }
        }
    }

    fn write_footer(&mut self, rows: &EventRows) -> Stage {
        if self.name.tier > 0 {
            self.span_lower(rows);
            // Rows and balances are with the chapters of tier 0: their sections are empty.
        }
        let range = self.rows();
        let timestamp = |row: usize| rows.get(TransferRow::new(row)).fields().timestamp;
        self.footer.timestamp_first = timestamp(range.start);
        self.footer.timestamp_last = timestamp(range.end - 1);
        self.footer.content = self.hasher.digest128().into();
        self.footer.checksum = self.footer.sum().into();
        self.buffers.out.extend_from_slice(self.footer.as_bytes());
        debug_assert_eq!(self.buffers.out.len(), FOOTER_BYTES);
        Stage::Done
    }

    /// The ids of an index's chapter reach from the least of its lower chapters to their largest.
    fn span_lower(&mut self, rows: &EventRows) {
        let lower = self.name.ordinal << FANOUT_BITS..(self.name.ordinal + 1) << FANOUT_BITS;
        for ordinal in lower {
            let footer = rows
                .shelf()
                .chapter(Name {
                    tier: self.name.tier - 1,
                    ordinal,
                })
                .footer();
            self.footer.id_min = self.footer.id_min.get().min(footer.id_min.get()).into();
            self.footer.id_max = self.footer.id_max.get().max(footer.id_max.get()).into();
        }
    }
}

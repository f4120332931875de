//! Takes an image over, piece by piece, and the chapters that it counts on.
//!
//! - A frame is verified as a whole before anything of it is used.
//! - What would break an invariant of a table is refused, whatever the checksums say. In the end the state hash must be
//!   that of the machine whose image it is.
//! - The chapters may come before, between or after the pieces, in any order.

use std::collections::BTreeMap;

use raft::state_machine::RestoreError;
use zerocopy::FromBytes;

use crate::account::Account;
use crate::balances::Both;
use crate::books::Books;
use crate::chapter::Chapter;
use crate::digest::Digest;
use crate::event_row::EventRow;
use crate::image::{Clock, End, FRAME_BYTES_MAX, FrameHead, Head, IMAGE_VERSION, MAGIC, Section};
use crate::shelf::{Shape, Shelf, number};

/// A restore that is under way.
pub(crate) struct Restore {
    /// A frame that is not complete yet.
    partial: Vec<u8>,
    /// Bytes before it.
    offset: u64,
    frames: u64,
    section: Section,
    head: Option<Head>,
    end: Option<End>,
    chapters: BTreeMap<u64, Chapter>,
}

impl Restore {
    pub(crate) fn begin() -> Self {
        Self {
            partial: Vec::new(),
            offset: 0,
            frames: 0,
            section: Section::Head,
            head: None,
            end: None,
            chapters: BTreeMap::new(),
        }
    }

    fn malformed(&self) -> RestoreError {
        RestoreError::Malformed(self.offset)
    }

    /// Takes the next bytes of the image.
    pub(crate) fn piece(
        &mut self,
        books: &mut Books,
        mut piece: &[u8],
    ) -> Result<(), RestoreError> {
        while !piece.is_empty() {
            if self.end.is_some() {
                return Err(self.malformed());
            }
            let wanted = self.frame_bytes()? - self.partial.len();
            let take = wanted.min(piece.len());
            let (now, later) = piece.split_at(take);
            self.partial.extend_from_slice(now);
            piece = later;
            if self.partial.len() >= size_of::<FrameHead>()
                && self.partial.len() == self.frame_bytes()?
            {
                self.frame(books)?;
                self.offset += self.partial.len() as u64;
                self.partial.clear();
                self.frames += 1;
            }
        }
        Ok(())
    }

    /// How long the frame is that has begun, as far as that is known.
    fn frame_bytes(&self) -> Result<usize, RestoreError> {
        let head_bytes = size_of::<FrameHead>();
        let Ok((head, _)) = FrameHead::read_from_prefix(&self.partial) else {
            return Ok(head_bytes);
        };
        let bytes = head.bytes.get() as usize;
        if bytes == 0 || bytes > FRAME_BYTES_MAX {
            return Err(self.malformed());
        }
        Ok(head_bytes + bytes)
    }

    /// Verifies a complete frame and takes its elements over.
    fn frame(&mut self, books: &mut Books) -> Result<(), RestoreError> {
        let (head, elements) =
            FrameHead::read_from_prefix(&self.partial).map_err(|_| self.malformed())?;
        let section = head.section.get();
        let sum = crate::image::frame_checksum(self.frames, section, elements);
        if head.checksum.get() != sum {
            return Err(self.malformed());
        }
        let section = Section::ALL
            .into_iter()
            .find(|known| *known as u32 == section)
            .ok_or(self.malformed())?;
        let in_order = section >= self.section && (self.head.is_some() || section == Section::Head);
        if !in_order || !elements.len().is_multiple_of(section.element()) {
            return Err(self.malformed());
        }
        let elements = elements.to_vec();
        self.section = section;
        self.elements(books, section, &elements)
    }

    fn elements(
        &mut self,
        books: &mut Books,
        section: Section,
        elements: &[u8],
    ) -> Result<(), RestoreError> {
        let malformed = self.malformed();
        let each = elements.chunks_exact(section.element());
        match section {
            Section::Head => return self.take_head(books, elements),
            Section::End => {
                let end = End::read_from_bytes(elements).map_err(|_| malformed)?;
                if end.frames.get() != self.frames {
                    return Err(malformed);
                }
                self.end = Some(end);
            }
            Section::Accounts => {
                for account in each {
                    let account = Account::read_from_bytes(account).map_err(|_| malformed)?;
                    books.accounts.restore(&account, malformed)?;
                }
            }
            Section::Fates => {
                for line in each {
                    let line = line.try_into().map_err(|_| malformed)?;
                    books.pendings.fates_mut().restore(line);
                }
            }
            Section::Reservations => {
                for slot in each {
                    books.pendings.restore_slot(slot, malformed)?;
                }
            }
            Section::Rows => {
                for row in each {
                    let (row, sums) = EventRow::read_from_prefix(row).map_err(|_| malformed)?;
                    let mut both = Both::default();
                    for (sum, bytes) in both.0.iter_mut().zip(sums.chunks_exact(16)) {
                        *sum = u128::from_le_bytes(bytes.try_into().map_err(|_| malformed)?);
                    }
                    books.restore_row(&row, &both, malformed)?;
                }
            }
        }
        Ok(())
    }

    fn take_head(&mut self, books: &mut Books, elements: &[u8]) -> Result<(), RestoreError> {
        let head = Head::read_from_bytes(elements).map_err(|_| self.malformed())?;
        if head.magic != MAGIC || self.head.is_some() {
            return Err(self.malformed());
        }
        if head.version.get() != IMAGE_VERSION {
            return Err(RestoreError::Version(head.version.get()));
        }
        let row_bits = books.transfers.rows().shelf().row_bits();
        let rows = usize::try_from(head.rows.get()).map_err(|_| self.malformed())?;
        if head.row_bits.get() != row_bits.unwrap_or(u32::MAX) || rows >= u32::MAX as usize {
            return Err(self.malformed());
        }
        let shape = Shape::first(head.chapters.get(), rows, row_bits);
        let shape = shape.ok_or(self.malformed())?;
        let counts = crate::transfer_table::Counts {
            transfers: head.transfers.get(),
            spent: head.spent.get(),
            expiries: head.expiries.get(),
            id_sum: head.id_sum.get(),
        };
        let all = [counts.transfers, counts.spent, counts.expiries];
        if all.iter().map(|count| u128::from(*count)).sum::<u128>() != rows as u128 {
            return Err(self.malformed());
        }
        books.begin_restore(&shape, counts, head.id_max.get())?;
        self.head = Some(head);
        Ok(())
    }

    /// Takes a chapter that the image may count on.
    pub(crate) fn shelve(&mut self, chapter: u64, bytes: Chapter) -> Result<(), RestoreError> {
        bytes.check_content()?;
        if number(bytes.name()) != chapter {
            return Err(RestoreError::Malformed(0));
        }
        self.chapters.insert(chapter, bytes);
        Ok(())
    }

    /// Puts everything together. The clock and the digest that the machine goes on with, and the digest that it must
    /// answer.
    pub(crate) fn end(mut self, books: &mut Books) -> Result<(Clock, u128), RestoreError> {
        let malformed = self.malformed();
        let (Some(head), Some(end)) = (self.head, self.end) else {
            return Err(RestoreError::Incomplete);
        };
        let mut shelf = Shelf::new(books.transfers.rows().shelf().row_bits());
        for chapter in 0..head.chapters.get() {
            let bytes = self.chapters.remove(&chapter);
            shelf.add(bytes.ok_or(RestoreError::MissingChapter(chapter))?)?;
        }
        let complete = shelf.chain() == end.chain.get()
            && books.accounts.len() as u64 == head.accounts.get()
            && books.transfers.len() as u64 == head.rows.get()
            && books.pendings.fates().len() as u64 == head.fate_lines.get()
            && books.pendings.slots() as u64 == head.slots.get();
        if !complete {
            return Err(malformed);
        }
        books.end_restore(shelf, head.free.get(), head.open.get(), malformed)?;
        if books.transfers.last_timestamp() != head.last_timestamp.get() {
            return Err(malformed);
        }
        let clock = Clock {
            timestamp: head.timestamp.get(),
            digest: Digest::of(head.digest.get()),
        };
        Ok((clock, end.digest.get()))
    }
}

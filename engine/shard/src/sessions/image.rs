//! Sessions in an image of a group's state: before the image of the machine within, to and from bytes.
//!
//! Drawn in `docs/formats-shard.md`, "Sessions".
//!
//! - Two replicas at one index write the same bytes.
//! - Version 1, which knew no origins, is read as well.
//! - Every length is checked against its limit before memory is spent on it.

use raft::state_machine::RestoreError;
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits::SESSION_REPLY_MAX;
use crate::sessions::table::{Entry, Table};

const MAGIC: [u8; 4] = *b"QSES";
const VERSION: u32 = 2;
/// The oldest that can be read.
const VERSION_MIN: u32 = 1;

/// How every image of sessions begins.
pub(crate) const START: [u8; 8] = *b"QSES\x02\0\0\0";

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    magic: [u8; 4],
    version: U32,
    given: U32,
    floor: U32,
    count: U32,
    zero: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Row {
    client: U128,
    session: U32,
    request: U32,
    used_at: U64,
    reply_bytes: U32,
    /// Zero in version 1.
    origin: U32,
}

const HEAD_BYTES: usize = size_of::<Head>();
const ROW_BYTES: usize = size_of::<Row>();
const _: () = assert!(HEAD_BYTES == 24 && ROW_BYTES == 40);

/// The bytes of a table.
pub(crate) fn encode(table: &Table) -> Vec<u8> {
    let entries = table.in_order();
    let head = Head {
        magic: MAGIC,
        version: VERSION.into(),
        given: table.given().into(),
        floor: table.floor().into(),
        count: (entries.len() as u32).into(),
        zero: 0.into(),
    };
    let mut bytes = head.as_bytes().to_vec();
    for (client, entry) in entries {
        let row = Row {
            client: client.into(),
            session: entry.session.into(),
            request: entry.request.into(),
            used_at: entry.used_at.into(),
            reply_bytes: (entry.reply.len() as u32).into(),
            origin: entry.origin.into(),
        };
        bytes.extend_from_slice(row.as_bytes());
        bytes.extend_from_slice(&entry.reply);
    }
    bytes
}

/// What the head said.
#[derive(Clone, Copy, Debug)]
struct Begun {
    version: u32,
    given: u32,
    floor: u32,
    count: usize,
}

/// A table being read from pieces.
#[derive(Debug, Default)]
pub struct Restoring {
    held: Vec<u8>,
    offset: u64,
    begun: Option<Begun>,
    entries: Vec<(u128, Entry)>,
    done: bool,
}

impl Restoring {
    /// Has the whole table been read?
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Takes a piece, and returns what of it lies behind the table.
    ///
    /// # Errors
    /// `Version`, `Malformed`, `Full`.
    pub(crate) fn take<'a>(
        &mut self,
        piece: &'a [u8],
        table: &mut Table,
    ) -> Result<&'a [u8], RestoreError> {
        let mut rest = piece;
        while !self.done {
            let wanted = self.wanted()?;
            let missing = wanted - self.held.len();
            let (taken, behind) = rest.split_at(missing.min(rest.len()));
            self.held.extend_from_slice(taken);
            rest = behind;
            if self.held.len() < wanted {
                break;
            }
            self.step(table)?;
        }
        Ok(rest)
    }

    /// Bytes of the head, or of the row that comes next; with its reply, once its length is known.
    fn wanted(&self) -> Result<usize, RestoreError> {
        let Some(begun) = self.begun else {
            return Ok(HEAD_BYTES);
        };
        let Ok((row, _)) = Row::ref_from_prefix(&self.held) else {
            return Ok(ROW_BYTES);
        };
        let reply = row.reply_bytes.get() as usize;
        if reply > SESSION_REPLY_MAX || begun.version < 2 && row.origin.get() != 0 {
            return Err(RestoreError::Malformed(self.offset));
        }
        Ok(ROW_BYTES + reply)
    }

    fn step(&mut self, table: &mut Table) -> Result<(), RestoreError> {
        let malformed = RestoreError::Malformed(self.offset);
        if self.begun.is_none() {
            let head = Head::ref_from_bytes(&self.held).map_err(|_| malformed)?;
            if head.magic != MAGIC || head.zero.get() != 0 {
                return Err(malformed);
            }
            let version = head.version.get();
            if !(VERSION_MIN..=VERSION).contains(&version) {
                return Err(RestoreError::Version(version));
            }
            let count = head.count.get() as usize;
            if count > table.entries_max() {
                return Err(RestoreError::Full);
            }
            self.begun = Some(Begun {
                version,
                given: head.given.get(),
                floor: head.floor.get(),
                count,
            });
            self.offset += HEAD_BYTES as u64;
            self.held.clear();
            return self.finish(table, malformed);
        }
        let (row, reply) = Row::ref_from_prefix(&self.held).map_err(|_| malformed)?;
        if reply.len() < row.reply_bytes.get() as usize {
            // The row alone is here: its reply is wanted next.
            return Ok(());
        }
        let entry = Entry::new(
            (row.session.get(), row.request.get()),
            row.origin.get(),
            row.used_at.get(),
            reply.to_vec(),
        );
        self.entries.push((row.client.get(), entry));
        self.offset += self.held.len() as u64;
        self.held.clear();
        self.finish(table, malformed)
    }

    fn finish(&mut self, table: &mut Table, malformed: RestoreError) -> Result<(), RestoreError> {
        let begun = self.begun.expect("the head was read");
        if self.entries.len() < begun.count {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        if !table.restore(begun.given, begun.floor, entries) {
            return Err(malformed);
        }
        self.done = true;
        Ok(())
    }
}

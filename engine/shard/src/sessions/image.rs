//! Sessions in an image of a group's state: before the image of the machine within, to and from bytes.
//!
//! Drawn in `docs/formats-shard.md`, "Sessions".
//!
//! - Two replicas at one index write the same bytes.
//! - Every length is checked against its limit before memory is spent on it.

use raft::state_machine::RestoreError;
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits::SESSION_REPLY_MAX;
use crate::sessions::table::{Entry, Table};

const MAGIC: [u8; 4] = *b"QSES";
const VERSION: u32 = 1;

/// How every image of sessions begins.
pub(crate) const START: [u8; 8] = *b"QSES\x01\0\0\0";

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
    zero: U32,
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
            zero: 0.into(),
        };
        bytes.extend_from_slice(row.as_bytes());
        bytes.extend_from_slice(&entry.reply);
    }
    bytes
}

/// A table being read from pieces.
#[derive(Debug, Default)]
pub struct Restoring {
    held: Vec<u8>,
    offset: u64,
    begun: Option<(u32, u32, usize)>,
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
        if self.begun.is_none() {
            return Ok(HEAD_BYTES);
        }
        let Ok((row, _)) = Row::ref_from_prefix(&self.held) else {
            return Ok(ROW_BYTES);
        };
        let reply = row.reply_bytes.get() as usize;
        if reply > SESSION_REPLY_MAX || row.zero.get() != 0 {
            return Err(RestoreError::Malformed(self.offset));
        }
        Ok(ROW_BYTES + reply)
    }

    fn step(&mut self, table: &mut Table) -> Result<(), RestoreError> {
        let malformed = RestoreError::Malformed(self.offset);
        let Some((given, floor, count)) = self.begun else {
            let head = Head::ref_from_bytes(&self.held).map_err(|_| malformed)?;
            if head.magic != MAGIC || head.zero.get() != 0 {
                return Err(malformed);
            }
            if head.version.get() != VERSION {
                return Err(RestoreError::Version(head.version.get()));
            }
            let count = head.count.get() as usize;
            if count > table.entries_max() {
                return Err(RestoreError::Full);
            }
            self.begun = Some((head.given.get(), head.floor.get(), count));
            self.offset += HEAD_BYTES as u64;
            self.held.clear();
            return self.finish(count, table, malformed);
        };
        let _ = (given, floor);
        let (row, reply) = Row::ref_from_prefix(&self.held).map_err(|_| malformed)?;
        if reply.len() < row.reply_bytes.get() as usize {
            // The row alone is here: its reply is wanted next.
            return Ok(());
        }
        let entry = Entry::new(
            row.session.get(),
            row.request.get(),
            row.used_at.get(),
            reply.to_vec(),
        );
        self.entries.push((row.client.get(), entry));
        self.offset += self.held.len() as u64;
        self.held.clear();
        self.finish(count, table, malformed)
    }

    fn finish(
        &mut self,
        count: usize,
        table: &mut Table,
        malformed: RestoreError,
    ) -> Result<(), RestoreError> {
        if self.entries.len() < count {
            return Ok(());
        }
        let (given, floor, _) = self.begun.expect("the head was read");
        if !table.restore(given, floor, std::mem::take(&mut self.entries)) {
            return Err(malformed);
        }
        self.done = true;
        Ok(())
    }
}

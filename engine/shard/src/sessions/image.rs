//! Sessions in an image of a group's state: before the image of the machine within, to and from bytes.
//!
//! Drawn in `docs/formats-shard.md`, "Sessions".
//!
//! - Two replicas at one index write the same bytes.
//! - Version 1, which knew no origins, and version 2, which knew one floor, are read as well.
//! - Every length is checked against its limit before memory is spent on it.

use std::collections::BTreeMap;

use raft::state_machine::RestoreError;
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits::{SESSION_FLOORS_MAX, SESSION_REPLY_MAX};
use crate::sessions::table::{Entry, Table};

const MAGIC: [u8; 4] = *b"QSES";
const VERSION: u32 = 3;
/// The oldest that can be read.
const VERSION_MIN: u32 = 1;

/// How every image of sessions begins.
pub(crate) const START: [u8; 8] = *b"QSES\x03\0\0\0";

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    magic: [u8; 4],
    version: U32,
    given: U32,
    floor: U32,
    count: U32,
    /// Zero before version 3.
    floors: U32,
}

/// Of an origin's sessions, the highest that was forgotten.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Floor {
    origin: U32,
    session: U32,
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
const FLOOR_BYTES: usize = size_of::<Floor>();
const _: () = assert!(HEAD_BYTES == 24 && ROW_BYTES == 40 && FLOOR_BYTES == 8);

/// The bytes of a table.
pub(crate) fn encode(table: &Table) -> Vec<u8> {
    let entries = table.in_order();
    let head = Head {
        magic: MAGIC,
        version: VERSION.into(),
        given: table.given().into(),
        floor: table.floor().into(),
        count: (entries.len() as u32).into(),
        floors: (table.floors().len() as u32).into(),
    };
    let mut bytes = head.as_bytes().to_vec();
    for (&origin, &session) in table.floors() {
        let floor = Floor {
            origin: origin.into(),
            session: session.into(),
        };
        bytes.extend_from_slice(floor.as_bytes());
    }
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
    floors: usize,
}

/// A table being read from pieces.
#[derive(Debug, Default)]
pub struct Restoring {
    held: Vec<u8>,
    offset: u64,
    begun: Option<Begun>,
    floors: BTreeMap<u32, u32>,
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

    /// Bytes of the head, of all floors, or of the row that comes next; with its reply, once its length is known.
    fn wanted(&self) -> Result<usize, RestoreError> {
        let Some(begun) = self.begun else {
            return Ok(HEAD_BYTES);
        };
        if self.floors.len() < begun.floors {
            return Ok(begun.floors * FLOOR_BYTES);
        }
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
            self.begin(*head, table.entries_max())?;
            return self.finish(table, malformed);
        }
        if self.floors.len() < self.begun.map_or(0, |begun| begun.floors) {
            self.take_floors().ok_or(malformed)?;
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

    fn begin(&mut self, head: Head, count_max: usize) -> Result<(), RestoreError> {
        let malformed = RestoreError::Malformed(self.offset);
        if head.magic != MAGIC {
            return Err(malformed);
        }
        let version = head.version.get();
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(RestoreError::Version(version));
        }
        let (count, floors) = (head.count.get() as usize, head.floors.get() as usize);
        if version < 3 && floors > 0 {
            return Err(malformed);
        }
        if count > count_max || floors > SESSION_FLOORS_MAX {
            return Err(RestoreError::Full);
        }
        self.begun = Some(Begun {
            version,
            given: head.given.get(),
            floor: head.floor.get(),
            count,
            floors,
        });
        self.offset += HEAD_BYTES as u64;
        self.held.clear();
        Ok(())
    }

    /// All floors are here: in order of their origins, each above the one for all.
    fn take_floors(&mut self) -> Option<()> {
        let (floors, begun) = (<[Floor]>::ref_from_bytes(&self.held).ok()?, self.begun?);
        let rise = floors.is_sorted_by(|one, next| one.origin.get() < next.origin.get());
        let above = floors.iter().all(|of| of.session.get() > begun.floor);
        if !rise || !above {
            return None;
        }
        let pairs = floors.iter().map(|of| (of.origin.get(), of.session.get()));
        self.floors = pairs.collect();
        self.offset += self.held.len() as u64;
        self.held.clear();
        Some(())
    }

    fn finish(&mut self, table: &mut Table, malformed: RestoreError) -> Result<(), RestoreError> {
        let begun = self.begun.expect("the head was read");
        if self.floors.len() < begun.floors || self.entries.len() < begun.count {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        let floors = std::mem::take(&mut self.floors);
        if !table.restore((begun.given, begun.floor), floors, entries) {
            return Err(malformed);
        }
        self.done = true;
        Ok(())
    }
}

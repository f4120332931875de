//! One entry as the shard carries it: a 48-byte head of its own and the client's bytes, untouched.
//!
//! Offsets of the head, little-endian (docs/formats.md, "Entry head"):
//!
//! ```text
//!  0  u64  commit     the leader's commit index when it proposed the entry
//!  8  u64  time       the leader's wall clock then, ns since the Unix epoch
//! 16  u128 client     who asked
//! 32  u64  number     the client's number of the request
//! 40  u8   operation  what to do; the state machine's
//! 41  u8   kind       0 command, 1 empty, 2 configuration, 3 receipt of the object store
//! 42  6 B  zero
//! ```
//!
//! - The head and the payload are the same bytes in the log of every replica.
//! - `payload_crc` is the checksum that the client computed; nobody computes another.

use bytes::Bytes;
use raft::ids::{Index, Term};
use raft::state_machine::Asker;
use zerocopy::little_endian::{U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of an entry's head.
pub const HEAD_BYTES: usize = size_of::<EntryHead>();

const _: () = assert!(HEAD_BYTES == 48);

/// The fixed part of an entry.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EntryHead {
    /// The leader's commit index when it proposed the entry: everything up to it was committed then,
    /// so a restart may apply that far without asking anybody.
    pub commit: U64,
    /// The leader's wall clock, nanoseconds since the Unix epoch.
    pub time: U64,
    /// The client's session.
    pub client: U128,
    /// The request's number in its session.
    pub number: U64,
    /// The machine's operation.
    pub operation: u8,
    kind: u8,
    zero: [u8; 6],
}

/// Whose an entry's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A client's, for the state machine.
    Command,
    /// Nobody's: the first entry of a term.
    Empty,
    /// The group's own membership.
    Configuration,
    /// What lies in the object store, see [`crate::offload`].
    Receipt,
}

/// An entry with its bytes.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its position.
    pub index: Index,
    /// The term whose leader made it.
    pub term: Term,
    /// Its head.
    pub head: EntryHead,
    /// The client's bytes.
    pub payload: Bytes,
    /// Their CRC-32 (IEEE).
    pub payload_crc: u32,
}

/// An entry head that this version cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryHeadError {
    /// Wrong length.
    #[error("an entry head of {0} bytes; {HEAD_BYTES} expected")]
    Length(usize),
    /// Unknown kind.
    #[error("an entry of unknown kind {0}")]
    Kind(u8),
    /// Reserved bytes are not zero.
    #[error("reserved bytes of an entry head are not zero")]
    Reserved,
}

impl EntryHead {
    /// The head of a client's command.
    #[must_use]
    pub fn command(commit: Index, time: u64, client: u128, number: u64, operation: u8) -> Self {
        Self {
            commit: commit.0.into(),
            time: time.into(),
            client: client.into(),
            number: number.into(),
            operation,
            kind: 0,
            zero: [0; 6],
        }
    }

    /// The head of an entry that the group itself made.
    #[must_use]
    pub fn made(commit: Index, time: u64, kind: EntryKind) -> Self {
        let mut head = Self::command(commit, time, 0, 0, 0);
        head.kind = match kind {
            EntryKind::Command => 0,
            EntryKind::Empty => 1,
            EntryKind::Configuration => 2,
            EntryKind::Receipt => 3,
        };
        head
    }

    /// Reads a head that came from disk or wire.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryHeadError> {
        let head = Self::read_from_bytes(bytes).map_err(|_| EntryHeadError::Length(bytes.len()))?;
        if head.kind > 3 {
            return Err(EntryHeadError::Kind(head.kind));
        }
        if head.zero != [0; 6] {
            return Err(EntryHeadError::Reserved);
        }
        Ok(head)
    }

    /// Who asked.
    #[must_use]
    pub fn asker(&self) -> Asker {
        Asker {
            client: self.client.get(),
            number: self.number.get(),
        }
    }

    /// Whose the content is.
    #[must_use]
    pub fn kind(&self) -> EntryKind {
        match self.kind {
            0 => EntryKind::Command,
            1 => EntryKind::Empty,
            2 => EntryKind::Configuration,
            _ => EntryKind::Receipt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_the_round_trip() {
        let head = EntryHead::command(Index(7), 9, 11, 13, 147);
        let parsed = EntryHead::parse(head.as_bytes()).expect("own bytes");
        assert_eq!(parsed.as_bytes(), head.as_bytes());
        assert_eq!(parsed.kind(), EntryKind::Command);
        let made = EntryHead::made(Index(7), 9, EntryKind::Configuration);
        assert_eq!(
            EntryHead::parse(made.as_bytes()).expect("own bytes").kind(),
            EntryKind::Configuration
        );
    }

    #[test]
    fn a_foreign_head_is_refused() {
        let head = EntryHead::command(Index(7), 9, 11, 13, 147);
        let mut bytes = head.as_bytes().to_vec();
        bytes[41] = 4;
        assert_eq!(
            EntryHead::parse(&bytes).err(),
            Some(EntryHeadError::Kind(4))
        );
        bytes[41] = 0;
        bytes[47] = 1;
        assert_eq!(
            EntryHead::parse(&bytes).err(),
            Some(EntryHeadError::Reserved)
        );
        assert_eq!(
            EntryHead::parse(&bytes[1..]).err(),
            Some(EntryHeadError::Length(47))
        );
    }
}

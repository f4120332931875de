//! Reading a group's history from outside: entries from any index on, as any node has them.
//!
//! - Every payload is whole and its checksum is the one that its client computed.
//! - A gap is a value: entries that are kept nowhere are told, with where it goes on.

use raft::ids::GroupId;
use shard::entry::EntryHead;
pub use shard::entry::EntryKind;
use shard::history::{AnswerHead, ENTRIES, PieceHead, parse};

use crate::client::{Client, ClientError};

/// An entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastEntry {
    /// Its position.
    pub index: u64,
    /// The term whose leader made it.
    pub term: u64,
    /// The leader's wall clock when it proposed the entry, nanoseconds since the Unix epoch.
    pub time: u64,
    /// Whose it is.
    pub kind: EntryKind,
    /// The client's session; 0 for what the group itself made.
    pub client: u128,
    /// The client's number of the request.
    pub number: u64,
    /// What it does; the state machine's.
    pub operation: u8,
    /// What it says.
    pub payload: Vec<u8>,
}

/// A part of a group's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastEntries {
    /// The entries, in order and without a gap. Without any: nothing is kept from where was asked up to `next`, or that
    /// is not there yet.
    pub entries: Vec<PastEntry>,
    /// Where to ask on.
    pub next: u64,
    /// The last entry that there was when it was answered.
    pub applied: u64,
}

/// Why the history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// Nobody answered.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer is none: this program and the node are of different versions.
    #[error("the answer about group {0} from entry {1} on cannot be read: other versions")]
    Answer(u64, u64),
    /// The payload is not what its client sent.
    #[error("entry {0} does not match its checksum")]
    Checksum(u64),
}

impl Client {
    /// Reads on in a group's history from this index, from 1.
    ///
    /// # Errors
    /// Everything `PastError` names.
    pub fn history(&mut self, group: GroupId, from: u64) -> Result<PastEntries, PastError> {
        let mut told = PastEntries::default();
        let mut begun: Option<(PieceHead, Vec<u8>)> = None;
        let (mut index, mut offset) = (from, 0_u64);
        loop {
            let body: Vec<u8> = [index.to_le_bytes(), offset.to_le_bytes()].concat();
            let answer = self.request(group, ENTRIES, body)?;
            let wrong = || PastError::Answer(group.0, index);
            let (head, pieces) = parse(&answer).ok_or_else(wrong)?;
            for (piece, bytes) in pieces {
                let (of, mut payload) = begun.take().unwrap_or((piece, Vec::new()));
                let expected = (of.index, payload.len());
                if (piece.index, piece.from.get() as usize) != expected || piece.bytes != of.bytes {
                    return Err(wrong());
                }
                payload.extend_from_slice(bytes);
                if payload.len() < of.bytes.get() as usize {
                    begun = Some((of, payload));
                } else {
                    told.entries.push(whole(&of, payload)?);
                }
            }
            let AnswerHead { next, applied } = head;
            told.applied = applied.get();
            if begun.is_none() {
                told.next = next.index.get();
                return Ok(told);
            }
            if (next.index.get(), next.offset.get()) <= (index, offset) {
                return Err(wrong());
            }
            (index, offset) = (next.index.get(), next.offset.get());
        }
    }
}

fn whole(piece: &PieceHead, payload: Vec<u8>) -> Result<PastEntry, PastError> {
    let index = piece.index.get();
    if crc32fast::hash(&payload) != piece.crc.get() {
        return Err(PastError::Checksum(index));
    }
    let head = EntryHead::parse(&piece.head).map_err(|_| PastError::Checksum(index))?;
    Ok(PastEntry {
        index,
        term: piece.term.get(),
        time: head.time.get(),
        kind: head.kind(),
        client: head.client.get(),
        number: head.number.get(),
        operation: head.operation,
        payload,
    })
}

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
        let mut reading = Reading::new(from);
        loop {
            let (index, offset) = reading.cursor;
            let body: Vec<u8> = [index.to_le_bytes(), offset.to_le_bytes()].concat();
            let answer = self.request(group, ENTRIES, body)?;
            if !reading.take(group, &answer)? {
                return Ok(reading.told);
            }
        }
    }
}

/// A part of a history, while it is read: the entry that an answer ends in is read on until it is whole.
struct Reading {
    told: PastEntries,
    /// The entry whose beginning has come, and that.
    begun: Option<(PieceHead, Vec<u8>)>,
    /// What is asked for: an entry, and where in its payload.
    cursor: (u64, u64),
}

impl Reading {
    fn new(from: u64) -> Self {
        Self {
            told: PastEntries::default(),
            begun: None,
            cursor: (from, 0),
        }
    }

    /// Takes an answer; whether there is more to ask for.
    fn take(&mut self, group: GroupId, answer: &[u8]) -> Result<bool, PastError> {
        let (index, offset) = self.cursor;
        let wrong = || PastError::Answer(group.0, index);
        let (AnswerHead { next, applied }, pieces) = parse(answer).ok_or_else(wrong)?;
        let next = (next.index.get(), next.offset.get());
        self.told.applied = applied.get();
        // The rest of what has begun was given up between two answers: a gap from its beginning on, which is told alone.
        if self.begun.is_some() && pieces.is_empty() && next.0 > index {
            self.told.next = if self.told.entries.is_empty() {
                next.0
            } else {
                index
            };
            return Ok(false);
        }
        for (piece, bytes) in pieces {
            let (of, mut payload) = self.begun.take().unwrap_or((piece, Vec::new()));
            let expected = (of.index, payload.len());
            if (piece.index, piece.from.get() as usize) != expected || piece.bytes != of.bytes {
                return Err(wrong());
            }
            payload.extend_from_slice(bytes);
            if payload.len() < of.bytes.get() as usize {
                self.begun = Some((of, payload));
            } else {
                self.told.entries.push(whole(&of, payload)?);
            }
        }
        if self.begun.is_none() {
            self.told.next = next.0;
            return Ok(false);
        }
        if next <= (index, offset) {
            return Err(wrong());
        }
        self.cursor = next;
        Ok(true)
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

#[cfg(test)]
mod tests {
    use shard::history::Cursor;
    use zerocopy::{FromBytes, IntoBytes};

    use super::*;

    const GROUP: GroupId = GroupId(0);
    const PAYLOAD: [u8; 10] = [7, 1, 8, 2, 8, 1, 8, 2, 8, 4];

    /// A piece of the entry, as a node answers.
    fn piece(index: u64, from: usize, to: usize) -> Vec<u8> {
        let piece = PieceHead {
            index: index.into(),
            term: 1.into(),
            bytes: 10.into(),
            crc: crc32fast::hash(&PAYLOAD).into(),
            from: (from as u32).into(),
            here: ((to - from) as u32).into(),
            head: [0; shard::entry::HEAD_BYTES],
        };
        [piece.as_bytes(), &PAYLOAD[from..to]].concat()
    }

    fn answer(next: u64, offset: u64, pieces: &[Vec<u8>]) -> Vec<u8> {
        let (index, offset) = (next.into(), offset.into());
        let head = AnswerHead {
            next: Cursor { index, offset },
            applied: 9.into(),
        };
        [head.as_bytes(), &pieces.concat()].concat()
    }

    #[test]
    fn an_entry_in_two_answers_is_whole() {
        let mut reading = Reading::new(5);
        let first = answer(6, 4, &[piece(5, 0, 10), piece(6, 0, 4)]);
        assert!(reading.take(GROUP, &first).expect("an answer"));
        assert_eq!(reading.cursor, (6, 4));
        let rest = answer(7, 0, &[piece(6, 4, 10)]);
        assert!(!reading.take(GROUP, &rest).expect("an answer"));
        let indices = reading.told.entries.iter().map(|entry| entry.index);
        assert_eq!(indices.collect::<Vec<_>>(), [5, 6]);
        assert_eq!(reading.told.entries[1].payload, PAYLOAD);
        assert_eq!((reading.told.next, reading.told.applied), (7, 9));
    }

    /// What expires while it is read: the gap is told, after what was whole.
    #[test]
    fn an_entry_given_up_between_two_answers_is_a_gap() {
        let mut reading = Reading::new(6);
        let begun = answer(6, 4, &[piece(6, 0, 4)]);
        assert!(reading.take(GROUP, &begun).expect("an answer"));
        let gone = answer(8, 0, &[]);
        assert!(!reading.take(GROUP, &gone).expect("an answer"));
        assert!(reading.told.entries.is_empty());
        assert_eq!(reading.told.next, 8);

        let mut reading = Reading::new(5);
        let begun = answer(6, 4, &[piece(5, 0, 10), piece(6, 0, 4)]);
        assert!(reading.take(GROUP, &begun).expect("an answer"));
        assert!(!reading.take(GROUP, &gone).expect("an answer"));
        assert_eq!((reading.told.entries.len(), reading.told.next), (1, 6));
    }

    #[test]
    fn an_answer_that_does_not_go_on_is_refused() {
        let mut reading = Reading::new(6);
        let begun = answer(6, 4, &[piece(6, 0, 4)]);
        assert!(reading.take(GROUP, &begun).expect("an answer"));
        for wrong in [
            begun,
            answer(6, 4, &[]),
            answer(8, 0, &[piece(7, 0, 10)]),
            vec![0; 23],
        ] {
            let told = reading.take(GROUP, &wrong);
            assert!(matches!(told, Err(PastError::Answer(0, 6))), "{told:?}");
            reading.begun = Some((
                PieceHead::read_from_prefix(&piece(6, 0, 4))
                    .expect("a head")
                    .0,
                PAYLOAD[..4].to_vec(),
            ));
        }
    }
}

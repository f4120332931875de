//! One group's message as it travels in an envelope: the core's numbers, then what the shard adds for
//! each entry; the entries' payloads follow in the envelope's bulk, in the same order.
//!
//! ```text
//! 0  u32  message_bytes
//! 4       message (raft::wire)
//!    then for each entry of an Append, 56 bytes:
//!      0  u32  payload_bytes
//!      4  u32  payload_crc
//!      8       entry head (48 bytes, see `entry`)
//! ```
//!
//! - The entries' indexes and terms are in the message; nothing is said twice.
//! - An accepted packet accounts for every byte of its message and of its bulk.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::ids::{EntryId, Index};
use raft::message::{Append, Body, Message, Runs};
use raft::wire::{self, WireError};
use thiserror::Error;
use zerocopy::IntoBytes;

use crate::entry::{Entry, EntryHead, EntryHeadError, HEAD_BYTES};

/// What the shard adds for each entry.
const DESCRIPTOR_BYTES: usize = 8 + HEAD_BYTES;

/// Why a packet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    /// It ends too early or goes on too long.
    #[error("a packet's lengths contradict each other")]
    Length,
    /// The core's part cannot be read.
    #[error(transparent)]
    Message(#[from] WireError),
    /// An entry's head cannot be read.
    #[error(transparent)]
    Head(#[from] EntryHeadError),
    /// The term runs of an Append do not cover its entries.
    #[error("an append names no term for some of its entries")]
    Terms,
}

/// Writes `message` and the descriptors of its entries to `to`.
pub fn encode<'a>(message: &Message, entries: impl Iterator<Item = &'a Entry>, to: &mut Vec<u8>) {
    to.extend_from_slice(&[0; 4]);
    let start = to.len();
    wire::encode(message, to);
    let length = u32::try_from(to.len() - start).expect("a message is small");
    to[start - 4..start].copy_from_slice(&length.to_le_bytes());
    for entry in entries {
        let bytes = u32::try_from(entry.payload.len()).expect("payloads are bounded");
        to.extend_from_slice(&bytes.to_le_bytes());
        to.extend_from_slice(&entry.payload_crc.to_le_bytes());
        to.extend_from_slice(entry.head.as_bytes());
    }
}

/// Reads a packet; its entries are appended to `entries`, their payloads lent from `bulk`.
pub fn decode(
    packet: &[u8],
    bulk: &Bytes,
    entries: &mut VecDeque<Entry>,
) -> Result<Message, PacketError> {
    let (length, rest) = packet.split_first_chunk::<4>().ok_or(PacketError::Length)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (message, descriptors) = rest.split_at_checked(length).ok_or(PacketError::Length)?;
    let message = wire::decode(message)?;
    match &message.body {
        Body::Append(append) => take_entries(append, descriptors, bulk, entries)?,
        _ if descriptors.is_empty() && bulk.is_empty() => {}
        _ => return Err(PacketError::Length),
    }
    Ok(message)
}

fn take_entries(
    append: &Append,
    descriptors: &[u8],
    bulk: &Bytes,
    entries: &mut VecDeque<Entry>,
) -> Result<(), PacketError> {
    let count = usize::try_from(append.count()).map_err(|_| PacketError::Length)?;
    if count.checked_mul(DESCRIPTOR_BYTES) != Some(descriptors.len()) {
        return Err(PacketError::Length);
    }
    let terms = append.runs.spans(append.first(), append.last);
    let mut ids = terms.flat_map(|(span, term)| {
        (span.start().0..=span.end().0).map(move |index| EntryId {
            term,
            index: Index(index),
        })
    });
    let mut at = 0;
    for (position, descriptor) in descriptors.chunks_exact(DESCRIPTOR_BYTES).enumerate() {
        let id = ids.next().ok_or(PacketError::Terms)?;
        if id.index.0 != append.first().0 + position as u64 {
            return Err(PacketError::Terms);
        }
        let entry = entry(id, descriptor, bulk, &mut at)?;
        entries.push_back(entry);
    }
    if at == bulk.len() {
        Ok(())
    } else {
        Err(PacketError::Length)
    }
}

fn entry(
    id: EntryId,
    descriptor: &[u8],
    bulk: &Bytes,
    at: &mut usize,
) -> Result<Entry, PacketError> {
    let (bytes, rest) = descriptor
        .split_first_chunk::<4>()
        .ok_or(PacketError::Length)?;
    let (crc, head) = rest.split_first_chunk::<4>().ok_or(PacketError::Length)?;
    let end = at
        .checked_add(u32::from_le_bytes(*bytes) as usize)
        .ok_or(PacketError::Length)?;
    if end > bulk.len() {
        return Err(PacketError::Length);
    }
    let payload = crate::stages::receive::keep(bulk.slice(*at..end));
    *at = end;
    Ok(Entry {
        index: id.index,
        term: id.term,
        head: EntryHead::parse(head)?,
        payload,
        payload_crc: u32::from_le_bytes(*crc),
    })
}

/// The part of `append` that ends at `last`, and what is left of it.
#[must_use]
pub fn split(append: &Append, last: EntryId) -> (Append, Append) {
    let mut front = append.clone();
    let mut back = append.clone();
    front.last = last.index;
    back.prev = last;
    front.runs = runs_within(append, append.first(), last.index);
    back.runs = runs_within(append, last.index.next(), append.last);
    front
        .configurations
        .retain(|(index, _)| *index <= last.index);
    back.configurations.retain(|(index, _)| *index > last.index);
    (front, back)
}

fn runs_within(append: &Append, first: Index, last: Index) -> Runs {
    let mut runs = Runs::default();
    for (span, term) in append.runs.spans(first, last) {
        runs.push(EntryId {
            term,
            index: *span.start(),
        });
    }
    runs
}

#[cfg(test)]
mod tests {
    use raft::ids::Term;
    use raft::rare::Rare;

    use super::*;

    fn append(prev: u64, last: u64, runs: &[(u64, u64)]) -> Append {
        let mut list = Runs::default();
        for (term, index) in runs {
            list.push(EntryId {
                term: Term(*term),
                index: Index(*index),
            });
        }
        Append {
            prev: EntryId {
                term: Term(1),
                index: Index(prev),
            },
            last: Index(last),
            runs: list,
            commit: Index(prev),
            round: 0,
            reply: true,
            repaired: false,
            configurations: Rare::new(),
        }
    }

    fn entry_at(index: u64, term: u64) -> Entry {
        let payload = Bytes::from(vec![index as u8; 10 * index as usize]);
        Entry {
            index: Index(index),
            term: Term(term),
            head: EntryHead::command(Index(1), 2, 3, 4, 5),
            payload_crc: crc32fast::hash(&payload),
            payload,
        }
    }

    fn packet() -> (Message, Vec<Entry>, Vec<u8>, Bytes) {
        let entries = vec![entry_at(4, 1), entry_at(5, 2), entry_at(6, 2)];
        let message = Message {
            term: Term(2),
            body: Body::Append(append(3, 6, &[(1, 4), (2, 5)])),
        };
        let mut bytes = Vec::new();
        encode(&message, entries.iter(), &mut bytes);
        let bulk: Vec<u8> = entries
            .iter()
            .flat_map(|entry| entry.payload.to_vec())
            .collect();
        (message, entries, bytes, Bytes::from(bulk))
    }

    #[test]
    fn entries_come_back_with_their_bytes() {
        let (message, entries, bytes, bulk) = packet();
        let mut back = VecDeque::new();
        assert_eq!(decode(&bytes, &bulk, &mut back), Ok(message));
        assert_eq!(back.len(), 3);
        for (sent, got) in entries.iter().zip(&back) {
            assert_eq!(
                (sent.index, sent.term, &sent.payload),
                (got.index, got.term, &got.payload)
            );
            assert_eq!(
                (sent.payload_crc, sent.head.as_bytes()),
                (got.payload_crc, got.head.as_bytes())
            );
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let (_, _, bytes, bulk) = packet();
        for end in 0..bytes.len() {
            assert!(
                decode(&bytes[..end], &bulk, &mut VecDeque::new()).is_err(),
                "cut at {end}"
            );
        }
        assert!(decode(&bytes, &bulk.slice(1..), &mut VecDeque::new()).is_err());
        let longer = Bytes::from([bulk.as_ref(), &[0]].concat());
        assert_eq!(
            decode(&bytes, &longer, &mut VecDeque::new()),
            Err(PacketError::Length)
        );
    }

    #[test]
    fn a_split_append_is_the_same_append() {
        let whole = append(3, 6, &[(1, 4), (2, 5)]);
        let at = EntryId {
            term: Term(2),
            index: Index(5),
        };
        let (front, back) = split(&whole, at);
        assert_eq!(
            (front.prev, front.last, front.count()),
            (whole.prev, Index(5), 2)
        );
        assert_eq!((back.prev, back.last, back.count()), (at, Index(6), 1));
        assert_eq!(
            back.runs.as_slice(),
            [EntryId {
                term: Term(2),
                index: Index(6)
            }]
        );
        assert_eq!(front.runs.as_slice(), whole.runs.as_slice());
    }
}

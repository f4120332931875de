//! The judge of histories: what a node tells of a group's past is what the group agreed on, entry by entry.
//!
//! - Entries come in order, none twice, each from where the one before ended; those that were applied have the agreed bytes.
//! - What is kept nowhere is told as a gap: the answer names where it goes on, which is never before what was asked for.

use std::collections::BTreeMap;

use bytes::Bytes;
use shard::entry::{EntryHead, EntryKind};
use shard::history::{AnswerHead, Cursor, PieceHead};
use zerocopy::{FromBytes, IntoBytes};

use crate::chronicle::Applied;

/// The body of a question for everything from this entry on.
pub(crate) fn question(index: u64) -> Bytes {
    let cursor = Cursor {
        index: index.into(),
        offset: 0.into(),
    };
    Bytes::copy_from_slice(cursor.as_bytes())
}

/// What is wrong with this answer, if anything is.
pub(crate) fn wrong(
    group: &BTreeMap<u64, Applied>,
    asked: &[u8],
    reply: &[u8],
) -> Option<&'static str> {
    let Ok(asked) = Cursor::read_from_bytes(asked) else {
        return Some("no question was asked");
    };
    let Ok((head, mut rest)) = AnswerHead::read_from_prefix(reply) else {
        return Some("the answer has no head");
    };
    let mut expected = asked.index.get();
    while !rest.is_empty() {
        let Ok((piece, behind)) = PieceHead::read_from_prefix(rest) else {
            return Some("a piece has no head");
        };
        let Some((bytes, next)) = behind.split_at_checked(piece.here.get() as usize) else {
            return Some("a piece is cut short");
        };
        let index = piece.index.get();
        if index < expected || index > head.applied.get() {
            return Some("an entry is out of its order");
        }
        let from = piece.from.get() as usize;
        let agreed = group.get(&index);
        let is_command =
            EntryHead::parse(&piece.head).map(|head| head.kind() == EntryKind::Command);
        if let (Some(applied), Ok(true)) = (agreed, is_command)
            && applied.payload.get(from..from + bytes.len()) != Some(bytes)
        {
            return Some("an entry is not the agreed one");
        }
        if is_command.is_err() || agreed.is_some() != (is_command == Ok(true)) {
            return Some("an entry is of another kind than the agreed one");
        }
        let is_whole = from + bytes.len() == piece.bytes.get() as usize;
        expected = if is_whole { index + 1 } else { index };
        rest = next;
    }
    (head.next.index.get() < expected).then_some("it would go back")
}

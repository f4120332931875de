//! The judge of histories: what a node tells of a group's past is what the group agreed on, entry by entry.
//!
//! - Entries come in order, none twice and none left out, each from where the one before ended, the first from where was
//!   asked; those that were applied have the agreed bytes. The answer goes on where its last piece ends.
//! - What is kept nowhere is told as a gap: by an answer without an entry, which names where it goes on, never before what
//!   was asked for.

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
    let mut expected = (asked.index.get(), asked.offset.get());
    let is_empty = rest.is_empty();
    while !rest.is_empty() {
        let Ok((piece, behind)) = PieceHead::read_from_prefix(rest) else {
            return Some("a piece has no head");
        };
        let Some((bytes, next)) = behind.split_at_checked(piece.here.get() as usize) else {
            return Some("a piece is cut short");
        };
        let index = piece.index.get();
        let from = piece.from.get() as usize;
        if (index, from as u64) < expected || index > head.applied.get() {
            return Some("an entry is out of its order");
        }
        if (index, from as u64) > expected {
            return Some("something is left out between two entries");
        }
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
        let end = from + bytes.len();
        let is_whole = end == piece.bytes.get() as usize;
        expected = if is_whole {
            (index + 1, 0)
        } else {
            (index, end as u64)
        };
        rest = next;
    }
    let next = (head.next.index.get(), head.next.offset.get());
    if next < expected {
        return Some("it would go back");
    }
    (!is_empty && next > expected).then_some("it goes on behind what it left out")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use raft::ids::Index;
    use shard::entry::{EntryHead, EntryKind};
    use shard::history::{AnswerHead, Cursor, PieceHead};
    use zerocopy::{FromZeros, IntoBytes};

    use super::wrong;

    fn at(index: u64, offset: u64) -> Cursor {
        Cursor {
            index: index.into(),
            offset: offset.into(),
        }
    }

    /// What is wrong with an answer of these pieces (entry, where it begins, bytes), each of an entry of ten bytes.
    fn judged(asked: Cursor, pieces: &[(u64, u32, u32)], next: Cursor) -> Option<&'static str> {
        let head = AnswerHead {
            next,
            applied: 9.into(),
        };
        let mut reply = head.as_bytes().to_vec();
        for &(index, from, here) in pieces {
            let mut head = PieceHead::new_zeroed();
            head.index = index.into();
            (head.bytes, head.from, head.here) = (10.into(), from.into(), here.into());
            // Not a command: of its bytes nothing was agreed on.
            let entry = EntryHead::made(Index(0), 0, EntryKind::Empty);
            head.head.copy_from_slice(entry.as_bytes());
            reply.extend_from_slice(head.as_bytes());
            reply.resize(reply.len() + here as usize, 0);
        }
        wrong(&BTreeMap::new(), asked.as_bytes(), &reply)
    }

    #[test]
    fn nothing_may_be_left_out_within_an_answer() {
        let whole = |index| (index, 0, 10);
        assert_eq!(judged(at(3, 0), &[whole(3), whole(4)], at(5, 0)), None);
        assert_eq!(judged(at(3, 4), &[(3, 4, 6), (4, 0, 7)], at(4, 7)), None);
        let left_out = Some("something is left out between two entries");
        assert_eq!(judged(at(3, 0), &[whole(3), whole(5)], at(6, 0)), left_out);
        assert_eq!(judged(at(3, 0), &[whole(4)], at(5, 0)), left_out);
        assert_eq!(judged(at(3, 0), &[(3, 2, 8)], at(4, 0)), left_out);
        let behind = Some("it goes on behind what it left out");
        assert_eq!(judged(at(3, 0), &[whole(3)], at(5, 0)), behind);
        assert_eq!(judged(at(3, 0), &[(3, 0, 6)], at(4, 0)), behind);
        let twice = Some("an entry is out of its order");
        assert_eq!(judged(at(3, 0), &[whole(3), whole(3)], at(4, 0)), twice);
        assert_eq!(
            judged(at(3, 0), &[whole(3)], at(3, 0)),
            Some("it would go back")
        );
        // A gap is told by itself.
        assert_eq!(judged(at(3, 0), &[], at(7, 0)), None);
        assert_eq!(judged(at(3, 0), &[], at(2, 0)), Some("it would go back"));
    }
}

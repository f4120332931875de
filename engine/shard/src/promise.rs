//! What a replica promised and must not forget, as a record of the log: term, vote and a commit hint.
//!
//! ```text
//!  0  u64  term
//!  8  u64  commit   known committed when the record was written
//! 16  u32  vote     node id; 0 none
//! 20  u32  flags    1: acknowledged entries are lost here, 8: term or vote may be older than what was promised
//! ```

use raft::config::Damage;
use raft::effects::HardState;
use raft::ids::{Index, NodeId, Term};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The record's bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Promise {
    term: U64,
    commit: U64,
    vote: U32,
    flags: U32,
}

const ENTRIES_LOST: u32 = 1;
const VOTES_LOST: u32 = 8;

/// Bytes that are no promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a promise record of {0} bytes cannot be read")]
pub struct PromiseError(pub usize);

impl Promise {
    /// The record for `state`.
    #[must_use]
    pub fn new(state: HardState, commit: Index, damage: Damage) -> Self {
        Self {
            term: state.term.0.into(),
            commit: commit.0.into(),
            vote: state.vote.map_or(0, |node| node.0).into(),
            flags: match damage {
                Damage::None => 0,
                Damage::Entries => ENTRIES_LOST,
                Damage::Votes => VOTES_LOST,
            }
            .into(),
        }
    }

    /// Reads a record that came from disk.
    pub fn parse(bytes: &[u8]) -> Result<(HardState, Index, Damage), PromiseError> {
        let promise = Self::read_from_bytes(bytes).map_err(|_| PromiseError(bytes.len()))?;
        let damage = match promise.flags.get() {
            0 => Damage::None,
            ENTRIES_LOST => Damage::Entries,
            VOTES_LOST => Damage::Votes,
            _ => return Err(PromiseError(bytes.len())),
        };
        let vote = promise.vote.get();
        let state = HardState {
            term: Term(promise.term.get()),
            vote: (vote != 0).then_some(NodeId(vote)),
        };
        Ok((state, Index(promise.commit.get()), damage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_survives_the_round_trip() {
        for vote in [None, Some(NodeId(3))] {
            let state = HardState {
                term: Term(9),
                vote,
            };
            for damage in [Damage::None, Damage::Entries, Damage::Votes] {
                let promise = Promise::new(state, Index(4), damage);
                let read = Promise::parse(promise.as_bytes());
                assert_eq!(read, Ok((state, Index(4), damage)));
            }
        }
        assert_eq!(Promise::parse(&[0; 23]), Err(PromiseError(23)));
    }
}

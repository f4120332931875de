//! What a replica promised and must not forget, as a record of the log: term, vote and a commit hint.
//!
//! ```text
//!  0  u64  term
//!  8  u64  commit   known committed when the record was written
//! 16  u32  vote     node id; 0 none
//! 20  u32  zero
//! ```

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
    zero: U32,
}

/// Bytes that are no promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a promise record of {0} bytes cannot be read")]
pub struct PromiseError(pub usize);

impl Promise {
    /// The record for `state`.
    #[must_use]
    pub fn new(state: HardState, commit: Index) -> Self {
        Self {
            term: state.term.0.into(),
            commit: commit.0.into(),
            vote: state.vote.map_or(0, |node| node.0).into(),
            zero: 0.into(),
        }
    }

    /// Reads a record that came from disk.
    pub fn parse(bytes: &[u8]) -> Result<(HardState, Index), PromiseError> {
        let promise = Self::read_from_bytes(bytes).map_err(|_| PromiseError(bytes.len()))?;
        if promise.zero.get() != 0 {
            return Err(PromiseError(bytes.len()));
        }
        let vote = promise.vote.get();
        let state = HardState {
            term: Term(promise.term.get()),
            vote: (vote != 0).then_some(NodeId(vote)),
        };
        Ok((state, Index(promise.commit.get())))
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
            let promise = Promise::new(state, Index(4));
            assert_eq!(Promise::parse(promise.as_bytes()), Ok((state, Index(4))));
        }
        assert_eq!(Promise::parse(&[0; 23]), Err(PromiseError(23)));
    }
}

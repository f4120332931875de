//! What a replica promised and must not forget, as a record of the log: term, vote, a commit hint, and where its log
//! begins.
//!
//! ```text
//!  0  u64  term
//!  8  u64  commit   known committed when the record was written
//! 16  u32  vote     node id; 0 none
//! 20  u32  flags    1: acknowledged entries are lost here, 8: term or vote may be older than what was promised,
//!                   2: a base follows, 4: the base came from a peer
//!    with flag 2:
//! 24  u64  index    the base: entries up to here may be gone, a manifest holds their effect
//! 32  u64  term     of the entry there
//! 40  u128 digest   XXH3 of the manifest's bytes
//! ```
//!
//! - The newest record of a group says all of it: each repeats what the ones before it said.

use raft::config::Damage;
use raft::effects::HardState;
use raft::ids::{EntryId, Index, NodeId, Term};
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a promise without a base.
pub const PROMISE_BYTES: usize = size_of::<Fixed>();
/// Bytes of a promise with a base.
pub const PROMISE_BYTES_MAX: usize = PROMISE_BYTES + size_of::<WireBase>();

const ENTRIES_LOST: u32 = 1;
const VOTES_LOST: u32 = 8;
const BASED: u32 = 2;
const FETCHED: u32 = 4;

/// Everything that one record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Term and vote.
    pub state: HardState,
    /// Known committed: a restart may apply that far of what stands before the record.
    pub commit: Index,
    /// What this replica has lost of what it promised, and not yet got back.
    pub damage: Damage,
    /// Where the log begins, once it does not begin at 1.
    pub base: Option<Base>,
}

/// The durable state that stands for the entries up to an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The last entry in it.
    pub last: EntryId,
    /// XXH3 of the manifest that lists it.
    pub digest: u128,
    /// It came from a peer: what the log held before it does not lead to it.
    pub is_fetched: bool,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Fixed {
    term: U64,
    commit: U64,
    vote: U32,
    flags: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireBase {
    index: U64,
    term: U64,
    digest: U128,
}

const _: () = assert!(PROMISE_BYTES == 24 && PROMISE_BYTES_MAX == 56);
const _: () = assert!(PROMISE_BYTES_MAX <= wal::HEAD_BYTES_MAX);

/// Bytes that are no promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a promise record of {0} bytes cannot be read")]
pub struct PromiseError(pub usize);

impl Promise {
    /// Appends the record's bytes.
    pub fn encode(&self, to: &mut Vec<u8>) {
        let mut flags = match self.damage {
            Damage::None => 0,
            Damage::Entries => ENTRIES_LOST,
            Damage::Votes => VOTES_LOST,
        };
        if let Some(base) = self.base {
            flags |= BASED | if base.is_fetched { FETCHED } else { 0 };
        }
        let fixed = Fixed {
            term: self.state.term.0.into(),
            commit: self.commit.0.into(),
            vote: self.state.vote.map_or(0, |node| node.0).into(),
            flags: flags.into(),
        };
        to.extend_from_slice(fixed.as_bytes());
        if let Some(base) = self.base {
            let base = WireBase {
                index: base.last.index.0.into(),
                term: base.last.term.0.into(),
                digest: base.digest.into(),
            };
            to.extend_from_slice(base.as_bytes());
        }
    }

    /// Reads a record that came from disk.
    ///
    /// # Errors
    /// When it is of another length, or says what no version of this program said.
    pub fn parse(bytes: &[u8]) -> Result<Self, PromiseError> {
        let error = PromiseError(bytes.len());
        let (fixed, rest) = Fixed::read_from_prefix(bytes).map_err(|_| error)?;
        let flags = fixed.flags.get();
        let damage = match flags & !(BASED | FETCHED) {
            0 => Damage::None,
            ENTRIES_LOST => Damage::Entries,
            VOTES_LOST => Damage::Votes,
            _ => return Err(error),
        };
        let fits = flags & FETCHED == 0 || flags & BASED != 0;
        if !fits {
            return Err(error);
        }
        let base = if flags & BASED != 0 {
            let base = WireBase::read_from_bytes(rest).map_err(|_| error)?;
            Some(Base {
                last: EntryId {
                    index: Index(base.index.get()),
                    term: Term(base.term.get()),
                },
                digest: base.digest.get(),
                is_fetched: flags & FETCHED != 0,
            })
        } else if rest.is_empty() {
            None
        } else {
            return Err(error);
        };
        let vote = fixed.vote.get();
        Ok(Self {
            state: HardState {
                term: Term(fixed.term.get()),
                vote: (vote != 0).then_some(NodeId(vote)),
            },
            commit: Index(fixed.commit.get()),
            damage,
            base,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_survives_the_round_trip() {
        let base = |is_fetched| Base {
            last: EntryId {
                index: Index(70),
                term: Term(8),
            },
            digest: 0xabcd,
            is_fetched,
        };
        for vote in [None, Some(NodeId(3))] {
            for base in [None, Some(base(false)), Some(base(true))] {
                for damage in [Damage::None, Damage::Entries, Damage::Votes] {
                    let promise = Promise {
                        state: HardState {
                            term: Term(9),
                            vote,
                        },
                        commit: Index(4),
                        damage,
                        base,
                    };
                    let mut bytes = Vec::new();
                    promise.encode(&mut bytes);
                    assert_eq!(Promise::parse(&bytes), Ok(promise));
                    for end in 0..bytes.len() {
                        assert!(Promise::parse(&bytes[..end]).is_err(), "cut at {end}");
                    }
                    bytes[21] = 1;
                    assert!(Promise::parse(&bytes).is_err(), "an unknown flag");
                }
            }
        }
        assert_eq!(Promise::parse(&[0; 23]), Err(PromiseError(23)));
        assert_eq!(Promise::parse(&[0; 25]), Err(PromiseError(25)));
        let mut fetched = [0; 24];
        fetched[20] = 4;
        assert!(
            Promise::parse(&fetched).is_err(),
            "fetched, and nothing there"
        );
    }
}

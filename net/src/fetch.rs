//! Parts of files between two nodes: the heads of FETCH and PART. The part itself is the bulk.
//!
//! - What a kind of file is, and how its number is chosen, is not the network's.
//! - Who asks decides how much is on the way. Each question is answered once, in any order.
//! - Decoding is total and canonical, as for requests.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::BadHead;

/// Bytes of a FETCH's head.
pub const FETCH_HEAD_BYTES: usize = 48;
/// Bytes of a PART's head.
pub const PART_HEAD_BYTES: usize = 48;

/// Head of a FETCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchHead {
    /// Chosen by the asker, echoed in the answer.
    pub id: u64,
    /// Whose file.
    pub group: u64,
    /// Which of its kind; all ones: the newest.
    pub number: u64,
    /// From which byte on.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u32,
    /// What kind of file.
    pub kind: u8,
}

/// What became of a FETCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PartStatus {
    /// The bulk holds what was asked for, or as much of it as there is.
    Ok = 0,
    /// There is no such file here, or no longer.
    Missing = 1,
    /// Ask again later.
    Busy = 2,
}

/// Head of a PART.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartHead {
    /// Of the question.
    pub id: u64,
    /// Whose file.
    pub group: u64,
    /// Which of its kind, where the newest was asked for.
    pub number: u64,
    /// Bytes of the whole file.
    pub total: u64,
    /// What became of the question.
    pub status: PartStatus,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireFetch {
    id: U64,
    group: U64,
    number: U64,
    offset: U64,
    bytes: U32,
    kind: u8,
    reserved: [u8; 11],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WirePart {
    id: U64,
    group: U64,
    number: U64,
    total: U64,
    status: u8,
    reserved: [u8; 15],
}

const _: () = assert!(size_of::<WireFetch>() == FETCH_HEAD_BYTES);
const _: () = assert!(size_of::<WirePart>() == PART_HEAD_BYTES);

impl FetchHead {
    /// The bytes of this head.
    pub fn encode(&self) -> [u8; FETCH_HEAD_BYTES] {
        zerocopy::transmute!(WireFetch {
            id: self.id.into(),
            group: self.group.into(),
            number: self.number.into(),
            offset: self.offset.into(),
            bytes: self.bytes.into(),
            kind: self.kind,
            reserved: [0; 11],
        })
    }

    /// Reads a frame's head.
    pub fn decode(head: &[u8]) -> Result<FetchHead, BadHead> {
        let wire = WireFetch::read_from_bytes(head).map_err(|_| BadHead)?;
        if wire.reserved != [0; 11] {
            return Err(BadHead);
        }
        Ok(FetchHead {
            id: wire.id.get(),
            group: wire.group.get(),
            number: wire.number.get(),
            offset: wire.offset.get(),
            bytes: wire.bytes.get(),
            kind: wire.kind,
        })
    }
}

impl PartHead {
    /// The bytes of this head.
    pub fn encode(&self) -> [u8; PART_HEAD_BYTES] {
        zerocopy::transmute!(WirePart {
            id: self.id.into(),
            group: self.group.into(),
            number: self.number.into(),
            total: self.total.into(),
            status: self.status as u8,
            reserved: [0; 15],
        })
    }

    /// Reads a frame's head.
    pub fn decode(head: &[u8]) -> Result<PartHead, BadHead> {
        let wire = WirePart::read_from_bytes(head).map_err(|_| BadHead)?;
        let status = match wire.status {
            0 => PartStatus::Ok,
            1 => PartStatus::Missing,
            2 => PartStatus::Busy,
            _ => return Err(BadHead),
        };
        if wire.reserved != [0; 15] {
            return Err(BadHead);
        }
        Ok(PartHead {
            id: wire.id.get(),
            group: wire.group.get(),
            number: wire.number.get(),
            total: wire.total.get(),
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_round_trip_and_refuse_what_is_out_of_place() {
        let fetch = FetchHead {
            id: 1,
            group: 2,
            number: u64::MAX,
            offset: 4,
            bytes: 5,
            kind: 6,
        };
        let bytes = fetch.encode();
        assert_eq!(FetchHead::decode(&bytes), Ok(fetch));
        assert_eq!(FetchHead::decode(&bytes[1..]), Err(BadHead));
        for at in 37..FETCH_HEAD_BYTES {
            let mut bad = bytes;
            bad[at] = 1;
            assert_eq!(FetchHead::decode(&bad), Err(BadHead), "byte {at}");
        }
        for status in [PartStatus::Ok, PartStatus::Missing, PartStatus::Busy] {
            let part = PartHead {
                id: 1,
                group: 2,
                number: 3,
                total: 4,
                status,
            };
            let bytes = part.encode();
            assert_eq!(PartHead::decode(&bytes), Ok(part));
            for (at, value) in (33..PART_HEAD_BYTES).map(|at| (at, 1)).chain([(32, 3)]) {
                let mut bad = bytes;
                bad[at] = value;
                assert_eq!(PartHead::decode(&bad), Err(BadHead), "byte {at}");
            }
        }
    }
}

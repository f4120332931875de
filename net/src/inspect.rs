//! Questions about a node itself, over the same door: the heads of INSPECT and REPORT. The answer is the bulk.
//!
//! - Decoding is total and canonical, as for requests.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::BadHead;
use crate::request::Status;

/// Bytes of an INSPECT's head.
pub const INSPECT_HEAD_BYTES: usize = 32;
/// Bytes of a REPORT's head.
pub const REPORT_HEAD_BYTES: usize = 16;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Topic {
    /// Groups, leaders, peers, limits, counters.
    Status = 0,
    /// The stages' histograms.
    Histograms = 1,
    /// Members, groups, cores.
    Layout = 2,
    /// The digest of each group's state and the index it reflects; the argument names one group, or all by `u64::MAX`.
    Digests = 3,
}

/// Head of an INSPECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InspectHead {
    /// Chosen by the client, echoed in the report.
    pub id: u64,
    /// What is asked.
    pub topic: Topic,
    /// What the topic needs to know; 0 if nothing.
    pub argument: u64,
}

/// Head of a REPORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportHead {
    /// Of the question.
    pub id: u64,
    /// Whether it could be answered.
    pub status: Status,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireInspect {
    id: U64,
    topic: u8,
    reserved: [u8; 7],
    argument: U64,
    reserved_too: [u8; 8],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireReport {
    id: U64,
    status: u8,
    reserved: [u8; 7],
}

const _: () = assert!(size_of::<WireInspect>() == INSPECT_HEAD_BYTES);
const _: () = assert!(size_of::<WireReport>() == REPORT_HEAD_BYTES);

impl InspectHead {
    /// The bytes of this head.
    pub fn encode(&self) -> [u8; INSPECT_HEAD_BYTES] {
        zerocopy::transmute!(WireInspect {
            id: self.id.into(),
            topic: self.topic as u8,
            reserved: [0; 7],
            argument: self.argument.into(),
            reserved_too: [0; 8],
        })
    }

    /// Reads a frame's head.
    pub fn decode(head: &[u8]) -> Result<InspectHead, BadHead> {
        let wire = WireInspect::read_from_bytes(head).map_err(|_| BadHead)?;
        if wire.reserved != [0; 7] || wire.reserved_too != [0; 8] {
            return Err(BadHead);
        }
        let topic = match wire.topic {
            0 => Topic::Status,
            1 => Topic::Histograms,
            2 => Topic::Layout,
            3 => Topic::Digests,
            _ => return Err(BadHead),
        };
        Ok(InspectHead {
            id: wire.id.get(),
            topic,
            argument: wire.argument.get(),
        })
    }
}

impl ReportHead {
    /// The bytes of this head.
    pub fn encode(&self) -> [u8; REPORT_HEAD_BYTES] {
        zerocopy::transmute!(WireReport {
            id: self.id.into(),
            status: self.status as u8,
            reserved: [0; 7]
        })
    }

    /// Reads a frame's head.
    pub fn decode(head: &[u8]) -> Result<ReportHead, BadHead> {
        let wire = WireReport::read_from_bytes(head).map_err(|_| BadHead)?;
        if wire.reserved != [0; 7] {
            return Err(BadHead);
        }
        let status = Status::try_from(wire.status).map_err(|_| BadHead)?;
        Ok(ReportHead {
            id: wire.id.get(),
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_round_trip_and_refuse_what_is_out_of_place() {
        for topic in [
            Topic::Status,
            Topic::Histograms,
            Topic::Layout,
            Topic::Digests,
        ] {
            let head = InspectHead {
                id: 3,
                topic,
                argument: 9,
            };
            assert_eq!(InspectHead::decode(&head.encode()), Ok(head));
        }
        let mut bytes = InspectHead {
            id: 3,
            topic: Topic::Status,
            argument: 9,
        }
        .encode();
        bytes[8] = 4;
        assert_eq!(InspectHead::decode(&bytes), Err(BadHead));
        let report = ReportHead {
            id: 3,
            status: Status::Unavailable,
        };
        assert_eq!(ReportHead::decode(&report.encode()), Ok(report));
        let mut bytes = report.encode();
        bytes[15] = 1;
        assert_eq!(ReportHead::decode(&bytes), Err(BadHead));
    }
}

//! Why a connection is refused or ended, and how that is told to the other end: GOODBYE.
//!
//! - Every reason has a code and at most one detail; a reason can be told across clusters and versions.
//! - Decoding is total and canonical.

use thiserror::Error;
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::{BadHead, Kind};
use crate::limits::{FrameLimits, HANDSHAKE_HEAD_BYTES_MAX};
use crate::outbound::Outbound;
use crate::transport::Outgoing;

/// Why a connection is refused or ended. The number in brackets is the code on the wire; `detail` what travels with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// (1) The other end belongs to another cluster: this one.
    #[error("the other end belongs to cluster {0:#x}")]
    WrongCluster(u64),
    /// (2) No version in common.
    #[error("the other end speaks protocol versions {min} to {max}")]
    UnknownVersion {
        /// Oldest version the refusing end speaks.
        min: u16,
        /// Newest version the refusing end speaks.
        max: u16,
    },
    /// (3) This node is not a member.
    #[error("node {0} is not a member of the cluster")]
    UnknownNode(u32),
    /// (4) Members, groups or limits differ; the digest of the refusing end.
    #[error("members, groups or limits differ (the other end's digest is {0:#x})")]
    LayoutDiffers(u64),
    /// (5) Another core is listening there.
    #[error("core {core} of {cores} is listening there")]
    WrongCore {
        /// The refusing end's core.
        core: u16,
        /// Cores of its node.
        cores: u16,
    },
    /// (6) This node does not wait for that one: another node is listening there, or it is the one to dial.
    #[error("node {0} is listening there and does not expect this connection")]
    NotExpected(u32),
    /// (7) A node dialled itself.
    #[error("a node dialled itself")]
    SelfConnection,
    /// (8) The house is full; its bound.
    #[error("too many connections (at most {0})")]
    TooManyConnections(u64),
    /// (9) What was sent is not a frame, or not one to be sent here; see `FrameError::number`, 0 for a wrong kind.
    #[error("what was sent is malformed (reason {0})")]
    Malformed(u64),
    /// (10) The handshake or a frame was not finished in time, or nothing was read for too long.
    #[error("too slow")]
    TooSlow,
    /// (11) The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// (12) A newer connection of the same peer takes its place.
    #[error("a newer connection took the place")]
    Superseded,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireGoodbye {
    code: U16,
    reserved: [u8; 6],
    detail: U64,
}

const _: () = assert!(size_of::<WireGoodbye>() == 16);

impl Refusal {
    /// One more than the highest code.
    pub const CODES: usize = 13;

    /// A short name for each code, for counters and reports; none has the code 0.
    pub const NAMES: [&str; Refusal::CODES] = [
        "",
        "wrong_cluster",
        "unknown_version",
        "unknown_node",
        "layout_differs",
        "wrong_core",
        "not_expected",
        "self_connection",
        "too_many_connections",
        "malformed",
        "too_slow",
        "shutting_down",
        "superseded",
    ];

    /// As a GOODBYE frame.
    pub fn encode(self) -> Outgoing {
        let (code, detail) = self.parts();
        let wire = WireGoodbye {
            code: code.into(),
            reserved: [0; 6],
            detail: detail.into(),
        };
        Outgoing::bare(Kind::GOODBYE, wire.as_bytes())
    }

    /// As the bytes of a GOODBYE frame of `cluster`: for someone who has no connection to queue it on.
    pub fn to_bytes(self, cluster: u64) -> Vec<u8> {
        let mut outbound =
            Outbound::new(cluster, FrameLimits::HANDSHAKE, HANDSHAKE_HEAD_BYTES_MAX, 1);
        outbound
            .push(self.encode())
            .expect("an empty queue takes a frame");
        outbound.next_chunk().to_vec()
    }

    /// Reads a GOODBYE's head.
    pub fn decode(head: &[u8]) -> Result<Refusal, BadHead> {
        let wire = WireGoodbye::read_from_bytes(head).map_err(|_| BadHead)?;
        let refusal = Refusal::from_parts(wire.code.get(), wire.detail.get()).ok_or(BadHead)?;
        // Details that a refusal does not use must be zero, or two encodings would mean one thing.
        if wire.reserved != [0; 6] || refusal.parts().1 != wire.detail.get() {
            return Err(BadHead);
        }
        Ok(refusal)
    }

    /// The code and the detail on the wire.
    pub const fn parts(self) -> (u16, u64) {
        match self {
            Refusal::WrongCluster(cluster) => (1, cluster),
            Refusal::UnknownVersion { min, max } => (2, (min as u64) << 16 | max as u64),
            Refusal::UnknownNode(node) => (3, node as u64),
            Refusal::LayoutDiffers(digest) => (4, digest),
            Refusal::WrongCore { core, cores } => (5, (cores as u64) << 16 | core as u64),
            Refusal::NotExpected(node) => (6, node as u64),
            Refusal::SelfConnection => (7, 0),
            Refusal::TooManyConnections(most) => (8, most),
            Refusal::Malformed(reason) => (9, reason),
            Refusal::TooSlow => (10, 0),
            Refusal::ShuttingDown => (11, 0),
            Refusal::Superseded => (12, 0),
        }
    }

    /// The code alone: an index for counters.
    pub const fn code(self) -> u16 {
        self.parts().0
    }

    fn from_parts(code: u16, detail: u64) -> Option<Refusal> {
        // Cut to the parts; `decode` compares the whole detail.
        let (high, low) = ((detail >> 16) as u16, detail as u16);
        Some(match code {
            1 => Refusal::WrongCluster(detail),
            2 => Refusal::UnknownVersion {
                min: high,
                max: low,
            },
            3 => Refusal::UnknownNode(detail as u32),
            4 => Refusal::LayoutDiffers(detail),
            5 => Refusal::WrongCore {
                core: low,
                cores: high,
            },
            6 => Refusal::NotExpected(detail as u32),
            7 => Refusal::SelfConnection,
            8 => Refusal::TooManyConnections(detail),
            9 => Refusal::Malformed(detail),
            10 => Refusal::TooSlow,
            11 => Refusal::ShuttingDown,
            12 => Refusal::Superseded,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_round_trip() {
        for refusal in [
            Refusal::WrongCluster(u64::MAX),
            Refusal::UnknownVersion { min: 3, max: 9 },
            Refusal::UnknownNode(7),
            Refusal::LayoutDiffers(8),
            Refusal::WrongCore { core: 3, cores: 4 },
            Refusal::NotExpected(5),
            Refusal::SelfConnection,
            Refusal::TooManyConnections(4096),
            Refusal::Malformed(13),
            Refusal::TooSlow,
            Refusal::ShuttingDown,
            Refusal::Superseded,
        ] {
            assert_eq!(Refusal::decode(&refusal.encode().head), Ok(refusal));
            // The name is that of the variant, in the case of reports.
            let variant: String = format!("{refusal:?}")
                .chars()
                .take_while(|letter| letter.is_alphanumeric())
                .flat_map(|letter| {
                    let gap = letter.is_uppercase().then_some('_');
                    gap.into_iter().chain(letter.to_lowercase())
                })
                .collect();
            assert_eq!(
                Some(Refusal::NAMES[usize::from(refusal.code())]),
                variant.strip_prefix('_')
            );
        }
        for bad in [
            [0u8; 16],
            [255; 16],
            *b"\x07\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0",
        ] {
            assert_eq!(Refusal::decode(&bad), Err(BadHead));
        }
    }
}

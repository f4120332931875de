//! The frames of TigerBeetle's client protocol, releases 0.17.0 to 0.17.9: bytes to messages and back.
//!
//! ```text
//! reader                     a stream of bytes, cut into frames within bounds
//! message                    the five messages that concern a client
//! header    checksum         256 bytes before each body, and what proves them
//! batches                    several batches in one body
//! operation                  numbers, sizes, how many fit
//! ```
//!
//! - Sans-IO: bytes in, messages out. What an operation means is not known here.
//! - Every length is compared with its bound before anything is allocated for it.
//! - Decoding is total and canonical: what is accepted encodes to the same bytes.
//! - The protocol has no authentication and no encryption: a node speaks it on the loopback unless told otherwise.
//!
//! The bytes are drawn in `docs/formats-tigerbeetle.md`.

pub mod batches;
pub mod checksum;
pub mod header;
pub mod message;
pub mod operation;
pub mod reader;

/// A client's release, as it travels: major, minor and patch in 16, 8 and 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release(pub u32);

impl Release {
    /// The oldest release whose operations are understood here.
    pub const MIN: Release = Release::new(0, 17, 0);
    /// The newest release that was tried.
    pub const MAX: Release = Release::new(0, 17, 9);

    /// A release by its three numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u8, patch: u8) -> Release {
        Release((major as u32) << 16 | (minor as u32) << 8 | patch as u32)
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Release(all) = *self;
        write!(f, "{}.{}.{}", all >> 16, all >> 8 & 0xff, all & 0xff)
    }
}

//! The 256 bytes before each body: what all messages share, and the 128 bytes whose meaning their command gives.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 16 | checksum of bytes 16 to 255, and 16 zeros |
//! | 32 | 16 | checksum of the body, and 16 zeros |
//! | 64 | 16 | nonce, 0 |
//! | 80 | 16 | cluster |
//! | 96 | 4 | size, header included |
//! | 100 | 4 | epoch, 0 |
//! | 104 | 4 | view |
//! | 108 | 4 | release |
//! | 112 | 2 | protocol, 0 |
//! | 114 | 1 | command |
//! | 115 | 1 | replica |
//! | 116 | 12 | zeros |
//! | 128 | 128 | the command's own |
//!
//! - The header proves itself before its body is awaited: `size` is trusted only under the checksum and the bound.

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::tigerbeetle::checksum::checksum;
use crate::tigerbeetle::operation::MESSAGE_BYTES_MAX;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 256;

/// A header as it stands in memory and on the wire.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) checksum: U128,
    checksum_padding: [u8; 16],
    pub(crate) checksum_body: U128,
    checksum_body_padding: [u8; 16],
    nonce: [u8; 16],
    pub(crate) cluster: U128,
    pub(crate) size: U32,
    epoch: [u8; 4],
    pub(crate) view: U32,
    pub(crate) release: U32,
    protocol: U16,
    pub(crate) command: u8,
    pub(crate) replica: u8,
    reserved: [u8; 12],
    pub(crate) own: [u8; 128],
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

/// Why bytes are no message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadMessage {
    /// The header's checksum is not that of its bytes.
    #[error("the header's checksum does not fit")]
    HeaderChecksum,
    /// The body's checksum is not that of its bytes.
    #[error("the body's checksum does not fit")]
    BodyChecksum,
    /// A size below the header's or above the longest message's.
    #[error("a message of {0} bytes")]
    Size(u32),
    /// A reserved byte is set, or a field that must be zero is not.
    #[error("a reserved field is set")]
    Reserved,
    /// Another version of the protocol.
    #[error("version {0} of the protocol")]
    Protocol(u16),
    /// A command that does not concern a client.
    #[error("command {0} is none between a client and a replica")]
    Command(u8),
    /// A field has a value that its message forbids.
    #[error("a field has a value that its message forbids")]
    Field,
}

impl Header {
    /// A header with nothing but zeros and these.
    pub(crate) fn new(command: u8, cluster: u128, view: u32, release: u32, replica: u8) -> Self {
        Self {
            checksum: 0.into(),
            checksum_padding: [0; 16],
            checksum_body: 0.into(),
            checksum_body_padding: [0; 16],
            nonce: [0; 16],
            cluster: cluster.into(),
            size: (HEADER_BYTES as u32).into(),
            epoch: [0; 4],
            view: view.into(),
            release: release.into(),
            protocol: 0.into(),
            command,
            replica,
            reserved: [0; 12],
            own: [0; 128],
        }
    }

    /// Checks everything that all headers have in common; the body is not looked at.
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<&Self, BadMessage> {
        let header = Self::ref_from_bytes(bytes).expect("any 256 bytes are a header");
        if header.checksum.get() != checksum(&bytes[16..]) {
            return Err(BadMessage::HeaderChecksum);
        }
        let size = header.size.get();
        if (size as usize) < HEADER_BYTES || size as usize > MESSAGE_BYTES_MAX {
            return Err(BadMessage::Size(size));
        }
        let zero = [header.checksum_padding, header.checksum_body_padding];
        if zero != [[0; 16]; 2]
            || header.nonce != [0; 16]
            || header.epoch != [0; 4]
            || header.reserved != [0; 12]
        {
            return Err(BadMessage::Reserved);
        }
        match header.protocol.get() {
            0 => Ok(header),
            other => Err(BadMessage::Protocol(other)),
        }
    }

    /// Writes size and both checksums for `body`, and gives the bytes.
    pub(crate) fn seal(mut self, body: &[u8]) -> [u8; HEADER_BYTES] {
        let size = u32::try_from(HEADER_BYTES + body.len());
        self.size = size.expect("a body within the longest message").into();
        self.checksum_body = checksum(body).into();
        self.checksum = checksum(&self.as_bytes()[16..]).into();
        zerocopy::transmute!(self)
    }

    /// As `seal`, for a body that another header was sealed with.
    pub(crate) fn seal_again(mut self, other: &[u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
        let other = Self::ref_from_bytes(other).expect("any 256 bytes are a header");
        (self.size, self.checksum_body) = (other.size, other.checksum_body);
        self.checksum = checksum(&self.as_bytes()[16..]).into();
        zerocopy::transmute!(self)
    }

    /// Bytes of the body that follows.
    pub(crate) fn body_bytes(&self) -> usize {
        self.size.get() as usize - HEADER_BYTES
    }
}

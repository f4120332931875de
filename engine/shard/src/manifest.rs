//! What makes up a group's state at an index: its image, its chapters, its sealed stretches, each with length and hash.
//!
//! ```text
//!  0  4 B  "QRMF"          48  u32 membership bytes    64  file  the image
//!  4  u32  version: 1      52  u32 chapters            88  file  each chapter, from number 0 on
//!  8  u64  group           56  u32 sealed stretches    ..  each sealed stretch: u64 first, u64 last, file
//! 16  u64  index           60  u32 zero                ..  the membership as of the index, see raft::wire
//! 24  u64  term                                        ..  u128 XXH3 of every byte before
//! 32  u128 digest of the state           file: u64 length, u128 XXH3 of its bytes
//! ```
//!
//! - A manifest says everything that a restart or a peer needs to know; nothing in it is believed before its last 16
//!   bytes are checked.
//! - Two replicas that took an image at one index write the same manifest, but for sealed stretches.

use raft::ids::{EntryId, Index, Term};
use raft::membership::Membership;
use wal::archive::{FileKind, Name};
use xxhash_rust::xxh3::xxh3_128;
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits;

const MAGIC: [u8; 4] = *b"QRMF";
const VERSION: u32 = 1;
const DIGEST_BYTES: usize = size_of::<u128>();

/// What tells one file's content from another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileId {
    /// Bytes.
    pub length: u64,
    /// XXH3 (128 bits) of them. Finds every accident; it is no protection against an adversary among the nodes.
    pub hash: u128,
}

impl FileId {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            length: bytes.len() as u64,
            hash: xxh3_128(bytes),
        }
    }
}

/// A sealed stretch of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedId {
    /// Its first entry.
    pub first: Index,
    /// Its last entry.
    pub last: Index,
    /// Its file.
    pub file: FileId,
}

/// The list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Whose state.
    pub group: u64,
    /// The last entry whose effect is in it.
    pub last: EntryId,
    /// The state hash there.
    pub digest: u128,
    /// The configuration there.
    pub membership: Membership,
    /// The image.
    pub image: FileId,
    /// The chapters that the image counts on, from number 0 on.
    pub chapters: Vec<FileId>,
    /// Sealed stretches of the log before it, ascending.
    pub sealed: Vec<SealedId>,
}

/// Bytes that are no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The last 16 bytes do not match the ones before.
    #[error("its checksum does not match")]
    Damaged,
    /// A version that this program does not read.
    #[error("its version {0} is not known")]
    Version(u32),
    /// Whole, and yet not a manifest.
    #[error("it makes no sense")]
    Malformed,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireHead {
    magic: [u8; 4],
    version: U32,
    group: U64,
    index: U64,
    term: U64,
    digest: U128,
    membership_bytes: U32,
    chapters: U32,
    sealed: U32,
    zero: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireFile {
    length: U64,
    hash: U128,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireSealed {
    first: U64,
    last: U64,
    file: WireFile,
}

const _: () = assert!(size_of::<WireHead>() == 64 && size_of::<WireFile>() == 24);

impl From<FileId> for WireFile {
    fn from(file: FileId) -> Self {
        Self {
            length: file.length.into(),
            hash: file.hash.into(),
        }
    }
}

impl From<WireFile> for FileId {
    fn from(file: WireFile) -> Self {
        Self {
            length: file.length.get(),
            hash: file.hash.get(),
        }
    }
}

fn count(number: usize) -> U32 {
    u32::try_from(number).expect("bounded").into()
}

impl Manifest {
    /// Its bytes, and the digest that ends them.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, u128) {
        let mut membership = Vec::new();
        self.membership.encode(&mut membership);
        let head = WireHead {
            magic: MAGIC,
            version: VERSION.into(),
            group: self.group.into(),
            index: self.last.index.0.into(),
            term: self.last.term.0.into(),
            digest: self.digest.into(),
            membership_bytes: count(membership.len()),
            chapters: count(self.chapters.len()),
            sealed: count(self.sealed.len()),
            zero: 0.into(),
        };
        let mut to = head.as_bytes().to_vec();
        to.extend_from_slice(WireFile::from(self.image).as_bytes());
        for chapter in &self.chapters {
            to.extend_from_slice(WireFile::from(*chapter).as_bytes());
        }
        for sealed in &self.sealed {
            let sealed = WireSealed {
                first: sealed.first.0.into(),
                last: sealed.last.0.into(),
                file: sealed.file.into(),
            };
            to.extend_from_slice(sealed.as_bytes());
        }
        to.extend_from_slice(&membership);
        let digest = xxh3_128(&to);
        to.extend_from_slice(&digest.to_le_bytes());
        (to, digest)
    }

    /// Reads a manifest that came from disk or wire; also returns the digest that ends it.
    ///
    /// # Errors
    /// When the bytes are damaged or no manifest.
    pub fn parse(bytes: &[u8]) -> Result<(Self, u128), ManifestError> {
        let (body, end) = bytes
            .split_last_chunk::<DIGEST_BYTES>()
            .ok_or(ManifestError::Damaged)?;
        let digest = u128::from_le_bytes(*end);
        if body.len() > limits::MANIFEST_BYTES_MAX || xxh3_128(body) != digest {
            return Err(ManifestError::Damaged);
        }
        let malformed = ManifestError::Malformed;
        let (head, rest) = WireHead::read_from_prefix(body).map_err(|_| malformed)?;
        if head.magic != MAGIC {
            return Err(malformed);
        }
        if head.version.get() != VERSION {
            return Err(ManifestError::Version(head.version.get()));
        }
        let (image, rest) = WireFile::read_from_prefix(rest).map_err(|_| malformed)?;
        let (chapters, rest) =
            <[WireFile]>::ref_from_prefix_with_elems(rest, head.chapters.get() as usize)
                .map_err(|_| malformed)?;
        let (sealed, rest) =
            <[WireSealed]>::ref_from_prefix_with_elems(rest, head.sealed.get() as usize)
                .map_err(|_| malformed)?;
        if rest.len() != head.membership_bytes.get() as usize || head.zero.get() != 0 {
            return Err(malformed);
        }
        let manifest = Self {
            group: head.group.get(),
            last: EntryId {
                index: Index(head.index.get()),
                term: Term(head.term.get()),
            },
            digest: head.digest.get(),
            membership: Membership::decode(rest).map_err(|_| malformed)?,
            image: image.into(),
            chapters: chapters.iter().map(|&file| file.into()).collect(),
            sealed: sealed
                .iter()
                .map(|sealed| SealedId {
                    first: Index(sealed.first.get()),
                    last: Index(sealed.last.get()),
                    file: sealed.file.into(),
                })
                .collect(),
        };
        if manifest.last.index.0 == 0 || manifest.last.term.0 == 0 {
            return Err(malformed);
        }
        Ok((manifest, digest))
    }

    /// Its own name.
    #[must_use]
    pub fn name(&self) -> Name {
        manifest_name(self.group, self.last.index)
    }

    /// The image's name.
    #[must_use]
    pub fn image_name(&self) -> Name {
        image_name(self.group, self.last.index)
    }

    /// The chapters' files, in order.
    pub fn chapter_files(&self) -> impl Iterator<Item = (Name, FileId)> + '_ {
        let chapters = (0..).zip(&self.chapters);
        chapters.map(|(number, file)| (chapter_name(self.group, number), *file))
    }

    /// The files that the state is made of: the chapters, then the image.
    pub fn files(&self) -> impl Iterator<Item = (Name, FileId)> + '_ {
        self.chapter_files()
            .chain([(self.image_name(), self.image)])
    }
}

/// The manifest of a group at an index.
#[must_use]
pub fn manifest_name(group: u64, index: Index) -> Name {
    Name {
        group,
        kind: FileKind::Manifest,
        number: index.0,
    }
}

/// The image of a group at an index.
#[must_use]
pub fn image_name(group: u64, index: Index) -> Name {
    Name {
        group,
        kind: FileKind::Image,
        number: index.0,
    }
}

/// A chapter of a group.
#[must_use]
pub fn chapter_name(group: u64, number: u64) -> Name {
    Name {
        group,
        kind: FileKind::Chapter,
        number,
    }
}

#[cfg(test)]
mod tests {
    use raft::ids::NodeId;

    use super::*;

    fn manifest(chapters: usize, sealed: u64) -> Manifest {
        let file = |number: u64| FileId {
            length: number,
            hash: u128::from(number) << 70,
        };
        Manifest {
            group: 3,
            last: EntryId {
                index: Index(90),
                term: Term(4),
            },
            digest: 0x1234,
            membership: Membership::of_voters(&[NodeId(1), NodeId(2), NodeId(3)])
                .expect("three voters"),
            image: file(99),
            chapters: (0..chapters as u64).map(file).collect(),
            sealed: (0..sealed)
                .map(|number| SealedId {
                    first: Index(number * 10 + 1),
                    last: Index(number * 10 + 10),
                    file: file(number),
                })
                .collect(),
        }
    }

    #[test]
    fn a_manifest_survives_the_round_trip() {
        for (chapters, sealed) in [(0, 0), (1, 0), (0, 2), (300, 5)] {
            let manifest = manifest(chapters, sealed);
            let (bytes, digest) = manifest.encode();
            assert_eq!(Manifest::parse(&bytes), Ok((manifest, digest)));
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_found() {
        let (bytes, _) = manifest(2, 1).encode();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Manifest::parse(&bad), Err(ManifestError::Damaged));
            assert!(Manifest::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    /// Changes a byte and makes the digest right again.
    fn forged(at: usize, value: u8) -> Result<(Manifest, u128), ManifestError> {
        let (mut bytes, _) = manifest(2, 1).encode();
        bytes[at] = value;
        let body = bytes.len() - DIGEST_BYTES;
        let digest = xxh3_128(&bytes[..body]);
        bytes[body..].copy_from_slice(&digest.to_le_bytes());
        Manifest::parse(&bytes)
    }

    #[test]
    fn a_whole_file_that_lies_is_refused() {
        assert_eq!(forged(4, 9), Err(ManifestError::Version(9)));
        for (at, value) in [
            (0, 0),
            (16, 0),
            (24, 0),
            (48, 1),
            (52, 99),
            (59, 255),
            (60, 1),
        ] {
            assert_eq!(forged(at, value), Err(ManifestError::Malformed), "{at}");
        }
    }
}

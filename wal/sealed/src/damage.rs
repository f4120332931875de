//! What is wrong with a sealed file, by place, by group and indexes where they are known, and what to do.
//!
//! - Damage is a value: no reader panics on bytes, and none gives an answer from bytes that did not pass.

use thiserror::Error;

/// One thing found wrong in a sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{part} at byte {offset}, {bytes} bytes: {kind}")]
pub struct Damage {
    /// The part of the file.
    pub part: Part,
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// Bytes of the part.
    pub bytes: u64,
    /// What is wrong with it.
    pub kind: DamageKind,
    /// The group whose file it is, where a part that passed tells it.
    pub group: Option<u64>,
    /// First index concerned, if known.
    pub first: Option<u64>,
    /// Last index concerned, if known.
    pub last: Option<u64>,
}

/// A part of a sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Part {
    /// The whole file.
    #[error("the file")]
    File,
    /// What the file begins with.
    #[error("the header")]
    Header,
    /// A data block, counted from 0.
    #[error("block {0}")]
    Block(u32),
    /// What the file ends with.
    #[error("the footer")]
    Footer,
}

/// What is wrong with a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DamageKind {
    /// It does not begin as a file of this kind does.
    #[error("not a file of this kind")]
    Foreign,
    /// A newer program wrote it.
    #[error("format {found}, newer than {supported}, the newest that this program reads")]
    Newer {
        /// The file's format.
        found: u32,
        /// The newest format that this program reads.
        supported: u32,
    },
    /// The file is shorter or longer than it was.
    #[error("it has {found} bytes and should have {expected}")]
    Length {
        /// Its length in bytes.
        found: u64,
        /// The length that it says it has, or the least that it can have.
        expected: u64,
    },
    /// The bytes are not those that were written.
    #[error("its checksum does not match")]
    Checksum,
    /// The bytes are whole, but of another place or another file.
    #[error("it belongs to another place or file")]
    Misplaced,
    /// The bytes are those that were written, and mean nothing.
    #[error("it passes its checksum and contradicts itself")]
    Contradiction,
}

/// What to do about damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Remedy {
    /// Every replica holds the same bytes.
    #[error("fetch the file from a replica of the group, and compare its bytes")]
    Refetch,
    /// A newer program can read it.
    #[error("read it with a program at least as new as the one that wrote it")]
    Upgrade,
    /// Another file lies at this place.
    #[error(
        "the file is no sealed file of this kind: look whether its name or its folder is wrong"
    )]
    Replace,
}

impl Damage {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> Remedy {
        match self.kind {
            DamageKind::Newer { .. } => Remedy::Upgrade,
            DamageKind::Foreign => Remedy::Replace,
            DamageKind::Length { .. }
            | DamageKind::Checksum
            | DamageKind::Misplaced
            | DamageKind::Contradiction => Remedy::Refetch,
        }
    }
}

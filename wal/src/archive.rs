//! The door to files that never change: made in pieces, durable once finished, read in place, removed.
//!
//! - A file has its name only when all of it is durable, its entry in the folder included: half a file is never seen.
//! - A file whose making fails in any step, the last flush too, is given up: it is made anew from its first piece.
//! - Submit, then poll, never call and wait. What waits is bounded in bytes; beyond it the answer is "not now".
//! - Calls that end in `now` wait for the disk; they are for the time before the first turn.
//!
//! | implementation | where the bytes are |
//! |---|---|
//! | [`folder`] | a folder per core, written and read by one side thread of the node, mapped into memory |
//! | [`memory`] | memory, with a clock, crashes and faults, for tests and the simulator |

pub mod folder;
mod leaving;
pub mod memory;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::device::Errno;

/// Bytes of pieces that may wait to be written; one piece always may.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;

/// Largest number of reads that may wait.
pub const READS_MAX: usize = 32;

/// Largest piece, written or read, in bytes.
pub const PIECE_BYTES_MAX: usize = 1 << 20;

/// What a file holds; the archive itself does not look into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// The list of everything that makes up a group's state at an index; its number is that index.
    Manifest,
    /// A group's state at an index, without what is in chapters; its number is that index.
    Image,
    /// A stretch of a group's state that never changes again; chapters are numbered from 0.
    Chapter,
    /// A stretch of a group's log, sealed; its number is its first index.
    Sealed,
}

impl FileKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Manifest, Self::Image, Self::Chapter, Self::Sealed];

    const fn word(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Image => "image",
            Self::Chapter => "chapter",
            Self::Sealed => "sealed",
        }
    }
}

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Whose.
    pub group: u64,
    /// What it holds.
    pub kind: FileKind,
    /// Which one of its kind.
    pub number: u64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, number, .. } = self;
        write!(f, "{}-{group:08}-{number:020}", self.kind.word())
    }
}

impl Name {
    /// Reads a file's name; `None` when it is none of the archive's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (word, group, number) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = FileKind::ALL.into_iter().find(|kind| kind.word() == word)?;
        let name = Self {
            group: group.parse().ok()?,
            kind,
            number: number.parse().ok()?,
        };
        // One name for one file: what is not written as we would write it is not ours.
        (parts.next().is_none() && name.to_string() == text).then_some(name)
    }
}

/// A file's bytes, read in place for as long as anybody holds them, even if the file is removed meanwhile.
pub type Contents = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// No space is left. It may be tried again later, a file from its first piece.
    #[error("the disk is full")]
    Full,
    /// There is no such file, or it ends before what was asked for.
    #[error("the file is not there, or is too short")]
    Missing,
    /// The operating system reported an error.
    #[error("the disk failed")]
    Io(#[source] Errno),
}

/// Something ended.
#[derive(Clone)]
pub enum Completion {
    /// The file is durable and has its name.
    Finished(Name, Contents),
    /// The file was given up; nothing of it is left.
    Failed(Name, ArchiveError),
    /// The file is gone.
    Removed(Name, Result<(), ArchiveError>),
    /// A read, named by its token.
    Read(u64, Result<Bytes, ArchiveError>),
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished(name, contents) => {
                write!(
                    f,
                    "Finished({name}, {} bytes)",
                    contents.as_ref().as_ref().len()
                )
            }
            Self::Failed(name, error) => write!(f, "Failed({name}, {error:?})"),
            Self::Removed(name, result) => write!(f, "Removed({name}, {result:?})"),
            Self::Read(token, result) => {
                let result = result.as_ref().map(Bytes::len);
                write!(f, "Read({token}, {result:?})")
            }
        }
    }
}

/// Where a piece stands in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The file begins with it: what was written under this name and not finished is forgotten.
    pub is_first: bool,
    /// The file ends with it: it is made durable and gets its name.
    pub is_last: bool,
}

/// The files of one core.
pub trait Archive {
    /// Every finished file with its length in bytes, in order; what is left of unfinished ones is removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn list_now(&mut self) -> Result<Vec<(Name, u64)>, ArchiveError>;

    /// A finished file's bytes.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    fn open_now(&mut self, name: Name) -> Result<Contents, ArchiveError>;

    /// Removes a file; it is gone when this returns, or comes back after a crash.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    fn remove_now(&mut self, name: Name) -> Result<(), ArchiveError>;

    /// Takes the next piece of a file, of at most [`PIECE_BYTES_MAX`]; `Finished` follows the last one, `Failed` any of them.
    ///
    /// # Errors
    /// The piece, when too many bytes wait already: offer it again later.
    fn write(
        &mut self,
        now_ns: u64,
        name: Name,
        piece: Vec<u8>,
        place: Place,
    ) -> Result<(), Vec<u8>>;

    /// A file that was begun is not wanted. A `Finished` may still come.
    fn abandon(&mut self, now_ns: u64, name: Name);

    /// Removes a finished file; `Removed` follows.
    fn remove(&mut self, now_ns: u64, name: Name);

    /// Reads part of a finished file; false when too many reads wait already.
    fn read(&mut self, now_ns: u64, name: Name, offset: u64, bytes: usize, token: u64) -> bool;

    /// Appends what ended since the last call.
    fn poll(&mut self, now_ns: u64, completions: &mut Vec<Completion>);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        for kind in FileKind::ALL {
            for (group, number) in [(0, 0), (7, 12), (u64::MAX, u64::MAX)] {
                let name = Name {
                    group,
                    kind,
                    number,
                };
                assert_eq!(Name::parse(&name.to_string()), Some(name));
            }
        }
        for stranger in [
            "image-00000001-1",
            "image-1-00000000000000000001",
            "picture-00000001-00000000000000000001",
            "image-00000001-00000000000000000001.partial",
            "image-00000001",
            "",
        ] {
            assert_eq!(Name::parse(stranger), None, "{stranger}");
        }
    }
}

//! What objects are called: by what they hold, so that storing the same file twice is storing it once.
//!
//! ```text
//! v1/{group:016x}/segments/{first:020}-{last:020}-{hash:32 hex}[-{copy:2 hex}]
//! v1/{group:016x}/manifest/{number:020}
//! v1/{group:016x}/snapshots/{number:020}
//! ```
//!
//! - A group's objects share a prefix; names sort by index and by number.
//! - A segment's name carries the first 128 bits of the BLAKE3 hash of the file: never are two files stored
//!   under one name, and an object once written is never overwritten with other content.
//! - An object that has lain there unnamed for long may be swept at any moment, by somebody who stood still meanwhile as
//!   well: whoever needs the file again stores it as its next copy, under another name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// BLAKE3 hash of a whole file as it lay on the local disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (digits, byte) in text.chunks_exact_mut(2).zip(self.0) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(str::from_utf8(&text).expect("digits are ASCII"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut hash = [0; 32];
        let is_right = text.len() == 64
            && text.is_ascii()
            && hash.iter_mut().enumerate().all(|(nth, byte)| {
                let digits = &text[nth * 2..nth * 2 + 2];
                u8::from_str_radix(digits, 16).is_ok_and(|value| {
                    *byte = value;
                    true
                })
            });
        if is_right {
            Ok(Self(hash))
        } else {
            Err(serde::de::Error::custom("a hash is 64 hexadecimal digits"))
        }
    }
}

/// A file that may leave: which stretch of which group's log it is, and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Segment {
    /// The group.
    pub group: u64,
    /// Index of the first entry.
    pub first: u64,
    /// Index of the last entry.
    pub last: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Hash of the file.
    pub hash: ContentHash,
    /// Which of the objects that hold it; 0 but for those that were stored again.
    #[serde(default, skip_serializing_if = "is_first_copy")]
    pub copy: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_first_copy(copy: &u8) -> bool {
    *copy == 0
}

impl Segment {
    /// The object that holds it.
    #[must_use]
    pub fn object(&self) -> String {
        let hash = self.hash.to_string();
        let name = format!(
            "v1/{:016x}/segments/{:020}-{:020}-{}",
            self.group,
            self.first,
            self.last,
            &hash[..32]
        );
        match self.copy {
            0 => name,
            copy => format!("{name}-{copy:02x}"),
        }
    }

    /// The next object that may hold the same file; `None` when there were too many.
    #[must_use]
    pub const fn next_copy(mut self) -> Option<Self> {
        match self.copy.checked_add(1) {
            Some(copy) => {
                self.copy = copy;
                Some(self)
            }
            None => None,
        }
    }

    /// Whether both hold the same file.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        let copy = self.copy;
        *self == Self { copy, ..*other }
    }
}

/// What all objects of a group begin with.
#[must_use]
pub fn all_of(group: u64) -> String {
    format!("v1/{group:016x}/")
}

/// What all segments of a group begin with.
#[must_use]
pub fn segments_of(group: u64) -> String {
    format!("v1/{group:016x}/segments/")
}

/// A group's manifest edit with this number.
#[must_use]
pub fn edit(group: u64, number: u64) -> String {
    format!("v1/{group:016x}/manifest/{number:020}")
}

/// The number in the name of a group's manifest edit; nothing when it is no such name.
#[must_use]
pub fn number_of_edit(group: u64, name: &str) -> Option<u64> {
    let number = name.rsplit('/').next()?.parse().ok()?;
    (edit(group, number) == name).then_some(number)
}

/// What all snapshots of a group's manifest begin with.
#[must_use]
pub fn snapshots_of(group: u64) -> String {
    format!("v1/{group:016x}/snapshots/")
}

/// A group's whole manifest as it was after the edit with this number.
#[must_use]
pub fn snapshot(group: u64, number: u64) -> String {
    format!("v1/{group:016x}/snapshots/{number:020}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_index_and_carry_the_hash() {
        let segment = |first| Segment {
            group: 0xfe,
            first,
            last: first + 8,
            bytes: 3,
            hash: ContentHash::of(b"abc"),
            copy: 0,
        };
        let name = segment(9).object();
        assert_eq!(
            name,
            "v1/00000000000000fe/segments/00000000000000000009-00000000000000000017-\
             6437b3ac38465133ffb63b75273a8db5"
        );
        assert!(name < segment(10).object() && name.starts_with(&segments_of(0xfe)));
        let second = segment(9).next_copy().expect("there were few");
        assert_eq!(second.object(), format!("{name}-01"));
        assert_eq!(number_of_edit(0xfe, &edit(0xfe, 77)), Some(77));
        for other in [
            edit(0xfd, 77),
            snapshot(0xfe, 77),
            name.clone(),
            String::new(),
        ] {
            assert_eq!(number_of_edit(0xfe, &other), None, "{other}");
        }
        assert!(second.is_same_file(&segment(9)) && !second.is_same_file(&segment(10)));
    }

    #[test]
    fn hashes_are_written_as_digits_and_read_back() {
        let hash = ContentHash::of(b"abc");
        let text = serde_json::to_string(&hash).expect("a string");
        assert_eq!(serde_json::from_str::<ContentHash>(&text).ok(), Some(hash));
        for wrong in ["\"\"", "\"zz\"", "12"] {
            assert!(serde_json::from_str::<ContentHash>(wrong).is_err());
        }
    }
}

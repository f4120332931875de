//! Keys: each object has a data key of its own, which is stored beside it wrapped by a key that never leaves its keeper.
//!
//! - Who destroys the keeper's key has erased everything that was ever encrypted under it, copies included.
//! - A new keeper's key changes nothing that is stored: old objects name the key that wrapped theirs.
//! - The keeper is a trait; a file is there now, a key management service fits behind the same two calls.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

/// A key for the data of one object: 32 bytes for AES-256-GCM.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey(pub [u8; 32]);

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(secret)")
    }
}

/// A data key as its keeper wrapped it; opaque, and no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey(pub Vec<u8>);

/// Why a key could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("the key file cannot be read: {0}")]
    File(String),
    /// A line of the file is no key.
    #[error("line {0} of the key file is not a name and 64 hexadecimal digits")]
    Line(usize),
    /// Two keys have one name.
    #[error("line {0} of the key file names a key again")]
    Twice(usize),
    /// The file holds no key.
    #[error("the key file holds no key")]
    Empty,
    /// The key that wrapped this one is not there: destroyed, or not given.
    #[error("the key {0} is needed and is not there")]
    Missing(String),
    /// The wrapped key is damaged or of another keeper.
    #[error("the wrapped key is damaged")]
    Damaged,
    /// The keeper cannot be reached now.
    #[error("the keeper of keys cannot be reached")]
    Unavailable,
    /// No keeper was given, and the object is encrypted.
    #[error("the object is encrypted and no keys were given")]
    NoKeeper,
}

/// Keeps the keys that wrap data keys. Called on the store's side thread only.
pub trait KeyKeeper: Send {
    /// A new data key, open and wrapped.
    ///
    /// # Errors
    /// When the keeper cannot be reached.
    fn generate(&mut self) -> Result<(DataKey, WrappedKey), KeyError>;

    /// Opens a key that this keeper wrapped.
    ///
    /// # Errors
    /// When the key that wrapped it is gone, or the bytes are not what this keeper made.
    fn open(&mut self, wrapped: &WrappedKey) -> Result<DataKey, KeyError>;
}

/// Keys in a text file: one `name hexkey` a line, the last one is used for what is new.
///
/// A wrapped key is `name length u8 | name | nonce 12 B | 32 B + tag 16 B`.
#[derive(Debug)]
pub struct FileKeeper {
    keys: BTreeMap<String, [u8; 32]>,
    newest: String,
    random: SystemRandom,
}

impl FileKeeper {
    /// Reads a file of keys.
    ///
    /// # Errors
    /// When it cannot be read, or is not such a file.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| KeyError::File(error.to_string()))?;
        Self::parse(&text)
    }

    /// The same from its text. Empty lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// When a line is not a key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys = BTreeMap::new();
        let mut newest = None;
        for (nth, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, key) = parse_line(line).ok_or(KeyError::Line(nth + 1))?;
            if keys.insert(name.to_owned(), key).is_some() {
                return Err(KeyError::Twice(nth + 1));
            }
            newest = Some(name.to_owned());
        }
        Ok(Self {
            keys,
            newest: newest.ok_or(KeyError::Empty)?,
            random: SystemRandom::new(),
        })
    }

    fn wrap(&self, data: &DataKey, nonce: [u8; NONCE_LEN]) -> Result<WrappedKey, KeyError> {
        let name = self.newest.as_bytes();
        let mut sealed = data.0.to_vec();
        cipher(&self.keys[&self.newest])
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name),
                &mut sealed,
            )
            .map_err(|_| KeyError::Damaged)?;
        let mut wrapped = vec![u8::try_from(name.len()).map_err(|_| KeyError::Damaged)?];
        wrapped.extend_from_slice(name);
        wrapped.extend_from_slice(&nonce);
        wrapped.extend_from_slice(&sealed);
        Ok(WrappedKey(wrapped))
    }
}

fn parse_line(line: &str) -> Option<(&str, [u8; 32])> {
    let (name, digits) = line.split_once(char::is_whitespace)?;
    let digits = digits.trim();
    if name.len() > 64 || digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut key = [0; 32];
    for (nth, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[nth * 2..nth * 2 + 2], 16).ok()?;
    }
    Some((name, key))
}

/// The cipher under a key.
pub(crate) fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has the cipher's length"))
}

impl KeyKeeper for FileKeeper {
    fn generate(&mut self) -> Result<(DataKey, WrappedKey), KeyError> {
        let (mut key, mut nonce) = ([0; 32], [0; NONCE_LEN]);
        self.random
            .fill(&mut key)
            .and_then(|()| self.random.fill(&mut nonce))
            .map_err(|_| KeyError::Unavailable)?;
        let key = DataKey(key);
        let wrapped = self.wrap(&key, nonce)?;
        Ok((key, wrapped))
    }

    fn open(&mut self, wrapped: &WrappedKey) -> Result<DataKey, KeyError> {
        let (&length, rest) = wrapped.0.split_first().ok_or(KeyError::Damaged)?;
        let (name, rest) = rest
            .split_at_checked(usize::from(length))
            .ok_or(KeyError::Damaged)?;
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(KeyError::Damaged)?;
        let text = std::str::from_utf8(name).map_err(|_| KeyError::Damaged)?;
        let key = self
            .keys
            .get(text)
            .ok_or_else(|| KeyError::Missing(text.to_owned()))?;
        let mut sealed = sealed.to_vec();
        let open = cipher(key)
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(name),
                &mut sealed,
            )
            .map_err(|_| KeyError::Damaged)?;
        open.try_into().map(DataKey).map_err(|_| KeyError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, digit: char) -> String {
        format!("{name} {}\n", digit.to_string().repeat(64))
    }

    #[test]
    fn what_is_wrapped_is_opened_by_who_has_the_key() {
        let mut old = FileKeeper::parse(&line("2026-10", 'a')).expect("a key");
        let (key, wrapped) = old.generate().expect("random");
        assert_eq!(old.open(&wrapped), Ok(key.clone()));
        let text = line("2026-10", 'a') + "# rotated\n" + &line("2026-11", 'b');
        let mut rotated = FileKeeper::parse(&text).expect("two keys");
        assert_eq!(rotated.open(&wrapped), Ok(key), "old keys still open");
        let (_, newer) = rotated.generate().expect("random");
        assert_eq!(old.open(&newer), Err(KeyError::Missing("2026-11".into())));
        let mut other = FileKeeper::parse(&line("2026-10", 'c')).expect("a key");
        assert_eq!(other.open(&wrapped), Err(KeyError::Damaged));
    }

    #[test]
    fn a_damaged_wrapped_key_is_told() {
        let mut keeper = FileKeeper::parse(&line("k", '1')).expect("a key");
        let (_, wrapped) = keeper.generate().expect("random");
        for nth in 0..wrapped.0.len() {
            let mut damaged = wrapped.clone();
            damaged.0[nth] ^= 1;
            assert!(keeper.open(&damaged).is_err(), "byte {nth}");
            damaged.0.truncate(nth);
            assert!(keeper.open(&damaged).is_err(), "cut at {nth}");
        }
    }

    #[test]
    fn files_that_are_no_keys_are_refused() {
        let parse = |text: &str| FileKeeper::parse(text).err();
        assert_eq!(parse("# nothing\n"), Some(KeyError::Empty));
        assert_eq!(parse("\nname 12\n"), Some(KeyError::Line(2)));
        assert_eq!(parse("name\n"), Some(KeyError::Line(1)));
        let twice = line("a", '1') + &line("a", '2');
        assert_eq!(parse(&twice), Some(KeyError::Twice(2)));
        assert!(matches!(
            FileKeeper::open(Path::new("/nowhere")).err(),
            Some(KeyError::File(_))
        ));
    }
}

//! What an object looks like: a head, and the file in chunks of 64 KiB that are each checked, and encrypted if asked.
//!
//! ```text
//!   0  8 B   "QRTCOLD1"
//!   8  u16   version, 1
//!  10  u8    cipher: 0 none, 1 AES-256-GCM
//!  11  u8    copy, see the name
//!  12  u32   bytes of the wrapped key; 0 without cipher
//!  16  u64   group
//!  24  u64   index of the first entry
//!  32  u64   index of the last entry
//!  40  u64   bytes of the file
//!  48  32 B  BLAKE3 of the file
//!  80  u32   CRC-32 of bytes 0..80 and of the wrapped key
//!  84        the wrapped key
//!   …        chunks: u32 CRC-32 of the rest of the chunk, then up to 65,536 bytes of the file;
//!            ciphered they are followed by a tag of 16 bytes
//! ```
//!
//! - Numbers are little-endian. The nonce of chunk `n` is `n` in 12 bytes, under a key that serves this object alone;
//!   the associated data is the head's first 80 bytes, so that a chunk of another object or place does not fit.
//! - The CRC tells damage without a key; the hash tells whether what came back is what was given.

use bytes::Bytes;
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::key::{DataKey, WrappedKey, cipher};
use crate::limits::{CHUNK_BYTES, SEGMENT_BYTES_MAX, WRAPPED_KEY_BYTES_MAX};
use crate::name::{ContentHash, Segment};

const MAGIC: [u8; 8] = *b"QRTCOLD1";
const VERSION: u16 = 1;
const CRC_BYTES: usize = 4;
const TAG_BYTES: usize = 16;

/// Bytes of a head before its key.
pub const HEAD_BYTES: usize = size_of::<Head>();
const SIGNED_BYTES: usize = HEAD_BYTES - CRC_BYTES;
const _: () = assert!(HEAD_BYTES == 84);

/// The fixed part of an object.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    magic: [u8; 8],
    version: U16,
    cipher: u8,
    copy: u8,
    key_bytes: U32,
    group: U64,
    first: U64,
    last: U64,
    bytes: U64,
    hash: [u8; 32],
    crc: U32,
}

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ObjectError {
    /// It does not begin like one.
    #[error("this is not an object of the cold tier")]
    Magic,
    /// A version that is not known.
    #[error("the object has version {0}, which is not known; use a newer program")]
    Version(u16),
    /// Its head is damaged.
    #[error("the object's head is damaged")]
    Head,
    /// Its cipher is not known.
    #[error("the object has the unknown cipher {0}")]
    Cipher(u8),
    /// It ends early or goes on too long.
    #[error("the object has {found} bytes, {expected} expected")]
    Length {
        /// What its head asks for.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// A chunk is damaged.
    #[error("the object is damaged at byte {at} of the file")]
    Chunk {
        /// Where in the file.
        at: u64,
    },
    /// A chunk does not open with this key.
    #[error(
        "the object does not open with its key at byte {at} of the file: another key, or changed by hand"
    )]
    Secret {
        /// Where in the file.
        at: u64,
    },
    /// Every chunk is sound, and together they are another file.
    #[error("the object holds another file than its name says")]
    Hash,
}

/// Bytes of the object that holds a file of `bytes`.
#[must_use]
pub fn object_bytes(bytes: u64, key_bytes: usize) -> u64 {
    let chunks = bytes.div_ceil(CHUNK_BYTES as u64);
    let extra = CRC_BYTES + if key_bytes > 0 { TAG_BYTES } else { 0 };
    (HEAD_BYTES + key_bytes) as u64 + bytes + chunks * extra as u64
}

fn nonce(chunk: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&chunk.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Turns a file into an object, a few chunks at a time.
#[derive(Debug)]
pub struct Encoder {
    head: Head,
    cipher: Option<LessSafeKey>,
    at: u64,
    pieces: Vec<Bytes>,
}

impl Encoder {
    /// For this file; under a key if one is given, which must serve no other object.
    #[must_use]
    pub fn new(segment: &Segment, key: Option<(&DataKey, &WrappedKey)>) -> Self {
        let wrapped = key.map_or(&[][..], |(_, wrapped)| &wrapped.0);
        let mut head = Head {
            magic: MAGIC,
            version: VERSION.into(),
            cipher: u8::from(key.is_some()),
            copy: segment.copy,
            key_bytes: u32::try_from(wrapped.len()).unwrap_or(u32::MAX).into(),
            group: segment.group.into(),
            first: segment.first.into(),
            last: segment.last.into(),
            bytes: segment.bytes.into(),
            hash: segment.hash.0,
            crc: 0.into(),
        };
        head.crc = head_crc(&head, wrapped).into();
        let mut start = head.as_bytes().to_vec();
        start.extend_from_slice(wrapped);
        Self {
            head,
            cipher: key.map(|(key, _)| cipher(&key.0)),
            at: 0,
            pieces: vec![start.into()],
        }
    }

    /// Encodes about `budget` more bytes of the file. True when the object is complete.
    pub fn step(&mut self, file: &[u8], budget: usize) -> bool {
        let chunks = budget.div_ceil(CHUNK_BYTES).max(1);
        for _ in 0..chunks {
            let from = usize::try_from(self.at).unwrap_or(usize::MAX);
            let rest = file.get(from..).unwrap_or_default();
            if rest.is_empty() {
                return true;
            }
            let plain = &rest[..rest.len().min(CHUNK_BYTES)];
            let mut chunk = Vec::with_capacity(CRC_BYTES + plain.len() + TAG_BYTES);
            chunk.extend_from_slice(&[0; CRC_BYTES]);
            chunk.extend_from_slice(plain);
            if let Some(cipher) = &self.cipher {
                let signed = &self.head.as_bytes()[..SIGNED_BYTES];
                let number = self.at / CHUNK_BYTES as u64;
                let tag = cipher
                    .seal_in_place_separate_tag(
                        nonce(number),
                        Aad::from(signed),
                        &mut chunk[CRC_BYTES..],
                    )
                    .expect("a chunk is far below the cipher's bound");
                chunk.extend_from_slice(tag.as_ref());
            }
            let crc = crc32fast::hash(&chunk[CRC_BYTES..]);
            chunk[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
            self.at += plain.len() as u64;
            self.pieces.push(chunk.into());
        }
        self.at >= file.len() as u64
    }

    /// The object, in the order of its pieces.
    #[must_use]
    pub fn finish(self) -> Vec<Bytes> {
        self.pieces
    }
}

fn head_crc(head: &Head, wrapped: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head.as_bytes()[..SIGNED_BYTES]);
    hasher.update(wrapped);
    hasher.finalize()
}

/// What an object's head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headed {
    /// What it holds.
    pub segment: Segment,
    /// The wrapped data key, of an object that is encrypted.
    pub key: Option<WrappedKey>,
    /// Bytes of the object.
    pub object_bytes: u64,
}

/// Bytes that are enough to read any head.
pub const HEAD_BYTES_MAX: usize = HEAD_BYTES + WRAPPED_KEY_BYTES_MAX;

/// Reads a head from an object's first bytes.
///
/// # Errors
/// When it is none, is damaged, or asks for what is not known.
pub fn read_head(start: &[u8]) -> Result<Headed, ObjectError> {
    let too_short = ObjectError::Length {
        expected: HEAD_BYTES as u64,
        found: start.len() as u64,
    };
    let (head, rest) = Head::read_from_prefix(start).map_err(|_| too_short)?;
    if head.magic != MAGIC {
        return Err(ObjectError::Magic);
    }
    if head.version.get() != VERSION {
        return Err(ObjectError::Version(head.version.get()));
    }
    let key_bytes = head.key_bytes.get() as usize;
    if key_bytes > WRAPPED_KEY_BYTES_MAX {
        return Err(ObjectError::Head);
    }
    let wrapped = rest.get(..key_bytes).ok_or(too_short)?;
    if head_crc(&head, wrapped) != head.crc.get() {
        return Err(ObjectError::Head);
    }
    if head.cipher > 1 {
        return Err(ObjectError::Cipher(head.cipher));
    }
    let is_whole = head.bytes.get() <= SEGMENT_BYTES_MAX && (head.cipher == 1) == (key_bytes > 0);
    if !is_whole {
        return Err(ObjectError::Head);
    }
    Ok(Headed {
        segment: Segment {
            group: head.group.get(),
            first: head.first.get(),
            last: head.last.get(),
            bytes: head.bytes.get(),
            hash: ContentHash(head.hash),
            copy: head.copy,
        },
        key: (head.cipher == 1).then(|| WrappedKey(wrapped.to_vec())),
        object_bytes: object_bytes(head.bytes.get(), key_bytes),
    })
}

/// Turns an object back into its file, piece by piece, as they come.
#[derive(Debug)]
pub struct Decoder {
    headed: Headed,
    signed: [u8; SIGNED_BYTES],
    cipher: Option<LessSafeKey>,
    /// Bytes of the object to pass over before the next chunk.
    skip: usize,
    seen: u64,
    pending: Vec<u8>,
    hasher: blake3::Hasher,
    file: Option<Vec<u8>>,
    plain_bytes: u64,
}

impl Decoder {
    /// For the object that begins like this. The file is kept if it is wanted, else only verified.
    ///
    /// # Errors
    /// When the head does not read.
    pub fn new(start: &[u8], key: Option<&DataKey>, keep: bool) -> Result<Self, ObjectError> {
        let headed = read_head(start)?;
        if headed.key.is_some() != key.is_some() {
            return Err(ObjectError::Secret { at: 0 });
        }
        let key_bytes = headed.key.as_ref().map_or(0, |key| key.0.len());
        let mut signed = [0; SIGNED_BYTES];
        signed.copy_from_slice(&start[..SIGNED_BYTES]);
        let capacity = usize::try_from(headed.segment.bytes).unwrap_or(0);
        Ok(Self {
            signed,
            cipher: key.map(|key| cipher(&key.0)),
            skip: HEAD_BYTES + key_bytes,
            seen: 0,
            pending: Vec::with_capacity(CHUNK_BYTES + CRC_BYTES + TAG_BYTES),
            hasher: blake3::Hasher::new(),
            file: keep.then(|| Vec::with_capacity(capacity)),
            plain_bytes: 0,
            headed,
        })
    }

    /// What the head says.
    #[must_use]
    pub const fn headed(&self) -> &Headed {
        &self.headed
    }

    fn chunk_bytes(&self) -> usize {
        let rest = self.headed.segment.bytes - self.plain_bytes;
        let plain = usize::try_from(rest).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        CRC_BYTES + plain + if self.cipher.is_some() { TAG_BYTES } else { 0 }
    }

    /// Takes the next bytes of the object, its head included.
    ///
    /// # Errors
    /// At the first chunk that is not what it should be.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), ObjectError> {
        self.seen += bytes.len() as u64;
        if self.seen > self.headed.object_bytes {
            return Err(self.wrong_length());
        }
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            let wanted = self.chunk_bytes();
            let more = (wanted - self.pending.len()).min(bytes.len());
            self.pending.extend_from_slice(&bytes[..more]);
            bytes = &bytes[more..];
            if self.pending.len() == wanted {
                self.chunk()?;
            }
        }
        Ok(())
    }

    fn chunk(&mut self) -> Result<(), ObjectError> {
        let at = self.plain_bytes;
        let (crc, stored) = self
            .pending
            .split_first_chunk_mut::<CRC_BYTES>()
            .expect("a chunk is longer than its checksum");
        if crc32fast::hash(stored) != u32::from_le_bytes(*crc) {
            return Err(ObjectError::Chunk { at });
        }
        let plain = match &self.cipher {
            None => &*stored,
            Some(cipher) => cipher
                .open_in_place(
                    nonce(at / CHUNK_BYTES as u64),
                    Aad::from(&self.signed),
                    stored,
                )
                .map_err(|_| ObjectError::Secret { at })?,
        };
        self.hasher.update(plain);
        self.plain_bytes += plain.len() as u64;
        if let Some(file) = &mut self.file {
            file.extend_from_slice(plain);
        }
        self.pending.clear();
        Ok(())
    }

    fn wrong_length(&self) -> ObjectError {
        ObjectError::Length {
            expected: self.headed.object_bytes,
            found: self.seen,
        }
    }

    /// The whole object was taken: the file, if it was to be kept.
    ///
    /// # Errors
    /// When something is missing, or the file is not the one that its head names.
    pub fn finish(self) -> Result<Option<Vec<u8>>, ObjectError> {
        if self.seen != self.headed.object_bytes {
            return Err(self.wrong_length());
        }
        if *self.hasher.finalize().as_bytes() != self.headed.segment.hash.0 {
            return Err(ObjectError::Hash);
        }
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(file: &[u8]) -> Segment {
        Segment {
            group: 3,
            first: 10,
            last: 12,
            bytes: file.len() as u64,
            hash: ContentHash::of(file),
            copy: 0,
        }
    }

    fn keys() -> (DataKey, WrappedKey) {
        (DataKey([7; 32]), WrappedKey(b"wrapped".to_vec()))
    }

    fn object(file: &[u8], is_secret: bool) -> Vec<u8> {
        let (key, wrapped) = keys();
        let mut encoder = Encoder::new(&segment(file), is_secret.then_some((&key, &wrapped)));
        while !encoder.step(file, 1) {}
        encoder.finish().concat()
    }

    fn file(object: &[u8], is_secret: bool, cut: usize) -> Result<Vec<u8>, ObjectError> {
        let (key, _) = keys();
        let mut decoder = Decoder::new(object, is_secret.then_some(&key), true)?;
        for piece in object.chunks(cut) {
            decoder.take(piece)?;
        }
        decoder.finish().map(Option::unwrap_or_default)
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|nth| ((nth * 31) >> 3) as u8).collect()
    }

    #[test]
    fn a_file_comes_back_however_it_is_cut() {
        for count in [
            0,
            1,
            CHUNK_BYTES - 1,
            CHUNK_BYTES,
            CHUNK_BYTES + 1,
            3 * CHUNK_BYTES,
        ] {
            let given = bytes(count);
            for is_secret in [false, true] {
                let object = object(&given, is_secret);
                let key_bytes = if is_secret { 7 } else { 0 };
                assert_eq!(object.len() as u64, object_bytes(count as u64, key_bytes));
                for cut in [1_000, 70_001, usize::MAX] {
                    assert_eq!(
                        file(&object, is_secret, cut).as_ref(),
                        Ok(&given),
                        "{count}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_damaged_byte_is_found() {
        for is_secret in [false, true] {
            let sound = object(&bytes(100), is_secret);
            for nth in 0..sound.len() {
                let mut damaged = sound.clone();
                damaged[nth] ^= 0x10;
                assert!(file(&damaged, is_secret, 64).is_err(), "byte {nth}");
                assert!(file(&sound[..nth], is_secret, 64).is_err(), "cut at {nth}");
            }
            let mut longer = sound.clone();
            longer.push(0);
            assert!(matches!(
                file(&longer, is_secret, 64),
                Err(ObjectError::Length { .. })
            ));
        }
    }

    #[test]
    fn a_chunk_of_another_place_or_key_does_not_open() {
        let given = bytes(2 * CHUNK_BYTES);
        let mut swapped = object(&given, true);
        let start = HEAD_BYTES + 7;
        let chunk = CRC_BYTES + CHUNK_BYTES + TAG_BYTES;
        let first = swapped[start..start + chunk].to_vec();
        swapped.copy_within(start + chunk..start + 2 * chunk, start);
        swapped[start + chunk..].copy_from_slice(&first);
        assert_eq!(
            file(&swapped, true, 9_999),
            Err(ObjectError::Secret { at: 0 })
        );
        let object = object(&given, true);
        let mut decoder =
            Decoder::new(&object, Some(&DataKey([8; 32])), false).expect("the head is sound");
        assert_eq!(decoder.take(&object), Err(ObjectError::Secret { at: 0 }));
        assert_eq!(
            Decoder::new(&object, None, true).err(),
            Some(ObjectError::Secret { at: 0 })
        );
    }

    #[test]
    fn the_layout_is_the_one_that_is_drawn() {
        let object = object(b"abc", false);
        assert_eq!(&object[..8], b"QRTCOLD1");
        assert_eq!(object[8..16], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(object[40..48], 3_u64.to_le_bytes());
        assert_eq!(object[48..80], *blake3::hash(b"abc").as_bytes());
        assert_eq!(object[84..88], crc32fast::hash(b"abc").to_le_bytes());
        assert_eq!(&object[88..], b"abc");
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), flips in any::<[u8; 4]>()) {
            let _ = file(&bytes, false, 7);
            let mut near = object(b"some file", true);
            for flip in flips {
                let at = usize::from(flip) % near.len();
                near[at] = near[at].wrapping_add(flip | 1);
            }
            let _ = file(&near, true, 5);
        }
    }
}

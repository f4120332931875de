//! Asks everything of bytes that may be anything: what property tests and fuzz targets share.
//!
//! - No reader may panic, whatever the bytes are, also behind right checksums: [`reseal_object`] and [`reseal_text`] make
//!   the checksums right, so that contradictions are met that chance would never reach.

use crate::key::DataKey;
use crate::limits::{CHUNK_BYTES, WRAPPED_KEY_BYTES_MAX};
use crate::manifest::{Edit, Manifest};
use crate::name::ContentHash;
use crate::object::{Decoder, HEAD_BYTES, read_head};

const CRC_BYTES: usize = 4;

/// Asks everything of bytes as a manifest's edit, and as a snapshot.
pub fn manifest(bytes: &[u8], group: u64, number: u64) {
    if let Ok(edit) = Edit::decode(bytes, group, number) {
        assert_eq!(
            Edit::decode(&edit.encode(), group, number).as_ref(),
            Ok(&edit)
        );
        let mut before = Manifest::empty(group);
        before.number = number.saturating_sub(1);
        // A change that does not fit is refused.
        let _ = before.apply(&edit);
    }
    if let Ok(manifest) = Manifest::decode(bytes, group, number) {
        let again = Manifest::decode(&manifest.encode(), group, number);
        assert_eq!(again.as_ref(), Ok(&manifest));
        let segments = manifest.segments().windows(2);
        assert!(
            segments
                .into_iter()
                .all(|pair| pair[0].segment.last < pair[1].segment.first),
            "segments do not overlap"
        );
        for stored in manifest.segments().iter().take(64) {
            assert_eq!(manifest.holding(stored.segment.first), Some(stored));
            let _ = stored.is_over(number);
        }
    }
}

/// Asks everything of bytes as an object, in pieces of this size, with this key.
pub fn object(bytes: &[u8], piece: usize, key: Option<&DataKey>) {
    if read_head(bytes).is_err() {
        return;
    }
    let Ok(mut decoder) = Decoder::new(bytes, key, true) else {
        return;
    };
    let whole = bytes
        .chunks(piece.max(1))
        .all(|piece| decoder.take(piece).is_ok());
    if whole && let Ok(Some(file)) = decoder.finish() {
        assert!(file.len() <= bytes.len(), "nothing comes of nothing");
    }
}

/// Puts the right hash at the end of an edit or a snapshot, whatever its lines say.
pub fn reseal_text(bytes: &mut Vec<u8>) {
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
        return;
    };
    let line = bytes[..end].iter().rposition(|byte| *byte == b'\n');
    let body = line.map_or(end + 1, |line| line + 1);
    bytes.truncate(body);
    let hash = ContentHash::of(bytes);
    bytes.extend_from_slice(format!("{{\"blake3\":\"{hash}\"}}\n").as_bytes());
}

/// Makes the checksums of an object right, as far as its parts can be found.
pub fn reseal_object(bytes: &mut [u8]) {
    let Some(key_bytes) = bytes.get(12..16).and_then(|field| field.first_chunk()) else {
        return;
    };
    let key_bytes = u32::from_le_bytes(*key_bytes) as usize;
    let body = HEAD_BYTES + key_bytes.min(WRAPPED_KEY_BYTES_MAX);
    if bytes.len() < body {
        return;
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..HEAD_BYTES - CRC_BYTES]);
    hasher.update(&bytes[HEAD_BYTES..body]);
    let crc = hasher.finalize().to_le_bytes();
    bytes[HEAD_BYTES - CRC_BYTES..HEAD_BYTES].copy_from_slice(&crc);
    let tag = if key_bytes > 0 { 16 } else { 0 };
    for chunk in bytes[body..].chunks_mut(CRC_BYTES + CHUNK_BYTES + tag) {
        if let Some((crc, rest)) = chunk.split_at_mut_checked(CRC_BYTES) {
            crc.copy_from_slice(&crc32fast::hash(rest).to_le_bytes());
        }
    }
}

//! What must hold whatever bytes come in, of every reader of this crate: called by property tests and fuzz targets.
//!
//! - Nothing panics, and memory follows what came, not what it claims.

use std::collections::VecDeque;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::entry::EntryHead;
use crate::limits::SESSIONS_MAX;
use crate::manifest::Manifest;
use crate::packet;
use crate::promise::Promise;
use crate::sessions::image::{self, Restoring};
use crate::sessions::table::Table;

/// Reads some bytes as the head of an entry, a promise, a manifest, and a packet with a bulk.
///
/// # Panics
/// If a manifest that was accepted is written in another way.
pub fn check_record(bytes: &[u8], bulk: &[u8]) {
    let _ = EntryHead::parse(bytes);
    let _ = Promise::parse(bytes);
    let _ = packet::decode(bytes, &Bytes::copy_from_slice(bulk), &mut VecDeque::new());
    // Behind the right digest, which chance does not find.
    let sealed = [bytes, &xxh3_128(bytes).to_le_bytes()].concat();
    if let Ok((manifest, digest)) = Manifest::parse(&sealed) {
        assert_eq!(manifest.encode(), (sealed, digest));
    }
}

/// Reads some bytes as sessions of an image, in pieces; they begin with the right head, whose numbers are the bytes'.
///
/// # Panics
/// If sessions that were accepted cannot be written and read again.
pub fn check_sessions(bytes: &[u8], cut: usize) {
    let sealed = [image::START.as_slice(), bytes].concat();
    let restored = |bytes: &[u8], cut: usize| {
        let (mut table, mut restoring) = (Table::new(SESSIONS_MAX, true), Restoring::default());
        for piece in bytes.chunks(cut) {
            restoring.take(piece, &mut table).ok()?;
        }
        restoring.is_done().then_some(table)
    };
    if let Some(table) = restored(&sealed, cut.max(1)) {
        let again = image::encode(&table);
        let other = restored(&again, again.len()).expect("what was written can be read");
        assert_eq!(image::encode(&other), again);
    }
}

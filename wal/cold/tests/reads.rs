//! Reads of cold segments: cached, shared, read ahead, bounded; a guess never changes an answer.

use cold::manifest::Manifest;
use cold::name::Segment;
use cold::reader::{Reader, Want};
use cold::store::memory::{Faults, Memory};

use crate::driving::{Driven, dice, file};

const BYTES: usize = 50_000;
const HERE: usize = 60;

/// A store with segments, and the manifest that names them.
fn stored(count: u64, seed: u64) -> (Driven<Memory>, Manifest) {
    let mut driven = Driven::new(
        Memory::with_faults(Faults::default(), dice(seed)),
        false,
        seed,
    );
    let mut manifest = Manifest::empty(crate::driving::GROUP);
    for nth in 0..count {
        let segment = driven.offload(nth, BYTES).expect("no faults");
        let retention = cold::manifest::Retention::Keep;
        manifest
            .put(cold::manifest::Stored { segment, retention })
            .expect("they are apart");
    }
    (driven, manifest)
}

/// Reads a segment, whatever it takes.
fn read(
    driven: &mut Driven<Memory>,
    reader: &mut Reader,
    manifest: &Manifest,
    segment: &Segment,
) -> std::sync::Arc<Vec<u8>> {
    for _ in 0..100_000 {
        match reader.want(&mut driven.tier, manifest, segment, 0) {
            Ok(Want::Here(file)) => return file,
            Ok(Want::Coming) | Err(_) => {}
        }
        driven.turn();
        while let Some((id, result)) = driven.tier.next_finished() {
            // What failed for good is asked for again with the next turn.
            let _ = reader.finished(id, result);
        }
    }
    panic!("it never comes");
}

#[test]
fn a_scan_is_read_ahead_and_every_answer_is_right() {
    for seed in 0..6 {
        let (mut driven, manifest) = stored(40, seed);
        driven.tier.store().set_faults(Faults {
            unavailable: 30,
            truncated: 20,
            slow: 5,
            ..Faults::default()
        });
        let mut reader = Reader::new((HERE * BYTES) as u64);
        for (nth, stored) in (0..).zip(manifest.segments()) {
            let found = read(&mut driven, &mut reader, &manifest, &stored.segment);
            assert_eq!(found, file(nth, BYTES).1, "seed {seed}: {nth}");
        }
        let guessed = reader.guessed();
        assert!(
            guessed.used > 30 * BYTES as u64,
            "most of a scan was guessed: {guessed:?}"
        );
        assert!(guessed.wasted * 10 <= guessed.fetched, "{guessed:?}");
    }
}

#[test]
fn the_cache_stays_within_its_bound_and_wasted_guesses_are_counted() {
    let (mut driven, manifest) = stored(40, 1);
    let mut reader = Reader::new(10 * BYTES as u64);
    let segments = manifest.segments();
    // Three in a row make it guess; then somebody else's reads push the guesses out.
    for nth in [0, 1, 2, 20, 30, 11, 36, 14, 25, 33, 17, 28, 39, 22, 8, 5] {
        read(&mut driven, &mut reader, &manifest, &segments[nth].segment);
        assert!(reader.cached_bytes() <= 10 * BYTES as u64);
    }
    let guessed = reader.guessed();
    assert!(
        guessed.fetched > 0 && guessed.used + guessed.wasted <= guessed.fetched,
        "{guessed:?}"
    );
    assert_eq!(reader.counts().hits, 16, "each read ended with a hit");
}

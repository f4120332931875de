//! Segments give back the entries that were sealed, by index, in order, with their terms, times and proofs.

use std::sync::Arc;

use proptest::prelude::*;
use sealed::{
    Codec, DamageKind, Entry, Join, JoinError, OwnedEntry, SegmentError, SegmentReader,
    SegmentSpec, SegmentWriter, Taken,
};

use crate::support::{Dice, entries, segment_file, segment_spec, transfers};

const CODECS: [Codec; 3] = [Codec::Plain, Codec::Lz4, Codec::Zstd(1)];

fn check(spec: &SegmentSpec, entries: &[OwnedEntry]) {
    let file = segment_file(spec, entries, 1 << 16);
    let segment = SegmentReader::open(&file[..]).expect("what was written can be read");
    assert_eq!(segment.spec(), spec);
    let (first, last) = (entries[0].index, entries[entries.len() - 1].index);
    assert_eq!((segment.first(), segment.last()), (first, last));
    let all: Result<Vec<_>, _> = segment.entries(0).collect();
    assert!(all.as_deref() == Ok(entries), "all entries in order");
    let times = || entries.iter().map(|entry| entry.time);
    assert_eq!(
        segment.time_range(),
        (times().min().unwrap_or(0), times().max().unwrap_or(0))
    );
    assert_eq!(
        segment.payload_bytes(),
        entries.iter().map(|e| e.payload.len() as u64).sum::<u64>()
    );
    for entry in entries {
        assert_eq!(segment.term_at(entry.index), Some(entry.term));
        assert_eq!(
            segment.entry(entry.index).as_ref().map(Option::as_ref),
            Ok(Some(entry))
        );
        let found = segment
            .seek_time(entry.time)
            .expect("an entry is not before it");
        let model = entries.iter().find(|other| other.time >= entry.time);
        assert!(
            model.is_some_and(|model| found <= model.index),
            "nothing is passed over"
        );
    }
    for outside in [0, first - 1, last + 1, u64::MAX] {
        assert_eq!(
            (segment.entry(outside), segment.term_at(outside)),
            (Ok(None), None)
        );
        assert_eq!(segment.block_of(outside), None);
    }
    assert_eq!(segment.seek_time(u64::MAX), None);
    let middle = first + (last - first) / 2;
    let rest: Vec<_> = segment
        .entries(middle)
        .map(|entry| entry.expect("sound"))
        .collect();
    assert!(
        rest == entries[(middle - first) as usize..],
        "from the middle on"
    );
    let (mut next, mut slices) = (Some(0), 0);
    while let Some(from) = next {
        next = segment.verify(from, 5_000).expect("sound");
        slices += 1;
    }
    assert!(slices > 1 || segment.blocks() < 6);
    prove(&segment);
}

fn prove(segment: &SegmentReader<&[u8]>) {
    for block in 0..segment.blocks() {
        let proof = segment.prove(block).expect("a block");
        let bytes = segment.block_bytes(block).expect("a block");
        let holds = |bytes: &[u8]| proof.holds(&segment.root(), segment.header_bytes(), bytes);
        assert!(holds(bytes));
        let mut other = bytes.to_vec();
        other[bytes.len() / 2] ^= 1;
        assert!(!holds(&other));
        let mut header = segment.header_bytes().to_vec();
        header[33] ^= 1;
        assert!(
            !proof.holds(&segment.root(), &header, bytes),
            "of another group"
        );
    }
    assert_eq!(segment.prove(segment.blocks()), None);
}

#[test]
fn entries_of_all_kinds_come_back() {
    for codec in CODECS {
        for columns in [false, true] {
            for block_bytes in [1 << 10, 5_000, 64 << 10] {
                let spec = segment_spec(codec, columns, block_bytes);
                check(&spec, &entries(1, 100, 120));
            }
        }
    }
    check(
        &segment_spec(Codec::Zstd(19), true, 1 << 20),
        &entries(2, 1, 40),
    );
}

fn with_payload(index: u64, payload: Vec<u8>) -> OwnedEntry {
    OwnedEntry {
        index,
        term: 1,
        time: index,
        head: vec![9; (index % 257) as usize],
        payload_crc: crc32fast::hash(&payload),
        payload,
    }
}

#[test]
fn an_entry_may_end_and_begin_anywhere_in_a_block() {
    // Every length around the ends of blocks of 1 KiB, arrays and not.
    let sizes = (0..2_300).chain((0..40).map(|records| records * 128));
    let entries: Vec<_> = sizes
        .zip(1..)
        .map(|(size, index)| with_payload(index, vec![3; size]))
        .collect();
    check(&segment_spec(Codec::Lz4, true, 1 << 10), &entries[..400]);
    let spec = segment_spec(Codec::Lz4, true, 1 << 10);
    let file = segment_file(&spec, &entries, 64);
    let segment = SegmentReader::open(file).expect("what was written can be read");
    let all: Result<Vec<_>, _> = segment.entries(0).collect();
    assert!(all == Ok(entries));
}

#[test]
fn the_largest_entries_are_taken_in_pieces() {
    let mut dice = Dice::new(4);
    let batches: Vec<_> = (1..4)
        .map(|index| with_payload(index, transfers(&mut dice, index * 10_000, 8_190)))
        .collect();
    let spec = segment_spec(Codec::Zstd(1), true, 64 << 10);
    let file = segment_file(&spec, &batches, 10_000);
    assert!(
        file == segment_file(&spec, &batches, usize::MAX),
        "slices do not show"
    );
    assert!(file.len() * 5 < 3 * 8_190 * 128, "{} bytes", file.len());
    check(&spec, &batches);
    let mut writer = SegmentWriter::new(spec, 1).expect("sound settings");
    let mut out = Vec::new();
    let taken = writer.append(&batches[0].borrow(), 1, &mut out);
    assert_eq!(taken, Ok(Taken::Part));
    let error = SegmentError::Order {
        expected: 1,
        found: 2,
    };
    assert_eq!(writer.append(&batches[1].borrow(), 1, &mut out), Err(error));
    assert_eq!(
        writer.finish(1, &mut out),
        Err(error),
        "half an entry is no entry"
    );
}

#[test]
fn what_does_not_belong_is_refused_and_changes_nothing() {
    let spec = segment_spec(Codec::Lz4, true, 4 << 10);
    let sound = entries(5, 10, 30);
    let mut writer = SegmentWriter::new(spec.clone(), 10).expect("sound settings");
    let mut out = Vec::new();
    assert_eq!(writer.finish(1, &mut out), Err(SegmentError::Empty));
    for entry in &sound {
        let large = vec![0; (1 << 20) + (64 << 10) + 1];
        let entry = entry.borrow();
        let index = entry.index;
        let term = SegmentError::Term {
            index,
            before: entry.term,
            found: 1,
        };
        let wrong = [
            (
                Entry {
                    index: index + 1,
                    ..entry
                },
                SegmentError::Order {
                    expected: index,
                    found: index + 1,
                },
            ),
            (
                Entry {
                    payload_crc: entry.payload_crc ^ 1,
                    ..entry
                },
                SegmentError::Payload { index },
            ),
            (
                Entry {
                    head: &[0; 257],
                    ..entry
                },
                SegmentError::TooLarge { index },
            ),
            (
                Entry {
                    payload: &large,
                    ..entry
                },
                SegmentError::TooLarge { index },
            ),
            (Entry { term: 1, ..entry }, term),
        ];
        let rule = |error: &SegmentError| core::mem::discriminant(error);
        for (wrong, error) in wrong.into_iter().take(if index == 10 { 4 } else { 5 }) {
            let refused = writer
                .append(&wrong, 1 << 20, &mut out)
                .expect_err("it does not belong");
            assert_eq!(rule(&refused), rule(&error));
        }
        assert_eq!(writer.append(&entry, 1 << 20, &mut out), Ok(Taken::Whole));
    }
    while !writer.finish(1 << 20, &mut out).expect("there are entries") {}
    assert!(out == segment_file(&spec, &sound, 1 << 20));
}

#[test]
fn settings_out_of_bounds_are_refused() {
    for (codec, block_bytes) in [
        (Codec::Zstd(0), 4_096),
        (Codec::Zstd(20), 4_096),
        (Codec::Lz4, 1_023),
    ] {
        let spec = segment_spec(codec, true, block_bytes);
        assert_eq!(
            SegmentWriter::new(spec, 1).err(),
            Some(SegmentError::Settings)
        );
    }
}

#[test]
fn joined_neighbours_are_the_segment_of_all_their_entries() {
    let all = entries(6, 50, 200);
    let small = segment_spec(Codec::Lz4, false, 2 << 10);
    let parts: Vec<_> = all
        .chunks(37)
        .map(|part| segment_file(&small, part, 1 << 20))
        .collect();
    let open = |file: &Vec<u8>| Arc::new(SegmentReader::open(file.clone()).expect("sound"));
    let segments: Vec<_> = parts.iter().map(open).collect();
    let mut layout = segment_spec(Codec::Zstd(3), true, 16 << 10);
    let expected = segment_file(&layout, &all, 1 << 20);
    layout.key_ids = vec![5];
    for budget in [100, 10_000, usize::MAX] {
        let mut join = Join::new(&segments, layout.clone()).expect("neighbours");
        let mut out = Vec::new();
        while !join.step(budget, &mut out).expect("sound") {}
        assert!(out == expected);
        assert_eq!(join.summary().bytes, out.len() as u64);
    }
    let nth = |segments: &[_]| Join::new(segments, layout.clone()).err();
    let gap = [Arc::clone(&segments[0]), Arc::clone(&segments[2])];
    assert_eq!(nth(&gap), Some(JoinError::NotNeighbours { nth: 1 }));
    assert_eq!(nth(&[]), Some(JoinError::Count { given: 0 }));
    let mut damaged = parts[1].clone();
    damaged[200] ^= 1;
    let damaged = [Arc::clone(&segments[0]), open(&damaged)];
    let mut join = Join::new(&damaged, layout.clone()).expect("neighbours");
    let mut out = Vec::new();
    let error = loop {
        match join.step(1_000, &mut out) {
            Ok(done) => assert!(!done, "the damage is found"),
            Err(error) => break error,
        }
    };
    let JoinError::Damaged { nth: 1, damage } = error else {
        panic!("{error}");
    };
    assert_eq!(
        (damage.kind, damage.first),
        (DamageKind::Checksum, Some(87))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_entries_come_back(
        seed in any::<u64>(),
        count in 1_u64..60,
        block_bytes in 1_024_u32..20_000,
        codec in 0_usize..3,
        columns in any::<bool>(),
    ) {
        let spec = segment_spec(CODECS[codec], columns, block_bytes);
        check(&spec, &entries(seed, 7, count));
    }
}

//! Every byte of a segment changed or cut off: the damage is named by place and entries, or nothing is changed.

use sealed::{Codec, Damage, DamageKind, OwnedEntry, Part, Remedy, SegmentReader};

use crate::support::{entries, segment_file, segment_spec};

/// Asks everything of a segment; any answer that is not an error must be the right one.
fn check(bytes: &[u8], entries: &[OwnedEntry]) -> Vec<Damage> {
    let segment = match SegmentReader::open(bytes) {
        Ok(segment) => segment,
        Err(damage) => return vec![damage],
    };
    let mut found = Vec::new();
    if let Err(damage) = segment.verify(0, usize::MAX) {
        found.push(damage);
    }
    for entry in entries {
        assert_eq!(segment.term_at(entry.index), Some(entry.term));
        match segment.entry(entry.index) {
            Ok(answer) => assert_eq!(answer.as_ref(), Some(entry)),
            Err(damage) => {
                let inside = damage.first <= Some(entry.index) && Some(entry.index) <= damage.last;
                assert!(inside, "entry {}: {damage:?}", entry.index);
                found.push(damage);
            }
        }
    }
    for (answer, entry) in segment.entries(0).zip(entries) {
        match answer {
            Ok(answer) => assert_eq!(answer, *entry),
            Err(damage) => found.push(damage),
        }
    }
    found
}

#[test]
fn every_changed_byte_is_named_by_its_part_and_entries() {
    for codec in [Codec::Plain, Codec::Lz4, Codec::Zstd(1)] {
        let entries = entries(31, 500, 12);
        let sound = segment_file(&segment_spec(codec, true, 4 << 10), &entries, 1 << 20);
        assert!(check(&sound, &entries).is_empty());
        let mut bytes = sound.clone();
        for at in 0..sound.len() {
            bytes[at] ^= 1 << (at % 8);
            let found = check(&bytes, &entries);
            let first = found
                .first()
                .unwrap_or_else(|| panic!("byte {at} is under a checksum"));
            let (start, end) = (first.offset as usize, (first.offset + first.bytes) as usize);
            assert!((start..end).contains(&at), "byte {at}: {first}");
            assert_eq!(first.remedy(), Remedy::Refetch, "byte {at}: {first}");
            match first.part {
                Part::Header => assert_eq!(first.group, None),
                _ => assert!(first.group == Some(42) && first.first >= Some(500)),
            }
            bytes[at] = sound[at];
        }
    }
}

#[test]
fn every_cut_is_named() {
    let entries = entries(32, 500, 8);
    let sound = segment_file(
        &segment_spec(Codec::Zstd(1), true, 4 << 10),
        &entries,
        1 << 20,
    );
    for length in 0..sound.len() {
        let damage = SegmentReader::open(&sound[..length]).err();
        let damage = damage.unwrap_or_else(|| panic!("cut to {length} bytes"));
        let known = (damage.group, damage.first);
        assert!(
            length < 64 || known == (Some(42), Some(500)),
            "{length}: {damage}"
        );
    }
    let mut longer = sound;
    longer.extend_from_slice(&[0; 64]);
    assert!(SegmentReader::open(&longer[..]).is_err());
}

#[test]
fn blocks_of_another_place_or_segment_are_named() {
    let spec = segment_spec(Codec::Plain, true, 1 << 10);
    let old = entries(33, 500, 30);
    let mut new = old.clone();
    for entry in &mut new {
        entry.time += 1;
    }
    let (stale, sound) = (
        segment_file(&spec, &old, 1 << 20),
        segment_file(&spec, &new, 1 << 20),
    );
    let segment = SegmentReader::open(&sound[..]).expect("sound");
    let place = |block: u32| {
        let bytes = segment.block_bytes(block).expect("a block");
        let at = bytes.as_ptr() as usize - sound.as_ptr() as usize;
        at..at + bytes.len()
    };
    // A block in which an entry begins, and so its time stands: not the same bytes in both.
    let blocks = 1..segment.blocks() - 1;
    let number = blocks
        .into_iter()
        .find(|block| sound[place(*block)] != stale[place(*block)]);
    let number = number.expect("the times differ");
    let mut mixed = sound.clone();
    mixed[place(number)].copy_from_slice(&stale[place(number)]);
    let first = check(&mixed, &new)[0];
    assert_eq!(
        (first.part, first.kind),
        (Part::Block(number), DamageKind::Misplaced)
    );
    let mut mixed = sound.clone();
    mixed.copy_within(
        place(number + 1).start..place(number + 1).start + 60,
        place(number).start,
    );
    assert_eq!(check(&mixed, &new)[0].part, Part::Block(number));
}

#[test]
fn what_is_no_segment_and_what_is_newer_is_told() {
    let kind = |bytes: &[u8]| SegmentReader::open(bytes).err().map(|damage| damage.kind);
    assert_eq!(kind(&[7; 10_000]), Some(DamageKind::Foreign));
    let spec = segment_spec(Codec::Plain, false, 1 << 10);
    let mut newer = segment_file(&spec, &entries(34, 1, 2), 1 << 20);
    newer[8] = 9;
    let crc = crc32fast::hash(&newer[..12]);
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    let (found, supported) = (9, 1);
    assert_eq!(kind(&newer), Some(DamageKind::Newer { found, supported }));
}

//! Every byte of a run changed or cut off: the damage is named, or no answer is changed.

use sealed::{DamageKind, Duplicates, Key, Part, Remedy, RunReader};

use crate::support::{Dice, file};

/// Asks everything of a run; any answer that is not an error must be the right one.
fn check<K: Key>(bytes: &[u8], entries: &[(K, u64)]) -> Vec<sealed::Damage> {
    let run = match RunReader::<K, _>::open(bytes) {
        Ok(run) => run,
        Err(damage) => return vec![damage],
    };
    let mut found = Vec::new();
    for (key, value) in entries {
        assert!(run.may_contain(*key), "no filter forgets {key:?}");
        match run.get(*key) {
            Ok(answer) => assert_eq!(answer, Some(*value)),
            Err(damage) => found.push(damage),
        }
    }
    let mut expected = entries.iter();
    for entry in run.iter() {
        match entry {
            Ok(entry) => assert_eq!(Some(&entry), expected.next()),
            Err(damage) => found.push(damage),
        }
    }
    if let Err(damage) = run.verify(0, usize::MAX) {
        found.push(damage);
    }
    found
}

fn entries(count: u64) -> Vec<(u128, u64)> {
    let mut dice = Dice::new(21);
    let mut entries: Vec<_> = (0..count).map(|n| (dice.wide(), n)).collect();
    entries.sort_unstable();
    entries
}

#[test]
fn every_changed_byte_is_named_by_its_part() {
    let entries = entries(400);
    let sound = file(Duplicates::Once, &entries, 1 << 20);
    let blocks = sound.len() / 4_096;
    assert!(check(&sound, &entries).is_empty() && blocks > 1);
    let mut bytes = sound.clone();
    // Each byte once; which bit is a matter of its place.
    for at in 0..sound.len() {
        bytes[at] ^= 1 << (at % 8);
        let found = check(&bytes, &entries);
        let first = found
            .first()
            .unwrap_or_else(|| panic!("byte {at} is under a checksum"));
        let (start, end) = (first.offset as usize, (first.offset + first.bytes) as usize);
        assert!((start..end).contains(&at), "byte {at}: {first}");
        assert_eq!(first.remedy(), Remedy::Refetch, "byte {at}: {first}");
        assert!(first.group.is_none_or(|group| group == 42));
        assert!(first.group.is_some() || first.part == Part::Header);
        bytes[at] = sound[at];
    }
}

#[test]
fn every_cut_is_named() {
    let entries = entries(400);
    let sound = file(Duplicates::Once, &entries, 1 << 20);
    for length in 0..sound.len() {
        let damage = RunReader::<u128, _>::open(&sound[..length]).err();
        let damage = damage.unwrap_or_else(|| panic!("cut to {length} bytes"));
        assert!(
            length < 64 || damage.group == Some(42),
            "{length}: {damage}"
        );
    }
    let mut longer = sound;
    longer.push(0);
    assert!(RunReader::<u128, _>::open(&longer[..]).is_err());
}

#[test]
fn blocks_of_another_place_or_run_are_named() {
    let entries = entries(1_000);
    let sound = file(Duplicates::Once, &entries, 1 << 20);
    let other: Vec<_> = entries
        .iter()
        .map(|(key, value)| (*key, value + 1))
        .collect();
    let other = file(Duplicates::Once, &other, 1 << 20);
    let mut bytes = sound.clone();
    bytes[4_096..8_192].copy_from_slice(&other[4_096..8_192]);
    let found = check(&bytes, &entries);
    assert_eq!(
        found[0].kind,
        DamageKind::Misplaced,
        "of another run of this index"
    );
    let mut bytes = sound.clone();
    let block = sound[8_192..12_288].to_vec();
    bytes[4_096..8_192].copy_from_slice(&block);
    assert_eq!(
        check(&bytes, &entries)[0].part,
        Part::Block(1),
        "of another place"
    );
}

#[test]
fn what_is_no_run_and_what_is_newer_is_told() {
    let kind = |bytes: &[u8]| RunReader::<u128, _>::open(bytes).err().map(|d| d.kind);
    assert_eq!(kind(&[7; 10_000]), Some(DamageKind::Foreign));
    let mut newer = file(Duplicates::Once, &[(1_u128, 1)], 100);
    newer[8] = 9;
    let crc = crc32fast::hash(&newer[..12]);
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    let (found, supported) = (9, 1);
    assert_eq!(kind(&newer), Some(DamageKind::Newer { found, supported }));
}

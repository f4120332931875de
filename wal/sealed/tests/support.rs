//! What the tests share: dice from a seed, segments from entries.

use sealed::{Codec, OwnedEntry, SegmentSpec, SegmentWriter, Taken};

/// Numbers from a seed, the same for ever.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }
}

pub(crate) fn segment_spec(codec: Codec, columns: bool, block_bytes: u32) -> SegmentSpec {
    SegmentSpec {
        codec,
        columns,
        block_bytes,
        key_ids: vec![5, 9],
        ..SegmentSpec::new(0xC1, 42)
    }
}

/// An array of 128-byte records as a ledger's clients send them: rising ids, few accounts, small amounts.
pub(crate) fn transfers(dice: &mut Dice, nth: u64, count: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for transfer in nth..nth + count {
        let id = u128::from(1_700_000_000_000 + transfer / 100) << 80 | u128::from(transfer) << 16;
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.extend_from_slice(&u128::from(dice.below(10_000)).to_le_bytes());
        bytes.extend_from_slice(&u128::from(dice.below(10_000)).to_le_bytes());
        bytes.extend_from_slice(&u128::from(dice.below(1_000_000)).to_le_bytes());
        bytes.extend_from_slice(&[0; 48]);
        bytes.extend_from_slice(&[1, 0, 0, 0, 7, 0, 0, 0]);
        bytes.extend_from_slice(&[0; 8]);
    }
    bytes
}

/// Entries of all kinds and sizes from `first` on, with terms that rise now and then.
pub(crate) fn entries(seed: u64, first: u64, count: u64) -> Vec<OwnedEntry> {
    let mut dice = Dice::new(seed);
    let mut term = 3;
    let entries = (first..first + count).map(|index| {
        term += u64::from(dice.below(10) == 0);
        let payload = match dice.below(6) {
            0 => Vec::new(),
            1 => (0..dice.below(4_000)).map(|_| dice.roll() as u8).collect(),
            2 => vec![7; dice.below(9_000) as usize],
            3 => (0..1_280).map(|_| dice.roll() as u8).collect(),
            _ => {
                let count = dice.below(60);
                transfers(&mut dice, index * 1_000, count)
            }
        };
        OwnedEntry {
            index,
            term,
            time: 1_000_000 + index * 10 + dice.below(30),
            head: (0..48).map(|byte| (byte + index) as u8).collect(),
            payload_crc: crc32fast::hash(&payload),
            payload,
        }
    });
    entries.collect()
}

/// The file of a segment with these entries, written in slices of `budget`.
pub(crate) fn segment_file(spec: &SegmentSpec, entries: &[OwnedEntry], budget: usize) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = SegmentWriter::new(spec.clone(), entries[0].index).expect("sound settings");
    for entry in entries {
        loop {
            let before = file.len();
            let taken = writer.append(&entry.borrow(), budget, &mut file);
            let most = budget.saturating_add(3 * spec.block_bytes as usize);
            assert!(file.len() - before <= most, "a slice is bounded");
            if taken.expect("a sound entry") == Taken::Whole {
                break;
            }
        }
    }
    while !writer.finish(budget, &mut file).expect("there are entries") {}
    let summary = writer.summary();
    assert_eq!(summary.bytes, file.len() as u64);
    assert_eq!(
        (summary.first, summary.last),
        (entries[0].index, entries[entries.len() - 1].index)
    );
    file
}

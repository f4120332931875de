//! What the tests share: dice from a seed, runs from entries.

use sealed::{Duplicates, Key, RunBuilder, RunReader, RunSpec};

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

    pub(crate) fn wide(&mut self) -> u128 {
        u128::from(self.roll()) << 64 | u128::from(self.roll())
    }
}

pub(crate) fn spec(duplicates: Duplicates) -> RunSpec {
    RunSpec {
        cluster: 0xC1,
        group: 42,
        table: 3,
        duplicates,
    }
}

/// The file of a run with these entries, written in slices of `budget`.
pub(crate) fn file<K: Key>(duplicates: Duplicates, entries: &[(K, u64)], budget: usize) -> Vec<u8> {
    let mut builder = RunBuilder::new(spec(duplicates), entries.len());
    for (key, value) in entries {
        builder.push(*key, *value).expect("there is room");
    }
    let mut writing = builder.finish().expect("there are entries");
    let mut file = Vec::new();
    while !writing.step(budget, &mut file) {}
    assert_eq!(writing.summary().bytes, file.len() as u64);
    file
}

pub(crate) fn run<K: Key>(duplicates: Duplicates, entries: &[(K, u64)]) -> RunReader<K, Vec<u8>> {
    RunReader::open(file(duplicates, entries, 1 << 20)).expect("what was written can be read")
}

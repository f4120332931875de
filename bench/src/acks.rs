//! What became of each batch: one byte per batch, and a bit per transfer only where a batch was split.
//!
//! - A batch is in doubt from the moment it may have left until its answer is here.
//! - One log per stream, kept by its load thread and handed to the proof at the end.

use crate::workload::BatchKey;
use std::collections::BTreeMap;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// It may have left; no answer is here.
    InDoubt = 0,
    /// All its transfers were acknowledged.
    Acknowledged = 1,
    /// Some were acknowledged, the others refused.
    Split = 2,
    /// All were refused.
    Refused = 3,
}

/// What became of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It was acknowledged: every replica must hold it.
    Present,
    /// It was refused: no replica may hold it.
    Absent,
    /// Nobody knows, but all replicas must agree.
    Either,
}

/// The fates of one stream's batches: those of one load thread to one group, in the order they were begun.
#[derive(Clone, Debug)]
pub struct StreamLog {
    stream: u16,
    group: u32,
    fates: Vec<Fate>,
    refused: BTreeMap<u32, Positions>,
}

/// A set of positions in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    bits: Vec<u64>,
}

impl StreamLog {
    /// No batch yet.
    pub fn new(stream: u16, group: u32) -> Self {
        Self {
            stream,
            group,
            fates: Vec::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Its number.
    pub fn stream(&self) -> u16 {
        self.stream
    }

    /// The group that its batches go to.
    pub fn group(&self) -> u32 {
        self.group
    }

    /// Starts the next batch: in doubt from here on.
    pub fn begin(&mut self) -> BatchKey {
        let sequence =
            u32::try_from(self.fates.len()).expect("four billion batches take longer than a day");
        self.fates.push(Fate::InDoubt);
        BatchKey {
            stream: self.stream,
            sequence,
        }
    }

    /// The name of a batch.
    pub fn key(&self, sequence: u32) -> BatchKey {
        BatchKey {
            stream: self.stream,
            sequence,
        }
    }

    /// All transfers of the batch were acknowledged.
    pub fn acknowledged(&mut self, sequence: u32) {
        self.fates[sequence as usize] = Fate::Acknowledged;
    }

    /// All transfers of the batch were refused.
    pub fn refused(&mut self, sequence: u32) {
        self.fates[sequence as usize] = Fate::Refused;
    }

    /// These transfers of the batch were refused, the others acknowledged.
    pub fn split(&mut self, sequence: u32, refused: Positions) {
        self.fates[sequence as usize] = Fate::Split;
        self.refused.insert(sequence, refused);
    }

    /// The batches with their fates, in order.
    pub fn batches(&self) -> impl Iterator<Item = (BatchKey, Fate)> {
        (0..).zip(&self.fates).map(|(sequence, &fate)| {
            (
                BatchKey {
                    stream: self.stream,
                    sequence,
                },
                fate,
            )
        })
    }

    /// What became of one transfer of a batch with this fate.
    pub fn due(&self, key: BatchKey, fate: Fate, position: u32) -> Due {
        match fate {
            Fate::InDoubt => Due::Either,
            Fate::Acknowledged => Due::Present,
            Fate::Refused => Due::Absent,
            Fate::Split if self.refused[&key.sequence].contains(position) => Due::Absent,
            Fate::Split => Due::Present,
        }
    }

    /// Transfers acknowledged, refused and in doubt, for batches of this size.
    pub fn totals(&self, batch: u32) -> Totals {
        let batch = u64::from(batch);
        let mut totals = Totals::default();
        for (key, fate) in self.batches() {
            match fate {
                Fate::InDoubt => totals.in_doubt += batch,
                Fate::Acknowledged => totals.acknowledged += batch,
                Fate::Refused => totals.refused += batch,
                Fate::Split => {
                    let refused = self.refused[&key.sequence].len();
                    totals.refused += refused;
                    totals.acknowledged += batch - refused;
                }
            }
        }
        totals
    }
}

/// Transfers by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Acknowledged.
    pub acknowledged: u64,
    /// Refused.
    pub refused: u64,
    /// Without an answer.
    pub in_doubt: u64,
}

impl Positions {
    /// None of a batch of this size.
    pub fn none(batch: u32) -> Self {
        Self {
            bits: vec![0; batch.div_ceil(64) as usize],
        }
    }

    /// Adds a position.
    pub fn insert(&mut self, position: u32) {
        self.bits[(position / 64) as usize] |= 1 << (position % 64);
    }

    /// Whether the position is in it.
    pub fn contains(&self, position: u32) -> bool {
        self.bits[(position / 64) as usize] & (1 << (position % 64)) != 0
    }

    /// Positions in it.
    pub fn len(&self) -> u64 {
        self.bits
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transfer_has_its_fate() {
        let mut log = StreamLog::new(3, 0);
        let keys: Vec<BatchKey> = (0..4).map(|_| log.begin()).collect();
        log.acknowledged(0);
        log.refused(1);
        let mut refused = Positions::none(100);
        refused.insert(0);
        refused.insert(99);
        log.split(2, refused);
        let dues: Vec<Vec<Due>> = log
            .batches()
            .zip(&keys)
            .map(|((key, fate), expected)| {
                assert_eq!(key, *expected);
                [0, 50, 99]
                    .map(|position| log.due(key, fate, position))
                    .to_vec()
            })
            .collect();
        assert_eq!(dues[0], [Due::Present; 3]);
        assert_eq!(dues[1], [Due::Absent; 3]);
        assert_eq!(dues[2], [Due::Absent, Due::Present, Due::Absent]);
        assert_eq!(dues[3], [Due::Either; 3]);
        assert_eq!(
            log.totals(100),
            Totals {
                acknowledged: 198,
                refused: 102,
                in_doubt: 100
            }
        );
    }
}

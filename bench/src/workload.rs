//! Who pays whom: transfers as a pure function of seed, stream, sequence and position.
//!
//! Nothing is remembered about a transfer, yet each can be told again: the load writes it into the
//! send buffer, and the proof writes it once more to compare with what the replicas hold. A batch is
//! laid out in place as 128-byte records; only ids, accounts and amount differ from one to the next.
//!
//! - Debit and credit differ; the amount is never zero; no account has a limit, so every transfer succeeds.
//! - Ids are unique in a run and rise in the order in which a load thread begins its batches; ids of
//!   another run differ in their upper half.
//!
//! Hot file: `fill` runs once per batch, at a few nanoseconds per transfer.

use crate::choice::{Choice, scale};
use crate::options::Options;

/// Bytes of an account or a transfer.
pub const RECORD_SIZE: usize = 128;
/// Bytes of an id.
pub const ID_SIZE: usize = 16;
/// The ledger code of every account and transfer.
const LEDGER: u32 = 700;
/// The purpose code of every account and transfer.
const CODE: u16 = 1;
/// Amounts are 1 to this.
const AMOUNT_MAX: u64 = 1 << 14;

/// Names a batch: its stream (those of one load thread to one group) and the how-manieth of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchKey {
    /// The stream, from 0.
    pub stream: u16,
    /// Its batches, from 0.
    pub sequence: u32,
}

/// What varies from transfer to transfer. Accounts are numbers within the group, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Account that pays.
    pub debit: u32,
    /// Account that is paid.
    pub credit: u32,
    /// How much.
    pub amount: u64,
}

/// The transfers of one run.
#[derive(Clone, Debug)]
pub struct Workload {
    seed: u64,
    run: u64,
    accounts: u32,
    batch: u32,
    choice: Choice,
}

impl Workload {
    /// The workload of these options. `started_unix_ms` makes the ids of runs differ and grow.
    pub fn new(options: &Options, started_unix_ms: u64) -> Self {
        let choice = match options.zipf {
            None => Choice::uniform(options.accounts),
            Some(theta) => Choice::zipf(options.accounts, theta),
        };
        Self {
            seed: mix(options.seed),
            run: (started_unix_ms.max(1) << 16) | (mix(options.seed) & 0xFFFF),
            accounts: options.accounts,
            batch: options.batch,
            choice,
        }
    }

    /// Upper half of the ids of its transfers.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Transfers in a batch.
    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// Accounts in a group.
    pub fn accounts(&self) -> u32 {
        self.accounts
    }

    /// Id of the transfer at this position of this batch.
    #[inline]
    pub fn transfer_id(&self, key: BatchKey, position: u32) -> u128 {
        let low =
            (u64::from(key.sequence) << 32) | (u64::from(key.stream) << 16) | u64::from(position);
        (u128::from(self.run) << 64) | u128::from(low)
    }

    /// The batch and position of an id of this run.
    pub fn key_of(&self, id: u128) -> Option<(BatchKey, u32)> {
        let low = id as u64;
        let key = BatchKey {
            stream: (low >> 16) as u16,
            sequence: (low >> 32) as u32,
        };
        let position = (low & 0xFFFF) as u32;
        ((id >> 64) as u64 == self.run && position < self.batch).then_some((key, position))
    }

    /// What moves at this position of this batch.
    #[inline]
    pub fn transfer(&self, key: BatchKey, position: u32) -> Move {
        self.draw(self.batch_seed(key), position)
    }

    #[inline]
    fn batch_seed(&self, key: BatchKey) -> u64 {
        mix(self.seed ^ (u64::from(key.stream) << 32) ^ u64::from(key.sequence))
    }

    #[inline]
    fn draw(&self, batch_seed: u64, position: u32) -> Move {
        let bits = mix(batch_seed.wrapping_add(u64::from(position)));
        let more = bits.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let debit = self.choice.draw(bits);
        let credit = match &self.choice {
            // A step of 1 to accounts-1 from the debit account reaches each other one alike.
            Choice::Uniform { count } => {
                let step = 1 + scale((bits >> 32) as u32, count - 1);
                let sum = debit + step;
                if sum < *count { sum } else { sum - count }
            }
            Choice::Zipf { .. } => {
                let drawn = self.choice.draw(mix(bits));
                if drawn != debit {
                    drawn
                } else {
                    (debit + 1) % self.accounts
                }
            }
        };
        Move {
            debit,
            credit,
            amount: 1 + (more >> 32) % AMOUNT_MAX,
        }
    }

    /// Writes the batch, for this group, into `records`, which must hold exactly its records.
    pub fn fill(&self, group: u32, key: BatchKey, records: &mut [u8]) {
        let (records, rest) = records.as_chunks_mut::<RECORD_SIZE>();
        assert!(
            rest.is_empty() && records.len() == self.batch as usize,
            "room for one batch"
        );
        let seed = self.batch_seed(key);
        let constant = transfer_tail();
        for (position, record) in (0u32..).zip(records) {
            let transfer = self.draw(seed, position);
            record[0..16].copy_from_slice(&self.transfer_id(key, position).to_le_bytes());
            record[16..32].copy_from_slice(&account_id(group, transfer.debit).to_le_bytes());
            record[32..48].copy_from_slice(&account_id(group, transfer.credit).to_le_bytes());
            record[48..64].copy_from_slice(&u128::from(transfer.amount).to_le_bytes());
            record[64..128].copy_from_slice(&constant);
        }
    }

    /// Whether a stored record, its id and timestamp aside, is this transfer of this group.
    pub fn is_stored_as(&self, group: u32, transfer: Move, record: &[u8; RECORD_SIZE]) -> bool {
        record[16..32] == account_id(group, transfer.debit).to_le_bytes()
            && record[32..48] == account_id(group, transfer.credit).to_le_bytes()
            && record[48..64] == u128::from(transfer.amount).to_le_bytes()
            && record[64..120] == transfer_tail()[..56]
    }

    /// Writes accounts `from..` of the group into `records`, as many as it holds.
    pub fn fill_accounts(&self, group: u32, from: u32, records: &mut [u8]) {
        let (records, rest) = records.as_chunks_mut::<RECORD_SIZE>();
        assert!(rest.is_empty(), "whole accounts");
        for (number, record) in (from..).zip(records) {
            record.fill(0);
            record[0..16].copy_from_slice(&account_id(group, number).to_le_bytes());
            record[112..116].copy_from_slice(&LEDGER.to_le_bytes());
            record[116..118].copy_from_slice(&CODE.to_le_bytes());
        }
    }
}

/// Id of an account, from its group and its number in it.
#[inline]
pub fn account_id(group: u32, number: u32) -> u128 {
    (u128::from(group) << 64) | (u128::from(number) + 1)
}

/// The second half of every transfer: no pending id, no user data, no timeout, no flags.
fn transfer_tail() -> [u8; 64] {
    let mut tail = [0; 64];
    tail[48..52].copy_from_slice(&LEDGER.to_le_bytes());
    tail[52..54].copy_from_slice(&CODE.to_le_bytes());
    tail
}

/// A bijection of 64 bits that leaves no pattern (the finaliser of SplitMix64).
#[inline]
pub fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(zipf: Option<f64>) -> Workload {
        let options = Options {
            batch: 100,
            accounts: 7,
            zipf,
            ..Options::default()
        };
        Workload::new(&options, 1_700_000_000_000)
    }

    #[test]
    fn a_batch_is_its_transfers_one_by_one() {
        for zipf in [None, Some(0.99)] {
            let workload = workload(zipf);
            let key = BatchKey {
                stream: 5,
                sequence: 9,
            };
            let mut records = vec![0xFF; 100 * RECORD_SIZE];
            workload.fill(2, key, &mut records);
            for (position, record) in (0..).zip(records.chunks(RECORD_SIZE)) {
                let expected = workload.transfer(key, position);
                assert_ne!(expected.debit, expected.credit);
                assert!(expected.debit < 7 && expected.credit < 7 && expected.amount > 0);
                assert_eq!(
                    record[0..16],
                    workload.transfer_id(key, position).to_le_bytes()
                );
                assert_eq!(record[16..32], account_id(2, expected.debit).to_le_bytes());
                assert_eq!(record[32..48], account_id(2, expected.credit).to_le_bytes());
                assert_eq!(record[48..64], u128::from(expected.amount).to_le_bytes());
                assert_eq!(record[112..116], LEDGER.to_le_bytes());
                assert_eq!(record[118..128], [0; 10], "no flags, no timestamp");
                let record: [u8; RECORD_SIZE] = record.try_into().expect("a record");
                assert!(workload.is_stored_as(2, expected, &record));
                for at in 16..120 {
                    let mut altered = record;
                    altered[at] ^= 1;
                    assert!(!workload.is_stored_as(2, expected, &altered), "byte {at}");
                }
            }
        }
    }

    #[test]
    fn ids_tell_their_batch_and_grow() {
        let workload = workload(None);
        let key = BatchKey {
            stream: 65_534,
            sequence: u32::MAX,
        };
        assert_eq!(
            workload.key_of(workload.transfer_id(key, 99)),
            Some((key, 99))
        );
        assert_eq!(
            workload.key_of(workload.transfer_id(key, 100)),
            None,
            "past the batch"
        );
        assert_eq!(workload.key_of(7), None, "another run");
        let earlier = BatchKey {
            stream: 65_534,
            sequence: 3,
        };
        let later = BatchKey {
            stream: 0,
            sequence: 4,
        };
        assert!(workload.transfer_id(earlier, 99) < workload.transfer_id(later, 0));
    }

    #[test]
    fn another_seed_is_another_workload() {
        let key = BatchKey {
            stream: 0,
            sequence: 0,
        };
        let draws = |seed| {
            let workload = Workload::new(
                &Options {
                    seed,
                    ..Options::default()
                },
                1,
            );
            (0..50)
                .map(|position| workload.transfer(key, position))
                .collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }
}

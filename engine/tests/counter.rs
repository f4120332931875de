//! A machine for tests: counts what is added, and how often.

use std::collections::BTreeMap;

use engine::{Admission, Asker, Command, Refusal, RestoreError, StateMachine};

pub(crate) const ADD: u8 = 1;
pub(crate) const READ: u8 = 2;
/// As `ADD`, with anything behind the number.
pub(crate) const ADD_MUCH: u8 = 3;
/// Counts what is added, and how often: once for each number of a client, however often that arrives.
#[derive(Default)]
pub(crate) struct Counter {
    sum: u64,
    entries: u64,
    /// The highest number of each client.
    numbers: BTreeMap<u128, u64>,
    image: Vec<u8>,
}

impl StateMachine for Counter {
    fn admit(&self, operation: u8, body: &[u8]) -> Result<Admission, Refusal> {
        match (operation, body.len()) {
            (ADD, 8) => Ok(Admission::Write),
            (ADD_MUCH, 8..) => Ok(Admission::Write),
            (READ, 0) => Ok(Admission::Read),
            (ADD | READ, _) => Err(Refusal::MalformedBody),
            _ => Err(Refusal::UnknownOperation),
        }
    }

    fn apply(&mut self, command: Command<'_>, reply: &mut Vec<u8>) {
        let amount = command.payload.first_chunk();
        self.sum += u64::from_le_bytes(*amount.expect("admitted with eight bytes"));
        self.entries += 1;
        self.query(READ, &[], reply);
    }

    /// A client repeats a request that a leader took and could not answer.
    fn apply_for(&mut self, asker: Asker, command: Command<'_>, reply: &mut Vec<u8>) {
        let highest = self.numbers.entry(asker.client).or_default();
        if asker.number > *highest {
            *highest = asker.number;
            self.apply(command, reply);
        } else {
            self.query(READ, &[], reply);
        }
    }

    fn query(&self, _operation: u8, _body: &[u8], reply: &mut Vec<u8>) {
        reply.extend(self.sum.to_le_bytes());
    }

    fn digest(&self) -> u128 {
        u128::from(self.sum) << 64 | u128::from(self.entries)
    }

    fn begin_image(&mut self) -> bool {
        self.image = self.digest().to_le_bytes().to_vec();
        for (client, number) in &self.numbers {
            self.image.extend(client.to_le_bytes());
            self.image.extend(number.to_le_bytes());
        }
        true
    }

    fn next_image_piece(&mut self, _budget: usize, piece: &mut Vec<u8>) -> bool {
        piece.append(&mut self.image);
        true
    }

    fn begin_restore(&mut self) {
        *self = Self::default();
    }

    fn restore_piece(&mut self, piece: &[u8]) -> Result<(), RestoreError> {
        self.image.extend_from_slice(piece);
        Ok(())
    }

    fn end_restore(&mut self) -> Result<(), RestoreError> {
        let image = std::mem::take(&mut self.image);
        let (digest, numbers) = image.split_first_chunk().ok_or(RestoreError::Incomplete)?;
        let digest = u128::from_le_bytes(*digest);
        (self.sum, self.entries) = ((digest >> 64) as u64, digest as u64);
        for mut row in numbers.chunks(24) {
            let client = take(&mut row).map(u128::from_le_bytes);
            let number = take(&mut row).map(u64::from_le_bytes);
            let row = client.zip(number).ok_or(RestoreError::Incomplete)?;
            self.numbers.extend([row]);
        }
        Ok(())
    }
}

fn take<const BYTES: usize>(row: &mut &[u8]) -> Option<[u8; BYTES]> {
    let (taken, rest) = row.split_first_chunk()?;
    *row = rest;
    Some(*taken)
}

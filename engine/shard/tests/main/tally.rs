//! The smallest state machine that notices a lost, doubled or reordered command.

use raft::state_machine::{Admission, Command, Refusal, StateMachine};

/// Adds the payload to the digest.
pub(crate) const ADD: u8 = 1;
/// Answers the number of commands and the digest.
pub(crate) const LOOK: u8 = 2;

/// Counts commands and chains their payloads.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    chain: u128,
    pub(crate) payloads: Vec<Vec<u8>>,
}

impl StateMachine for Tally {
    fn admit(&self, operation: u8, payload: &[u8]) -> Result<Admission, Refusal> {
        match operation {
            ADD if payload.is_empty() => Err(Refusal::MalformedBody),
            ADD => Ok(Admission::Write),
            LOOK => Ok(Admission::Read),
            _ => Err(Refusal::UnknownOperation),
        }
    }

    fn apply(&mut self, command: Command<'_>, reply: &mut Vec<u8>) {
        self.count += 1;
        for byte in command.payload {
            self.chain = self.chain.wrapping_mul(0x0100_0000_01b3) ^ u128::from(*byte);
        }
        self.chain = self.chain.wrapping_add(u128::from(command.index.0) << 64);
        self.payloads.push(command.payload.to_vec());
        reply.extend_from_slice(&self.count.to_le_bytes());
    }

    fn query(&self, _operation: u8, _payload: &[u8], reply: &mut Vec<u8>) {
        reply.extend_from_slice(&self.count.to_le_bytes());
    }

    fn digest(&self) -> u128 {
        self.chain
    }
}

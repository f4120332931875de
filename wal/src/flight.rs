//! The blocks being written, in the order of the log, until all before them are durable.
//!
//! - Writes complete in any order; a block leaves only from the front, so durability is in order.
//! - A block that a full disk refused stays in its place with its memory, and is written again whole.

use std::collections::VecDeque;

use crate::block::buffer::Buffer;
use crate::device::{Device, DeviceError, Operation};
use crate::limits::FULL_WRITE_RETRY_NS;
use crate::mutants::{Mutant, is_planted};

/// What becomes true when a block is durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Landing {
    pub(crate) last_lsn: u64,
    /// The oldest segment needed, as the block says.
    pub(crate) live: u64,
    /// Segment and offset behind the block.
    pub(crate) end: (u64, u32),
}

#[derive(Debug)]
enum State {
    Writing,
    Durable,
    Refused(Operation),
}

#[derive(Debug)]
struct Block {
    landing: Landing,
    begun_ns: u64,
    state: State,
}

/// What a completion means.
pub(crate) enum Written {
    /// The block is durable; its memory, and how long it took in nanoseconds.
    Durable(Buffer, u64),
    /// It will be written again.
    Refused,
    /// The disk failed.
    Failed(Buffer, DeviceError),
}

/// Blocks in flight.
#[derive(Debug)]
pub(crate) struct Flight {
    blocks: VecDeque<Block>,
    /// Sequence of the first of them.
    first: u64,
    writing: usize,
    retry_ns: Option<u64>,
}

impl Flight {
    /// Nothing in flight; the next block has this sequence.
    pub(crate) fn new(first: u64, capacity: usize) -> Self {
        Self {
            blocks: VecDeque::with_capacity(capacity),
            first,
            writing: 0,
            retry_ns: None,
        }
    }

    /// Blocks not yet durable in order.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Writes the device has not completed.
    pub(crate) const fn writing(&self) -> usize {
        self.writing
    }

    /// Whether a full disk has refused a block that is still to be written.
    pub(crate) const fn is_refused(&self) -> bool {
        self.retry_ns.is_some()
    }

    /// The next block's write was begun.
    pub(crate) fn begun(&mut self, landing: Landing, now_ns: u64) {
        self.blocks.push_back(Block {
            landing,
            begun_ns: now_ns,
            state: State::Writing,
        });
        self.writing += 1;
    }

    /// A write has ended.
    pub(crate) fn written(
        &mut self,
        operation: Operation,
        result: Result<(), DeviceError>,
        now_ns: u64,
    ) -> Written {
        let nth =
            usize::try_from(operation.token - self.first).expect("only blocks in flight complete");
        let block = &mut self.blocks[nth];
        self.writing -= 1;
        match result {
            Ok(()) => {
                block.state = State::Durable;
                Written::Durable(operation.buffer, now_ns.saturating_sub(block.begun_ns))
            }
            // The memory still holds the whole block: written again, it is as good as the first time.
            Err(DeviceError::Full | DeviceError::Short { .. }) => {
                block.state = State::Refused(operation);
                self.retry_ns = Some(now_ns.saturating_add(FULL_WRITE_RETRY_NS));
                Written::Refused
            }
            Err(_) if is_planted(Mutant::FailedWriteTakenAsDone) => {
                block.state = State::Durable;
                Written::Durable(operation.buffer, 0)
            }
            Err(error) => Written::Failed(operation.buffer, error),
        }
    }

    /// Begins again what a full disk refused, after a pause. Returns how many writes were begun.
    pub(crate) fn retry(&mut self, device: &mut impl Device, now_ns: u64) -> usize {
        let mut begun = 0;
        if self.retry_ns.is_none_or(|due_ns| now_ns < due_ns) {
            return begun;
        }
        for block in &mut self.blocks {
            if !matches!(block.state, State::Refused(_)) {
                continue;
            }
            let State::Refused(operation) = std::mem::replace(&mut block.state, State::Writing)
            else {
                unreachable!("asked just before");
            };
            if let Err(operation) = device.write(now_ns, operation) {
                block.state = State::Refused(operation);
                return begun;
            }
            block.begun_ns = now_ns;
            self.writing += 1;
            begun += 1;
        }
        self.retry_ns = None;
        begun
    }

    /// The next block that is durable with all before it.
    pub(crate) fn next_landed(&mut self) -> Option<Landing> {
        let block = self
            .blocks
            .pop_front_if(|block| matches!(block.state, State::Durable))?;
        self.first += 1;
        Some(block.landing)
    }
}

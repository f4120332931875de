//! What happened at the network door, as plain numbers: one set per core, read by status and reports.

use crate::frame::FrameError;
use crate::refusal::Refusal;

/// Numbers that only grow. Arrays are indexed by the code on the wire; index 0 is unused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections taken from the listener.
    pub accepted: u64,
    /// Connections dialled.
    pub dialled: u64,
    /// Handshakes done with peers.
    pub peers_opened: u64,
    /// Handshakes done with clients.
    pub clients_opened: u64,
    /// Open connections that ended, whatever the cause.
    pub closed: u64,
    /// Connections this end refused or ended, by [`Refusal::code`].
    pub refused: [u64; Refusal::CODES],
    /// Connections the other end refused or ended with a word, by [`Refusal::code`].
    pub told: [u64; Refusal::CODES],
    /// Streams that were no frames, by [`FrameError::number`].
    pub damaged: [u64; FrameError::NUMBERS],
    /// Whole frames received.
    pub frames_received: u64,
    /// Frames queued to be sent.
    pub frames_queued: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Frames not taken because a queue was full.
    pub busy: u64,
    /// Reads put off because all receive buffers were in use.
    pub starved: u64,
}

impl Counters {
    /// How often this end refused for the reason of `refusal`, whatever its detail.
    pub fn refused_for(&self, refusal: Refusal) -> u64 {
        self.refused[usize::from(refusal.code())]
    }

    /// How often the other end did.
    pub fn told_for(&self, refusal: Refusal) -> u64 {
        self.told[usize::from(refusal.code())]
    }

    /// How often a stream ended with `error`, whatever its detail.
    pub fn damaged_by(&self, error: FrameError) -> u64 {
        self.damaged[usize::from(error.number())]
    }

    /// The refusals of this end by name, those that happened.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        named(&Refusal::NAMES, &self.refused)
    }

    /// The refusals of other ends by name, those that happened.
    pub fn rebuffs(&self) -> impl Iterator<Item = (&'static str, u64)> {
        named(&Refusal::NAMES, &self.told)
    }

    /// What was wrong with streams that were no frames, by name, what happened.
    pub fn damages(&self) -> impl Iterator<Item = (&'static str, u64)> {
        named(&FrameError::NAMES, &self.damaged)
    }
}

fn named(
    names: &'static [&'static str],
    counts: &[u64],
) -> impl Iterator<Item = (&'static str, u64)> {
    let pairs = names.iter().copied().zip(counts.iter().copied());
    pairs.filter(|pair| pair.1 > 0)
}

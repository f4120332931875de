//! What waits for the next drain, or for the leader's answer: rarely anything, so one look tells.
//!
//! - Whatever may add a message or an answer goes through `open`, which notes that something may wait.
//! - A read that was forwarded to the leader is answered once, or given up at its deadline.

use crate::alarm::Alarm;
use crate::effects::{Effects, ReadAborted};
use crate::ids::{Index, NodeId, ReadId, Time};
use crate::message::Message;
use crate::reads::Forwarded;

/// A replica's letters. The flags stand beside what every call touches, the letters elsewhere.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(crate) struct Mail {
    /// A message or an answer may wait for the next drain.
    waits: bool,
    /// A forwarded read waits for the leader's answer.
    forwards: bool,
    letters: Box<Letters>,
}

/// The letters themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Letters {
    /// Messages that wait for nothing but the next drain.
    pub(crate) outbox: Vec<(NodeId, Message)>,
    /// Reads that are answered.
    pub(crate) answers: Vec<(ReadId, Result<Index, ReadAborted>)>,
    forwarded: Forwarded,
}

impl Mail {
    /// To add letters.
    pub(crate) fn open(&mut self) -> &mut Letters {
        self.waits = true;
        &mut self.letters
    }

    /// Adds a message.
    pub(crate) fn post(&mut self, to: NodeId, message: Message) {
        self.open().outbox.push((to, message));
    }

    /// Hands everything out.
    #[inline]
    pub(crate) fn hand_out(&mut self, effects: &mut Effects) {
        if self.waits {
            self.waits = false;
            effects.send.append(&mut self.letters.outbox);
            effects.reads.append(&mut self.letters.answers);
        }
    }

    /// Reads on their way to the leader.
    pub(crate) fn forwarded(&self) -> usize {
        self.letters.forwarded.len()
    }

    /// A read goes to the leader, whose answer is waited for until `deadline`.
    pub(crate) fn forward(&mut self, id: ReadId, deadline: Time) {
        self.letters.forwarded.push(id, deadline);
        self.forwards = true;
    }

    /// The leader answered a forwarded read. Unknown ones are ignored.
    pub(crate) fn answered(&mut self, id: ReadId, answer: Result<Index, ReadAborted>) {
        if self.letters.forwarded.take(id) {
            self.forwards = self.letters.forwarded.len() > 0;
            self.open().answers.push((id, answer));
        }
    }

    /// Gives up the forwarded reads whose deadline is not after `now`.
    pub(crate) fn expire(&mut self, now: Time) {
        if self.forwards {
            let letters = &mut *self.letters;
            letters.forwarded.expire(now, &mut letters.answers);
            self.waits = true;
            self.forwards = letters.forwarded.len() > 0;
        }
    }

    /// When the next forwarded read is given up.
    #[inline]
    pub(crate) fn alarm(&self) -> Alarm {
        if self.forwards {
            let deadline = self.letters.forwarded.deadline();
            deadline.map_or(Alarm::NEVER, Alarm::at)
        } else {
            Alarm::NEVER
        }
    }
}

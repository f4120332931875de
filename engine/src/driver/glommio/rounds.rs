//! Pauses for tasks that could go on for ever: they wait until the executor has looked at its rings once.
//!
//! - The executor looks at its rings only when no task is ready. Its own cure, a timer that interrupts, is
//!   switched off (see `PREEMPT_AFTER`): so whoever may stay ready for long asks for a round now and then.
//! - A round is asked for once, however many wait: one byte through the core's own rope.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

use crate::driver::wake::Wake;

/// Who waits for the next look at the rings. One per core.
#[derive(Debug)]
pub(super) struct Rounds {
    rope: Wake,
    round: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Rounds {
    /// Rounds that are asked for through `rope`; whoever hears it calls `begin`.
    pub(super) fn new(rope: Wake) -> Self {
        Self {
            rope,
            round: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    /// Returns after the executor has looked at its rings and everybody who became ready could run.
    pub(super) async fn next(&self) {
        let asked_in = self.round.get();
        poll_fn(|context| {
            if self.round.get() != asked_in {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if waiting.is_empty() {
                self.rope.wake();
            }
            waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The rope was heard: the executor has looked at its rings.
    pub(super) fn begin(&self) {
        self.round.set(self.round.get() + 1);
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

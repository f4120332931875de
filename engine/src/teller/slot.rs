//! Where the result of a call appears: to be waited for by a thread, or awaited in any runtime.
//!
//! - A result is put once and taken once.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::teller::TellerError;

/// Between the clerk and whoever waits.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    result: Option<Result<Vec<u8>, TellerError>>,
    waker: Option<Waker>,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that may panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, result: Result<Vec<u8>, TellerError>) {
        let mut state = self.state();
        state.result = Some(result);
        let waker = state.waker.take();
        drop(state);
        self.filled.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A call that was sent. Dropping it forgets the result, not the call.
#[derive(Debug)]
#[must_use = "a call that nobody waits for may have failed"]
pub struct Pending<R> {
    slot: Arc<Slot>,
    results: PhantomData<fn() -> R>,
}

impl<R: FromBytes + Immutable + KnownLayout + Unaligned + Clone> Pending<R> {
    /// Waits until the result is there.
    ///
    /// # Errors
    /// `Forgotten`, `Refused`, `Closed`.
    pub fn wait(self) -> Result<Vec<R>, TellerError> {
        let state = self.slot.state();
        let is_empty = |state: &mut State| state.result.is_none();
        let waited = self.slot.filled.wait_while(state, is_empty);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        results(state.result.take().expect("it was waited for"))
    }

    /// Waits for so long at most.
    ///
    /// # Errors
    /// As `wait`, and `TimedOut`.
    pub fn wait_for(self, time: Duration) -> Result<Vec<R>, TellerError> {
        let state = self.slot.state();
        let is_empty = |state: &mut State| state.result.is_none();
        let waited = self.slot.filled.wait_timeout_while(state, time, is_empty);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        results(state.result.take().ok_or(TellerError::TimedOut)?)
    }
}

impl<R> Pending<R> {
    pub(super) fn of(slot: Arc<Slot>) -> Self {
        Self {
            slot,
            results: PhantomData,
        }
    }
}

impl<R: FromBytes + Immutable + KnownLayout + Unaligned + Clone> Future for Pending<R> {
    type Output = Result<Vec<R>, TellerError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.state();
        match state.result.take() {
            Some(result) => Poll::Ready(results(result)),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn results<R>(result: Result<Vec<u8>, TellerError>) -> Result<Vec<R>, TellerError>
where
    R: FromBytes + Immutable + KnownLayout + Unaligned + Clone,
{
    let bytes = result?;
    let rows = <[R]>::ref_from_bytes(&bytes).map_err(|_| TellerError::Closed)?;
    Ok(rows.to_vec())
}

//! A core at rest: waits for the bell or for an instant, whichever comes first, with one armed timer at most.
//!
//! - A timer that was armed for an earlier instant stays armed and is replaced when it fires: deadlines
//!   that move ahead with every turn, as those of liveness do, cost no timer each.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use glommio::timer::Timer;
use raft::ids::Time;

use crate::clock::SystemClock;
use crate::driver::glommio::bell::Bell;

/// Where the task of a core waits between turns.
#[derive(Debug, Default)]
pub(super) struct Rest {
    armed: Option<(Time, Timer)>,
}

impl Rest {
    /// Returns when the bell was rung, or when `until` has come.
    pub(super) async fn wait(&mut self, bell: &Bell, until: Option<Time>) {
        match until {
            None => bell.wait().await,
            Some(until) => poll_fn(|context| self.poll(context, bell, until)).await,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>, bell: &Bell, until: Time) -> Poll<()> {
        if bell.poll(context).is_ready() {
            return Poll::Ready(());
        }
        let now = SystemClock.now();
        if now >= until {
            return Poll::Ready(());
        }
        if self
            .armed
            .as_ref()
            .is_some_and(|&(at, _)| now < at && at <= until)
        {
            return Poll::Pending;
        }
        let timer = Timer::new(Duration::from_nanos(until.since(now)));
        let (_, timer) = self.armed.insert((until, timer));
        // The timer wakes this task, which is polled by nobody else: its waker stays the right one.
        Pin::new(timer).poll(context).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use glommio::LocalExecutorBuilder;

    use super::Rest;
    use crate::clock::SystemClock;
    use crate::driver::glommio::bell::Bell;

    const MILLISECOND: u64 = 1_000_000;

    fn in_executor<F: Future<Output = ()> + 'static>(body: impl FnOnce() -> F + Send + 'static) {
        let executor = LocalExecutorBuilder::default().io_memory(0);
        executor
            .spawn(body)
            .expect("an executor")
            .join()
            .expect("no panic");
    }

    #[test]
    fn an_instant_ends_the_rest_and_not_before() {
        in_executor(|| async {
            let (mut rest, bell) = (Rest::default(), Bell::default());
            for wait in [3, 1, 2, 0] {
                let until = SystemClock.now().plus(wait * MILLISECOND);
                rest.wait(&bell, Some(until)).await;
                assert!(SystemClock.now() >= until);
            }
        });
    }

    #[test]
    fn a_bell_ends_the_rest_before_the_instant_and_leaves_the_next_one_right() {
        in_executor(|| async {
            let (mut rest, bell) = (Rest::default(), Rc::new(Bell::default()));
            let far = SystemClock.now().plus(3_600_000 * MILLISECOND);
            let ringer = Rc::clone(&bell);
            let task = glommio::spawn_local(async move { ringer.ring() });
            rest.wait(&bell, Some(far)).await;
            task.await;
            assert!(SystemClock.now() < far);
            // An earlier instant than the armed one, then a later one than the armed one.
            for wait in [1, 2] {
                let until = SystemClock.now().plus(wait * MILLISECOND);
                rest.wait(&bell, Some(until)).await;
                assert!(SystemClock.now() >= until);
            }
        });
    }
}

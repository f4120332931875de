//! One task waits, many ring: how the tasks of a core tell the shard that a door has news.
//!
//! - A ring is remembered until it is heard: nothing that happens between a look and a wait is lost.
//! - Ringing twice before it is heard is ringing once.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// A remembered signal with one listener. Lives on one thread.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    listener: RefCell<Option<Waker>>,
}

impl Bell {
    /// Wakes the listener, or makes its next wait return at once.
    pub(super) fn ring(&self) {
        if !self.rung.replace(true)
            && let Some(listener) = self.listener.borrow_mut().take()
        {
            listener.wake();
        }
    }

    /// Takes the ring, if there is one.
    pub(super) fn hear(&self) -> bool {
        self.rung.replace(false)
    }

    /// Ready once rung, which it takes; otherwise remembers whom to wake.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.hear() {
            return Poll::Ready(());
        }
        let mut listener = self.listener.borrow_mut();
        match &mut *listener {
            Some(known) => known.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits for the next ring.
    pub(super) async fn wait(&self) {
        poll_fn(|context| self.poll(context)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::Bell;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_ring_before_the_wait_is_heard_by_it() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let context = Context::from_waker(&waker);
        let bell = Bell::default();
        bell.ring();
        assert_eq!(bell.poll(&context), Poll::Ready(()));
        assert_eq!(bell.poll(&context), Poll::Pending);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn rings_wake_a_waiting_listener_once() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let context = Context::from_waker(&waker);
        let bell = Bell::default();
        assert_eq!(bell.poll(&context), Poll::Pending);
        bell.ring();
        bell.ring();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(bell.poll(&context), Poll::Ready(()));
    }

    #[test]
    fn a_heard_bell_is_silent() {
        let bell = Bell::default();
        bell.ring();
        assert!(bell.hear());
        assert!(!bell.hear());
    }
}
